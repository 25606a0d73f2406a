"""``fivefold nfs fuse``: the same tree by FUSE, for hosts without an NFS client."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from fivefold import ConfigurationError, connect
from fivefold.cli.loop import new_event_loop
from fivefold.cli.nfs_copy import EXPORT, PATIENCE_S, ExportOption
from fivefold.cli.options import ClusterOption, IdentityOption, find_cluster_file
from fivefold.cli.output import say
from fivefold.gateways.nfs import (
    MODULE,
    ROOT_MODE,
    ClusterStore,
    Operations,
    PatientStore,
    Tree,
    check_export,
    servers_know,
)

EXAMPLES: Final = """
**Example**

`fivefold nfs fuse /mnt/files`; Ctrl-C or `fusermount3 -u /mnt/files` ends it

It needs `pip install \'fivefold[fuse]\'` and Debian's `fuse3`.
"""

START_S: Final = 30.0


def fuse(
    directory: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="Where to mount it.")],
    cluster: ClusterOption = None,
    identity: IdentityOption = None,
    export: ExportOption = EXPORT,
) -> None:
    """Mount a tree that the cluster keeps by FUSE, until it is unmounted."""
    check_export(export)
    file = find_cluster_file(cluster)
    mounting = _mounting()
    with _loop() as loop:
        started = asyncio.run_coroutine_threadsafe(_start(file, identity, export), loop).result(START_S)
        tree, root, leave = started
        try:
            say("mounted on [green]{}[/]. Ctrl-C ends it.", directory)
            operations = Operations(tree, root, loop, mounting.fuse_get_context)
            options: dict[str, Any] = {"attr_timeout": 0, "entry_timeout": 0, "use_ino": True}
            if os.geteuid() == 0:
                options["allow_other"] = True
            mounting.FUSE(operations, str(directory), foreground=True, fsname="fivefold", **options)
        except RuntimeError as error:
            raise ConfigurationError(f"{directory} cannot be mounted by FUSE (error {error}): see above") from None
        finally:
            asyncio.run_coroutine_threadsafe(leave(), loop).result(START_S)


def _mounting() -> Any:  # noqa: ANN401 - a module that is not typed
    try:
        import mfusepy
    except ImportError:
        raise ConfigurationError("mfusepy is missing: pip install 'fivefold[fuse]'") from None
    except OSError as error:
        raise ConfigurationError(f"libfuse is missing ({error}): apt-get install fuse3") from None
    return mfusepy


async def _start(file: Path, identity: str | None, export: str) -> tuple[Tree, Any, Any]:
    connection = connect(file, identity=identity, objects=[MODULE])
    cluster = await connection.__aenter__()
    tree = Tree(PatientStore(ClusterStore(cluster), PATIENCE_S), export)

    async def leave() -> None:
        await tree.close()
        await connection.__aexit__(None, None, None)

    try:
        with servers_know():
            root = await tree.start(mode=ROOT_MODE, uid=os.getuid(), gid=os.getgid())
    except BaseException:
        await leave()
        raise
    return tree, root, leave


@contextmanager
def _loop() -> Iterator[asyncio.AbstractEventLoop]:
    """An event loop in a thread of its own: libfuse keeps the main thread."""
    loop = new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="fivefold-nfs", daemon=True)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(START_S)
