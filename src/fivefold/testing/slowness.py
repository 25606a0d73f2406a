"""A transport whose server hears everything late: for tests with a slow server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from fivefold.protocol.actions import Channel
from fivefold.transport import Connection, Link, Listener, Transport


class SlowTransport:
    """A server's transport that holds every frame back for a while before the server hears it, in order.

    Attributes:
        delay_s: for how long, from now on; 0 for not at all.
    """

    def __init__(self, transport: Transport) -> None:
        """Not slow yet."""
        self._transport = transport
        self._due: dict[Channel, float] = {}
        self.delay_s = 0.0

    async def listen(
        self,
        *,
        on_open: Callable[[Connection], None],
        on_frames: Callable[[Connection, list[bytes]], None],
        on_close: Callable[[Connection], None],
    ) -> Listener:
        """Accept connections, and hand their frames over late."""
        loop = asyncio.get_running_loop()

        def open_(connection: Connection) -> None:
            self._due[connection.number] = 0.0
            on_open(connection)

        def hear(connection: Connection, frames: list[bytes]) -> None:
            due = max(loop.time() + self.delay_s, self._due[connection.number])
            if due <= loop.time():
                on_frames(connection, frames)
                return
            self._due[connection.number] = due
            loop.call_at(due, late, connection, frames)

        def late(connection: Connection, frames: list[bytes]) -> None:
            if connection.number in self._due:
                on_frames(connection, frames)

        def close(connection: Connection) -> None:
            self._due.pop(connection.number, None)
            on_close(connection)

        return await self._transport.listen(on_open=open_, on_frames=hear, on_close=close)

    def link(
        self,
        server: int,
        *,
        on_frames: Callable[[list[bytes]], None],
        on_up: Callable[[], None],
        on_down: Callable[[], None],
    ) -> Link:
        """A link to another server, which is as quick as ever."""
        return self._transport.link(server, on_frames=on_frames, on_up=on_up, on_down=on_down)
