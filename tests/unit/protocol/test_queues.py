"""Which calls wait, and which travel together (ours: combining)."""

from __future__ import annotations

import pytest

from fivefold.protocol.client.pending import Pending
from fivefold.protocol.client.queues import Queues, combined
from fivefold.protocol.limits import ARGUMENTS_BYTES_MAX, CALLS_MAX
from tests.protocol_rig import A, B, op


def call(ticket: int, *, size: int = 0, is_query: bool = False, is_single: bool = False) -> Pending:
    return Pending(ticket, op("add", bytes(size)), (A,), is_query, 9, False, is_single)


def batch(*calls: Pending, is_combining: bool = True) -> list[int]:
    """Which of these calls travel first, having waited for one that is over now."""
    queues = Queues(is_combining=is_combining)
    assert queues.enter(call(0))
    assert not any(queues.enter(each) for each in calls)
    (found,) = queues.free((A,))
    return [each.ticket for each in found]


@pytest.mark.parametrize(("count", "together"), [(CALLS_MAX - 1, 15), (CALLS_MAX, 16), (CALLS_MAX + 1, 16)])
def test_so_many_calls_travel_together(count: int, together: int) -> None:
    """CALLS_MAX at most, in the order in which they were made."""
    assert batch(*map(call, range(1, count + 1))) == list(range(1, together + 1))


@pytest.mark.parametrize(("size", "together"), [(0, [1, 2]), (1, [1, 2]), (2, [1])])
def test_their_arguments_have_a_largest_size(size: int, together: list[int]) -> None:
    """Together they take ARGUMENTS_BYTES_MAX at most, as those of one call."""
    assert batch(call(1, size=ARGUMENTS_BYTES_MAX - 1), call(2, size=size)) == together


def test_queries_updates_and_single_calls_travel_apart() -> None:
    """What comes first travels first, with those of its kind right behind it."""
    assert batch(call(1), call(2), call(3, is_query=True), call(4)) == [1, 2]
    assert batch(call(1, is_query=True), call(2, is_query=True), call(3)) == [1, 2]
    assert batch(call(1), call(2, is_single=True)) == [1]
    assert batch(call(1, is_single=True), call(2)) == [1]


def test_without_combining_every_call_travels_alone() -> None:
    """In the same order."""
    assert batch(call(1), call(2), is_combining=False) == [1]


def test_a_call_of_two_objects_starts_when_both_are_free() -> None:
    """And when it is the first of both queues: what was called before it comes before it."""
    queues = Queues()
    both = Pending(3, op("add", b"", A, B), (A, B), False, 9, False, True)
    assert queues.enter(call(1))
    assert not queues.enter(both)
    behind = Pending(4, op("add", b"", B), (B,), False, 9, False, False)
    assert not queues.enter(behind), "B is free, and promised"
    assert queues.free((A,)) == [[both]]
    assert queues.free((A, B)) == [[behind]]


def test_what_is_put_back_goes_first_and_alone() -> None:
    """Calls of a combined operation that was refused as a whole, in their order."""
    queues = Queues()
    first, second, third = map(call, (1, 2, 3))
    assert queues.enter(first)
    assert not queues.enter(third)
    queues.put_back([first, second])
    assert queues.free((A,)) == [[first]]
    assert queues.free((A,)) == [[second]]
    assert queues.free((A,)) == [[third]]
    assert combined([third]) is third.operation
