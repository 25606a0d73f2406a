"""A cluster that is sealed in a run, copied by a mover, and opened again or handed over to another one (M1 to M4).

The mover is a client that asks sealed servers for lists, histories and versions, and repairs, as
:mod:`fivefold.upkeep.backing` does. What it does with answers is written here once more. At the end of the copy, and
once more when the cluster is opened again, the watch is asked: the copy holds the newest established version of every
object, no older one and no newer one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Final

from fivefold.errors import PeerViolation
from fivefold.protocol.client import Reading, read
from fivefold.protocol.history import INITIAL_TIMESTAMP, empty_histories, short
from fivefold.protocol.limits import INQUIRY_ROUNDS_MAX, LIST_BYTES_MAX, LIST_ENTRIES_MAX
from fivefold.protocol.messages import (
    LIST_REPLY,
    REPLY,
    SYNC_REPLY,
    decode_list_reply,
    decode_sync,
    decode_vote,
    encode,
    list_frame,
    request_frame,
    split,
    sync_frame,
)
from fivefold.protocol.operations import ObjectId, digest
from fivefold.protocol.quorums import QuorumSystem
from fivefold.protocol.records import ListReply, ListRequest, LogicalTimestamp, Request, SyncReply, SyncRequest, Vote
from fivefold.protocol.server import Inquiry, decode_version, kept_version
from fivefold.protocol.steps import Missing
from fivefold.simulation.chains import Violation
from fivefold.simulation.network import Connection
from fivefold.simulation.plan import MILLISECOND, SECOND, Weather
from fivefold.simulation.rack import client_id
from fivefold.simulation.replacement import Book
from fivefold.simulation.servers import ServerHost
from fivefold.simulation.successor import Successor
from fivefold.simulation.watch import Watch
from fivefold.simulation.world import World

LOOK_NS: Final = 50 * MILLISECOND
"""How often the mover looks whether enough servers are sealed, and how long it rests after a round that fails."""

ROUND_NS: Final = 600 * MILLISECOND
"""How long it waits for answers."""

NO_SERVER: Final = -1
"""Stands for the index of a server where a client asks."""

TELLING_NS: Final = 500 * MILLISECOND
"""Within that time after the last edition was made each server is told of it."""

MOVE_NS: Final = 120 * SECOND
"""Virtual time after healing by which a sealed cluster must be copied."""

Answer = ListReply | SyncReply | tuple[Vote, bytes]
Answers = Mapping[int, Answer]


class _Round:
    """Questions that were asked together."""

    __slots__ = ("answers", "is_over", "missing", "then")

    def __init__(self, servers: Sequence[int], then: Callable[[Answers], None]) -> None:
        self.missing, self.then = set(servers), then
        self.answers: dict[int, Answer] = {}
        self.is_over = False

    def end(self) -> None:
        if not self.is_over:
            self.is_over = True
            self.then(self.answers)


class Move:
    """The mover, and what it has copied.

    Attributes:
        id: its identity.
        is_sealed: whether the newest edition is a sealed one.
        is_copied: whether everything is copied under this seal.
        has_moved: whether another cluster has taken this one's place.
        copy: the timestamp of each object's newest version, as far as it is copied.
        successor: that other cluster; None if this one is opened again.
    """

    def __init__(self, world: World, book: Book, quorums: QuorumSystem, watch: Watch, machine: int) -> None:
        """Nothing is sealed yet."""
        self.id, self._machine = client_id("mover"), machine
        self.is_sealed = self.is_copied = self.has_moved = self._is_wary = False
        self.successor: Successor | None = None
        self._versions: dict[ObjectId, bytes] = {}
        self.copy: dict[ObjectId, LogicalTimestamp] = {}
        self._world, self._book, self._quorums, self._watch = world, book, quorums, watch
        self._connections: dict[int, tuple[Connection, ServerHost]] = {}
        self._rounds: dict[tuple[int, int], _Round] = {}
        self._random = world.stream("mover")
        self._numbers = self._life = 0

    # --- what operators do ------------------------------------------------------------------------------------

    def seal(self) -> None:
        """A sealed edition; the mover begins."""
        if self.is_sealed:
            return
        self._book.seal(self.id)
        self._world.counters["move.sealed"] += 1
        self.is_sealed, self.is_copied = True, False
        self._begin()

    def open(self) -> None:
        """An edition that is open again: the move is given up, or what was to be seen of it has been seen."""
        if not self.is_sealed or self.has_moved:
            return
        if self.is_copied:
            self._judge("when the cluster was opened again")
        self._world.counters["move.opened"] += 1
        self._book.open_again()
        self.is_sealed = False
        self._life += 1

    def die(self) -> None:
        """The mover is killed, and started again: it begins anew with the copy."""
        if self.is_sealed and not self.is_copied:
            self._world.counters["move.mover died"] += 1
            self._begin()

    def finish(self, servers: Sequence[ServerHost], calm: Weather) -> None:
        """All servers are told; the cluster is copied, and then it hands over, or is opened again.

        Raises:
            Violation: it is not copied in time, or the copy is wrong.
        """
        for server in servers:
            server.switch(self._book.newest)
        if not self.is_copied:
            self._world.run(self._world.now_ns + MOVE_NS, lambda: self.is_copied)
        if not self.is_copied:
            raise Violation("not moved", f"the cluster was not copied {MOVE_NS / SECOND:g} s after all was healed")
        self._hand_over()
        self.open()
        if self.successor is not None:
            self.successor.heal(calm)

    def _hand_over(self) -> None:
        """The new servers begin with the copy, and the last edition names them; old servers hear of it by and by."""
        if self.successor is None or self.has_moved:
            return
        self.has_moved = True
        self._world.counters["move.handed over"] += 1
        self.successor.make({name: (self.copy[name], data) for name, data in self._versions.items()})
        self._book.hand_over(self.id)
        for server in [self._book.host(self._book.newest, slot) for slot in range(self._quorums.n)]:
            self._world.after(self._random.randrange(TELLING_NS), partial(server.switch, self._book.newest))

    def close(self) -> None:
        """The run is over: what the old cluster has acknowledged is still in the copy that the new one began with."""
        if self.has_moved:
            self._judge("after another cluster had taken its place")

    # --- the copy ---------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        self._life += 1
        self.copy, self._versions = {}, {}
        for connection, server in self._connections.values():
            server.close(connection)
        self._connections, self._rounds = {}, {}
        self._later(self._list)

    def _later(self, go_on: Callable[[], None]) -> None:
        life = self._life
        self._world.after(LOOK_NS, lambda: go_on() if life == self._life else None)

    def _list(self) -> None:
        """Ask for all lists, once q servers are sealed."""

        def frame(number: int, _: int) -> bytes:
            return list_frame(ListRequest(number, ObjectId(""), LIST_ENTRIES_MAX, LIST_BYTES_MAX, is_whole=True))

        self._ask(frame, self._listed, self._list)

    def _listed(self, answers: Answers) -> None:
        pages = [each for each in answers.values() if isinstance(each, ListReply) and not each.refusal]
        if len(pages) < self._quorums.q:
            self._later(self._list)
            return
        shown = Counter(name for page in pages for name in {entry.object_id for entry in page.entries})
        self._copy_next(sorted(name for name, count in shown.items() if count > self._quorums.b))

    def _copy_next(self, names: Sequence[ObjectId]) -> None:
        if names:
            self._read(names[0], partial(self._copy_next, names[1:]))
            return
        self.is_copied = True
        self._world.counters["move.copied"] += 1
        self._judge("when it was copied")
        self._later(self._hand_over)

    def _read(self, name: ObjectId, done: Callable[[], None]) -> None:
        """Read an object at all sealed servers until q of them agree on its newest version."""
        sets = (empty_histories(name, self._quorums.n),)

        def frame(number: int, _: int) -> bytes:
            return request_frame(number, encode(Request(name, sets, b"")), b"")

        again = partial(self._read, name, done)
        self._ask(frame, lambda answers: self._judge_reading(name, answers, done), again)

    def _judge_reading(self, name: ObjectId, answers: Answers, done: Callable[[], None]) -> None:
        shown = {server: vote.histories for server, (vote, _) in self._votes(answers).items()}
        again = partial(self._read, name, done)
        reading = read(self._quorums, name, {server: each[0] for server, each in shown.items() if len(each) == 1})
        if reading is None:
            self._later(again)
        elif reading.candidate.is_barrier or len(reading.settled) < agreeing(self._quorums):
            self._repair(name, again)
        elif reading.candidate.timestamp == INITIAL_TIMESTAMP:
            self._take(name, INITIAL_TIMESTAMP, done)
        else:
            self._fetch(name, reading, done)

    @staticmethod
    def _votes(answers: Answers) -> dict[int, tuple[Vote, bytes]]:
        return {server: answer for server, answer in answers.items() if isinstance(answer, tuple)}

    def _fetch(self, name: ObjectId, reading: Reading, done: Callable[[], None]) -> None:
        timestamp = reading.candidate.timestamp
        whole = self._random.choice(reading.holders)

        def frame(number: int, server: int) -> bytes:
            return sync_frame(SyncRequest(number, name, timestamp, server == whole))

        def heard(answers: Answers) -> None:
            replies = {server: each for server, each in answers.items() if isinstance(each, SyncReply) and each.digest}
            counts = Counter(each.digest for each in replies.values())
            best, count = counts.most_common(1)[0] if counts else (b"", 0)
            data = replies[whole].version if whole in replies else b""
            if count <= self._quorums.b or not data or digest(data) != best:
                self._later(partial(self._read, name, done))
                return
            self._watch.check_version(name, timestamp, kept_version(decode_version(data)))
            self._versions[name] = data
            self._take(name, timestamp, done)

        self._ask(frame, heard, partial(self._read, name, done), reading.holders)

    def _take(self, name: ObjectId, timestamp: LogicalTimestamp, done: Callable[[], None]) -> None:
        self.copy[name] = timestamp
        done()

    def _repair(self, name: ObjectId, then: Callable[[], None]) -> None:
        """Repair until nothing is left to do at any sealed server."""
        self._world.counters["move.repair"] += 1
        self._is_wary = not self._is_wary
        self._step(Inquiry(self._quorums, NO_SERVER, (), name, is_wary=self._is_wary), then, is_reading=True)

    def _step(self, rounds: Inquiry, then: Callable[[], None], *, is_reading: bool) -> None:
        sealed = self._sealed()
        if rounds.rounds >= INQUIRY_ROUNDS_MAX or len(sealed) < self._quorums.q:
            self._later(then)
            return
        self._numbers += 1
        number = self._numbers
        asks = (rounds.read if is_reading else rounds.repair)(self._world.now_ns, number, sealed)

        def heard(answers: Answers) -> None:
            for server, (vote, authenticators) in self._votes(answers).items():
                with suppress(PeerViolation):
                    rounds.take(self._world.now_ns, server, number, vote, authenticators)
            plan = rounds.plan()
            is_too_much = isinstance(plan, Missing) and not rounds.add(plan.objects)
            if is_too_much or (plan is None and rounds.has_read_all):
                self._later(then)
            else:
                self._step(rounds, then, is_reading=plan is None or isinstance(plan, Missing))

        self._send({ask.server: (number, ask.frame) for ask in asks}, heard)

    # --- questions --------------------------------------------------------------------------------------------

    def _ask(
        self,
        frame: Callable[[int, int], bytes],
        then: Callable[[Answers], None],
        again: Callable[[], None],
        servers: Sequence[int] | None = None,
    ) -> None:
        """Ask sealed servers; ``again`` is done a while later if fewer than q are, or are connected."""
        sealed = self._sealed()
        if len(sealed) < self._quorums.q:
            self._later(again)
            return
        frames = {}
        for server in sealed if servers is None else [server for server in servers if server in sealed]:
            self._numbers += 1
            frames[server] = self._numbers, frame(self._numbers, server)
        self._send(frames, then)

    def _send(self, frames: Mapping[int, tuple[int, bytes]], then: Callable[[Answers], None]) -> None:
        """Send numbered frames to servers, and hear the answers when all are here or time is over."""
        life = self._life
        round_ = _Round(list(frames), lambda answers: then(answers) if life == self._life else None)
        for server, (number, frame) in frames.items():
            self._rounds[number, server] = round_
            connection, host = self._connections[server]
            host.network.call(connection, frame)
        self._world.after(ROUND_NS, round_.end)

    def _sealed(self) -> list[int]:
        """The servers to which there is a connection that began with the sealed edition's name."""
        for server in range(self._quorums.n):
            connection, host = self._connections.get(server, (None, None))
            if connection is not None and connection.is_open:
                continue
            self._connections.pop(server, None)
            host = self._book.host(self._book.newest, server)
            if host.is_up and self._may_count(host):
                self._connections[server] = host.accept(self._machine, self.id, self._hear), host
        return sorted(self._connections)

    def _may_count(self, host: ServerHost) -> bool:
        return host.announces() == self._book.edition(self._book.newest).name

    def _hear(self, connection: Connection, frame: bytes) -> None:
        try:
            number, answer = _decode(frame)
        except PeerViolation:
            return
        server = connection.callee
        round_ = self._rounds.pop((number, server), None)
        if round_ is None or answer is None:
            return
        round_.answers[server] = answer
        round_.missing.discard(server)
        if not round_.missing:
            round_.end()

    # --- what must hold ---------------------------------------------------------------------------------------

    def _judge(self, when: str) -> None:
        """M2: nothing acknowledged is missing from the copy, and nothing is acknowledged later.

        Raises:
            Violation: the copy has another version of an object than the newest established one.
        """
        for name, chain in sorted(self._watch.chains.by_object.items()):
            copied = self.copy.get(name, INITIAL_TIMESTAMP)
            if chain.origin(copied) != chain.origin(chain.tip):
                what = f"{name} {when}: {short(copied)} in the copy, {short(chain.tip)} is established"
                raise Violation("copy", what)


def agreeing(quorums: QuorumSystem) -> int:
    """How many servers have to show a version, and nothing newer, before it is copied."""
    return quorums.q


def _decode(frame: bytes) -> tuple[int, Answer | None]:
    if frame[0] == LIST_REPLY:
        page = decode_list_reply(frame)
        return page.number, page
    if frame[0] == SYNC_REPLY:
        reply = decode_sync(frame)
        return (reply.number, reply) if isinstance(reply, SyncReply) else (0, None)
    if frame[0] == REPLY:
        number, vote, authenticators = split(frame, REPLY)
        return number, (decode_vote(vote), authenticators)
    return 0, None
