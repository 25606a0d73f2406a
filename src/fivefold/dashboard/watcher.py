"""Looks at a cluster every few seconds, as an ordinary client of it, and hands what it sees to all who watch."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Final

import msgspec

from fivefold import Cluster, connect
from fivefold.errors import FivefoldError
from fivefold.node import VERSION, Inquiry
from fivefold.protocol.operations import ObjectId
from fivefold.upkeep import ClusterView, ObjectView, Point, Watch, look, look_at

LOOK_TIMEOUT_S: Final = 2.0
"""How long a server may take to say how it is."""

OBJECT_TIMEOUT_S: Final = 12.0
"""How long all servers may take to show one object."""

OBJECTS_AT_ONCE_MAX: Final = 4
"""Objects that are looked at at the same time."""

CONNECT_S: Final = 5.0
"""How long the connections for looking at objects may take to come up at first."""

log = logging.getLogger("fivefold.dashboard")


class Watcher:
    """The latest view of a cluster, and what led to it.

    Attributes:
        every_s: seconds between two looks.
        refused: counts the requests that were refused, by reason; the page shows them.
    """

    def __init__(self, file: Path, *, identity: str | None, every_s: float, tls: bool = True) -> None:
        """Nothing is opened yet."""
        self.every_s = every_s
        self.refused: Mapping[str, int] = {}
        self._file, self._identity, self._tls = file, identity, tls
        self._watch = Watch()
        self._view: ClusterView | None = None
        self._failure = ""
        self._number = 0
        self._changed = asyncio.Condition()
        self._open = AsyncExitStack()
        self._cluster: Cluster | None = None
        self._inquiry: Inquiry | None = None
        self._gate = asyncio.Semaphore(OBJECTS_AT_ONCE_MAX)
        self._opening = asyncio.Lock()

    async def start(self) -> None:
        """Connect as a client, and look once.

        Raises:
            ConfigurationError: the cluster file or the identity cannot be used.
        """
        self._cluster = await self._open.enter_async_context(
            connect(self._file, identity=self._identity, connect_timeout=0.01, needs_quorum=False, tls=self._tls)
        )
        await self._look()

    async def run(self) -> None:
        """Look again and again, for ever; nothing that the cluster does ends it."""
        while True:
            await asyncio.sleep(self.every_s)
            try:
                await self._look()
            except FivefoldError as error:  # what was seen last stays in sight, and the page says how old it is
                await self._publish(self._view, str(error))
            except Exception as error:
                log.exception("an error in this dashboard: please report it")
                await self._publish(self._view, f"an error in this dashboard: {type(error).__name__}")

    async def close(self) -> None:
        """Disconnect."""
        await self._open.aclose()

    async def _look(self) -> None:
        assert self._cluster is not None, "start() comes first"
        found = await look(self._cluster, LOOK_TIMEOUT_S)
        await self._publish(self._watch.note(found, time.time()), "")

    async def _publish(self, view: ClusterView | None, failure: str) -> None:
        async with self._changed:
            self._view, self._failure = view, failure
            self._number += 1
            self._changed.notify_all()

    # --- what pages ask for ---------------------------------------------------------------------------------------

    def snapshot(self) -> bytes:
        """All that a page shows, the last minutes included, as JSON."""
        return self._encode(list(self._watch.points))

    async def changes(self) -> AsyncIterator[bytes]:
        """The same after each look, with what the last one adds to the minutes before; for ever."""
        number = self._number
        while True:
            async with self._changed:
                while self._number == number:
                    await self._changed.wait()
                skipped, number = self._number - number - 1, self._number
            yield self.snapshot() if skipped else self._encode(None)

    def _encode(self, points: list[Point] | None) -> bytes:
        return msgspec.json.encode(
            {
                "version": VERSION,
                "every_s": self.every_s,
                "now": time.time(),
                "failure": self._failure,
                "refused": dict(self.refused),
                "view": self._view,
                "points": points,
            }
        )

    async def show(self, name: ObjectId) -> ObjectView | None:
        """One object as all servers hold it; None if that takes too long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(OBJECT_TIMEOUT_S), self._gate:
                return await look_at(await self._asking(), name)
        return None

    async def _asking(self) -> Inquiry:
        """Connections for questions about objects, made when the first is asked, and kept."""
        assert self._cluster is not None, "start() comes first"
        async with self._opening:
            if self._inquiry is None:
                opened = self._cluster.inquiry(connect_timeout=CONNECT_S, needs_quorum=False)
                self._inquiry = await self._open.enter_async_context(opened)
        return self._inquiry
