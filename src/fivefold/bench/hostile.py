"""Clients that mean harm: they flood servers, keep barriers coming, or leave updates to others (PROTOCOL §8, §11).

They have identities and rights like any other client. A rate holds such a client back, and what it leaves does.
"""

from __future__ import annotations

import asyncio
import secrets
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

from fivefold.bench.system import Driven, Opened
from fivefold.cluster import Credentials, find_identity, load_configuration, load_identity
from fivefold.errors import PeerViolation
from fivefold.objects import Counter, Registry
from fivefold.protocol.authenticators import columns
from fivefold.protocol.history import empty_histories, make_histories
from fivefold.protocol.messages import REPLY, decode_vote, encode, request_frame, split
from fivefold.protocol.operations import Call, ObjectId, Operation
from fivefold.protocol.quorums import QuorumSystem
from fivefold.protocol.records import INITIAL_HISTORY, ObjectHistories, Request, Vote
from fivefold.transport import Link, StreamTransport

ANSWER_S: Final = 0.2
"""A client without an answer by then asks again."""

VILLAINIES: Final = ("flood", "barriers", "partial barriers", "leave", "leave shared")

COUNTER: Final = Registry(Counter).shelf
"""What names the code of the counters."""

NO_ARGUMENTS: Final = b"\x80"
"""An empty map."""


class Villain:
    """Sends every server what it has to examine step by step, about the objects that the benchmark's clients use.

    A *flood* is made of updates conditioned on nothing. A *barrier* is conditioned on one server's history, which shows
    the latest candidate and proves nothing about it, so everybody who works on the object has to repair it first; what
    the servers answer shows that barrier, and is what the next one is conditioned on. A *partial barrier* reaches r - 1
    servers alone.

    Who *leaves* sends each update to r - 1 servers: of new objects of its own, or of those that it *shares* with the
    others. These it has to read first, since an update shows what a quorum holds.
    """

    def __init__(self, quorums: QuorumSystem, villainy: str, prefix: str) -> None:
        """Objects are counters named ``PREFIX-NUMBER``; ``links`` are to be filled in."""
        assert villainy in VILLAINIES
        self.links: list[Link] = []
        self._quorums = quorums
        self._villainy = villainy
        self._prefix = prefix
        self._numbers = 0
        self._waiting: dict[int, tuple[ObjectId, asyncio.Future[None], set[int]]] = {}
        self._latest: dict[ObjectId, tuple[ObjectHistories, bytes]] = {}
        self._reads: set[int] = set()
        self._read: dict[ObjectId, dict[int, tuple[bytes, bytes]]] = {}

    async def update(self, key: int) -> None:
        """Send one request to all servers, or to r - 1 of them, and wait for an answer."""
        name = ObjectId(f"Counter/{self._prefix}-{key}")
        if self._villainy == "leave":
            name = ObjectId(f"Counter/{self._prefix}-left-{secrets.token_hex(8)}")
        if self._villainy == "leave shared":
            await self._send(name, empty_histories(name, self._quorums.n), b"", b"", is_whole=True)
        histories, authenticator = self._shown(name)
        operation = b"" if "barriers" in self._villainy else self._increment(name)
        is_whole = self._villainy in ("flood", "barriers")
        await self._send(name, histories, authenticator, operation, is_whole=is_whole)

    def _shown(self, name: ObjectId) -> tuple[ObjectHistories, bytes]:
        """What a request is conditioned on."""
        nothing = empty_histories(name, self._quorums.n), b""
        if self._villainy != "leave shared":
            return self._latest.get(name, nothing)
        read = self._read.pop(name, {})
        shown = [read.get(server, (INITIAL_HISTORY, b"")) for server in range(self._quorums.n)]
        return make_histories(name, [history for history, _ in shown]), b"".join([macs for _, macs in shown])

    @staticmethod
    def _increment(name: ObjectId) -> bytes:
        call = Call(secrets.token_bytes(16), 0, "increment", NO_ARGUMENTS)
        return encode(Operation((name,), (call,), COUNTER.code_of((name,), "increment")))

    async def _send(
        self, name: ObjectId, histories: ObjectHistories, authenticator: bytes, operation: bytes, *, is_whole: bool
    ) -> None:
        self._numbers += 1
        number, answered = self._numbers, asyncio.get_running_loop().create_future()
        if self._villainy == "leave shared" and not operation:
            self._reads.add(number)
        self._waiting[number] = name, answered, set()
        body = encode(Request(name, (histories,), operation))
        frames = list(zip(self.links, columns(authenticator, self._quorums.n), strict=True))
        for link, proof in frames if is_whole else secrets.SystemRandom().sample(frames, self._quorums.r - 1):
            link.send(request_frame(number, body, proof))
        with suppress(TimeoutError):
            async with asyncio.timeout(ANSWER_S):
                await answered
        self._waiting.pop(number, None)
        self._reads.discard(number)

    async def query(self, key: int) -> None:
        """The same: nobody reads the answer."""
        await self.update(key)

    def hear(self, server: int, frames: list[bytes]) -> None:
        """Answers of a server."""
        for frame in frames:
            with suppress(PeerViolation):
                number, vote, authenticator = split(frame, REPLY)
                if number in self._waiting:
                    self._hear_answer(number, server, decode_vote(vote), authenticator)

    def _hear_answer(self, number: int, server: int, vote: Vote, authenticator: bytes) -> None:
        name, answered, heard = self._waiting[number]
        heard.add(server)
        is_reading = number in self._reads
        if is_reading and len(vote.histories) == 1:
            self._read.setdefault(name, {})[server] = vote.histories[0], authenticator
        elif "barriers" in self._villainy:
            self._learn(server, name, vote, authenticator)
        if len(heard) >= (self._quorums.q if is_reading else 1):
            self._reads.discard(number)
            del self._waiting[number]
            if not answered.done():  # it is when its time is over
                answered.set_result(None)

    def _learn(self, server: int, name: ObjectId, vote: Vote, authenticator: bytes) -> None:
        """What one server holds is what the next barrier on the object is conditioned on."""
        if vote.histories and vote.histories[0]:
            shown = [INITIAL_HISTORY] * self._quorums.n
            shown[server] = vote.histories[0]
            self._latest[name] = make_histories(name, shown), authenticator


@asynccontextmanager
async def open_hostile(options: dict[str, Any]) -> Opened:
    """Connect to a cluster: ``cluster`` file, ``identity``, ``tls``, ``prefix``, and ``villainy``, which it is."""
    file = Path(options["cluster"])
    configuration = load_configuration(file)
    identity = load_identity(find_identity(file, options["identity"]))
    transport = StreamTransport(Credentials(configuration, identity), tls=options["tls"])
    villain = Villain(configuration.quorums, options["villainy"], options["prefix"])
    for server in range(configuration.quorums.n):
        hear = partial(villain.hear, server)
        villain.links.append(transport.link(server, on_frames=hear, on_up=_ignore, on_down=_ignore))
    try:
        for link in villain.links:
            link.start()
        yield Driven(villain)
    finally:
        await asyncio.gather(*(link.close() for link in villain.links))


def _ignore() -> None:
    pass
