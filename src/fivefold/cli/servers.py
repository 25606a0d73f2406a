"""The table of servers that ``up`` and ``status`` show."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from fivefold import ClusterStatus
from fivefold.cli.output import bytes_text, seconds_text
from fivefold.node import ServerStatus
from fivefold.protocol.outcomes import Evidence

_ERRNO: Final = re.compile(r"^server \d+:? |\[Errno -?\d+\] ")


def servers_table(status: ClusterStatus, addresses: Sequence[str], pids: Sequence[int | None] | None = None) -> Table:
    """One row a server; with process ids where they are known."""
    title = "[bold]{0.n}[/] servers, of which [bold]{0.t}[/] may fail and [bold]{0.b}[/] of these may lie"
    table = Table(title=title.format(status.quorums), title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("", justify="right")
    table.add_column("address", no_wrap=True)
    if pids is not None:
        table.add_column("pid", justify="right", no_wrap=True)
    table.add_column("state", min_width=5)
    for name in ("stored", "cached", "memory", "links", "up for"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("evidence")
    evidence = {each.server: each for each in status.evidence}
    for index, server in enumerate(status.servers):
        row: list[str | Text] = [str(index), addresses[index]]
        if pids is not None:
            row.append(str(pids[index] or "–"))
        row += [state_text(server, status.failures.get(index)), *_numbers(server)]
        table.add_row(*row, Text(evidence_text(evidence.get(index)), style="red"))
    return table


def state_text(server: ServerStatus | None, failure: str | None) -> Text:
    """What state a server is in."""
    if server is None:
        return Text(f"down: {_ERRNO.sub('', failure)}" if failure else "silent", style="red")
    if server.storage_failure:
        return Text(f"promises nothing: {server.storage_failure}", style="yellow")
    return Text("up" if server.storage != "memory" else "up, in memory", style="green")


def _numbers(server: ServerStatus | None) -> list[str]:
    if server is None:
        return [""] * 5
    staged, durable = server.transactions
    stored = str(durable) if staged == durable else f"{durable} (+{staged - durable})"
    memory, up_for = bytes_text(server.memory_bytes), seconds_text(server.uptime_s)
    return [stored, str(server.cached_objects), memory, str(server.connections), up_for]


def evidence_text(evidence: Evidence | None) -> str:
    """What speaks against a server, in words."""
    if evidence is None:
        return ""
    parts = []
    if evidence.culled_by:
        by = ", ".join(map(str, evidence.culled_by))
        parts.append(f"wrong MACs, as server{'s' * (len(evidence.culled_by) > 1)} {by} found")
    if evidence.is_excluded:
        parts.insert(0, "LIES, left out")
    if evidence.is_suspected:
        parts.append("suspected")
    parts += [f"{kind} ×{count}" for kind, count in sorted(evidence.strikes.items())]
    if evidence.is_slow:
        parts.append("was silent")
    return "; ".join(parts)


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


def count_up(status: ClusterStatus) -> int:
    """How many servers answer and can make durable what they promise."""
    return sum(server is not None and server.storage_failure is None for server in status.servers)
