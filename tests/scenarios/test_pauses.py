"""PROTOCOL §6: how long a client pauses under contention, and what it does meanwhile."""

from __future__ import annotations

from fivefold.protocol import limits
from fivefold.protocol.outcomes import Answered
from fivefold.protocol.steps import Kind
from tests.protocol_rig import A, B, Desk, WatchedRack, X, Y, now, op, send


def test_with_several_objects_a_long_pause_is_not_cut_short() -> None:
    """An inventing liar would each time undo what was repaired of the others: X rests, and sends nothing meanwhile."""
    rack = WatchedRack()
    low = rack.quorums.preference(A)[:5]
    mine, other = sorted((X, Y))
    send(rack, other, now(rack, [], A, B), low[3:], kind=Kind.METHOD, operation=op("add", b"-", A, B))
    desk = Desk(rack, mine)
    ticket = desk.start(op("add", b"+", A, B), timeout_s=100)
    desk.session._running[ticket]._backoffs = limits.REPAIR_DOUBLINGS_MAX
    while desk.pending:
        desk.step()
    started_ns = rack.now_ns
    while not desk.pending:
        desk.step()
    assert rack.now_ns - started_ns > 16 * limits.BACKOFF_NS
    assert desk.finish(ticket) == Answered((b"v|",))
