"""How much room a server's data take and have: looked at now and then, in a thread, and only while somebody asks."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from typing import Final

from fivefold.node.status import Room
from fivefold.storage import Usage

LOOK_NS: Final = 5_000_000_000
"""How often at most ..."""

SHARE: Final = 300
"""... and so many times as long as it took: counting a million objects takes some tenths of a second."""


class Rooms:
    """The last look at the disk; asking for it starts the next one when its time has come."""

    def __init__(self, clock: Callable[[], int]) -> None:
        """Nothing is known yet; the clock is in ns."""
        self._clock = clock
        self._ask: Callable[[], Usage] | None = None
        self._latest: Room | None = None
        self._next_ns = 0
        self._task: asyncio.Task[None] | None = None

    def use(self, ask: Callable[[], Usage] | None) -> None:
        """Ask the store from now on; None for a server in memory."""
        self._ask = ask
        self.latest()

    def latest(self) -> Room | None:
        """What was seen last; None without a disk, and before the first look is over."""
        if self._ask is not None and self._task is None and self._clock() >= self._next_ns:
            self._task = asyncio.get_running_loop().create_task(self._look(self._ask))
        return self._latest

    async def _look(self, ask: Callable[[], Usage]) -> None:
        began_ns = self._clock()
        try:
            self._latest = Room(*await asyncio.to_thread(ask))
        except (OSError, sqlite3.Error):  # the next look may be luckier; what is old is better than nothing
            pass
        finally:
            now_ns = self._clock()
            self._next_ns = now_ns + max(LOOK_NS, SHARE * (now_ns - began_ns))
            self._task = None

    async def close(self) -> None:
        """Wait for the look that is under way: while it reads the database, that cannot be closed for good."""
        self._ask = None
        if self._task is not None:
            await self._task
