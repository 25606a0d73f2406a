"""Virtual time: one heap of events, one seed, one digest of everything that happened.

Nothing in a simulation looks at a real clock or at an unseeded source of randomness. Every place that draws numbers has
a *stream* of its own, named after the place: leaving out one fault does not shift what the others draw.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from hashlib import blake2b
from heapq import heappop, heappush
from random import Random

from fivefold.simulation.chains import Violation
from fivefold.simulation.events import Derived, Event, Happened, encode_event

Action = Callable[[], None]

WAKES_MAX = 1000
"""Wakes of one machine at one moment of virtual time, at most: a batch of messages needs a few."""


class World:
    """The clock, the events to come, and the record of past ones.

    Attributes:
        now_ns: virtual time since the start of the run.
        counters: how often what happened: faults, repairs, rejections.
        happened: the events so far, if the run keeps them; None otherwise.
        on_event: hears every event where the run keeps them; the explainer listens here.
    """

    def __init__(self, seed: int, *, is_traced: bool = False) -> None:
        """Start at time 0 with nothing to come."""
        self.seed = seed
        self.now_ns = 0
        self.counters: Counter[str] = Counter()
        self.happened: list[Happened] | None = [] if is_traced else None
        self.on_event: Callable[[Event], None] = lambda event: None
        self._events: list[tuple[int, int, Action]] = []
        self._count = 0
        self._digest = blake2b(digest_size=16)

    def stream(self, name: str) -> Random:
        """A source of randomness that depends on the seed and ``name`` alone."""
        return Random(f"{self.seed}/{name}")

    def at(self, time_ns: int, action: Action) -> None:
        """Run ``action`` at a time that is not in the past; actions of one time run in the order of these calls."""
        self._count += 1
        heappush(self._events, (max(time_ns, self.now_ns), self._count, action))

    def after(self, delay_ns: int, action: Action) -> None:
        """Run ``action`` a while from now."""
        self.at(self.now_ns + delay_ns, action)

    def run(self, until_ns: int, is_done: Callable[[], bool] | None = None) -> None:
        """Let time pass until ``until_ns``, or until ``is_done`` after some event."""
        events = self._events
        while events and events[0][0] <= until_ns:
            self.now_ns, _, action = heappop(events)
            action()
            if is_done is not None and is_done():
                return
        self.now_ns = max(self.now_ns, until_ns)

    def tell(self, event: Event) -> None:
        """Record that something happens now: in the digest, in the counters, and among the events if they are kept."""
        self._digest.update(self.now_ns.to_bytes(8, "big"))
        self._digest.update(encode_event(event))
        name = event.counted_as
        if name:
            self.counters[name] += 1
        if self.happened is not None:
            self.happened.append(Happened(self.now_ns, event))
            self.on_event(event)

    def add(self, derived: Derived) -> None:
        """Say what events mean, in a run that keeps them; that changes no digest."""
        if self.happened is not None:
            self.happened.append(Happened(self.now_ns, derived))

    @property
    def digest(self) -> str:
        """Of everything recorded so far: equal runs have equal digests, in any process."""
        return self._digest.hexdigest()

    @property
    def events_count(self) -> int:
        """Events scheduled so far."""
        return self._count


class Alarm:
    """The one timer of a machine."""

    def __init__(self, world: World, ring: Action) -> None:
        """Not set; ``ring`` is what happens."""
        self._world, self._ring = world, ring
        self._at_ns: int | None = None
        self._generation = 0
        self._last_ns, self._times = -1, 0

    def set(self, at_ns: int | None) -> None:
        """Ring at a time; a later one than is set already, or None, changes nothing."""
        if at_ns is None or (self._at_ns is not None and at_ns >= self._at_ns):
            return
        self.stop()
        self._at_ns = at_ns
        generation = self._generation

        def maybe_ring() -> None:
            if generation == self._generation:
                self._at_ns = None
                self._count()
                self._ring()

        self._world.at(at_ns, maybe_ring)

    def _count(self) -> None:
        """A machine that wakes itself at one moment again and again would take a whole processor."""
        self._times = self._times + 1 if self._last_ns == self._world.now_ns else 1
        self._last_ns = self._world.now_ns
        if self._times > WAKES_MAX:
            raise Violation("wakes itself", f"a machine has woken itself {WAKES_MAX} times at one moment")

    def stop(self) -> None:
        """Do not ring."""
        self._at_ns = None
        self._generation += 1
