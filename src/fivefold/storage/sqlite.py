"""The durable store: a journal that writes are appended to, folded into SQLite in the background.

Three threads: one appends to the journal (group commit), one folds, one loads. Where the disk is quick the event loop
appends by itself, once a turn.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from fivefold.protocol.actions import Write
from fivefold.storage.checkpointer import GENERATION_SECONDS, Checkpointer
from fivefold.storage.contract import HeardPage, Loaded, OnDurable, size_of
from fivefold.storage.inspector import Inspector
from fivefold.storage.journal import EPOCH_BYTES
from fivefold.storage.overlay import Layers, Overlay
from fivefold.storage.reach import reach_beside, read_reach
from fivefold.storage.reader import Answer, PageRequest, Reader
from fivefold.storage.recovery import Recovered, recover
from fivefold.storage.schema import Mark, create_tables
from fivefold.storage.segments import Journal, remove_journal
from fivefold.storage.usage import Usage, usage_of
from fivefold.storage.writer import Staged, Writer

PATIENCE_SECONDS: Final = 0.002
GIVE_WAY_SECONDS: Final = 0.0001
"""A commit that takes longer than the first is given the second of the event loop's time, again and again."""


class SqliteStorage:
    """Objects in one SQLite file, with a journal before it while it is open.

    Use :func:`fivefold.storage.open_data` to open a server's: it also guards it.

    Args:
        path: a database made by :meth:`create`; nothing else may write to it.
        loop: the event loop on whose thread callbacks run and this object is used.
        on_durable: hears the greatest sequence that is durable.
        reach: file that says how far the journal has got; beside the database if it is left out. Kept elsewhere, it
            also tells that both were replaced by older copies.
        on_generation: hears, on the checkpointer's thread, each new generation that the database file holds.
        released: called at the end of :meth:`close`.
        generation_seconds: how often a store that is written to takes a new generation.
        first_share: how much of the first segment is used (see Writer).

    Raises:
        DataDirectoryError: the journal is missing, another one, older than the database, or damaged.
        OSError: the journal cannot be read or written.
        sqlite3.Error: the file cannot be opened or written.
    """

    def __init__(
        self,
        path: Path,
        loop: asyncio.AbstractEventLoop,
        on_durable: OnDurable,
        *,
        reach: Path | None = None,
        on_generation: Callable[[int], None] | None = None,
        released: Callable[[], None] | None = None,
        generation_seconds: float = GENERATION_SECONDS,
        first_share: float = 1.0,
    ) -> None:
        self.path = path
        self._loop = loop
        self._on_durable = on_durable
        self._released = released
        self._staged_sequence = 0
        self._durable_sequence = 0
        self._staged_bytes = 0
        self._waiting_since = 0.0
        self._turn: list[Staged] = []
        self._is_closed = False
        with Inspector(path) as inspector:  # a store that is refused is not even written to
            seal, ledger = inspector.seal(), inspector.ledger()
        reach = reach or reach_beside(path)
        recovered = recover(path, seal.mark, read_reach(reach))
        self._journal, layers = _open_journal(path, seal.mark, recovered, reach)
        self._unfolded = layers.object_ids
        # The database knows of a journal before its first record.
        mark = self._journal.mark(folded=seal.mark.folded if recovered is not None else 0)
        try:
            self._checkpointer = Checkpointer(
                path, seal, mark, ledger, layers, on_generation, generation_seconds=generation_seconds
            )
        except BaseException:
            self._journal.close()
            raise
        self._writer = Writer(self._journal, layers, self._checkpointer, self._committed, first_share=first_share)
        try:
            self._reader = Reader(path, ledger, layers, self._read)
        except BaseException:
            self._end_writing()
            raise

    @staticmethod
    def create(path: Path, cluster_id: str, server_fingerprint: str) -> None:
        """Make an empty database of generation 1 at ``path``, which must not exist."""
        create_tables(path, {"cluster": cluster_id, "server": server_fingerprint})

    @property
    def failure(self) -> str | None:
        """One sentence on why commits fail at present, or None."""
        return self._writer.failure

    @property
    def record_failure(self) -> str | None:
        """One sentence on why the identity's record could not follow the last generation or commit, or None."""
        return self._checkpointer.record_failure or self._journal.reach.failure

    @property
    def generation(self) -> int:
        """Counts opens, clean closes and minutes with writes; what the identity's record is compared with."""
        return self._checkpointer.generation

    @property
    def staged_bytes(self) -> int:
        """Bytes staged and not yet known to be durable."""
        return self._staged_bytes

    def usage(self) -> Usage:
        """What it takes on the disk, and what is left; for any thread, since it reads for some time.

        Raises:
            OSError: a file cannot be looked at.
            sqlite3.Error: the database cannot be read.
        """
        return usage_of(self.path, self._unfolded())

    def load(self, object_id: str, done: Loaded) -> None:
        """Read one object in the reader's thread; ``done`` is called from the event loop."""
        assert not self._is_closed
        self._reader.load(object_id, done)

    def list_objects(self, after: str, objects_max: int, bytes_max: int, done: HeardPage) -> None:
        """Read a page of the list of objects in the reader's thread; ``done`` is called from the event loop."""
        assert not self._is_closed
        self._reader.list_objects(PageRequest(after, objects_max, bytes_max, done))

    def stage(self, sequence: int, writes: Sequence[Write]) -> None:
        """Hand over one transaction's writes; ``on_durable`` is called from the event loop when it is on the disk."""
        assert sequence > self._staged_sequence
        assert not self._is_closed
        staged = Staged(sequence, tuple(writes), size_of(writes))
        is_alone = self._durable_sequence == self._staged_sequence
        if is_alone:
            self._waiting_since = time.monotonic()
        self._staged_sequence = sequence
        self._staged_bytes += staged.size
        if self._turn:
            self._turn.append(staged)
        elif is_alone and self._writer.is_quick:
            self._turn.append(staged)
            self._loop.call_soon(self._end_turn)
        else:
            self._writer.stage(staged)

    def _end_turn(self) -> None:
        """Commit what this turn of the event loop has staged, or let the thread do it."""
        turn, self._turn = self._turn, []
        if turn and self._writer.maybe_commit_at_once(turn):
            self._tell_durable(turn[-1].sequence, sum(staged.size for staged in turn))
        else:
            for staged in turn:
                self._writer.stage(staged)

    def give_way(self) -> None:
        """Let the writer have the interpreter lock if it has committed nothing for a while.

        Story: (1) the event loop has work all the time, reads for example. (2) It gives the lock away for some
        microseconds at each system call, and has it back before a thread that waits for it has woken up. (3) That
        thread only asks for the lock if it was not woken for a whole switch interval: it waits for ever.
        """
        if self._durable_sequence < self._staged_sequence:
            now = time.monotonic()
            if now - self._waiting_since > PATIENCE_SECONDS:
                time.sleep(GIVE_WAY_SECONDS)
                self._waiting_since = now

    def close(self) -> None:
        """Commit what is staged and fold it (one attempt), end the threads, release the files. Blocks on the disk."""
        if self._is_closed:
            return
        self._is_closed = True
        # The reader first: SQLite checkpoints and removes the log when the last connection, a writing one, closes.
        self._reader.close()
        has_ended = self._end_writing()
        # A writer that hangs in the disk keeps the lock until the process ends: a second one must not join it.
        if has_ended and self._released is not None:
            self._released()

    def _end_writing(self) -> bool:
        """Fold everything; the journal goes when the database has it. False if a thread hangs in the disk."""
        turn, self._turn = self._turn, []
        for staged in turn:
            self._writer.stage(staged)
        last = self._writer.close()
        has_ended = self._checkpointer.close(last) and last is not None
        if has_ended:
            self._journal.close()
            if not self._checkpointer.mark.is_open:
                remove_journal(self.path)
        return has_ended

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
        self._durable_sequence = sequence
        self._waiting_since = time.monotonic()
        self._staged_bytes -= size
        if not self._is_closed:
            self._on_durable(sequence)

    def _tell_loaded(self, answers: Sequence[Answer]) -> None:
        for tell in answers:
            if not self._is_closed:
                tell()


def _open_journal(path: Path, mark: Mark, recovered: Recovered | None, reach: Path) -> tuple[Journal, Layers]:
    """Take up the journal that a crash left, or begin one."""
    if recovered is not None:
        return Journal(path, mark.epoch, reach, recovered.segment, recovered.end), recovered.layers
    # All folded, or never used. Not written over: what an older one left would make a journal that a crash leaves now,
    # before the database knows of it, look used.
    remove_journal(path)
    # Random: nobody can make a value that, stored in a record, looks like another record.
    return Journal(path, os.urandom(EPOCH_BYTES), reach), Layers(Overlay())
