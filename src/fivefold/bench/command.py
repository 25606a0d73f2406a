"""``fivefold bench``: measure, and draw what was measured."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from fivefold.cluster import quorums_of
from fivefold.errors import ConfigurationError

if TYPE_CHECKING:
    from fivefold.bench.program import Plan

RUN_EXAMPLES: Final = """
**Examples**

`fivefold bench run`: six servers in memory, 1 and 64 updates in flight, beside the floor

`fivefold bench run --durable --payload 1000 --updates 0.5 --skew zipf --out mixed.json`

`fivefold bench run --rate 500 --seconds 20 --faults 2`: an open loop on eleven servers

`fivefold bench run --cluster prod/cluster.toml --identity monitor --in-flight 8 --no-floor`
"""

PLOT_EXAMPLES: Final = """
**Example**

`fivefold bench plot mixed.json --out pictures`
"""

bench: Final = typer.Typer(
    name="bench", help="Measure a cluster, beside the floor and a baseline.", no_args_is_help=True
)


@bench.command(epilog=RUN_EXAMPLES)
def run(
    cluster: Annotated[Path | None, typer.Option(help="Use this cluster, start none; new objects stay.")] = None,
    identity: Annotated[str | None, typer.Option(help="With --cluster: the client to be.")] = None,
    faults: Annotated[int | None, typer.Option("--faults", min=0, help="t = b = FAULTS at once.")] = None,
    n: Annotated[int | None, typer.Option("-n", "--n", min=1, help="Servers. Default: 3 t + 2 b + 1.")] = None,
    t: Annotated[int | None, typer.Option("-t", "--t", min=0, help="How many may fail.  [default: 1]")] = None,
    b: Annotated[int | None, typer.Option("-b", "--b", min=0, help="How many of those may lie. Default: all.")] = None,
    durable: Annotated[bool, typer.Option("--durable/--memory", help="Store on disk, or nothing.")] = False,
    directory: Annotated[Path | None, typer.Option("--dir", help="Where the servers' files go meanwhile.")] = None,
    tls: Annotated[bool, typer.Option("--tls/--no-tls", help="Without: loopback only.")] = True,
    in_flight: Annotated[
        list[int] | None, typer.Option(min=1, help="Closed loop, of each client process; repeatable.  [default: 1, 64]")
    ] = None,
    rate: Annotated[float | None, typer.Option(help="Open loop: operations a second in all.")] = None,
    clients: Annotated[int, typer.Option(min=1, max=32, help="Client processes.")] = 1,
    updates: Annotated[float, typer.Option(min=0, max=1, help="Share of updates; the rest are queries.")] = 1.0,
    objects: Annotated[int, typer.Option(min=1, help="How many objects.")] = 1000,
    skew: Annotated[str, typer.Option(help="Which object is next: spread, uniform, zipf, hot.")] = "spread",
    payload: Annotated[int, typer.Option(min=0, help="Bytes that an update writes; 0: a counter counts up.")] = 0,
    seconds: Annotated[float, typer.Option(min=0.1, help="Of each measurement.")] = 3.0,
    warm_up: Annotated[float, typer.Option(min=0, help="Seconds before each.")] = 1.0,
    rounds: Annotated[int, typer.Option(min=1, help="Measurements of each system.")] = 5,
    floor: Annotated[bool, typer.Option("--floor/--no-floor", help="Measure echoes, too, in closed loops.")] = True,
    agreement: Annotated[bool, typer.Option("--agreement", help="Measure PBFT in memory, too.")] = False,
    out: Annotated[Path | None, typer.Option(help="Result file, for `fivefold bench plot`.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the result file, and nothing else.")] = False,
) -> None:
    """Put load on a cluster; say how fast it was, and at what cost.

    Everything runs on this machine unless --cluster is given: with more servers than processors the figures say what
    the machine does, not what the protocol does. The columns of processor time do.
    """
    from fivefold.bench.comparison import Timing
    from fivefold.bench.program import Plan, loads_of

    if cluster is None and identity is not None:
        raise ConfigurationError("--identity is of use with --cluster only: leave it out, or name a cluster")
    if cluster is not None and (durable or any(each is not None for each in (faults, n, t, b))):
        raise ConfigurationError("--cluster has its own --faults, -n, -t, -b and --durable: leave these out")
    if rate is not None and in_flight:
        raise ConfigurationError("--rate is an open loop, --in-flight are closed ones: leave one out")
    loads = loads_of(in_flight or (1, 64), rate, updates, objects, skew, payload)
    plan = Plan(
        loads=loads,
        quorums=quorums_of(faults, n=n, t=t, b=b),
        clients=clients,
        tls=tls,
        durable=durable,
        timing=Timing(seconds=seconds, warm_up_s=warm_up, rounds=rounds),
        has_floor=floor,
        has_agreement=agreement,
        cluster=None if cluster is None else (cluster, identity),
        directory=directory,
        out=out,
    )
    _carry_out(plan, as_json=json)


def _carry_out(plan: Plan, *, as_json: bool) -> None:
    from fivefold.bench import program
    from fivefold.cli import CleanConsole, to_json

    signal.signal(signal.SIGTERM, _end)
    console = CleanConsole(stderr=as_json)
    results = program.run(plan, console, is_quiet=as_json)
    if as_json:
        print(to_json(results))
    else:
        program.show(results, console)


@bench.command(epilog=PLOT_EXAMPLES)
def plot(
    files: Annotated[list[Path], typer.Argument(help="Result files.")],
    out: Annotated[Path, typer.Option(help="Directory for the pictures.")] = Path(),
) -> None:
    """Draw result files as SVG pictures."""
    from fivefold.bench.figures import draw
    from fivefold.cli import shown

    for file in files:
        for picture in draw(file, out):
            print(shown(picture))


def _end(number: int, _: object) -> None:
    """Leave by an exception, so that servers, client processes and files go, too."""
    sys.exit(128 + number)
