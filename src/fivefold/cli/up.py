"""``fivefold up``: a local cluster in the foreground."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.live import Live

from fivefold import Cluster, connect
from fivefold.cli.code import load_objects
from fivefold.cli.loop import run
from fivefold.cli.options import (
    CLUSTER_FILE,
    LOCAL_DIRECTORY,
    FaultsOption,
    FaultyOption,
    LyingOption,
    ObjectsOption,
    ServersOption,
)
from fivefold.cli.output import out, say
from fivefold.cli.servers import servers_view
from fivefold.cluster import (
    Configuration,
    LocalCluster,
    create_cluster,
    free_addresses,
    load_configuration,
    quorums_of,
    serve_command,
    server_directory,
)
from fivefold.errors import ConfigurationError
from fivefold.protocol.quorums import QuorumSystem

EXAMPLES: Final = f"""
**Examples**

`fivefold up`: six servers, of which one may fail or lie, in `{LOCAL_DIRECTORY}`

`fivefold up --faults 2 --dir big --objects bank`: eleven servers that run your classes

`fivefold up --memory`: nothing is stored, for experiments

Ctrl-C stops all servers; the same command starts them again with what they had on disk.
"""

REFRESH_S: Final = 1.0


def up(
    directory: Annotated[Path, typer.Option("--dir", help="Made if missing, used again if there.")] = LOCAL_DIRECTORY,
    faults: FaultsOption = None,
    n: ServersOption = None,
    t: FaultyOption = None,
    b: LyingOption = None,
    objects: ObjectsOption = None,
    memory: Annotated[bool, typer.Option("--memory", help="Store nothing: a stop forgets everything.")] = False,
    port: Annotated[int | None, typer.Option(min=1, max=65000, help="First port. Default: any that are free.")] = None,
) -> None:
    """Run a cluster on this machine until Ctrl-C, and show its servers."""
    cluster_file = directory / CLUSTER_FILE
    modules = objects or []
    load_objects(modules)  # a mistake in a module is told once, here, and not by every server
    wanted = None if (faults, n, t, b) == (None,) * 4 else quorums_of(faults, n=n, t=t, b=b)
    configuration = _prepare(directory, wanted, port)

    def command(index: int) -> Sequence[str]:
        identity = server_directory(directory, index)
        data = identity.with_name(identity.name + ".data")
        return serve_command(cluster_file, identity=identity, data=data, memory=memory, objects=modules)

    servers = LocalCluster(configuration.quorums.n, command, directory / "logs")
    run(_up(servers, configuration, cluster_file, modules))


def _prepare(directory: Path, wanted: QuorumSystem | None, port: int | None) -> Configuration:
    file = directory / CLUSTER_FILE
    if file.exists():
        configuration = load_configuration(file)
        found = configuration.quorums
        if wanted is not None and (wanted.n, wanted.t, wanted.b) != (found.n, found.t, found.b):
            raise ConfigurationError(
                f"{directory} holds a cluster for n={found.n}, t={found.t}, b={found.b}: name another with --dir"
            )
        if port is not None and configuration.servers[0].port != port:
            raise ConfigurationError(f"{directory} holds a cluster with other ports: name another directory with --dir")
        return configuration
    wanted = quorums_of() if wanted is None else wanted
    ports = range(wanted.n)
    addresses = free_addresses(wanted.n) if port is None else [f"127.0.0.1:{port + each}" for each in ports]
    return create_cluster(directory, addresses, t=wanted.t, b=wanted.b)


async def _up(servers: LocalCluster, configuration: Configuration, cluster_file: Path, modules: Sequence[str]) -> None:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, stop.set)
    say("starting {} servers …", configuration.quorums.n)
    starting = asyncio.create_task(asyncio.to_thread(servers.start))
    try:
        await asyncio.wait([starting, asyncio.create_task(stop.wait())], return_when=asyncio.FIRST_COMPLETED)
        await starting
        _say_how_to_connect(cluster_file, modules)
        async with connect(cluster_file, identity="admin") as cluster:
            await _show(servers, configuration, cluster, stop)
    finally:
        say("stopping the servers …")
        await asyncio.to_thread(servers.stop)


def _say_how_to_connect(cluster_file: Path, modules: Sequence[str]) -> None:
    here = "" if cluster_file.parent == LOCAL_DIRECTORY else f" --cluster {shlex.quote(str(cluster_file))}"
    say("\n[bold]ready[/], cluster file [green]{}[/]. In another terminal:", cluster_file)
    if modules:
        say("    export FIVEFOLD_OBJECTS={}", shlex.quote(" ".join(modules)))
    say("    fivefold call{} Counter hits increment", here)
    say("    fivefold status{}", here)
    say("in Python:")
    say("    async with fivefold.connect({}) as cluster: …", json.dumps(os.path.abspath(cluster_file)))
    say("Ctrl-C stops the servers.\n")


async def _show(servers: LocalCluster, configuration: Configuration, cluster: Cluster, stop: asyncio.Event) -> None:
    """Show the servers until told to stop; without a terminal there is nobody to show them to."""
    if not out.is_terminal:
        await stop.wait()
        return
    addresses = [server.address for server in configuration.servers]
    with Live(console=out, auto_refresh=False, transient=False) as live:
        while not stop.is_set():
            status = await cluster.status(timeout=REFRESH_S)
            live.update(servers_view(status, addresses, [server.pid for server in servers.servers]), refresh=True)
            try:
                async with asyncio.timeout(REFRESH_S):
                    await stop.wait()
            except TimeoutError:
                continue
