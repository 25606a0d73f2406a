"""Result files as Markdown, and pages whose numbers come from result files: documents cannot say what was not measured.

A page marks where the numbers of ``NAME.json`` go; what stands between the marks is replaced::

    <!-- figure: NAME -->
    <!-- /figure -->
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

from fivefold.bench.results import Point, Results, load, over_rounds, ratio
from fivefold.bench.svg import number_text

_MARKED: Final = re.compile(r"(<!-- figure: (?P<name>[\w-]+) -->\n).*?(<!-- /figure -->)", re.DOTALL)

NOT_TAKEN: Final = "*Not taken yet.*\n"


def fill(page: str, results: Path, pictures: Callable[[str], list[str]]) -> str:
    """The page with the numbers of the result files in a directory.

    Args:
        page: its text.
        results: directory of the result files.
        pictures: links of the pictures made of the result file with a name.

    Raises:
        ConfigurationError: a file is no result file.
    """

    def block(found: re.Match[str]) -> str:
        file = results / f"{found['name']}.json"
        text = render(load(file), pictures(found["name"])) if file.exists() else NOT_TAKEN
        return f"{found[1]}{text}{found[3]}"

    return _MARKED.sub(block, page)


def names_in(page: str) -> list[str]:
    """The names of the result files that a page shows."""
    return [found["name"] for found in _MARKED.finditer(page)]


def render(results: Results, pictures: list[str]) -> str:
    """One result file: its table, its single numbers, its pictures, and where it comes from."""
    parts = []
    if any(point.extra for point in results.points):
        parts.append(_breakdown(results))
    elif results.points:
        parts.append(_points(results))
    if results.numbers:
        parts.append(_table(["", "value"], [[name, number_text(value)] for name, value in results.numbers.items()]))
    parts += [f"![{results.title}]({picture})\n" for picture in pictures]
    parts.append(_origin(results))
    return "\n" + "\n".join(parts) + "\n"


def _points(results: Results) -> str:
    floor = {point.x: point for point in results.points if point.name == "floor"}
    head = ["", results.x_label, "operations/s", "p50 ms", "p99 ms", "µs of the busiest server", "capacity/s"]
    head += ["of the floor's rate", "× its p50"] if floor else []
    if any(_counts(point) for point in results.points):
        head += ["messages", "MACs"]
    return _table(head, [_row(point, floor, len(head)) for point in results.points])


def _row(point: Point, floor: dict[float, Point], width: int) -> list[str]:
    rate = over_rounds(point, lambda each: each.rate)
    row = [point.name, f"{point.x:g}", f"{rate.median:,.0f} ± {rate.percent:.0f} %"]
    row += [f"{over_rounds(point, lambda each: each.p50_ms).median:.3g}"]
    row += [f"{over_rounds(point, lambda each: each.p99_ms).median:.3g}"]
    busiest = over_rounds(point, lambda each: each.busiest_server_us).median
    row += [f"{busiest:,.0f}", f"{over_rounds(point, lambda each: each.capacity).median:,.0f}"] if busiest else ["", ""]
    if floor:
        base = floor.get(point.x, point)
        row.append(f"{ratio(point, base, lambda each: each.rate).median:.3f}")
        row.append(f"{ratio(point, base, lambda each: each.p50_ms).median:.2f}")
    return (row + _counts(point) + ["", ""])[:width]


def _counts(point: Point) -> list[str]:
    counts = point.rounds[-1].per_operation
    if not counts:
        return []
    macs = counts.get("macs_made", 0) + counts.get("macs_checked", 0)
    return [f"{counts.get('messages', 0):.1f}", f"{macs:.1f}"]


def _breakdown(results: Results) -> str:
    parts = list(dict.fromkeys(part for point in results.points for part in point.extra))
    rows = []
    for point in results.points:
        total = sum(point.extra.values())
        rows.append([f"{point.x:g}", f"{total:.0f}", *(f"{point.extra.get(part, 0.0):.1f}" for part in parts)])
    return _table([results.x_label, "µs in all", *parts], rows)


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _origin(results: Results) -> str:
    origin, (seconds, warm_up_s) = results.origin, results.seconds
    rounds = max((len(point.rounds) for point in results.points), default=0)
    versions = ", ".join(f"{name} {version}" for name, version in origin.versions.items())
    machine = ", ".join(
        (
            origin.machine["processor"],
            f"{origin.machine['processors']} processors",
            origin.machine["memory"],
            origin.machine["kernel"],
        )
    )
    timing = f" Medians of {rounds} rounds of {seconds:g} s after {warm_up_s:g} s." if rounds else ""
    notes = "".join(f" {name.replace('_', ' ')}: {note}." for name, note in results.notes.items())
    return (
        f"*{results.title}.{timing} Taken {origin.taken_at[:16].replace('T', ' ')} UTC by `{origin.command}` at commit "
        f"{origin.commit or 'unknown'}; {machine}, load {origin.load:g} before; {versions}.{notes}*\n"
    )
