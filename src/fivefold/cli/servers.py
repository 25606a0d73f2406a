"""The table of servers that ``up`` and ``status`` show.

A terminal may have no more than 80 columns: the table holds words and numbers, and what takes a sentence stands below.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table
from rich.text import Text

from fivefold import Cluster, ClusterStatus
from fivefold.cli.output import bytes_text, marked, seconds_text, shown
from fivefold.node import ServerStatus, progress_text
from fivefold.protocol.client import Evidence


def servers_view(status: ClusterStatus, addresses: Sequence[str], pids: Sequence[int | None] | None = None) -> Group:
    """One row a server, with process ids where they are known, and below what is to be said of some of them."""
    return Group(_table(status, addresses, pids), *_remarks(status))


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


def _remarks(status: ClusterStatus) -> list[Text]:
    evidence = {each.server: each for each in status.evidence}
    remarks = []
    for index, server in enumerate(status.servers):
        if server is None and index in status.failures:
            remarks.append(marked("[red]server {} cannot be reached: {}[/]", index, status.failures[index]))
        if server is not None and server.storage_failure:
            remarks.append(marked("[yellow]server {} promises nothing: {}[/]", index, server.storage_failure))
        remarks += [
            marked("[red]server {} answers nothing for {}: its disk has damaged it[/]", index, repr(name))
            for name in sorted(server.damaged if server is not None else ())
        ]
        if server is not None and server.set_aside:
            remarks += [Text(f"server {index}: {reason}", style="yellow") for reason in server.set_aside.values()]
        if text := evidence_text(evidence.get(index)):
            remarks.append(marked("[red]against server {}: {}[/]", index, text))
    remarks += edition_remarks(status)
    remarks += _said(status)
    if any(server is not None and server.storage == "memory" for server in status.servers):
        remarks.append(Text("nothing is on disk: these servers keep everything in memory", style="yellow"))
    return remarks


def _said(status: ClusterStatus) -> list[Text]:
    """What clients have told servers, each saying once: nobody draws conclusions from it."""
    told: dict[tuple[str, int, str], list[int]] = {}
    for index, server in enumerate(status.servers):
        for each in server.said if server is not None else ():
            told.setdefault((each.client, each.server, each.what), []).append(index)
    return [
        marked("[yellow]said by client {} of server {}: {}[/] (told to {})", client, of, what, ", ".join(map(str, by)))
        for (client, of, what), by in told.items()
    ]


def state_text(server: ServerStatus | None, failure: str | None) -> Text:
    """What state a server is in, in a word."""
    if server is None:
        return Text("down" if failure else "silent", style="red")
    if server.storage_failure:
        return Text("no disk", style="yellow")
    if server.place is not None and not server.place.is_standing:
        return Text("newborn", style="yellow")
    return Text("up", style="green")


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
    culled_by = evidence.culled_by or evidence.proven_by
    if culled_by:
        parts.append(f"wrong MACs, as server{'s' * (len(culled_by) > 1)} {', '.join(map(str, culled_by))} found")
    if evidence.is_excluded:
        parts.insert(0, "LIES, left out")
    elif evidence.proven_by:
        parts.insert(0, "LIED over an earlier connection, left out then")
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


async def newest_status(cluster: Cluster, timeout_s: float) -> ClusterStatus:
    """How the servers of the newest edition are, which may have others than the file at hand."""
    old = cluster.configuration
    status = await cluster.status(timeout=timeout_s)
    await cluster.until_followed(timeout_s)
    return status if cluster.configuration is old else await cluster.status(timeout=timeout_s)


def count_up(status: ClusterStatus) -> int:
    """How many servers answer, can make durable what they promise, and are in standing."""
    return sum(
        server is not None and server.storage_failure is None and (server.place is None or server.place.is_standing)
        for server in status.servers
    )


def edition_remarks(status: ClusterStatus) -> list[Text]:
    """Who catches up and how far it is, and who uses another edition of the cluster file than the newest."""
    places = [(index, server.place) for index, server in enumerate(status.servers) if server and server.place]
    if not places:
        return []
    newest = max(place.edition for _, place in places)
    digests = [place.digest for _, place in places if place.edition == newest]
    common = max(digests, key=digests.count)
    remarks = []
    for index, place in places:
        if not place.is_standing or place.standing_s is not None:
            style = "green" if place.is_standing else "yellow"
            since = f", since {seconds_text(place.standing_s)}" if place.standing_s is not None else ""
            remarks.append(Text(progress_text(place, index, len(status.servers)) + since, style=style))
        if place.behind:
            text = f"server {index} differs from the others in {place.behind} objects, and catches up with them"
            remarks.append(Text(text, style="yellow"))
        if place.edition < newest:
            text = (
                f"server {index} uses edition {place.edition} of the cluster file, others {newest}: bring it the newest"
            )
            remarks.append(Text(text, style="yellow"))
        elif place.digest != common:
            text = f"server {index} uses another file of edition {newest}: two were made, so make the next edition"
            remarks.append(Text(text, style="red"))
    return remarks
