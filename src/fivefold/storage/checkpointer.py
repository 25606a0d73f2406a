"""The thread that folds: it moves what the journal holds into the database, and counts generations there."""

from __future__ import annotations

import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from fivefold.protocol.history import floor_of
from fivefold.storage.ledger import Ledger
from fivefold.storage.overlay import Layers, Overlay
from fivefold.storage.schema import (
    WRITER_CACHE_KIB,
    Change,
    DamagedRecord,
    Mark,
    Seal,
    connect,
    is_damage,
    maybe_checkpoint,
    set_seal,
    write_rows,
)
from fivefold.storage.segments import FULL

log = logging.getLogger("fivefold.storage")

RETRY_SECONDS_MIN: Final = 0.05
RETRY_SECONDS_MAX: Final = 1.0
GENERATION_SECONDS: Final = 60.0
"""How often a store that is written to takes a new generation: what a rollback can hide (see guard.py)."""

JOIN_SECONDS: Final = 30.0


class Fold(NamedTuple):
    """One transaction of the database.

    Attributes:
        mark: what it knows of the journal afterwards.
        overlay: what to move, if anything.
        takes_generation: whether it also counts one.
    """

    mark: Mark
    overlay: Overlay | None
    takes_generation: bool


class Checkpointer:
    """Owns the connection that writes. One thread hands it one fold at a time; it retries each until it works.

    Args:
        path: the database.
        seal: what the database says of itself.
        mark: of the journal that is open; stored at once, with a generation.
        ledger: of the database; changed with it.
        layers: told when an overlay has been folded.
        on_generation: called in the thread when the database file holds a new generation; may be left out.

    Attributes:
        mark: what the database knows of the journal.
        failure: one sentence on why folds fail at present, or None.
        record_failure: one sentence on why ``on_generation`` failed, or None.
        generation: the database's.

    Raises:
        sqlite3.Error: the database cannot be opened or written.
    """

    def __init__(
        self,
        path: Path,
        seal: Seal,
        mark: Mark,
        ledger: Ledger,
        layers: Layers,
        on_generation: Callable[[int], None] | None,
        *,
        generation_seconds: float = GENERATION_SECONDS,
    ) -> None:
        self._path = path
        self._salt = seal.salt
        self._ledger = ledger
        self._layers = layers
        self._on_generation = on_generation
        self._generation_seconds = generation_seconds
        self._generation_due = 0.0
        self._folds: queue.SimpleQueue[Fold | None] = queue.SimpleQueue()
        self._idle = threading.Event()
        self._idle.set()
        self._closing = threading.Event()
        self._is_damaged = False  # whether a page of the database has been found damaged
        self._lost: set[str] = set()  # objects that this fold cannot write
        self._lost_buckets: set[int] = set()
        self._writing: str | None = None
        self.failure: str | None = None
        self.record_failure: str | None = None
        self.generation = seal.generation
        self._connection = connect(path, cache_kib=WRITER_CACHE_KIB)
        try:
            self._commit(Fold(mark, None, takes_generation=True))
        except BaseException:
            self._connection.close()
            raise
        self._thread = threading.Thread(target=self._run, name="fivefold-storage-checkpointer", daemon=True)
        self._thread.start()

    @property
    def is_generation_due(self) -> bool:
        """Whether the last generation is old enough for another one."""
        return time.monotonic() >= self._generation_due

    def wait_idle(self, seconds: float = 0) -> bool:
        """Whether nothing is being folded, now or within ``seconds``."""
        return self._idle.wait(seconds) if seconds else self._idle.is_set()

    def fold(self, fold: Fold) -> None:
        """Begin a fold; the one before must be over."""
        assert self._idle.is_set()
        self._idle.clear()
        self._folds.put(fold)

    def close(self, last: Fold | None) -> bool:
        """End the fold under way and do the last one (one attempt each), then close; false if the disk hangs."""
        self._closing.set()
        if last is not None:
            self._folds.put(last)
        self._folds.put(None)
        self._thread.join(JOIN_SECONDS)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            while self._has_folded():
                self._idle.set()
        finally:
            self._connection.close()

    def _has_folded(self) -> bool:
        """Do the next fold, however often it takes; false at the end. Not a loop: its overlay must go with it."""
        fold = self._folds.get()
        if fold is None:
            return False
        delay = RETRY_SECONDS_MIN
        while not self._maybe_commit(fold):
            if self._closing.wait(delay):
                return False
            delay = min(2 * delay, RETRY_SECONDS_MAX)
        if fold.overlay is not None:
            self._layers.folded()
        return True

    def _maybe_commit(self, fold: Fold) -> bool:
        # Any exception: a thread that ended here would leave every later update waiting without a word.
        try:
            self._commit(fold)
        except Exception as error:
            if is_damage(error):
                self._is_damaged = True
                if self._writing is not None:
                    self._lose(self._writing)
            self.failure = sentence(error)
            self._roll_back()
            self._maybe_empty_log()
            return False
        self.failure = None
        return True

    def _commit(self, fold: Fold) -> None:
        execute = self._connection.execute
        if self._is_damaged and fold.overlay is not None:
            self._find_lost(fold.overlay)
        execute("BEGIN IMMEDIATE")
        if fold.overlay is not None:
            self._ledger.write(self._connection, self._write(fold.overlay), self._lost_buckets)
        generation = self.generation + fold.takes_generation
        set_seal(self._connection, Seal(generation, fold.mark, self._salt, self._ledger.roots))
        execute("COMMIT")
        self._ledger.end(is_committed=True)
        self._lost.clear()
        self._lost_buckets.clear()
        self.mark = fold.mark
        if fold.takes_generation:
            self._record_generation()

    def _write(self, overlay: Overlay) -> dict[str, Change]:
        if not self._is_damaged:
            return write_rows(self._connection, overlay.rows(), overlay.replaced(), overlay.whole())
        changes: dict[str, Change] = {}
        for part in overlay.apart():
            (object_id,) = part.object_ids()
            if object_id in self._lost:
                changes[object_id] = Change(None, 0, is_lost=True, floor=floor_of(part.history_of(object_id) or b""))
                continue
            self._writing = object_id
            changes |= write_rows(self._connection, part.rows(), part.replaced(), part.whole())
        self._writing = None
        return changes

    def _find_lost(self, overlay: Overlay) -> None:
        """Which objects are on damaged pages, as far as reading tells; the others are written one by one.

        Story: (1) a page of the database rots. (2) A fold has to change it, and SQLite refuses, and then the whole
        transaction. (3) If that ended the fold it would end all of them, and soon no object could be written.
        """
        for object_id in overlay.object_ids():
            try:
                self._ledger.read(self._connection, object_id)
            except DamagedRecord:
                pass  # it stays so, and its rows can be written
            except sqlite3.Error as error:
                if not is_damage(error):
                    raise
                self._lose(object_id)
                bucket = self._ledger.place(object_id).bucket
                if not self._ledger.is_readable(self._connection, bucket):
                    self._lost_buckets.add(bucket)

    def _lose(self, object_id: str) -> None:
        if object_id not in self._lost:
            log.error("the disk has damaged the pages of an object, which is out from now on: %r", object_id)
            self._lost.add(object_id)

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

    def _roll_back(self) -> None:
        self._ledger.end(is_committed=False)
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except sqlite3.Error:
            self._reconnect()

    def _maybe_empty_log(self) -> None:
        """Make room inside the log: what has been moved from it into the database file is overwritten from then on.

        Story: (1) folds of a few objects make a log of many MiB. (2) The disk is full, of that log. (3) A checkpoint
        comes only once the log has grown further: nothing is ever folded again.
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


def sentence(error: Exception) -> str:
    """What the operator is told of a failed commit."""
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    if name == "SQLITE_FULL" or (isinstance(error, OSError) and error.errno in FULL):
        return "the disk that holds the data is full, free some space: updates wait until a commit succeeds"
    return f"commits fail with {name} ({error}), check the disk that holds the data: updates wait until one succeeds"
