"""A backup: one SQLite file with the newest versions of all objects, and what tells that it is whole.

::

    meta       format, cluster (its id) and file (the cluster file's text)
    versions   canonical bytes of versions under their digests: what did not change is kept once
    runs       each time it was brought up to date: unfinished, or sealed with the digest of its list
    entries    for each run the objects in order: timestamp and digest of the version

A run is written a page at a time, each in one transaction with the id that it has reached: what is killed goes on from
there. Only when a run is finished does it take the place of the one before, which stays usable until then.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple

from fivefold.errors import BackupError, PeerViolation
from fivefold.protocol.operations import DIGEST_BYTES, digest
from fivefold.protocol.records import TIMESTAMP_BYTES, Version
from fivefold.protocol.server import decode_version
from fivefold.storage.files import make_private, open_private, sync

BACKUP_NAME: Final = "backup.sqlite"
BACKUP_FORMAT: Final = 1
BACKUP_APPLICATION_ID: Final = 0x35464F42
"""Marks the file as ours in SQLite's header (``5FOB``)."""

CACHE_KIB: Final = 8 * 1024
_PAGE_ENTRIES: Final = 1000
_TABLES: Final = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID;
CREATE TABLE versions (digest BLOB PRIMARY KEY, data BLOB NOT NULL);
CREATE TABLE runs (number INTEGER PRIMARY KEY, started REAL NOT NULL, finished REAL, pass INTEGER NOT NULL,
    cursor TEXT NOT NULL, changed INTEGER NOT NULL, objects INTEGER, list_digest BLOB);
CREATE TABLE entries (run INTEGER NOT NULL, object_id TEXT NOT NULL, timestamp BLOB NOT NULL, digest BLOB NOT NULL,
    PRIMARY KEY (run, object_id)) WITHOUT ROWID;
"""
_ENTRIES: Final = """
SELECT object_id, timestamp, entries.digest, data FROM entries LEFT JOIN versions USING (digest)
WHERE run = ? AND object_id > ? ORDER BY object_id LIMIT ?
"""


class Copied(NamedTuple):
    """One object in a backup.

    Attributes:
        object_id: which.
        timestamp: of its version.
        digest: of the version.
    """

    object_id: str
    timestamp: bytes
    digest: bytes


class Run(NamedTuple):
    """One time that a backup was brought up to date.

    Attributes:
        number: counts up.
        started: seconds since 1970.
        finished: the same; None while it is not.
        turn: the pass over all objects that is under way, or was the last.
        cursor: the last id of the pass that is copied.
        changed: objects that this pass has found changed since the one before; of the first pass all.
        objects: how many it holds; None while it is not finished.
        list_digest: of its list of objects; None while it is not finished.
    """

    number: int
    started: float
    finished: float | None
    turn: int
    cursor: str
    changed: int
    objects: int | None
    list_digest: bytes | None

    @property
    def is_of_one_moment(self) -> bool:
        """Whether all its versions were the newest ones at one moment: the last pass found nothing changed."""
        return self.finished is not None and self.turn > 1 and self.changed == 0


class BackupFile:
    """A backup that is written, read or checked; one process at a time has it open.

    Args:
        directory: where it is, or is to be.
        creates: whether it may be made.

    Raises:
        BackupError: it is missing, in use, damaged, or none.
        OSError: the directory cannot be used.
    """

    def __init__(self, directory: Path, *, creates: bool = False) -> None:
        self.path = directory / BACKUP_NAME
        if not creates and not self.path.is_file():
            raise BackupError(f"{directory} holds no backup: name the directory that `fivefold backup` has written")
        if creates and not directory.is_dir():
            make_private(directory)
        self._is_closed = False
        self._lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._hold()
            self._connection = self._opened()
        except BaseException:
            os.close(self._lock)
            raise

    def _hold(self) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise BackupError(
                f"{self.path.parent} is in use by another process: wait until that is done, or name another directory"
            ) from error

    def _opened(self) -> sqlite3.Connection:
        if not self.path.exists():
            self._create()
        connection = sqlite3.connect(self.path, isolation_level=None)
        try:
            connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA trusted_schema = OFF")
            connection.execute("PRAGMA cell_size_check = ON")
            kind = connection.execute("PRAGMA application_id").fetchone()[0]
            found = dict(connection.execute("SELECT name, value FROM meta")) if kind == BACKUP_APPLICATION_ID else {}
        except sqlite3.DatabaseError as error:
            connection.close()
            raise self._damaged(error) from error
        if kind != BACKUP_APPLICATION_ID or not isinstance(found.get("format"), int):
            connection.close()
            raise BackupError(f"{self.path} is no backup of Fivefold: name the directory of one")
        if found["format"] != BACKUP_FORMAT:
            connection.close()
            raise BackupError(
                f"{self.path} has format {found['format']}, and this Fivefold knows {BACKUP_FORMAT} only: use the "
                "Fivefold that wrote it"
            )
        return connection

    def _create(self) -> None:
        """Whole, or not there at all."""
        unfinished = self.path.with_name(self.path.name + ".new")
        unfinished.unlink(missing_ok=True)
        os.close(open_private(unfinished, os.O_RDWR | os.O_CREAT))
        connection = sqlite3.connect(unfinished, isolation_level=None)
        try:
            connection.execute(f"PRAGMA application_id = {BACKUP_APPLICATION_ID}")
            connection.executescript(f"BEGIN; {_TABLES} COMMIT;")
            connection.execute("INSERT INTO meta VALUES ('format', ?)", (BACKUP_FORMAT,))
        finally:
            connection.close()
        sync(unfinished)
        unfinished.rename(self.path)
        sync(self.path.parent)

    def _damaged(self, error: object) -> BackupError:
        text = " ".join(str(error).split())
        return BackupError(f"{self.path} is damaged ({text}): use another backup, or make this one again elsewhere")

    def __enter__(self) -> BackupFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release it; again does nothing."""
        if not self._is_closed:
            self._is_closed = True
            self._connection.close()
            os.close(self._lock)

    def _fetch(self, statement: str, *values: object) -> list[tuple[object, ...]]:
        try:
            return self._connection.execute(statement, values).fetchall()
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            raise self._damaged(error) from error

    # --- whose it is ------------------------------------------------------------------------------------------

    @property
    def cluster(self) -> str | None:
        """Id of the cluster it is of; None before the first run."""
        rows = self._fetch("SELECT value FROM meta WHERE name = 'cluster'")
        return str(rows[0][0]) if rows else None

    @property
    def cluster_file(self) -> str:
        """Text of the cluster file as of the last run."""
        rows = self._fetch("SELECT value FROM meta WHERE name = 'file'")
        return str(rows[0][0]) if rows else ""

    # --- writing ----------------------------------------------------------------------------------------------

    def begin(self, cluster: str, cluster_file: str) -> Run:
        """The run that was not finished, or a new one.

        Raises:
            BackupError: the backup is of another cluster.
        """
        if self.cluster not in (None, cluster):
            raise BackupError(
                f"{self.path.parent} is a backup of cluster {self.cluster}, not of {cluster}: name another directory"
            )
        with self._transaction():
            named = [("cluster", cluster), ("file", cluster_file)]
            self._connection.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", named)
            last = self.last_run()
            if last is None or last.finished is not None:
                number = 1 if last is None else last.number + 1
                fresh = (number, time.time(), None, 1, "", 0, None, None)
                self._connection.execute("INSERT INTO runs VALUES (?, ?, ?, ?, ?, ?, ?, ?)", fresh)
        run = self.last_run()
        assert run is not None, "it was just made"
        return run

    def holds(self, found: bytes) -> bool:
        """Whether a version of this digest is kept."""
        return bool(self._fetch("SELECT 1 FROM versions WHERE digest = ?", found))

    def entry(self, run: Run, object_id: str) -> Copied | None:
        """What a run has of an object so far."""
        rows = self._fetch(
            "SELECT timestamp, digest FROM entries WHERE run = ? AND object_id = ?", run.number, object_id
        )
        return Copied(object_id, *_blobs(rows[0])) if rows else None

    def add(
        self, run: Run, copied: Sequence[Copied], versions: Mapping[bytes, bytes], cursor: str, changed: int
    ) -> Run:
        """Store a page of a pass: entries, versions by their digests, and how far it has got.

        Raises:
            OSError: the disk is full, or fails.
        """
        with self._transaction():
            self._connection.executemany("INSERT OR IGNORE INTO versions VALUES (?, ?)", list(versions.items()))
            rows = [(run.number, each.object_id, each.timestamp, each.digest) for each in copied]
            self._connection.executemany("INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?)", rows)
            self._connection.execute(
                "UPDATE runs SET cursor = ?, changed = ? WHERE number = ?", (cursor, run.changed + changed, run.number)
            )
        return run._replace(cursor=cursor, changed=run.changed + changed)

    def next_pass(self, run: Run) -> Run:
        """Begin again with the first object."""
        with self._transaction():
            self._connection.execute(
                "UPDATE runs SET pass = ?, cursor = '', changed = 0 WHERE number = ?", (run.turn + 1, run.number)
            )
        return run._replace(turn=run.turn + 1, cursor="", changed=0)

    def finish(self, run: Run) -> Run:
        """Seal the run, and forget what only earlier ones needed."""
        count, list_digest, _ = self._summary(run)
        finished = time.time()
        with self._transaction():
            self._connection.execute(
                "UPDATE runs SET finished = ?, objects = ?, list_digest = ? WHERE number = ?",
                (finished, count, list_digest, run.number),
            )
            self._connection.execute("DELETE FROM entries WHERE run < ?", (run.number,))
            self._connection.execute("DELETE FROM runs WHERE number < ?", (run.number,))
            self._connection.execute("DELETE FROM versions WHERE digest NOT IN (SELECT digest FROM entries)")
        return run._replace(finished=finished, objects=count, list_digest=list_digest)

    def _transaction(self) -> _Transaction:
        return _Transaction(self._connection, self.path)

    # --- reading ----------------------------------------------------------------------------------------------

    def last_run(self) -> Run | None:
        """The last run, finished or not."""
        rows = self._fetch("SELECT * FROM runs ORDER BY number DESC LIMIT 1")
        return Run(*rows[0]) if rows else None  # type: ignore[arg-type]

    def whole_run(self) -> Run:
        """The last run that is finished.

        Raises:
            BackupError: there is none.
        """
        rows = self._fetch("SELECT * FROM runs WHERE finished IS NOT NULL ORDER BY number DESC LIMIT 1")
        if not rows:
            raise BackupError(f"{self.path.parent} holds no finished backup: run `fivefold backup` again to finish it")
        return Run(*rows[0])  # type: ignore[arg-type]

    def objects(self, run: Run) -> Iterator[tuple[Copied, bytes]]:
        """Every object of a run with the canonical bytes of its version, in the order of the ids.

        Raises:
            BackupError: a version is missing, or not what its digest says.
        """
        last = ""
        while rows := self._fetch(_ENTRIES, run.number, last, 64):
            for object_id, timestamp, found, data in rows:
                copied = Copied(str(object_id), *_blobs((timestamp, found)))
                if not isinstance(data, bytes) or digest(data) != copied.digest or copied.object_id <= last:
                    raise self._damaged(f"the version of {copied.object_id} is not the one that was copied")
                last = copied.object_id
                yield copied, data

    def version(self, run: Run, object_id: str) -> Version | None:
        """One object's version; None if the run does not have it.

        Raises:
            BackupError: it is not the one that was copied.
        """
        copied = self.entry(run, object_id)
        if copied is None:
            return None
        rows = self._fetch("SELECT data FROM versions WHERE digest = ?", copied.digest)
        data = rows[0][0] if rows else None
        if not isinstance(data, bytes) or digest(data) != copied.digest:
            raise self._damaged(f"the version of {object_id} is not the one that was copied")
        return self._decoded(object_id, data)

    def _decoded(self, object_id: str, data: bytes) -> Version:
        try:
            return decode_version(data)
        except PeerViolation as violation:
            raise self._damaged(f"the version of {object_id}: {violation}") from None

    def check(self, told: Callable[[int], None] = lambda count: None) -> list[str]:
        """Read everything: a sentence for each problem, empty if all is as it was written.

        Args:
            told: hears how many objects have been looked at.
        """
        try:
            [[page_bytes]] = self._fetch("PRAGMA page_size")
            if self.path.stat().st_size % int(str(page_bytes)):  # SQLite takes what is missing of a page for zeros
                return [f"{self.path} is damaged (it ends within a page): use another backup"]
            problems = [str(row[0]) for row in self._fetch("PRAGMA quick_check(10)") if row[0] != "ok"]
            if problems:
                return [f"{self.path} is damaged ({problems[0]}): use another backup"]
            run = self.whole_run()
            for count, (copied, data) in enumerate(self.objects(run), 1):
                self._decoded(copied.object_id, data)
                told(count)
            count, list_digest, _ = self._summary(run)
        except BackupError as error:
            return [str(error)]
        if (count, list_digest) != (run.objects, run.list_digest):
            return [
                f"{self.path} does not hold the list of objects that was sealed ({count} instead of {run.objects}, or "
                "other ones): use another backup"
            ]
        return []

    def _summary(self, run: Run) -> tuple[int, bytes, int]:
        """How many objects a run has, the digest of their list, and how many bytes of versions."""
        found, count, size, last = blake2b(digest_size=DIGEST_BYTES), 0, 0, ""
        statement = """SELECT object_id, timestamp, digest, length(data) FROM entries LEFT JOIN versions USING (digest)
            WHERE run = ? AND object_id > ? ORDER BY object_id LIMIT ?"""
        while rows := self._fetch(statement, run.number, last, _PAGE_ENTRIES):
            for object_id, timestamp, version_digest, length in rows:
                copied = Copied(str(object_id), *_blobs((timestamp, version_digest)))
                name = copied.object_id.encode()
                found.update(len(name).to_bytes(2, "big") + name + copied.timestamp + copied.digest)
                count += 1
                size += length if isinstance(length, int) else 0
                last = copied.object_id
        return count, found.digest(), size

    def size(self, run: Run) -> int:
        """Bytes of all versions of a run."""
        return self._summary(run)[2]


class _Transaction:
    """All statements within, or none."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection, self._path = connection, path

    def __enter__(self) -> None:
        self._run("BEGIN IMMEDIATE")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._run("COMMIT")
            return
        try:
            self._connection.execute("ROLLBACK")
        except sqlite3.Error:
            pass  # it has been rolled back already, by what went wrong
        if isinstance(error, sqlite3.DatabaseError):
            raise self._sentence(error) from error

    def _run(self, statement: str) -> None:
        try:
            self._connection.execute(statement)
        except sqlite3.DatabaseError as error:
            raise self._sentence(error) from error

    def _sentence(self, error: sqlite3.DatabaseError) -> BackupError:
        text = " ".join(str(error).split())
        return BackupError(f"{self._path} cannot be written ({text}): make room or mend it, and run the same again")


def _blobs(row: Sequence[object]) -> tuple[bytes, bytes]:
    """Timestamp and digest; what has rotted into something else matches nothing."""
    timestamp, found = row
    if not isinstance(timestamp, bytes) or len(timestamp) != TIMESTAMP_BYTES:
        timestamp = bytes(TIMESTAMP_BYTES)
    return timestamp, found if isinstance(found, bytes) and len(found) == DIGEST_BYTES else bytes(DIGEST_BYTES)
