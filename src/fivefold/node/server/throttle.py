"""Holds clients to the rates that the cluster file gives them (PROTOCOL §8), and other servers to a share of the time.

A peer over its rate waits: what it asks for stays unread, in the kernel's buffers and then in its own. So a flood
costs a server what the rate allows and no more, nobody is answered with an error, and nothing that was asked for is
lost. What waits here is what one read brought, some hundred KiB a connection at most, and one frame that it ended:
that one stays on the peer's budget (transport/wire.py).

A rate counts requests, but what costs a server is their time and their bytes. One query of a large map can take as
long as a thousand of a counter. So a request counts for more if it took long, and each passes alone: only then can the
next one wait for what this one cost.

A client waits in the same way, with a rate or without, while too much that it has left to others is not verified:
the machine says so (protocol/server/unverified.py).

And so waits what reads for backups and audits: everything over a connection that has asked for lists or versions is
background work, and is paced by what the server does for others (:mod:`pace`).
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from fivefold.node.server.pace import CREDIT_NS, OF_READERS, OF_UPKEEP, REST_NS_MAX, UPKEEP_REST_NS_MAX, Gauge, Pace
from fivefold.protocol.actions import Channel
from fivefold.protocol.activity import SHOWN_MAX, Loud
from fivefold.protocol.operations import ClientId
from fivefold.transport import Connection, Peer

BURST_NS: Final = 1_000_000_000
"""Burst: up to one second of unused rate."""

REQUEST_BYTES: Final = 64 * 1024
"""A request counts once more for each time this number of bytes that it brings, has written or gets back."""

REQUEST_NS: Final = 500_000
"""... and for each so much of the processor's time beyond the first: an ordinary one takes a quarter of it.

So a client with a rate of 100 gets a twentieth of the time of each server at most.
"""

LONG_NS: Final = 5_000_000
"""A request that takes the processor for longer than this is charged by the clock on the wall.

While a server works on it nobody else is served. On a machine with other work, 100 ms of the processor last for half a
second, and six servers are busy with one client's requests by turns: others had a sixth of what they do without them.
A short one is charged by the processor's time: it is not its client's doing if the machine runs something else.
"""

SERVER_RATE: Final = 2000
"""Frames a second that another server may send: a thousand object syncs at once (SYNCS_MAX) pass without a wait."""

SERVER_FRAME_NS: Final = 100_000
"""What one of them may take before it counts for more: a lying server gets a fifth of our time."""

WAITING_MAX: Final = 16
"""Requests of a client with a rate that may wait for a load or an object sync at once.

They are worked on together when it comes, and only then is known what they cost: a hundred costly queries of one
missing version would hold the server for seconds before the first one is counted.
"""

PIECE_FRAMES: Final = 8
"""Requests of a backup or an audit that are worked on together: one by one each costs twice as much."""

PAUSE_NS_MIN: Final = 10_000_000
"""A connection that waits is looked at again after this time at the earliest, not for each request."""


class Bucket:
    """What one client may still ask for: a token bucket, kept as the moment up to which its rate is used.

    One number says the same as a level and the moment of its last filling (ITU-T I.371, virtual scheduling).
    """

    __slots__ = ("_interval_ns", "_request_ns", "_used_until_ns")

    def __init__(self, rate: int, request_ns: int = REQUEST_NS) -> None:
        """Full; ``rate`` is in requests a second, from 1 to 10^9, each of so much of the processor's time."""
        self._interval_ns = 1_000_000_000 // rate
        self._request_ns = request_ns
        self._used_until_ns = 0

    def wait_ns(self, now_ns: int) -> int:
        """How long until the next request may pass; 0 if it may now."""
        return max(0, self._used_until_ns + self._interval_ns - BURST_NS - now_ns)

    def spend(self, now_ns: int, size: int, used_ns: int = 0) -> None:
        """Pay for a request that moved ``size`` bytes and took ``used_ns`` of the processor.

        One that counts for more than is left runs up a debt.
        """
        cost_ns = (1 + size // REQUEST_BYTES) * self._interval_ns
        if used_ns > self._request_ns:
            cost_ns += (used_ns - self._request_ns) * self._interval_ns // self._request_ns
        self._used_until_ns = max(self._used_until_ns, now_ns) + cost_ns

    def charge(self, now_ns: int, used_ns: int) -> None:
        """So much time was used for a request that has passed before, when what it waited for had come."""
        self._used_until_ns = max(self._used_until_ns, now_ns) + used_ns * self._interval_ns // self._request_ns


class Reading(NamedTuple):
    """What two clocks said: the processor's time of this thread, and the time on the wall; both in ns."""

    processor_ns: int
    wall_ns: int


class Held(Protocol):
    """What frames come over: a connection or a link."""

    def hold(self) -> None:
        """Read nothing more."""
        ...

    def release(self) -> None:
        """Read on."""
        ...


class Gate:
    """Stands between a peer's connection and the server.

    Attributes:
        peer: whose connection it is.
        bucket: shared by all connections of the peer; None if it has no rate.
        pace: of background work; None if what comes here is none.
    """

    def __init__(self, connection: Held, peer: Peer, throttle: Throttle, pass_on: Callable[[list[bytes]], int]) -> None:
        """Open; ``pass_on`` takes frames that may pass, and says how many bytes that had written."""
        self.peer = peer
        self.bucket = throttle.bucket_of(peer)
        self.pace: Pace | None = None
        self._connection = connection
        self._throttle = throttle
        self._pass_on = pass_on
        self._waiting: deque[bytes] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._is_holding = False

    def arrive(self, frames: list[bytes]) -> None:
        """Frames have come: they pass, or wait for their turn; while any waits the connection is not read."""
        is_free = self.bucket is None and self.pace is None
        if is_free and not self._waiting and not self._throttle.is_held(self.peer):
            self._pass_on(frames)
            return
        self._waiting.extend(frames)
        self.let_pass()
        self._throttle.note_waiting(self.peer, min(len(frames), len(self._waiting)))  # the last to come pass last

    def let_pass(self) -> None:
        """Pass on what may pass by now, all if nothing holds the peer back, and come back for the rest."""
        self._stop_timer()
        throttle = self._throttle
        is_free = self.bucket is None and self.pace is None
        now_ns = throttle.clock()
        if is_free and self._waiting and not throttle.is_held(self.peer):
            passing = list(self._waiting)
            self._waiting.clear()
            self._pass_on(passing)
        while self._waiting and not is_free and not self._wait_ns(now_ns) and throttle.has_room(self.peer):
            self._let_some_pass(now_ns)
            now_ns = throttle.clock()
        if self._waiting:
            self._is_holding = True
            self._connection.hold()
            pause_ns = max(self._wait_ns(now_ns), PAUSE_NS_MIN)
            self._timer = throttle.call_later(pause_ns / 1e9, self.let_pass)
        elif self._is_holding:
            self._is_holding = False
            self._connection.release()

    def _wait_ns(self, now_ns: int) -> int:
        """How long its rate, or the pace of background work, makes the next frame wait."""
        waits = (0 if each is None else each.wait_ns(now_ns) for each in (self.bucket, self.pace))
        return max(waits)

    def _let_some_pass(self, now_ns: int) -> None:
        """One frame where there is a rate; a piece of background work otherwise."""
        count = min(len(self._waiting), 1 if self.bucket is not None else PIECE_FRAMES)
        frames = [self._waiting.popleft() for _ in range(count)]
        began = self._throttle.read()
        written = self._pass_on(frames)
        if self.bucket is not None:
            self.bucket.spend(now_ns, len(frames[0]) + written, self._throttle.taken_since(began))
        if self.pace is not None:
            self._throttle.rest(self.pace, began)

    def close(self) -> None:
        """Forget what waits."""
        self._waiting.clear()
        self._stop_timer()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Throttle:
    """The gates of a server.

    Attributes:
        clock: in ns; gives the time that rates are measured by.
        processor_clock: in ns; gives the time that the calling thread has used of a processor.
        waited: frames that had to wait so far.
        waited_of: how many of each client; only clients with a rate wait.
        upkeep: the pace of what this server does unasked, and for other servers.
        readers: the pace of clients that read for backups and audits.
    """

    def __init__(
        self,
        clock: Callable[[], int],
        rates: Mapping[ClientId, int],
        *,
        processor_clock: Callable[[], int] = time.thread_time_ns,
        waiting_of: Callable[[ClientId], int] = lambda client: 0,
        must_wait: Callable[[int, ClientId], bool] = lambda now_ns, client: False,
        gauge: Gauge | None = None,
    ) -> None:
        """No connection yet; a client without a rate is limited by what it leaves to others alone.

        ``waiting_of`` says how many requests of a client wait in the machine, ``must_wait`` whether the machine takes
        none, because too much that it has left is not verified. ``gauge`` says what the server does besides.
        """
        self._must_wait = must_wait
        gauge = gauge or Gauge()
        self.upkeep = Pace(gauge, OF_UPKEEP, UPKEEP_REST_NS_MAX, credit_ns=0)
        self.readers = Pace(gauge, OF_READERS, REST_NS_MAX, credit_ns=CREDIT_NS)
        self.clock, self.processor_clock = clock, processor_clock
        self._waiting_of = waiting_of
        self.waited = 0
        self._resumed = Reading(0, 0)
        self.waited_of: Counter[ClientId] = Counter()
        self._servers: dict[int, Bucket] = {}
        self._buckets = {client: Bucket(rate) for client, rate in rates.items()}
        self._rates = dict(rates)
        self._gates: dict[Channel, Gate] = {}

    def bucket_of(self, peer: Peer) -> Bucket | None:
        """The peer's bucket; None for a client that has no rate."""
        if isinstance(peer, int):
            return self._servers.setdefault(peer, Bucket(SERVER_RATE, SERVER_FRAME_NS))
        return self._buckets.get(peer)

    def has_room(self, peer: Peer) -> bool:
        """Whether one more request of the peer may pass, however many wait already."""
        return isinstance(peer, int) or (self._waiting_of(peer) < WAITING_MAX and not self.is_held(peer))

    def is_held(self, peer: Peer) -> bool:
        """Whether a client has to wait until what it has left is verified."""
        return not isinstance(peer, int) and self._must_wait(self.clock(), peer)

    def note_waiting(self, peer: Peer, count: int) -> None:
        """So many more frames of the peer have to wait."""
        self.waited += count
        if count and not isinstance(peer, int):
            self.waited_of[peer] += count

    def told(self, clients: Sequence[Loud]) -> tuple[Loud, ...]:
        """These clients with their rates and how often they had to wait; and those that had to wait most."""
        waiting = {client.hex(): count for client, count in self.waited_of.items()}
        rates = {client.hex(): rate for client, rate in self._rates.items()}
        others = sorted(set(waiting) - {each.client for each in clients}, key=lambda each: -waiting[each])
        return tuple(
            Loud(each.client, each.requests, waiting.get(each.client, 0), rates.get(each.client, 0))
            for each in (*clients, *(Loud(name, 0) for name in others[:SHOWN_MAX]))
        )

    def call_later(self, seconds: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        """Of the running event loop."""
        return asyncio.get_running_loop().call_later(seconds, callback)

    def opened(self, connection: Connection, pass_on: Callable[[list[bytes]], int]) -> None:
        """A peer has one more connection."""
        self._gates[connection.number] = Gate(connection, connection.peer, self, pass_on)

    def arrive(self, number: Channel, frames: list[bytes]) -> None:
        """Frames have come over a connection."""
        self._gates[number].arrive(frames)

    def reads_all(self, number: Channel) -> None:
        """A connection serves a backup, or an audit: what comes over it from now on is background work."""
        gate = self._gates.get(number)
        if gate is not None:
            gate.pace = self.readers

    def rest(self, pace: Pace, began: Reading) -> int:
        """A piece of background work that began then is over: returns until when there is to be no other one."""
        now_ns = self.clock()
        pace.spend(now_ns, self.read().processor_ns - began.processor_ns)
        return now_ns + pace.wait_ns(now_ns)

    def sent(self, number: Channel, size: int) -> None:
        """A long answer leaves over a connection: it counts like a long request."""
        gate = self._gates.get(number)
        if gate is not None and gate.bucket is not None:
            gate.bucket.spend(self.clock(), size - REQUEST_BYTES)

    def read(self) -> Reading:
        """Both clocks, without what requests that had waited took: that counts for their clients.

        Not for the peer whose frame they had waited for.
        """
        resumed = self._resumed
        return Reading(self.processor_clock() - resumed.processor_ns, self.clock() - resumed.wall_ns)

    def taken_since(self, began: Reading) -> int:
        """What something took that began then: the processor's time, or if that is long the time on the wall."""
        now = self.read()
        used_ns, passed_ns = now.processor_ns - began.processor_ns, now.wall_ns - began.wall_ns
        return max(used_ns, passed_ns) if used_ns > LONG_NS else used_ns

    def resumed(self, clients: Sequence[ClientId], began: Reading) -> None:
        """Requests of these clients that had waited were worked on, together, from then on."""
        taken_ns, now = self.taken_since(began), self.read()
        earlier = self._resumed
        self._resumed = Reading(
            earlier.processor_ns + now.processor_ns - began.processor_ns, earlier.wall_ns + now.wall_ns - began.wall_ns
        )
        for client in clients:
            bucket = self._buckets.get(client)
            if bucket is not None:
                bucket.charge(self.clock(), taken_ns // len(clients))

    def closed(self, number: Channel) -> None:
        """A connection is gone, and what waits with it."""
        self._gates.pop(number).close()

    def replace(self, rates: Mapping[ClientId, int]) -> None:
        """Other rates from now on; what was used of one that stays is not forgotten."""
        kept = {client: bucket for client, bucket in self._buckets.items() if self._rates[client] == rates.get(client)}
        self._buckets = {client: kept.get(client) or Bucket(rate) for client, rate in rates.items()}
        self._rates = dict(rates)
        self.waited_of = Counter({client: count for client, count in self.waited_of.items() if client in rates})
        for gate in list(self._gates.values()):
            gate.bucket = self.bucket_of(gate.peer)
            gate.let_pass()

    def close(self) -> None:
        """The server stops."""
        for gate in self._gates.values():
            gate.close()
