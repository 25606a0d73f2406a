"""Where things go in a picture: time as columns that are as wide as their labels need, one lane per process.

Only the order of events matters to a checker, so columns are events, not nanoseconds: otherwise one slow operation
would squeeze all others into a line.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from math import inf

from msgspec import Struct

from fivefold.checker.dependencies import returned_ns
from fivefold.checker.history import Observation, label
from fivefold.checker.result import Result

PREFIX_COUNT_MAX = 14
OFFENDING_COUNT_MAX = 16
OTHERS_COUNT_MAX = 6
"""Operations in one picture: the end of the prefix, those at fault, and concurrent ones. More do not fit a screen."""

CHARACTER = 7.3
"""Width of a character of a label, pixels; labels are monospaced."""
COLUMN = 20
POINT = 21
LEFT = 130
TOP = 46
ROW = 66
ARROW_ROW = 88
ARROWS = 100
"""Width of a bar's right end that is kept free of text, for arrows to end at."""
MARGIN = 250
"""Width of the right margin, for arrows that lead back up."""


class Bar(Struct, frozen=True):
    """One operation in the picture, in pixels; open if nobody knows when it took effect, if ever."""

    observation: Observation
    text: str
    note: str
    left: float
    right: float
    top: float
    is_open: bool


class Point(Struct, frozen=True):
    """Where an operation of the prefix takes effect: its number in the prefix, counted from 1, and pixels."""

    number: int
    bar: Bar
    across: float


class Layout(Struct, frozen=True):
    """A picture's measures, in pixels.

    Attributes:
        bars: the operations, by time.
        lanes: each process with the top and the height of its lane.
        points: in order of taking effect.
        ticks: where which nanosecond is.
        width: of the whole.
        height: of the whole.
    """

    bars: tuple[Bar, ...]
    lanes: tuple[tuple[str, float, float], ...]
    points: tuple[Point, ...]
    ticks: tuple[tuple[float, int], ...]
    width: float
    height: float


Column = tuple[float, int]
"""Time and whether it is a return: of equal times invocations come first, as they are concurrent."""


def lay_out(result: Result, history: Sequence[Observation]) -> Layout:
    """The measures of the picture of a violation."""
    shown = choose(result, history)
    has_arrows = bool(result.cycle)
    height = ARROW_ROW if has_arrows else ROW
    columns = sorted({(seen.invoke_ns, 0) for seen in shown} | {(returned_ns(seen), 1) for seen in shown} | {(inf, 1)})
    slots = _slots(result, shown)
    across = _across(shown, columns, Counter(slots.values()), ARROWS if has_arrows else 0)
    rows, lanes = _rows(shown, _ranks(result), height)
    bars = {id(seen): _bar(seen, across, TOP + height * row) for seen, row in zip(shown, rows, strict=True)}
    return Layout(
        bars=tuple(bars.values()),
        lanes=lanes,
        points=_points(result, bars, slots, across),
        ticks=_ticks(across),
        width=across[(inf, 1)] + (MARGIN if has_arrows else 24),
        height=TOP + height * (max(rows) + 1) + 8,
    )


def choose(result: Result, history: Sequence[Observation]) -> list[Observation]:
    """The operations at fault and the operations that explain them, by time."""
    chosen = {id(seen): seen for seen in result.offending[:OFFENDING_COUNT_MAX]}
    for seen in (*result.prefix[-PREFIX_COUNT_MAX:], *_last_that_fitted(result)):
        chosen[id(seen)] = seen
    ordered = {id(seen) for seen in result.prefix}
    others = [seen for seen in _concurrent(result, history) if id(seen) not in ordered]
    chosen |= {id(seen): seen for seen in others[-OTHERS_COUNT_MAX:]}
    return sorted(chosen.values(), key=lambda seen: (seen.invoke_ns, returned_ns(seen)))


def _last_that_fitted(result: Result) -> tuple[Observation, ...]:
    """What made the state that the stuck operation saw, and what came next and made it stale."""
    after = result.fits_after
    return () if after is None else result.prefix[max(0, after - 1) : after + 1]


def _concurrent(result: Result, history: Sequence[Observation]) -> list[Observation]:
    """Other operations on the same objects at the time of those at fault."""
    first = min(seen.invoke_ns for seen in result.offending)
    last = max((returned_ns(seen) for seen in result.offending if returned_ns(seen) != inf), default=inf)
    return [
        seen
        for seen in history
        if seen.invoke_ns <= last and returned_ns(seen) >= first and set(seen.objects) & set(result.objects)
    ]


def _slots(result: Result, shown: Sequence[Observation]) -> dict[int, Column]:
    """After which column each shown operation of the prefix takes effect: the latest invocation up to it."""
    wanted = {id(seen) for seen in shown}
    slots: dict[int, Column] = {}
    latest: Column = (-1, 0)
    for seen in result.prefix:
        if id(seen) in wanted:
            latest = max(latest, (seen.invoke_ns, 0))
            slots[id(seen)] = latest
    return slots


def _across(
    shown: Sequence[Observation], columns: list[Column], points: Counter[Column], spare: int
) -> dict[Column, float]:
    """Pixels of each column: far enough from the one before for points, and from invocations for labels."""
    ending = defaultdict(list)
    for seen in shown:
        ending[(returned_ns(seen), 1)].append(seen)
    across: dict[Column, float] = {}
    position: float = LEFT
    for column in columns:
        widths = [across[(seen.invoke_ns, 0)] + _label_width(seen) + spare for seen in ending[column]]
        position = max([position, *widths])
        across[column] = position
        position += COLUMN + POINT * points[column]
    return across


def _label_width(seen: Observation) -> float:
    return max(len(label(seen)) * CHARACTER, len(note(seen)) * CHARACTER * 0.8) + 14


def note(seen: Observation) -> str:
    """The operation's objects with their versions: ``Account/a 3→4 · Account/b``."""
    return " · ".join(f"{object_id}{_versions(seen, object_id)}" for object_id in seen.objects)


def _versions(seen: Observation, object_id: str) -> str:
    read, written = seen.read.get(object_id, ""), seen.written.get(object_id)
    return f" {read}→{written}" if written is not None else f" {read}".rstrip()


def _ranks(result: Result) -> dict[str, int]:
    """Processes in the order of the cycle, so that most of its arrows lead down to the next lane."""
    ranks: dict[str, int] = {}
    for edge in result.cycle:
        ranks.setdefault(edge.before.process, len(ranks))
    return ranks


def _rows(
    shown: Sequence[Observation], ranks: dict[str, int], height: int
) -> tuple[list[int], tuple[tuple[str, float, float], ...]]:
    """Each operation's row, and the lanes: operations of one process that overlap get rows of their own."""
    ends: dict[str, list[float]] = {}
    places = []
    for seen in shown:
        rows = ends.setdefault(seen.process, [])
        place = next((row for row, end in enumerate(rows) if end < seen.invoke_ns), len(rows))
        rows[place : place + 1] = [returned_ns(seen)]
        places.append(place)
    first: dict[str, int] = {}
    lanes = []
    count = 0
    for process, rows in sorted(ends.items(), key=lambda lane: (ranks.get(lane[0], len(ranks)), lane[0])):
        first[process] = count
        lanes.append((process, TOP + height * float(count), height * float(len(rows))))
        count += len(rows)
    return [first[seen.process] + place for seen, place in zip(shown, places, strict=True)], tuple(lanes)


def _bar(seen: Observation, across: dict[Column, float], top: float) -> Bar:
    return Bar(
        observation=seen,
        text=label(seen),
        note=note(seen),
        left=across[(seen.invoke_ns, 0)],
        right=across[(returned_ns(seen), 1)],
        top=top,
        is_open=returned_ns(seen) == inf,
    )


def _points(
    result: Result, bars: dict[int, Bar], slots: dict[int, Column], across: dict[Column, float]
) -> tuple[Point, ...]:
    taken: Counter[Column] = Counter()
    points = []
    for number, seen in enumerate(result.prefix, start=1):
        slot = slots.get(id(seen))
        if slot is not None:
            points.append(Point(number, bars[id(seen)], across[slot] + COLUMN / 2 + POINT * taken[slot]))
            taken[slot] += 1
    return tuple(points)


def _ticks(across: dict[Column, float]) -> tuple[tuple[float, int], ...]:
    """Times at the top, as many as have room."""
    ticks: list[tuple[float, int]] = []
    for (moment, _), position in across.items():
        is_clear = not ticks or position - ticks[-1][0] > (len(str(moment)) + 4) * CHARACTER
        if moment != inf and is_clear:
            ticks.append((position, int(moment)))
    return tuple(ticks)
