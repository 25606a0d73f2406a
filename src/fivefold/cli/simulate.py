"""``fivefold simulate``: run the production protocol through seeds of faults and lies, in virtual time."""

from __future__ import annotations

from typing import Annotated, Final

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from fivefold.cli.exits import Exit
from fivefold.cli.options import JsonOption
from fivefold.cli.output import out, print_json, say
from fivefold.protocol.steps import Kind
from fivefold.simulation import Summary, describe, draw, run_plan, run_seeds, shrink

EXAMPLES: Final = """
**Examples**

`fivefold simulate --seeds 0..99 --jobs 2`

`fivefold simulate --byzantine --seeds 0..999`

`fivefold simulate --seeds 0..99999 --scheduler tcp://10.0.0.5:8786`, on the workers of a Dask cluster

`fivefold simulate --byzantine --replay 338`, which prints the run, made as small as it gets

Exit code 0 if every seed passed, 5 if one failed. The same seed gives the same run on every machine.
"""

TRACE_LINES: Final = 200
"""Last lines of a trace that are printed."""


def parse_seeds(text: str) -> range:
    """``0..99`` or a single number as a range.

    Raises:
        typer.BadParameter: neither of them, or no seed is in it.
    """
    first, dots, last = text.partition("..")
    try:
        seeds = range(int(first), (int(last) if dots else int(first)) + 1)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no range of seeds: write it as 0..99") from None
    if not seeds:
        raise typer.BadParameter(f"{text!r} holds no seed: write the smaller number first")
    return seeds


def simulate(
    seeds: Annotated[str, typer.Option(help="Seeds to run, as 0..99.")] = "0..99",
    jobs: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
    scheduler: Annotated[
        str | None, typer.Option(help="Run on the workers of this Dask scheduler, tcp://host:port (extra: dask).")
    ] = None,
    swarm: Annotated[bool, typer.Option("--swarm", help="Everything, in ever other mixtures (the default).")] = False,
    calm: Annotated[bool, typer.Option("--calm", help="Nothing goes wrong.")] = False,
    contended: Annotated[bool, typer.Option("--contended", help="Nothing but contention.")] = False,
    byzantine: Annotated[bool, typer.Option("--byzantine", help="Liars and malevolent clients in every run.")] = False,
    joint: Annotated[bool, typer.Option("--joint", help="Like --swarm, with most calls over 2 to 16 objects.")] = False,
    camps: Annotated[bool, typer.Option("--camps", help="Clients that see different servers, near and far.")] = False,
    hostile: Annotated[bool, typer.Option("--hostile", help="Clients that use whatever requests may carry.")] = False,
    leaving: Annotated[
        bool, typer.Option("--leaving", help="Clients that leave their updates to others, and servers that verify.")
    ] = False,
    clocks: Annotated[bool, typer.Option("--clocks", help="Clocks led far away, and carried to others.")] = False,
    rolling: Annotated[bool, typer.Option("--rolling", help="Rules, code and limits that differ by server.")] = False,
    injected: Annotated[bool, typer.Option("--injected", help="Exceptions at random places of our own code.")] = False,
    replaced: Annotated[bool, typer.Option("--replaced", help="Servers that are replaced by newcomers.")] = False,
    helping: Annotated[bool, typer.Option("--helping", help="Clients that announce calls and carry others'.")] = False,
    moved: Annotated[bool, typer.Option("--moved", help="Clusters that are sealed and copied by a mover.")] = False,
    replay: Annotated[int | None, typer.Option(help="Run this one seed, and print what happens.")] = None,
    json: JsonOption = False,
) -> None:
    """Simulate clusters with faults and lies, and check every run."""
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
    if replay is not None:
        _replay(replay, profile)
        return
    _simulate(profile, seeds, jobs, scheduler, json=json)


def _simulate(profile: str, seeds: str, jobs: int, scheduler: str | None, *, json: bool) -> None:
    if scheduler is not None and jobs > 1:
        raise typer.BadParameter("--jobs and --scheduler exclude each other: the workers are the processes")
    chosen = parse_seeds(seeds)
    with Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), disable=json
    ) as progress:
        task = progress.add_task(profile, total=len(chosen))
        summary = run_seeds(
            chosen, profile, jobs=jobs, scheduler=scheduler, on_result=lambda result: progress.advance(task)
        )
    if json:
        print_json(_as_json(summary))
    else:
        _say(summary)
    if summary.failures:
        raise typer.Exit(Exit.FAILED)


def choose_profile(**chosen_by_name: bool) -> str:
    """The one profile that is chosen; ``swarm`` if none is.

    Raises:
        typer.BadParameter: more than one.
    """
    chosen = [name for name, is_chosen in chosen_by_name.items() if is_chosen]
    if len(chosen) > 1:
        raise typer.BadParameter(f"--{chosen[0]} and --{chosen[1]} exclude each other: choose one")
    return chosen[0] if chosen else "swarm"


def _as_json(summary: Summary) -> dict[str, object]:
    return {
        "profile": summary.profile,
        "runs": summary.runs,
        "operations": summary.operations,
        "simulated_s": summary.simulated_ns / 1e9,
        "elapsed_s": summary.elapsed_s,
        "processor_s": summary.processor_s,
        "digest": summary.digest,
        "undecided": summary.undecided,
        "counters": dict(sorted(summary.counters.items())),
        "failures": {str(seed): failure for seed, failure in summary.failures.items()},
    }


ROWS: Final = (
    ("outcomes", "operation"),
    ("faults", "fault"),
    ("disks", "disk"),
    ("frames", "frame"),
    ("liars", "liar"),
    ("lies", "lie"),
    ("villainies", "villainy"),
    ("injected", "injected"),
    ("syncs", "server.sync"),
    ("rejected", "server.rejected"),
)
"""Rows of the summary that count by kind: title, and prefix of the counters."""


def _say(summary: Summary) -> None:
    table = Table(show_header=False, box=None)
    rate = summary.operations / max(summary.processor_s, 0.001)
    table.add_row("runs", f"{summary.runs} ({summary.profile})")
    table.add_row("operations", f"{summary.operations}, {rate:.0f} per second and core")
    table.add_row("simulated time", f"{summary.simulated_ns / 1e9:.0f} s in {summary.elapsed_s:.0f} s")
    steps = summary.of_kind("server.accepted")
    methods = steps.pop(Kind.METHOD.value, 0)
    table.add_row("accepted", f"{methods} updates by servers")
    for title, found in (("repairs", steps), *((title, summary.of_kind(prefix)) for title, prefix in ROWS)):
        if found:
            table.add_row(title, ", ".join(f"{name} {count}" for name, count in found.items()))
    undecided = f", {len(summary.undecided)} undecided" if summary.undecided else ""
    table.add_row("failures", f"{len(summary.failures)}{undecided}")
    table.add_row("digest", summary.digest)
    out.print(table)
    if summary.undecided:
        seeds = ", ".join(map(str, summary.undecided))
        say("undecided, since the checker ran out of steps: seeds {}", seeds, style="yellow")
    for seed, failure in summary.failures.items():
        say("seed {}: {}", seed, failure, style="bold red")
        say("  fivefold simulate --{} --replay {}", summary.profile, seed)


def _replay(seed: int, profile: str) -> None:
    """Run one seed; if it fails, make it smaller first, then print its trace."""
    plan = draw(seed, profile)
    report = run_plan(plan, is_traced=True)
    if report.failure is not None:
        say("{}", report.failure, style="bold red")
        say("It fails; leaving out what the failure does not need …")
        report = run_plan(shrink(plan), is_traced=True)
    for line in (*describe(report.plan), *report.trace[-TRACE_LINES:]):
        say("{}", line)
    say("digest {}", report.digest)
    if report.failure is not None:
        say("{}", report.failure, style="bold red")
        raise typer.Exit(Exit.FAILED)
    say("{} operations, nothing wrong", report.operations_count, style="green")
