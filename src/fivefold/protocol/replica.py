"""One object as one server holds it, and what accepting a candidate does to it (PROTOCOL §4.7, Pruning, S2)."""

from __future__ import annotations

from collections.abc import Sequence

from fivefold.protocol.actions import ObjectRecord, Write
from fivefold.protocol.classify import Views
from fivefold.protocol.history import INITIAL_TIMESTAMP, decode_history, encode_history, history_digest, is_barrier
from fivefold.protocol.limits import KEPT_VERSIONS, KEPT_VERSIONS_AGE_NS
from fivefold.protocol.operations import ObjectId
from fivefold.protocol.records import INITIAL_HISTORY, Candidate, Entry, LogicalTimestamp, ReplicaHistory, Version
from fivefold.protocol.steps import Kind, Step
from fivefold.protocol.versions import encode_version, trusted_version


class Replica:
    """One server's history and versions of one object.

    Attributes:
        object_id: the object.
        history: canonical bytes of the replica history.
        entries: the replica history.
        latest: the greatest timestamp accepted.
        versions: encoded versions by timestamp: those of the history's candidates, and some pruned ones.
        is_plain: the latest candidate is a version of this object alone: no barrier, and of no other object.
        macs: all MACs over the history (AuthenticatorKeys.macs); None until somebody needs them.
        sequence: the last transaction that wrote the object; what is shown of it must wait for that.
    """

    __slots__ = (
        "_deleted",
        "_newest",
        "_pruned",
        "_put",
        "entries",
        "history",
        "is_plain",
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
        self.macs: bytes | None = None
        self._newest: Version | None = None
        self._set(decode_history(object_id, self.history), self.history)
        self.versions: dict[bytes, bytes] = dict(record.versions) if record else {}
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

    def version_at(self, timestamp: LogicalTimestamp) -> Version | None:
        """The version held at a timestamp; that of the latest candidate is kept decoded."""
        if timestamp == self.latest:
            if self._newest is None:
                self._newest = self._decoded(timestamp)
            return self._newest
        return self._decoded(timestamp)

    def _decoded(self, timestamp: LogicalTimestamp) -> Version | None:
        data = self.versions.get(timestamp)
        return None if data is None else trusted_version(data)

    def accept(self, kind: Kind, candidate: Candidate, version: Version | None, now_ns: int) -> None:
        """Append the candidate, store its version, prune. ``written`` hands the change over to the store."""
        entries = self.entries
        kept = prune(self.object_id, entries, kind, candidate)
        if version is not None:
            data = self.versions[candidate.timestamp] = encode_version(version)
            self._put += ((candidate.timestamp, data),)
        if kept is not entries:
            self._forget(entries[: len(entries) - len(kept)], now_ns)
        entries = (*kept, Entry(candidate, False))
        self._set(entries, encode_history(entries))
        self._newest = version

    def flag_settled(self, candidate: Candidate) -> bool:
        """Set the candidate's settled flag if the history holds it without (S2); whether that changed anything."""
        entries = self.entries
        changed = tuple(Entry(e.candidate, e.is_settled or e.candidate == candidate) for e in entries)
        if changed == entries:
            return False
        self._set(changed, encode_history(changed))
        return True

    def _set(self, entries: ReplicaHistory, history: bytes) -> None:
        latest = entries[-1].candidate
        self.entries = entries
        self.latest = latest.timestamp
        self.is_plain = not is_barrier(latest.timestamp) and len(latest.parts) == 1
        self.history = history
        self.macs = None
        self._newest = None

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


def newly_settled(step: Step, replicas: Sequence[Replica], views: Views) -> list[Candidate]:
    """S2: multi-object candidates that accepting a step proves established, not flagged by these replicas yet."""
    if step.candidate.timestamp[8]:
        return []
    settled = [] if step.settled is None else [step.settled]
    for replica, part in zip(replicas, step.parts, strict=True):
        base = part.base_or_conditioned_on
        entry = replica.entry_at(base)
        if entry is not None:
            if entry.candidate.is_multi and not entry.is_settled:
                settled.append(entry.candidate)
        else:
            orders = views[replica.object_id].orders
            settled.extend(each for each in orders if each.is_multi and each.timestamp == base)
    return settled


def needs_version(timestamp: LogicalTimestamp) -> bool:
    """Whether a version belongs to the timestamp that a server must hold: not for barriers and the initial one."""
    return timestamp != INITIAL_TIMESTAMP and not is_barrier(timestamp)
