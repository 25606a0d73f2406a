"""etcd from Debian's package: three nodes, gRPC in clear, through aetcd (asyncio over grpcio) to the leader itself.

Every put is synced by a majority before it is acknowledged. In the memory class the data directory is on tmpfs, where a
sync costs nothing. Reads are etcd's default: linearizable.
"""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from peer_common import DEBIAN, NODES, announced, ports, require, setting

from fivefold.bench.beds import Bed, Beds
from fivefold.bench.results import Durability
from fivefold.bench.system import Driven, System


def start(beds: Beds, data: Path, durability: Durability, payload_bytes: int) -> Bed:
    """Three nodes with their data below ``data``."""
    program = require(DEBIAN / "usr" / "bin" / "etcd")
    version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout.split()[2]
    client_ports, peer_ports = ports(NODES), ports(NODES)
    members = ",".join(f"n{index}=http://127.0.0.1:{port}" for index, port in enumerate(peer_ports))

    def command(index: int) -> list[str]:
        client, peer = (f"http://127.0.0.1:{port[index]}" for port in (client_ports, peer_ports))
        line = [str(program), "--name", f"n{index}", "--data-dir", str(data / f"etcd-{index}"), "--log-level", "error"]
        line += ["--listen-client-urls", client, "--advertise-client-urls", client, "--logger", "zap"]
        line += ["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", members]
        return announced(index, "etcd", line)

    return beds.peer(
        setting("etcd", durability, version, "aetcd 1.0.0 (grpcio)"),
        command,
        "peer_etcd:open_etcd",
        {"ports": client_ports, "payload_bytes": payload_bytes},
    )


class _Operations:
    def __init__(self, client: Any, payload: bytes) -> None:
        self._client = client
        self._payload = payload

    async def update(self, key: int) -> None:
        await self._client.put(b"bench-%d" % key, self._payload)

    async def query(self, key: int) -> None:
        await self._client.get(b"bench-%d" % key)


@asynccontextmanager
async def open_etcd(options: dict[str, Any]) -> AsyncIterator[System]:
    """Connect to the leader."""
    import aetcd

    port = await _leader(aetcd, options["ports"])
    async with aetcd.Client(host="127.0.0.1", port=port) as client:
        yield Driven(_Operations(client, b"x" * max(1, options["payload_bytes"])))


async def _leader(aetcd: Any, candidates: list[int]) -> int:
    async with asyncio.timeout(30):
        while True:
            for port in candidates:
                try:
                    async with aetcd.Client(host="127.0.0.1", port=port, timeout=2) as client:
                        if await _is_leader(client):
                            return port
                except (aetcd.exceptions.ClientError, OSError, TimeoutError):
                    continue
            await asyncio.sleep(0.2)


async def _is_leader(client: Any) -> bool:
    from aetcd import rpc

    answer = await client.maintenancestub.Status(rpc.StatusRequest(), timeout=2)
    return bool(answer.leader) and answer.leader == answer.header.member_id
