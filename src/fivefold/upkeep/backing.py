"""A backup from the running cluster: every object with the word of b + 1 servers, without stopping anybody.

Objects are read one after the other while others write. So when all are copied, the list is read once more: what has
changed meanwhile is copied again. If nothing had changed, each version was the newest one at the moment between the two
passes, and the backup is the cluster as it was at that moment. Otherwise each object is as of a moment of its own.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from typing import Final, NamedTuple, TypeVar

from fivefold.api import Cluster, show_state
from fivefold.errors import NonDeterministicObject, PeerViolation, TooLarge, Unavailable
from fivefold.node import Inquiry
from fivefold.protocol.client import Disagreed, Reading, read
from fivefold.protocol.history import INITIAL_TIMESTAMP
from fivefold.protocol.limits import INQUIRY_ROUNDS_MAX
from fivefold.protocol.operations import ObjectId, digest
from fivefold.protocol.records import INITIAL_HISTORY, Listed, LogicalTimestamp
from fivefold.protocol.server import Inquiry as Rounds
from fivefold.protocol.steps import Missing
from fivefold.storage import BackupFile, Copied, Run
from fivefold.upkeep.lists import Window, windows
from fivefold.upkeep.rates import Rate

FETCHES_MAX: Final = 8
"""Versions fetched at once: each has up to 7 MiB."""

STAGED_BYTES_MAX: Final = 8 * 1024 * 1024
STAGED_OBJECTS_MAX: Final = 1000
"""Copied objects are stored when they are as large, or as many, as this."""

PASSES_MAX: Final = 4
"""How often all lists are read, unless nothing changes any more before."""

ATTEMPTS_MAX: Final = 20
"""How often an object is read whose servers do not agree on its newest version ..."""

REPAIR_EVERY: Final = 4
"""... and after this number of times it is repaired. An object that only is written all the time needs none."""


REST_S: Final = 0.2
"""Before an object that moves is read once more, servers are left alone for so long."""

NO_SERVER: Final = -1
"""Stands for the index of a server where a client asks."""


class Found(NamedTuple):
    """The newest version of an object, which b + 1 servers vouch for.

    Attributes:
        timestamp: of it.
        digest: of it.
        holders: servers that say so.
    """

    timestamp: LogicalTimestamp
    digest: bytes
    holders: tuple[int, ...]


T = TypeVar("T")

Told = Callable[[Run, int], None]
"""Hears how a backup gets on: the run, and how many objects this pass has looked at since the call."""


async def back_up(
    cluster: Cluster,
    inquiry: Inquiry,
    file: BackupFile,
    *,
    cluster_id: str,
    cluster_file: str,
    passes_max: int = PASSES_MAX,
    is_sealed: bool = False,
    rate: int | None = None,
    told: Told = lambda run, count: None,
) -> Run:
    """Bring a backup up to date; an interrupted one continues where it stopped.

    Args:
        cluster: repairs objects that are not at rest; its client's access rule must be ``*``.
        inquiry: the same client's, to all servers.
        file: the backup.
        cluster_id: of the cluster.
        cluster_file: its text, for a restore.
        passes_max: how often all lists are read.
        is_sealed: whether nothing is written any more but by the repairs of this client: then each object is repaired
            until q servers show its newest version and nothing newer, and one pass tells all (M2).
        rate: objects a second that are fetched, at most; None for as many as the servers give.
        told: hears how it gets on.

    Raises:
        BackupError: it is of another cluster, or cannot be written.
        NonDeterministicObject: the servers hold different states of an object.
        Unavailable: too few servers answer.
    """
    run = file.begin(cluster_id, cluster_file)
    if is_sealed and run.cursor:
        run = file.next_pass(run)  # what was copied before, maybe before the seal, is read once more
    while True:
        run = await _Pass(cluster, inquiry, file, run, told, Rate(rate), is_sealed=is_sealed).copy()
        if is_sealed or (run.turn > 1 and run.changed == 0) or run.turn >= passes_max:
            return file.finish(run)
        run = file.next_pass(run)


class _Pass:
    """One pass over all lists."""

    def __init__(
        self, cluster: Cluster, inquiry: Inquiry, file: BackupFile, run: Run, told: Told, rate: Rate, *, is_sealed: bool
    ) -> None:
        self._is_sealed, self._rate = is_sealed, rate
        self._cluster, self._inquiry, self._file, self._run, self._told = cluster, inquiry, file, run, told
        self._copied: list[Copied] = []
        self._versions: dict[bytes, bytes] = {}
        self._size = self._changed = self._looked_at = 0
        self._one_at_a_time = asyncio.Lock()

    async def copy(self) -> Run:
        async for window in windows(self._inquiry, self._run.cursor):
            shown = [each for each in window.objects if len(each[1]) > self._inquiry.quorums.b]
            rest = [(name, found) for name, found in self._looked_up(shown, window) if not self._is_had(name, found)]
            self._tell(len(shown) - len(rest))
            for start in range(0, len(rest), FETCHES_MAX):
                some = rest[start : start + FETCHES_MAX]
                await asyncio.gather(*(self._take(name, found) for name, found in some))
                if self._size >= STAGED_BYTES_MAX or len(self._copied) >= STAGED_OBJECTS_MAX:
                    self._store(some[-1][0])
                self._tell(len(some))
                await self._rate.rest(len(some))
            if window.last is not None:
                self._store(window.last)
        self._store(self._run.cursor)
        return self._run

    def _looked_up(
        self, shown: Sequence[tuple[ObjectId, Mapping[int, Listed]]], window: Window
    ) -> Iterator[tuple[ObjectId, Found | None]]:
        """What the lists alone tell of each object."""
        for name, entries in shown:
            yield name, self._agreed(name, entries, window)

    def _is_had(self, name: ObjectId, found: Found | None) -> bool:
        """Whether nothing has to be fetched for an object; then it is entered."""
        if found is None or self._is_new(found):
            return False
        self._enter(name, found, None)
        return True

    def _tell(self, count: int) -> None:
        self._looked_at += count
        self._told(self._run, self._looked_at)

    def _store(self, cursor: str) -> None:
        self._run = self._file.add(self._run, self._copied, self._versions, cursor, self._changed)
        self._copied, self._versions, self._size, self._changed = [], {}, 0, 0

    async def _take(self, name: ObjectId, found: Found | None) -> None:
        """Fetch one object, and enter it."""
        data = None if found is None else await self._fetched(name, found)
        if found is None or data is None:
            found, data = await self._settled(name)
        self._enter(name, found, data)

    def _enter(self, name: ObjectId, found: Found, data: bytes | None) -> None:
        copied = Copied(name, found.timestamp, found.digest)
        if found.timestamp == INITIAL_TIMESTAMP or self._file.entry(self._run, name) == copied:
            return
        if data is not None:
            self._versions[found.digest] = data
            self._size += len(data)
        self._copied.append(copied)
        self._changed += 1

    def _is_new(self, found: Found) -> bool:
        """Whether the version's bytes have to be fetched."""
        if found.timestamp == INITIAL_TIMESTAMP or found.digest in self._versions:
            return False
        return not self._file.holds(found.digest)

    def _agreed(self, name: ObjectId, entries: Mapping[int, Listed], window: Window) -> Found | None:
        """The newest version if the lists alone tell it: q servers hold it, and b + 1 give one digest of it."""
        histories = {
            server: entries[server].history if server in entries else INITIAL_HISTORY
            for server in window.told
            if server not in entries or entries[server].is_held
        }
        reading = read(self._inquiry.quorums, name, histories)
        if reading is None or reading.candidate.is_barrier or len(self._holding(reading)) < self._inquiry.quorums.q:
            return None
        if reading.candidate.timestamp == INITIAL_TIMESTAMP:
            return Found(INITIAL_TIMESTAMP, b"", reading.holders)
        return self._vouched(
            reading.candidate.timestamp, {s: entries[s].version_digest for s in reading.holders if s in entries}
        )

    def _holding(self, reading: Reading) -> tuple[int, ...]:
        return reading.settled if self._is_sealed else reading.holders

    def _vouched(self, timestamp: LogicalTimestamp, digests: Mapping[int, bytes]) -> Found | None:
        counts = Counter(found for found in digests.values() if found)
        if not counts:
            return None
        best, count = counts.most_common(1)[0]
        b = self._inquiry.quorums.b
        if count <= b or counts.total() - count > b:  # more than b that differ prove that honest servers do
            return None
        holders = tuple(server for server, found in digests.items() if found == best)
        return Found(timestamp, best, holders)

    async def _settled(self, name: ObjectId) -> tuple[Found, bytes | None]:
        """The newest version of an object that is being written, or was left half written; with its bytes.

        Servers keep a version for some updates only. So where an object has moved between two looks the next one waits:
        a reader that has rested has two answers at once. Such an object is repaired by its writers.

        Raises:
            NonDeterministicObject, Unavailable: it cannot be told.
        """
        earlier, is_moving, is_wary = None, False, True
        for attempt in range(ATTEMPTS_MAX):
            async with self._one_at_a_time if is_moving else nullcontext():
                await asyncio.sleep(REST_S if is_moving else 0)
                found, reading = await self._look(name, attempt)
            if found is not None:
                return found
            is_time = attempt % REPAIR_EVERY == REPAIR_EVERY - 1
            is_told = reading is not None and self._told_by(reading) is not None
            newest = None if reading is None else reading.candidate
            is_moving = None not in (earlier, newest) and newest != earlier
            if is_time or not (is_told or is_moving):
                await self._repair(name)
            if not is_told and (is_time or self._is_sealed):
                await self._repair_all(name, is_wary=is_wary)
                is_wary = not is_wary
            earlier = newest
        raise Unavailable(
            f"the newest version of {name} could not be read: the servers do not agree, or it is written too often "
            "to be fetched from here. Check them with `fivefold status`, and run the backup again, which is taken up "
            "from there; for an object that is written all the time, nearer to the servers"
        )

    async def _look(self, name: ObjectId, attempt: int) -> tuple[tuple[Found, bytes | None] | None, Reading | None]:
        """What the servers show of an object; and, if that tells its version, the version."""
        shown = await _gathered((s, self._inquiry.histories(s, [name])) for s in self._inquiry.up)
        histories = {s: vote.histories[0] for s, (vote, _) in shown.items() if len(vote.histories) == 1}
        reading = read(self._inquiry.quorums, name, histories)
        timestamp = None if reading is None else self._told_by(reading)
        if reading is None or timestamp is None:
            return None, reading
        if timestamp == INITIAL_TIMESTAMP:
            return (Found(INITIAL_TIMESTAMP, b"", reading.holders), None), reading
        whole = reading.holders[attempt % len(reading.holders)]
        return await self._taken(name, timestamp, tuple(histories), whole), reading

    def _told_by(self, reading: Reading) -> LogicalTimestamp | None:
        """The version to copy; None if the reading does not tell."""
        if not self._is_sealed:
            return reading.established
        is_settled = not reading.candidate.is_barrier and len(reading.settled) >= self._inquiry.quorums.q
        return reading.candidate.timestamp if is_settled else None

    async def _taken(
        self, name: ObjectId, timestamp: LogicalTimestamp, servers: Sequence[int], whole: int
    ) -> tuple[Found, bytes] | None:
        """A version and its bytes, asked for together: the whole of one server, and the digests of the others."""
        asked = ((s, self._inquiry.version(s, name, timestamp, is_whole=s == whole)) for s in servers)
        replies = await _gathered(asked)
        found = self._vouched(timestamp, {server: reply.digest for server, reply in replies.items()})
        if found is None or whole not in replies:
            return None
        data = replies[whole].version
        return (found, data) if data and digest(data) == found.digest else None

    async def _repair(self, name: ObjectId) -> None:
        try:
            state = await show_state(self._cluster, name)
        except TooLarge:  # the query has come to its end all the same
            return
        if isinstance(state, Disagreed):
            raise NonDeterministicObject(
                f"the servers hold different states of {name}: run `fivefold rescue {name}`, and the backup again",
                is_applied=False,
            )

    async def _repair_all(self, name: ObjectId, *, is_wary: bool) -> None:
        """Repair until nothing is left to do at any server that is up (M2), or somebody else is at it.

        A call is content with less. Story: (1) a barrier is on one server, which is in no preferred quorum, or a server
        lacks a version and another one that has it went down. (2) A query is answered by q servers that agree, or by
        what was known of the one that is gone. (3) So it repairs nothing, and what all servers show is never at rest.
        """
        rounds, is_reading = Rounds(self._inquiry.quorums, NO_SERVER, (), name, is_wary=is_wary), True
        for _ in range(INQUIRY_ROUNDS_MAX):
            number = self._inquiry.next_number()
            step = rounds.read if is_reading else rounds.repair
            answers = await self._inquiry.carry(step(0, number, self._inquiry.up), number)
            for server, (vote, authenticators) in answers.items():
                with suppress(PeerViolation):
                    rounds.take(0, server, number, vote, authenticators)
            plan = rounds.plan()
            if isinstance(plan, Missing) and not rounds.add(plan.objects):
                return
            if plan is None and rounds.has_read_all:
                return
            is_reading = plan is None or isinstance(plan, Missing)

    async def _fetched(self, name: ObjectId, found: Found) -> bytes | None:
        """The version's bytes, from the first holder that gives them; None if it is gone already."""
        for server in _rotated(found):
            reply = await self._inquiry.version(server, name, found.timestamp, is_whole=True)
            if reply is not None and reply.version and digest(reply.version) == found.digest:
                return reply.version
        return None


def _rotated(found: Found) -> Sequence[int]:
    """The holders, beginning with another one for each object: they share the work."""
    start = found.digest[0] % len(found.holders)
    return found.holders[start:] + found.holders[:start]


async def _gathered(asked: Iterable[tuple[int, Awaitable[T | None]]]) -> dict[int, T]:
    """Answers by server, without those that did not come."""
    pairs = list(asked)
    answers = await asyncio.gather(*(answer for _, answer in pairs))
    return {server: answer for (server, _), answer in zip(pairs, answers, strict=True) if answer is not None}
