"""The server's side: accept, identify, bound, hand frames on."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import socket
from collections import Counter
from collections.abc import Callable
from functools import partial
from itertools import count

from fivefold.errors import ConfigurationError, PeerViolation
from fivefold.protocol.actions import Channel
from fivefold.transport import limits
from fivefold.transport.budget import Budget
from fivefold.transport.contract import Connection, Credentials, Peer
from fivefold.transport.hello import (
    OTHER_VERSION,
    TOO_MANY_CONNECTIONS,
    UNKNOWN_PEER,
    decode_hello,
    encode_admission,
    encode_hello,
)
from fivefold.transport.pace import Pace
from fivefold.transport.wire import Wire


class _Account:
    """What one identity uses of a listener."""

    __slots__ = ("budget", "connections")

    def __init__(self, whole: Budget) -> None:
        self.budget = Budget(limits.PEER_BYTES_MAX, whole)
        self.connections = 0


class StreamConnection:
    """An accepted connection; its owner hears of it once the peer is identified."""

    __slots__ = ("_listener", "_peer", "number", "settled", "wire")

    def __init__(self, listener: StreamListener, loop: asyncio.AbstractEventLoop, number: Channel) -> None:
        self.number = number
        self.settled: asyncio.Future[None] = loop.create_future()
        """Done once the peer is identified or gone."""
        self.wire = Wire(
            loop,
            on_frames=self._hear_hello,
            on_made=self._made,
            on_lost=self._lost,
            pushes_back=True,
            budget=Budget(0),  # a stranger gets none
        )
        self._listener = listener
        self._peer: Peer | None = None

    @property
    def peer(self) -> Peer:
        """Who is at the other end."""
        assert self._peer is not None
        return self._peer

    @property
    def is_open(self) -> bool:
        """Whether frames are accepted."""
        return self.wire.is_open

    def send(self, frame: bytes) -> bool:
        """Queue a frame; a peer that lets its answers pile up is disconnected."""
        return self.wire.send(frame) or self._refused()

    def hold(self) -> None:
        """Read nothing more until :meth:`release`."""
        self.wire.hold(True)

    def release(self) -> None:
        """Read on."""
        self.wire.hold(False)

    def close(self) -> None:
        """Send what is queued, then end the connection."""
        self.wire.close()

    def _refused(self) -> bool:
        if self.wire.is_open:
            self._listener.counters["output_overflow"] += 1
            self.wire.abort()
        return False

    # --- identification ----------------------------------------------------------------------------------------
    def _made(self) -> None:
        if not self._listener.uses_tls:
            return  # a hello frame comes
        if self.wire.is_our_version():
            self._identify(self.wire.certificate() or b"")
        else:
            self._refuse(OTHER_VERSION)

    def _hear_hello(self, frames: list[bytes]) -> None:
        is_our_version, certificate = decode_hello(frames[0])
        # Answered in any case, so that a caller of another version can say what is wrong.
        self.wire.send(encode_hello(self._listener.credentials.certificate))
        if is_our_version:
            self._identify(certificate)
        else:
            self._refuse(OTHER_VERSION)
        self.wire.pass_on(frames[1:])

    def _identify(self, certificate: bytes) -> None:
        listener = self._listener
        peer = listener.credentials.identify(certificate)
        if peer is None:
            self._refuse(UNKNOWN_PEER)
        elif not listener.admit(peer):
            self._refuse(TOO_MANY_CONNECTIONS, listener.connections_per_peer_max)
        else:
            self._peer = peer
            self.wire.send(encode_admission())
            self.wire.trust(partial(listener.on_frames, self), listener.opened(self))
            listener.announce(self)
            self._settle()

    def _refuse(self, reason: str, limit: int | None = None) -> None:
        self._listener.counters[reason] += 1
        self.wire.send(encode_admission(reason, limit))
        self.wire.close()

    def _lost(self, failure: Exception | None) -> None:
        if isinstance(failure, PeerViolation):
            self._listener.counters[failure.reason] += 1
        self._settle()
        if self._peer is not None:
            self._listener.closed(self, self._peer)

    def _settle(self) -> None:
        if not self.settled.done():
            self.settled.set_result(None)


class StreamListener:
    """Accepts connections on one socket until it is closed.

    Attributes:
        credentials: looked at for each new connection: replace it when the cluster file has changed.
        uses_tls: whether peers prove who they are.
        connections_per_peer_max: connections that one identity may have at a time.
        counters: refused connections by reason.
    """

    def __init__(
        self,
        listening: socket.socket,
        credentials: Credentials,
        *,
        uses_tls: bool,
        connections_per_peer_max: int,
        on_open: Callable[[Connection], None],
        on_frames: Callable[[Connection, list[bytes]], None],
        on_close: Callable[[Connection], None],
    ) -> None:
        self.credentials = credentials
        self.connections_per_peer_max = connections_per_peer_max
        self.uses_tls = uses_tls
        self.counters: Counter[str] = Counter()
        self.on_frames = on_frames
        self._on_open = on_open
        self._on_close = on_close
        self._socket = listening
        self._loop = asyncio.get_running_loop()
        self._numbers = count(1)
        self._open: dict[Channel, StreamConnection] = {}
        self._is_empty = asyncio.Event()
        self._is_empty.set()
        self._budget = Budget(limits.LISTENER_BYTES_MAX)
        self._accounts: dict[Peer, _Account] = {}
        self._handshakes: dict[asyncio.Task[None], str] = {}
        self._handshakes_by_host: dict[str, dict[asyncio.Task[None], None]] = {}  # the oldest first
        self._pace = Pace(self._loop)
        self._acceptor: asyncio.Task[None] | None = None
        self._sweeper: asyncio.Task[None] | None = None

    @property
    def address(self) -> tuple[str, int]:
        """Host and port it listens on."""
        host, port = self._socket.getsockname()[:2]
        return host, port

    @property
    def connections(self) -> int:
        """Connections open now whose peers are identified."""
        return len(self._open)

    def start(self) -> None:
        """Begin to accept."""
        self._acceptor = self._loop.create_task(self._accept_all())
        self._sweeper = self._loop.create_task(self._sweep())

    async def move(self, listening: socket.socket) -> None:
        """Accept on another socket from now on; connections that there are go on."""
        assert self._acceptor is not None, "only what listens can move"
        self._acceptor.cancel()
        await asyncio.gather(self._acceptor, return_exceptions=True)
        self._socket.close()
        self._socket = listening
        self._acceptor = self._loop.create_task(self._accept_all())

    async def close(self) -> None:
        """Accept no more and drop every connection."""
        assert self._acceptor is not None
        assert self._sweeper is not None
        tasks = [self._acceptor, self._sweeper, *self._handshakes]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._socket.close()
        for connection in list(self._open.values()):
            connection.wire.abort()
        await self._is_empty.wait()

    # --- what a connection says --------------------------------------------------------------------------------
    def admit(self, peer: Peer) -> bool:
        """Whether the peer may have one more connection."""
        account = self._accounts.get(peer)
        return account is None or account.connections < self.connections_per_peer_max

    def opened(self, connection: StreamConnection) -> Budget:
        """The peer of a connection is identified: the budget that all its connections share."""
        self._open[connection.number] = connection
        self._is_empty.clear()
        account = self._accounts.get(connection.peer)
        if account is None:
            account = self._accounts[connection.peer] = _Account(self._budget)
        account.connections += 1
        return account.budget

    def announce(self, connection: StreamConnection) -> None:
        """A connection is ready for use."""
        self._on_open(connection)

    def closed(self, connection: StreamConnection, peer: Peer) -> None:
        """A connection that was open has ended."""
        del self._open[connection.number]
        account = self._accounts[peer]
        account.connections -= 1
        if not account.connections:  # its leases have ended: nothing is owed
            del self._accounts[peer]
        self._on_close(connection)
        if not self._open:
            self._is_empty.set()

    # --- accepting -----------------------------------------------------------------------------------------------
    async def _accept_all(self) -> None:
        while True:
            try:
                accepted, address = await self._loop.sock_accept(self._socket)
            except OSError:  # out of descriptors, or the caller was gone again
                self.counters["accept_failed"] += 1
                await asyncio.sleep(limits.ACCEPT_PAUSE_S)
                continue
            self._begin_handshake(accepted, _host_of(address[0]))

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(limits.SWEEP_S)
            for connection in list(self._open.values()):
                connection.wire.sweep(limits.SWEEP_S)

    def _begin_handshake(self, accepted: socket.socket, host: str) -> None:
        # asyncio's own servers tell us of a connection only after its handshake: then nothing would bound how many
        # strangers can keep one going.
        if len(self._handshakes_by_host.get(host, ())) >= limits.HANDSHAKES_PER_HOST_MAX:
            self._drop_oldest(host)
        elif len(self._handshakes) >= limits.HANDSHAKES_MAX:
            self._drop_oldest(max(self._handshakes_by_host, key=lambda each: len(self._handshakes_by_host[each])))
        task = self._loop.create_task(self._shake_hands(accepted, host))
        self._handshakes[task] = host
        self._handshakes_by_host.setdefault(host, {})[task] = None
        task.add_done_callback(self._end_handshake)

    def _drop_oldest(self, host: str) -> None:
        self.counters["too_many_handshakes"] += 1
        task = next(iter(self._handshakes_by_host[host]))
        self._end_handshake(task)
        task.cancel()

    def _end_handshake(self, task: asyncio.Task[None]) -> None:
        host = self._handshakes.pop(task, None)
        if host is None:
            return  # dropped before
        tasks = self._handshakes_by_host[host]
        del tasks[task]
        if not tasks:
            del self._handshakes_by_host[host]

    async def _shake_hands(self, accepted: socket.socket, host: str) -> None:
        connection = StreamConnection(self, self._loop, Channel(next(self._numbers)))
        try:
            async with asyncio.timeout(limits.HANDSHAKE_TIMEOUT_S):
                if self.uses_tls:
                    await self._pace.turn(host)
                await self._loop.connect_accepted_socket(
                    lambda: connection.wire,
                    accepted,
                    ssl=self.credentials.listener_context() if self.uses_tls else None,
                    ssl_shutdown_timeout=limits.CLOSE_TIMEOUT_S if self.uses_tls else None,
                )
                await connection.settled
        except TimeoutError:
            self.counters["handshake_timeout"] += 1
            connection.wire.abort()
            accepted.close()
        except OSError:  # of TLS, too: a stranger, another TLS version, or the peer is gone
            self.counters["handshake_failed"] += 1
        except asyncio.CancelledError:
            connection.wire.abort()
            accepted.close()
            raise


def _host_of(address: str) -> str:
    """Whose connections are counted together: an IPv6 host has 2^64 addresses of its own."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if found.version == 6 and found.ipv4_mapped is None:
        return str(ipaddress.ip_network((found, 64), strict=False))
    return address


async def listening_socket(address: tuple[str, int]) -> socket.socket:
    """A socket that listens on host and port.

    Raises:
        ConfigurationError: the address is in use, not this machine's, or unknown.
    """
    host, port = address
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise ConfigurationError(f"the host name {host!r} cannot be resolved: correct the server's address") from error
    family, kind, protocol, _, resolved = found[0]
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.setblocking(False)
        listening.bind(resolved)
        listening.listen(limits.HANDSHAKES_MAX)
    except OSError as error:
        listening.close()
        raise ConfigurationError(_why_not(error, f"{host}:{port}")) from error
    return listening


def _why_not(error: OSError, address: str) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"{address} is in use already: stop the program that listens there, or change the server's address"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{address} is not an address of this machine: start the server on its own host, or use --listen"
    return f"{address} cannot be listened on ({error.strerror}): change the server's address"
