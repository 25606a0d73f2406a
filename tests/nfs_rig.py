"""A gateway over plain memory or over a cluster inside the test, listening on loopback."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

import fivefold.gateways.nfs
from fivefold.gateways.nfs import ClusterStore, Gateway, MemoryStore
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
