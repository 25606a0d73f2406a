"""``fivefold dashboard``: a running cluster as a page in a browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from fivefold.cli.loop import run
from fivefold.cli.options import ClusterOption, IdentityOption, find_cluster_file
from fivefold.cli.output import say
from fivefold.cluster import split_address
from fivefold.errors import ConfigurationError

EXAMPLES: Final = """
**Examples**

`fivefold dashboard`, then open the address that it prints

`fivefold dashboard --cluster prod/cluster.toml --identity monitor --listen 127.0.0.1:9000`

It needs `pip install \'fivefold[dashboard]\'`.
"""


def dashboard(
    cluster: ClusterOption = None,
    identity: IdentityOption = None,
    listen: Annotated[str, typer.Option(help="HOST:PORT to listen on.")] = "127.0.0.1:8055",
    every: Annotated[float, typer.Option(min=0.2, max=3600, help="Seconds between two looks.")] = 2.0,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="FIVEFOLD_DASHBOARD_TOKEN",
            help="What a browser has to bring; needed where others can connect. Better set the variable.",
        ),
    ] = None,
    tls: Annotated[bool, typer.Option("--tls/--no-tls", hidden=True)] = True,
) -> None:
    """Show a running cluster as a page: how many more failures it can take, who is down or lies, what it does.

    The page only shows: nothing in it changes the cluster. It ends with Ctrl-C.
    """
    try:
        from fivefold.dashboard import Watcher, check_address, serve
    except ImportError as error:
        raise ConfigurationError(
            f"the dashboard needs {error.name}: install it with `pip install 'fivefold[dashboard]'`"
        ) from None
    host, port = split_address(listen)
    check_address(host, token)
    file: Path = find_cluster_file(cluster)

    async def main() -> None:
        watcher = Watcher(file, identity=identity, every_s=every, tls=tls)
        await serve(watcher, host, port, token, lambda address: say("[green]{}[/]  (Ctrl-C ends it)", address))

    try:
        run(main())
    except KeyboardInterrupt:  # how one ends it
        return
