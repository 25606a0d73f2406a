"""A proxy before each server of a site without TLS: counts frames by kind, and can lose them."""

from __future__ import annotations

import asyncio
from collections import Counter as Tally
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from tests.integration.rig import Site

HELLO = ord("f")
"""First byte of the hello frames that begin a connection without TLS."""


class Proxies:
    """All proxies of a site.

    Attributes:
        frames: how many passed, by (server, direction, kind); direction is ``to`` or ``from`` the server.
        lets_pass: asked for each frame.
    """

    def __init__(self) -> None:
        """Let everything pass."""
        self.frames: Tally[tuple[int, str, int]] = Tally()
        self.lets_pass: Callable[[int, str, int], bool] = lambda server, direction, kind: True

    def by_kind(self) -> Tally[int]:
        """How many frames of each kind passed, hellos left out."""
        total: Tally[int] = Tally()
        for (_, _, kind), count in self.frames.items():
            if kind != HELLO:
                total[kind] += count
        return total

    async def serve(
        self, server: int, real: tuple[str, int], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """One connection to a server."""
        try:
            inner_reader, inner_writer = await asyncio.open_connection(*real)
        except OSError:
            writer.close()
            return
        await asyncio.gather(
            self._pump(server, "to", reader, inner_writer), self._pump(server, "from", inner_reader, writer)
        )

    async def _pump(
        self, server: int, direction: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            while True:
                header = await reader.readexactly(4)
                frame = await reader.readexactly(int.from_bytes(header, "big"))
                if self.lets_pass(server, direction, frame[0]):
                    self.frames[server, direction, frame[0]] += 1
                    writer.write(header + frame)
        except (asyncio.IncompleteReadError, OSError):
            writer.close()


@asynccontextmanager
async def proxied(site: Site, real: list[tuple[str, int]]) -> AsyncIterator[Proxies]:
    """Proxies at the addresses of the cluster file, for servers that listen at ``real``."""
    proxies = Proxies()
    listeners = []
    try:
        for index, address in enumerate(real):
            host, port = site.address(index)

            def accept(
                reader: asyncio.StreamReader,
                writer: asyncio.StreamWriter,
                index: int = index,
                address: tuple[str, int] = address,
            ) -> asyncio.Task[None]:
                return asyncio.ensure_future(proxies.serve(index, address, reader, writer))

            listeners.append(await asyncio.start_server(accept, host, port))
        yield proxies
    finally:
        for listener in listeners:
            listener.close()
