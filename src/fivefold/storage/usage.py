"""What a server's data take on its disk, and what is left of it; beside a running server."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Collection
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from fivefold.storage.schema import HISTORY, log_of
from fivefold.storage.segments import segment_paths


class Usage(NamedTuple):
    """Objects and bytes.

    Attributes:
        objects: that were ever written.
        database_bytes: of the database and its log.
        journal_bytes: of the journal's files, room for reuse included.
        free_bytes: of the file system that a server without special rights may use.
        disk_bytes: size of that file system.
    """

    objects: int
    database_bytes: int
    journal_bytes: int
    free_bytes: int
    disk_bytes: int


def usage_of(path: Path, unfolded: Collection[str] = ()) -> Usage:
    """Look at the files of a database. It reads its whole index: a tenth of a second for some 300,000 objects.

    ``unfolded`` are ids of objects that the journal holds, some of which the database may not have yet.

    Raises:
        OSError: a file cannot be looked at.
        sqlite3.Error: the database cannot be read.
    """
    disk = os.statvfs(path.parent)
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as connection:
        counted = connection.execute("SELECT count(*) FROM records WHERE row_key = ?", (HISTORY,)).fetchone()[0]
        has = "SELECT count(*) FROM records WHERE object_id = ? AND row_key = ?"
        counted += sum(1 - connection.execute(has, (name, HISTORY)).fetchone()[0] for name in unfolded)
    database = _size(path) + _size(log_of(path))
    journal = sum(_size(file) for file in segment_paths(path))
    return Usage(int(counted), database, journal, disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize)


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:  # a segment that is not in use, or a log that was emptied
        return 0
