"""One object as one server holds it, and what accepting a candidate does to it (PROTOCOL §4.7, Pruning, S2)."""

from __future__ import annotations

from fivefold.protocol.actions import ObjectRecord, Write
from fivefold.protocol.history import INITIAL_TIMESTAMP, decode_history, encode_history, history_digest, is_barrier
from fivefold.protocol.limits import KEPT_VERSIONS, KEPT_VERSIONS_AGE_NS
from fivefold.protocol.operations import ObjectId
from fivefold.protocol.records import INITIAL_HISTORY, Candidate, Entry, LogicalTimestamp, ReplicaHistory
from fivefold.protocol.steps import Kind


class Replica:
    """One server's history and versions of one object.

    Attributes:
        object_id: the object.
        history: canonical bytes of the replica history.
        entries: the replica history.
        latest: the greatest timestamp accepted.
        versions: encoded versions by timestamp: those of the history's candidates, and some pruned ones.
        macs: all MACs over the history (AuthenticatorKeys.macs); None until somebody needs them.
        sequence: the last transaction that wrote the object; what is shown of it must wait for that.
    """

    __slots__ = (
        "_deleted",
        "_pruned",
        "_put",
        "entries",
        "history",
        "latest",
        "macs",
        "object_id",
        "sequence",
        "versions",
    )

    def __init__(self, object_id: ObjectId, record: ObjectRecord | None) -> None:
        """Take the object up from the store; None stands for one that was never written."""
        self.object_id = object_id
        self.history = record.history if record else INITIAL_HISTORY
        self.entries = decode_history(object_id, self.history)
        self.latest = self.entries[-1].candidate.timestamp
        self.versions: dict[bytes, bytes] = dict(record.versions) if record else {}
        self.macs: bytes | None = None
        self.sequence = 0
        self._pruned: list[tuple[int, bytes]] | None = None
        self._put: tuple[tuple[bytes, bytes], ...] = ()
        self._deleted: tuple[bytes, ...] = ()

    @property
    def digest(self) -> bytes:
        """What the authenticator is over."""
        return history_digest(self.object_id, self.history)

    def holds(self, candidate: Candidate) -> bool:
        """Whether the candidate is in the history."""
        timestamp = candidate.timestamp
        if timestamp > self.latest:
            return False
        for entry in self.entries:  # noqa: SIM110 (the hot path: a generator costs more)
            if entry.candidate.timestamp == timestamp and entry.candidate == candidate:
                return True
        return False

    def entry_at(self, timestamp: LogicalTimestamp) -> Entry | None:
        """The history's entry with this timestamp, if there is one."""
        for entry in reversed(self.entries):
            if entry.candidate.timestamp == timestamp:
                return entry
        return None

    def accept(self, kind: Kind, candidate: Candidate, version: bytes | None, now_ns: int) -> None:
        """Append the candidate, store its version, prune. ``written`` hands the change over to the store."""
        entries = self.entries
        kept = prune(self.object_id, entries, kind, candidate)
        if version is not None:
            self.versions[candidate.timestamp] = version
            self._put += ((candidate.timestamp, version),)
        if kept is not entries:
            self._forget(entries[: len(entries) - len(kept)], now_ns)
        self._set((*kept, Entry(candidate, False)))

    def flag_settled(self, candidate: Candidate) -> bool:
        """Set the candidate's settled flag if the history holds it without (S2); whether that changed anything."""
        entries = self.entries
        changed = tuple(Entry(e.candidate, e.is_settled or e.candidate == candidate) for e in entries)
        if changed == entries:
            return False
        self._set(changed)
        return True

    def _set(self, entries: ReplicaHistory) -> None:
        self.entries = entries
        self.latest = entries[-1].candidate.timestamp
        self.history = encode_history(self.object_id, entries)
        self.macs = None

    def _forget(self, pruned: ReplicaHistory, now_ns: int) -> None:
        """Keep a few versions of pruned candidates for slow syncs and repeated requests; drop the rest."""
        queue = self._pruned if self._pruned is not None else []
        for entry in pruned:
            if entry.candidate.timestamp in self.versions:
                queue.append((now_ns, entry.candidate.timestamp))
        while queue and (len(queue) > KEPT_VERSIONS or queue[0][0] + KEPT_VERSIONS_AGE_NS < now_ns):
            _, timestamp = queue.pop(0)
            if self.versions.pop(timestamp, None) is not None:
                self._deleted += (timestamp,)
        self._pruned = queue or None

    def written(self, sequence: int) -> Write:
        """The change since the last call, as part of transaction ``sequence``."""
        write = Write(self.object_id, self.history, self._put, self._deleted)
        self._put, self._deleted = (), ()
        self.sequence = sequence
        return write

    def adopt_leftovers(self, now_ns: int) -> None:
        """After a load: versions that no candidate of the history names were kept for a while; go on keeping them."""
        named = {entry.candidate.timestamp for entry in self.entries}
        left = sorted(timestamp for timestamp in self.versions if timestamp not in named)
        self._pruned = [(now_ns, timestamp) for timestamp in left] or None


def prune(object_id: ObjectId, entries: ReplicaHistory, kind: Kind, candidate: Candidate) -> ReplicaHistory:
    """What accepting ``candidate`` leaves of a history (PROTOCOL §4, Pruning; S6).

    A method candidate proves that LT_co was established, so what is older can go; LT_co itself stays. A copy proves
    nothing of the kind: accepted by INLINE_METHOD with pruning, it can lose a completed update (directed schedule §4).
    """
    if kind is Kind.METHOD or (kind is Kind.INLINE_METHOD and candidate.is_method):
        bound = candidate.part(object_id).conditioned_on
        for position, entry in enumerate(entries):
            if entry.candidate.timestamp >= bound:
                return entries[position:]
        return ()
    return entries


def needs_version(timestamp: LogicalTimestamp) -> bool:
    """Whether a version belongs to the timestamp that a server must hold: not for barriers and the initial one."""
    return timestamp != INITIAL_TIMESTAMP and not is_barrier(timestamp)
