"""``fivefold play``: a run of the protocol as a page to step through."""

from __future__ import annotations

import re
import sys
import webbrowser
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.table import Table

from fivefold.cli.output import out, say
from fivefold.cli.simulate import choose_profile
from fivefold.errors import ConfigurationError
from fivefold.node import VERSION
from fivefold.play import (
    SCENARIOS,
    Chapter,
    Recording,
    cut,
    of_report,
    page,
    picture,
    record,
    summary_of,
    tell,
)
from fivefold.simulation import Plan, Report, draw, run_plan, shrink

EXAMPLES: Final = """
**Examples**

`fivefold play`, all scenarios in one page

`fivefold play liar -o liar.html`

`fivefold play --seed 338 --byzantine`, a run of the simulator; one that fails is made smaller first

`fivefold play paper-3 --svg contention.svg --steps 0..30`, a picture for a slide
"""

DEFAULT_NAME: Final = "fivefold-play.html"


def play(
    scenario: Annotated[str | None, typer.Argument(help="A scenario; see --list. All of them by default.")] = None,
    seed: Annotated[int | None, typer.Option(help="Play this seed of the simulator instead.")] = None,
    swarm: Annotated[
        bool, typer.Option("--swarm", help="Draw the seed as `simulate --swarm` does (the default).")
    ] = False,
    calm: Annotated[bool, typer.Option("--calm", help="As `simulate --calm`.")] = False,
    contended: Annotated[bool, typer.Option("--contended", help="As `simulate --contended`.")] = False,
    byzantine: Annotated[bool, typer.Option("--byzantine", help="As `simulate --byzantine`.")] = False,
    joint: Annotated[bool, typer.Option("--joint", help="As `simulate --joint`.")] = False,
    camps: Annotated[bool, typer.Option("--camps", help="As `simulate --camps`.")] = False,
    hostile: Annotated[bool, typer.Option("--hostile", help="As `simulate --hostile`.")] = False,
    leaving: Annotated[bool, typer.Option("--leaving", help="As `simulate --leaving`.")] = False,
    clocks: Annotated[bool, typer.Option("--clocks", help="As `simulate --clocks`.")] = False,
    rolling: Annotated[bool, typer.Option("--rolling", help="As `simulate --rolling`.")] = False,
    injected: Annotated[bool, typer.Option("--injected", help="As `simulate --injected`.")] = False,
    replaced: Annotated[bool, typer.Option("--replaced", help="As `simulate --replaced`.")] = False,
    helping: Annotated[bool, typer.Option("--helping", help="As `simulate --helping`.")] = False,
    moved: Annotated[bool, typer.Option("--moved", help="As `simulate --moved`.")] = False,
    object_id: Annotated[
        str, typer.Option("--object", help="Where a long run is cut: around the first call of this object.")
    ] = "",
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write.")] = Path(DEFAULT_NAME),
    svg: Annotated[Path | None, typer.Option(help="Write a picture instead of a page.")] = None,
    steps: Annotated[str, typer.Option(help="The stretch of the picture, as 0..30.")] = "",
    docs: Annotated[str, typer.Option(help="The documentation's address, to which the page then links.")] = "",
    is_listed: Annotated[bool, typer.Option("--list", help="Name the scenarios.")] = False,
    is_opened: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in a browser.")] = False,
) -> None:
    """Write a page that plays the protocol: lanes, messages, histories, and why each step is taken.

    The page is one file, without a network. Its data are the events of the production machines in a simulated run.
    """
    if is_listed:
        _list()
        return
    profile = choose_profile(
        swarm=swarm,
        calm=calm,
        contended=contended,
        byzantine=byzantine,
        joint=joint,
        camps=camps,
        hostile=hostile,
        leaving=leaving,
        clocks=clocks,
        rolling=rolling,
        injected=injected,
        replaced=replaced,
        helping=helping,
        moved=moved,
    )
    _check(scenario, seed, svg)
    recordings = _seed(seed, profile, object_id) if seed is not None else _scenarios(scenario, object_id)
    if svg is not None:
        _draw(recordings[0][1], svg, steps)
        return
    _write_page(output, recordings, docs)
    if is_opened:
        webbrowser.open(output.resolve().as_uri())


def _check(scenario: str | None, seed: int | None, svg: Path | None) -> None:
    if scenario is not None and seed is not None:
        raise typer.BadParameter("a scenario and --seed exclude each other: choose one")
    if svg is not None and scenario is None and seed is None:
        raise typer.BadParameter("a picture shows one run: name a scenario, or give --seed")


def _write_page(output: Path, recordings: Sequence[tuple[str, Recording]], docs: str) -> None:
    chapters = [Chapter(group, tell(recording)) for group, recording in recordings]
    _write(output, page(chapters, version=VERSION, docs=docs))


def _list() -> None:
    table = Table(show_header=False, box=None)
    for name, each in SCENARIOS.items():
        recording = each.record()
        table.add_row(name, recording.title, recording.summary)
    out.print(table)


def _scenarios(name: str | None, object_id: str) -> Sequence[tuple[str, Recording]]:
    if name is None:
        return [(each.group, each.record()) for each in SCENARIOS.values()]
    recording = record(name)
    return [(SCENARIOS[name].group, cut(recording, object_id=object_id))]


def _seed(seed: int, profile: str, object_id: str) -> Sequence[tuple[str, Recording]]:
    report = _run(draw(seed, profile))
    title = f"Seed {seed}, {profile}"
    if report.failure is not None:
        say("{}", report.failure, style="bold red")
        say("It fails; leaving out what the failure does not need …")
        report = _run(shrink(report.plan))
        title += ", made smaller"
    summary = summary_of(report.plan) + (f" {report.failure}." if report.failure is not None else "")
    command = f"fivefold play --seed {seed} --{profile}"
    recording = of_report(report, name=f"seed-{seed}", title=title, summary=summary, command=command)
    return [("A run of the simulator", cut(recording, object_id=object_id))]


def _run(plan: Plan) -> Report:
    return run_plan(plan, is_traced=True)


def _draw(recording: Recording, path: Path, steps: str) -> None:
    story = tell(recording)
    found = re.fullmatch(r"(\d+)\.\.(\d+)", steps)
    if steps and not found:
        raise typer.BadParameter(f"{steps!r} is no stretch of steps: write it as 0..30")
    _write(path, picture(story, int(found[1]), int(found[2])) if found else picture(story))


def _write(path: Path, text: str) -> None:
    if str(path) == "-":
        sys.stdout.write(text)
        return
    if path.is_dir():
        raise ConfigurationError(f"{path} is a directory: name a file")
    path.write_text(text, encoding="utf-8")
    say("{}", path)
