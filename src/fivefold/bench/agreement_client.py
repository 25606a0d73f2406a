"""The client of the baseline by agreement, as a system under test."""

from __future__ import annotations

import asyncio
import os
import random
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec

from fivefold.bench.agreement import LEADER
from fivefold.bench.agreement_messages import AgreementReply, client_key, decode_reply, mac_state, make_request
from fivefold.bench.agreement_node import COUNTERS
from fivefold.bench.system import Driven, Opened
from fivefold.cluster import (
    CLUSTER_FILE,
    Configuration,
    Credentials,
    Identity,
    client_id_of,
    find_identity,
    load_configuration,
    load_identity,
)
from fivefold.errors import Unavailable
from fivefold.objects import standard_registry
from fivefold.protocol.messages import encode
from fivefold.protocol.operations import Call, ObjectId, Operation
from fivefold.transport import HEADER_BYTES, Link, StreamTransport, Transport

DEADLINE_S: Final = 10.0


class Ballot:
    """The replies to one request, as its client counts them.

    An update is done at 2f + 1 equal replies, or f + 1 that are not tentative; a query at 2f + 1 equal replies.
    """

    __slots__ = ("_f", "_is_query", "_replies")

    def __init__(self, f: int, *, is_query: bool) -> None:
        """No replies yet."""
        self._f = f
        self._is_query = is_query
        self._replies: dict[int, AgreementReply] = {}

    def count(self, replica: int, reply: AgreementReply) -> tuple[bytes, ...] | None:
        """Take a reply; the answers if the request is done with it."""
        self._replies[replica] = reply
        equal = [each for each in self._replies.values() if each.answers == reply.answers]
        final = sum(not each.is_tentative for each in equal)
        is_done = len(equal) > 2 * self._f or (not self._is_query and final > self._f)
        return reply.answers if is_done else None

    @property
    def has_failed(self) -> bool:
        """Whether all replicas have answered a query differently: it must be ordered like an update."""
        return self._is_query and len(self._replies) == 3 * self._f + 1


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

    def on_frames(self, replica: int, frames: list[bytes]) -> None:
        """Frames from a replica."""
        for frame in frames:
            self._on_frame(replica, frame)

    def _on_frame(self, replica: int, frame: bytes) -> None:
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
        """Messages, bytes and MACs of this client and of all replicas that are up, added up.

        Bytes are those of frames with their length, as they are for Fivefold.
        """
        counters = await self._all_counters()
        counters["bytes"] += HEADER_BYTES * counters["messages"]
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
            replica, on_frames=partial(client.on_frames, replica), on_up=up.release, on_down=lambda: None
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
