"""Charts as SVG: lines with spreads, bars, stacked bars. Ours, because a chart needs 200 lines and matplotlib 60 MB."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape
from typing import Final

from msgspec import Struct

WIDTH: Final = 720
HEIGHT: Final = 430
_LEFT, _RIGHT, _TOP, _BOTTOM = 78, 24, 46, 74

COLOURS: Final = ("#1f6fb2", "#c9541b", "#2f855a", "#7a4fb5", "#b08900", "#5f6b7a", "#c23b75", "#1b9aaa")
"""Told apart by most readers with colour vision deficiencies, at least as light and dark."""

_TITLE_PX, _BOLD_EM = 15, 0.61
"""Size of a title's letters, and the mean width of one of them in sizes."""

_STYLE: Final = (
    "text{font:12px system-ui,'DejaVu Sans',sans-serif;fill:#1c2733}.title{font-weight:600}"
    ".tick{fill:#536275;font-size:11px}.grid{stroke:#e3e8ee}.axis{stroke:#8492a3}"
)


class Mark(Struct, frozen=True):
    """A value with its range."""

    x: float
    y: float
    low: float
    high: float


class Curve(Struct, frozen=True):
    """Marks of one name, joined by a line."""

    name: str
    marks: Sequence[Mark]


class Scale(Struct, frozen=True):
    """From numbers to places on one axis."""

    low: float
    high: float
    start: float
    end: float
    is_log: bool = False

    def __call__(self, value: float) -> float:
        """Where the value goes."""
        low, high = self.low, self.high
        if self.is_log:
            value, low, high = math.log10(max(value, low)), math.log10(low), math.log10(high)
        return self.start + (value - low) / (high - low or 1) * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Round numbers along the axis."""
        if self.is_log:
            first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
            every = [mantissa * 10.0**power for power in range(first, last + 1) for mantissa in (1, 2, 5)]
            return [tick for tick in every if self.low <= tick <= self.high]
        step = nice_step((self.high - self.low) / 5)
        first = math.ceil(self.low / step - 1e-9)
        return [number * step for number in range(first, math.floor(self.high / step + 1e-9) + 1)]


def nice_step(about: float) -> float:
    """1, 2 or 5 times a power of ten, at or above ``about``."""
    power = 10.0 ** math.floor(math.log10(about)) if about > 0 else 1.0
    return next(step * power for step in (1, 2, 5, 10) if step * power >= about * (1 - 1e-9))


def number_text(value: float) -> str:
    """A number as a reader wants it: 0.25, 12, 3,400."""
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def line_chart(
    title: str,
    curves: Sequence[Curve],
    *,
    x_label: str,
    y_label: str,
    is_log_y: bool = False,
    is_log_x: bool = False,
    events: Sequence[tuple[float, str]] = (),
) -> str:
    """Curves over numbers; ``events`` are vertical lines with words."""
    marks = [mark for curve in curves for mark in curve.marks]
    xs = [mark.x for mark in marks] or [0.0, 1.0]
    across = Scale(min(xs), max(xs), _LEFT + 12, WIDTH - _RIGHT - 12, is_log_x)
    up = _upward([mark.high for mark in marks], [mark.low for mark in marks], is_log=is_log_y)
    distinct = sorted(set(xs))
    parts = _frame(title, x_label, y_label, up)
    ticks = distinct if len(distinct) <= 8 else across.ticks()
    parts += [_x_tick(across(x), number_text(x)) for x in ticks]
    for at, what in events:
        parts.append(_line(across(at), _TOP, across(at), HEIGHT - _BOTTOM, "stroke='#c9281b' stroke-dasharray='4 3'"))
        parts.append(_text(across(at) + 4, _TOP + 12, what, "class='tick'"))
    for index, curve in enumerate(curves):
        parts += _curve(curve, COLOURS[index % len(COLOURS)], across, up, has_dots=len(curve.marks) <= 40)
    parts += _legend([curve.name for curve in curves])
    return _page(parts)


def bar_chart(title: str, bars: Sequence[tuple[str, Sequence[Mark]]], names: Sequence[str], *, y_label: str) -> str:
    """Groups of bars side by side: each group has a label and one mark for each of ``names``."""
    up = _upward([mark.high for _, marks in bars for mark in marks], [0.0], is_log=False)
    parts = _frame(title, "", y_label, up)
    group = (WIDTH - _LEFT - _RIGHT) / max(1, len(bars))
    width = min(56.0, group * 0.8 / max(1, len(names)))
    for place, (label, marks) in enumerate(bars):
        middle = _LEFT + group * (place + 0.5)
        parts.append(_x_tick(middle, label))
        for index, mark in enumerate(marks):
            x = middle + (index - len(marks) / 2) * width
            colour = COLOURS[index % len(COLOURS)]
            parts.append(_box(x + 2, up(mark.y), width - 4, up(0) - up(mark.y), colour))
            parts.append(_line(x + width / 2, up(mark.low), x + width / 2, up(mark.high), "stroke='#1c2733'"))
            parts.append(_text(x + width / 2, up(mark.high) - 4, number_text(mark.y), "class='tick'", "middle"))
    parts += _legend(names)
    return _page(parts)


def stacked_chart(
    title: str, bars: Sequence[tuple[str, Sequence[float]]], names: Sequence[str], *, y_label: str
) -> str:
    """One bar for each label, made of one part for each of ``names``, from the bottom up."""
    up = _upward([sum(parts) for _, parts in bars], [0.0], is_log=False)
    drawn = _frame(title, "", y_label, up)
    group = (WIDTH - _LEFT - _RIGHT) / max(1, len(bars))
    for place, (label, shares) in enumerate(bars):
        middle, floor = _LEFT + group * (place + 0.5), 0.0
        drawn.append(_x_tick(middle, label))
        for index, share in enumerate(shares):
            height = up(floor) - up(floor + share)
            drawn.append(_box(middle - 30, up(floor + share), 60, height, COLOURS[index % len(COLOURS)]))
            floor += share
    drawn += _legend(names)
    return _page(drawn)


# --- parts ----------------------------------------------------------------------------------------------------


def _upward(highs: Sequence[float], lows: Sequence[float], *, is_log: bool) -> Scale:
    top = max(highs, default=1.0) * 1.08 or 1.0
    low = min((low for low in lows if low > 0), default=top / 10) * 0.9 if is_log else 0.0
    return Scale(low, top, HEIGHT - _BOTTOM, _TOP, is_log)


def _frame(title: str, x_label: str, y_label: str, up: Scale) -> list[str]:
    size = min(_TITLE_PX, (WIDTH - _LEFT) / (_BOLD_EM * max(1, len(title))))  # a long one is smaller, not cut off
    parts = [_text(_LEFT, 24, title, f"class='title' style='font-size:{size:.1f}px'")]
    for tick in up.ticks():
        y = up(tick)
        parts.append(_line(_LEFT, y, WIDTH - _RIGHT, y, "class='grid'"))
        parts.append(_text(_LEFT - 8, y + 4, number_text(tick), "class='tick'", "end"))
    parts.append(_line(_LEFT, HEIGHT - _BOTTOM, WIDTH - _RIGHT, HEIGHT - _BOTTOM, "class='axis'"))
    parts.append(_text((_LEFT + WIDTH - _RIGHT) / 2, HEIGHT - 36, x_label, "", "middle"))
    middle = (_TOP + HEIGHT - _BOTTOM) / 2
    parts.append(_text(18, middle, y_label, f"transform='rotate(-90 18 {middle:.0f})'", "middle"))
    return parts


def _curve(curve: Curve, colour: str, across: Callable[[float], float], up: Scale, *, has_dots: bool) -> list[str]:
    places = [(across(mark.x), up(mark.y)) for mark in curve.marks]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    parts = [f"<polyline points='{path}' fill='none' stroke='{colour}' stroke-width='2'/>"]
    if not has_dots:
        return parts
    for mark, (x, y) in zip(curve.marks, places, strict=True):
        parts.append(_line(x, up(mark.low), x, up(mark.high), f"stroke='{colour}'"))
        parts.append(f"<circle cx='{x:.1f}' cy='{y:.1f}' r='3.5' fill='{colour}'/>")
    return parts


def _legend(names: Sequence[str]) -> list[str]:
    parts = []
    x, y = float(_LEFT), HEIGHT - 24
    for index, name in enumerate(names):
        width = 17 + 6.4 * len(name) + 14
        if x + width > WIDTH and x > _LEFT:
            x, y = float(_LEFT), y + 15
        parts.append(_box(x, y, 12, 9, COLOURS[index % len(COLOURS)]))
        parts.append(_text(x + 17, y + 8, name, "class='tick'"))
        x += width
    return parts


def _x_tick(x: float, label: str) -> str:
    return _text(x, HEIGHT - _BOTTOM + 17, label, "class='tick'", "middle")


def _text(x: float, y: float, words: str, attributes: str, anchor: str = "start") -> str:
    return f"<text x='{x:.1f}' y='{y:.1f}' text-anchor='{anchor}' {attributes}>{escape(words)}</text>"


def _line(x: float, y: float, x_to: float, y_to: float, attributes: str) -> str:
    return f"<line x1='{x:.1f}' y1='{y:.1f}' x2='{x_to:.1f}' y2='{y_to:.1f}' {attributes}/>"


def _box(x: float, y: float, width: float, height: float, colour: str) -> str:
    return f"<rect x='{x:.1f}' y='{y:.1f}' width='{width:.1f}' height='{max(0.0, height):.1f}' fill='{colour}'/>"


def _page(parts: Sequence[str]) -> str:
    head = f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {HEIGHT}' width='{WIDTH}' height='{HEIGHT}'>"
    return "\n".join(
        [head, f"<style>{_STYLE}</style><rect width='100%' height='100%' fill='#fff'/>", *parts, "</svg>\n"]
    )
