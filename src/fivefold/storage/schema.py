"""The database's format: tables, the settings of a connection, and the statements that read and write objects.

One table holds everything of an object: its history under the empty key, each version under its timestamp and each ring
under its name. A version is one row, so an update of a large object writes its new version and not the older ones.
Every row carries a CRC-32 of its contents: a page that rotted makes a load fail, which the fault model calls a crash,
instead of answering with something the server never stored, which it calls malevolent.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple
from zlib import crc32

from fivefold.protocol.actions import ObjectRecord

FORMAT: Final = 3
"""Version of this file format; any other is refused."""

APPLICATION_ID: Final = 0x35464F4C
"""Marks the file as ours in SQLite's header (``5FOL``)."""

PAGE_BYTES: Final = 4096
"""Measured best for both 200 B and 2 kB versions (docs/decisions/0001)."""

WRITER_CACHE_KIB: Final = 16 * 1024
READER_CACHE_KIB: Final = 8 * 1024
"""Page caches: they, and not the number of objects, bound the memory of the store."""

WAL_PAGES: Final = 4096
"""Checkpoint when the log has about 16 MiB: rarer means longer stalls, more often writes hot pages more times."""

BUSY_TIMEOUT_S: Final = 5.0
STATEMENT_ROWS_MAX: Final = 128
STATEMENT_BYTES_MAX: Final = 4 * 1024 * 1024
"""Rows and bytes of one statement. The interpreter lock changes hands once a statement, see :func:`write_rows`."""

HISTORY: Final = b""
"""The key of the row that is an object's history."""

_HEADER_BYTES: Final = 100
_USER_VERSION: Final = slice(60, 64)
"""Where SQLite's file format keeps ``PRAGMA user_version``, in which we count generations."""

_TABLES: Final = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID;
CREATE TABLE records (
    object_id TEXT NOT NULL,
    row_key BLOB NOT NULL,
    checksum INTEGER NOT NULL,
    data BLOB NOT NULL,
    PRIMARY KEY (object_id, row_key)
);
CREATE TABLE journal (
    epoch BLOB NOT NULL,
    is_open INTEGER NOT NULL,
    folded INTEGER NOT NULL,
    segment INTEGER NOT NULL,
    segment_end INTEGER NOT NULL
);
INSERT INTO journal VALUES (x'0000000000000000', 0, 0, 0, 0);
"""
_UPSERT: Final = "ON CONFLICT (object_id, row_key) DO UPDATE SET checksum = excluded.checksum, data = excluded.data"
_LOAD: Final = "SELECT row_key, checksum, data FROM records WHERE object_id = ? ORDER BY row_key"

Key = tuple[str, bytes]
Rows = dict[Key, bytes | None]
"""What a transaction leaves behind: the data of each row, None for a row that is to be deleted."""


class Mark(NamedTuple):
    """What a database knows of the journal before it.

    Attributes:
        epoch: which journal.
        is_open: whether a store has been opened with it, and not been closed since.
        folded: the last segment whose records are all in the database.
        segment, end: at least so far the journal had got.
    """

    epoch: bytes
    is_open: bool
    folded: int
    segment: int
    end: int


class DamagedRecord(Exception):
    """A row's contents do not match its checksum, or its history is missing; the message names the object."""


def log_of(path: Path) -> Path:
    """The write-ahead log beside the database at ``path``; there while a store is open, and after a crash."""
    return path.with_name(f"{path.name}-wal")


def connect(path: Path, *, cache_kib: int, access: str = "mode=rw") -> sqlite3.Connection:
    """Open a connection with our settings; it may be handed to another thread, but used by one at a time.

    Args:
        path: the database, which must exist.
        cache_kib: bound of its page cache.
        access: parameters of SQLite's URI: ``mode=ro`` for a reader, ``immutable=1`` to leave no log behind.

    Raises:
        sqlite3.Error: the file cannot be opened or is no database.
    """
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?{access}",
        uri=True,
        timeout=BUSY_TIMEOUT_S,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=64,
    )
    try:
        _set_up(connection, cache_kib=cache_kib)
    except BaseException:
        connection.close()
        raise
    return connection


def _set_up(connection: sqlite3.Connection, *, cache_kib: int) -> None:
    settings = {
        "synchronous": "FULL",  # in WAL mode: a commit returns after its log frames have been synced
        "cache_size": -cache_kib,
        "mmap_size": 0,  # a mapped database counts as the process's memory, and a read error becomes SIGBUS
        "wal_autocheckpoint": WAL_PAGES,
        "journal_size_limit": 2 * WAL_PAGES * PAGE_BYTES,
        "secure_delete": "OFF",  # Debian builds it in: zeroes every deleted version
        "trusted_schema": "OFF",
    }
    for name, value in settings.items():
        connection.execute(f"PRAGMA {name} = {value}").fetchall()


def create_tables(path: Path, meta: dict[str, str | int]) -> None:
    """Make a complete, empty database of generation 1 at ``path``, which must not exist, without a log beside it."""
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.executescript(f"BEGIN; {_TABLES} PRAGMA user_version = 1; COMMIT;")
        connection.executemany("INSERT INTO meta VALUES (?, ?)", [("format", FORMAT), *meta.items()])
    finally:
        connection.close()


def generation_of(connection: sqlite3.Connection) -> int:
    """The generation as of the last commit; see :mod:`fivefold.storage.guard`."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def generation_in_file(path: Path) -> int:
    """The generation of the database file alone, as if its log were lost: as of the last whole checkpoint.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        header = file.read(_HEADER_BYTES)
    return int.from_bytes(header[_USER_VERSION], "big") if len(header) == _HEADER_BYTES else 0


def take_generation(connection: sqlite3.Connection, generation: int) -> None:
    """Set the generation, as a part of the transaction under way."""
    connection.execute(f"PRAGMA user_version = {int(generation)}")


def maybe_checkpoint(connection: sqlite3.Connection) -> bool:
    """Move the log into the database file; true if that is whole and synced now, false if a reader was in the way."""
    is_busy, pages_logged, pages_moved = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    return not is_busy and pages_logged == pages_moved


def mark_of(connection: sqlite3.Connection) -> Mark:
    """The mark as of the last commit."""
    epoch, is_open, *rest = connection.execute(
        "SELECT epoch, is_open, folded, segment, segment_end FROM journal"
    ).fetchone()
    return Mark(epoch, bool(is_open), *rest)


def set_mark(connection: sqlite3.Connection, mark: Mark) -> None:
    """Set the mark, as a part of the transaction under way."""
    connection.execute("UPDATE journal SET epoch = ?, is_open = ?, folded = ?, segment = ?, segment_end = ?", mark)


def write_rows(connection: sqlite3.Connection, rows: Rows) -> None:
    """Write ``rows`` with as few statements as their limits allow.

    Not ``executemany``: it gives the interpreter lock away and takes it back once a row. With an event loop that is
    busy, each taking back may wait for a whole switch interval (5 ms): measured with 64 writes, 445 ms instead of 28.
    """
    stored = [(key, data) for key, data in rows.items() if data is not None]
    for chunk in _chunks(stored):
        values = ",".join(["(?,?,?,?)"] * len(chunk))
        parameters = [value for key, data in chunk for value in (*key, _checksum(key, data), data)]
        connection.execute(f"INSERT INTO records VALUES {values} {_UPSERT}", parameters)  # noqa: S608 placeholders only
    deleted = [key for key, data in rows.items() if data is None]
    for start in range(0, len(deleted), STATEMENT_ROWS_MAX):
        keys = deleted[start : start + STATEMENT_ROWS_MAX]
        # Not `(object_id, row_key) IN (VALUES …)`: SQLite scans the whole table for it.
        condition = " OR ".join(["(object_id = ? AND row_key = ?)"] * len(keys))
        connection.execute(f"DELETE FROM records WHERE {condition}", [value for key in keys for value in key])  # noqa: S608


def read_record(connection: sqlite3.Connection, object_id: str) -> ObjectRecord | None:
    """The object as of the last commit, None if it was never written.

    Raises:
        DamagedRecord: what is stored is not what was written.
        sqlite3.Error: the file cannot be read.
    """
    rows: list[tuple[bytes, int, bytes]] = connection.execute(_LOAD, (object_id,)).fetchall()
    if not rows:
        return None
    for row_key, checksum, data in rows:
        if checksum != _checksum((object_id, row_key), data):
            raise DamagedRecord(f"{object_id} does not match its checksum")
    if rows[0][0] != HISTORY:
        raise DamagedRecord(f"{object_id} has no history")
    return ObjectRecord(rows[0][2], tuple((row_key, data) for row_key, _, data in rows[1:]))


def _checksum(key: Key, data: bytes) -> int:
    object_id, row_key = key
    return crc32(data, crc32(row_key, crc32(object_id.encode())))


def _chunks(rows: list[tuple[Key, bytes]]) -> Iterator[list[tuple[Key, bytes]]]:
    chunk: list[tuple[Key, bytes]] = []
    size = 0
    for row in rows:
        if chunk and (len(chunk) == STATEMENT_ROWS_MAX or size + len(row[1]) > STATEMENT_BYTES_MAX):
            yield chunk
            chunk, size = [], 0
        chunk.append(row)
        size += len(row[1])
    if chunk:
        yield chunk
