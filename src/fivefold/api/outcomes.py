"""From what the protocol says became of a call to what a caller sees: an answer or a typed exception."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, assert_never

from fivefold import errors
from fivefold.errors import (
    CallerError,
    FivefoldError,
    NonDeterministicObject,
    OutcomeUnknown,
    Unavailable,
    Upgrading,
)
from fivefold.objects import Registry
from fivefold.protocol.client import Answered, Delay, Disagreed, Outcome, Refused, TimedOut
from fivefold.protocol.operations import CANCELLED, DIGEST, FORGOTTEN, VALUE, ObjectId


class NotApplied:
    """The type of :data:`NOT_APPLIED`."""

    def __repr__(self) -> str:
        """Its name."""
        return "NOT_APPLIED"


NOT_APPLIED: Final = NotApplied()
"""What ``OutcomeUnknown.resolve()`` returns for a call that was not applied and never will be."""

Unknown = Callable[[str, int], OutcomeUnknown]
"""What to raise for a lost call: the text, and the logical time it may have been applied after."""


_APPLIED: Final = {
    True: "and it was applied, so that its state now differs between servers",
    False: "and it changed nothing",
    None: "and it may or may not be applied",
}
"""What a non-deterministic method did."""


def answer_of(
    registry: Registry, objects: tuple[ObjectId, ...], method: str, outcome: Outcome, unknown: Unknown
) -> Any:  # noqa: ANN401 (whatever the method returns)
    """The value that the call returned, or NOT_APPLIED.

    Raises:
        FivefoldError: whatever else became of it.
    """
    match outcome:
        case Answered(answers=(answer, *_)):
            return _decode(registry, objects, method, answer)
        case Refused(reason=reason):
            raise refusal(reason)
        case TimedOut(since=None):
            raise Unavailable(f"{method} of {objects[0]} {_what_delayed(outcome)}")
        case TimedOut(since=since, delay=Delay.REFUSAL, reason=reason):
            assert since is not None
            text = f"{method} of {objects[0]} is refused by some servers ({reason}) and may or may not be applied"
            raise unknown(f"{text}: await resolve() of this exception to find out", since)
        case TimedOut(since=since, delay=Delay.ERROR, reason=reason):
            assert since is not None
            text = f"{method} of {objects[0]} met an error in this client ({reason}) and may or may not be applied"
            raise unknown(f"{text}: report it, and await resolve() of this exception to find out", since)
        case TimedOut(since=since, delay=delay):
            assert since is not None
            why = ", since other calls on its objects kept getting ahead of it," if delay is Delay.CONTENTION else ""
            text = f"{method} of {objects[0]} did not end before its deadline{why} and may or may not be applied"
            raise unknown(f"{text}: await resolve() of this exception to find out", since)
        case Disagreed(is_applied=is_applied):
            raise NonDeterministicObject(
                f"honest servers computed different results for {method} of {objects[0]}, {_APPLIED[is_applied]}: "
                "make the method deterministic (no clock, random numbers or set order)",
                is_applied=is_applied,
            )
        case _:
            raise AssertionError(outcome)


def _what_delayed(outcome: TimedOut) -> str:
    """Why a call that changed nothing did not end in time, and what to do."""
    match outcome.delay:
        case Delay.SILENCE:
            return (
                f"got {outcome.answered} answers before its deadline and changed nothing: "
                "check the servers with `fivefold status`, or allow more time"
            )
        case Delay.CONTENTION:
            return (
                "lost to other calls on its objects until its deadline and changed nothing: "
                "call again, allow more time, or spread the work over more objects"
            )
        case Delay.REFUSAL:
            return (
                f"was refused by servers until its deadline and changed nothing ({outcome.reason}): "
                "check them with `fivefold status`"
            )
        case Delay.QUEUE:
            return (
                "waited behind earlier calls of this client until its deadline and was not sent: "
                "start fewer calls on one object at a time, or allow more time"
            )
        case Delay.ERROR:
            return f"met an error in this client and changed nothing ({outcome.reason}): report it, and call again"
        case _:
            assert_never(outcome.delay)


def still_unknown(objects: tuple[ObjectId, ...], method: str) -> str:
    """What to say when asking for a lost call's fate has not told it."""
    return (
        f"{method} of {objects[0]} may or may not be applied, and not enough servers answered to tell: "
        "check them with `fivefold status`, and await resolve() of this exception again"
    )


def _decode(registry: Registry, objects: tuple[ObjectId, ...], method: str, answer: bytes) -> Any:  # noqa: ANN401
    tag = answer[:1]
    if tag == VALUE:
        return registry.decode_answer(objects, method, answer)
    if tag == CANCELLED:
        return NOT_APPLIED
    if tag == FORGOTTEN:
        raise OutcomeUnknown(
            f"too many updates of {objects[0]} have passed to tell whether {method} was applied: read the object"
        )
    if tag == DIGEST:
        raise OutcomeUnknown(
            f"{method} of {objects[0]} was applied, but its answer was too long to be remembered: read the object",
            is_applied=True,
        )
    return registry.decode_answer(objects, method, answer)


def refusal(reason: str) -> FivefoldError:
    """The exception for ``ErrorName: text`` from the servers."""
    name, _, text = reason.partition(": ")
    found = getattr(errors, name, None)
    if isinstance(found, type) and issubclass(found, (CallerError, Upgrading)):
        return found(text)
    return CallerError(reason)
