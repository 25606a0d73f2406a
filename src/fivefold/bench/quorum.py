"""Fivefold itself as the system under test, through its public API; and what its messages are made of."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from fivefold.api import Cluster, Remote
from fivefold.bench.links import Delayed, tapped
from fivefold.bench.system import Driven, Opened
from fivefold.cluster import Configuration, Credentials, find_identity, load_configuration, load_identity
from fivefold.errors import PeerViolation
from fivefold.node import ClientNode, CodeTable
from fivefold.objects import Counter, Register, standard_registry
from fivefold.protocol.authenticators import MAC_BYTES
from fivefold.protocol.client import Session
from fivefold.protocol.messages import REPLY, REQUEST, split
from fivefold.transport import HEADER_BYTES, Link, StreamTransport, Transport

CONNECT_S: Final = 20.0

_COUNTED: Final = ("messages", "bytes", "bytes_sent", "bytes_received", "macs_checked", "macs_made")

HELPS: Final = "FIVEFOLD_HELPING"
"""Set in the environment of a benchmark whose clients and servers are to help (docs/concepts/helping.md)."""


class QuorumOperations:
    """Updates and queries of counters, or of registers if there is a payload."""

    def __init__(self, cluster: Cluster, payload_bytes: int, prefix: str) -> None:
        """Objects are named ``PREFIX-NUMBER``."""
        self._cluster = cluster
        self._payload = random.Random(payload_bytes).randbytes(payload_bytes)
        self._type: type[Counter | Register] = Register if payload_bytes else Counter
        self._prefix = prefix
        self._remotes: dict[int, Remote[Any]] = {}

    def _remote(self, key: int) -> Remote[Any]:
        remote = self._remotes.get(key)
        if remote is None:
            remote = self._remotes[key] = self._cluster.object(self._type, f"{self._prefix}-{key}")
        return remote

    async def update(self, key: int) -> None:
        """Write the payload, or count up by one."""
        if self._payload:
            await self._remote(key).write(self._payload)
        else:
            await self._remote(key).increment()

    async def query(self, key: int) -> None:
        """Read the value."""
        await (self._remote(key).read() if self._payload else self._remote(key).get())


@asynccontextmanager
async def open_quorum(options: dict[str, Any]) -> Opened:
    """Connect to a cluster.

    Options: ``cluster`` file, ``identity`` (a client's name) or none, ``tls``, ``payload_bytes``, ``prefix`` of the
    objects' keys, ``deadline_s`` of a call, ``one_way_s``: how far away the client is, and ``is_counted``: whether to
    look into every frame, which costs time.
    """
    file = Path(options["cluster"])
    configuration = load_configuration(file)
    transport: Transport = _transport(configuration, file, options)
    if one_way_s := options.get("one_way_s"):
        transport = Delayed(transport, one_way_s)
    counting = Counting(transport) if options.get("is_counted") else None
    session = Session(configuration.quorums, random.SystemRandom(), is_helping=os.environ.get(HELPS) != "0")
    codes = CodeTable(configuration.quorums)
    node = ClientNode(session, counting or transport, codes)
    await node.start(CONNECT_S, needs_quorum=configuration.quorums.t > 0)
    try:
        cluster = Cluster(node, standard_registry(), code_of=codes.code_of, deadline_s=options.get("deadline_s", 10.0))
        operations = QuorumOperations(cluster, options["payload_bytes"], options["prefix"])
        yield Driven(operations, counting.counters) if counting else Driven(operations)
    finally:
        await node.close()


def _transport(configuration: Configuration, file: Path, options: dict[str, Any]) -> StreamTransport:
    identity = load_identity(find_identity(file, options.get("identity")))
    return StreamTransport(Credentials(configuration, identity), tls=options["tls"])


class Counting:
    """A transport that counts what passes through its links.

    Only MACs that travel count: a server checks each one in a request, and made each one in a reply. (For a
    query the reply repeats the MACs made when the history was last changed.)
    """

    def __init__(self, inner: Transport) -> None:
        """Wrap a client's transport."""
        self._inner = inner
        self._counters = dict.fromkeys(_COUNTED, 0)
        self.listen = inner.listen

    async def counters(self) -> dict[str, int]:
        """What has passed so far; bytes are those of frames with their length, without TLS and TCP."""
        return dict(self._counters)

    def link(
        self,
        server: int,
        *,
        on_frames: Callable[[list[bytes]], None],
        on_up: Callable[[], None],
        on_down: Callable[[], None],
    ) -> Link:
        """A link of the inner transport that counts."""

        def receive(frames: list[bytes]) -> None:
            for frame in frames:
                self._count(frame, REPLY, "received")
            on_frames(frames)

        inner = self._inner.link(server, on_frames=receive, on_up=on_up, on_down=on_down)

        def send(frame: bytes) -> bool:
            self._count(frame, REQUEST, "sent")
            return inner.send(frame)

        return tapped(inner, send)

    def _count(self, frame: bytes, kind: int, direction: str) -> None:
        self._counters["messages"] += 1
        self._counters["bytes"] += HEADER_BYTES + len(frame)
        self._counters[f"bytes_{direction}"] += HEADER_BYTES + len(frame)
        try:
            tail = split(frame, kind)[2]
        except PeerViolation:
            return  # a status message
        self._counters["macs_checked" if kind == REQUEST else "macs_made"] += len(tail) // MAC_BYTES
