"""What a store says of its room: objects in the database and in the journal alike, and the disk below."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from fivefold.protocol.actions import Write
from fivefold.storage import SqliteStorage


async def test_objects_count_from_the_moment_they_are_durable(tmp_path: Path) -> None:
    """Whether the journal alone has them, or the database after a restart, or both: each counts once."""
    path, loop = tmp_path / "objects.sqlite", asyncio.get_running_loop()
    SqliteStorage.create(path, "c", "s")
    reached = asyncio.Event()
    storage = SqliteStorage(path, loop, lambda sequence: reached.set())
    storage.stage(1, [Write(name, b"history") for name in ("Map/a", "Map/b")])
    async with asyncio.timeout(10):
        await reached.wait()
    usage = await asyncio.to_thread(storage.usage)
    assert usage.objects == 2
    assert usage.journal_bytes > 0
    assert 0 < usage.free_bytes <= usage.disk_bytes
    storage.close()
    reached.clear()
    storage = SqliteStorage(path, loop, lambda sequence: reached.set())
    storage.stage(1, [Write(name, b"later") for name in ("Map/b", "Map/c")])
    async with asyncio.timeout(10):
        await reached.wait()
    assert (await asyncio.to_thread(storage.usage)).objects == 3
    storage.close()
    assert not [name for name in os.listdir(tmp_path) if name.endswith("-wal")]
