"""Holds clients to the rates that the cluster file gives them (PROTOCOL §8).

A client over its rate waits: what it asks for stays unread, in the kernel's buffers and then in its own. So a flood
costs a server what the rate allows and no more, nobody is answered with an error, and nothing that was asked for is
lost. What waits here is what one read brought, some hundred KiB a connection at most.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from typing import Final

from fivefold.protocol.actions import Channel
from fivefold.protocol.operations import ClientId
from fivefold.transport import Connection

BURST_NS: Final = 1_000_000_000
"""What a client has not asked for in the last second it may ask for at once."""

REQUEST_BYTES: Final = 64 * 1024
"""A request counts once more for each so many bytes: a few huge ones are no way around the rate."""

PAUSE_NS_MIN: Final = 10_000_000
"""A connection that waits is looked at again after this time at the earliest, not for each request."""


class Bucket:
    """What one client may still ask for: a token bucket, kept as the moment up to which its rate is used.

    One number says the same as a level and the moment of its last filling (ITU-T I.371, virtual scheduling).
    """

    __slots__ = ("_interval_ns", "_used_until_ns")

    def __init__(self, rate: int) -> None:
        """Full; ``rate`` is in requests a second, from 1 to 10^9."""
        self._interval_ns = 1_000_000_000 // rate
        self._used_until_ns = 0

    def wait_ns(self, now_ns: int) -> int:
        """How long until the next request may pass; 0 if it may now."""
        return max(0, self._used_until_ns + self._interval_ns - BURST_NS - now_ns)

    def spend(self, now_ns: int, size: int) -> None:
        """A request of so many bytes passes; one that counts for more than is left runs up a debt."""
        cost = 1 + size // REQUEST_BYTES
        self._used_until_ns = max(self._used_until_ns, now_ns) + cost * self._interval_ns


class Gate:
    """Stands between a client's connection and the server.

    Attributes:
        client: whose connection it is.
        bucket: shared by all connections of the client; None if it has no rate.
    """

    def __init__(
        self, connection: Connection, client: ClientId, throttle: Throttle, pass_on: Callable[[list[bytes]], None]
    ) -> None:
        """Open; ``pass_on`` takes the frames that may pass."""
        self.client = client
        self.bucket = throttle.bucket_of(client)
        self._connection = connection
        self._throttle = throttle
        self._pass_on = pass_on
        self._waiting: deque[bytes] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._is_holding = False

    def arrive(self, frames: list[bytes]) -> None:
        """Frames have come: they pass, or wait for their turn; while any waits the connection is not read."""
        if self.bucket is None:
            self._pass_on(frames)
            return
        self._waiting.extend(frames)
        self.let_pass()
        self._throttle.waited += min(len(frames), len(self._waiting))  # the last to come are the last to pass

    def let_pass(self) -> None:
        """Pass on what may pass by now, all if there is no rate any more, and come back for the rest."""
        self._stop_timer()
        bucket, now_ns = self.bucket, self._throttle.clock()
        passing = []
        while self._waiting and (bucket is None or not bucket.wait_ns(now_ns)):
            frame = self._waiting.popleft()
            if bucket is not None:
                bucket.spend(now_ns, len(frame))
            passing.append(frame)
        if passing:
            self._pass_on(passing)
        if bucket is not None and self._waiting:
            self._is_holding = True
            self._connection.hold()
            pause_ns = max(bucket.wait_ns(now_ns), PAUSE_NS_MIN)
            self._timer = self._throttle.call_later(pause_ns / 1e9, self.let_pass)
        elif self._is_holding:
            self._is_holding = False
            self._connection.release()

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
        waited: frames that had to wait so far.
    """

    def __init__(self, clock: Callable[[], int], rates: Mapping[ClientId, int]) -> None:
        """No connection yet; a client without a rate is not limited."""
        self.clock = clock
        self.waited = 0
        self._buckets = {client: Bucket(rate) for client, rate in rates.items()}
        self._rates = dict(rates)
        self._gates: dict[Channel, Gate] = {}

    def bucket_of(self, client: ClientId) -> Bucket | None:
        """The client's bucket; None if it has no rate."""
        return self._buckets.get(client)

    def call_later(self, seconds: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        """Of the running event loop."""
        return asyncio.get_running_loop().call_later(seconds, callback)

    def opened(self, connection: Connection, client: ClientId, pass_on: Callable[[list[bytes]], None]) -> None:
        """A client has one more connection."""
        self._gates[connection.number] = Gate(connection, client, self, pass_on)

    def arrive(self, number: Channel, frames: list[bytes]) -> None:
        """Frames have come over a connection."""
        self._gates[number].arrive(frames)

    def closed(self, number: Channel) -> None:
        """A connection is gone, and what waits with it."""
        self._gates.pop(number).close()

    def replace(self, rates: Mapping[ClientId, int]) -> None:
        """Other rates from now on; what was used of one that stays is not forgotten."""
        kept = {client: bucket for client, bucket in self._buckets.items() if self._rates[client] == rates.get(client)}
        self._buckets = {client: kept.get(client) or Bucket(rate) for client, rate in rates.items()}
        self._rates = dict(rates)
        for gate in list(self._gates.values()):
            gate.bucket = self.bucket_of(gate.client)
            gate.let_pass()

    def close(self) -> None:
        """The server stops."""
        for gate in self._gates.values():
            gate.close()
