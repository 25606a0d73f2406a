"""What people see: progress while measuring, and a table at the end."""

from __future__ import annotations

from collections import Counter
from typing import Self

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from fivefold.bench.results import Measurement, Point, Results, Spread, errors_text, over_rounds, ratio


class Live:
    """Shows each measurement as it runs; a context manager."""

    def __init__(self, console: Console, *, measurements: int, segment_s: float) -> None:
        """This many measurements, of this many seconds each, are to come."""
        self._console = console
        self._total_s = measurements * segment_s
        self._segment_s = segment_s
        self._done = 0
        self._progress = Progress(
            TextColumn("{task.description}", table_column=None),
            BarColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self._task = self._progress.add_task("", total=self._total_s, rate="")
        self._last: tuple[float, int] = (0.0, 0)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def progress(self, label: str, elapsed_s: float, operations: int) -> None:
        """So far."""
        last_s, last = self._last
        if elapsed_s < last_s:
            last_s, last = 0.0, 0
        text = f"{(operations - last) / (elapsed_s - last_s):,.0f}/s" if elapsed_s - last_s > 0.2 else None
        if text is not None:
            self._last = (elapsed_s, operations)
            self._progress.update(self._task, rate=text)
        completed = self._done * self._segment_s + max(0.0, min(elapsed_s, self._segment_s))
        self._progress.update(self._task, description=label, completed=completed)

    def measured(self, label: str, round_: int, result: Measurement) -> None:
        """One measurement is done."""
        self._done += 1
        errors = f"  [red]{sum(result.errors.values())} errors[/]" if result.errors else ""
        self._console.print(
            f"[dim]round {round_ + 1}[/]  {label:<24} {result.rate:>9,.0f}/s  "
            f"p50 {result.p50_ms:.3f} ms  p99 {result.p99_ms:.3f} ms{errors}",
            highlight=False,
        )


def table(results: Results, floor: dict[float, Point]) -> Table:
    """Medians of all points, and their ratios to the floor at the same ``x``; numbers are whole on 80 columns, too."""
    headings = [results.x_label, "op/s", "±%", "p50 ms", "p99 ms", "µs CPU", "capacity"]
    headings += ["of floor", "× p50"] if floor else []
    shown = Table(
        caption="medians; µs CPU: of the busiest server for each operation; capacity: operations a second that it "
        "could carry alone; of floor: share of the bare echo's rate; × p50: times its median",
        box=SIMPLE_HEAD,
        pad_edge=False,
        padding=0,
    )
    shown.add_column("")
    for heading in headings:
        shown.add_column(heading.replace(" ", "\n"), justify="right", no_wrap=True)
    for point in results.points:
        rate = over_rounds(point, lambda each: each.rate)
        row = [point.name, f"{point.x:g}", f"{rate.median:,.0f}", f"{rate.percent:.0f}"]
        row += [f"{over_rounds(point, number).median:.3g}" for number in (_p50, _p99)]
        row += [_known(over_rounds(point, _busiest), 0), _known(over_rounds(point, _capacity), 0)]
        if point.x in floor:
            base = floor[point.x]
            row += [f"{ratio(point, base, _rate).median:.3f}", f"{ratio(point, base, _p50).median:.2f}"]
        shown.add_row(*row)
    return shown


def failures(points: list[Point]) -> list[str]:
    """A line for each point of which operations failed, all rounds together."""
    lines = []
    for point in points:
        errors: Counter[str] = Counter()
        for each in point.rounds:
            errors.update(each.errors)
        if errors:
            lines.append(f"failed and not in these figures: {point.name} ({point.x:g}): {errors_text(errors)}")
    return lines


def counts_table(points: list[Point]) -> Table | None:
    """Messages, bytes and MACs per operation, of the points that were counted."""
    counted = [(point, point.rounds[-1].per_operation) for point in points if point.rounds[-1].per_operation]
    if not counted:
        return None
    names = ("messages", "bytes", "macs_made", "macs_checked")
    shown = Table("per operation, all servers", "", box=SIMPLE_HEAD, pad_edge=False)
    for name in names:
        shown.add_column(name.replace("_", " "), justify="right", no_wrap=True)
    for point, counts in counted:
        shown.add_row(point.name, f"{point.x:g}", *(f"{counts.get(name, 0):,.1f}" for name in names))
    return shown


def _known(found: Spread, digits: int) -> str:
    return f"{found.median:,.{digits}f}" if found.median else ""


def _rate(each: Measurement) -> float:
    return each.rate


def _p50(each: Measurement) -> float:
    return each.p50_ms


def _p99(each: Measurement) -> float:
    return each.p99_ms


def _busiest(each: Measurement) -> float:
    return each.busiest_server_us


def _capacity(each: Measurement) -> float:
    return each.capacity
