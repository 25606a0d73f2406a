"""Commits: everything staged since the last record of the journal becomes the next (group commit).

A thread writes them, so that the event loop can go on meanwhile. But where the disk takes no longer than waking that
thread and being woken by it, the loop writes what one of its turns has staged by itself: see :class:`Pace`.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from fivefold.protocol.actions import Write
from fivefold.storage.checkpointer import (
    JOIN_SECONDS,
    RETRY_SECONDS_MAX,
    RETRY_SECONDS_MIN,
    Checkpointer,
    Fold,
    sentence,
)
from fivefold.storage.journal import encode_writes
from fivefold.storage.overlay import Layers
from fivefold.storage.segments import FULL, SEGMENT_BYTES_MAX, Journal

BATCH_BYTES_MAX: Final = 4 * 1024 * 1024
"""What is staged beyond that waits for the next record; a larger transaction goes alone."""

OVERLAY_BYTES_MAX: Final = 32 * 1024 * 1024
"""Memory of writes that wait to be folded, and as much again of writes that are being folded."""

BRAKE_FULLNESS: Final = 0.5
BRAKE_SECONDS: Final = 0.005
"""When folding is slower than writing, each commit from half of a segment on waits that long for it: many short waits
instead of one of the whole fold at the segment's end."""

AT_ONCE_BYTES_MAX: Final = 256 * 1024
"""The event loop leaves larger commits to the thread, however quick the disk."""

QUICK_SECONDS: Final = 0.0003
QUICK_COMMITS: Final = 16


class Pace:
    """How long the disk takes for a commit.

    It is *quick* if one of the last few took less than 0.3 ms. The least counts, since any may have waited for a
    processor or the interpreter lock, which are not the disk's; a disk in a network or one that turns never is.

    Story: (1) a loop that waits for its disk computes nothing meanwhile. (2) If that is as long as what it has to
    compute, it does half of what it could. (3) If it is a tenth of that, the thread costs more than it saves.
    """

    def __init__(self) -> None:
        self._seconds = deque([float("inf")], QUICK_COMMITS)

    @property
    def is_quick(self) -> bool:
        """Whether waiting for the disk is cheaper than having a thread wait."""
        return min(self._seconds) < QUICK_SECONDS

    def note(self, seconds: float) -> None:
        """A commit took so long."""
        self._seconds.append(seconds)


class Staged(NamedTuple):
    """One call of ``stage``."""

    sequence: int
    writes: tuple[Write, ...]
    size: int


class Writer:
    """Owns the journal. What is public is called by the event loop's thread, everything else by the writer's.

    Args:
        journal: open at its end.
        layers: what it holds and the database does not.
        checkpointer: started; told what to fold.
        committed: called in the writer's thread after each of its commits with the greatest sequence and the bytes it
            held.
        first_share: how much of the first segment is used. Servers that are started together and have equal work would
            fold together ever after, and every quorum would be slow at once. Different first segments prevent it.

    Attributes:
        failure: one sentence on why commits fail at present, or None.
    """

    def __init__(
        self,
        journal: Journal,
        layers: Layers,
        checkpointer: Checkpointer,
        committed: Callable[[int, int], None],
        *,
        first_share: float = 1.0,
    ) -> None:
        self._journal = journal
        self._layers = layers
        self._checkpointer = checkpointer
        self._committed = committed
        self._share = first_share
        self._queue: queue.SimpleQueue[Staged | None] = queue.SimpleQueue()
        self._batch: list[Staged] = []
        self._batch_bytes = 0
        self._pace = Pace()
        self._has_ended = False
        self._closing = threading.Event()
        self.failure: str | None = None
        if layers.folding is not None:
            checkpointer.fold(Fold(journal.mark(folded=journal.segment - 1), layers.folding, takes_generation=False))
        self._thread = threading.Thread(target=self._run, name="fivefold-storage-writer", daemon=True)
        self._thread.start()

    def stage(self, staged: Staged) -> None:
        """Append to the thread's next record."""
        self._queue.put(staged)

    @property
    def is_quick(self) -> bool:
        """Whether committing by oneself is quicker than having the thread do it; while the thread has nothing to do."""
        return self._pace.is_quick

    def maybe_commit_at_once(self, batch: Sequence[Staged]) -> bool:
        """Commit in the caller's thread, unless that takes more than one short write of the disk.

        Only while the writer's thread has nothing to do: ``committed`` has told of everything that was staged before.
        Whatever fails is left to the thread: it tries again, and says what is wrong.
        """
        fullness = self._fullness()
        if fullness >= 1 or (fullness >= BRAKE_FULLNESS and not self._checkpointer.wait_idle()):
            return False
        if self._checkpointer.is_generation_due or sum(staged.size for staged in batch) > AT_ONCE_BYTES_MAX:
            return False
        writes = [write for staged in batch for write in staged.writes]
        try:
            self._append(encode_writes(writes))
        except Exception:
            return False
        self._layers.apply(writes)
        return True

    def close(self) -> Fold | None:
        """Try to commit what is staged; returns what is left to fold, or None if the disk hangs."""
        self._closing.set()
        self._queue.put(None)
        self._thread.join(JOIN_SECONDS)
        if self._thread.is_alive():
            return None
        # A clean end is a generation too: a copy taken before it is older than the record.
        mark = self._journal.mark(folded=self._journal.segment)._replace(is_open=False)
        return Fold(mark, self._layers.filling, takes_generation=True)

    def _run(self) -> None:
        delay = RETRY_SECONDS_MIN
        while self._gather():
            if self._maybe_commit():
                delay = RETRY_SECONDS_MIN
            elif self._closing.wait(delay):
                return
            else:
                delay = min(2 * delay, RETRY_SECONDS_MAX)

    def _gather(self) -> bool:
        """Complete the batch with what is staged, once there is something; false at the end, when nothing is."""
        while self._batch_bytes <= BATCH_BYTES_MAX and not self._has_ended:
            try:
                staged = self._queue.get(block=not self._batch)
            except queue.Empty:
                break
            if staged is None:
                self._has_ended = True
            else:
                self._batch.append(staged)
                self._batch_bytes += staged.size
        return bool(self._batch)

    def _maybe_commit(self) -> bool:
        # Any exception: a thread that ended here would leave every later update waiting without a word.
        writes = [write for staged in self._batch for write in staged.writes]
        try:
            if not self._maybe_append(encode_writes(writes)):
                return False
        except Exception as error:
            self.failure = sentence(error)
            return False
        self.failure = None
        self._layers.apply(writes)
        sequence, size = self._batch[-1].sequence, self._batch_bytes
        self._batch, self._batch_bytes = [], 0
        if self._checkpointer.is_generation_due and self._checkpointer.wait_idle():
            self._checkpointer.fold(
                Fold(self._journal.mark(folded=self._journal.segment - 1), None, takes_generation=True)
            )
        # At the end: the event loop wakes up, and wants the interpreter lock.
        self._committed(sequence, size)
        return True

    def _fullness(self) -> float:
        """How much of the segment is used; from 1 on the next record goes into the next one."""
        fullness = max(self._journal.end / SEGMENT_BYTES_MAX, self._layers.filling.size / OVERLAY_BYTES_MAX)
        return fullness / self._share

    def _append(self, payload: bytes) -> None:
        began = time.monotonic()
        self._journal.append(payload)
        self._pace.note(time.monotonic() - began)

    def _maybe_append(self, payload: bytes) -> bool:
        """Write a record, in the next segment if this one is full; false if that one has not been folded yet."""
        fullness = self._fullness()
        if fullness >= 1 and not self._maybe_rotate():
            return False
        if fullness >= BRAKE_FULLNESS:
            self._checkpointer.wait_idle(BRAKE_SECONDS)
        try:
            self._append(payload)
        except OSError as error:
            # On a full disk the journal makes do with the room that its files have already.
            if error.errno not in FULL or not self._maybe_rotate():
                raise
            self._append(payload)
        return True

    def _maybe_rotate(self) -> bool:
        while not self._checkpointer.wait_idle(RETRY_SECONDS_MIN):
            self.failure = self._checkpointer.failure
            if self.failure is not None:
                return False
        self._journal.rotate()
        self._share = 1.0
        mark = self._journal.mark(folded=self._journal.segment - 1)
        self._checkpointer.fold(
            Fold(mark, self._layers.rotate(), takes_generation=self._checkpointer.is_generation_due)
        )
        return True
