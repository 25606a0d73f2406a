"""``fivefold nfs demo``: a tree is copied in while a server dies and another one lies, and comes back the same."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import Any, Final, Protocol

import typer

from fivefold import Cluster, ConfigurationError, Unavailable, connect
from fivefold.cli.demo import B, N, T, let_servers_lie
from fivefold.cli.exits import Exit
from fivefold.cli.loop import run
from fivefold.cli.options import CLUSTER_FILE
from fivefold.cli.output import bytes_text, say
from fivefold.cluster import LocalCluster, create_cluster, free_addresses, serve_command, server_directory
from fivefold.gateways.nfs import MODULE, ClusterStore, Gateway

EXAMPLES: Final = """
**Example**

`fivefold nfs demo`

Exit code 0 only if every file came back byte for byte and the liar was named; 5 otherwise.
"""

KILLED: Final = 2
LIAR: Final = 4
DIRECTORIES: Final = 6
FILES: Final = 60
BYTES_MAX: Final = 200_000
COMMAND_S: Final = 120.0
DEADLINE_S: Final = 20.0


class Client(Protocol):
    """An NFS client that somebody else wrote."""

    async def put(self, path: str, data: bytes) -> None:
        """Write a file."""
        ...

    async def get(self, path: str) -> bytes:
        """Read it."""
        ...

    async def mkdir(self, path: str) -> None:
        """Make a directory."""
        ...


def demo() -> None:
    """Copy a tree in while a server is killed and another one lies, and compare it byte for byte."""
    let_servers_lie()
    with tempfile.TemporaryDirectory(prefix="fivefold-nfs-demo-") as name:
        if not run(_play(Path(name))):
            raise typer.Exit(Exit.FAILED)


async def _play(directory: Path) -> bool:
    create_cluster(directory, free_addresses(N), t=T, b=B)
    file = directory / CLUSTER_FILE

    def command(index: int) -> Sequence[str]:
        identity, data = server_directory(directory, index), directory / f"data-{index}"
        return serve_command(file, identity=identity, data=data, objects=[MODULE])

    servers = LocalCluster(N, command, directory / "logs")
    say("starting {} servers, of which one may fail or lie", N)
    try:
        await asyncio.to_thread(servers.start)
        async with connect(file, identity="admin", objects=[MODULE], deadline=DEADLINE_S) as cluster:
            gateway = Gateway(ClusterStore(cluster), export="demo")
            port = await gateway.start("127.0.0.1", 0, uid=os.getuid(), gid=os.getgid())
            say("the gateway serves [green]{}[/] on 127.0.0.1:{}", gateway.path, port)
            try:
                async with _client(port, directory) as client:
                    differing = await _copy(client, servers)
            finally:
                await gateway.close()
            return _tell(differing, cluster)
    finally:
        await asyncio.to_thread(servers.stop)


async def _copy(client: Client, servers: LocalCluster) -> list[str]:
    """Copy the tree in, with what happens meanwhile, and read it back; the files that are not what they were."""
    random, tree = Random(5), dict[str, bytes]()
    for number in range(DIRECTORIES):
        await client.mkdir(f"/d{number}")
    for number in range(FILES):
        if number == FILES // 4:
            say("[bold]kill -9[/] of server {}", KILLED)
            await asyncio.to_thread(servers.kill, KILLED)
        elif number == FILES // 2:
            say("server {} comes back", KILLED)
            await asyncio.to_thread(servers.start_one, KILLED)
        elif number == FILES * 5 // 8:
            say("server {} is taken over: it proves its histories with [bold]wrong MACs[/]", LIAR)
            await asyncio.to_thread(servers.restart, LIAR, ["--lie", "macs"])
        path = f"/d{number % DIRECTORIES}/file-{number}"
        tree[path] = random.randbytes(random.randrange(BYTES_MAX))
        await client.put(path, tree[path])
    say("copied {} files in {} directories, {}", FILES, DIRECTORIES, bytes_text(sum(map(len, tree.values()))))
    say("server {} tries otherwise: it gives [bold]wrong answers[/] while the tree is read back", LIAR)
    await asyncio.to_thread(servers.restart, LIAR, ["--lie", "answers"])
    return [path for path, data in tree.items() if await client.get(path) != data]


def _tell(differing: list[str], cluster: Cluster) -> bool:
    named = sorted(each.server for each in cluster.evidence() if each.server == LIAR)
    if differing:
        say("[red]✗[/] {} of {} files came back different, such as {}", len(differing), FILES, differing[0])
    else:
        say("[green]✓[/] all {} files came back byte for byte, and no call failed", FILES)
    if named:
        say("[green]✓[/] the gateway holds evidence against server {}", LIAR)
    else:
        say("[red]✗[/] nothing speaks against server {}, which lied", LIAR)
    return not differing and bool(named)


# --- clients -----------------------------------------------------------------------------------------------------
@asynccontextmanager
async def _client(port: int, directory: Path) -> AsyncIterator[Client]:
    """nfs-rs if it is installed, otherwise Debian's libnfs."""
    if find_spec("nfs_rs") is not None:
        import nfs_rs

        say("the client is nfs-rs, from PyPI")
        made = await nfs_rs.AsyncClient.connect(
            "nfs://127.0.0.1/demo", versions=("3",), nfs_port=port, mount_port=port, uid=1000, gid=1000
        )
        try:
            yield NfsRs(made)
        finally:
            await made.close()
    elif shutil.which("nfs-cp") and shutil.which("nfs-cat"):
        say("the client is libnfs, from Debian")
        yield LibNfs(port, directory)
    else:
        raise ConfigurationError("no NFS client is here: pip install nfs-rs, or apt-get install libnfs-utils")


class NfsRs:
    """PyPI's nfs-rs."""

    def __init__(self, client: Any) -> None:  # noqa: ANN401 - not typed here
        """Over a connected client."""
        self._client = client

    async def put(self, path: str, data: bytes) -> None:
        """Write a file."""
        async with await self._client.open(path, "wb") as file:
            await file.write(data)

    async def get(self, path: str) -> bytes:
        """Read it."""
        async with await self._client.open(path, "rb") as file:
            data: bytes = await file.read()
            return data

    async def mkdir(self, path: str) -> None:
        """Make a directory."""
        await self._client.mkdir(path)


class LibNfs:
    """The programs of Debian's libnfs-utils; they make no directories, so these become parts of names."""

    def __init__(self, port: int, directory: Path) -> None:
        """``directory`` is for what is copied."""
        self._port, self._directory = port, directory

    def _url(self, path: str) -> str:
        name = path.strip("/").replace("/", "-")
        return f"nfs://127.0.0.1/demo/{name}?nfsport={self._port}&mountport={self._port}"

    async def put(self, path: str, data: bytes) -> None:
        """Write a file."""
        local = self._directory / "copied"
        await asyncio.to_thread(local.write_bytes, data)
        await self._run("nfs-cp", str(local), self._url(path))

    async def get(self, path: str) -> bytes:
        """Read it."""
        return await self._run("nfs-cat", self._url(path))

    async def mkdir(self, path: str) -> None:
        """Nothing to do."""

    async def _run(self, *words: str) -> bytes:
        process = await asyncio.create_subprocess_exec(
            *words, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        try:
            async with asyncio.timeout(COMMAND_S):
                out, problem = await process.communicate()
        except TimeoutError:
            process.kill()
            raise Unavailable(f"{words[0]} did not end in {COMMAND_S:.0f} s: run the demo again") from None
        if process.returncode:
            raise Unavailable(f"{words[0]} failed: {problem.decode(errors='replace').strip()}")
        return out
