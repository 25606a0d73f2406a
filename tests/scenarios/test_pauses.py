"""PROTOCOL §6: how long a client pauses under contention, and what it does meanwhile."""

from __future__ import annotations

import pytest

from fivefold.protocol import limits
from fivefold.protocol.client.outcomes import Answered
from fivefold.protocol.steps import Kind
from tests.protocol_rig import A, B, Desk, WatchedRack, X, Y, invocation_of, now, op, send

MILLISECOND = 1_000_000


@pytest.mark.parametrize(
    ("round_trip_ms", "round_trips_max", "longest_ms"),
    [
        (0.2, limits.RETRY_ROUND_TRIPS_MAX, [0.5, 1, 2, 4, 8, 16, 32, 64, 64, 64]),
        (2, limits.RETRY_ROUND_TRIPS_MAX, [1, 2, 4, 8, 16, 32, 64, 128, 128]),
        (2, limits.REPAIR_ROUND_TRIPS_MAX, [1, 2, 4, 8, 16, 32, 64, 128, 128]),
        (20, limits.RETRY_ROUND_TRIPS_MAX, [10, 20, 40, 80, 160, 200, 200]),
        (20, limits.REPAIR_ROUND_TRIPS_MAX, [10, 20, 40, 80, 160, 320, 320]),
        (300, limits.RETRY_ROUND_TRIPS_MAX, [150, 300, 600, 1200, 1200]),
        (300, limits.REPAIR_ROUND_TRIPS_MAX, [150, 300, 600, 1200, 2400, 4800, 4800]),
    ],
)
def test_pauses_double_up_to_a_bound(round_trip_ms: float, round_trips_max: int, longest_ms: list[float]) -> None:
    """From half a round trip on, at least 0.5 ms, to 200 ms, or so many round trips; each times 0.5 to 1.5."""
    desk = Desk(WatchedRack(), X)
    ticket = desk.start(op("add", b"+"))
    running = invocation_of(desk.session, ticket)
    desk.session.knowledge.round_trip_ns = int(round_trip_ms * MILLISECOND)
    drawn = []
    for _ in range(300):
        running._pauses.count = 0
        drawn.append([running._back_off(round_trips_max) / MILLISECOND for _ in longest_ms])
    for pauses, middle in zip(zip(*drawn, strict=True), longest_ms, strict=True):
        assert 0.5 * middle <= min(pauses) < 0.6 * middle
        assert 1.4 * middle < max(pauses) <= 1.5 * middle


def test_before_a_new_attempt_a_client_far_away_pauses_for_less_than_before_a_repair() -> None:
    """Others made progress, and it cannot be in their way: with 300 ms to the servers it pauses 1.2 s, not 4.8."""
    desk = Desk(WatchedRack(), X)
    ticket = desk.start(op("add", b"+"), timeout_s=100)
    running = invocation_of(desk.session, ticket)
    desk.session.knowledge.round_trip_ns = 300 * MILLISECOND
    running._attempts, running._pauses.count = 2, limits.BACKOFF_DOUBLINGS_MAX
    running._act(desk.rack.now_ns, has_failed=True)
    assert 600 * MILLISECOND <= running._pauses.until_ns - desk.rack.now_ns <= 1800 * MILLISECOND


def test_before_a_repair_a_client_far_away_pauses_for_longer_than_another_s_repair_takes() -> None:
    """That is three round trips: with 300 ms to the servers it pauses 4.8 s, times 0.5 to 1.5."""
    rack = WatchedRack()
    low = rack.quorums.preference(A)[:5]
    mine, other = sorted((X, Y))
    send(rack, other, now(rack, [], A), low[3:], kind=Kind.METHOD, operation=op("add", b"-"))
    desk = Desk(rack, mine)
    running = invocation_of(desk.session, desk.start(op("add", b"+"), timeout_s=100))
    running._pauses.count = limits.BACKOFF_DOUBLINGS_MAX
    while not running._pauses.is_pausing:
        desk.session.knowledge.round_trip_ns = 300 * MILLISECOND
        desk.step()
    assert 2400 * MILLISECOND <= running._pauses.repair_from_ns - rack.now_ns <= 7200 * MILLISECOND


def test_with_several_objects_a_long_pause_is_not_cut_short() -> None:
    """An inventing liar would each time undo what was repaired of the others: X rests, and sends nothing meanwhile."""
    rack = WatchedRack()
    low = rack.quorums.preference(A)[:5]
    mine, other = sorted((X, Y))
    send(rack, other, now(rack, [], A, B), low[3:], kind=Kind.METHOD, operation=op("add", b"-", A, B))
    desk = Desk(rack, mine)
    ticket = desk.start(op("add", b"+", A, B), timeout_s=100)
    invocation_of(desk.session, ticket)._pauses.count = limits.BACKOFF_DOUBLINGS_MAX
    while desk.pending:
        desk.step()
    started_ns = rack.now_ns
    while not desk.pending:
        desk.step()
    assert rack.now_ns - started_ns > 16 * limits.BACKOFF_NS
    assert desk.finish(ticket) == Answered((b"v|",))
