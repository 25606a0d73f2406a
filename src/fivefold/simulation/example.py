"""The paper's example execution, replayed on the production servers (Q/U §3.5 and the slides, PROTOCOL §10).

Six servers (t = b = 1, so q = 5 and r = 3), one object, three clients. X and Z use servers 0 to 4, Y uses 1 to 5.
The paper's table differs from a run in three ways. Its ⟨3,1⟩ has in truth the same time as ⟨2,1⟩ and sorts after it by
client: here it is written 2', and all later times are one lower. Where the paper has one line for a client's operation
a run has one for each request. And the slide prints server 4's history after the first copy as {5,4b,2,1}: by the rules
it is {5,4b,3,1}, here {4,3b,2',1}.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from msgspec import Struct

from fivefold.checker import Outcome
from fivefold.objects import Object, Registry, query, update
from fivefold.protocol.history import short
from fivefold.protocol.messages import SUCCESS
from fivefold.protocol.operations import ClientId, ObjectId, Operation
from fivefold.protocol.records import LogicalTimestamp, Vote
from fivefold.simulation.events import Called, Died, Ended, Happened
from fivefold.simulation.rack import Letter, client_id, one_call
from fivefold.simulation.recorder import RecordingRack


class Card(Object):
    """The object of the example: one suit."""

    suit: str = "♥"

    @query
    def get(self) -> str:
        """The suit."""
        return self.suit

    @update
    def set(self, suit: str) -> None:
        """Replace the suit."""
        self.suit = suit


class ExampleRow(Struct, frozen=True):
    """One request of the example and what the servers made of it.

    Attributes:
        operation: client and operation, ``X set(♣)``; ``X repair`` for a request without an operation.
        kind: what the request derives to, ``METHOD``.
        accepted_by: servers that answered SUCCESS.
        cells: each server's history afterwards, newest first, ``{1,0}``; ``b`` marks barriers, ``'`` the later of two
            candidates of one time.
        result: what the client makes of the replies.
    """

    operation: str
    kind: str
    accepted_by: tuple[int, ...]
    cells: tuple[str, ...]
    result: str


SERVERS: Final = 6
LOW: Final = range(5)
"""Where X and Z send first."""
HIGH: Final = range(1, 6)
"""Where Y sends first."""

CLIENTS: Final = ("X", "Y", "Z")
_CARD: Final = ObjectId("Card/example")
_X, _Y, _Z = map(client_id, CLIENTS)


class _Stage:
    """The rack, and the rows written so far."""

    def __init__(self) -> None:
        self.registry = Registry(Card)
        self.rack = RecordingRack(self.registry, n=SERVERS, t=1, b=1, clients=CLIENTS)
        self.rows: list[ExampleRow] = []
        self._calls = 0
        self._under_way: dict[ClientId, int] = {}

    def letter(self, client: ClientId, seen: Iterable[int], text: str = "") -> Letter:
        """A request conditioned on what servers show now; ``text`` is ``get``, a suit to set, or nothing (a repair)."""
        view = {_CARD: {server: self.rack.history(server, _CARD) for server in seen}}
        return Letter(self.rack, client, view, operation=self._operation(client, text) if text else None)

    def _operation(self, client: ClientId, text: str) -> Operation:
        self._calls += 1
        method, arguments = ("get", ()) if text == "get" else ("set", (text,))
        encoded = self.registry.encode_arguments((_CARD,), method, arguments)
        if client not in self._under_way:
            self.wants(client, method, encoded)
        return one_call((_CARD,), method, encoded, self._calls.to_bytes(16, "big"))

    def wants(self, client: ClientId, method: str, arguments: bytes = b"") -> None:
        """A client makes a call, of which :meth:`row` says the end."""
        number = self._under_way[client] = 1 + len(self.rows)
        self.rack.tell(Called(self._index(client), number, method, (_CARD,), arguments, method == "get"))

    def gives_up(self, client: ClientId) -> None:
        """A client's call ends, and it does not know how."""
        number = self._under_way.pop(client)
        seen = "backs off, and the paper follows the call no further"
        self.rack.tell(Ended(self._index(client), number, Outcome.UNKNOWN.value, seen))

    def dies(self, client: ClientId) -> None:
        """A client's process ends."""
        del self._under_way[client]
        self.rack.tell(Died(self._index(client)))

    def _index(self, client: ClientId) -> int:
        return self.rack.machines[client] - SERVERS

    def row(self, operation: str, letter: Letter, votes: dict[int, Vote], result: str, *, is_end: bool = False) -> None:
        """Write down what the servers hold now; ``{}`` in the result stands for the answer most of them gave.

        With ``is_end`` the client's call is over.
        """
        accepted = tuple(server for server, vote in sorted(votes.items()) if vote.status == SUCCESS)
        kind = letter.kind()
        answers = [vote.answers[0] for vote in votes.values() if vote.answers]
        if "{}" in result:
            best = max(answers, key=answers.count)
            result = result.format(self.registry.decode_answer((_CARD,), "get", best))
        self.rows.append(ExampleRow(operation, kind.value if kind else "-", accepted, self._cells(), result))
        if is_end:
            number = self._under_way.pop(letter.client)
            self.rack.tell(Ended(self._index(letter.client), number, Outcome.OK.value, result))

    def send(self, operation: str, letter: Letter, to: Iterable[int], result: str, *, is_end: bool = False) -> None:
        """Deliver a request and write its row."""
        self.row(operation, letter, letter.to(to), result, is_end=is_end)

    def _cells(self) -> tuple[str, ...]:
        histories = [self.rack.entries(server, _CARD) for server in range(SERVERS)]
        known = sorted({entry.candidate.timestamp for history in histories for entry in history})
        names: dict[LogicalTimestamp, str] = {}
        for timestamp in known:
            name = short(timestamp)
            names[timestamp] = name + "'" if name in names.values() else name
        written = [[names[entry.candidate.timestamp] for entry in reversed(history)] for history in histories]
        return tuple("{" + ",".join(cell) + "}" for cell in written)


def run_example() -> list[ExampleRow]:
    """Run the example on six production servers; one row for each request, in the order of the paper."""
    return record_example()[0]


def record_example() -> tuple[list[ExampleRow], tuple[Happened, ...]]:
    """The same rows, and what happened on the way as events: the servers are machines 0 to 5, X, Y and Z 6 to 8."""
    stage = _Stage()
    _first_writes(stage)
    _contention(stage)
    _a_client_dies(stage)
    return stage.rows, stage.rack.events


def _first_writes(stage: _Stage) -> None:
    """One round each in the fault-free case; a server that heard nothing is brought up by inline repair."""
    stage.send("X get", stage.letter(_X, [], "get"), LOW, "returns {}", is_end=True)
    stage.send("X set(♣)", stage.letter(_X, LOW, "♣"), LOW, "established in one round", is_end=True)
    stage.send("Y get", stage.letter(_Y, [], "get"), HIGH, "stale on 1-4, which show 1: order 4, so repair it inline")
    stage.send("Y repair", stage.letter(_Y, HIGH), HIGH, "server 5 syncs the object; 1 is complete")
    stage.send("Y get", stage.letter(_Y, HIGH, "get"), HIGH, "returns {}", is_end=True)


def _contention(stage: _Stage) -> None:
    """Two writes at once: neither completes; the one that is found repairable is copied behind a barrier."""
    x, y = stage.letter(_X, LOW, "♦"), stage.letter(_Y, HIGH, "♥")
    x_votes = x.to(range(4))
    y_votes = y.to((4, 5))
    stage.row("X set(♦)", x, x_votes | x.to([4]), "reaches 0-3, comes late to 4: order 4")
    stage.row(
        "Y set(♥)", y, y_votes | y.to(range(1, 4)), "reaches 4 and 5, comes late to 1-3; both see BARRIER, Y backs off"
    )
    stage.send("X repair", stage.letter(_X, LOW), LOW, "the barrier is complete")
    done = "♦ is copied behind the barrier: X's set is done"
    stage.send("X repair", stage.letter(_X, LOW), LOW, done, is_end=True)


def _a_client_dies(stage: _Stage) -> None:
    """An update that reached too few servers is finished by nobody, though one client would have tried to."""
    stage.send("X set(♠)", stage.letter(_X, LOW, "♠"), range(3), "X dies after 0-2: ♠ is neither done nor gone")
    stage.dies(_X)
    stage.gives_up(_Y)
    stage.wants(_Y, "get")
    stage.wants(_Z, "get")
    y, z = stage.letter(_Y, HIGH), stage.letter(_Z, LOW)
    stage.send("Y repair", y, HIGH, "Y wants to get; ♠ has order 2, ♦ has order 4: the barrier is complete")
    stage.send("Z repair", z, LOW, "Z wants to get; ♠ has order 3: inline, refused by 3 and 4; Z backs off")
    stage.send("Y repair", stage.letter(_Y, HIGH), HIGH, "♦ is copied behind the barrier; ♠ is gone for good")
    stage.send("Y get", stage.letter(_Y, HIGH, "get"), HIGH, "returns {}", is_end=True)
