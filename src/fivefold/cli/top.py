"""``fivefold top``: a running cluster in a terminal, in the order in which a person on call asks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Final

import typer
from msgspec import Struct
from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from fivefold import Cluster, ClusterStatus, connect
from fivefold.cli.exits import Exit
from fivefold.cli.loop import run
from fivefold.cli.options import ClusterOption, IdentityOption, find_cluster_file
from fivefold.cli.output import out, seconds_text
from fivefold.cli.servers import count_up, newest_status, servers_view, state_text
from fivefold.cluster import load_configuration
from fivefold.errors import FivefoldError
from fivefold.node import ServerStatus

EXAMPLES: Final = """
**Examples**

`fivefold top`

`fivefold top --once --every 5`, for scripts: what happened in five seconds

Exit code of `--once`: 0 if a quorum of servers answers and can store, 3 if fewer do.
"""

RATES: Final[Mapping[str, tuple[str, ...]]] = {
    "updates": ("accepted.METHOD",),
    "repairs": ("accepted.INLINE_METHOD", "accepted.COPY", "accepted.BARRIER", "accepted.INLINE_BARRIER"),
    "stale": ("stale",),
    "culls": ("culled.",),
    "syncs": ("sync.",),
    "rejected": ("rejected.", "turned-away."),
}
"""Columns, and the counters that each adds up; a name that ends in a dot stands for all that begin so."""


class Sample(Struct, frozen=True):
    """The cluster at one moment of this machine's clock."""

    at_s: float
    status: ClusterStatus


def top(
    cluster: ClusterOption = None,
    identity: IdentityOption = None,
    every: Annotated[float, typer.Option(min=0.2, max=3600, help="Seconds between two looks.")] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Look twice, print what happened between, and end.")] = False,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds to wait for answers.")] = 2.0,
    tls: Annotated[bool, typer.Option("--tls/--no-tls", hidden=True)] = True,
) -> None:
    """Watch a cluster: how many more failures it can take, who is down or lies, and what servers do each second."""
    file = find_cluster_file(cluster)
    try:
        working, needed = run(_watch(file, identity, every, timeout, once=once, tls=tls))
    except KeyboardInterrupt:  # how one leaves it
        return
    if working < needed:
        raise typer.Exit(Exit.UNAVAILABLE)


async def _watch(
    file: Path, identity: str | None, every_s: float, timeout_s: float, *, once: bool, tls: bool
) -> tuple[int, int]:
    """Look again and again; with ``once``, how many servers work and how many have to."""
    async with connect(file, identity=identity, connect_timeout=0.01, needs_quorum=False, tls=tls) as cluster:
        before = await _look(cluster, timeout_s)
        if once:
            await asyncio.sleep(every_s)
            after = await _look(cluster, timeout_s)
            out.print(overview(before, after, _addresses(cluster, file), stale_s=0.0))
            return count_up(after.status), after.status.quorums.q
        return await _live(cluster, file, before, every_s, timeout_s)


async def _live(cluster: Cluster, file: Path, before: Sample, every_s: float, timeout_s: float) -> tuple[int, int]:
    latest = before
    with Live(console=out, auto_refresh=False, screen=out.is_terminal) as live:
        while True:
            stale_s = time.monotonic() - latest.at_s
            view = overview(
                before, latest, _addresses(cluster, file), stale_s=stale_s if stale_s > 2 * every_s else 0.0
            )
            live.update(view, refresh=True)
            await asyncio.sleep(every_s)
            try:
                before, latest = latest, await _look(cluster, timeout_s)
            except FivefoldError:  # nobody answers at all: what was seen last stays in sight, and says how old it is
                continue


async def _look(cluster: Cluster, timeout_s: float) -> Sample:
    status = await newest_status(cluster, timeout_s)
    return Sample(time.monotonic(), status)


def _addresses(cluster: Cluster, file: Path) -> Sequence[str]:
    configuration = cluster.configuration or load_configuration(file)
    return [server.address for server in configuration.servers]


def overview(before: Sample, after: Sample, addresses: Sequence[str], *, stale_s: float) -> Group:
    """What a person on call asks, in that order.

    Args:
        before: an earlier look, for rates.
        after: the latest one.
        addresses: of the servers.
        stale_s: how old the latest one is; 0 for new.
    """
    parts: list[Text | Table | Group] = [headline(after.status)]
    if stale_s:
        parts.append(Text(f"nobody has answered for {seconds_text(stale_s)}: all below is that old", style="yellow"))
    parts += [_rates(before, after), servers_view(after.status, addresses)]
    return Group(*parts)


def headline(status: ClusterStatus) -> Text:
    """Whether calls complete, and how many more failures the cluster can take."""
    quorums, working = status.quorums, count_up(status)
    liars = sum(each.is_excluded for each in status.evidence)
    if working < quorums.q:
        missing = quorums.q - working
        return Text(f"DOWN  no call completes: start {missing} more of the servers", style="bold red")
    spare = min(quorums.t, working - quorums.q)
    lying = max(0, quorums.b - liars)
    text = f"UP    {spare} more of {quorums.n} servers may fail, and {lying} more may lie"
    if liars > quorums.b:
        return Text(
            f"DANGER  {liars} servers lie, and this cluster bears {quorums.b}: trust no answer", style="bold red"
        )
    return Text(text, style="bold green" if spare == quorums.t and not liars else "bold yellow")


def _rates(before: Sample, after: Sample) -> Table:
    elapsed_s = after.at_s - before.at_s
    table = Table(title="a second, by server", box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.title_justify = "left"
    table.add_column("", justify="right", no_wrap=True)
    table.add_column("state", min_width=5, no_wrap=True)
    for name in RATES:
        table.add_column(name, justify="right", no_wrap=True)
    for index, server in enumerate(after.status.servers):
        state = state_text(server, after.status.failures.get(index))
        found = rates(before.status.servers[index] if index < len(before.status.servers) else None, server, elapsed_s)
        numbers = ["" if found is None else f"{found[name]:,.0f}" for name in RATES]
        table.add_row(str(index), state, *numbers)
    return table


def rates(before: ServerStatus | None, after: ServerStatus | None, elapsed_s: float) -> Mapping[str, float] | None:
    """What a server did each second between two looks; None if it was not there, or started anew, between them."""
    if before is None or after is None or elapsed_s <= 0 or after.uptime_s < before.uptime_s:
        return None
    return {
        name: max(0, _sum(after.counters, counters) - _sum(before.counters, counters)) / elapsed_s
        for name, counters in RATES.items()
    }


def _sum(counted: Mapping[str, int], names: Sequence[str]) -> int:
    return sum(
        count
        for key, count in counted.items()
        if any(key.startswith(name) if name.endswith(".") else key == name for name in names)
    )
