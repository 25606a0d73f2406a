"""A store opened for a test, for the tests of the durable store."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from fivefold.protocol.actions import Damaged, ObjectRecord, Write
from fivefold.storage import SqliteStorage

SECONDS_MAX = 30


class Open:
    """A store opened for a test, and the sequences it reported."""

    def __init__(
        self, path: Path, on_generation: Callable[[int], None] | None = None, generation_seconds: float = 0
    ) -> None:
        self.durable: list[int] = []
        self.during: Callable[[int], None] = lambda sequence: None
        self._path = path
        self._on_generation = on_generation
        self._generation_seconds = generation_seconds if on_generation is not None else 60
        self.storage = self._open()

    def _open(self) -> SqliteStorage:
        return SqliteStorage(
            self._path,
            asyncio.get_running_loop(),
            self._on_durable,
            on_generation=self._on_generation,
            generation_seconds=self._generation_seconds,
        )

    def _on_durable(self, sequence: int) -> None:
        self.durable.append(sequence)
        self.during(sequence)

    def reopen(self) -> None:
        """Close, which folds everything into the database, and open again."""
        self.storage.close()
        self.storage = self._open()

    async def until(self, is_true: Callable[[], object]) -> None:
        async with asyncio.timeout(SECONDS_MAX):
            while not is_true():  # noqa: ASYNC110 `failure` is set by a thread that tells nobody
                await asyncio.sleep(0.002)

    async def commit(self, sequence: int, *writes: Write) -> None:
        self.storage.stage(sequence, writes)
        await self.until(lambda: self.durable and self.durable[-1] >= sequence)

    async def load(self, object_id: str) -> ObjectRecord | Damaged | None:
        found: list[ObjectRecord | Damaged | None] = []
        self.storage.load(object_id, found.append)
        await self.until(lambda: found)
        return found[0]
