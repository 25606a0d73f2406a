"""``fivefold top``: a running cluster in a terminal, in the order in which a person on call asks."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from fivefold import Cluster, connect
from fivefold.cli.exits import Exit
from fivefold.cli.loop import run
from fivefold.cli.options import ClusterOption, IdentityOption, find_cluster_file
from fivefold.cli.output import out, seconds_text, shown
from fivefold.cli.servers import STYLES, count_up, servers_view
from fivefold.errors import FivefoldError
from fivefold.upkeep import RATES, ClusterView, Headline, Look, Point, Watch, look

EXAMPLES: Final = """
**Examples**

`fivefold top`

`fivefold top --once --every 5`, for scripts: what happened in five seconds

Exit code of `--once`: 0 if a quorum of servers answers and can store, 3 if fewer do.
"""

SHOWN_ROWS: Final = 5
"""Objects, and clients, that are shown."""

NAME_COLUMNS: Final = 44
"""Of a name; the terminal has 80."""


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
        watch = Watch()
        found = await look(cluster, timeout_s)
        view = watch.note(found, time.time())
        if once:
            await asyncio.sleep(every_s)
            found = await look(cluster, timeout_s)
            out.print(overview(watch.note(found, time.time()), found, stale_s=0.0))
            return count_up(found.status), found.status.quorums.q
        return await _live(cluster, watch, (view, found), every_s, timeout_s)


async def _live(
    cluster: Cluster, watch: Watch, latest: tuple[ClusterView, Look], every_s: float, timeout_s: float
) -> tuple[int, int]:
    with Live(console=out, auto_refresh=False, screen=out.is_terminal) as live:
        while True:
            view, found = latest
            stale_s = time.monotonic() - found.at_s
            live.update(overview(view, found, stale_s=stale_s if stale_s > 2 * every_s else 0.0), refresh=True)
            await asyncio.sleep(every_s)
            try:
                found = await look(cluster, timeout_s)
            except FivefoldError:  # nobody answers at all: what was seen last stays in sight, and says how old it is
                continue
            latest = watch.note(found, time.time()), found


def overview(view: ClusterView, found: Look, *, stale_s: float) -> Group:
    """What a person on call asks, in that order.

    Args:
        view: what there is to be said.
        found: what it was put together from.
        stale_s: how old that is; 0 for new.
    """
    parts: list[Text | Table | Group] = [headline(view.headline)]
    if stale_s:
        parts.append(Text(f"nobody has answered for {seconds_text(stale_s)}: all below is that old", style="yellow"))
    if view.point is not None:
        parts.append(_now(view.point))
    parts.append(_rates(view))
    parts += [table for table in (_hot(view), _loud(view)) if table.row_count]
    parts.append(servers_view(found.status, found.addresses))
    return Group(*parts)


def headline(found: Headline) -> Text:
    """Whether calls complete, and how many more failures the cluster can take."""
    gap = " " * (4 if found.word == "UP" else 2)
    return Text(f"{found.word}{gap}{found.text}", style=f"bold {STYLES[found.level]}")


def _now(point: Point) -> Text:
    """What the whole cluster does."""
    took = ""
    if point.p50_s is not None and point.p99_s is not None:
        took = f", half of them within {seconds_text(point.p50_s)}, 99 % within {seconds_text(point.p99_s)}"
    return Text(f"      {point.updates:,.0f} updates/s; {point.requests:,.0f} requests/s answered{took}")


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.title_justify = "left"
    for name in columns:
        table.add_column(name, justify="left" if name in ("state", "object", "client") else "right", no_wrap=True)
    return table


def _rates(view: ClusterView) -> Table:
    table = _table("a second, by server", "", "state", *RATES, "p99")
    for server in view.servers:
        numbers = [f"{server.rates[name]:,.0f}" if server.rates else "" for name in RATES]
        state = Text(server.state, style=STYLES[server.level])
        table.add_row(
            str(server.index), state, *numbers, "" if server.reply_s is None else seconds_text(server.reply_s)
        )
    return table


def _hot(view: ClusterView) -> Table:
    table = _table("objects that are asked for most, or in vain (by all servers)", "object", "requests/s", "stale/s")
    for each in view.hot[:SHOWN_ROWS]:
        table.add_row(Text(shown(each.object_id)[:NAME_COLUMNS]), f"{each.requests:,.1f}", f"{each.stale:,.1f}")
    return table


def _loud(view: ClusterView) -> Table:
    table = _table("clients that ask most, or have to wait", "client", "requests/s", "had to wait", "rate")
    for each in view.loud[:SHOWN_ROWS]:
        rate = "any" if each.rate is None else f"{each.rate:,}/s"
        table.add_row(Text(shown(each.name)[:NAME_COLUMNS]), f"{each.requests:,.1f}", f"{each.throttled:,}", rate)
    return table
