"""The baseline for real: a replica's process, and its client as a system under test.

``python -m fivefold.bench.agreement_node DIRECTORY INDEX TLS BATCHING`` is one replica.
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
import sys
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec

from fivefold.bench.agreement import LEADER, Ballot, Replica, Send, ToClient
from fivefold.bench.agreement_messages import (
    AgreementKeys,
    client_key,
    decode_reply,
    mac_state,
    make_request,
)
from fivefold.bench.echo import serve_until_stopped
from fivefold.bench.system import Driven, Opened
from fivefold.cluster import (
    Configuration,
    Credentials,
    Identity,
    client_id_of,
    derive_mac_keys,
    find_identity,
    load_configuration,
    load_identity,
    server_directory,
)
from fivefold.cluster.launcher import READY
from fivefold.cluster.setup import CLUSTER_FILE
from fivefold.errors import Unavailable
from fivefold.objects import standard_registry
from fivefold.protocol.messages import encode
from fivefold.protocol.operations import Call, ClientId, ObjectId, Operation
from fivefold.transport import Connection, Link, StreamTransport, Transport

COUNTERS: Final = b"\0counters"
"""A frame that asks a replica for its counters."""

DEADLINE_S: Final = 10.0


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
                    replica, on_frame=lambda _: None, on_up=lambda: None, on_down=lambda: None
                )
        await self._transport.listen(on_open=self._opened, on_frame=self._on_frame, on_close=lambda _: None)
        for link in self._links.values():
            link.start()

    def _opened(self, connection: Connection) -> None:
        if not isinstance(connection.peer, int):
            self._clients[connection.peer] = connection

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


class AgreementClient:
    """A client of the baseline: updates go to the leader, queries to all replicas."""

    def __init__(self, configuration: Configuration, identity: Identity, payload_bytes: int, prefix: str) -> None:
        """Nothing is opened yet; objects are named as for Fivefold."""
        self._f = configuration.quorums.t
        self._id = client_id_of(identity.certificate)
        keys = [client_key(configuration.cluster_id, self._id, index) for index in range(3 * self._f + 1)]
        self._keys = [mac_state(key) for key in keys]
        self._registry = standard_registry()
        self._payload = random.Random(payload_bytes).randbytes(payload_bytes)
        self._prefix = prefix
        self._number = 0
        self._calls: dict[int, tuple[Ballot, asyncio.Future[tuple[bytes, ...] | None]]] = {}
        self._counted: dict[int, asyncio.Future[dict[str, int]]] = {}
        self._sent = {"messages": 0, "bytes": 0, "macs_made": 0, "macs_checked": 0}
        self.links: list[Link] = []

    async def update(self, key: int) -> None:
        """Write the payload, or count up by one."""
        name, args = ("write", (self._payload,)) if self._payload else ("increment", ())
        await self._call(self._operation(key, name, args), is_query=False)

    async def query(self, key: int) -> None:
        """Read the value; if the replicas' answers differ, by an ordered request."""
        operation = self._operation(key, "read" if self._payload else "get", ())
        if await self._call(operation, is_query=True) is None:
            await self._call(operation, is_query=False)

    def _operation(self, key: int, method: str, args: tuple[Any, ...]) -> bytes:
        name = ObjectId(f"{'Register' if self._payload else 'Counter'}/{self._prefix}-{key}")
        arguments = self._registry.encode_arguments((name,), method, args, {})
        return encode(Operation((name,), (Call(os.urandom(16), 0, method, arguments),)))

    async def _call(self, operation: bytes, *, is_query: bool) -> tuple[bytes, ...] | None:
        self._number += 1
        number = self._number
        request = encode(make_request(self._id, number, operation, self._keys, is_query=is_query))
        future: asyncio.Future[tuple[bytes, ...] | None] = asyncio.get_running_loop().create_future()
        self._calls[number] = (Ballot(self._f, is_query=is_query), future)
        receivers = self.links if is_query else self.links[LEADER : LEADER + 1]
        for link in receivers:
            link.send(request)
        self._sent["messages"] += len(receivers)
        self._sent["bytes"] += len(receivers) * len(request)
        self._sent["macs_made"] += len(self._keys)
        timer = asyncio.get_running_loop().call_later(DEADLINE_S, self._give_up, number)
        try:
            return await future
        finally:
            timer.cancel()

    def _give_up(self, number: int) -> None:
        _, future = self._calls.pop(number)
        future.set_exception(Unavailable("the replicas did not answer in time: is the leader up?"))

    def on_frame(self, replica: int, frame: bytes) -> None:
        """A frame from a replica."""
        if frame.startswith(COUNTERS):
            self._counted.pop(replica).set_result(msgspec.json.decode(frame[len(COUNTERS) :], type=dict[str, int]))
            return
        reply = decode_reply(frame)
        ballot, future = self._calls.get(reply.number, (None, None))
        if ballot is None or future is None:
            return
        answers = ballot.count(replica, reply)
        if answers is not None or ballot.has_failed:
            del self._calls[reply.number]
            future.set_result(answers)

    async def all_connected(self) -> None:
        """Wait until every replica has reached every other."""
        async with asyncio.timeout(DEADLINE_S):
            while (await self._all_counters())["links_down"]:  # noqa: ASYNC110 - they are other processes
                await asyncio.sleep(0.05)

    async def counters(self) -> dict[str, int]:
        """Messages, bytes and MACs of this client and of all replicas that are up, added up."""
        counters = await self._all_counters()
        return {name: count for name, count in counters.items() if name != "links_down"}

    async def _all_counters(self) -> dict[str, int]:
        asked = [index for index, link in enumerate(self.links) if link.is_up]
        self._counted = {index: asyncio.get_running_loop().create_future() for index in asked}
        waiting = list(self._counted.values())
        for index in asked:
            self.links[index].send(COUNTERS)
        total = dict(self._sent)
        for future in waiting:
            for name, count in (await asyncio.wait_for(future, DEADLINE_S)).items():
                total[name] = total.get(name, 0) + count
        return total


@asynccontextmanager
async def open_agreement(options: dict[str, Any]) -> Opened:
    """Connect to replicas.

    Options: ``directory`` of the cluster, ``identity``, ``tls``, ``payload_bytes`` and ``prefix`` as for Fivefold.
    """
    file = Path(options["directory"]) / CLUSTER_FILE
    configuration = load_configuration(file)
    identity = load_identity(find_identity(file, options.get("identity")))
    client = AgreementClient(configuration, identity, options["payload_bytes"], options["prefix"])
    transport: Transport = StreamTransport(Credentials(configuration, identity), tls=options["tls"])
    up = asyncio.Semaphore(0)
    for replica in range(configuration.quorums.n):
        link = transport.link(
            replica, on_frame=partial(client.on_frame, replica), on_up=up.release, on_down=lambda: None
        )
        client.links.append(link)
        link.start()
    try:
        for _ in client.links:
            await up.acquire()
        await client.all_connected()
        yield Driven(client, client.counters)
    finally:
        for link in client.links:
            await link.close()


def main() -> None:
    """Run one replica."""
    from fivefold.bench.loop import run

    directory, index, tls, batching = sys.argv[1:]
    run(serve(Path(directory), int(index), tls=tls == "tls", is_batching=batching == "batching"))


if __name__ == "__main__":
    main()
