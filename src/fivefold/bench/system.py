"""What the worker process drives: a system under test, opened from plain options."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, TypeAlias

from fivefold.bench.load import Log, Operations, Recording, Segment, drive
from fivefold.bench.workload import Seat


class System(Protocol):
    """A connection to something that can be measured."""

    async def run(self, segment: Segment, seat: Seat, log: Log) -> Recording:
        """Put load on it for one segment; ``log`` can be looked at meanwhile."""
        ...


Opener: TypeAlias = Callable[[dict[str, Any]], AbstractAsyncContextManager[System]]
"""Connects, with options that came through JSON; leaving the context disconnects."""

Counters: TypeAlias = Callable[[], Awaitable[dict[str, int]]]
"""Messages, bytes and MACs so far."""


async def count_nothing() -> dict[str, int]:
    """For systems that are not counted."""
    return {}


class Driven:
    """A system made of single operations, driven by the loops of :mod:`fivefold.bench.load`."""

    def __init__(self, operations: Operations, counters: Counters = count_nothing) -> None:
        """Wrap a client of the system."""
        self._operations = operations
        self._counters = counters

    async def run(self, segment: Segment, seat: Seat, log: Log) -> Recording:
        """One segment."""
        before = await self._counters()
        await drive(self._operations, segment, seat, log)
        recording = log.recording(segment)
        after = await self._counters()
        recording.counters = {name: after[name] - before.get(name, 0) for name in after}
        return recording


async def until(moment_ns: int) -> None:
    """Sleep until a moment of the monotonic clock."""
    await asyncio.sleep(max(0, moment_ns - time.monotonic_ns()) / 1e9)


Opened: TypeAlias = AsyncIterator[System]
"""What an opener's generator yields."""
