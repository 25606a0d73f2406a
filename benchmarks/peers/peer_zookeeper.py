"""ZooKeeper from Debian's package: three nodes, in clear, through kazoo, which runs its own threads.

Every write is synced by a majority before it is acknowledged; in the memory class the data is on tmpfs and forced syncs
are off. Reads come from one server and may be stale, so they are not compared.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from peer_common import DEBIAN, NODES, announced, ports, require, setting

from fivefold.bench.beds import Bed, Beds
from fivefold.bench.results import Durability
from fivefold.bench.system import Driven, System
from fivefold.errors import ConfigurationError, Unavailable

_JARS = (
    *("zookeeper", "zookeeper-jute", "slf4j-api", "slf4j-nop", "metrics-core", "snappy-java", "commons-cli"),
    *("netty-all", "netty-buffer", "netty-codec", "netty-common", "netty-handler", "netty-resolver", "netty-transport"),
    *("netty-transport-native-epoll", "netty-transport-native-unix-common", "commons-io"),
)


def start(beds: Beds, data: Path, durability: Durability, payload_bytes: int) -> Bed:
    """Three nodes with their data below ``data``."""
    java = shutil.which("java")
    if java is None:
        raise ConfigurationError("ZooKeeper needs a Java runtime: install default-jre-headless")
    jars = require(DEBIAN / "usr" / "share" / "java")
    classes = ":".join(str(jars / f"{name}.jar") for name in _JARS)
    client_ports, peer_ports, election_ports = ports(NODES), ports(NODES), ports(NODES)
    members = [
        f"server.{index}=127.0.0.1:{peer}:{election}"
        for index, (peer, election) in enumerate(zip(peer_ports, election_ports, strict=True), 1)
    ]

    def command(index: int) -> list[str]:
        directory = data / f"zookeeper-{index}"
        directory.mkdir(parents=True)
        (directory / "myid").write_text(f"{index + 1}\n")
        lines = ["tickTime=2000", "initLimit=10", "syncLimit=5", f"dataDir={directory}", "maxClientCnxns=0"]
        lines += [f"clientPort={client_ports[index]}", "clientPortAddress=127.0.0.1", "admin.enableServer=false"]
        (directory / "zoo.cfg").write_text("\n".join([*lines, *members, ""]))
        line = [java, "-Xmx512m", "-cp", classes, f"-Dzookeeper.forceSync={'yes' if durability == 'disk' else 'no'}"]
        line += ["org.apache.zookeeper.server.quorum.QuorumPeerMain", str(directory / "zoo.cfg")]
        return announced(index, "zookeeper", line)

    return beds.peer(
        setting("ZooKeeper", durability, "3.8.0", "kazoo 2.11.0 (threads)"),
        command,
        "peer_zookeeper:open_zookeeper",
        {"ports": client_ports, "payload_bytes": payload_bytes},
    )


class _Operations:
    def __init__(self, client: Any, payload: bytes) -> None:
        self._client = client
        self._payload = payload
        self._loop = asyncio.get_running_loop()
        self._known: set[int] = set()

    async def update(self, key: int) -> None:
        if key not in self._known:
            await self._wait(self._client.create_async(f"/bench-{key}", self._payload))
            self._known.add(key)
        else:
            await self._wait(self._client.set_async(f"/bench-{key}", self._payload))

    async def query(self, key: int) -> None:
        await self._wait(self._client.get_async(f"/bench-{key}"))

    async def _wait(self, result: Any) -> None:
        future: asyncio.Future[None] = self._loop.create_future()
        result.rawlink(lambda each: self._loop.call_soon_threadsafe(_finish, future, each.exception))
        await future


def _finish(future: asyncio.Future[None], failure: BaseException | None) -> None:
    if failure is None:
        future.set_result(None)
    else:
        future.set_exception(Unavailable(f"ZooKeeper refused ({failure!r}): are its nodes up?"))


@asynccontextmanager
async def open_zookeeper(options: dict[str, Any]) -> AsyncIterator[System]:
    """Connect to one of the nodes."""
    from kazoo.client import KazooClient

    client = KazooClient(hosts=",".join(f"127.0.0.1:{port}" for port in options["ports"]))
    await asyncio.to_thread(client.start, 60)
    try:
        yield Driven(_Operations(client, b"x" * max(1, options["payload_bytes"])))
    finally:
        await asyncio.to_thread(client.stop)
