"""One object as one server holds it, and what accepting a candidate does to it (PROTOCOL §4.7, Pruning, S2)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Final, NamedTuple

from fivefold.protocol.actions import ObjectRecord, Write
from fivefold.protocol.classify import Views
from fivefold.protocol.history import (
    INITIAL_TIMESTAMP,
    encode_entry,
    encode_history,
    initial_entry,
    is_barrier,
    trusted_history,
)
from fivefold.protocol.limits import (
    HISTORY_BYTES_MAX,
    KEPT_VERSIONS,
    KEPT_VERSIONS_AGE_NS,
    KEPT_VERSIONS_BYTES_MAX,
)
from fivefold.protocol.operations import Executor, ObjectId
from fivefold.protocol.records import (
    BARRIER_AT,
    INITIAL_HISTORY,
    Candidate,
    Entry,
    LogicalTimestamp,
    ReplicaHistory,
    Ring,
    Version,
)
from fivefold.protocol.server.versions import initial_version, kept_ring, kept_version, read_rows, rows_of, size_of
from fivefold.protocol.steps import Step

_TWO_ENTRIES: Final = b"\x92"
"""MessagePack's head of an array of two."""


class Shown(NamedTuple):
    """What a server shows of an object after an ordinary update, as native code has written it.

    Attributes:
        timestamp: of the candidate that was made.
        history: canonical bytes of the history, of two entries.
        last_at: where the second begins.
        macs: all MACs over it.
    """

    timestamp: LogicalTimestamp
    history: bytes
    last_at: int
    macs: bytes


class Replica:
    """One server's history and versions of one object.

    Attributes:
        object_id: the object.
        history: canonical bytes of the replica history.
        latest: the greatest timestamp accepted.
        versions: those of the history's candidates and some pruned ones, by timestamp.
        is_recent: whether it was used since the cache looked last.
        is_plain: the latest candidate is a version of this object alone: no barrier, and of no other object.
        last_at: where the last entry begins in the history's bytes.
        macs: all MACs over the history (AuthenticatorKeys.macs); None until somebody needs them.
        size: about how many bytes its versions take.
        counted: how many of these, and of its history, its cache has counted.
        sequence: the last transaction that wrote the object; what is shown of it must wait for that.
    """

    __slots__ = (
        "_deleted",
        "_entries",
        "_pruned",
        "_pruned_ns",
        "_put",
        "_stored_rings",
        "counted",
        "history",
        "is_plain",
        "is_recent",
        "last_at",
        "latest",
        "macs",
        "object_id",
        "sequence",
        "size",
        "versions",
    )

    def __init__(self, object_id: ObjectId, record: ObjectRecord | None, now_ns: int = 0) -> None:
        """Take the object up from the store or the cache; None stands for one that was never written.

        Versions that no candidate of the history names are pruned ones, from now on.
        """
        self.object_id = object_id
        self.versions = read_rows(record.rows) if record else {}
        self.is_recent = True
        self.sequence = 0
        self._put: tuple[tuple[bytes, Version], ...] = ()
        self._deleted: tuple[bytes, ...] = ()
        self._pruned = 0  # how many of the versions, the oldest, are of pruned candidates
        self._pruned_ns = now_ns  # when the last of them was pruned
        self._entries: ReplicaHistory | None = None
        self.last_at = 0
        self.history = INITIAL_HISTORY
        self.latest = INITIAL_TIMESTAMP
        self.is_plain = True
        self.macs: bytes | None = None
        self._show(own_history(object_id, record.history) if record else (initial_entry(object_id),), record)
        if self.versions:
            named = {entry.candidate.timestamp for entry in self.entries}
            self._pruned = sum(timestamp not in named for timestamp in self.versions)
        self._stored_rings = tuple(self._rings_of_history())
        self.counted, self.size = 0, sum(map(size_of, self.versions.values()))

    @property
    def entries(self) -> ReplicaHistory:
        """The replica history."""
        if self._entries is None:
            self._entries = trusted_history(self.history)
        return self._entries

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

    def accept(self, candidate: Candidate, version: Version | None, now_ns: int) -> None:
        """Append the candidate, store its version, prune. ``written`` hands the change over to the store."""
        timestamp = candidate.timestamp
        assert timestamp > self.latest, "a candidate is newer than all accepted before"
        assert (version is None) == (timestamp[BARRIER_AT] == 1), "every candidate but a barrier has a version"
        first = first_kept(self.object_id, candidate)
        assert first is None or first < timestamp, "a candidate rests on something older"
        if first == self.latest and self.history:
            # What an ordinary request leaves: the last entry and the new one. No other is looked at, none decoded.
            self._forget(len(self.versions) - (first in self.versions), now_ns)
            last, entry = self.history[self.last_at :], Entry(candidate, False)
            self.history = _TWO_ENTRIES + last + encode_entry(entry)
            self.last_at = len(_TWO_ENTRIES) + len(last)
            self.latest = timestamp
            self.is_plain = len(candidate.parts) == 1
            self.macs = None
            self._entries = None if self._entries is None else (self._entries[-1], entry)
        else:
            kept = prune(self.entries, first, candidate)
            self._drop_superseded(candidate)
            assert self._has_kept(first, kept), "the base stays"
            named = {entry.candidate.timestamp for entry in kept}
            self._forget(sum(timestamp not in named for timestamp in self.versions), now_ns)
            self._show((*kept, Entry(candidate, False)), None)
        assert len(self.history) <= HISTORY_BYTES_MAX, "every reader takes what is signed here"
        if version is not None:
            self.versions[timestamp] = version
            self.size += size_of(version)
            self._put += ((timestamp, version),)

    def follow(self, version: Version, shown: Shown, now_ns: int) -> None:
        """``accept`` of what an ordinary request leaves; what is shown of it was written by native code."""
        timestamp, history = shown.timestamp, shown.history
        assert timestamp > self.latest, "a candidate is newer than all accepted before"
        assert len(history) <= HISTORY_BYTES_MAX, "every reader takes what is signed here"
        self._forget(len(self.versions) - (self.latest in self.versions), now_ns)
        self.history, self.last_at, self.macs, self.latest = history, shown.last_at, shown.macs, timestamp
        self._entries = None
        self.versions[timestamp] = version
        self.size += size_of(version)
        self._put += ((timestamp, version),)

    def _has_kept(self, first: LogicalTimestamp | None, kept: ReplicaHistory) -> bool:
        """Whether pruning has left the base, if the history held it: it is established."""
        if first is None or self.entry_at(first) is None:
            return True
        return bool(kept) and kept[0].candidate.timestamp == first

    def _drop_superseded(self, copy: Candidate) -> None:
        """Of older copies of the same version nothing stays: it is in the new one's row as well."""
        for entry in self.entries:
            timestamp = entry.candidate.timestamp
            if timestamp in self.versions and copy.supersedes(entry.candidate):
                self.size -= size_of(self.versions.pop(timestamp))
                self._deleted += (timestamp,)

    def version_at(self, timestamp: LogicalTimestamp) -> Version | None:
        """The version at a timestamp, or that of a copy of it, which is the same; None if neither is held."""
        version = self.versions.get(timestamp)
        if version is not None:
            return version
        for entry in self.entries:
            candidate = entry.candidate
            if candidate.is_copy and candidate.part(self.object_id).conditioned_on == timestamp:
                return self.versions.get(candidate.timestamp)
        return None

    def flag_settled(self, candidate: Candidate) -> bool:
        """Set the settled flag of a multi-object candidate and its joint copies (S2); whether that changed anything."""
        original = candidate.original
        changed, is_changed = [], False
        for entry in self.entries:
            shown = entry
            if not entry.is_settled and len(entry.candidate.parts) > 1 and entry.candidate.original == original:
                shown, is_changed = Entry(entry.candidate, True), True
            changed.append(shown)
        if is_changed:
            self._show(tuple(changed), None)
        return is_changed

    def _show(self, entries: ReplicaHistory, record: ObjectRecord | None) -> None:
        """Take over a history, which is that of a record or was not encoded before."""
        latest = entries[-1].candidate
        self._entries = entries
        self.latest = latest.timestamp
        self.is_plain = not is_barrier(latest.timestamp) and len(latest.parts) == 1
        if self.latest == INITIAL_TIMESTAMP:
            self.history, self.last_at = INITIAL_HISTORY, 0
        else:
            self.history = record.history if record else encode_history(entries)
            self.last_at = len(self.history) - len(encode_entry(entries[-1]))
        self.macs = None

    def _forget(self, pruned: int, now_ns: int) -> None:
        """Keep a few versions of pruned candidates for slow syncs and repeated requests; drop the rest.

        ``pruned`` versions, the oldest, are of pruned candidates now: a candidate is accepted above all others only,
        and pruned together with all below it. They are kept in memory; the store need not have them, since nothing
        that a history shows depends on them.
        """
        assert self._pruned <= pruned <= len(self.versions), "what is pruned stays so"
        self._deleted += tuple(islice(self.versions, self._pruned, pruned))
        surplus = pruned - KEPT_VERSIONS
        if self._pruned and self._pruned_ns + KEPT_VERSIONS_AGE_NS < now_ns:
            surplus = max(surplus, self._pruned)
        if pruned > self._pruned:
            self._pruned_ns = now_ns
        if self.size > KEPT_VERSIONS_BYTES_MAX and pruned:
            surplus = max(surplus, self._too_large(pruned))
        for timestamp in list(islice(self.versions, surplus)) if surplus > 0 else ():
            self.size -= size_of(self.versions.pop(timestamp))
            pruned -= 1
        self._pruned = pruned

    def _too_large(self, pruned: int) -> int:
        """How many of the oldest versions have to go so that the other pruned ones are within their bytes."""
        room = KEPT_VERSIONS_BYTES_MAX
        for number, version in enumerate(reversed(list(islice(self.versions.values(), pruned)))):
            room -= size_of(version)
            if room < 0:
                return pruned - number
        return 0

    def written(self, sequence: int) -> Write:
        """The change since the last call, as part of transaction ``sequence``."""
        assert sequence >= self.sequence, "transactions count up"
        assert self.latest > INITIAL_TIMESTAMP, "only what was accepted is written"
        put = tuple([(timestamp, kept_version(version)) for timestamp, version in self._put])
        deleted, stored = self._deleted, self._stored_rings
        if len(stored) != 1 or [version for _, version in self._put if version.ring.name not in stored]:
            rings = self._rings_of_history()
            put += tuple([(name, kept_ring(ring)) for name, ring in rings.items() if name and name not in stored])
            deleted += tuple([name for name in stored if name and name not in rings])
            self._stored_rings = tuple(rings)
        self._put, self._deleted = (), ()
        self.sequence = sequence
        return Write(self.object_id, self.history, put, deleted)

    def _rings_of_history(self) -> dict[bytes, Ring]:
        """The rings that its candidates' versions need, by name; the empty one too, which is no row."""
        return {version.ring.name: version.ring for version in islice(self.versions.values(), self._pruned, None)}

    def record(self) -> ObjectRecord:
        """All of it, pruned versions too, as a store would give it back."""
        return ObjectRecord(self.history, rows_of(self.versions))

    def forget_changes(self) -> None:
        """Where there is no store, nobody needs to hear of them."""
        self._put, self._deleted = (), ()


def own_history(object_id: ObjectId, data: bytes) -> ReplicaHistory:
    """The history that this server has stored: its own disk is read without the limits for peers."""
    return trusted_history(data) if data else (initial_entry(object_id),)


def first_kept(object_id: ObjectId, candidate: Candidate) -> LogicalTimestamp | None:
    """The oldest timestamp that accepting ``candidate`` leaves in a history; None if it leaves all (PROTOCOL §4, S6).

    It is the candidate's base, which is established (S1): a method's LT_co had order ≥ q in the request that made it,
    and what a copy names as its base had so in that request, or is the base of what it copies. Somebody honest has
    checked that: a candidate is accepted by who derives it, or shown by r servers, more than can lie. The base itself
    stays. What a copy is conditioned on need not be established: pruning below that can lose a completed update
    (directed schedule §4). A barrier proves nothing.
    """
    if candidate.timestamp[BARRIER_AT]:
        return None
    parts = candidate.parts
    if len(parts) == 1 and parts[0].base is None:  # nearly always; the rest of this says the same with more calls
        return parts[0].conditioned_on
    return candidate.part(object_id).base_or_conditioned_on


def prune(entries: ReplicaHistory, first: LogicalTimestamp | None, new: Candidate) -> ReplicaHistory:
    """What is left of a history when a newer candidate is accepted: versions from ``first`` on.

    What the new one supersedes goes: an older copy of the same version (§4, Copies of one version). Its barrier goes: a
    barrier counts only where it is the latest of all histories shown (§3), and this history shows a newer candidate.
    """
    return tuple(
        [
            entry
            for entry in entries
            if not entry.candidate.is_barrier
            and (first is None or entry.candidate.timestamp >= first)
            and not new.supersedes(entry.candidate)
        ]
    )


def newly_settled(step: Step, replicas: Sequence[Replica], views: Views) -> list[Candidate]:
    """S2: multi-object candidates that accepting a step proves established, not flagged by these replicas yet."""
    if step.candidate.is_barrier:
        return []
    settled = [] if step.settled is None else [step.settled]
    for replica, part in zip(replicas, step.parts, strict=True):
        base = part.base_or_conditioned_on
        if base == INITIAL_TIMESTAMP:
            continue
        held = None
        for entry in replica.entries:
            found = entry.candidate
            if (found.timestamp if len(found.parts) == 1 else found.original) == base:
                held = entry
        if held is None:
            orders = views[replica.object_id].orders
            settled.extend(each for each in orders if each.is_multi and each.original == base)
        elif len(held.candidate.parts) > 1 and not held.is_settled and held.candidate not in settled:
            settled.append(held.candidate)  # once, though each of its objects may show it
    return settled


def held_version(executor: Executor, replica: Replica, timestamp: LogicalTimestamp) -> Version | None:
    """The version this server has at a timestamp; None for barriers and versions it does not hold."""
    version = replica.version_at(timestamp)
    if version is not None:
        return version
    state = executor.initial(replica.object_id) if timestamp == INITIAL_TIMESTAMP else None
    return None if state is None else initial_version(state)


class Newest(NamedTuple):
    """A version that a server holds, and the timestamp that it holds it under."""

    timestamp: LogicalTimestamp
    version: Version


def newest_version(executor: Executor, replica: Replica) -> Newest | None:
    """The version of the newest candidate that is no barrier."""
    for entry in reversed(replica.entries):
        if not entry.candidate.is_barrier:
            version = held_version(executor, replica, entry.candidate.timestamp)
            return None if version is None else Newest(entry.candidate.timestamp, version)
    return None


def needs_version(timestamp: LogicalTimestamp) -> bool:
    """Whether a version belongs to the timestamp that a server must hold: not for barriers and the initial one."""
    return timestamp != INITIAL_TIMESTAMP and not is_barrier(timestamp)
