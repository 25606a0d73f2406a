"""``fivefold nfs import`` and ``export``: whole trees into the cluster and back."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from fivefold import CallerError, ConfigurationError, Unavailable, connect
from fivefold.cli.loop import run
from fivefold.cli.options import ClusterOption, IdentityOption, find_cluster_file
from fivefold.cli.output import bytes_text, err, say, shown
from fivefold.gateways.nfs import (
    MODULE,
    ROOT_MODE,
    ClusterStore,
    Copied,
    PatientStore,
    Refused,
    Status,
    Tree,
    check_export,
    copy_in,
    copy_out,
    scan,
    servers_know,
    walk,
)

EXPORT: Final = "files"
ExportOption = Annotated[str, typer.Option("--export", help="Which tree: clients mount /EXPORT.")]

PATIENCE_S: Final = 60.0
"""How long a copy waits for a quorum of servers."""

IMPORT_EXAMPLES: Final = """
**Example**

`fivefold nfs import projects`: what is in `projects` is in the tree `/files` afterwards

Files in the tree under the same names are written over. Devices and sockets are left out.
"""

EXPORT_EXAMPLES: Final = """
**Example**

`fivefold nfs export backup`: all of the tree `/files` is in the new directory `backup` afterwards
"""


def import_tree(
    directory: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="What is in it is copied.")],
    cluster: ClusterOption = None,
    identity: IdentityOption = None,
    export: ExportOption = EXPORT,
) -> None:
    """Copy a directory of this machine into a tree that the cluster keeps."""
    run(_import(find_cluster_file(cluster), identity, export, os.fsencode(directory)))


def export_tree(
    directory: Annotated[Path, typer.Argument(help="Where to: new, or empty.")],
    cluster: ClusterOption = None,
    identity: IdentityOption = None,
    export: ExportOption = EXPORT,
) -> None:
    """Copy a tree that the cluster keeps into a directory of this machine."""
    directory.mkdir(parents=True, exist_ok=True)
    if any(directory.iterdir()):
        raise ConfigurationError(f"{directory} is not empty: name a new directory to copy into")
    run(_export(find_cluster_file(cluster), identity, export, os.fsencode(directory)))


async def _import(file: Path, identity: str | None, export: str, directory: bytes) -> None:
    async with _tree(file, identity, export) as tree:
        root = await tree.start(mode=ROOT_MODE, uid=os.getuid(), gid=os.getgid())
        sources = await asyncio.to_thread(scan, directory)
        with _bar("copying in", sum(each.found.st_size for each in sources)) as on_bytes:
            _say_copied(await copy_in(tree, root, directory, sources, on_bytes))


async def _export(file: Path, identity: str | None, export: str, directory: bytes) -> None:
    async with _tree(file, identity, export) as tree:
        root = await tree.start(mode=ROOT_MODE, uid=os.getuid(), gid=os.getgid())
        found = [each async for each in walk(tree, root)]
        with _bar("copying out", sum(each.attributes.size for each in found)) as on_bytes:
            _say_copied(await copy_out(tree, found, directory, on_bytes))


@asynccontextmanager
async def _tree(file: Path, identity: str | None, export: str) -> AsyncIterator[Tree]:
    check_export(export)
    async with connect(file, identity=identity, objects=[MODULE]) as cluster:
        tree = Tree(PatientStore(ClusterStore(cluster), PATIENCE_S), export)
        try:
            with servers_know():
                yield tree
        except Refused as refused:
            status = Status(refused.args[0])
            if status == Status.JUKEBOX:
                raise Unavailable("too few servers answer: copy again later, nothing is lost") from None
            raise CallerError(
                f"the tree refused it with NFS3ERR_{status.name}: what was copied before is there"
            ) from None
        finally:
            await tree.close()


class _bar:  # noqa: N801 - a context manager
    """A progress bar on a terminal; nothing anywhere else."""

    def __init__(self, title: str, total: int) -> None:
        columns = (TextColumn(title), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
        self._progress = Progress(*columns, console=err, disable=not err.is_terminal)
        self._task = self._progress.add_task(title, total=total)

    def __enter__(self) -> Callable[[int], None]:
        self._progress.start()
        return lambda size: self._progress.advance(self._task, size)

    def __exit__(self, *_: object) -> None:
        self._progress.stop()


def _say_copied(copied: Copied) -> None:
    say("copied {} files and directories, {}", copied.files, bytes_text(copied.size))
    for path in copied.left_out:
        say("left out, since it is a device or socket: {}", shown(os.fsdecode(path)), style="yellow", to=err)
