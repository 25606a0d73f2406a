"""Latencies in log-linear buckets, as HDR histograms keep them: any percentile, within 0.8 % of its true value.

Ours rather than the package ``hdrhistogram``: docs/decisions/ says why.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final

_SUB_BITS: Final = 7
"""128 buckets for each power of two: a bucket is at most 1/128 of its value wide."""

_HALF: Final = 1 << _SUB_BITS


def bucket_of(value: int) -> int:
    """The bucket of a value ≥ 0: itself below 256, then 128 buckets for every doubling."""
    shift = max(0, value.bit_length() - _SUB_BITS - 1)
    return (shift << _SUB_BITS) + (value >> shift)


def bucket_top(bucket: int) -> int:
    """The greatest value in a bucket."""
    shift = max(0, (bucket >> _SUB_BITS) - 1)
    mantissa = bucket - (shift << _SUB_BITS)
    return ((mantissa + 1) << shift) - 1


class Latencies:
    """How often which latency was seen; in nanoseconds.

    Attributes:
        count: values so far.
        total: their sum.
        maximum: the greatest, exactly.
    """

    def __init__(self, values: Iterable[int] = ()) -> None:
        """Count the values."""
        self.count = self.total = self.maximum = 0
        self._buckets: Counter[int] = Counter()
        self.add(values)

    def add(self, values: Iterable[int]) -> None:
        """Count more values, each ≥ 0."""
        for value in values:
            self._buckets[bucket_of(value)] += 1
            self.count += 1
            self.total += value
            self.maximum = max(self.maximum, value)

    @property
    def mean(self) -> float:
        """The average; 0 of nothing."""
        return self.total / self.count if self.count else 0.0

    def percentile(self, percent: float) -> int:
        """The least bucket top at or below which ``percent`` of the values lie; the maximum for 100, 0 of nothing."""
        needed = self.count * percent / 100
        seen = 0
        for bucket in sorted(self._buckets):
            seen += self._buckets[bucket]
            if seen >= needed:
                return min(bucket_top(bucket), self.maximum)
        return self.maximum

    # --- between processes ------------------------------------------------------------------------------------

    def packed(self) -> list[int]:
        """Everything as whole numbers: total, maximum, then bucket and count by turns."""
        pairs = [number for bucket in sorted(self._buckets) for number in (bucket, self._buckets[bucket])]
        return [self.total, self.maximum, *pairs]

    def merge(self, packed: list[int]) -> None:
        """Add what another process has packed."""
        total, maximum, *pairs = packed
        for bucket, count in zip(pairs[::2], pairs[1::2], strict=True):
            self._buckets[bucket] += count
            self.count += count
        self.total += total
        self.maximum = max(self.maximum, maximum)
