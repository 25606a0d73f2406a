"""A server's links to the other servers, each behind the gate that holds that server to its share of the time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial

from fivefold.node.server.throttle import Gate, Throttle
from fivefold.protocol.actions import OWN_LINK, Channel
from fivefold.transport import Link, Transport

log = logging.getLogger("fivefold.server")


class ServerLinks:
    """The links, by server."""

    def __init__(
        self,
        transport: Transport,
        throttle: Throttle,
        *,
        hear: Callable[[int, Channel, list[bytes]], int],
        on_up: Callable[[int], None],
    ) -> None:
        """None yet; ``hear`` takes frames that may pass, and ``on_up`` hears of each connection before any frame."""
        self._transport, self._throttle = transport, throttle
        self._hear, self._on_up = hear, on_up
        self._links: dict[int, Link] = {}
        self._gates: dict[int, Gate] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def start(self, server: int) -> None:
        """Make the link to a server; the one that there was is closed, and nothing more is heard from it."""
        if server in self._links:
            self._gates[server].close()
            closing = asyncio.get_running_loop().create_task(self._links[server].close())
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
        link = self._links[server] = self._made(server)
        self._gates[server] = Gate(link, server, self._throttle, partial(self._hear, server, OWN_LINK))
        link.start()

    def _made(self, server: int) -> Link:
        def heard(frames: list[bytes]) -> None:
            if self._links[server] is link:
                self._gates[server].arrive(frames)

        def came() -> None:
            log.info("connected to server %d", server)
            self._on_up(server)

        def lost() -> None:
            if self._links[server] is link:
                self._gates[server].close()
            log.info("lost server %d", server)

        link = self._transport.link(server, on_frames=heard, on_up=came, on_down=lost)
        return link

    def send(self, server: int, frame: bytes) -> None:
        """Send a frame, if the link is up and has room."""
        link = self._links.get(server)
        if link is not None:  # what a machine sends before there are links is lost like any frame
            link.send(frame)

    @property
    def up(self) -> list[int]:
        """Servers whose links are up."""
        return [server for server, link in self._links.items() if link.is_up]

    @property
    def waiting(self) -> list[int]:
        """Servers that have not been found out of reach: their links are up, or may soon be."""
        return [server for server, link in self._links.items() if link.is_up or link.failure is None]

    async def close(self) -> None:
        """Close all of them."""
        for gate in self._gates.values():
            gate.close()
        await asyncio.gather(*(link.close() for link in self._links.values()), *self._closing)
