"""How long one call pauses under contention, and what it does when the pause is over (PROTOCOL §6)."""

from __future__ import annotations

from enum import Enum
from random import Random
from typing import Final

from fivefold.protocol import limits

INLINE_REPAIRS_AT_ONCE: Final = 3
"""Inline repairs of one call without a back-off."""


class Pace(Enum):
    """What a call is doing, as far as pauses go."""

    ACTIVE = "active"
    """No pause so far, or the attempt after the last one has failed."""
    RESTING = "resting"
    """It pauses; then it acts on what is known."""
    LOOKING = "looking"
    """It pauses for the first part of a longer rest; then it looks whether others have repaired meanwhile."""
    RESTED = "rested"
    """It has just paused: what it knows is old, and its next attempt may only bring that up to date."""


class Pauses:
    """The back-off of one call.

    Attributes:
        pace: which of the named states it is in.
        count: back-offs drawn so far; each is about twice as long as the one before.
        until_ns: while RESTING or LOOKING, when the pause ends.
        repair_from_ns: the time before which no barrier or copy is to be sent.
        looks: looks so far in the rest at hand.
    """

    pace = Pace.ACTIVE
    count = 0
    until_ns = 0
    repair_from_ns = 0
    looks = 0

    @property
    def is_pausing(self) -> bool:
        """Whether a pause is under way."""
        return self.pace is Pace.RESTING or self.pace is Pace.LOOKING

    def wake(self) -> bool:
        """The pause is over: whether to look, instead of acting on what is known."""
        is_look = self.pace is Pace.LOOKING
        self.pace = Pace.RESTED
        return is_look

    def has_failed(self) -> bool:
        """An attempt or repair has failed: whether that counts as a failure.

        What was known before the pause is old: under contention the first attempt after it only brings it up to date.
        Pausing again for that would starve a client that pauses longer than others take between two updates.
        """
        was_rested, self.pace = self.pace is Pace.RESTED, Pace.ACTIVE
        return not was_rested

    def draw(self, source: Random, round_trip_ns: int, round_trips_max: int) -> int:
        """How long to pause: a random, exponentially growing multiple of the round trip."""
        shortest = max(round_trip_ns // 2, limits.BACKOFF_NS)
        longest = max(limits.BACKOFF_NS_MAX, round_trips_max * round_trip_ns)
        pause = min(shortest << min(self.count, limits.BACKOFF_DOUBLINGS_MAX), longest)
        self.count += 1
        return int(pause * (0.5 + source.random()))

    def put_repair_off(self, until_ns: int) -> None:
        """No barrier or copy before this time: others may be at work."""
        self.repair_from_ns, self.looks = until_ns, 0

    def rest(self, now_ns: int, pause_ns: int, round_trip_ns: int, *, may_look: bool) -> None:
        """Pause, then act on what is known; in a long pause look now and then whether others have repaired already.

        To look is to send the operation on histories that call for a repair: no server accepts it, and all tell what
        they hold by then, and what the ring says of the call. In a pause without, more may pass than the ring holds.
        """
        look_ns = limits.LOOK_AFTER_ROUND_TRIPS * max(round_trip_ns, limits.BACKOFF_NS)
        look_ns <<= self.looks  # where a look shows no progress, not much can have passed
        is_look = may_look and pause_ns >= look_ns
        self.looks += is_look
        self.pace = Pace.LOOKING if is_look else Pace.RESTING
        self.until_ns = now_ns + (look_ns if is_look else pause_ns)
