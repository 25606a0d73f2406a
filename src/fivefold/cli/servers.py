"""The table of servers that ``up`` and ``status`` show.

A terminal may have no more than 80 columns: the table holds words and numbers, and what takes a sentence stands below.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table
from rich.text import Text

from fivefold import Cluster, ClusterStatus
from fivefold.cli.output import bytes_text, seconds_text, shown
from fivefold.node import ServerStatus
from fivefold.upkeep import Remark, compared_text, count_up, evidence_text, program_text, remarks_of, state_of
from fivefold.upkeep import edition_remarks as editions

__all__ = [
    "count_up",
    "edition_remarks",
    "evidence_text",
    "newest_status",
    "servers_view",
    "shown_remarks",
    "state_text",
    "status_builtins",
]


def servers_view(status: ClusterStatus, addresses: Sequence[str], pids: Sequence[int | None] | None = None) -> Group:
    """One row a server, with process ids where they are known, and below what is to be said of some of them."""
    compared = [compared_text(server, index) for index, server in enumerate(status.servers)]
    lines = [Text(shown(each), style="dim") for each in compared if each]
    programs = [Text(shown(each), style="dim") for each in programs_of(status)]
    return Group(_table(status, addresses, pids), *shown_remarks(remarks_of(status)), *programs, *lines)


def programs_of(status: ClusterStatus) -> list[str]:
    """What servers run, and in which variant: a line for all of them, or one for each that differs."""
    running: dict[str, list[str]] = {}
    for index, server in enumerate(status.servers):
        if server is not None:
            running.setdefault(program_text(server), []).append(str(index))
    if len(running) == 1:
        return [f"Fivefold {each}" for each in running]
    return [f"server {', '.join(those)}: Fivefold {each}" for each, those in running.items()]


def _table(status: ClusterStatus, addresses: Sequence[str], pids: Sequence[int | None] | None) -> Table:
    title = "[bold]{0.n}[/] servers, of which [bold]{0.t}[/] may fail and [bold]{0.b}[/] of these may lie"
    table = Table(title=title.format(status.quorums), box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.title_justify = "left"
    table.add_column("", justify="right", no_wrap=True)
    table.add_column("address", no_wrap=True)
    if pids is not None:
        table.add_column("pid", justify="right", no_wrap=True)
    table.add_column("state", min_width=5, no_wrap=True)
    for name in ("writes", "cached", "memory", "links", "up for"):
        table.add_column(name, justify="right", no_wrap=True)
    liars = {each.server for each in status.evidence if each.is_excluded}
    for index, server in enumerate(status.servers):
        row: list[str | Text] = [str(index), Text(shown(addresses[index]))]
        if pids is not None:
            row.append(str(pids[index] or "–"))
        state = Text("LIES", style="red") if index in liars else state_text(server, status.failures.get(index))
        table.add_row(*row, state, *_numbers(server))
    return table


STYLES: Final = {"good": "green", "warn": "yellow", "bad": "red"}
"""How levels look in a terminal."""


def shown_remarks(remarks: Iterable[Remark]) -> list[Text]:
    """What is to be said, a line each."""
    return [Text(shown(each.text), style=STYLES[each.level]) for each in remarks]


def state_text(server: ServerStatus | None, failure: str | None) -> Text:
    """What state a server is in, in a word."""
    word, level = state_of(server, failure)
    return Text(word, style=STYLES[level])


def _numbers(server: ServerStatus | None) -> list[str]:
    if server is None:
        return [""] * 5
    staged, durable = server.transactions
    stored = str(durable) if staged == durable else f"{durable} (+{staged - durable})"
    memory, up_for = bytes_text(server.memory_bytes), seconds_text(server.uptime_s)
    return [stored, str(server.cached_objects), memory, str(server.connections), up_for]


def status_builtins(status: ClusterStatus, addresses: Sequence[str]) -> Mapping[str, object]:
    """The status as a value for JSON."""
    quorums = status.quorums
    return {
        "n": quorums.n,
        "t": quorums.t,
        "b": quorums.b,
        "quorum": quorums.q,
        "up": count_up(status),
        "servers": [
            {"index": index, "address": addresses[index], "failure": status.failures.get(index), "status": server}
            for index, server in enumerate(status.servers)
        ],
        "evidence": status.evidence,
    }


async def newest_status(cluster: Cluster, timeout_s: float) -> ClusterStatus:
    """How the servers of the newest edition are, which may have others than the file at hand."""
    old = cluster.configuration
    status = await cluster.status(timeout=timeout_s)
    await cluster.until_followed(timeout_s)
    return status if cluster.configuration is old else await cluster.status(timeout=timeout_s)


def edition_remarks(status: ClusterStatus) -> list[Text]:
    """Who catches up, and who uses another edition of the cluster file."""
    return shown_remarks(editions(status))
