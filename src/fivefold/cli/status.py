"""``fivefold status``: what each server says of itself, and what speaks against it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from fivefold import ClusterStatus, connect
from fivefold.cli.exits import Exit
from fivefold.cli.loop import run
from fivefold.cli.options import ClusterOption, IdentityOption, JsonOption, find_cluster_file
from fivefold.cli.output import err, out, print_json, say
from fivefold.cli.servers import count_up, newest_status, servers_view, status_builtins
from fivefold.cluster import Configuration, load_configuration
from fivefold.transport import CLOSE_TIMEOUT_S

EXAMPLES: Final = """
**Examples**

`fivefold status`

`fivefold status --cluster prod/cluster.toml --identity monitor --json | jq .up`

Exit code 0 if a quorum of servers answers and can store, 3 if fewer do.
"""


def status(
    cluster: ClusterOption = None,
    identity: IdentityOption = None,
    json: JsonOption = False,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds to wait for answers.")] = 2.0,
    tls: Annotated[bool, typer.Option("--tls/--no-tls", hidden=True)] = True,
) -> None:
    """Ask every server about itself."""
    file = find_cluster_file(cluster)
    found, configuration = run(_status(file, identity, timeout, tls))
    addresses = [server.address for server in configuration.servers]
    if json:
        print_json(status_builtins(found, addresses))
    else:
        out.print(servers_view(found, addresses))
    working, needed = count_up(found), found.quorums.q
    if working < needed:
        say("fivefold: only {} of the {} servers that calls need are up: start the others", working, needed, to=err)
        raise typer.Exit(Exit.UNAVAILABLE)


async def _status(file: Path, identity: str | None, timeout_s: float, tls: bool) -> tuple[ClusterStatus, Configuration]:
    # Each question waits for its own link, so one time is enough for both. To end silent connections takes some of it.
    patience_s = max(timeout_s - CLOSE_TIMEOUT_S, timeout_s / 2)
    async with connect(file, identity=identity, connect_timeout=0.01, needs_quorum=False, tls=tls) as cluster:
        status = await newest_status(cluster, patience_s)
        return status, cluster.configuration or load_configuration(file)
