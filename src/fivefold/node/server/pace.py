"""Makes background work yield to clients: what it may take depends on what the server and its machine do besides.

Background work is what upkeep does of its own accord (scrub, catching up, answers to other servers), and what clients
read for backups and audits: lists, versions, and all else over a connection that asks for these. It is measured by the
processor's time, which other programs do not distort. After each piece it rests, so that its share stays as follows:

- Where a processor is free, it may take what is left of one.
- Where processors are short, it may take a part of what the server does for clients. On a busy machine both get less.
- It may always take :data:`SHARE_MIN`, and a piece each :data:`REST_NS_MAX` or oftener: so it comes to an end.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

WINDOW_NS: Final = 500_000_000
"""What the server does besides is measured over this time."""

SHARE_MIN: Final = 0.01
"""Share of a processor that background work may always take."""

OF_UPKEEP: Final = 0.5
"""Where processors are short: what upkeep may take, as a part of what the server does for clients ...

More than that of readers, since usually one server at a time is at it, while the quorums of the others serve clients.
"""

OF_READERS: Final = 0.15
"""... and what backups and audits may take: all servers serve these at once, and they take time of their own."""

COST: Final = 2.0
"""What a piece of background work costs in all, for each second measured: reading, writing and storing come on top."""

SHORT_BUSY: Final = 0.02
"""Processors are short for clients if the server works for them for this part of the time at least ..."""

SHORT: Final = 0.1
"""... and its thread waits for a processor for this part; or the system does not tell."""

REST_NS_MAX: Final = 1_000_000_000
"""Background work rests for no longer than this between two pieces ..."""

UPKEEP_REST_NS_MAX: Final = 100_000_000
"""... and upkeep for no longer than this: a newcomer that is not in standing is one of the t that may fail."""

CREDIT_NS: Final = 100_000_000
"""A reader that has rested longer than it had to may do so much of its resting later.

So it gets an object's history, and then the version that this shows, at once. With a rest in
between the version of an object that is written all the time would be gone.
"""


def run_delay_ns() -> int | None:
    """How long the calling thread has waited for a processor so far; None where the system does not tell (no Linux)."""
    try:
        with open("/proc/thread-self/schedstat", encoding="ascii") as file:
            return int(file.read().split()[1])
    except (OSError, ValueError, IndexError):
        return None


class Gauge:
    """What the server does for clients, and whether processors are short.

    Attributes:
        busy: share of the time that the process worked for clients, in the last window.
        is_short: whether processors were short.
    """

    def __init__(
        self,
        *,
        process_clock: Callable[[], int] = time.process_time_ns,
        delay_clock: Callable[[], int | None] = run_delay_ns,
    ) -> None:
        """Until a window has passed processors count as short, and the server as idle."""
        self._process_clock, self._delay_clock = process_clock, delay_clock
        self._since: tuple[int, int, int | None] | None = None
        self._background_ns = 0.0
        self.busy, self.is_short = 0.0, True

    def look(self, now_ns: int, background_ns: float) -> None:
        """So much background work was done just now; a window that is over is judged."""
        self._background_ns += background_ns
        if self._since is not None and now_ns - self._since[0] < WINDOW_NS:
            return
        now = now_ns, self._process_clock(), self._delay_clock()
        if self._since is not None:
            passed_ns = now_ns - self._since[0]
            self.busy = max(0.0, now[1] - self._since[1] - self._background_ns) / passed_ns
            waited = (now[2] - self._since[2]) / passed_ns if now[2] is not None and self._since[2] is not None else 1.0
            self.is_short = self.busy > SHORT_BUSY and waited > SHORT
        self._since, self._background_ns = now, 0.0

    def share(self, of_busy: float) -> float:
        """What background work may take of a processor."""
        free = 0.0 if self.is_short else 1 - self.busy
        return min(1.0, max(SHARE_MIN, of_busy * self.busy, free))


class Pace:
    """One kind of background work, kept to its share."""

    def __init__(self, gauge: Gauge, of_busy: float, rest_ns_max: int, *, credit_ns: int) -> None:
        """``of_busy`` is its part of what the server does for clients, where processors are short."""
        self._gauge, self._of_busy, self._rest_ns_max, self._credit_ns = gauge, of_busy, rest_ns_max, credit_ns
        self._until_ns = self._allowed_ns = 0

    def wait_ns(self, now_ns: int) -> int:
        """How long it has to rest; 0 if it may go on."""
        until_ns = min(self._until_ns, self._allowed_ns + self._rest_ns_max)
        if until_ns > now_ns:
            return until_ns - now_ns
        self._allowed_ns = now_ns
        return 0

    def spend(self, now_ns: int, used_ns: int) -> None:
        """A piece of work is over at which so much of the processor's time was measured."""
        cost_ns = COST * used_ns
        self._gauge.look(now_ns, cost_ns)
        began_ns = now_ns - round(cost_ns)
        until_ns = max(self._until_ns, began_ns - self._credit_ns) + round(cost_ns / self._gauge.share(self._of_busy))
        self._until_ns = min(until_ns, now_ns + self._rest_ns_max)
