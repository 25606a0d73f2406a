"""A call that is announced, in all orders of a few requests on one object: ``fivefold explore --announced``.

O announces a call to four servers, and withdraws it. X updates and repairs the object; so does Y, whose every operation
carries the call, whether servers list it or not. Beside the requests of these two, O's two frames may reach each server
at any time, in their order or not at all, and a server that starts anew forgets what it keeps for others.

What a server makes of all that is what a production :class:`~fivefold.protocol.server.Server` does that has just loaded
what it holds, and keeps the call if it kept it before.
"""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from fivefold.protocol.actions import Channel
from fivefold.protocol.history import INITIAL_TIMESTAMP, short
from fivefold.protocol.messages import ANNOUNCE, REPLY, SUCCESS, WITHDRAW, decode_vote, encode, request_head, split
from fivefold.protocol.operations import VALUE, Call, Carried, Carrying, Executed, ObjectId, Operation
from fivefold.protocol.quorums import QuorumSystem
from fivefold.protocol.records import LogicalTimestamp
from fivefold.protocol.server import Newest, Server, initial_version, read_rows
from fivefold.simulation.chains import Violation
from fivefold.simulation.exhaustive.exploration import CLIENTS, Budget, Case, Exploration, Explorer, State
from fivefold.simulation.exhaustive.moves import Holding, Moves, Names, Shape, Writer
from fivefold.simulation.rack import Everyone, client_id

N: Final = 4
OWNER: Final = client_id("O")
CARRIER: Final = CLIENTS[1]
MARK: Final = b"x"
"""What the announced call adds to the state; all others add nothing."""
CALL: Final = Call(b"o" * 16, 0, "write", MARK)
LINE: Final = Channel(2)
"""O's connection."""

RESTART, WITHDRAWN, ANNOUNCED = -4, -3, -2
"""What may happen to a server beside requests, by numbers such as these have."""
TOLD: Final = {RESTART: "a server starts anew", WITHDRAWN: "O withdraws its call", ANNOUNCED: "O announces its call"}

PLACES: Final = {ANNOUNCED: 1, WITHDRAWN: 2}
"""O's frames, in their order."""


class Told(Holding, frozen=True):
    """One server's share of a state.

    Attributes:
        heard: how many of O's frames it has heard, or will not hear any more.
        keeps: it keeps O's call for others to carry.
        has_confirmed: it has told O that the call is withdrawn.
    """

    heard: int = 0
    keeps: bool = False
    has_confirmed: bool = False


class Marking(Writer):
    """Appends to the states what calls bring along: so a version tells how often the announced call was applied."""

    def execute(self, objects: Names, call: Call, states: tuple[bytes, ...]) -> Executed:
        """Append it."""
        return Executed(VALUE, tuple([state + call.arguments for state in states]))


class AnnouncedMoves(Moves):
    """The tables, with O's two frames."""

    _executor = Marking()

    def __init__(self, quorums: QuorumSystem) -> None:
        """One object."""
        super().__init__(quorums, 1)
        self._operation_of_owner = Operation(self.names, (CALL,))
        body = encode(self._operation_of_owner)
        self._frames = {ANNOUNCED: request_head(1, body, ANNOUNCE), WITHDRAWN: request_head(2, body, WITHDRAW)}

    def makes_version(self, sending: int) -> bool:
        """All of O's frames matter to the end."""
        return sending < 0 or super().makes_version(sending)

    def _initial(self, histories: tuple[bytes, ...], accepted: tuple[frozenset[LogicalTimestamp], ...]) -> Holding:
        return Told(histories, accepted)

    def _operation(self, shape: Shape, objects: Names, call_id: bytes) -> Operation:
        plain = super()._operation(shape, objects, call_id)
        if shape.client != CARRIER:
            return plain
        return Carrying(objects, plain.calls, b"", 0, (Carried(OWNER, CALL),))

    def _examine(self, number: int, sending: int) -> int:
        held = self._holdings[number]
        assert isinstance(held, Told), "all are"
        if sending == RESTART:  # O hears of it, and announces again unless it has withdrawn its call
            return self._holding_number(replace(held, keeps=False, heard=0 if held.heard == 1 else held.heard))
        if sending in self._frames and held.heard >= PLACES[sending]:
            return number
        self.examined += 1
        server = self._boot(held)
        if sending in self._frames:
            after, replies = self._feed(held, server, OWNER, LINE, self._frames[sending])
            is_confirmed = sending == WITHDRAWN and _is_success(replies)
            after = replace(after, heard=PLACES[sending], has_confirmed=held.has_confirmed or is_confirmed)
        else:
            request = self.sendings[sending]
            after, _ = self._feed(held, server, request.shape.client, Channel(1), request.frame)
        return self._holding_number(replace(after, keeps=bool(server.pool.objects)))

    def _boot(self, held: Told) -> Server:
        server = Server(self.quorums, self._keys, self._executor, Everyone())
        server.pool.is_open = True
        if held.keeps:
            nothing = Newest(INITIAL_TIMESTAMP, initial_version(b""))
            server.pool.announce(LINE, OWNER, 1, self._operation_of_owner, nothing)
        return server

    def applied(self, timestamp: LogicalTimestamp) -> int:
        """How often O's call was applied, up to a version."""
        data = self._versions[self.names[0], timestamp]
        return read_rows([(timestamp, data)])[timestamp].state.count(MARK)

    def _note_version(self, name: ObjectId, timestamp: bytes, version: bytes) -> None:
        super()._note_version(name, timestamp, version)
        if self.applied(LogicalTimestamp(timestamp)) > 1:
            raise Violation("twice", f"the announced call is applied twice in {short(LogicalTimestamp(timestamp))}")


def _is_success(replies: list[bytes]) -> bool:
    """Whether O is told that its call is withdrawn."""
    return any(frame[0] == REPLY and decode_vote(split(frame, REPLY)[1]).status == SUCCESS for frame in replies)


class AnnouncedExplorer(Explorer):
    """All orders; beside all that holds without helping, what is certainly withdrawn is never applied (H9)."""

    moves: AnnouncedMoves

    def __init__(self, requests_max: int, budget: Budget) -> None:
        """Nothing seen yet."""
        quorums = QuorumSystem(N, 1, 0)
        super().__init__(Case(n=N, objects_count=1, requests_max=requests_max), budget, AnnouncedMoves(quorums))
        self._tips: dict[tuple[int, ...], LogicalTimestamp] = {}

    @property
    def start(self) -> State:
        """Nobody has done anything; O's frames are on their way."""
        return ((0,) * N, (RESTART, WITHDRAWN, ANNOUNCED))

    def _verdict(self, servers: tuple[int, ...]) -> Violation | None:
        """Also where O may take its call for dead: q servers have confirmed that it is withdrawn."""
        violation = super()._verdict(servers)
        if violation is not None or self._confirmed(servers) < self.quorums.q:
            return violation
        tip = self._tips.get(servers)
        if tip is None:
            tip = self._tips[servers] = self._chains(servers).of(self.moves.names[0]).tip
        if tip == INITIAL_TIMESTAMP or not self.moves.applied(tip):
            return None
        return Violation("withdrawn", f"q servers have confirmed the withdrawal, and {short(tip)} has applied the call")

    def _confirmed(self, servers: tuple[int, ...]) -> int:
        held = [self.moves.holding(holding) for holding in servers]
        return sum(isinstance(each, Told) and each.has_confirmed for each in held)

    def _sent(self, number: int) -> str:
        return TOLD[number] if number < 0 else super()._sent(number)


def explore_announcement(requests_max: int, budget: Budget) -> Exploration:
    """One announced call at n = 4, with this many requests on one object."""
    return AnnouncedExplorer(requests_max, budget).run()
