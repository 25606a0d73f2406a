"""Frames over TCP with TLS 1.3: both sides show a certificate, and each must be the one in the cluster file.

Without TLS (``tls=False``, for experiments and benchmarks on one machine) both sides begin with a *hello* frame,
``fivefold/2 NUL certificate``, which claims an identity and proves nothing: it is refused off the loopback interface.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from random import Random

from fivefold.errors import ConfigurationError
from fivefold.transport import limits
from fivefold.transport.contract import Connection, Credentials
from fivefold.transport.links import StreamLink
from fivefold.transport.listeners import StreamListener, listening_socket


class StreamTransport:
    """One member's way to the others, over TCP.

    Attributes:
        credentials: what the transport knows of its own member and the others; see ``use``.
        uses_tls: whether connections are encrypted and their peers proven.
    """

    def __init__(
        self,
        credentials: Credentials,
        *,
        tls: bool = True,
        listen_address: tuple[str, int] | None = None,
        connections_per_peer_max: int = limits.CONNECTIONS_PER_PEER_MAX,
        random: Random | None = None,
    ) -> None:
        """Nothing is opened yet.

        Args:
            credentials: of the own member and the others.
            tls: False sends everything in clear and believes what peers say they are; loopback addresses only.
            listen_address: where to listen if not at the cluster file's address (behind address translation).
            connections_per_peer_max: connections that a listener takes from one identity at a time.
            random: source of the jitter between attempts to connect.
        """
        self.credentials = credentials
        self.uses_tls = tls
        self._listen_address = listen_address
        self._connections_per_peer_max = connections_per_peer_max
        self._random = random or Random()
        self._listener: StreamListener | None = None

    def use(self, credentials: Credentials) -> None:
        """Know other members from now on: for new connections, and for links that are made from now on."""
        self.credentials = credentials
        if self._listener is not None:
            self._listener.credentials = credentials

    async def listen(
        self,
        *,
        on_open: Callable[[Connection], None],
        on_frames: Callable[[Connection, list[bytes]], None],
        on_close: Callable[[Connection], None],
    ) -> StreamListener:
        """Accept connections on the own address; see :class:`fivefold.transport.Transport`."""
        listener = self._listener = StreamListener(
            await listening_socket(self._own_address()),
            self.credentials,
            uses_tls=self.uses_tls,
            connections_per_peer_max=self._connections_per_peer_max,
            on_open=on_open,
            on_frames=on_frames,
            on_close=on_close,
        )
        listener.start()
        return listener

    async def move(self) -> None:
        """Listen on the own address, which has changed; connections that there are go on.

        Raises:
            ConfigurationError: it cannot be used; then the old one is listened on as before.
        """
        if self._listener is not None:
            await self._listener.move(await listening_socket(self._own_address()))

    def _own_address(self) -> tuple[str, int]:
        address = self._listen_address
        if address is None:
            if self.credentials.own_index is None:
                raise ConfigurationError("only a server can listen: use the identity of one of the cluster's servers")
            address = self.credentials.address_of(self.credentials.own_index)
        self._check_clear_text(address)
        return address

    def link(
        self,
        server: int,
        *,
        on_frames: Callable[[list[bytes]], None],
        on_up: Callable[[], None],
        on_down: Callable[[], None],
    ) -> StreamLink:
        """A link to a server, not yet started; see :class:`fivefold.transport.Transport`."""
        self._check_clear_text(self.credentials.address_of(server))
        return StreamLink(
            server,
            self.credentials,
            uses_tls=self.uses_tls,
            random=self._random,
            on_frames=on_frames,
            on_up=on_up,
            on_down=on_down,
        )

    def _check_clear_text(self, address: tuple[str, int]) -> None:
        if not self.uses_tls and not is_loopback(address[0]):
            raise ConfigurationError(
                f"without TLS anybody can pose as anybody, so {address[0]} is refused: use TLS or loopback addresses"
            )


def is_loopback(host: str) -> bool:
    """Whether a host is this machine itself, by its text alone: names other than localhost are not looked up."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
