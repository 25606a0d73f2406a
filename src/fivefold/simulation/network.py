"""The simulated network: connections between machines, and what happens to frames on the way.

Machines are numbered: servers 0…n-1, then clients. A connection has a channel number that is never used again. A frame
is lost if the connection is closed before it arrives, by loss, or by a partition, which can be one-way.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from fivefold.protocol.actions import Channel
from fivefold.simulation.events import Delivered, Late, Lost, Reset, Sent
from fivefold.simulation.plan import Weather
from fivefold.simulation.world import World

Deliver = Callable[["Connection", bytes], None]


class Connection:
    """One connection; ``caller`` opened it.

    Attributes:
        channel: its number, unique in the run.
        caller: machine that opened it.
        callee: machine it was opened to.
        is_open: whether frames still arrive.
    """

    __slots__ = ("_arrivals", "callee", "caller", "channel", "is_open", "on_call", "on_reply")

    def __init__(self, channel: int, caller: int, callee: int, on_call: Deliver, on_reply: Deliver) -> None:
        """``on_call`` hears frames to the callee, ``on_reply`` those back to the caller."""
        self.channel = Channel(channel)
        self.caller, self.callee = caller, callee
        self.on_call, self.on_reply = on_call, on_reply
        self.is_open = True
        self._arrivals = [0, 0]

    def arrival_after(self, direction: int, time_ns: int) -> int:
        """When a frame that would arrive at ``time_ns`` does, behind those already on their way."""
        time_ns = max(time_ns, self._arrivals[direction] + 1)
        self._arrivals[direction] = time_ns
        return time_ns


class Network:
    """Carries frames.

    Attributes:
        blocked: ordered pairs of machines between which nothing arrives.
        weather: what happens to frames at random.
        far_ns: how much longer frames of a machine take, each way.
        on_reset: hears of connections that break.
    """

    def __init__(self, world: World, weather: Weather) -> None:
        """No connection yet."""
        self.world, self.weather = world, weather
        self.blocked: set[tuple[int, int]] = set()
        self.far_ns: dict[int, int] = {}
        self.on_reset: Callable[[Connection], None] = lambda connection: None
        self._channels = 0
        self._frames = 0
        self._streams: dict[tuple[int, int], Random] = {}

    def connect(self, caller: int, callee: int, on_call: Deliver, on_reply: Deliver) -> Connection:
        """Open a connection."""
        self._channels += 1
        return Connection(self._channels, caller, callee, on_call, on_reply)

    def call(self, connection: Connection, frame: bytes) -> None:
        """Send a frame to the callee."""
        self._send(connection, 0, connection.caller, connection.callee, frame)

    def reply(self, connection: Connection, frame: bytes) -> None:
        """Send a frame back to the caller."""
        self._send(connection, 1, connection.callee, connection.caller, frame)

    def _send(self, connection: Connection, direction: int, sender: int, receiver: int, data: bytes) -> None:
        weather, tell = self.weather, self.world.tell
        random = self._stream(sender, receiver)
        self._frames = frame = self._frames + 1
        tell(Sent(frame, sender, receiver, connection.channel, data))
        if (sender, receiver) in self.blocked:
            tell(Lost(frame, "partitioned"))
            return
        if weather.loss and random.random() < weather.loss:
            tell(Lost(frame, "lost"))
            return
        self._schedule(connection, direction, random, frame, data)
        if weather.repetition and random.random() < weather.repetition:
            self._frames += 1
            tell(Sent(self._frames, sender, receiver, connection.channel, b"", frame))
            self._schedule(connection, direction, random, self._frames, data)

    def _schedule(self, connection: Connection, direction: int, random: Random, frame: int, data: bytes) -> None:
        weather = self.weather
        share = random.random()
        # The fourth power: most frames are quick, a few take the whole spread.
        time_ns = self.world.now_ns + weather.delay_ns + int(weather.delay_spread_ns * share * share * share * share)
        if self.far_ns:
            time_ns += self.far_ns.get(connection.caller, 0)
        if weather.reordering and random.random() < weather.reordering:
            self.world.tell(Late(frame))
        else:
            time_ns = connection.arrival_after(direction, time_ns)

        def arrive() -> None:
            if not connection.is_open:
                self.world.tell(Lost(frame, "closed"))
                return
            self.world.tell(Delivered(frame))
            (connection.on_reply if direction else connection.on_call)(connection, data)
            if not direction and weather.resets and random.random() < weather.resets:
                self.world.tell(Reset(frame))
                self.on_reset(connection)

        self.world.at(time_ns, arrive)

    def _stream(self, sender: int, receiver: int) -> Random:
        stream = self._streams.get((sender, receiver))
        if stream is None:
            stream = self._streams[sender, receiver] = self.world.stream(f"network/{sender}/{receiver}")
        return stream
