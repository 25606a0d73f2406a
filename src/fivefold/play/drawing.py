"""A story as one SVG picture, for slides and for the documentation: lanes, arrows and marks, as the page draws them.

Colours are CSS variables with a dark twin, so that a picture fits the page around it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from types import MappingProxyType
from typing import Final

from fivefold.errors import ConfigurationError
from fivefold.play.story import LATE, LOST, NOBODY, REPEATED, Arrow, Mark, Span, Story

UNIT: Final = 15.0
"""Pixels of a unit of the time line."""
GAP: Final = 38.0
"""Pixels between lanes."""
LEFT: Final = 64.0
TOP: Final = 40.0
RIGHT: Final = 24.0
LOST_SHARE: Final = 0.62
"""How much of its way is drawn of a message that is lost."""
STEPS_MAX: Final = 2000
"""More of them are no picture any more."""

STYLE: Final = """
svg{--ink:#1d1c1a;--muted:#625f58;--line:#ddd8cc;--card:#fff;--accent:#3a47b8;--accept:#14724c;--barrier:#9a5200;
--copy:#6d35a3;--inline:#16619c;--fail:#b3261e;--soft:#f4f1e9;font-family:Inter,system-ui,"Segoe UI",Roboto,sans-serif}
@media (prefers-color-scheme:dark){svg{--ink:#ece9e2;--muted:#a5a196;--line:#31353f;--card:#191c23;--accent:#93a0ff;
--accept:#52cf95;--barrier:#f2b04f;--copy:#c9a3f2;--inline:#74bdf5;--fail:#ff8278;--soft:#22262f}}
text{fill:var(--ink);font-size:12px}.lane{font-weight:650;font-size:14px}.time{fill:var(--muted);font-size:11px}
.accept{fill:var(--accept)}.barrier{fill:var(--barrier)}.copy{fill:var(--copy)}.inline{fill:var(--inline)}
.fail{fill:var(--fail)}.name{font-weight:600}.pill{font-size:11.5px;font-weight:650}
.request{stroke:var(--ink);stroke-width:1.5}.reply{stroke:var(--muted);stroke-width:1}
.refusal{stroke:var(--fail);stroke-width:1.1;stroke-dasharray:5 3}
.sync{stroke:var(--inline);stroke-width:1.3;stroke-dasharray:7 3 1.5 3}
.announcement{stroke:var(--accent);stroke-width:1.5;stroke-dasharray:1.5 3}
.lost{stroke:var(--fail);stroke-dasharray:4 4}.late{stroke-dasharray:11 5}.repeated{stroke-dasharray:2 3}
"""

_KINDS: Final = MappingProxyType(
    {"METHOD": "accept", "INLINE_METHOD": "inline", "INLINE_BARRIER": "inline", "BARRIER": "barrier", "COPY": "copy"}
)
_LABELLED: Final = ("accept", "barrier", "copy", "lie", "cull", "exclude", "death", "fault")


def picture(story: Story, first: int = 0, last: int | None = None) -> str:
    """The steps from ``first`` to ``last`` as SVG; all of them by default.

    Raises:
        ConfigurationError: there is no such stretch, or it is too long for a picture.
    """
    end = len(story.steps) - 1 if last is None else last
    if not 0 <= first <= end < len(story.steps):
        what = f"it has the steps 0 to {len(story.steps) - 1}"
        raise ConfigurationError(f"there is no stretch from step {first} to {end} in {story.name}: {what}")
    if end - first >= STEPS_MAX:
        raise ConfigurationError(
            f"{end - first + 1} steps are too many for a picture: choose a stretch of at most {STEPS_MAX} with --steps"
        )
    return _Canvas(story, first, end).svg()


class _Canvas:
    """The picture of one stretch."""

    def __init__(self, story: Story, first: int, last: int) -> None:
        self.story, self.first, self.last = story, first, last
        self.origin = story.steps[first].x - 1
        self.width = LEFT + (story.steps[last].x - self.origin + 3) * UNIT + RIGHT
        self.height = TOP + GAP * len(story.lanes) + 8

    def x(self, step: int) -> float:
        """Where a step stands."""
        return LEFT + (self.story.steps[step].x - self.origin) * UNIT

    def y(self, lane: int) -> float:
        """Where a lane runs."""
        return TOP + GAP * (lane + 0.5)

    def svg(self) -> str:
        """All of it."""
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width:.0f} {self.height:.0f}" '
            f'width="{self.width:.0f}" height="{self.height:.0f}" role="img">',
            f"<title>{escape(self.story.title)}</title><desc>{escape(self.story.summary)}</desc>",
            f"<style>{STYLE}</style>",
            f'<rect width="{self.width:.0f}" height="{self.height:.0f}" rx="12" fill="var(--card)"/>',
            *self._spans(),
            *self._lanes(),
            *self._times(),
            *(part for arrow in self.story.arrows if self._is_in(arrow.start) for part in self._arrow(arrow)),
            *(part for mark in self.story.marks if self._is_in(mark.step) for part in self._mark(mark)),
        ]
        return "\n".join([*parts, "</svg>", ""])

    def _is_in(self, step: int) -> bool:
        return self.first <= step <= self.last

    def _lanes(self) -> Sequence[str]:
        parts = []
        for lane, (name, role) in enumerate((each.name, each.role) for each in self.story.lanes):
            y, dash = self.y(lane), "" if role in ("server", "liar") else ' stroke-dasharray="2 4"'
            parts.append(f'<path d="M{LEFT - 8} {y}H{self.width:.0f}" stroke="var(--line)" stroke-width="1.4"{dash}/>')
            cls = "lane fail" if role in ("liar", "villain") else "lane"
            sign = " ✶" if role in ("liar", "villain") else ""
            parts.append(f'<text class="{cls}" x="16" y="{y + 5}">{escape(name)}{sign}</text>')
        return parts

    def _times(self) -> Sequence[str]:
        parts, right = [], -math.inf
        for step in range(self.first, self.last + 1):
            x = self.x(step)
            if x < right:
                continue
            text = f"{self.story.steps[step].at_ms:.1f} ms"
            parts.append(f'<path d="M{x:.1f} {TOP - 14}V{self.height:.0f}" stroke="var(--soft)"/>')
            parts.append(f'<text class="time" x="{x + 3:.1f}" y="{TOP - 18}">{text}</text>')
            right = x + 110
        return parts

    def _spans(self) -> Sequence[str]:
        return [part for span in self.story.spans if span.lane != NOBODY for part in self._span(span)]

    def _span(self, span: Span) -> Sequence[str]:
        first, last = max(span.first, self.first), min(span.last, self.last)
        if last < first:
            return ()
        x, y, width = self.x(first), self.y(span.lane), max(2.0, self.x(last) - self.x(first))
        if span.what == "at work":
            place = f'x="{x:.1f}" y="{y - 3:.1f}" width="{width:.1f}" height="6" rx="3"'
            return (f'<rect {place} fill="var(--accent)" opacity=".3"/>',)
        half = GAP * 0.36
        place = f'x="{x:.1f}" y="{y - half:.1f}" width="{width:.1f}" height="{2 * half:.1f}" rx="4"'
        box = f'<rect {place} fill="var(--fail)" opacity=".14"/>'
        return (box, f'<text class="fail" x="{x + 12:.1f}" y="{y - half + 11:.1f}">{escape(span.what)}</text>')

    def _arrow(self, arrow: Arrow) -> Sequence[str]:
        x1, y1 = self.x(arrow.start), self.y(arrow.sender)
        is_open = arrow.end == NOBODY or arrow.end > self.last
        x2, y2 = (x1 + 4 * UNIT if is_open else self.x(arrow.end)), self.y(arrow.receiver)
        share = LOST_SHARE if arrow.fate == LOST else 0.5 if is_open else 1.0
        x2, y2 = x1 + (x2 - x1) * share, y1 + (y2 - y1) * share
        fate = arrow.fate if arrow.fate in (LOST, LATE, REPEATED) else ""
        cls = f"{arrow.what} {fate}".strip()
        line = f'<path class="{cls}" d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}" fill="none"/>'
        if arrow.fate == LOST:
            cross = f"M{x2 - 4:.1f} {y2 - 4:.1f}l8 8m-8 0l8 -8"
            return (line, f'<path d="{cross}" stroke="var(--fail)" stroke-width="1.8"/>')
        return (line,) if is_open else (line, _head(x1, y1, x2, y2, arrow.what))

    def _mark(self, mark: Mark) -> Sequence[str]:
        x = self.x(mark.step)
        if mark.lane == NOBODY:
            cls = "fail" if mark.what == "violation" else "accept"
            line = f'<path d="M{x:.1f} {TOP - 8}V{self.height:.0f}" stroke="var(--{cls})" stroke-width="2" '
            return (
                line + 'stroke-dasharray="6 4"/>',
                f'<text class="{cls} name" x="{x + 5:.1f}" y="{self.height - 6:.0f}">{escape(mark.text)}</text>',
            )
        y = self.y(mark.lane)
        if mark.what in ("call", "repair"):
            return _pill(x, y, mark)
        cls = mark.what if mark.what in ("accept", "barrier", "copy") else "fail"
        label = f'<text class="{cls} name" x="{x + 8:.1f}" y="{y - 6:.1f}">{escape(mark.text)}</text>'
        return (_sign(mark.what, x, y), *((label,) if mark.text and mark.what in _LABELLED else ()))


def _head(x1: float, y1: float, x2: float, y2: float, what: str) -> str:
    angle, size = math.atan2(y2 - y1, x2 - x1), 7.0
    corners = [(x2 - size * math.cos(angle + turn), y2 - size * math.sin(angle + turn)) for turn in (0.38, -0.38)]
    colour = {"request": "ink", "reply": "muted", "refusal": "fail", "sync": "inline", "announcement": "accent"}[what]
    (ax, ay), (bx, by) = corners
    if what == "refusal":
        path = f"M{ax:.1f} {ay:.1f}L{x2:.1f} {y2:.1f}L{bx:.1f} {by:.1f}"
        return f'<path d="{path}" fill="none" stroke="var(--{colour})"/>'
    return f'<path d="M{x2:.1f} {y2:.1f}L{ax:.1f} {ay:.1f}L{bx:.1f} {by:.1f}Z" fill="var(--{colour})"/>'


def _pill(x: float, y: float, mark: Mark) -> Sequence[str]:
    text = mark.text.replace("_", " ")
    kind = _KINDS.get(mark.text, "fail") if mark.what == "repair" else "ink"
    width = 7.2 * len(text) + 12
    box = f'<rect x="{x - 4:.1f}" y="{y - 26:.1f}" width="{width:.1f}" height="17" rx="5"'
    return (
        f'{box} fill="var(--soft)" stroke="var(--{kind})"/>',
        f'<text class="pill {kind}" x="{x + 2:.1f}" y="{y - 13.4:.1f}">{escape(text)}</text>',
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.4" fill="var(--{kind})"/>',
    )


def _sign(what: str, x: float, y: float) -> str:
    """A sign differs from others in shape, not in colour alone."""
    edge = 'stroke="var(--card)" stroke-width="1.5"'
    match what:
        case "accept":
            return f'<circle class="accept" cx="{x:.1f}" cy="{y:.1f}" r="5" {edge}/>'
        case "copy":
            return f'<path class="copy" d="M{x:.1f} {y - 6.5:.1f}l6.5 6.5l-6.5 6.5l-6.5 -6.5Z" {edge}/>'
        case "barrier":
            place = f'x="{x - 3.5:.1f}" y="{y - 8:.1f}" width="7" height="16" rx="1.5"'
            return f'<rect class="barrier" {place} {edge}/>'
        case "end":
            return (
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="6" fill="var(--card)" stroke="var(--accept)" stroke-width="2"/>'
                f'<circle class="accept" cx="{x:.1f}" cy="{y:.1f}" r="2.4"/>'
            )
        case "refuse":
            ring = (
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="var(--card)" stroke="var(--fail)" stroke-width="1.6"/>'
            )
            return ring + f'<path d="M{x - 2.6:.1f} {y + 2.6:.1f}l5.2 -5.2" stroke="var(--fail)" stroke-width="1.4"/>'
        case "restart":
            return f'<path class="accept" d="M{x - 4:.1f} {y - 6:.1f}l10 6l-10 6Z" {edge}/>'
        case "crash" | "death":
            ring = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="8" fill="var(--card)" stroke="var(--fail)"/>'
            cross = f"M{x - 3.6:.1f} {y - 3.6:.1f}l7.2 7.2m-7.2 0l7.2 -7.2"
            return ring + f'<path d="{cross}" stroke="var(--fail)" stroke-width="2"/>'
        case _:
            return f'<rect class="fail" x="{x - 4:.1f}" y="{y - 4:.1f}" width="8" height="8" rx="1.5" {edge}/>'
