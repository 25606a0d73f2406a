"""The fuzz targets: whatever bytes they are given, nothing but the documented errors may come out.

:data:`TARGETS` are functions from bytes to None, driven by ``tests/properties/test_fuzz.py`` (hypothesis, in every run)
and by ``tests/fuzz/run_atheris.py`` (guided by coverage, for as long as one likes). Each takes the bytes as a script:
what to decode or deliver next, and how to alter it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from copy import deepcopy
from typing import Final

from fivefold.cluster import ClientEntry, ServerEntry, format_configuration, make_configuration, parse_configuration
from fivefold.errors import ConfigurationError, PeerViolation
from fivefold.objects.standard import standard_registry
from fivefold.protocol.actions import Actions, Ask, Channel, Reply
from fivefold.protocol.authenticators import columns
from fivefold.protocol.history import decode_history, history_digest, make_histories
from fivefold.protocol.messages import (
    REPLY,
    REQUEST,
    SyncReply,
    SyncRequest,
    decode_operation,
    decode_request,
    decode_sync,
    decode_vote,
    encode,
    request_frame,
    split,
    sync_frame,
    sync_reply_frame,
)
from fivefold.protocol.operations import ClientId, ObjectId, digest
from fivefold.protocol.quorums import QuorumSystem
from fivefold.protocol.records import ObjectHistories, Request
from fivefold.protocol.server.machine import Server
from fivefold.protocol.server.versions import decode_version, encode_version
from fivefold.simulation.rack import Everyone, Letter, Rack, client_id, one_call, rack_keys
from tests.fuzz import files, requests, sessions
from tests.fuzz.certificates import certificates
from tests.fuzz.script import Script

N: Final = 6
REGISTRY: Final = standard_registry()
LIAR: Final = 1
"""The one server (b = 1) whose keys the fuzzer has."""
A, B = ObjectId("Counter/a"), ObjectId("Account/b")
X, Y = client_id("X"), client_id("Y")
SECOND: Final = 1_000_000_000


# --- a past to start from ---------------------------------------------------------------------------------------


class _Recorder(Rack):
    """A rack that keeps every frame."""

    def __init__(self) -> None:
        super().__init__(REGISTRY, n=N, t=1, b=1)
        self.frames: list[tuple[ClientId, bytes]] = []
        self.votes: list[bytes] = []
        self.asks: list[bytes] = []
        self.letters: list[Request] = []

    def deliver(self, server: int, client: ClientId, frame: bytes, sent_ns: int = 0) -> bytes | None:
        self.frames.append((client, frame))
        reply = super().deliver(server, client, frame, sent_ns)
        if reply is not None:
            self.votes.append(split(reply, REPLY)[1])
        return reply

    def _ask(self, asker: int, ask: Ask) -> None:
        self.asks.append(ask.frame)
        super()._ask(asker, ask)

    def send(
        self, client: ClientId, names: tuple[ObjectId, ...], method: str, shown: range, to: tuple[int, ...], **arguments
    ) -> None:
        """One call by hand, or a repair if ``method`` is empty."""
        view = {name: {server: self.history(server, name) for server in shown} for name in names}
        operation = None
        if method:
            encoded = REGISTRY.encode_arguments(names, method, (), arguments)
            operation = one_call(names, method, encoded, len(self.frames).to_bytes(16, "big"))
        letter = Letter(self, client, view, target=names[0] if operation is None else None, operation=operation)
        self.letters.append(letter.request)
        letter.to(to)


@functools.cache
def past() -> _Recorder:
    """Six servers after updates, a query, contention over two objects and repairs; server 5 missed most of it."""
    rack = _Recorder()
    most, everyone = (0, 1, 2, 3, 4), range(N)
    rack.send(X, (A,), "increment", range(0), most, by=3)
    rack.send(X, (A,), "increment", everyone, most, by=4)
    rack.send(Y, (B,), "deposit", range(0), most, amount=9)
    rack.send(Y, (A,), "get", everyone, most)
    rack.send(X, (A,), "increment", everyone, (0, 1, 2), by=1)
    rack.send(Y, (A,), "increment", range(3, 6), (3, 4, 5), by=2)
    rack.send(Y, (A,), "", everyone, most)
    rack.send(Y, (A,), "", everyone, most)
    rack.send(X, (B,), "withdraw", everyone, (0, 1, 2), amount=1)
    assert rack.asks
    assert len(rack.disks[0].histories) == 2
    return rack


# --- decoding ---------------------------------------------------------------------------------------------------


@functools.cache
def _samples() -> tuple[tuple[Callable[[bytes], object], tuple[bytes, ...]], ...]:
    """Every decoder of bytes from the network, with examples of what it accepts."""
    rack = past()
    bodies = tuple(encode(request) for request in rack.letters)
    operations = tuple(request.operation for request in rack.letters if request.operation)
    histories = tuple(disk.histories[A] for disk in rack.disks if A in disk.histories)
    held = [version for disk in rack.disks for name in disk.rows for version in disk.versions(name).values()]
    versions = tuple(encode_version(version) for version in held)
    replies = (
        sync_reply_frame(SyncReply(3, digest(versions[0]), versions[0])),
        sync_reply_frame(SyncReply(3, b"", b"")),
    )
    whole = next(request for request in rack.letters if request.operation)

    def operation(data: bytes) -> object:
        return decode_operation(Request(whole.target, whole.sets, data))

    return (
        (lambda data: split(data, REQUEST), tuple(frame for _, frame in rack.frames)),
        (lambda data: split(data, REPLY), tuple(b"\x02" + frame[1:] for _, frame in rack.frames)),
        (lambda data: decode_request(data, N), bodies),
        (operation, operations),
        (decode_vote, tuple(rack.votes)),
        (decode_sync, (*rack.asks, *replies)),
        (lambda data: decode_history(A, data), histories),
        (decode_version, versions),
    )


def decoding(data: bytes) -> None:
    """Decoders of messages and records: a value, or PeerViolation."""
    script = Script(data)
    decoders = _samples()
    decode, examples = decoders[script.number() % len(decoders)]
    choice = script.number()
    given = script.rest() if choice == 255 else script.mutated(examples[choice % len(examples)])
    try:
        decode(given)
    except PeerViolation:
        pass


# --- the cluster file -------------------------------------------------------------------------------------------


@functools.cache
def cluster_text() -> str:
    """A cluster file of four servers and one client."""
    *servers, client = certificates(5)
    return format_configuration(
        make_configuration(
            cluster_id=bytes(16),
            quorums=QuorumSystem(4, 1, 0),
            servers=tuple(
                ServerEntry(index, "10.0.0.1", 7000 + index, certificate, bytes([index]) * 32)
                for index, certificate in enumerate(servers)
            ),
            clients=(ClientEntry("ann", ("Counter/*:@query", "Map"), client),),
        )
    )


TEXTS: Final = (
    '"',
    "'",
    "[" * 2000,
    "{" * 900,
    "9" * 5000,
    "1e999",
    "2026-02-30",
    "\\ud800",
    "é",
    "\x00",
    "\n",
    "=",
    "*" * 99,
)


def cluster_file(data: bytes) -> None:
    """The parser of the cluster file: a configuration that comes back as it was written, or ConfigurationError."""
    script = Script(data)
    if script.number() == 255:
        text = script.rest().decode(errors="replace")
    else:
        text = cluster_text()
        for _ in range(1 + script.number() % 3):
            at, end = (script.number(2) % (len(text) + 1) for _ in range(2))
            kind = script.number() % 4
            if kind == 0:
                text = text[:at] + TEXTS[script.number() % len(TEXTS)] + text[at + script.number() % 8 :]
            elif kind == 1:
                text = text[:at] + script.take(4).decode(errors="replace") + text[at + script.number() % 8 :]
            elif kind == 2:
                text = text[: min(at, end)] + text[max(at, end) :]
            else:
                text = text[:at] + text[at : at + script.number(2) % 900] + text[at:]
    try:
        configuration = parse_configuration(text)
    except ConfigurationError:
        return
    written = format_configuration(configuration)
    assert format_configuration(parse_configuration(written)) == written


# --- the receive step -------------------------------------------------------------------------------------------


class _Target:
    """One server with the past's disk, fed with mutated frames; the driver's part is played here."""

    def __init__(self, index: int, script: Script) -> None:
        self.script, self.rack = script, past()
        self.disk = deepcopy(self.rack.disks[index])
        self.index, self.now_ns = index, 0
        self.machine = Server(self.rack.quorums, rack_keys(index, N), REGISTRY, Everyone())
        self.channels = 0
        self.staged = 0
        self.asks: list[Ask] = []
        self.replies: list[Reply] = []

    def perform(self, actions: Actions) -> None:
        """Carry out what the machine wants; the disk is synced when the script says so."""
        for store in actions.store:
            self.staged = store.sequence
            for write in store.writes:
                self.disk.apply(write)
        for message in actions.send:
            if isinstance(message, Ask):
                self.asks.append(message)
            else:
                self.replies.append(message)
        for name in actions.load:
            object_id = ObjectId(name)
            self.perform(self.machine.loaded(self.now_ns, object_id, self.disk.record(name)))

    def client_frame(self) -> tuple[ClientId, bytes]:
        """A frame of the past: altered as a whole, in its body or operation, or in a history that a liar signed."""
        script = self.script
        kind = script.number() % 4
        if kind == 0:
            client, frame = self.rack.frames[script.number() % len(self.rack.frames)]
            return client, script.mutated(frame)
        request = self.rack.letters[script.number() % len(self.rack.letters)]
        if kind == 1:
            request = Request(request.target, request.sets, script.mutated(request.operation))
        elif kind == 2:
            sets = tuple(self.lied(each) for each in request.sets)
            request = Request(request.target, sets, request.operation)
        body = encode(request)
        proofs = [
            rack_keys(server, N).make(history_digest(each.object_id, each.of(server)))
            for each in request.sets
            for server, index in enumerate(each.holders)
            if index
        ]
        proof = columns(b"".join(proofs), N)[self.index]
        if kind == 3:
            body, proof = script.mutated(body), script.mutated(proof)
        return (X, Y)[script.number() % 2], request_frame(1 + script.number() % 3, body, proof)

    def lied(self, histories: ObjectHistories) -> ObjectHistories:
        """The set, with anything for the history of the liar, whose MACs are right."""
        shown = [histories.of(server) for server in range(N)]
        shown[LIAR] = self.script.mutated(self.script.take(4) if self.script.number() % 8 == 7 else shown[0])
        return make_histories(histories.object_id, shown)

    def sync_question(self) -> bytes:
        """A question between servers, altered or put together."""
        script = self.script
        if script.number() % 2:
            return script.mutated(self.rack.asks[script.number() % len(self.rack.asks)])
        stored = sorted(self.rack.disks[0].versions(A))
        timestamp = script.mutated(stored[script.number() % len(stored)])
        name = ObjectId(("Counter/a", "Account/b", "Nothing/x", "")[script.number() % 4])
        return sync_frame(SyncRequest(script.number(8), name, timestamp, bool(script.number() % 2)))

    def sync_answer(self) -> tuple[int, bytes]:
        """The answer to a question of the machine's: the truth from honest servers, anything from the liar."""
        ask = self.asks.pop(0)
        request = decode_sync(ask.frame)
        assert isinstance(request, SyncRequest)
        held = self.rack.disks[ask.server].versions(request.object_id).get(request.timestamp)
        data = b"" if held is None else encode_version(held)
        if ask.server == LIAR:
            data = self.script.mutated(data)
        reply = SyncReply(request.number, digest(data) if data else b"", data if request.is_whole else b"")
        frame = sync_reply_frame(reply)
        return ask.server, self.script.mutated(frame) if ask.server == LIAR else frame

    def step(self) -> None:
        """One input of the machine."""
        kind = self.script.number() % 8
        self.channels += kind != 0  # now and then a second frame on one connection
        channel = Channel(self.channels)
        self.now_ns += self.script.number() * SECOND // 50
        if kind < 4:
            client, frame = self.client_frame()
            self.perform(self.machine.receive_from_client(self.now_ns, client, channel, frame))
        elif kind == 4:
            self.perform(self.machine.receive_from_server(self.now_ns, LIAR, channel, self.sync_question()))
        elif kind == 5 and self.asks:
            server, frame = self.sync_answer()
            self.perform(self.machine.receive_from_server(self.now_ns, server, channel, frame))
        elif kind == 6:
            self.perform(self.machine.durable(self.now_ns, self.staged))
        else:
            self.perform(self.machine.wake(self.now_ns))
            self.machine.closed(channel)

    def is_alive(self) -> bool:
        """Whether the server still answers a client that behaves."""
        self.now_ns += 100 * SECOND
        self.perform(self.machine.wake(self.now_ns))
        self.perform(self.machine.durable(self.now_ns, self.staged))
        self.channels += 1
        client, frame = next(each for each in self.rack.frames if each[0] == X)
        self.perform(self.machine.receive_from_client(self.now_ns, client, Channel(self.channels), frame))
        self.perform(self.machine.durable(self.now_ns, self.staged))
        return any(reply.channel == self.channels for reply in self.replies)


def receiving(data: bytes) -> None:
    """A server: never raises, whatever clients and one lying server send, and goes on answering."""
    script = Script(data)
    target = _Target((0, 5)[script.number() % 2], script)
    steps = 0
    while not script.is_over and steps < 40:
        target.step()
        steps += 1
    assert target.is_alive()


TARGETS: Final[dict[str, Callable[[bytes], None]]] = {
    "decoding": decoding,
    "cluster-file": cluster_file,
    "receiving": receiving,
    "requests": requests.requests,
    "sessions": sessions.sessions,
    "files": files.files,
}
