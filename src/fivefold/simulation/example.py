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

from fivefold.objects import Object, Registry, query, update
from fivefold.protocol.history import short
from fivefold.protocol.messages import SUCCESS
from fivefold.protocol.operations import ClientId, ObjectId, Operation
from fivefold.protocol.records import LogicalTimestamp, Vote
from fivefold.simulation.rack import Letter, Rack, client_id, one_call


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

_CARD: Final = ObjectId("Card/example")
_X, _Y, _Z = client_id("X"), client_id("Y"), client_id("Z")


class _Stage:
    """The rack, and the rows written so far."""

    def __init__(self) -> None:
        self.registry = Registry(Card)
        self.rack = Rack(self.registry, n=SERVERS, t=1, b=1)
        self.rows: list[ExampleRow] = []
        self._calls = 0

    def letter(self, client: ClientId, seen: Iterable[int], text: str = "") -> Letter:
        """A request conditioned on what servers show now; ``text`` is ``get``, a suit to set, or nothing (a repair)."""
        view = {_CARD: {server: self.rack.history(server, _CARD) for server in seen}}
        return Letter(self.rack, client, view, operation=self._operation(text) if text else None)

    def _operation(self, text: str) -> Operation:
        self._calls += 1
        method, arguments = ("get", ()) if text == "get" else ("set", (text,))
        encoded = self.registry.encode_arguments((_CARD,), method, arguments)
        return one_call((_CARD,), method, encoded, self._calls.to_bytes(16, "big"))

    def row(self, operation: str, letter: Letter, votes: dict[int, Vote], result: str) -> None:
        """Write down what the servers hold now; ``{}`` in the result stands for the answer most of them gave."""
        accepted = tuple(server for server, vote in sorted(votes.items()) if vote.status == SUCCESS)
        kind = letter.kind()
        answers = [vote.answers[0] for vote in votes.values() if vote.answers]
        if "{}" in result:
            best = max(answers, key=answers.count)
            result = result.format(self.registry.decode_answer((_CARD,), "get", best))
        self.rows.append(ExampleRow(operation, kind.value if kind else "-", accepted, self._cells(), result))

    def send(self, operation: str, letter: Letter, to: Iterable[int], result: str) -> None:
        """Deliver a request and write its row."""
        self.row(operation, letter, letter.to(to), result)

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
    stage = _Stage()
    _first_writes(stage)
    _contention(stage)
    _a_client_dies(stage)
    return stage.rows


def _first_writes(stage: _Stage) -> None:
    """One round each in the fault-free case; a server that heard nothing is brought up by inline repair."""
    stage.send("X get", stage.letter(_X, [], "get"), LOW, "returns {}")
    stage.send("X set(♣)", stage.letter(_X, LOW, "♣"), LOW, "established in one round")
    stage.send("Y get", stage.letter(_Y, [], "get"), HIGH, "stale on 1-4, which show 1: order 4, so repair it inline")
    stage.send("Y repair", stage.letter(_Y, HIGH), HIGH, "server 5 syncs the object; 1 is complete")
    stage.send("Y get", stage.letter(_Y, HIGH, "get"), HIGH, "returns {}")


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
    stage.send("X repair", stage.letter(_X, LOW), LOW, "♦ is copied behind the barrier: X's set is done")


def _a_client_dies(stage: _Stage) -> None:
    """An update that reached too few servers is finished by nobody, though one client would have tried to."""
    stage.send("X set(♠)", stage.letter(_X, LOW, "♠"), range(3), "X dies after 0-2: ♠ is neither done nor gone")
    y, z = stage.letter(_Y, HIGH), stage.letter(_Z, LOW)
    stage.send("Y repair", y, HIGH, "Y wants to get; ♠ has order 2, ♦ has order 4: the barrier is complete")
    stage.send("Z repair", z, LOW, "Z wants to get; ♠ has order 3: inline, refused by 3 and 4; Z backs off")
    stage.send("Y repair", stage.letter(_Y, HIGH), HIGH, "♦ is copied behind the barrier; ♠ is gone for good")
    stage.send("Y get", stage.letter(_Y, HIGH, "get"), HIGH, "returns {}")
