"""How fast a backup or an audit may go, if its operator says so.

Without that the servers decide: what it reads is background work to them, and waits while they are busy with clients.
"""

from __future__ import annotations

import asyncio
import time


class Rate:
    """A number of objects a second."""

    def __init__(self, objects_s: int | None) -> None:
        """None for no limit."""
        self._objects_s = objects_s
        self._until_s = 0.0

    async def rest(self, objects: int) -> None:
        """Wait until the time that these objects may take is over."""
        if self._objects_s is None:
            return
        now_s = time.monotonic()
        self._until_s = max(self._until_s, now_s) + objects / self._objects_s
        await asyncio.sleep(self._until_s - now_s)
