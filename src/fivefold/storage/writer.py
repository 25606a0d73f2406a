"""The thread that commits: everything staged since its last transaction becomes its next (group commit)."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from fivefold.protocol.actions import Write
from fivefold.storage.schema import (
    WRITER_CACHE_KIB,
    Rows,
    connect,
    generation_of,
    maybe_checkpoint,
    merge,
    take_generation,
    write_rows,
)

RETRY_SECONDS_MIN: Final = 0.05
RETRY_SECONDS_MAX: Final = 1.0
GENERATION_SECONDS: Final = 60.0
"""How often a store that is written to takes a new generation: what a rollback can hide (see guard.py)."""

_JOIN_SECONDS: Final = 30.0


class Staged(NamedTuple):
    """One call of ``stage``."""

    sequence: int
    writes: tuple[Write, ...]
    size: int


class Writer:
    """Owns the writing connection. ``stage`` and ``close`` are called by one thread, everything else is the writer's.

    Args:
        path: the database.
        committed: called in the writer's thread after each commit with the greatest sequence and the bytes it held.
        on_generation: called in the writer's thread when the database file holds a new generation; may be left out.
    """

    def __init__(
        self,
        path: Path,
        committed: Callable[[int, int], None],
        on_generation: Callable[[int], None] | None,
        *,
        generation_seconds: float = GENERATION_SECONDS,
    ) -> None:
        self._path = path
        self._committed = committed
        self._on_generation = on_generation
        self._generation_seconds = generation_seconds
        self._generation_due = 0.0
        self._staged: list[Staged] = []
        self._wake = threading.Condition()
        self._is_closing = False
        self.failure: str | None = None
        self.record_failure: str | None = None
        self._connection = connect(path, cache_kib=WRITER_CACHE_KIB)
        try:
            self.generation = generation_of(self._connection)
            self._commit_rows({}, takes_generation=True)
        except BaseException:
            self._connection.close()
            raise
        self._thread = threading.Thread(target=self._run, name="fivefold-storage-writer", daemon=True)
        self._thread.start()

    def stage(self, staged: Staged) -> None:
        """Append to the next transaction and wake the thread."""
        with self._wake:
            self._staged.append(staged)
            self._wake.notify()

    def close(self) -> bool:
        """Try to commit what is staged, then close the connection; true if the thread has ended in time."""
        with self._wake:
            self._is_closing = True
            self._wake.notify()
        self._thread.join(_JOIN_SECONDS)
        return not self._thread.is_alive()

    def _run(self) -> None:
        delay = RETRY_SECONDS_MIN
        try:
            while batch := self._next_batch():
                if self._maybe_commit(batch, takes_generation=self._is_generation_due()):
                    delay = RETRY_SECONDS_MIN
                elif self._is_closing_after(delay):
                    break
                else:
                    delay = min(2 * delay, RETRY_SECONDS_MAX)
            # A clean end is a generation too: a copy taken before it is older than the record.
            self._maybe_commit(self._staged[:], takes_generation=True)
        finally:
            self._connection.close()

    def _next_batch(self) -> list[Staged]:
        """Everything staged, once there is something; empty when the store is closing and nothing is left."""
        with self._wake:
            self._wake.wait_for(lambda: self._staged or self._is_closing)
            return [] if self._is_closing else self._staged[:]

    def _is_closing_after(self, seconds: float) -> bool:
        with self._wake:
            return self._wake.wait_for(lambda: self._is_closing, timeout=seconds)

    def _maybe_commit(self, batch: Sequence[Staged], *, takes_generation: bool) -> bool:
        # Any exception: a thread that ended here would leave every later update waiting without a word.
        try:
            rows = merge(write for staged in batch for write in staged.writes)
            self._commit_rows(rows, takes_generation=takes_generation)
        except Exception as error:
            self.failure = _sentence(error)
            self._roll_back()
            self._maybe_empty_log()
            return False
        self.failure = None
        with self._wake:
            del self._staged[: len(batch)]
        if batch:
            self._committed(batch[-1].sequence, sum(staged.size for staged in batch))
        return True

    def _commit_rows(self, rows: Rows, *, takes_generation: bool) -> None:
        execute = self._connection.execute
        execute("BEGIN IMMEDIATE")
        write_rows(self._connection, rows)
        if takes_generation:
            take_generation(self._connection, self.generation + 1)
        execute("COMMIT")
        if takes_generation:
            self._record_generation()

    def _record_generation(self) -> None:
        self.generation += 1
        self._generation_due = time.monotonic() + self._generation_seconds
        # Only what the database file holds without its log may be recorded: guard.py compares the two.
        if self._on_generation is None or not maybe_checkpoint(self._connection):
            return
        try:
            self._on_generation(self.generation)
        except OSError as error:  # a record that lags is safe, see guard.py; the next generation tries again
            self.record_failure = f"the identity's data record cannot be written, free its disk or fix it: {error}"
        else:
            self.record_failure = None

    def _is_generation_due(self) -> bool:
        return time.monotonic() >= self._generation_due

    def _roll_back(self) -> None:
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except sqlite3.Error:
            self._reconnect()

    def _maybe_empty_log(self) -> None:
        """Make room inside the log: what has been moved from it into the database file is overwritten from then on.

        Story: (1) updates of a few objects, hardly 100 KiB in all, make a log of many MiB. (2) The disk is full, of
        that log. (3) A checkpoint comes only once the log has grown further: nothing is ever committed again.
        """
        try:
            maybe_checkpoint(self._connection)
        except sqlite3.Error:
            pass  # the database file itself must grow and cannot: the log stays as it is, and nothing is lost

    def _reconnect(self) -> None:
        """A transaction that can neither commit nor roll back ends with its connection."""
        try:
            fresh = connect(self._path, cache_kib=WRITER_CACHE_KIB)
        except sqlite3.Error:
            return  # the next attempt fails on the old one, and comes here again
        self._connection.close()
        self._connection = fresh


def _sentence(error: Exception) -> str:
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    if name == "SQLITE_FULL":
        return "the disk that holds the data is full, free some space: updates wait until a commit succeeds"
    return f"commits fail with {name} ({error}), check the disk that holds the data: updates wait until one succeeds"
