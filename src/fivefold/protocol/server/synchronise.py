"""Object sync: fetch a version from the servers that hold it, and never trust one of them (Q/U §3.5, PROTOCOL §5).

One server is asked for the whole version, others for its digest; it is accepted at b + 1 equal digests and a copy
that matches. On silence or mismatch further servers are asked, and once too few are left that may still have it, it is
given up at once: a version that was dropped everywhere does not come back.
"""

from __future__ import annotations

from collections import Counter
from typing import Generic, TypeVar

from fivefold.protocol.actions import Ask, Reply
from fivefold.protocol.history import decode_history
from fivefold.protocol.limits import (
    SYNC_COPIES_BYTES_MAX,
    SYNC_RETRY_NS,
    SYNC_TIMEOUT_NS,
    SYNCS_MAX,
    VERSION_BYTES_MAX,
)
from fivefold.protocol.messages import sync_frame, sync_reply_frame
from fivefold.protocol.operations import ObjectId, digest
from fivefold.protocol.quorums import QuorumSystem
from fivefold.protocol.records import (
    Candidate,
    LogicalTimestamp,
    ObjectHistories,
    SyncReply,
    SyncRequest,
    Version,
)
from fivefold.protocol.server.admission import SyncWork, VersionKey
from fivefold.protocol.server.versions import encode_version

T = TypeVar("T")
"""What waits for a version."""


class Sync:
    """One version being fetched.

    Attributes:
        key: the object and the timestamp.
        number: that its questions carry.
        version: canonical bytes of the version once it is certain, else None.
        damaged: servers whose copy did not match its own digest.
        wake_at_ns: when to ask further servers.
        began_ns: when it began.
        deadline_ns: when to give up.
    """

    __slots__ = (
        "_answered", "_asked", "_asked_whole", "_copies", "_digests", "_needed", "_queue", "began_ns", "damaged",
        "deadline_ns", "key", "number", "version", "wake_at_ns",
    )  # fmt: skip

    def __init__(
        self,
        now_ns: int,
        number: int,
        key: VersionKey,
        *,
        servers: tuple[int, ...],
        needed: int,
    ) -> None:
        """Prepare to ask ``servers``, likely holders first; ``needed`` equal digests (b + 1) make it certain."""
        self.key = key
        self.version: bytes | None = None
        self.wake_at_ns = self.began_ns = now_ns
        self.deadline_ns = now_ns + SYNC_TIMEOUT_NS
        self.number = number
        self._needed = needed
        self._queue = list(servers)
        self._digests: dict[int, bytes] = {}
        self._copies: dict[int, tuple[bytes, bytes]] = {}
        self._asked: set[int] = set()
        self._asked_whole: set[int] = set()
        self._answered: set[int] = set()
        self.damaged: set[int] = set()

    def start(self, now_ns: int) -> list[Ask]:
        """Ask the first servers."""
        self.wake_at_ns = now_ns + SYNC_RETRY_NS
        first, self._queue = self._queue[: self._needed], self._queue[self._needed :]
        return [self._ask(server, is_whole=position == 0) for position, server in enumerate(first)]

    def _ask(self, server: int, *, is_whole: bool) -> Ask:
        object_id, timestamp = self.key
        self._asked.add(server)
        if is_whole:
            self._asked_whole.add(server)
        return Ask(server, sync_frame(SyncRequest(self.number, object_id, timestamp, is_whole)))

    def receive(self, server: int, reply: SyncReply) -> list[Ask]:
        """Count an answer; what to ask whom next. ``version`` is set when it is certain."""
        self._answered.add(server)
        if reply.version:
            if digest(reply.version) != reply.digest:
                self.damaged.add(server)
                return self.ask_further()
            self._copies[server] = (
                reply.digest,
                reply.version,
            )  # the last one of each server: a liar cannot fill the memory
        if not reply.digest:
            return self.ask_further()
        self._digests[server] = reply.digest
        agreeing = [each for each, found in self._digests.items() if found == reply.digest]
        if len(agreeing) < self._needed:
            return self.ask_further() if len(set(self._digests.values())) > 1 else []
        self.version = next((data for found, data in self._copies.values() if found == reply.digest), None)
        if self.version is not None:
            return []
        # A liar may agree and keep the copy to itself: each server is asked for it once, then the next.
        holders = [each for each in agreeing if each not in self._asked_whole]
        return [self._ask(holders[0], is_whole=True)] if holders else self.ask_further()

    @property
    def mistaken(self) -> list[int]:
        """Servers that answered something else than b + 1 others, or nothing that fits together."""
        if self.version is None:
            return sorted(self.damaged)
        certain = digest(self.version)
        return sorted({server for server, found in self._digests.items() if found != certain} | self.damaged)

    def copy_size(self, server: int) -> int:
        """Bytes of the copy that is kept from a server."""
        copy = self._copies.get(server)
        return 0 if copy is None else len(copy[1])

    def ask_further(self) -> list[Ask]:
        """Ask one server that has not been asked yet, for everything."""
        return [self._ask(self._queue.pop(0), is_whole=True)] if self._queue else []

    @property
    def is_over(self) -> bool:
        """Whether the version is certain, or never will be: too few servers are left that may still answer for it."""
        if self.version is not None:
            return True
        agreeing = max(Counter(self._digests.values()).values(), default=0)
        return agreeing + len(self._queue) + len(self.silent) < self._needed

    @property
    def silent(self) -> set[int]:
        """Servers that were asked and have not answered."""
        return self._asked - self._answered


class SyncTable(Generic[T]):
    """The syncs under way at one server, and the work that waits for each.

    Attributes:
        parked_count: how many requests wait.
    """

    def __init__(
        self, own_index: int, quorums: QuorumSystem, first: int = 0, counters: Counter[str] | None = None
    ) -> None:
        """None under way; questions are numbered from ``first`` on, and wrong answers counted by server."""
        self._counters: Counter[str] = Counter() if counters is None else counters
        self._own_index = own_index
        self._quorums = quorums
        self._syncs: dict[int, tuple[Sync, list[T]]] = {}
        self._numbers: dict[VersionKey, int] = {}
        self._count = first
        self.parked_count = 0
        # Asked last, until they are heard of: with one that is down among the first, every sync would wait for it.
        self._silent: set[int] = set()
        self._copied = [0] * quorums.n  # bytes of the copies that syncs keep, by the server they came from

    @property
    def is_full(self) -> bool:
        """Whether no further sync may start."""
        return len(self._syncs) >= SYNCS_MAX

    @property
    def wake_at_ns(self) -> int | None:
        """When to call ``wake``."""
        if not self._syncs:
            return None
        return min(min(sync.wake_at_ns, sync.deadline_ns) for sync, _ in self._syncs.values())

    def wait(self, now_ns: int, work: T, key: VersionKey, histories: ObjectHistories) -> list[Ask]:
        """Let the work wait for a version; what to ask whom if nobody waited for it before."""
        number = self._numbers.get(key)
        if number is not None:
            self._syncs[number][1].append(work)
            self.parked_count += 1
            return []
        number = self._count = self._count + 1
        sync = Sync(now_ns, number, key, servers=self._likely_holders(key, histories), needed=self._quorums.b + 1)
        asks = sync.start(now_ns)
        self._syncs[number] = (sync, [work])
        self._numbers[key] = number
        self.parked_count += 1
        return asks

    def _likely_holders(self, key: VersionKey, histories: ObjectHistories) -> tuple[int, ...]:
        """Servers whose history in the request shows the timestamp or a copy of it, from the next one on; then others.

        Of all these the silent ones come last.
        """
        object_id, timestamp = key
        others = [(self._own_index + step) % self._quorums.n for step in range(1, self._quorums.n)]
        showing = set()
        for server in others:
            entries = decode_history(object_id, histories.of(server))
            if any(_has_version(entry.candidate, object_id, timestamp) for entry in entries):
                showing.add(server)
        return tuple(sorted(others, key=lambda server: (server in self._silent, server not in showing)))

    def receive(self, server: int, reply: SyncReply) -> tuple[list[Ask], Sync | None]:
        """Count an answer: what to ask next, and the sync if it is over, found or not; then :meth:`end` it."""
        self._silent.discard(server)
        found = self._syncs.get(reply.number)
        if found is None:
            return [], None
        sync = found[0]
        others = self._copied[server] - sync.copy_size(server)
        if len(reply.version) > VERSION_BYTES_MAX or others + len(reply.version) > SYNC_COPIES_BYTES_MAX:
            reply = SyncReply(reply.number, reply.digest, b"")  # its word counts; a copy is taken from another one
        asks = sync.receive(server, reply)
        self._copied[server] = others + sync.copy_size(server)
        return asks, sync if sync.is_over else None

    def due(self, now_ns: int) -> list[Sync]:
        """The syncs whose time has come: to ask after a silence (:meth:`ask_after_silence`), or to be given up."""
        return [sync for sync, _ in self._syncs.values() if min(sync.wake_at_ns, sync.deadline_ns) <= now_ns]

    def ask_after_silence(self, now_ns: int, sync: Sync) -> list[Ask]:
        """What to ask further."""
        sync.wake_at_ns = now_ns + SYNC_RETRY_NS
        self._silent |= sync.silent
        return sync.ask_further()

    def end(self, sync: Sync) -> list[T]:
        """The sync is over: the work that waited for it. It is forgotten last: until then it still waits."""
        _, waiting = self._syncs.get(sync.number, (sync, []))
        for server in sync.mistaken if sync.number in self._syncs else ():
            self._counters[f"seen.{server} wrong-version"] += 1
        for server in range(self._quorums.n):
            self._copied[server] -= sync.copy_size(server)
        self._numbers.pop(sync.key, None)
        self.parked_count -= len(waiting)
        self._syncs.pop(sync.number, None)
        return waiting

    def end_all(self) -> list[T]:
        """All are over: the work that waited for any."""
        return [work for sync, _ in list(self._syncs.values()) for work in self.end(sync)]

    @property
    def waiting(self) -> list[T]:
        """All requests that wait."""
        return [work for _, waiting in self._syncs.values() for work in waiting]

    def recount(self) -> None:
        """Count anew, after an exception in between."""
        self._numbers = {sync.key: number for number, (sync, _) in self._syncs.items()}
        self.parked_count = sum(len(waiting) for _, waiting in self._syncs.values())
        self._copied = [sum(sync.copy_size(s) for sync, _ in self._syncs.values()) for s in range(self._quorums.n)]


def _has_version(candidate: Candidate, object_id: ObjectId, timestamp: LogicalTimestamp) -> bool:
    """Whether who shows this candidate has the version at the timestamp: it is that, or a copy of it."""
    if candidate.timestamp == timestamp:
        return True
    return candidate.is_copy and candidate.part(object_id).conditioned_on == timestamp


def sync_answer(work: SyncWork, version: Version | None) -> Reply:
    """What another server that asked for a version is told; None for one that is not held."""
    request = work.request
    data = b"" if version is None else encode_version(version)
    reply = SyncReply(request.number, digest(data) if data else b"", data if request.is_whole else b"")
    return Reply(work.channel, sync_reply_frame(reply))
