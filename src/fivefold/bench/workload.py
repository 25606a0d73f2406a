"""What load is put on a system: how much at once, of what, on which objects."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable
from itertools import accumulate, cycle
from random import Random
from typing import Final, Literal, TypeAlias, assert_never

from msgspec import Struct

from fivefold.errors import ConfigurationError
from fivefold.protocol.limits import ARGUMENTS_BYTES_MAX

Skew: TypeAlias = Literal["spread", "uniform", "zipf", "hot"]
"""Which object the next operation is for.

``spread``: every loop of every client has its own share of the objects, so that no two operations in flight meet (those
of an open loop take turns: they meet once more are under way than there are objects);
``uniform``: any object, at random; ``zipf``: some much more often than others; ``hot``: always the same one.
"""

ZIPF_EXPONENT: Final = 0.99
"""That of the Yahoo! Cloud Serving Benchmark."""


class Workload(Struct, frozen=True, kw_only=True):
    """The load of one measurement; every client process has this much.

    Attributes:
        in_flight: operations under way at once (closed loop).
        rate: operations a second for all client processes together (open loop), or None for a closed loop.
        updates: share of updates, 0 to 1; the rest are queries.
        objects: how many objects there are.
        skew: which one is next.
        payload_bytes: size of the value that an update writes; 0 counts up a counter.
    """

    in_flight: int = 64
    rate: float | None = None
    updates: float = 1.0
    objects: int = 1000
    skew: Skew = "spread"
    payload_bytes: int = 0

    @property
    def loops(self) -> int:
        """How many loops a client process runs: an open loop is a single one, however much is under way."""
        return self.in_flight if self.rate is None else 1

    def check(self, clients: int) -> None:
        """Refuse what cannot be done.

        Raises:
            ConfigurationError: a number is out of its range, or there are too few objects to spread.
        """
        if not 0 <= self.updates <= 1:
            raise ConfigurationError(f"the share of updates is between 0 and 1: got {self.updates}")
        if self.in_flight < 1 or self.objects < 1 or self.payload_bytes < 0:
            raise ConfigurationError("there must be at least one object and one operation in flight")
        if self.payload_bytes >= ARGUMENTS_BYTES_MAX:
            raise ConfigurationError(f"a payload is below {ARGUMENTS_BYTES_MAX} bytes: got {self.payload_bytes}")
        if self.rate is not None and not 0 < self.rate < math.inf:
            raise ConfigurationError(f"a rate is a number above 0: got {self.rate}")
        if self.skew == "spread" and self.objects < clients * self.loops:
            raise ConfigurationError(
                f"{clients * self.loops} operations in flight need as many objects to be spread over: "
                f"got {self.objects}; use more objects, or another skew"
            )


class Seat(Struct, frozen=True):
    """Which of the client processes this is.

    Attributes:
        client: 0 to clients - 1.
        clients: how many there are.
    """

    client: int = 0
    clients: int = 1


Choose: TypeAlias = Callable[[], int]
"""Names the next object by its number."""


def chooser(workload: Workload, seat: Seat, loop: int) -> Choose:
    """How one loop of one client process chooses objects; the same sequence in every run."""
    random = Random(seat.client * 100_003 + loop)
    match workload.skew:
        case "spread":
            step = seat.clients * workload.loops
            share = range(seat.client * workload.loops + loop, workload.objects, step)
            return cycle(share).__next__
        case "uniform":
            return lambda: random.randrange(workload.objects)
        case "zipf":
            return _zipf(workload.objects, random)
        case "hot":
            return lambda: 0
        case _:
            assert_never(workload.skew)


def _zipf(objects: int, random: Random) -> Choose:
    reached = list(accumulate(1 / rank**ZIPF_EXPONENT for rank in range(1, objects + 1)))
    return lambda: bisect_left(reached, random.random() * reached[-1])


def update_chooser(workload: Workload, seat: Seat, loop: int) -> Callable[[], bool]:
    """Whether the next operation of a loop is an update; the same sequence in every run."""
    share = workload.updates
    if share in (0, 1):
        return lambda: share == 1
    random = Random(seat.client * 99_991 + loop)
    return lambda: random.random() < share
