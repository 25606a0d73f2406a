"""The durable store: SQLite with a write-ahead log, one writing thread (group commit) and one reading thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

from fivefold.protocol.actions import Write
from fivefold.storage.contract import Loaded, OnDurable, size_of
from fivefold.storage.reader import Answer, Reader
from fivefold.storage.schema import create_tables
from fivefold.storage.writer import GENERATION_SECONDS, Staged, Writer


class SqliteStorage:
    """Objects in one SQLite file. Use :func:`fivefold.storage.open_data` to open a server's: it also guards it.

    Args:
        path: a database made by :meth:`create`; nothing else may write to it.
        loop: the event loop on whose thread callbacks run and this object is used.
        on_durable: hears the greatest sequence that is durable.
        on_generation: hears, on the writer's thread, each new generation that the database file holds.
        released: called at the end of :meth:`close`.
        generation_seconds: how often a store that is written to takes a new generation.

    Raises:
        sqlite3.Error: the file cannot be opened or written.
    """

    def __init__(
        self,
        path: Path,
        loop: asyncio.AbstractEventLoop,
        on_durable: OnDurable,
        *,
        on_generation: Callable[[int], None] | None = None,
        released: Callable[[], None] | None = None,
        generation_seconds: float = GENERATION_SECONDS,
    ) -> None:
        self.path = path
        self._loop = loop
        self._on_durable = on_durable
        self._released = released
        self._staged_sequence = 0
        self._staged_bytes = 0
        self._is_closed = False
        self._writer = Writer(path, self._committed, on_generation, generation_seconds=generation_seconds)
        try:
            self._reader = Reader(path, self._read)
        except BaseException:
            self._writer.close()
            raise

    @staticmethod
    def create(path: Path, cluster_id: str, server_fingerprint: str) -> None:
        """Make an empty database of generation 1 at ``path``, which must not exist."""
        create_tables(path, {"cluster": cluster_id, "server": server_fingerprint})

    @property
    def failure(self) -> str | None:
        """One sentence on why commits or loads fail at present, or None."""
        return self._writer.failure or self._reader.failure

    @property
    def record_failure(self) -> str | None:
        """One sentence on why the identity's record could not follow the last generation, or None."""
        return self._writer.record_failure

    @property
    def generation(self) -> int:
        """Counts opens, clean closes and minutes with writes; what the identity's record is compared with."""
        return self._writer.generation

    @property
    def staged_bytes(self) -> int:
        """Bytes staged and not yet known to be durable."""
        return self._staged_bytes

    def load(self, object_id: str, done: Loaded) -> None:
        """Read one object in the reader's thread; ``done`` is called from the event loop."""
        assert not self._is_closed
        self._reader.load(object_id, done)

    def stage(self, sequence: int, writes: Sequence[Write]) -> None:
        """Hand over one transaction's writes; ``on_durable`` is called from the event loop when it is on the disk."""
        assert sequence > self._staged_sequence
        assert not self._is_closed
        staged = Staged(sequence, tuple(writes), size_of(writes))
        self._staged_sequence = sequence
        self._staged_bytes += staged.size
        self._writer.stage(staged)

    def close(self) -> None:
        """Commit what is staged (one attempt), end both threads, release the files. Blocks on the disk."""
        if self._is_closed:
            return
        self._is_closed = True
        # The reader first: SQLite checkpoints and removes the log when the last connection, a writing one, closes.
        self._reader.close()
        has_ended = self._writer.close()
        # A writer that hangs in the disk keeps the lock until the process ends: a second one must not join it.
        if has_ended and self._released is not None:
            self._released()

    def _committed(self, sequence: int, size: int) -> None:
        self._call_soon(self._tell_durable, sequence, size)

    def _read(self, answers: Sequence[Answer]) -> None:
        self._call_soon(self._tell_loaded, answers)

    def _call_soon(self, callback: Callable[..., None], *arguments: object) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, *arguments)
        except RuntimeError:  # the loop was closed before the store: nobody is left to hear
            assert self._loop.is_closed()

    def _tell_durable(self, sequence: int, size: int) -> None:
        self._staged_bytes -= size
        if not self._is_closed:
            self._on_durable(sequence)

    def _tell_loaded(self, answers: Sequence[Answer]) -> None:
        for record, done in answers:
            if not self._is_closed:
                done(record)
