"""The journal's two files: one takes records while what the other holds is folded into the database.

Files grow by :data:`GROWTH_BYTES` of zeros and never shrink. Writing into room that a file already has costs the disk
one write; writing past its end costs the file system's own log another. The room is allocated by writing zeros:
``fallocate`` only promises it, and the first write to each part would cost as much as growing.

A write is synced before ``pwrite`` returns (``O_DSYNC``). That is one call with the interpreter lock given away instead
of two; each taking back may wait for a busy event loop. It goes past the system's page cache (``O_DIRECT``) where the
file system can: nobody reads these bytes again while the server runs.

After a failed sync nobody knows what the disk holds, and the system takes the failed pages for clean: syncing them
again would succeed without writing them. Here a failed record is written again, whole, in its place, which holds
nothing else.
"""

from __future__ import annotations

import errno
import mmap
import os
from pathlib import Path
from typing import Final

from fivefold.storage.files import open_private, sync
from fivefold.storage.journal import PAGE_BYTES, encode_prefix, opening, padded, record_size
from fivefold.storage.reach import Reach, ReachFile, reach_beside
from fivefold.storage.schema import Mark

SEGMENT_BYTES_MAX: Final = 128 * 1024 * 1024
"""A segment that has reached this takes no more records. The longer it is, the more updates of one object are folded as
one; twice this is the journal's size on the disk, and what a start after a crash has to read."""

GROWTH_BYTES: Final = 256 * 1024

_BUFFER_BYTES: Final = 1024 * 1024
"""The buffer that is kept; a larger record gets one for itself."""

FULL: Final = (errno.ENOSPC, errno.EDQUOT)


def segment_path(path: Path, segment: int) -> Path:
    """The file beside the database at ``path`` that holds a segment: they take turns."""
    return path.with_name(f"{path.name}.journal-{segment % 2}")


def segment_paths(path: Path) -> list[Path]:
    """Both files of the journal beside the database at ``path``."""
    return [segment_path(path, slot) for slot in (0, 1)]


def remove_journal(path: Path) -> None:
    """Delete the journal beside the database at ``path``, which holds all that was in it.

    Raises:
        OSError: the directory cannot be written.
    """
    for file in (*segment_paths(path), reach_beside(path)):
        file.unlink(missing_ok=True)


class Journal:
    """Open for appending; used by one thread at a time.

    Args:
        path: the database that it belongs to.
        epoch: tells this journal from others.
        reach: the file that says how far it has got.
        segment: number of the segment that takes records.
        end: where its next record goes; None to begin it, in new files.

    Attributes:
        segment: number of the segment that takes records.
        end: where its next record goes.
        reach: told of every record that is durable.

    Raises:
        OSError: the disk failed or is full.
    """

    def __init__(self, path: Path, epoch: bytes, reach: Path, segment: int = 1, end: int | None = None) -> None:
        self.epoch = epoch
        self.segment = segment
        self.end = end or 0
        self._buffer = mmap.mmap(-1, _BUFFER_BYTES)  # aligned to pages, which O_DIRECT asks for
        self._descriptors: list[int] = []
        self.reach = ReachFile(reach)
        try:
            for file in segment_paths(path):
                self._descriptors.append(_open(file))
            self._sizes = [os.fstat(descriptor).st_size for descriptor in self._descriptors]
            if end is None:
                self._begin(path)
        except BaseException:
            self.close()
            raise

    def _begin(self, path: Path) -> None:
        # The other file too: on a full disk there must be room to begin the next segment, or nothing could be folded.
        self._write(self.segment + 1, 0, bytes(PAGE_BYTES), b"")
        self.append(opening(0))
        sync(path.parent)

    def mark(self, *, folded: int) -> Mark:
        """What the database is to know of it."""
        return Mark(self.epoch, is_open=True, folded=folded, segment=self.segment, end=self.end)

    def append(self, payload: bytes) -> None:
        """Write one record; it is durable when this returns, and may or may not be if it raises.

        Raises:
            OSError: the disk failed or is full; appending again goes to the same place.
        """
        self._write(self.segment, self.end, encode_prefix(self.epoch, self.segment, self.end, payload), payload)
        self.end += record_size(payload)
        self.reach.note(Reach(self.epoch, self.segment, self.end))

    def rotate(self) -> None:
        """Open the next segment, in the file of the one before this, which must have been folded.

        Raises:
            OSError: the disk failed; this segment stays in use.
        """
        following = self.segment + 1
        slot = following % 2
        if self._sizes[slot] > 2 * SEGMENT_BYTES_MAX:  # of one huge transaction: not for ever
            os.ftruncate(self._descriptors[slot], SEGMENT_BYTES_MAX)
            self._sizes[slot] = SEGMENT_BYTES_MAX
        payload = opening(self.end)
        self._write(following, 0, encode_prefix(self.epoch, following, 0, payload), payload)
        self.segment, self.end = following, record_size(payload)
        self.reach.note(Reach(self.epoch, self.segment, self.end))

    def close(self) -> None:
        """Release the files."""
        self.reach.close()
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors.clear()

    def _write(self, segment: int, offset: int, prefix: bytes, payload: bytes) -> None:
        slot = segment % 2
        descriptor = self._descriptors[slot]
        used = len(prefix) + len(payload)
        end = padded(offset + used)
        if end > self._sizes[slot]:
            end = -(-end // GROWTH_BYTES) * GROWTH_BYTES
            _refuse_last_room(descriptor, end, end - self._sizes[slot])
        size = end - offset
        buffer = self._buffer if size <= _BUFFER_BYTES else mmap.mmap(-1, size)
        buffer[: len(prefix)] = prefix
        buffer[len(prefix) : used] = payload
        if buffer is self._buffer:  # a new one is all zeros
            buffer[used:size] = bytes(size - used)
        with memoryview(buffer) as view:
            written = 0
            while written < size:
                written += os.pwrite(descriptor, view[written:size], offset + written)
        self._sizes[slot] = max(self._sizes[slot], end)


def _open(path: Path) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_DSYNC
    try:
        return open_private(path, flags | getattr(os, "O_DIRECT", 0))
    except OSError as error:
        if error.errno != errno.EINVAL:  # what a file system says that knows no direct access
            raise
        return open_private(path, flags)


def _refuse_last_room(descriptor: int, size: int, growth: int) -> None:
    """Fail like a full disk if the database might not find room for what it will have to take.

    Story: (1) many updates of a few objects make a segment of many MiB. (2) The disk is full, of that segment.
    (3) Folding it takes a few pages in the database's log, and there are none: nothing is ever committed again.
    """
    disk = os.fstatvfs(descriptor)
    if disk.f_bavail * disk.f_frsize < growth + 2 * size:  # once in the database's log and once in its file
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
