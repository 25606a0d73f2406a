"""A watched rack whose clients keep their connections, so that servers can push to them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from random import Random
from typing import Any

from msgspec.structs import replace

from fivefold.protocol.actions import Ask, Channel
from fivefold.protocol.announcements import Announcement, Help, split_tail
from fivefold.protocol.authenticators import columns
from fivefold.protocol.client.outcomes import Outcome
from fivefold.protocol.client.session import Session
from fivefold.protocol.messages import (
    ANNOUNCE,
    REPLY,
    WITHDRAW,
    decode_vote,
    encode,
    request_frame,
    request_head,
    split,
)
from fivefold.protocol.operations import Call, Carried, Carrying, ClientId, ObjectId, Operation
from fivefold.protocol.records import Vote
from fivefold.protocol.server import Server
from fivefold.simulation.rack import Letter, Rack, ViewOf
from tests.protocol_rig import SECOND, A, WatchedRack


class Heard:
    """One frame that came back: its number, its vote, and what stands beside that."""

    def __init__(self, frame: bytes, n: int) -> None:
        self.frame = frame
        self.number, vote, tail = split(frame, REPLY)
        self.vote: Vote = decode_vote(vote)
        self.help: Help = split_tail(tail, self.vote, n, {})[1]

    @property
    def listed(self) -> list[bytes]:
        """The first id of each announcement that is listed."""
        return [each.calls[0].id for each in self.help.listed]


class _Replies(dict[tuple[int, int], bytes]):
    """Takes what goes to a line out of what a rack knows of replies."""

    def __init__(self, rack: HelpingRack) -> None:
        self._rack = rack

    def __setitem__(self, key: tuple[int, int], frame: bytes) -> None:
        server, channel = key
        line = self._rack.lines.get(channel)
        if line is None:
            super().__setitem__(key, frame)
        else:
            line.inbox.append((server, frame))


class HelpingRack(WatchedRack):
    """A watched rack with lines."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.lines: dict[int, Line] = {}
        super().__init__(*arguments, **options)
        self._replies = _Replies(self)

    def _boot(self, index: int) -> Server:
        server = super()._boot(index)
        server.pool.is_open = True
        return server

    def hang_up(self, line: Line, server: int) -> None:
        """One connection of a line ends."""
        self.servers[server].closed(line.channels[server])


class Line:
    """One client's connections to all servers."""

    def __init__(self, rack: HelpingRack, client: ClientId) -> None:
        self.rack, self.client, self.number = rack, client, 0
        base = 1_000_000 + 1000 * len(rack.lines)
        self.channels = [Channel(base + server) for server in range(rack.quorums.n)]
        for channel in self.channels:
            rack.lines[channel] = self
        self.inbox: deque[tuple[int, bytes]] = deque()

    def give(self, server: int, frame: bytes) -> None:
        """Deliver a frame."""
        rack = self.rack
        machine = rack.servers[server]
        rack._perform(server, machine.receive_from_client(rack.now_ns, self.client, self.channels[server], frame))

    def take(self) -> dict[int, list[Heard]]:
        """What has come back since, by server."""
        found: dict[int, list[Heard]] = {}
        while self.inbox:
            server, frame = self.inbox.popleft()
            found.setdefault(server, []).append(Heard(frame, self.rack.quorums.n))
        return found

    def _tell(self, kind: int, operation: Operation, servers: Iterable[int]) -> dict[int, Heard]:
        self.number += 1
        self.take()
        for server in servers:
            self.give(server, request_head(self.number, encode(operation), kind))
        return {server: heard[0] for server, heard in self.take().items()}

    def announce(self, operation: Operation, servers: Iterable[int]) -> dict[int, Heard]:
        """Announce calls; what each server answers."""
        return self._tell(ANNOUNCE, operation, servers)

    def withdraw(self, operation: Operation, servers: Iterable[int]) -> dict[int, Heard]:
        """Withdraw calls; what each server answers."""
        return self._tell(WITHDRAW, operation, servers)

    def send(
        self, view: ViewOf, servers: Iterable[int], operation: Operation | None = None, target: ObjectId | None = None
    ) -> dict[int, Heard]:
        """Send a request; what each server answers first."""
        self.number += 1
        self.take()
        letter = Letter(self.rack, self.client, view, operation=operation, target=target)
        proofs = columns(b"".join(letter.proofs), self.rack.quorums.n)
        for server in servers:
            self.give(server, request_frame(self.number, encode(letter.request), proofs[server]))
        return {server: heard[0] for server, heard in self.take().items()}


def carrying(*own: Operation, carried: Iterable[tuple[ClientId, Operation]] = (), attempt: int = 0) -> Carrying:
    """An operation on A of these calls, which carries those of others."""
    calls = tuple(call for each in own for call in each.calls)
    others = tuple(Carried(owner, call) for owner, each in carried for call in each.calls)
    return Carrying((A,), calls, b"", attempt, others)


def with_since(operation: Operation, since: int) -> Operation:
    """The same calls, made at another logical time."""
    calls = tuple(Call(call.id, since, call.method, call.arguments) for call in operation.calls)
    return replace(operation, calls=calls)


def announcement(owner: ClientId, operation: Operation) -> Announcement:
    """As servers list it."""
    return Announcement(owner, operation.code, operation.calls)


class HelpedDesk:
    """A production client that takes part in helping; frames are delivered one after the other."""

    def __init__(self, rack: HelpingRack, client: ClientId, *, seed: int = 1, is_helping: bool = True) -> None:
        self.rack, self.line = rack, Line(rack, client)
        self.session = Session(rack.quorums, Random(seed), is_helping=is_helping, own=client)
        self.pending: deque[Ask] = deque()
        self.finished: dict[int, Outcome] = {}
        self.sent: list[tuple[int, bytes]] = []
        self.cuts: Callable[[int, bytes], bool] = lambda server, frame: True
        self.lies: dict[int, Callable[[bytes], bytes | None]] = {}
        self.wake_at_ns: int | None = None

    @property
    def kinds(self) -> list[int]:
        """The kinds of the frames that were sent."""
        return [frame[0] for _, frame in self.sent]

    def start(self, operation: Operation, *, timeout_s: float = 10, is_fixed: bool = False) -> int:
        """Begin a call."""
        ticket, actions = self.session.call(
            self.rack.now_ns,
            operation,
            is_query=operation.method == "get",
            deadline_ns=self.rack.now_ns + int(timeout_s * SECOND),
            is_fixed=is_fixed,
        )
        self._do(actions)
        return ticket

    def run(self, operation: Operation, **options: Any) -> Outcome:
        """Run one call to its end."""
        return self.finish(self.start(operation, **options))

    def finish(self, ticket: int) -> Outcome:
        """Go on until a call has ended."""
        for _ in range(100_000):
            if ticket in self.finished:
                return self.finished.pop(ticket)
            self.step()
        raise AssertionError("the call never ended")

    def hear(self) -> bool:
        """Take in what has come; whether anything had."""
        has_heard = False
        while self.line.inbox:
            has_heard = True
            server, frame = self.line.inbox.popleft()
            told = self.lies[server](frame) if server in self.lies else frame
            if told is not None:
                self._do(self.session.receive(self.rack.now_ns, server, told))
        return has_heard

    def deliver(self) -> bool:
        """Deliver everything that waits to be, and what follows; whether anything was."""
        has_sent = False
        while self.pending or self.hear():
            while self.pending:
                has_sent = True
                self._send(self.pending.popleft())
        return has_sent

    def step(self) -> None:
        """Deliver one frame, or let time pass."""
        if self.hear():
            return
        if self.pending:
            self._send(self.pending.popleft())
            return
        assert self.wake_at_ns is not None, "a call without a timer never ends"
        self.rack.now_ns = max(self.rack.now_ns, self.wake_at_ns)
        self.wake()

    def wake(self) -> None:
        """Time has come."""
        self._do(self.session.wake(self.rack.now_ns))

    def _send(self, ask: Ask) -> None:
        self.sent.append((ask.server, ask.frame))
        if self.cuts(ask.server, ask.frame):
            self.line.give(ask.server, ask.frame)

    def _do(self, actions: Any) -> None:
        for fault in actions.faults:
            raise fault
        self.pending.extend(actions.send)
        self.finished.update({each.ticket: each.outcome for each in actions.finished})
        self.wake_at_ns = actions.wake_at_ns


def pooled(rack: Rack, name: ObjectId = A) -> list[list[bytes]]:
    """For each server the first ids of the announcements in its pool."""
    return [[each.calls[0].id for each in server.pool.objects.get(name, {}).values()] for server in rack.servers]
