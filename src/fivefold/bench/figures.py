"""Which pictures a result file makes, by its figure."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from fivefold.bench import svg
from fivefold.bench.results import Measurement, Point, Results, load, over_rounds, written
from fivefold.errors import ConfigurationError

Pictures = dict[str, str]
"""SVG texts by the last part of their file names."""

Number = Callable[[Measurement], float]


def draw(file: Path, out: Path) -> list[Path]:
    """Make the pictures of one result file, named after it.

    Raises:
        ConfigurationError: not a result file, a figure this version does not know, or no place for pictures.
    """
    results = load(file)
    make = FIGURES.get(results.figure)
    if make is None:
        raise ConfigurationError(f"{file} is for a figure {results.figure!r}, which this version cannot draw")
    try:
        made = make(results)
    except (LookupError, ArithmeticError, ValueError) as error:  # a percentile that is missing, a number beyond a scale
        raise ConfigurationError(f"{file} cannot be drawn ({error!r}): take the result again") from error
    pictures = {out / f"{file.stem}-{name}.svg": text for name, text in made.items()}
    for path, text in pictures.items():
        with written(path):
            path.write_text(text, encoding="utf-8")
    return list(pictures)


def _mark(point: Point, number: Number) -> svg.Mark:
    found = over_rounds(point, number)
    return svg.Mark(point.x, found.median, found.least, found.greatest)


def _names(points: Sequence[Point]) -> list[str]:
    return list(dict.fromkeys(point.name for point in points))


def _curves(points: Sequence[Point], number: Number) -> list[svg.Curve]:
    curves = []
    for name in _names(points):
        marks = [_mark(point, number) for point in points if point.name == name]
        if any(mark.y for mark in marks):
            curves.append(svg.Curve(name, marks))
    return curves


def _scalability(results: Results) -> Pictures:
    """Figure 4 of the paper: throughput and capacity over the faults tolerated (or servers, or clients)."""
    lines: dict[str, tuple[str, Number]] = {
        "rate": ("operations/s", lambda each: each.rate),
        "capacity": ("operations/s of the busiest server alone", lambda each: each.capacity),
        "latency": ("median latency, ms", lambda each: each.p50_ms),
    }
    return {
        name: svg.line_chart(results.title, _curves(results.points, number), x_label=results.x_label, y_label=label)
        for name, (label, number) in lines.items()
    }


def _run(results: Results) -> Pictures:
    """Latency by percentile for each load, and rates."""
    pictures = _bars(results)
    for x in sorted({point.x for point in results.points}):
        curves = [svg.Curve(point.name, _percentiles(point)) for point in results.points if point.x == x]
        title = f"{results.title}, {svg.number_text(x)} {results.x_label}"
        pictures[f"latency-{x:g}"] = svg.line_chart(
            title, curves, x_label="percentile", y_label="latency, ms", is_log_y=True
        )
    return pictures


def _percentiles(point: Point) -> list[svg.Mark]:
    marks = []
    for percent in ("10", "25", "50", "75", "90", "95", "99"):
        found = over_rounds(point, lambda each, percent=percent: each.latency_ms[percent])  # type: ignore[misc]
        marks.append(svg.Mark(float(percent), found.median, found.least, found.greatest))
    return marks


def _bars(results: Results) -> Pictures:
    """Rates and medians of systems side by side, one group for each number in flight."""
    loads = sorted({point.x for point in results.points})
    names = _names(results.points)
    pictures = {}
    for name, label, number in (
        ("rate", "operations/s", lambda each: each.rate),
        ("median", "median latency, ms", lambda each: each.p50_ms),
    ):
        groups = []
        for x in loads:
            here = {point.name: point for point in results.points if point.x == x}
            marks = [_mark(here[each], number) if each in here else svg.Mark(x, 0, 0, 0) for each in names]
            groups.append((f"{svg.number_text(x)} {results.x_label}", marks))
        pictures[name] = svg.bar_chart(results.title, groups, names, y_label=label)
    return pictures


def _breakdown(results: Results) -> Pictures:
    """Figure 5 of the paper: where a server's time goes."""
    parts = list(dict.fromkeys(part for point in results.points for part in point.extra))
    bars = [
        (f"{results.x_label} = {point.x:g}", [point.extra.get(part, 0.0) for part in parts]) for point in results.points
    ]
    chart = svg.stacked_chart(results.title, bars, parts, y_label="µs of a server per request")
    return {"time": chart}


def _timeline(results: Results) -> Pictures:
    """Rate and latency over time, with what was done to the system."""
    pictures = {}
    for point in results.points:
        slices = point.rounds[-1].slices
        rate = svg.Curve("operations/s", [_flat(each.at_s, each.rate) for each in slices])
        latency = [
            svg.Curve("p50", [_flat(each.at_s, each.p50_ms) for each in slices if each.rate]),
            svg.Curve("p99", [_flat(each.at_s, each.p99_ms) for each in slices if each.rate]),
        ]
        events = [
            (at_s, what.partition(": ")[2]) for at_s, what in results.events if what.startswith(f"{point.name}: ")
        ]
        title = f"{results.title}: {point.name}"
        pictures[f"{_slug(point.name)}-rate"] = svg.line_chart(
            title, [rate], x_label="seconds", y_label="operations/s", events=events
        )
        pictures[f"{_slug(point.name)}-latency"] = svg.line_chart(
            title, latency, x_label="seconds", y_label="latency, ms", is_log_y=True, events=events
        )
    return pictures


def _flat(x: float, y: float) -> svg.Mark:
    return svg.Mark(x, y, y, y)


def _slug(name: str) -> str:
    return "-".join("".join(letter if letter.isalnum() else " " for letter in name.lower()).split())


_RATE_WITH: Final = re.compile(r"(metadata|PostMark)/s, (\d+ at once): f=(\d+)")


def _file_system(results: Results) -> Pictures:
    """The file system's rates over the faults tolerated, of each work and number of calls at once."""
    curves: dict[str, list[svg.Mark]] = {}
    for name, rate in results.numbers.items():
        if found := _RATE_WITH.fullmatch(name):
            curves.setdefault(f"{found[1]}, {found[2]}", []).append(svg.Mark(float(found[3]), rate, rate, rate))
    if not curves:
        return {}
    chart = svg.line_chart(
        results.title,
        [svg.Curve(name, marks) for name, marks in curves.items()],
        x_label="faults tolerated",
        y_label="operations or transactions/s",
    )
    return {"rate": chart}


FIGURES: Final[dict[str, Callable[[Results], Pictures]]] = {
    "run": _run,
    "bars": _bars,
    "scalability": _scalability,
    "breakdown": _breakdown,
    "timeline": _timeline,
    "file-system": _file_system,
    "numbers": lambda _: {},
}
"""By the ``figure`` of a result file."""
