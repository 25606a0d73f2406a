"""Pages with numbers, and pictures: what result files turn into."""

import io
import subprocess
import sys
from pathlib import Path

import pytest
from msgspec.structs import replace
from rich.console import Console

from fivefold.bench.figures import FIGURES
from fivefold.bench.machine import origin
from fivefold.bench.markdown import NOT_TAKEN, fill, names_in, render
from fivefold.bench.report import failures, table
from fivefold.bench.results import Measurement, Point, Results, Setting, Slice, save
from fivefold.bench.svg import Scale, line_chart, nice_step, number_text
from fivefold.bench.workload import Workload

ROOT = Path(__file__).parents[2]
PAGE = "a\n<!-- figure: one -->\nold\n<!-- /figure -->\nb\n<!-- figure: two -->\n<!-- /figure -->\n"


def a_point(name: str, x: float, rate: float, **extra: float) -> Point:
    setting = Setting(system=name, n=6, t=1, b=1, tls=True, durability="memory")
    latency_ms = {f"{percent:g}": 1.0 for percent in (10, 25, 50, 75, 90, 95, 99)}
    slices = [Slice(at_s=0.0, rate=rate, p50_ms=1, p99_ms=2), Slice(at_s=0.5, rate=0, p50_ms=0, p99_ms=0)]
    measured = Measurement(
        rate=rate, operations=1, errors={}, latency_ms=latency_ms, cpu_us={"server-0": 50.0}, slices=slices
    )
    return Point(name=name, x=x, setting=setting, workload=Workload(), rounds=[measured], extra=extra)


def some_results(figure: str = "run", *points: Point) -> Results:
    return Results(
        figure=figure,
        title="A <title>",
        x_label="in flight",
        origin=origin(),
        seconds=(3, 1),
        points=list(points) or [a_point("Fivefold", 64, 500), a_point("floor", 64, 1000)],
        numbers={"answer": 42.0},
        events=[(0.5, "Fivefold: kill -9")],
    )


def test_pages_show_the_stored_results() -> None:
    """docs/evaluation.md and the README's table are what benchmarks/evaluation.py would write."""
    command = [sys.executable, str(ROOT / "benchmarks" / "evaluation.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"run python benchmarks/evaluation.py: {done.stdout}{done.stderr}"


def test_every_stored_result_is_on_the_page() -> None:
    """No result file lies about that no page shows."""
    page = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")
    stored = {file.stem for file in (ROOT / "benchmarks" / "results").glob("*.json")}
    assert stored <= set(names_in(page))


def test_a_page_is_filled_between_its_marks(tmp_path: Path) -> None:
    """What stood there is replaced, what stands around stays, and filling twice changes nothing."""
    save(some_results(), tmp_path / "one.json")
    filled = fill(PAGE, tmp_path, lambda name: [f"{name}.svg"])
    assert filled.startswith("a\n<!-- figure: one -->\n")
    assert "\nold\n" not in filled
    assert "| Fivefold | 64 | 500 ± 0 % | 1 | 1 | 50 | 20,000 | 0.500 | 1.00 |" in filled
    assert "![A <title>](one.svg)" in filled
    assert f"<!-- figure: two -->\n{NOT_TAKEN}<!-- /figure -->" in filled
    assert fill(filled, tmp_path, lambda name: [f"{name}.svg"]) == filled


def test_a_breakdown_is_a_table_of_its_parts() -> None:
    """One row for each f, one column for each part, and their sum."""
    text = render(some_results("breakdown", a_point("Fivefold", 1, 10, MACs=4.0, codec=6.0)), [])
    assert "| in flight | µs in all | MACs | codec |" in text
    assert "| 1 | 10 | 4.0 | 6.0 |" in text


@pytest.mark.parametrize("figure", sorted(FIGURES))
def test_every_figure_can_be_drawn(figure: str) -> None:
    """Pictures are SVG without holes, whatever the figure."""
    points = (a_point("Fivefold", 1, 10, MACs=4.0), a_point("Fivefold", 2, 8, MACs=5.0), a_point("other", 1, 7))
    for text in FIGURES[figure](some_results(figure, *points)).values():
        assert text.startswith("<svg")
        assert "nan" not in text.lower()
        assert "A &lt;title&gt;" in text


def test_the_file_systems_rates_are_curves_over_the_faults() -> None:
    """One curve for each work and number of calls at once; numbers of plain memory and ratios are no part of it."""
    numbers = {
        "metadata/s, 16 at once: f=1": 90.0,
        "metadata/s, 16 at once: f=2": 60.0,
        "PostMark/s, 1 at once: f=1": 9.0,
    }
    results = replace(some_results("file-system"), numbers={**numbers, "metadata/s, 16 at once: memory": 900.0})
    (picture,) = FIGURES["file-system"](results).values()
    assert picture.count("metadata, 16 at once") == picture.count("PostMark, 1 at once") >= 1
    assert "memory" not in picture
    assert FIGURES["file-system"](some_results("file-system")) == {}


def test_the_table_fits_80_columns() -> None:
    """Every number is whole on the narrowest terminal, whatever the names; captions and names may wrap."""
    points = [a_point(name, 64, 1_234_567) for name in ("Fivefold", "floor", "agreement, batched")]
    with io.StringIO() as text:
        console = Console(file=text, width=80)
        console.print(table(some_results("run", *points), {64: points[1]}))
        shown = text.getvalue()
    assert "…" not in shown
    assert shown.count("1,234,567") == 3


def test_failures_are_said_below_the_table() -> None:
    """Operations that failed are named and added up over the rounds; nothing is said of those without."""
    good, bad = a_point("floor", 64, 500), a_point("Fivefold", 64, 500)
    failed = replace(bad.rounds[0], errors={"overload": 1500, "Unavailable": 2})
    bad = replace(bad, rounds=[failed, failed])
    (line,) = failures([good, bad])
    assert line.endswith("Fivefold (64): 4 × Unavailable, 3,000 × overload")


@pytest.mark.parametrize(("about", "step"), [(0.9, 1), (1.0, 1), (1.1, 2), (3, 5), (7, 10), (0.03, 0.05)])
def test_steps_are_round(about: float, step: float) -> None:
    """1, 2 or 5 times a power of ten, never less than asked for."""
    assert nice_step(about) == pytest.approx(step)


def test_ticks_lie_on_the_axis() -> None:
    """Linear and logarithmic axes have round numbers within their ends."""
    assert Scale(0, 100, 0, 1).ticks() == [0, 20, 40, 60, 80, 100]
    assert Scale(0.9, 30, 0, 1, is_log=True).ticks() == [1, 2, 5, 10, 20]


def test_numbers_are_written_for_readers() -> None:
    """Thousands have commas, small numbers three digits."""
    assert [number_text(value) for value in (0, 0.12345, 12.345, 3400)] == ["0", "0.123", "12.3", "3,400"]


@pytest.mark.parametrize(("letters", "px"), [(10, "15.0"), (70, "15.0"), (71, "14.8"), (140, "7.5")])
def test_long_titles_are_smaller(letters: int, px: str) -> None:
    """A title is never wider than the picture."""
    assert f"font-size:{px}px" in line_chart("t" * letters, [], x_label="x", y_label="y")


def test_an_empty_chart_is_still_a_picture() -> None:
    """No marks, no failure."""
    assert line_chart("t", [], x_label="x", y_label="y").startswith("<svg")
