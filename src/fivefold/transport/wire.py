"""One TCP connection that carries frames: the part that both ends share.

Frames queued in one turn of the event loop are joined and written by one call: a write costs a system call and, with
TLS, a record of its own. What arrives is read into one buffer that all connections of a thread share: for a protocol
without a buffer uvloop sets aside 256 KiB for each read with TLS, which the C library may have to map and unmap.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable
from typing import Final, cast

from fivefold.errors import PeerViolation
from fivefold.protocol.limits import FRAME_BYTES_MAX
from fivefold.transport import limits
from fivefold.transport.budget import Budget, Lease
from fivefold.transport.contract import VERSION
from fivefold.transport.frames import HEADER_BYTES, Framer, header_of

_JOINED_BYTES_MAX: Final = 1024 * 1024
"""More than this is written piece by piece: copying it costs more than the further calls."""


class _Arrivals(threading.local):
    """Where the connections of a thread's event loop read.

    One buffer is enough: a loop fills it and says so in one go, before it looks at another connection. But loops of two
    threads read at the same time.
    """

    def __init__(self) -> None:
        self.buffer = memoryview(bytearray(256 * 1024))


_arrivals: Final = _Arrivals()


class Wire(asyncio.BufferedProtocol):
    """Frames in and out over one connection.

    Attributes:
        on_frames: called with the frames that arrived together; its owner changes it once the peer is known.
        has_received: whether anything has come from the peer since it is known.
        violation: why we gave the connection up, if the peer broke the framing.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        on_frames: Callable[[list[bytes]], None],
        on_made: Callable[[], None],
        on_lost: Callable[[Exception | None], None],
        pushes_back: bool,
        budget: Budget,
    ) -> None:
        """Not connected yet.

        Args:
            loop: the event loop the connection lives on.
            on_frames: called with the frames that arrived together, at least one.
            on_made: called when the connection (with TLS: the handshake) is made.
            on_lost: called once when it has ended, with the reason or None for an orderly end.
            pushes_back: whether to stop reading while the peer does not take what we send. One end only: two ends that
                wait for each other to read would wait for ever.
            budget: pays for unsent bytes and begun frames beyond what each connection may hold.
        """
        self.on_frames = on_frames
        self.has_received = False
        self.violation: PeerViolation | None = None
        self._on_made = on_made
        self._on_lost = on_lost
        self._pushes_back = pushes_back
        self._call_soon = loop.call_soon
        self._framer = Framer(limits.HELLO_BYTES_MAX)
        self._transport: asyncio.Transport | None = None
        self._queue: list[bytes] = []
        self._queued_bytes = 0
        self._room_bytes = 0  # how much may be queued: nothing while not connected
        self._is_choked = False
        self._is_held = False
        self._unfinished_s = 0.0  # for how long, while we read, a begun frame has not ended
        self._charge_to(budget)

    # --- what the owner does -----------------------------------------------------------------------------------
    def send(self, frame: bytes) -> bool:
        """Queue a frame for the end of this turn; False if there is no connection or no room."""
        size = len(frame)
        assert 0 < size <= FRAME_BYTES_MAX
        queued = self._queued_bytes + HEADER_BYTES + size
        if queued > self._room_bytes and not self._make_room(queued):
            return False
        self._queued_bytes = queued
        queue = self._queue
        if not queue:
            self._call_soon(self._flush)
        queue.append(header_of(size))
        queue.append(frame)
        return True

    @property
    def is_open(self) -> bool:
        """Whether the connection is made and neither end has given it up."""
        return self._room_bytes > 0

    def trust(self, on_frames: Callable[[list[bytes]], None], budget: Budget | None = None) -> None:
        """The peer is known: allow frames of full size and hand them to ``on_frames`` from now on.

        With a ``budget``, that of the peer's identity pays from now on.
        """
        if budget is not None:
            self._end_leases()
            self._charge_to(budget)
        self.on_frames = on_frames
        self.has_received = False
        self._framer.frame_bytes_max = FRAME_BYTES_MAX

    def hold(self, is_held: bool) -> None:
        """Stop or go on reading."""
        self._is_held = is_held
        self._steer_reading()

    def sweep(self, passed_s: float) -> None:
        """So much time has passed: give up on a peer whose frame began long ago and does not end."""
        if not self._framer.partial_bytes:
            self._unfinished_s = 0.0
        elif self._reads:
            self._unfinished_s += passed_s
            if self._unfinished_s > limits.FRAME_TIMEOUT_S:
                self._give_up("frame_timeout", f"a frame did not end within {limits.FRAME_TIMEOUT_S:.0f} s")

    def close(self) -> None:
        """Write what is queued, then end the connection."""
        if self._transport is not None:
            self._flush()
            self._room_bytes = 0
            self._transport.close()

    def abort(self) -> None:
        """End the connection at once."""
        self._room_bytes = 0
        if self._transport is not None:
            self._transport.abort()

    def certificate(self) -> bytes | None:
        """The peer's certificate (DER) that TLS has verified; None without TLS."""
        assert self._transport is not None
        session = self._transport.get_extra_info("ssl_object")
        return None if session is None else session.getpeercert(binary_form=True)

    def is_our_version(self) -> bool:
        """Whether TLS has agreed on our protocol version."""
        assert self._transport is not None
        session: ssl.SSLObject = self._transport.get_extra_info("ssl_object")
        return session.selected_alpn_protocol() == VERSION

    # --- what the event loop calls -----------------------------------------------------------------------------
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Set the connection up and tell the owner."""
        # uvloop's transports do not inherit from asyncio's.
        self._transport = transport = cast("asyncio.Transport", transport)
        transport.set_write_buffer_limits(high=limits.OUTPUT_BYTES_HIGH)
        watch_liveness(transport.get_extra_info("socket"))
        self._room_bytes = limits.OUTPUT_BYTES_HIGH
        self._on_made()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where to put what arrives."""
        return _arrivals.buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Hand on the frames that are whole now."""
        self.has_received = True
        framer, lease = self._framer, self._input_lease
        if lease.size and not framer.partial_bytes:
            # Only now: while the frame it was for waits for its turn, we do not read (node/server/throttle.py).
            lease.end()
        try:
            frames = framer.feed(bytes(_arrivals.buffer[:nbytes]))
        except PeerViolation as violation:
            self.violation = violation
            self.abort()
            return
        if frames:
            self._unfinished_s = 0.0
            self.pass_on(frames)
        if framer.partial_bytes > limits.INPUT_BYTES_HIGH + lease.size:
            self._make_input_room(framer.partial_bytes)

    def pass_on(self, frames: list[bytes]) -> None:
        """Hand frames on, unless the connection was given up."""
        if frames and self._room_bytes:
            self.on_frames(frames)

    def eof_received(self) -> bool:
        """End our half too."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the owner, once."""
        self._transport = None
        self._room_bytes = 0
        self._queue.clear()
        self._framer.forget()  # at once: this wire and its owner know each other, so Python frees them later
        self._end_leases()
        self._on_lost(self.violation or exc)

    def pause_writing(self) -> None:
        """The peer does not take what we send."""
        self._is_choked = True
        self._measure_room()
        self._steer_reading()

    def resume_writing(self) -> None:
        """The peer takes it again."""
        self._is_choked = False
        self._measure_room()
        self._steer_reading()

    # --- details -------------------------------------------------------------------------------------------------
    def _flush(self) -> None:
        queue = self._queue
        if not queue or self._transport is None:
            return
        if self._queued_bytes <= _JOINED_BYTES_MAX:
            self._transport.write(b"".join(queue))
        else:
            self._transport.writelines(queue)
        self._queue = []
        self._queued_bytes = 0
        if self._is_choked or self._output_lease.size:
            self._measure_room()

    def _measure_room(self) -> None:
        """Bound our queue and the event loop's buffer together; while the peer is slow only: asking costs a call."""
        if not self._room_bytes or self._transport is None:
            return
        unsent = self._transport.get_write_buffer_size()
        if unsent <= limits.OUTPUT_BYTES_HIGH and not self._is_choked:
            self._output_lease.end()
            unsent = 0
        self._room_bytes = max(1, limits.OUTPUT_BYTES_HIGH + self._output_lease.size - unsent)

    def _make_room(self, queued: int) -> bool:
        """Have the budget pay for what is queued beyond the connection's own room."""
        more = max(queued - self._room_bytes, limits.LEASE_BYTES_MIN)
        if not self._room_bytes or not self._output_lease.extend(more):
            return False
        self._room_bytes += more
        return True

    def _make_input_room(self, partial: int) -> None:
        more = max(partial - limits.INPUT_BYTES_HIGH - self._input_lease.size, limits.LEASE_BYTES_MIN)
        if not self._input_lease.extend(more):
            self._give_up("input_overflow", f"begun frames of this peer take more than {limits.PEER_BYTES_MAX} bytes")

    def _charge_to(self, budget: Budget) -> None:
        self._output_lease, self._input_lease = Lease(budget), Lease(budget)

    def _end_leases(self) -> None:
        self._output_lease.end()
        self._input_lease.end()

    def _give_up(self, reason: str, text: str) -> None:
        self.violation = PeerViolation(reason, text)
        self.abort()

    @property
    def _reads(self) -> bool:
        return not (self._is_held or (self._is_choked and self._pushes_back))

    def _steer_reading(self) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        if self._reads:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()


def watch_liveness(connected: socket.socket | None) -> None:
    """Have the kernel end a connection whose peer is gone without a word, and never wait to fill a packet."""
    if connected is None or connected.family not in (socket.AF_INET, socket.AF_INET6):
        return
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", limits.KEEPALIVE_IDLE_S),
        ("TCP_KEEPINTVL", limits.KEEPALIVE_INTERVAL_S),
        ("TCP_KEEPCNT", limits.KEEPALIVE_PROBES),
        ("TCP_USER_TIMEOUT", limits.UNACKNOWLEDGED_MS_MAX),
    ):
        if hasattr(socket, name):  # not every system has each of them
            connected.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
