"""Where things go in a picture: time as columns that are as wide as their labels need, one lane per process.

Only the order of events matters to a checker, so columns are events, not nanoseconds: otherwise one slow operation
would squeeze all others into a line.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from math import inf

from msgspec import Struct

from fivefold.checker.check import Result
from fivefold.checker.dependencies import returned_ns
from fivefold.checker.history import Observation, label

OPERATIONS_COUNT_MAX = 32
"""Operations in one picture; more do not fit on a screen."""

CHARACTER = 7
"""Width of a character of a label, pixels; labels are monospaced."""
GAP = 22
POINT = 22
LEFT = 120
ROW = 58


class Bar(Struct, frozen=True):
    """One operation in the picture: pixels from ``left`` to ``right``, in the row of that number."""

    observation: Observation
    text: str
    left: int
    right: int
    row: int
    is_open: bool


class Layout(Struct, frozen=True):
    """A picture's measures.

    Attributes:
        bars: by identity of the observation.
        lanes: each process, with its first row and the number of its rows.
        points: where operations of the prefix take effect: number, observation and pixel, in order.
        ticks: columns (pixel and nanosecond).
        width: of the whole, pixels.
    """

    bars: dict[int, Bar]
    lanes: tuple[tuple[str, int, int], ...]
    points: tuple[tuple[int, Observation, int], ...]
    ticks: tuple[tuple[int, int], ...]
    width: int


def shown(result: Result, history: Sequence[Observation]) -> list[Observation]:
    """The operations at fault and those that explain them: concurrent ones and the last of the prefix."""
    chosen = {id(observation): observation for observation in result.offending}
    related = [*reversed(result.prefix), *_concurrent(result, history)]
    for observation in related:
        if len(chosen) >= OPERATIONS_COUNT_MAX or (id(observation) not in chosen and len(chosen) >= _wanted(result)):
            break
        chosen[id(observation)] = observation
    return sorted(chosen.values(), key=lambda seen: (seen.invoke_ns, returned_ns(seen)))
