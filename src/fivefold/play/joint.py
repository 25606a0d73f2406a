"""Scenarios over two objects: a transfer whose client dies, and why each object must not be repaired by itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from msgspec.structs import replace

from fivefold.objects import Account, Registry, transfer
from fivefold.play.recording import Note, Recording
from fivefold.play.staging import MILLISECOND, STEADY, Cue, Line, Staged
from fivefold.protocol import classify
from fivefold.protocol.operations import ClientId, ObjectId
from fivefold.protocol.quorums import QuorumSystem
from fivefold.simulation import (
    Called,
    Died,
    Ended,
    Fault,
    Letter,
    RecordingRack,
    client_id,
    one_call,
    planted,
)

TRANSFER: Final = "transfers.transfer"
ALICE, BOB = ObjectId("Account/alice"), ObjectId("Account/bob")
BOTH: Final = (ALICE, BOB)


def _worth(method: str, arguments: Mapping[str, object]) -> str:
    """What a version of an account is called: the deposit, or M for the transfer."""
    return {"deposit": f"+{arguments.get('amount')}", TRANSFER: "M"}.get(method, "")


DYING_TRANSFER: Final = Staged(
    name="transfer",
    title="A transfer whose client dies",
    summary="X moves money from Alice to Bob and dies while the transfer is on its way. The next client decides "
    "for both accounts at once: the money is never gone, and never there twice.",
    things=(Account, transfer),
    script=(
        Line(0, 1, (ALICE,), "deposit", {"amount": 10}),
        Line(0, 12, BOTH, TRANSFER, {"amount": 4}),
        Line(1, 20, (BOB,), "balance"),
        Line(1, 60, (ALICE,), "balance"),
    ),
    seed=10,
    weather=replace(STEADY, delay_spread_ns=3 * MILLISECOND),
    value_of=_worth,
    until_ms=110,
    faults=(Fault("death of client", 14 * MILLISECOND, 0, (0,)),),
    rows=(
        Note(0, "Ten for Alice", "X deposits 10 into Alice’s account."),
        Note(
            1,
            "One request, two accounts",
            "The transfer carries a history set for each account and gets one timestamp. A server accepts it for "
            "both or for none.",
        ),
        Note(
            2,
            "Y looks at Bob",
            "Y only wants Bob’s balance. But at Bob it finds the transfer, which some servers have accepted and "
            "others have not.",
        ),
        Note(
            3,
            "Something is missing",
            "M’s entry names Alice, too. Y’s repair of Bob alone is no step: the servers want to see both "
            "accounts, and Y fetches what it lacks.",
        ),
        Note(
            4,
            "Both at once",
            "Now Y finishes the transfer on both accounts: every server accepts it for both or for none.",
        ),
        Note(5, "Four for Bob", "Bob has 4 …"),
        Note(6, "Six for Alice", "… and Alice 6. Nothing is gone, and nothing is there twice."),
    ),
    cues=(
        Cue(
            lambda event: isinstance(event, Died),
            "X dies",
            "Some servers have the transfer, others never will. Nobody was told that it is done.",
        ),
    ),
)

X, Y, Z = map(client_id, "XYZ")
CLIENTS: Final = ("X", "Y", "Z")
SERVERS: Final = 4


class _Bank:
    """Four servers that only crash (t = 1, b = 0, so q = 3 and r = 2), two accounts, and requests made by hand."""

    def __init__(self) -> None:
        self.registry = Registry(Account, transfer)
        self.rack = RecordingRack(self.registry, n=SERVERS, t=1, b=0, clients=CLIENTS)
        self._calls = 0

    def repair(self, client: ClientId, seen: Iterable[int], to: Iterable[int], *objects: ObjectId) -> None:
        """A repair that shows what servers hold now."""
        Letter(self.rack, client, self._view(seen, objects)).to(to)

    def call(
        self,
        client: ClientId,
        seen: Iterable[int],
        to: Iterable[int],
        *objects: ObjectId,
        method: str = "balance",
        amount: int = 0,
    ) -> None:
        """A call's request that shows what servers hold now."""
        self._calls += 1
        arguments = self.registry.encode_arguments(objects, method, (), {"amount": amount} if amount else {})
        is_query = not self.registry.find(objects, method).is_update
        self.rack.tell(Called(self._index(client), self._calls, method, objects, arguments, is_query))
        operation = one_call(objects, method, arguments, self._calls.to_bytes(16, "big"))
        Letter(self.rack, client, self._view(seen, objects), operation=operation).to(to)

    def _view(self, seen: Iterable[int], objects: tuple[ObjectId, ...]) -> dict[ObjectId, dict[int, bytes]]:
        servers = list(seen)
        return {name: {server: self.rack.history(server, name) for server in servers} for name in objects}

    def ends(self, client: ClientId, seen: str) -> None:
        """A call is over."""
        self.rack.tell(Ended(self._index(client), self._calls, "ok", seen))

    def dies(self, client: ClientId) -> None:
        """A client's process ends."""
        self.rack.tell(Died(self._index(client)))

    def _index(self, client: ClientId) -> int:
        return self.rack.machines[client] - SERVERS

    def begin(self) -> None:
        """Ten for Alice, and a transfer that reaches s0 and s1."""
        self.call(X, [], range(SERVERS), ALICE, method="deposit", amount=10)
        self.ends(X, "returns 10")
        self.call(X, range(SERVERS), (0, 1), *BOTH, method=TRANSFER, amount=4)
        self.dies(X)

    def recording(self, name: str, title: str, summary: str, notes: tuple[Note, ...]) -> Recording:
        """What happened."""
        return Recording(
            name=name,
            title=title,
            summary=summary,
            command=f"fivefold play {name}",
            quorums=QuorumSystem(SERVERS, 1, 0),
            clients=tuple((each, client_id(each)) for each in CLIENTS),
            events=self.rack.events,
            notes=notes,
            value_of=_worth,
        )


_BEGINNING: Final = (
    Note(0, "Ten for Alice", "Alice has 10, Bob has nothing."),
    Note(
        1,
        "M reaches two of four",
        "X moves 4 from Alice to Bob. The transfer M reaches s0 and s1, then X dies. Two of four is r, but no "
        "quorum: nobody knows whether M is done.",
    ),
)


def alone() -> Recording:
    """The anomaly: with rule S3 left out, two repairs, each of them right about its object, tear a transfer apart."""
    bank = _Bank()
    with planted([(classify, "is_settled", lambda *view: True)]):
        bank.begin()
        bank.repair(Y, (0, 1, 2), range(SERVERS), ALICE)
        bank.repair(Z, (1, 2, 3), (1, 2, 3), BOB)
        bank.repair(Z, (1, 2, 3), (1, 2, 3), BOB)
        bank.call(Y, (0, 1, 2), (0, 1, 2), ALICE)
        bank.ends(Y, "returns 6")
        bank.call(Z, (1, 2, 3), (1, 2, 3), BOB)
        bank.ends(Z, "returns 0")
    return bank.recording(
        "alone",
        "The anomaly: each object repaired alone",
        "This run breaks: rule S3 is left out on purpose, so each account is repaired by itself. Four are "
        "missing at the end.",
        (
            *_BEGINNING,
            Note(
                2,
                "Y repairs Alice alone",
                "At Alice M shows twice, which is r: Y finishes it inline on s2 and s3. By the rules for one object "
                "that is right. M is now established on Alice.",
            ),
            Note(
                3,
                "Z repairs Bob alone",
                "Z sees s1, s2 and s3. At Bob M shows only once: it cannot be complete, say the rules for one object. "
                "A barrier.",
            ),
            Note(
                4,
                "… and copies version 0",
                "Behind the barrier the newest version that shows r times is ⟨0⟩. Z copies it. Each repair was right "
                "about its object, and together they tore M apart.",
            ),
            Note(5, "Alice has 6", "The money has left Alice …"),
            Note(6, "Bob has nothing", "… and has not come to Bob. Four are gone."),
        ),
    )


def together() -> Recording:
    """The rule that prevents it: what is not known to be established is finished for all its objects."""
    bank = _Bank()
    bank.begin()
    bank.repair(Y, (0, 1, 2), range(SERVERS), *BOTH)
    bank.call(Z, (1, 2, 3), (1, 2, 3), BOB)
    bank.ends(Z, "returns 4")
    bank.call(Y, (0, 1, 2), (0, 1, 2), ALICE)
    bank.ends(Y, "returns 6")
    return bank.recording(
        "together",
        "The rule: both objects at once",
        "The same beginning, with all rules in place. A candidate over several objects that is not known to "
        "be established is finished for all of them, or for none.",
        (
            *_BEGINNING,
            Note(
                2,
                "Y repairs both",
                "M’s entry names both accounts, so Y needs to see both. M is the newest and shows r times at each: Y "
                "finishes it on both, and every server accepts both or none (S3).",
            ),
            Note(
                3, "Bob has 4", "Z finds M complete at Bob: there is nothing left to repair, and nothing to tear apart."
            ),
            Note(4, "Alice has 6", "Ten in all, as before."),
        ),
    )
