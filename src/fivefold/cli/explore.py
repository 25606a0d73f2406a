"""``fivefold explore``: every order in which a few requests can reach the servers of a small cluster."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
import typer
from rich.table import Table

from fivefold.cli.exits import Exit
from fivefold.cli.options import JsonOption
from fivefold.cli.output import out, print_json, say
from fivefold.errors import ConfigurationError
from fivefold.simulation import (
    SCHEDULES,
    Budget,
    Case,
    Exploration,
    Explorer,
    explore_announcement,
    explore_near,
    explore_replacement,
    is_with_liar,
)

EXAMPLES: Final = """
**Examples**

`fivefold explore --objects 1 --requests 4`

`fivefold explore --servers 6 --liars 1 --objects 2 --requests 2`

`fivefold explore --replaced --requests 1`: one of four servers is replaced meanwhile

`fivefold explore --announced --requests 2`: a call is announced, carried and withdrawn meanwhile

`fivefold explore --near all --requests 1`, which starts from every state of the directed schedules

Exit code 0 if no invariant was violated, 5 if one was. *done* says how many requests were explored in all orders.
"""


def explore(
    objects: Annotated[int, typer.Option(min=1, max=8, help="Objects.")] = 2,
    servers: Annotated[int, typer.Option(min=4, help="Servers.")] = 4,
    liars: Annotated[int, typer.Option(min=0, help="How many of the servers lie.")] = 0,
    requests: Annotated[int, typer.Option(min=0, help="Depth: how many requests are sent.")] = 2,
    near: Annotated[
        str | None, typer.Option(help="Start from every state of a directed schedule: D1 … D8, another name, or all.")
    ] = None,
    hostile: Annotated[
        bool, typer.Option("--hostile", help="Clients also show fewer histories than a quorum.")
    ] = False,
    mixed: Annotated[bool, typer.Option("--mixed", help="Clients show other servers for each object.")] = False,
    replaced: Annotated[
        bool, typer.Option("--replaced", help="One of four servers is replaced meanwhile; one object.")
    ] = False,
    twin: Annotated[bool, typer.Option("--twin", help="With --replaced: its old identity runs on.")] = False,
    announced: Annotated[
        bool, typer.Option("--announced", help="A call is announced, carried and withdrawn meanwhile; one object.")
    ] = False,
    probe_every: Annotated[int, typer.Option(min=0, help="Try liveness on every Nth state; 0: on none.")] = 50,
    states: Annotated[int, typer.Option(min=1, help="Stop after this number of states.")] = 5_000_000,
    seconds: Annotated[float, typer.Option(min=0, help="Stop after this time.")] = 60.0,
    json: JsonOption = False,
) -> None:
    """Explore all orders in which a few requests can reach a small cluster."""
    if twin and not replaced:
        raise ConfigurationError("--twin says how a server is replaced: add --replaced")
    if (replaced or announced) and (near is not None or hostile or mixed or servers != 4 or liars):
        name = "--replaced" if replaced else "--announced"
        raise ConfigurationError(f"{name} explores four servers without liars: leave the other choices out")
    if replaced and announced:
        raise ConfigurationError("--replaced and --announced exclude each other: choose one")
    if servers < 2 * liars + 4:
        raise ConfigurationError(f"{liars} liars need at least {2 * liars + 4} servers and more: got {servers}")
    case = Case(
        n=servers,
        t=(servers - 2 * liars - 1) // 3,
        b=liars,
        objects_count=objects,
        requests_max=requests,
        is_hostile=hostile,
        is_mixed=mixed,
        probe_every=probe_every,
    )
    budget = Budget(states, seconds)
    if replaced:
        results = {"replacement": explore_replacement(requests, budget, is_twin=twin)}
    elif announced:
        results = {"announcement": explore_announcement(requests, budget)}
    elif near is None:
        results = {"start": Explorer(case, budget).run()}
    else:
        results = {name: explore_near(_around(case, name), name, budget) for name in _chosen(near)}
    if json:
        print_json({name: msgspec.to_builtins(result) for name, result in results.items()})
    else:
        _say(results)
    if any(result.violations_count for result in results.values()):
        raise typer.Exit(Exit.FAILED)


def _chosen(near: str) -> list[str]:
    if near == "all":
        return list(SCHEDULES)
    if near not in SCHEDULES:
        raise typer.BadParameter(f"{near!r} is no schedule: choose one of {', '.join(SCHEDULES)}, or all")
    return [near]


def _around(case: Case, name: str) -> Case:
    """The case with the cluster and the objects that the schedule is written for."""
    n, b = (6, 1) if is_with_liar(name) else (4, 0)
    return msgspec.structs.replace(case, n=n, t=1, b=b, objects_count=2)


def _say(results: dict[str, Exploration]) -> None:
    columns = ("from", "n/t/b", "objects", "requests", "done", "states", "steps", "merged", "longest", "probed")
    table = Table(*columns, "violations", "seconds", box=None)
    for name, result in results.items():
        case = result.case
        done = f"{result.requests_done}" if result.is_exhausted else f"{max(result.requests_done, 0)}, stopped"
        cluster = f"{case.n}/{case.t}/{case.b}"
        numbers = (result.states, result.transitions, result.merged, result.steps_max, result.probed)
        counts = [f"{number:,}" for number in (*numbers, result.violations_count)]
        table.add_row(
            name, cluster, str(case.objects_count), str(case.requests_max), done, *counts, f"{result.seconds:.1f}"
        )
    out.print(table)
    for name, result in results.items():
        for found in result.violations[:1]:
            say("{}: {}", name, found.what, style="bold red")
            for line in found.schedule:
                say("  {}", line)
