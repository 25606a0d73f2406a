"""Looks into a database without changing it, beside a running server or after it: ids, counts, sizes, damage."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Final

from fivefold.errors import DataDirectoryError
from fivefold.protocol.actions import ObjectRecord
from fivefold.storage.ledger import Ledger
from fivefold.storage.overlay import Layers, Overlay
from fivefold.storage.recovery import recover
from fivefold.storage.schema import (
    FORMAT,
    HISTORY,
    READER_CACHE_KIB,
    DamagedRecord,
    Seal,
    connect,
    generation_of,
    log_of,
    refuse_other_format,
    seal_of,
    tables_of,
)
from fivefold.storage.segments import segment_paths

_PAGE_OBJECTS: Final = 1000
_ATTEMPTS: Final = 10
_IDS: Final = "SELECT object_id FROM records WHERE object_id > ? AND row_key = ? ORDER BY object_id LIMIT ?"
_ORPHANS: Final = """
SELECT DISTINCT object_id FROM records AS row WHERE NOT EXISTS
    (SELECT 1 FROM records WHERE object_id = row.object_id AND row_key = ?) LIMIT ?
"""


class Inspector:
    """A read-only view of a database and the journal before it; every call blocks on the disk.

    What it says of objects is as of its first such call: open a new one to see what was written since. Close it soon: a
    running server's log grows meanwhile.

    Args:
        path: the database file.

    Raises:
        sqlite3.Error: the file is missing or is no database.
        DataDirectoryError: from calls about objects: the journal is missing, another one's, or damaged.

    Example:
        >>> import tempfile
        >>> from fivefold.storage import SqliteStorage
        >>> path = Path(tempfile.mkdtemp(), "objects.sqlite")
        >>> SqliteStorage.create(path, "cluster", "fingerprint")
        >>> with Inspector(path) as inspector:
        ...     inspector.count(), inspector.object_ids(), inspector.check()
        (0, [], [])
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        # Without a log no store is open; a reader that asked for one would leave an empty one behind.
        access = "mode=ro" if log_of(path).exists() else "mode=ro&immutable=1"
        self._connection = connect(path, cache_kib=READER_CACHE_KIB, access=access)
        self._layer_cache: Layers | None = None
        self._ledger_cache: Ledger | None = None

    def __enter__(self) -> Inspector:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the file."""
        self._connection.close()

    def meta(self) -> dict[str, str | int]:
        """Format, cluster and server of the database.

        Raises:
            sqlite3.DatabaseError: these are not what such a database has.
        """
        found = dict(self._connection.execute("SELECT name, value FROM meta"))
        if not all(isinstance(name, str) and isinstance(value, (str, int)) for name, value in found.items()):
            raise sqlite3.DatabaseError("the table that says whose it is does not hold that")
        return found

    def generation(self) -> int:
        """Counts opens, clean closes and minutes with writes."""
        return self.seal().generation

    def seal(self) -> Seal:
        """What the database says of itself.

        Raises:
            DamagedSeal: it is not what was written.
        """
        return seal_of(self._connection)

    def ledger(self) -> Ledger:
        """What the database must hold."""
        return Ledger.load(self._connection, self.seal())

    def tables(self) -> tuple[str, ...]:
        """The statements that made its tables, as the file has them now."""
        return tables_of(self._connection)

    def generation_in_header(self) -> int:
        """The generation that the file's header shows: the seal's, or one of them is damaged."""
        return generation_of(self._connection)

    def application_id(self) -> int:
        """The mark in the file's header that tells our databases from others."""
        return int(self._connection.execute("PRAGMA application_id").fetchone()[0])

    def object_ids(self, after: str = "", limit: int = _PAGE_OBJECTS) -> list[str]:
        """The first ``limit`` ids greater than ``after``, in code-point order; page on with the last one."""
        journal = [object_id for object_id in self._layers().object_ids() if object_id > after]
        stored = [row[0] for row in self._connection.execute(_IDS, (after, HISTORY, limit))]
        return sorted({*stored, *journal})[:limit]

    def all_object_ids(self) -> Iterator[str]:
        """Every id in code-point order, a page at a time; objects made meanwhile may be missing."""
        page, last = self.object_ids(), ""
        while page and page[-1] > last:  # an id that has rotted may not come after the one before
            yield from page
            last = page[-1]
            page = self.object_ids(last)

    def count(self) -> int:
        """How many objects were ever written; reads the whole index."""
        journal = self._layers().object_ids()
        stored = self._connection.execute("SELECT count(*) FROM records WHERE row_key = ?", (HISTORY,)).fetchone()[0]
        has = "SELECT 1 FROM records WHERE object_id = ? AND row_key = ?"
        fresh = [each for each in journal if self._connection.execute(has, (each, HISTORY)).fetchone() is None]
        return int(stored) + len(fresh)

    def record(self, object_id: str) -> ObjectRecord | None:
        """One object, None if it was never written.

        Raises:
            DamagedRecord: what is stored is not what was written.
        """
        layers = self._layers()
        assert self._ledger_cache is not None
        ledger = self._ledger_cache
        return layers.load(object_id, lambda name: ledger.read(self._connection, name))

    def _layers(self) -> Layers:
        """What the journal holds, of one moment with the snapshot that this connection reads from then on.

        Beside a running server the journal is written to while it is read: a segment may be gone, or an older record
        not yet be seen when a later one is. Then it is read again.
        """
        if self._layer_cache is None:
            refuse_other_format(self._path, self.meta().get("format"), FORMAT)
        for attempt in range(_ATTEMPTS, 0, -1):
            if self._layer_cache is not None:
                break
            self._connection.execute("BEGIN")
            try:
                seal = self.seal()
                self._ledger_cache = Ledger.load(self._connection, seal)
                recovered = recover(self._path, seal.mark)
                self._layer_cache = recovered.layers if recovered is not None else Layers(Overlay())
            except DataDirectoryError:
                self._connection.execute("ROLLBACK")
                if attempt == 1:
                    raise
        assert self._layer_cache is not None
        return self._layer_cache

    def bytes_used(self) -> int:
        """Size of the database, its log and its journal on the disk, room for reuse included."""
        files = (self._path, log_of(self._path), *segment_paths(self._path))
        return sum(file.stat().st_size for file in files if file.exists())

    def quick_check(self, problems_max: int = 100) -> list[str]:
        """SQLite's own check of the file's structure: reads every page; a sentence a problem."""
        try:
            rows = self._connection.execute(f"PRAGMA quick_check({int(problems_max)})").fetchall()
        except sqlite3.DatabaseError as error:
            return [str(error)]
        return [] if rows == [("ok",)] else [str(row[0]) for row in rows]

    def check(self, problems_max: int = 100) -> list[str]:
        """The structure, then every object and the ledger; a sentence a problem, empty if all is well."""
        problems = self.quick_check(problems_max)
        if problems:
            return problems
        try:
            self._layers()
            problems = self._check_objects(problems_max)
        except (DataDirectoryError, sqlite3.Error) as error:
            problems.append(str(error))
        return problems[:problems_max]

    def _check_objects(self, problems_max: int) -> list[str]:
        orphans = self._connection.execute(_ORPHANS, (HISTORY, problems_max))
        problems = [f"{row[0]} has no history" for row in orphans]
        for object_id in self.all_object_ids():
            if len(problems) >= problems_max:
                return problems
            try:
                self.record(object_id)
            except (DamagedRecord, sqlite3.Error) as error:
                problems.append(str(error))
        assert self._ledger_cache is not None
        found = self._connection.execute("SELECT count(*) FROM records WHERE row_key = ?", (HISTORY,)).fetchone()[0]
        entries = self._ledger_cache.count(self._connection, problems)
        if not problems and entries > found:
            problems.append(f"{entries - found} objects cannot be found although the ledger has them")
        return problems
