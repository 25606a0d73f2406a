"""What becomes of calls, and what a session asks its driver to do."""

from __future__ import annotations

from enum import Enum

from msgspec import Struct

from fivefold.protocol.actions import Ask


class Answered(Struct, frozen=True):
    """The call came to its end: one answer for each of its calls (tags of :mod:`operations`)."""

    answers: tuple[bytes, ...]


class Refused(Struct, frozen=True):
    """The servers declined the call, or could not run it, and nothing was changed: ``ErrorName: text``."""

    reason: str


class Delay(Enum):
    """What a call waited for until its deadline came."""

    SILENCE = "silence"
    """Fewer servers answered than it needs."""
    CONTENTION = "contention"
    """Enough servers answered, but other calls on its objects kept getting ahead of it."""
    QUEUE = "queue"
    """Earlier calls of the same client on its objects; it was not sent."""
    REFUSAL = "refusal"
    """Servers that answered would not or could not do it, and said why."""
    ERROR = "error"
    """Nothing: an exception of our own in this client ended it."""


class TimedOut(Struct, frozen=True):
    """The deadline came first; or servers refused the call although others may have accepted it.

    Attributes:
        since: None if nothing can have been changed; otherwise the logical time to resolve from.
        answered: how many servers answered the last round.
        delay: what took so long.
        reason: what servers say that refused it.
    """

    since: int | None
    answered: int
    delay: Delay = Delay.SILENCE
    reason: str = ""


class Disagreed(Struct, frozen=True):
    """Honest servers computed different results: the method is not deterministic.

    Attributes:
        method: its name.
        is_applied: whether the call was applied, with one result or another; None if that is not known.
        shown: of SHOW, what each server answered, by its index.
    """

    method: str
    is_applied: bool | None
    shown: tuple[tuple[int, bytes], ...] = ()


Outcome = Answered | Refused | TimedOut | Disagreed


class Finished(Struct, frozen=True, gc=False):
    """One call has ended.

    Attributes:
        ticket: the number that ``call`` returned.
        outcome: what became of it.
    """

    ticket: int
    outcome: Outcome


class Evidence(Struct, frozen=True):
    """What speaks against one server.

    Attributes:
        server: its index.
        is_excluded: more than b servers found its MACs wrong: that proves it malevolent, and it is left out.
        is_suspected: it did too often what no honest server does: it is tried last.
        culled_by: servers that found its MACs wrong.
        strikes: what it did that honest servers do not do, or only by bad luck, and how often.
        is_slow: it was silent when last asked.
        proven_by: servers, more than b, that found its MACs wrong over an earlier connection. A new connection starts
            afresh; what was proven stays proven.
    """

    server: int
    is_excluded: bool
    is_suspected: bool
    culled_by: tuple[int, ...]
    strikes: dict[str, int]
    is_slow: bool
    proven_by: tuple[int, ...] = ()


class ClientActions(Struct, frozen=True, gc=False):
    """What to do after an input: deliver ``send``, hand over ``finished``, arm the one timer, log ``faults``."""

    send: tuple[Ask, ...]
    finished: tuple[Finished, ...]
    wake_at_ns: int | None
    faults: tuple[Exception, ...] = ()
