"""The caller's side: one connection to one server, made anew with growing pauses."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Callable
from random import Random

from fivefold.protocol.limits import FRAME_BYTES_MAX
from fivefold.transport import limits
from fivefold.transport.budget import Budget
from fivefold.transport.contract import Credentials
from fivefold.transport.hello import OTHER_VERSION, decode_admission, decode_hello, encode_hello, explain, will_pass
from fivefold.transport.wire import Wire


class StreamLink:
    """A link over TCP.

    Attributes:
        server: index of the server.
        dropped: frames that could not be queued.
        failure: why the last attempt or connection ended; None while the link is up or was never tried.
        is_refused: whether the server answered and refused, for a reason that will hardly be gone soon.
    """

    def __init__(
        self,
        server: int,
        credentials: Credentials,
        *,
        uses_tls: bool,
        random: Random,
        on_frames: Callable[[list[bytes]], None],
        on_up: Callable[[], None],
        on_down: Callable[[], None],
    ) -> None:
        self.server = server
        self.dropped = 0
        self.failure: str | None = None
        self.is_refused = False
        self._credentials = credentials
        self._uses_tls = uses_tls
        self._random = random
        self._on_frames = on_frames
        self._on_up = on_up
        self._on_down = on_down
        self._wire: Wire | None = None
        self._up: Wire | None = None  # the wire while frames are accepted
        self._refusal: str | None = None  # why we gave up on the peer, or it on us
        self._will_pass = True  # whether that may be gone soon
        self._settled: asyncio.Future[None] | None = None  # done once it has let us in, or the connection has ended
        self._ended: asyncio.Future[str] | None = None
        self._task: asyncio.Task[None] | None = None
        self._is_known = False  # whether the server is the right one
        self._is_closed = False

    @property
    def is_up(self) -> bool:
        """Whether frames are accepted now."""
        return self._up is not None

    def start(self) -> None:
        """Begin to connect."""
        assert self._task is None, "a link is started once"
        self._task = asyncio.get_running_loop().create_task(self._keep_connected())

    def send(self, frame: bytes) -> bool:
        """Queue a frame; False if it was dropped: the link is down, its buffer full, or the frame too large.

        A request can be too large: 64 long histories from each server. Its call then ends at its deadline.
        """
        if self._up is not None and len(frame) <= FRAME_BYTES_MAX and self._up.send(frame):
            return True
        self.dropped += 1
        return False

    def hold(self) -> None:
        """Read nothing more over the connection that there is now until :meth:`release`."""
        if self._up is not None:
            self._up.hold(True)

    def release(self) -> None:
        """Read on."""
        if self._up is not None:
            self._up.hold(False)

    async def close(self) -> None:
        """End the connection and stop connecting; no callback is called afterwards."""
        self._is_closed = True
        self._up = None
        wire = self._wire
        if wire is not None:
            wire.on_frames = _ignore
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if wire is not None and wire.is_open and self._ended is not None:
            wire.close()
            await asyncio.wait([self._ended], timeout=limits.CLOSE_TIMEOUT_S)
        if wire is not None:
            wire.abort()

    # --- connecting ----------------------------------------------------------------------------------------------
    async def _keep_connected(self) -> None:
        pause_s = limits.BACKOFF_S_FIRST
        while True:
            was_useful = await self._connect_once()
            pause_s = limits.BACKOFF_S_FIRST if was_useful else min(2 * pause_s, limits.BACKOFF_S_MAX)
            await asyncio.sleep(pause_s * self._random.uniform(0.5, 1.0))

    async def _connect_once(self) -> bool:
        """One connection from its first packet to its end; whether the server ever sent a frame over it."""
        loop = asyncio.get_running_loop()
        self._refusal, self._will_pass, self._is_known = None, True, False
        self._settled, self._ended = loop.create_future(), loop.create_future()
        wire = self._wire = Wire(
            loop,
            on_frames=self._hear_hello,
            on_made=self._made,
            on_lost=self._lost,
            pushes_back=False,
            budget=Budget(limits.PEER_BYTES_MAX),
        )
        host, port = self._credentials.address_of(self.server)
        try:
            async with asyncio.timeout(limits.HANDSHAKE_TIMEOUT_S):
                await loop.create_connection(
                    lambda: wire,
                    host,
                    port,
                    ssl=self._credentials.link_context(self.server) if self._uses_tls else None,
                    server_hostname="" if self._uses_tls else None,
                    ssl_shutdown_timeout=limits.CLOSE_TIMEOUT_S if self._uses_tls else None,
                )
                await self._settled
        except TimeoutError:
            self.failure, self.is_refused = f"no answer from {host}:{port}", False
            wire.abort()
        except OSError as error:
            self.failure, self.is_refused = self._describe(error), False
        else:
            await asyncio.wait([self._ended])  # not awaited itself: cancelling us must not cancel it
            self.failure, self.is_refused = self._ended.result(), not self._will_pass
        self._wire = None
        return wire.has_received

    def _made(self) -> None:
        assert self._wire is not None
        if self._is_closed:
            self._wire.abort()
            return
        if not self._uses_tls:
            self._wire.send(encode_hello(self._credentials.certificate))
            return  # up when the answer is here
        self._check(is_our_version=self._wire.is_our_version(), certificate=self._wire.certificate())

    def _hear_hello(self, frames: list[bytes]) -> None:
        assert self._wire is not None
        wire = self._wire
        is_our_version, certificate = decode_hello(frames[0])
        self._check(is_our_version=is_our_version, certificate=certificate)
        wire.pass_on(frames[1:])

    def _hear_admission(self, frames: list[bytes]) -> None:
        assert self._wire is not None
        wire = self._wire
        self._refusal = decode_admission(frames[0])
        if self._refusal is not None:
            self._will_pass = will_pass(frames[0])
            wire.close()
            return
        wire.trust(self._on_frames)
        self._up = wire
        self.failure = None
        self._settle()
        self._on_up()
        wire.pass_on(frames[1:])

    def _settle(self) -> None:
        if self._settled is not None and not self._settled.done():
            self._settled.set_result(None)

    def _check(self, *, is_our_version: bool, certificate: bytes | None) -> None:
        assert self._wire is not None
        if not is_our_version:
            self._refusal = explain(OTHER_VERSION)
        elif certificate != self._credentials.certificate_of(self.server):
            self._refusal = "the program at its address is not this server"
        if self._refusal is not None:
            self._wire.close()  # in order, so that the listener can tell the reason too
            return
        self._is_known = True
        self._wire.on_frames = self._hear_admission

    def _lost(self, failure: Exception | None) -> None:
        assert self._ended is not None
        if not self._ended.done():
            self._ended.set_result(self._refusal or self._describe(failure))
        self._settle()
        if self._up is not None:
            self._up = None
            self._on_down()

    def _describe(self, failure: Exception | None) -> str:
        if isinstance(failure, ssl.SSLCertVerificationError):
            return "it shows another certificate than the cluster file's"
        if self._is_known and self._up is None:
            # In TLS 1.3 we are through before the server has looked at our certificate, and neither asyncio nor uvloop
            # sends the alert with which it would tell us that it cannot verify it.
            return "it hung up at once: the cluster file it uses may not have this identity"
        if failure is None:
            return "the connection was closed"
        # The loops word the same error in ways of their own; those of names have codes of their own, below 0.
        if isinstance(failure, OSError) and not isinstance(failure, ssl.SSLError) and (failure.errno or 0) > 0:
            return os.strerror(failure.errno or 0)
        return str(failure)


def _ignore(frames: list[bytes]) -> None:
    """Frames that arrive after the end."""
