"""Sets of chunk numbers as sorted ranges: ``[2, 5, 9, 10]`` holds 2, 3, 4 and 9."""

from __future__ import annotations

from bisect import bisect_left, bisect_right


def has(ranges: list[int], number: int) -> bool:
    """Whether the number is in one of the ranges."""
    return bisect_right(ranges, number) % 2 == 1


def add(ranges: list[int], start: int, end: int) -> None:
    """Add the numbers from ``start`` up to but not including ``end``."""
    low, high = bisect_left(ranges, start), bisect_right(ranges, end)
    ranges[low:high] = [start] * (low % 2 == 0) + [end] * (high % 2 == 0)


def remove(ranges: list[int], start: int, end: int) -> None:
    """Take these numbers away."""
    low, high = bisect_left(ranges, start), bisect_right(ranges, end)
    ranges[low:high] = [start] * (low % 2 == 1) + [end] * (high % 2 == 1)


def within(ranges: list[int], start: int, end: int) -> list[int]:
    """Those of the numbers from ``start`` up to but not including ``end``, as ranges."""
    found = list(ranges)
    remove(found, 0, start)
    if found and found[-1] > end:
        remove(found, end, found[-1])
    return found


def count(ranges: list[int]) -> int:
    """How many numbers there are."""
    return sum(ranges[1::2]) - sum(ranges[::2])


def first(ranges: list[int], many: int) -> list[int]:
    """The least ``many`` numbers, or all."""
    found: list[int] = []
    for start, end in zip(ranges[::2], ranges[1::2], strict=True):
        found.extend(range(start, min(end, start + many - len(found))))
        if len(found) >= many:
            break
    return found


def merge(ranges: list[int], apart: list[int], most: int) -> bool:
    """Close the smallest gaps until at most ``most`` ranges are left; never over a number of ``apart``.

    Returns:
        Whether so few are left.
    """
    while len(ranges) > 2 * most:
        gaps = [
            (ranges[at + 1] - ranges[at], at)
            for at in range(1, len(ranges) - 1, 2)
            if not within(apart, ranges[at], ranges[at + 1])
        ]
        if not gaps:
            return False
        at = min(gaps)[1]
        del ranges[at : at + 2]
    return True
