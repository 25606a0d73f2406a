"""How long things took, counted by size: what a histogram of Prometheus is made of (ours).

Bounds are fixed, so counts of two moments can be subtracted, and those of several servers added up.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

_MS: Final = 1_000_000

BOUNDS_NS: Final = (
    *(_MS // 10, _MS // 4, _MS // 2, _MS, 2 * _MS, 4 * _MS, 7 * _MS, 10 * _MS, 15 * _MS, 25 * _MS, 50 * _MS),
    *(100 * _MS, 250 * _MS, 500 * _MS, 1000 * _MS, 2500 * _MS, 5000 * _MS, 10_000 * _MS),
)
"""Upper ends of the classes; one more class is for what took longer."""


class Durations:
    """A histogram.

    Attributes:
        counts: how many there were in each class, the one beyond the last bound included.
        sum_ns: how long all of them took together.
    """

    __slots__ = ("counts", "sum_ns")

    def __init__(self) -> None:
        """Nothing yet."""
        self.counts = [0] * (len(BOUNDS_NS) + 1)
        self.sum_ns = 0

    def add(self, took_ns: int, count: int = 1) -> None:
        """So many things took so long, each."""
        self.counts[bisect_left(BOUNDS_NS, took_ns)] += count
        self.sum_ns += took_ns * count


def quantile(bounds: Sequence[float], counts: Sequence[int], share: float) -> float | None:
    """Below what this share of all lies, as Prometheus reckons it: evenly spread within a class; None if there is none.

    What is beyond the last bound is said to be at it.
    """
    rank = share * sum(counts)
    if not rank:
        return None
    below, lower = 0, 0.0
    for upper, count in zip(bounds, counts, strict=False):
        if count and below + count >= rank:
            return lower + (upper - lower) * (rank - below) / count
        below, lower = below + count, upper
    return bounds[-1]
