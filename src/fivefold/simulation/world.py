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

Action = Callable[[], None]


class World:
    """The clock, the events to come, and the record of those that were.

    Attributes:
        now_ns: virtual time since the start of the run.
        counters: how often what happened: faults, repairs, rejections.
        trace: lines for people, if the run keeps them; None otherwise.
    """

    def __init__(self, seed: int, *, is_traced: bool = False) -> None:
        """Start at time 0 with nothing to come."""
        self.seed = seed
        self.now_ns = 0
        self.counters: Counter[str] = Counter()
        self.trace: list[str] | None = [] if is_traced else None
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

    def record(self, data: bytes) -> None:
        """Make ``data``, and that it was now, part of the run's digest."""
        self._digest.update(self.now_ns.to_bytes(8, "big"))
        self._digest.update(data)

    def note(self, line: str) -> None:
        """Add a line to the trace, if one is kept."""
        if self.trace is not None:
            self.trace.append(f"{self.now_ns / 1e6:11.3f} ms  {line}")

    def note_more(self, text: str) -> None:
        """Go on with the last line of the trace, if one is kept."""
        if self.trace:
            self.trace[-1] += text

    @property
    def digest(self) -> str:
        """Of everything recorded so far: equal runs have equal digests, in any process."""
        return self._digest.hexdigest()

    @property
    def events_count(self) -> int:
        """Events scheduled so far."""
        return self._count
