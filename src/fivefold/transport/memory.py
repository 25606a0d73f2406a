"""The same contract inside one process, without sockets: for ``fivefold.testing`` and for tests.

Every frame is handed over on a later turn of the event loop, in order. There is no clock: a link whose server does not
listen, or that was cut, connects as soon as that changes.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from itertools import count

from fivefold.errors import ConfigurationError
from fivefold.protocol.actions import Channel
from fivefold.protocol.limits import FRAME_BYTES_MAX
from fivefold.transport import limits
from fivefold.transport.contract import Connection, Peer


class _Pipe:
    """One direction of one connection."""

    __slots__ = ("_is_stopped", "_loop", "_waiting", "_waiting_bytes", "is_open", "on_frames")

    def __init__(self, on_frames: Callable[[list[bytes]], None]) -> None:
        self.on_frames = on_frames
        self.is_open = True
        self._loop = asyncio.get_running_loop()
        self._is_stopped = False
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0

    def send(self, frame: bytes) -> bool:
        assert 0 < len(frame) <= FRAME_BYTES_MAX
        if not self.is_open or self._waiting_bytes + len(frame) > limits.PEER_BYTES_MAX:
            return False
        self._waiting.append(frame)
        self._waiting_bytes += len(frame)
        self._loop.call_soon(self._deliver)
        return True

    def stop(self, is_stopped: bool) -> None:
        self._is_stopped = is_stopped
        if not is_stopped:
            for _ in self._waiting:
                self._loop.call_soon(self._deliver)

    def _deliver(self) -> None:
        if self.is_open and not self._is_stopped and self._waiting:
            frame = self._waiting.popleft()
            self._waiting_bytes -= len(frame)
            self.on_frames([frame])


class MemoryConnection:
    """The listener's end of a connection."""

    __slots__ = ("_inbound", "_link", "_outbound", "number", "peer")

    def __init__(self, number: Channel, peer: Peer, link: MemoryLink, outbound: _Pipe) -> None:
        self.number = number
        self.peer = peer
        self._link = link
        self._outbound = outbound
        self._inbound: _Pipe | None = None

    def attach(self, inbound: _Pipe) -> None:
        """Name the pipe that brings the peer's frames."""
        self._inbound = inbound

    @property
    def is_open(self) -> bool:
        """Whether frames are accepted."""
        return self._outbound.is_open

    def send(self, frame: bytes) -> bool:
        """Queue a frame; a peer that lets its answers pile up is disconnected."""
        is_sent = self._outbound.send(frame)
        if not is_sent and self._outbound.is_open:
            self._outbound.is_open = False
            self.close()
        return is_sent

    def hold(self) -> None:
        """Take no further frames from the peer until :meth:`release`."""
        if self._inbound is not None:
            self._inbound.stop(True)

    def release(self) -> None:
        """Take them again."""
        if self._inbound is not None:
            self._inbound.stop(False)

    def close(self) -> None:
        """End the connection once the loop has turned."""
        asyncio.get_running_loop().call_soon(self._link.disconnect, self)


class MemoryListener:
    """A server's side, until it is closed.

    Attributes:
        counters: stays empty: nobody unknown can connect.
    """

    def __init__(
        self,
        network: MemoryNetwork,
        server: int,
        *,
        on_open: Callable[[Connection], None],
        on_frames: Callable[[Connection, list[bytes]], None],
        on_close: Callable[[Connection], None],
    ) -> None:
        self.counters: Counter[str] = Counter()
        self.on_open = on_open
        self.on_frames = on_frames
        self.on_close = on_close
        self.server = server
        self.numbers = count(1)
        self.links: dict[Channel, MemoryLink] = {}
        self._network = network

    @property
    def connections(self) -> int:
        """Connections open now."""
        return len(self.links)

    async def close(self) -> None:
        """Accept no more and drop every connection."""
        self._network.listeners.pop(self.server, None)
        for link in list(self.links.values()):
            link.disconnect()
        await asyncio.sleep(0)


class MemoryLink:
    """A link inside the process.

    Attributes:
        server: index of the server.
        dropped: frames that could not be queued.
        failure: why the link is down; None while it is up or was never tried.
    """

    def __init__(
        self,
        network: MemoryNetwork,
        peer: Peer,
        server: int,
        *,
        on_frames: Callable[[list[bytes]], None],
        on_up: Callable[[], None],
        on_down: Callable[[], None],
    ) -> None:
        self.peer = peer
        self.server = server
        self.dropped = 0
        self.failure: str | None = None
        self.is_refused = False
        self._network = network
        self._on_frames = on_frames
        self._on_up = on_up
        self._on_down = on_down
        self._listener: MemoryListener | None = None
        self._connection: MemoryConnection | None = None
        self._outbound: _Pipe | None = None
        self._inbound: _Pipe | None = None

    @property
    def is_up(self) -> bool:
        """Whether frames are accepted now."""
        return self._connection is not None

    def start(self) -> None:
        """Connect as soon as the server listens."""
        self._network.links.append(self)
        asyncio.get_running_loop().call_soon(self.maybe_connect)

    def send(self, frame: bytes) -> bool:
        """Queue a frame; False if it was dropped."""
        if self._outbound is not None and len(frame) <= FRAME_BYTES_MAX and self._outbound.send(frame):
            return True
        self.dropped += 1
        return False

    def hold(self) -> None:
        """Take no further frames from the server until :meth:`release`."""
        if self._inbound is not None:
            self._inbound.stop(True)

    def release(self) -> None:
        """Take them again."""
        if self._inbound is not None:
            self._inbound.stop(False)

    async def close(self) -> None:
        """Deliver what is queued if nothing holds it up, then end the connection; no callback is called afterwards."""
        self._on_up = self._on_down = _ignore_event
        if self._inbound is not None:
            self._inbound.on_frames = _ignore_frames
        await asyncio.sleep(0)
        if self in self._network.links:
            self._network.links.remove(self)
        self.disconnect()

    # --- what the network does ---------------------------------------------------------------------------------
    def maybe_connect(self) -> None:
        """Connect if the server listens and the way is not cut."""
        listener = self._network.listeners.get(self.server)
        if self.is_up or self not in self._network.links:
            return
        if listener is None or self._network.is_cut(self.peer, self.server):
            self.failure = "it cannot be reached"
            return
        self._inbound = _Pipe(self._on_frames)
        connection = MemoryConnection(Channel(next(listener.numbers)), self.peer, self, self._inbound)
        self._outbound = _Pipe(lambda frames: listener.on_frames(connection, frames))
        connection.attach(self._outbound)
        self._listener, self._connection, self.failure = listener, connection, None
        listener.links[connection.number] = self
        listener.on_open(connection)
        self._on_up()

    def disconnect(self, only: MemoryConnection | None = None) -> None:
        """End the connection, if there is one (and it is ``only``), and tell both ends."""
        connection, listener = self._connection, self._listener
        if connection is None or listener is None or only not in (None, connection):
            return
        for pipe in (self._inbound, self._outbound):
            if pipe is not None:
                pipe.is_open = False
        self._connection = self._listener = self._inbound = self._outbound = None
        self.failure = "the connection was closed"
        del listener.links[connection.number]
        listener.on_close(connection)
        self._on_down()
        asyncio.get_running_loop().call_soon(self.maybe_connect)

    def stop(self, is_stopped: bool) -> None:
        """Keep frames of both directions waiting, or deliver them."""
        for pipe in (self._inbound, self._outbound):
            if pipe is not None:
                pipe.stop(is_stopped)


class MemoryNetwork:
    """Joins the transports of one process, and breaks them for tests.

    Attributes:
        listeners: who listens, by server index.
        links: every started link.
    """

    def __init__(self) -> None:
        self.listeners: dict[int, MemoryListener] = {}
        self.links: list[MemoryLink] = []
        self._cuts: set[tuple[Peer, int]] = set()

    def transport(self, peer: Peer) -> MemoryTransport:
        """The transport of one member."""
        return MemoryTransport(self, peer)

    def is_cut(self, peer: Peer, server: int) -> bool:
        """Whether the way from a member to a server is cut."""
        return (peer, server) in self._cuts

    def cut(self, peer: Peer, server: int) -> None:
        """Drop the member's connections to the server, and refuse new ones until :meth:`heal`."""
        self._cuts.add((peer, server))
        for link in self._between(peer, server):
            link.disconnect()

    def heal(self, peer: Peer, server: int) -> None:
        """Undo :meth:`cut`."""
        self._cuts.discard((peer, server))
        for link in self._between(peer, server):
            link.maybe_connect()

    def pause(self, peer: Peer, server: int) -> None:
        """Let frames between the two wait, in both directions, on the connections they have now."""
        for link in self._between(peer, server):
            link.stop(True)

    def resume(self, peer: Peer, server: int) -> None:
        """Deliver the frames that waited, and further ones."""
        for link in self._between(peer, server):
            link.stop(False)

    def _between(self, peer: Peer, server: int) -> list[MemoryLink]:
        return [link for link in self.links if (link.peer, link.server) == (peer, server)]


class MemoryTransport:
    """One member's way to the others of its process."""

    def __init__(self, network: MemoryNetwork, peer: Peer) -> None:
        self._network = network
        self._peer = peer

    async def listen(
        self,
        *,
        on_open: Callable[[Connection], None],
        on_frames: Callable[[Connection, list[bytes]], None],
        on_close: Callable[[Connection], None],
    ) -> MemoryListener:
        """Accept connections under the own index; see :class:`fivefold.transport.Transport`."""
        if not isinstance(self._peer, int):
            raise ConfigurationError("only a server can listen: use the transport of one of the cluster's servers")
        if self._peer in self._network.listeners:
            raise ConfigurationError(f"server {self._peer} listens already: close its other listener first")
        listener = MemoryListener(self._network, self._peer, on_open=on_open, on_frames=on_frames, on_close=on_close)
        self._network.listeners[self._peer] = listener
        for link in self._network.links:
            asyncio.get_running_loop().call_soon(link.maybe_connect)
        return listener

    def link(
        self,
        server: int,
        *,
        on_frames: Callable[[list[bytes]], None],
        on_up: Callable[[], None],
        on_down: Callable[[], None],
    ) -> MemoryLink:
        """A link to a server, not yet started; see :class:`fivefold.transport.Transport`."""
        return MemoryLink(self._network, self._peer, server, on_frames=on_frames, on_up=on_up, on_down=on_down)


def _ignore_event() -> None:
    """A change of a link that is closed."""


def _ignore_frames(frames: list[bytes]) -> None:
    """Frames that arrive after the end."""
