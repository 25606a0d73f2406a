"""What the scripts of the figures have in common: options, progress, result files."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console

from fivefold.bench.comparison import Comparison, Entry, Timing
from fivefold.bench.machine import origin
from fivefold.bench.report import Live, counts_table, failures, table
from fivefold.bench.results import Point, Results, check_writable, save
from fivefold.errors import ConfigurationError, FivefoldError

RESULTS = Path(__file__).parent / "results"


def parser(description: str | None, name: str, *, seconds: float = 3.0, rounds: int = 5) -> argparse.ArgumentParser:
    """The options that every figure has; the result goes to ``benchmarks/results/NAME.json`` by default."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--seconds", type=float, default=seconds, help=f"of each measurement (default {seconds:g})")
    made.add_argument("--warm-up", type=float, default=1.0, help="seconds before each (default 1)")
    made.add_argument("--rounds", type=int, default=rounds, help=f"measurements of each point (default {rounds})")
    made.add_argument("--out", type=result_file, default=RESULTS / f"{name}.json", help="result file")
    made.add_argument("--dir", type=Path, default=None, help="where servers put their files meanwhile")
    made.set_defaults(origin=origin())  # now: the load that a measurement makes is not that of the minute before
    return made


def timing_of(options: argparse.Namespace) -> Timing:
    """The timing that the options ask for.

    Raises:
        ConfigurationError: it cannot be kept.
    """
    timing = Timing(seconds=options.seconds, warm_up_s=options.warm_up, rounds=options.rounds)
    timing.check()
    return timing


def carry_out(main: Callable[[], None]) -> None:
    """Run a script; what it cannot do is said in a sentence, and SIGTERM leaves no processes and files behind."""
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        main()
    except FivefoldError as error:
        sys.exit(f"{Path(sys.argv[0]).name}: {error}")


def measure(comparison: Comparison, entries: Sequence[Entry], timing: Timing) -> list[Point]:
    """Measure by turns, with a live display."""
    segment_s = timing.seconds + timing.warm_up_s
    with Live(Console(), measurements=timing.rounds * len(entries), segment_s=segment_s) as live:
        return comparison.measure(entries, timing, live)


def finish(
    options: argparse.Namespace,
    points: list[Point],
    *,
    figure: str,
    title: str,
    x_label: str,
    numbers: dict[str, float] | None = None,
    events: list[tuple[float, str]] | None = None,
    notes: dict[str, str] | None = None,
) -> Results:
    """Save the result file and print its table."""
    results = Results(
        figure=figure,
        title=title,
        x_label=x_label,
        origin=options.origin,
        seconds=(options.seconds, options.warm_up),
        points=points,
        numbers=numbers or {},
        events=events or [],
        notes=notes or {},
    )
    save(results, options.out)
    console = Console()
    if points:
        console.print(table(results, {point.x: point for point in points if point.name == "floor"}))
    for line in failures(points):
        console.print(f"[red]{line}[/]", highlight=False)
    if (counts := counts_table(points)) is not None:
        console.print(counts)
    for name, number in results.numbers.items():
        console.print(f"{name}: {number:,.4g}", highlight=False)
    console.print(f"written: {options.out}")
    return results


def result_file(text: str) -> Path:
    """A path at which a result can be saved, as an option."""
    try:
        check_writable(Path(text))
    except ConfigurationError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return Path(text)


def whole_numbers(text: str) -> list[int]:
    """``1,2,5`` as numbers.

    Raises:
        ConfigurationError: it is something else.
    """
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise ConfigurationError(f"whole numbers with commas are needed, such as 1,2,5: got {text!r}") from None
