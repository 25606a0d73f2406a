"""``fivefold nfs``: a file system in the cluster's objects, for NFS clients."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
from functools import partial
from pathlib import Path
from typing import Annotated, Final

import typer

from fivefold import Cluster, ConfigurationError, connect
from fivefold.cli.loop import run, spare_collector
from fivefold.cli.nfs_copy import EXPORT, EXPORT_EXAMPLES, IMPORT_EXAMPLES, ExportOption, export_tree, import_tree
from fivefold.cli.nfs_demo import EXAMPLES as DEMO_EXAMPLES
from fivefold.cli.nfs_demo import demo
from fivefold.cli.nfs_fuse import EXAMPLES as FUSE_EXAMPLES
from fivefold.cli.nfs_fuse import fuse
from fivefold.cli.options import ClusterOption, IdentityOption, find_cluster_file
from fivefold.cli.output import say
from fivefold.cli.servers import evidence_text
from fivefold.gateways.nfs import MODULE, ClusterStore, Gateway

EXAMPLES: Final = f"""
**Examples**

`fivefold up --objects {MODULE}`, and in another terminal:

`fivefold nfs`: serves the tree `/files` on 127.0.0.1:20490, and says how to mount it

`fivefold nfs --mount /mnt/files`: mounts it, too, where you may

`nfs-ls 'nfs://127.0.0.1/files?nfsport=20490&mountport=20490'`
"""

PORT: Final = 20490
DEADLINE_S: Final = 5.0
"""Of one call on the cluster; after that the client is told to come back."""
EVIDENCE_S: Final = 2.0
COMMAND_S: Final = 20.0
"""Patience for mount and umount."""

nfs: Final = typer.Typer(
    name="nfs",
    help="Serve a file system that lives in the cluster by NFS version 3.",
    epilog=EXAMPLES,
    invoke_without_command=True,
)

nfs.command("import", epilog=IMPORT_EXAMPLES)(import_tree)
nfs.command("fuse", epilog=FUSE_EXAMPLES)(fuse)
nfs.command("demo", epilog=DEMO_EXAMPLES)(demo)
nfs.command("export", epilog=EXPORT_EXAMPLES)(export_tree)


@nfs.callback()
def serve_nfs(
    context: typer.Context,
    cluster: ClusterOption = None,
    identity: IdentityOption = None,
    export: ExportOption = EXPORT,
    host: Annotated[
        str, typer.Option(help="Address to listen on. Others than loopback trust their network.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port for NFS and MOUNT; 0 for any that is free.")] = PORT,
    mount: Annotated[Path | None, typer.Option("--mount", help="Mount the tree here, if this user may.")] = None,
    squash: Annotated[
        bool, typer.Option("--root-squash/--no-root-squash", help="Whether a client's root is nobody here.")
    ] = True,
) -> None:
    """Serve a file system that lives in the cluster by NFS version 3, until Ctrl-C.

    The gateway is trusted by its user: run it on your own host. NFS clients say who they are, and nobody checks it.
    """
    if context.invoked_subcommand is None:
        if mount is not None and not mount.is_dir():
            raise ConfigurationError(f"{mount} is no directory: make it before you mount something there")
        gateway = partial(Gateway, export=export, is_squashing=squash)
        run(_serve(find_cluster_file(cluster), identity, gateway, host, port, mount))


async def _serve(
    file: Path, identity: str | None, made: partial[Gateway], host: str, port: int, mount: Path | None
) -> None:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, stop.set)
    async with connect(file, identity=identity, objects=[MODULE], deadline=DEADLINE_S) as cluster:
        gateway = made(ClusterStore(cluster))
        try:
            port = await gateway.start(host, port, uid=os.getuid(), gid=os.getgid())
            say("serving [green]{}[/] on {}:{}. Ctrl-C stops it.", gateway.path, host, port)
            is_mounted = mount is not None and await _mount(mount, host, port, gateway.path)
            if not is_mounted:
                say("To mount it, as root:\n    {}", mount_line(host, port, gateway.path, mount or Path("DIR")))
            telling = asyncio.create_task(_tell_evidence(cluster))
            spare_collector()
            await stop.wait()
            telling.cancel()
            if is_mounted:
                await _run_quietly(["umount", str(mount)])
        finally:
            await gateway.close()


async def _tell_evidence(cluster: Cluster) -> None:
    """Say which server lies or is suspected, and by what, whenever that changes."""
    told: dict[int, tuple[bool, bool]] = {}
    while True:
        for each in cluster.evidence():
            verdict = (each.is_excluded or bool(each.proven_by), each.is_suspected)
            if any(verdict) and told.get(each.server) != verdict:
                say("server {}: {}", each.server, evidence_text(each), style="yellow")
            told[each.server] = verdict
        await asyncio.sleep(EVIDENCE_S)


def mount_line(host: str, port: int, path: str, directory: Path) -> str:
    """The command that mounts the tree."""
    options = f"vers=3,proto=tcp,nolock,hard,port={port},mountport={port},mountproto=tcp"
    return shlex.join(["mount", "-t", "nfs", "-o", options, f"{host}:{path}", str(directory)])


async def _mount(directory: Path, host: str, port: int, path: str) -> bool:
    """Mount it if this user may; say so, or why not."""
    why = await _run_quietly(shlex.split(mount_line(host, port, path, directory)))
    if why:
        say("It was not mounted: {}", why, style="yellow")
        return False
    say("mounted on [green]{}[/]", directory)
    return True


async def _run_quietly(words: list[str]) -> str:
    """Run a command; empty if it went well, otherwise what it said."""
    try:
        process = await asyncio.create_subprocess_exec(
            *words, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
    except OSError as error:
        return f"{words[0]}: {error.strerror}"
    try:
        async with asyncio.timeout(COMMAND_S):
            output, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        return f"{words[0]} did not end in {COMMAND_S:.0f} s"
    return "" if process.returncode == 0 else output.decode(errors="replace").strip() or f"{words[0]} failed"
