"""etcd from Debian's package: three nodes, through aetcd (asyncio over grpcio) to the leader itself.

Every put is synced by a majority before it is acknowledged. In the memory class the data directory is on tmpfs, where a
sync costs nothing. Reads are etcd's default: linearizable. With TLS both ends of every connection show a certificate,
as Fivefold's do.
"""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import peer_tls
from peer_common import DEBIAN, NODES, announced, ports, require, setting

from fivefold.bench.beds import Bed, Beds
from fivefold.bench.results import Durability
from fivefold.bench.system import Driven, System


def start(beds: Beds, data: Path, durability: Durability, payload_bytes: int, *, tls: bool) -> Bed:
    """Three nodes with their data below ``data``."""
    program = require(DEBIAN / "usr" / "bin" / "etcd")
    version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout.split()[2]
    client_ports, peer_ports = ports(NODES), ports(NODES)
    scheme, certificates = ("https", data / "etcd-certificates") if tls else ("http", None)
    members = ",".join(f"n{index}={scheme}://127.0.0.1:{port}" for index, port in enumerate(peer_ports))
    security = _security(peer_tls.make(certificates)) if certificates else []

    def command(index: int) -> list[str]:
        client, peer = (f"{scheme}://127.0.0.1:{port[index]}" for port in (client_ports, peer_ports))
        line = [str(program), "--name", f"n{index}", "--data-dir", str(data / f"etcd-{scheme}-{index}")]
        line += ["--log-level", "error", "--logger", "zap"]
        line += ["--listen-client-urls", client, "--advertise-client-urls", client]
        line += ["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", members]
        return announced(index, "etcd", [*line, *security])

    return beds.peer(
        setting("etcd", durability, version, "aetcd 1.0.0 (grpcio)", tls=tls),
        command,
        "peer_etcd:open_etcd",
        {
            "ports": client_ports,
            "payload_bytes": payload_bytes,
            "certificates": str(certificates) if certificates else None,
        },
    )


def _security(files: peer_tls.Files) -> list[str]:
    options = []
    for prefix in ("", "peer-"):
        options += [f"--{prefix}cert-file", str(files.certificate), f"--{prefix}key-file", str(files.key)]
        options += [f"--{prefix}trusted-ca-file", str(files.authority), f"--{prefix}client-cert-auth"]
    return options


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
    certificates = options["certificates"]
    files = None if certificates is None else peer_tls.files(Path(certificates))
    port = await _leader(options["ports"], files)
    async with _connected(port, files) as client:
        yield Driven(_Operations(client, b"x" * max(1, options["payload_bytes"])))


@asynccontextmanager
async def _connected(port: int, files: peer_tls.Files | None, timeout_s: float | None = None) -> AsyncIterator[Any]:
    import aetcd
    import grpc

    client = aetcd.Client(host="127.0.0.1", port=port, timeout=timeout_s)
    if files is not None:  # aetcd itself connects in clear only
        credentials = grpc.ssl_channel_credentials(
            files.authority.read_bytes(), files.key.read_bytes(), files.certificate.read_bytes()
        )
        client.channel = aetcd.rpc.secure_channel(f"127.0.0.1:{port}", credentials)
        client.kvstub = aetcd.rpc.KVStub(client.channel)
        client.maintenancestub = aetcd.rpc.MaintenanceStub(client.channel)
        client._connected.set()
    async with client:
        yield client


async def _leader(candidates: list[int], files: peer_tls.Files | None) -> int:
    import aetcd

    async with asyncio.timeout(30):
        while True:
            for port in candidates:
                try:
                    async with _connected(port, files, timeout_s=2) as client:
                        if await _is_leader(client):
                            return port
                except (aetcd.exceptions.ClientError, aetcd.rpc.AioRpcError, OSError, TimeoutError):
                    continue
            await asyncio.sleep(0.2)


async def _is_leader(client: Any) -> bool:
    from aetcd import rpc

    answer = await client.maintenancestub.Status(rpc.StatusRequest(), timeout=2)
    return bool(answer.leader) and answer.leader == answer.header.member_id
