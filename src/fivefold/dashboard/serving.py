"""The HTTP server: uvicorn with limits, in the event loop that watches the cluster."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from functools import partial
from typing import Final

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from fivefold.cluster import join_address
from fivefold.dashboard.app import make_app
from fivefold.dashboard.guard import Doors
from fivefold.dashboard.watcher import Watcher
from fivefold.errors import ConfigurationError

HEAD_BYTES_MAX: Final = 16 * 1024
"""A request's head; browsers send one or two thousand bytes."""

HEAD_S_MAX: Final = 10.0
"""A caller that has not sent its first request by then is sent away."""

CONNECTIONS_MAX: Final = 64
"""Open at once; a browser opens up to six."""

CLOSE_S: Final = 1.0
"""How long pages that hear of changes may hold up the end."""


class Counted(H11Protocol):  # type: ignore[misc]  # mypy looks into no extra
    """HTTP that counts what is not HTTP, and waits for nobody for ever."""

    doors: Doors

    def __init__(self, *arguments: object, doors: Doors, **options: object) -> None:
        """Count at these doors."""
        super().__init__(*arguments, **options)
        self.doors = doors
        self._silent: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        """A caller has come, and has so long to say what it wants."""
        super().connection_made(transport)
        self._silent = self.loop.call_later(HEAD_S_MAX, self._give_up)

    def _give_up(self) -> None:
        if self.cycle is None:
            self.doors.refused["silent"] += 1
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """The caller is gone."""
        if self._silent is not None:
            self._silent.cancel()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """What came is no request, or its head is too long."""
        self.doors.refused["malformed"] += 1
        super().send_400_response(msg)


async def serve(
    watcher: Watcher, host: str, port: int, token: str | None, on_ready: Callable[[str], None] = lambda address: None
) -> None:
    """Watch, and serve the page, until SIGINT or SIGTERM.

    Args:
        watcher: not started yet.
        host: the address to listen on.
        port: 0 for any that is free.
        token: that requests have to bring; None on loopback.
        on_ready: hears the page's address once it is there.

    Raises:
        ConfigurationError: the address, the cluster file or the identity cannot be used.
    """
    listener = _listen(host, port)
    try:
        port = listener.getsockname()[1]
        doors = Doors(host, port, token)
        await watcher.start()
        server = uvicorn.Server(_configured(watcher, doors))
        looking = asyncio.get_running_loop().create_task(watcher.run())
        try:
            on_ready(f"http://{join_address(host, port)}/" + (f"?token={token}" if token else ""))
            await server.serve(sockets=[listener])
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)
    finally:
        listener.close()
        await watcher.close()


def _configured(watcher: Watcher, doors: Doors) -> uvicorn.Config:
    return uvicorn.Config(
        make_app(watcher, doors),
        http=partial(Counted, doors=doors),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=CONNECTIONS_MAX,
        h11_max_incomplete_event_size=HEAD_BYTES_MAX,
        timeout_graceful_shutdown=int(CLOSE_S),
    )


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=CONNECTIONS_MAX)
    except OSError as error:
        raise ConfigurationError(
            f"the dashboard cannot listen at {join_address(host, port)} ({error.strerror}): choose another --listen"
        ) from error
