"""The baseline for real: a replica's process.

``python -m fivefold.bench.agreement_node DIRECTORY INDEX TLS BATCHING`` is one replica.
"""

from __future__ import annotations

import gc
import sys
from pathlib import Path
from typing import Final

import msgspec

from fivefold.bench.agreement import Replica, Send, ToClient
from fivefold.bench.agreement_messages import (
    AgreementKeys,
)
from fivefold.bench.echo import serve_until_stopped
from fivefold.cluster import (
    CLUSTER_FILE,
    READY,
    Credentials,
    derive_mac_keys,
    load_configuration,
    load_identity,
    server_directory,
)
from fivefold.objects import standard_registry
from fivefold.protocol.operations import ClientId
from fivefold.transport import Connection, Link, StreamTransport

COUNTERS: Final = b"\0counters"
"""A frame that asks a replica for its counters."""


class ReplicaNode:
    """One replica between its transport and its machine."""

    def __init__(self, machine: Replica, transport: StreamTransport) -> None:
        """Nothing is opened yet."""
        self._machine = machine
        self._transport = transport
        self._clients: dict[ClientId, Connection] = {}
        self._links: dict[int, Link] = {}

    async def start(self) -> None:
        """Listen, and connect to the other replicas."""
        for replica in range(self._machine.n):
            if replica != self._machine.index:
                self._links[replica] = self._transport.link(
                    replica, on_frames=lambda _: None, on_up=lambda: None, on_down=lambda: None
                )
        await self._transport.listen(on_open=self._opened, on_frames=self._on_frames, on_close=lambda _: None)
        for link in self._links.values():
            link.start()

    def _opened(self, connection: Connection) -> None:
        if not isinstance(connection.peer, int):
            self._clients[connection.peer] = connection

    def _on_frames(self, connection: Connection, frames: list[bytes]) -> None:
        for frame in frames:
            self._on_frame(connection, frame)

    def _on_frame(self, connection: Connection, frame: bytes) -> None:
        peer = connection.peer
        if isinstance(peer, int):
            self._deliver(self._machine.receive_from_replica(peer, frame))
        elif frame == COUNTERS:
            is_up = all(link.is_up for link in self._links.values())
            counters = {**self._machine.counters, "links_down": 0 if is_up else 1}
            connection.send(COUNTERS + msgspec.json.encode(counters))
        else:
            self._deliver(self._machine.receive_from_client(peer, frame))

    def _deliver(self, sends: list[Send]) -> None:
        for send in sends:
            if isinstance(send, ToClient):
                connection = self._clients.get(send.client)
                if connection is not None:
                    connection.send(send.frame)
            else:
                self._links[send.replica].send(send.frame)


async def serve(directory: Path, index: int, *, tls: bool, is_batching: bool) -> None:
    """One replica, until the launcher is gone or ends it."""
    configuration = load_configuration(directory / CLUSTER_FILE)
    identity = load_identity(server_directory(directory, index))
    keys = AgreementKeys(configuration.cluster_id, *derive_mac_keys(identity, configuration, index))
    machine = Replica(index, configuration.quorums.t, keys, standard_registry(), is_batching=is_batching)
    node = ReplicaNode(machine, StreamTransport(Credentials(configuration, identity), tls=tls))
    await node.start()
    print(READY, index, "agreement", flush=True)
    gc.collect()
    gc.freeze()
    await serve_until_stopped()


def main() -> None:
    """Run one replica."""
    from fivefold.bench.loop import run

    directory, index, tls, batching = sys.argv[1:]
    run(serve(Path(directory), int(index), tls=tls == "tls", is_batching=batching == "batching"))


if __name__ == "__main__":
    main()
