"""A gateway over plain memory or over a cluster inside the test, listening on loopback."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import fivefold.gateways.nfs
from fivefold.gateways.nfs import ClusterStore, Gateway, MemoryStore
from fivefold.gateways.nfs.rpc import framed
from fivefold.testing import LocalCluster, local_cluster
from tests.nfs_client import Client

EXPORT = "x"
PATIENCE_S = 60.0


def needs(*programs: str) -> Any:
    """Skip a test where Debian's clients are missing."""
    missing = [each for each in programs if shutil.which(each) is None]
    return pytest.mark.skipif(bool(missing), reason=f"{', '.join(missing)} not installed (Debian: libnfs-utils)")


@asynccontextmanager
async def gateway(store: Any, *, is_squashing: bool = False) -> AsyncIterator[tuple[Gateway, int]]:
    """A running gateway and its port."""
    made = Gateway(store, export=EXPORT, is_squashing=is_squashing)
    port = await made.start("127.0.0.1", 0, uid=0, gid=0)
    try:
        yield made, port
    finally:
        await made.close()


@asynccontextmanager
async def replicated() -> AsyncIterator[tuple[LocalCluster, Gateway, int]]:
    """The same over six servers."""
    async with local_cluster(fivefold.gateways.nfs) as cluster, gateway(ClusterStore(cluster.cluster)) as (made, port):
        yield cluster, made, port


@asynccontextmanager
async def in_memory(
    *, is_squashing: bool = False, store: MemoryStore | None = None
) -> AsyncIterator[tuple[Gateway, bytes, Any]]:
    """A gateway over plain memory, its root's handle, and a maker of clients: ``make(uid, gids)``."""
    async with gateway(store or MemoryStore(), is_squashing=is_squashing) as (made, _):

        async def carry(record: bytes) -> bytes | None:
            return await made.service.answer("here", record)

        def client(uid: int = 0, gids: tuple[int, ...] = (0,)) -> Client:
            return Client(carry, uid, gids)

        yield made, await client().mount(b"/x"), client


async def run(*words: str) -> bytes:
    """What a command prints; it must end well."""
    process = await asyncio.create_subprocess_exec(
        *words, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(PATIENCE_S):
        out, err = await process.communicate()
    assert process.returncode == 0, (words, err.decode(errors="replace"))
    return out


def url(port: int, path: str = "") -> str:
    """What Debian's clients call a file."""
    return f"nfs://127.0.0.1/{EXPORT}{path}?nfsport={port}&mountport={port}"


class Wire:
    """Carries records over one TCP connection; calls may be in flight side by side."""

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self._host, self._port = host, port
        self._waiting: dict[bytes, asyncio.Future[bytes]] = {}

    async def __aenter__(self) -> Wire:
        self._reader, self._writer = await asyncio.open_connection(self._host, self._port)
        self._task = asyncio.create_task(self._receive())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        self._writer.close()

    async def _receive(self) -> None:
        while True:
            size = int.from_bytes(await self._reader.readexactly(4)) & 0x7FFF_FFFF
            reply = await self._reader.readexactly(size)
            self._waiting.pop(reply[:4]).set_result(reply)

    async def carry(self, record: bytes) -> bytes:
        future = self._waiting[record[:4]] = asyncio.get_running_loop().create_future()
        self._writer.write(framed(record))
        async with asyncio.timeout(PATIENCE_S):
            return await future


@asynccontextmanager
async def gateway_process(
    file: Path, *arguments: str, path: str = ""
) -> AsyncIterator[tuple[asyncio.subprocess.Process, int]]:
    """``fivefold nfs`` as a user starts it, and its port; programs in ``path`` come first."""
    words = ["-m", "fivefold", "nfs", "--cluster", str(file), "--identity", "admin", "--export", EXPORT, "--port", "0"]
    process = await asyncio.create_subprocess_exec(
        sys.executable, *words, *arguments, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PATH": f"{path}:{os.environ['PATH']}"},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        async with asyncio.timeout(PATIENCE_S):
            line = (await process.stdout.readline()).decode()
        assert "serving" in line, line
        yield process, int(line.rpartition(":")[2].partition(".")[0])
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
