"""A client's call while it is not over, and which part of an operation's outcome is its own."""

from __future__ import annotations

from msgspec import Struct

from fivefold.protocol.client.outcomes import Answered, Disagreed, Finished, Outcome, Refused, TimedOut
from fivefold.protocol.operations import NOT_RUN, ObjectId, Operation


class Pending(Struct):
    """One call as its caller made it.

    Attributes:
        ticket: its number.
        operation: an operation of just this call.
        objects: the operation's objects in the order of their ids.
        is_query: whether it is a query.
        deadline_ns: when its caller gives up.
        is_fixed: a resolve, whose ``since`` is that of the lost call.
        is_single: it must not be combined: a resolve, one over several objects, or a call of a combined operation that
            was refused as a whole.
        since: if an operation that it travelled in may be applied, the logical time after which; otherwise None.
        floor: logical time before which it was not made anywhere; of use where nothing is known of the object.
        attempts: attempts at it, or at an operation that it led, so far.
        is_announced: whether servers may keep it for others to carry (helped.py).
        is_open: whether its caller still waits.
    """

    ticket: int
    operation: Operation
    objects: tuple[ObjectId, ...]
    is_query: bool
    deadline_ns: int
    is_fixed: bool
    is_single: bool
    since: int | None = None
    floor: int = 0
    attempts: int = 0
    is_announced: bool = False
    is_open: bool = True


def expire(calls: list[Pending], now_ns: int, outcome: TimedOut) -> list[Finished]:
    """End the calls whose deadline has come."""
    ended = [pending for pending in calls if pending.is_open and pending.deadline_ns <= now_ns]
    for pending in ended:
        pending.is_open = False
    return [Finished(pending.ticket, outcome) for pending in ended]


def share(
    calls: list[Pending], outcome: Outcome, *, is_doubtful: bool = False
) -> tuple[tuple[Finished, ...], tuple[Pending, ...]]:
    """An operation has ended: what becomes of each call that is still waited for, and which calls go again.

    Where servers refuse an operation of several calls, one of them may be at fault, the others are not: each tries
    again by itself. If the operation may be applied all the same (``is_doubtful``), each call remembers that: who gives
    up on it is told that its outcome is unknown.
    """
    if len(calls) > 1 and (isinstance(outcome, Refused) or is_doubtful):
        for pending in calls:
            pending.since = outcome.since if isinstance(outcome, TimedOut) else None
        return (), tuple(calls)
    if not isinstance(outcome, Answered):
        return tuple([_part(pending, outcome) for pending in calls if pending.is_open]), ()
    if len(calls) == 1 and outcome.answers[0] != NOT_RUN:
        return ((Finished(calls[0].ticket, outcome),) if calls[0].is_open else ()), ()
    pairs = list(zip(calls, outcome.answers, strict=True))
    done = [Finished(call.ticket, Answered((answer,))) for call, answer in pairs if answer != NOT_RUN and call.is_open]
    return tuple(done), tuple([call for call, answer in pairs if answer == NOT_RUN])


def _part(pending: Pending, outcome: Outcome) -> Finished:
    if isinstance(outcome, Disagreed):
        outcome = Disagreed(pending.operation.method, outcome.is_applied, outcome.shown)
    return Finished(pending.ticket, outcome)
