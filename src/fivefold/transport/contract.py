"""What every transport does: links to servers, and connections of callers.

A *link* is the caller's end and names a server; a *connection* is the listener's end and names the peer that the
transport has identified. Frames arrive whole, in order and at most once while one connection lasts. Frames may be lost
whenever a connection ends or a buffer is full; the protocol repeats what matters.

Callbacks run on the event loop's thread, never inside ``send``, and must not block.
"""

from __future__ import annotations

import ssl
from collections import Counter
from collections.abc import Callable
from typing import Final, Protocol, TypeAlias

from fivefold.protocol.actions import Channel
from fivefold.protocol.operations import ClientId

VERSION: Final = "fivefold/2"
"""Version of everything on the wire, agreed upon before the first frame (ALPN in TLS). Another one is refused."""

Peer: TypeAlias = ClientId | int
"""Who is at the other end: a client by its id, or a server by its index in the cluster file."""


class Connection(Protocol):
    """An incoming connection whose peer is known."""

    @property
    def number(self) -> Channel:
        """Number of the connection, never used twice by its listener."""
        ...

    @property
    def peer(self) -> Peer:
        """Who is at the other end."""
        ...

    @property
    def is_open(self) -> bool:
        """Whether frames are accepted: neither end has given the connection up."""
        ...

    def send(self, frame: bytes) -> bool:
        """Queue a frame; False if it was dropped. A peer that lets its answers pile up is disconnected."""
        ...

    def hold(self) -> None:
        """Read nothing more from the peer until :meth:`release`; a few frames may still arrive."""
        ...

    def release(self) -> None:
        """Read on after :meth:`hold`."""
        ...

    def close(self) -> None:
        """Send what is queued, then end the connection."""
        ...


class Listener(Protocol):
    """The server's side: accepts connections until it is closed."""

    counters: Counter[str]
    """Refused connections by reason."""

    @property
    def connections(self) -> int:
        """Connections open now whose peers are identified."""
        ...

    async def close(self) -> None:
        """Accept no more and drop every connection."""
        ...


class Link(Protocol):
    """The caller's side: one connection to one server, made anew whenever it ends."""

    dropped: int
    """Frames that could not be queued since the link was made."""

    @property
    def server(self) -> int:
        """Index of the server."""
        ...

    @property
    def is_up(self) -> bool:
        """Whether frames are accepted now."""
        ...

    @property
    def failure(self) -> str | None:
        """Why the last attempt or connection ended, in words for people; None while all is well."""
        ...

    @property
    def is_refused(self) -> bool:
        """Whether the server answered the last time, and refused for a reason that will hardly be gone soon."""
        ...

    def start(self) -> None:
        """Begin to connect; to be called once, on a running event loop."""
        ...

    def send(self, frame: bytes) -> bool:
        """Queue a frame; False if it was dropped: the link is down, its buffer full, or the frame too large."""
        ...

    def hold(self) -> None:
        """Read nothing more over the connection of now until :meth:`release`; a few frames may still arrive."""
        ...

    def release(self) -> None:
        """Read on after :meth:`hold`."""
        ...

    async def close(self) -> None:
        """End the connection and stop connecting; no callback is called afterwards."""
        ...


class Transport(Protocol):
    """One member's way to the others of its cluster."""

    async def listen(
        self,
        *,
        on_open: Callable[[Connection], None],
        on_frames: Callable[[Connection, list[bytes]], None],
        on_close: Callable[[Connection], None],
    ) -> Listener:
        """Accept connections on the own address; ``on_frames`` hears the frames that arrived together, in order.

        Raises:
            ConfigurationError: the own identity is not a server's, or its address cannot be used.
        """
        ...

    def link(
        self,
        server: int,
        *,
        on_frames: Callable[[list[bytes]], None],
        on_up: Callable[[], None],
        on_down: Callable[[], None],
    ) -> Link:
        """A link to a server, not yet started.

        ``on_frames`` hears the frames that arrived together, in order, at least one. ``on_down`` is called once for
        each ``on_up``.
        """
        ...


class Credentials(Protocol):
    """What a transport must know of its own member and of the others; :class:`fivefold.cluster.Credentials` does."""

    @property
    def certificate(self) -> bytes:
        """The own certificate (DER)."""
        ...

    @property
    def own_index(self) -> int | None:
        """The own index if this member is a server."""
        ...

    def address_of(self, server: int) -> tuple[str, int]:
        """Host and port of a server."""
        ...

    def certificate_of(self, server: int) -> bytes:
        """The pinned certificate (DER) of a server."""
        ...

    def identify(self, certificate: bytes) -> Peer | None:
        """Whose pinned certificate (DER) this is; None if nobody's."""
        ...

    def listener_context(self) -> ssl.SSLContext:
        """TLS settings for incoming connections."""
        ...

    def link_context(self, server: int) -> ssl.SSLContext:
        """TLS settings for connections to a server: trusts its certificate alone."""
        ...
