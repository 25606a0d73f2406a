"""Reading and repairing an object from the others: which of them are believed."""

from __future__ import annotations

from fivefold.protocol.authenticators import MAC_BYTES
from fivefold.protocol.history import INITIAL_TIMESTAMP, encode_history, initial_entry, make_timestamp
from fivefold.protocol.messages import FAIL
from fivefold.protocol.operations import ClientId, ObjectId
from fivefold.protocol.quorums import QuorumSystem
from fivefold.protocol.records import INITIAL_HISTORY, NO_OPERATION, Candidate, Entry, Part, Vote
from fivefold.protocol.server import Inquiry
from fivefold.protocol.steps import Kind, Plan

A = ObjectId("Counter/a")
SIX = QuorumSystem(6, 1, 1)
LIAR, ALONE = 1, 5


def barrier(time: int) -> bytes:
    """A history with a barrier of that time on the initial version."""
    client, nothing = ClientId(b"c".ljust(16)), bytes(32)
    stamp = make_timestamp(
        time, is_barrier=True, client=client, operation_digest=NO_OPERATION, history_set_digest=nothing
    )
    return encode_history((initial_entry(A), Entry(Candidate(stamp, (Part(A, INITIAL_TIMESTAMP, None),)), False)))


def kinds(*, is_wary: bool, rounds: int) -> list[Kind]:
    """What each round calls for, if no server ever shows anything else.

    Four servers hold a barrier, an honest one holds a later one alone, and a liar accepts nothing.
    """
    shown = {server: barrier(9 if server == ALONE else 4) for server in range(6)} | {LIAR: INITIAL_HISTORY}
    inquiry, found = Inquiry(SIX, -1, (), A, is_wary=is_wary), []
    for number in range(1, rounds + 1):
        (inquiry.read if number == 1 else inquiry.repair)(0, number, range(6))
        for server, history in shown.items():
            vote = Vote(FAIL, b"", (), b"", (history,), ())
            inquiry.take(0, server, number, vote, bytes(SIX.n * MAC_BYTES * bool(history)))
        plan = inquiry.plan()
        assert isinstance(plan, Plan)
        found.append(plan.kind)
    return found


def test_what_a_server_shows_alone_is_heeded_in_each_fourth_round() -> None:
    """Without it a liar is among the q that are left, and the barrier that these four hold is never complete."""
    assert kinds(is_wary=True, rounds=8) == 2 * [*3 * [Kind.INLINE_BARRIER], Kind.BARRIER]


def test_one_that_is_not_wary_heeds_all() -> None:
    """A newcomer must not pass over what a single server holds."""
    assert kinds(is_wary=False, rounds=4) == 4 * [Kind.BARRIER]
