"""What one call as a state machine asks of the session it belongs to."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import TYPE_CHECKING, Protocol

from fivefold.protocol.client.knowledge import Knowledge
from fivefold.protocol.client.outcomes import Outcome, TimedOut
from fivefold.protocol.client.rounds import Round

if TYPE_CHECKING:
    from fivefold.protocol.client.invocation import Invocation


class Driver(Protocol):
    """What an invocation asks of the session it belongs to."""

    knowledge: Knowledge
    random: Random

    def ask(self, invocation: Invocation, round_: Round, servers: Sequence[int]) -> None:
        """Send the round's request to servers, under a number of its own; replies come back to the invocation."""
        ...

    def close_round(self, round_: Round) -> None:
        """Replies of the round are of no interest any more."""
        ...

    def is_awaited(self, invocation: Invocation, now_ns: int) -> bool:
        """Whether a call of the invocation has a deadline that is still to come."""
        ...

    def expire(self, invocation: Invocation, now_ns: int, outcome: TimedOut) -> None:
        """Deadlines have come: the calls whose they are end; the invocation may have a new deadline."""
        ...

    def finish(self, invocation: Invocation, outcome: Outcome) -> None:
        """The invocation has ended."""
        ...
