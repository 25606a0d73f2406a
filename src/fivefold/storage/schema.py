"""The database's format: tables, the settings of a connection, and the statements that read and write objects.

One table holds everything of an object: its history under the empty key, each version under its timestamp and each ring
under its name. A version is one row, so an update of a large object writes its new version and not the older ones.
Every row carries a CRC-32 of its contents: a page that rotted makes a load fail, which the fault model calls a crash,
instead of answering with something the server never stored, which it calls malevolent. The *seal*, one row, says what
the whole database is: its generation, its journal, and the digests of all it holds (:mod:`fivefold.storage.ledger`).
"""

from __future__ import annotations

import os
import sqlite3
import struct
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple
from zlib import crc32

from fivefold.errors import DataDirectoryError
from fivefold.protocol.history import floor_of

FORMAT: Final = 5
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

TABLES: Final = (
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID",
    "CREATE TABLE records (object_id TEXT NOT NULL, row_key BLOB NOT NULL, checksum INTEGER NOT NULL, "
    "data BLOB NOT NULL, PRIMARY KEY (object_id, row_key))",
    "CREATE TABLE buckets (number INTEGER PRIMARY KEY, data BLOB NOT NULL)",
    "CREATE TABLE bucket_groups (number INTEGER PRIMARY KEY, data BLOB NOT NULL)",
    "CREATE TABLE seal (data BLOB NOT NULL)",
)
_UPSERT: Final = "ON CONFLICT (object_id, row_key) DO UPDATE SET checksum = excluded.checksum, data = excluded.data"

GROUPS: Final = 256
ROOT_BYTES: Final = 8
"""How many groups the ledger has, and the bytes of each one's digest in the seal."""

SALT_BYTES: Final = 16
_SEAL: Final = struct.Struct(f">Q8s?QQQ{SALT_BYTES}s{GROUPS * ROOT_BYTES}s")
_SEAL_CHECKSUM: Final = struct.Struct(">I")

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


class Seal(NamedTuple):
    """What a database says of itself, in one row with a checksum.

    Attributes:
        generation: see :mod:`fivefold.storage.guard`; the file's header has it too.
        mark: what it knows of its journal.
        salt: keys the digests of object ids.
        roots: digests of the ledger's groups, one after the other.
    """

    generation: int
    mark: Mark
    salt: bytes
    roots: bytes


class Change(NamedTuple):
    """What a transaction did to one object's rows.

    Attributes:
        history_checksum: of its history from now on; None if that is as before.
        rows_sum: by how much the sum of the checksums of its other rows has grown.
        is_lost: whether it could not be written because the file is damaged: nothing of it is to be believed.
        floor: how far it has got (history.floor_of); None if that is as before.
        is_whole: whether ``rows_sum`` is that of all its rows, and not of those that were added.
    """

    history_checksum: int | None
    rows_sum: int
    is_lost: bool = False
    floor: bytes | None = None
    is_whole: bool = False


class DamagedRecord(Exception):
    """What is stored of an object is not what was written, or something is missing; the message names the object."""


class DamagedSeal(sqlite3.DatabaseError):
    """The row that says what the database is does not match its checksum: damage that SQLite cannot see."""


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
    connection.text_factory = _text
    try:
        _set_up(connection, cache_kib=cache_kib)
    except BaseException:
        connection.close()
        raise
    return connection


def _text(data: bytes) -> str:
    """What has rotted into no text is some other text: it must not look like a failing disk, which one waits for."""
    return data.decode(errors="replace")


def _set_up(connection: sqlite3.Connection, *, cache_kib: int) -> None:
    settings = {
        "synchronous": "FULL",  # in WAL mode: a commit returns after its log frames have been synced
        "cache_size": -cache_kib,
        "mmap_size": 0,  # a mapped database counts as the process's memory, and a read error becomes SIGBUS
        "wal_autocheckpoint": WAL_PAGES,
        "journal_size_limit": 2 * WAL_PAGES * PAGE_BYTES,
        "secure_delete": "OFF",  # Debian builds it in: zeroes every deleted version
        "trusted_schema": "OFF",
        "cell_size_check": "ON",  # a page whose cells overlap is damage, and not rows that nobody wrote
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
        connection.executescript(f"BEGIN; {'; '.join(TABLES)}; PRAGMA user_version = 1; COMMIT;")
        connection.executemany("INSERT INTO meta VALUES (?, ?)", [("format", FORMAT), *meta.items()])
        mark = Mark(bytes(8), is_open=False, folded=0, segment=0, end=0)
        seal = Seal(1, mark, os.urandom(SALT_BYTES), bytes(GROUPS * ROOT_BYTES))
        connection.execute("INSERT INTO seal VALUES (?)", (encode_seal(seal),))
    finally:
        connection.close()


def generation_of(connection: sqlite3.Connection) -> int:
    """The generation that the file's header shows as of the last commit; the seal's, unless it is damaged."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def generation_in_file(path: Path) -> int:
    """The generation of the database file alone, as if its log were lost: as of the last whole checkpoint.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        header = file.read(_HEADER_BYTES)
    return int.from_bytes(header[_USER_VERSION], "big") if len(header) == _HEADER_BYTES else 0


def maybe_checkpoint(connection: sqlite3.Connection) -> bool:
    """Move the log into the database file; true if that is whole and synced now, false if a reader was in the way."""
    is_busy, pages_logged, pages_moved = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    return not is_busy and pages_logged == pages_moved


def encode_seal(seal: Seal) -> bytes:
    """The seal as it is stored."""
    data = _SEAL.pack(seal.generation, *seal.mark, seal.salt, seal.roots)
    return data + _SEAL_CHECKSUM.pack(crc32(data))


def decode_seal(data: object) -> Seal:
    """The seal that ``data`` stands for.

    Raises:
        DamagedSeal: it is not what was written.
    """
    if not isinstance(data, bytes) or len(data) != _SEAL.size + _SEAL_CHECKSUM.size:
        raise DamagedSeal("the row that says what the database holds is missing or has another length")
    (checksum,) = _SEAL_CHECKSUM.unpack_from(data, _SEAL.size)
    if crc32(data[: _SEAL.size]) != checksum:
        raise DamagedSeal("the row that says what the database holds does not match its checksum")
    generation, *mark, salt, roots = _SEAL.unpack_from(data)
    return Seal(generation, Mark(*mark), salt, roots)


def seal_of(connection: sqlite3.Connection) -> Seal:
    """The seal as of the last commit.

    Raises:
        DamagedSeal: it is not what was written.
        sqlite3.Error: the file cannot be read.
    """
    rows = connection.execute("SELECT data FROM seal").fetchall()
    return decode_seal(rows[0][0] if len(rows) == 1 else None)


def set_seal(connection: sqlite3.Connection, seal: Seal) -> None:
    """Set the seal, as a part of the transaction under way."""
    connection.execute(f"PRAGMA user_version = {int(seal.generation)}")
    connection.execute("UPDATE seal SET data = ?", (encode_seal(seal),))


def tables_of(connection: sqlite3.Connection) -> tuple[str, ...]:
    """The statements that made its tables, as the file has them now."""
    return tuple(row[0] for row in connection.execute("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL"))


def refuse_other_format(path: Path, found: object, known: int) -> None:
    """Compare the version of a file's format with the one that this Fivefold writes.

    Raises:
        DataDirectoryError: they differ; says what to do.
    """
    if found == known:
        return
    if isinstance(found, int) and found < known:
        raise DataDirectoryError(
            f"{path} has format {found}, and this Fivefold knows {known} only: start the server with the older "
            "Fivefold that wrote it, or replace it by one with a new identity"
        )
    raise DataDirectoryError(f"{path} has format {found}: upgrade Fivefold, this one knows {known} only")


def write_rows(
    connection: sqlite3.Connection, rows: Rows, replaced: Sequence[Key] = (), whole: Collection[str] = ()
) -> dict[str, Change]:
    """Write ``rows`` with as few statements as their limits allow; returns what that did to each object.

    Not ``executemany``: it gives the interpreter lock away and takes it back once a row. With an event loop that is
    busy, each taking back may wait for a whole switch interval (5 ms): measured with 64 writes, 445 ms instead of 28.

    Args:
        connection: in a transaction.
        rows: what the transaction leaves behind.
        replaced: keys of rows that may be stored, other than histories, and are put again.
        whole: objects of which nothing else is to be stored.
    """
    for object_id in whole:
        connection.execute("DELETE FROM records WHERE object_id = ?", (object_id,))
    floors: dict[str, bytes] = {}
    histories: dict[str, int] = {}
    sums: dict[str, int] = {}
    deleted = [*(key for key, data in rows.items() if data is None), *replaced]
    for start in range(0, len(deleted), STATEMENT_ROWS_MAX):
        keys = deleted[start : start + STATEMENT_ROWS_MAX]
        # Not `(object_id, row_key) IN (VALUES …)`: SQLite scans the whole table for it.
        condition = " OR ".join(["(object_id = ? AND row_key = ?)"] * len(keys))
        statement = f"DELETE FROM records WHERE {condition} RETURNING object_id, checksum"  # noqa: S608 placeholders only
        for object_id, checksum in connection.execute(statement, [value for key in keys for value in key]).fetchall():
            if isinstance(checksum, int):  # or it has rotted, and its object will be found damaged
                sums[object_id] = sums.get(object_id, 0) - checksum
    for chunk in _chunks([(key, data) for key, data in rows.items() if data is not None]):
        parameters: list[str | bytes | int] = []
        for (object_id, row_key), data in chunk:
            checksum = checksum_of(object_id, row_key, data)
            if row_key == HISTORY:
                histories[object_id] = checksum
                floors[object_id] = floor_of(data)
            else:
                sums[object_id] = sums.get(object_id, 0) + checksum
            parameters += (object_id, row_key, checksum, data)
        values = ",".join(["(?,?,?,?)"] * len(chunk))
        connection.execute(f"INSERT INTO records VALUES {values} {_UPSERT}", parameters)  # noqa: S608 placeholders only
    return {
        name: Change(histories.get(name), sums.get(name, 0), floor=floors.get(name), is_whole=name in whole)
        for name in {**histories, **sums}
    }


def is_damage(error: Exception) -> bool:
    """Whether SQLite says that the file is not as it was written: neither waiting nor trying again helps."""
    return str(getattr(error, "sqlite_errorname", "")).startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB"))


def checksum_of(object_id: str, row_key: bytes, data: bytes) -> int:
    """The checksum of a row."""
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
