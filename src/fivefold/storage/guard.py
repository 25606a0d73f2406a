"""Opens a server's data only if it is this server's, whole, unused by others, and not older than what it promised.

A server that answers with forgotten history is malevolent (PROTOCOL §9), so a wiped or rolled-back data directory must
not go unnoticed. Two places count *generations*: the database, and a record in the identity's directory, which lies
outside the data directory and is not restored with it. A generation is taken at every open, at every clean close, and
once a minute while there are writes. The database is always written first:

1. the database is at 7, the record at 7; a restored copy is at 5: it is older than the record, refused;
2. the server takes generation 8 in the database and dies before the record is written: the database is ahead of the
   record, which no restored copy can be: accepted. The other order would leave 7 and 8, which looks like a rollback,
   and the server would never start again;
3. the first start makes the database under another name, renames it (generation 1), writes the record (1), and only
   then takes generation 2. A database of generation 1 without a record was therefore never used: accepted.

The record only names generations that the database *file* holds without its log (a checkpoint comes first), and the
file alone is compared with it:

4. the server dies and leaves its log; somebody restores yesterday's file beside it. Read together they show today's
   generation over yesterday's objects; the file alone shows yesterday's: refused.

The journal (:mod:`fivefold.storage.recovery`) is bound to the database by the mark in it, which every generation
renews: a journal that is missing, another one's, or does not reach as far as the mark says is refused. The identity
also holds a second, small file that follows every commit (:mod:`fivefold.storage.reach`).

5. the server dies; somebody deletes the journal, or the database's log. The database file says which segments it needs:
   without the first of them refused, and with it nothing is lost;
6. the server dies; somebody puts a copy of all its files back that was taken a second before. The journal does not
   reach as far as the identity says: refused.

What stays hidden: after a loss of power the identity's second file may be older than the journal, and what follows it
is not missed if it is lost as well: at most half a minute of one run on a usual system. Snapshots of the whole machine
roll back the identity too; keep it elsewhere if that is a danger.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import random
import sqlite3
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import Final

import msgspec

from fivefold.errors import DataDirectoryError
from fivefold.storage.checkpointer import GENERATION_SECONDS
from fivefold.storage.contract import OnDurable
from fivefold.storage.files import make_private, open_private, sync
from fivefold.storage.inspector import Inspector
from fivefold.storage.schema import APPLICATION_ID, FORMAT, TABLES, generation_in_file, log_of, refuse_other_format
from fivefold.storage.sqlite import SqliteStorage

DATABASE_NAME: Final = "objects.sqlite"
LOCK_NAME: Final = "lock"
RECORD_NAME: Final = "data-record.json"

QUICK_CHECK_BYTES_MAX: Final = 256 * 1024 * 1024
"""Larger databases are not read whole at every start; ``Inspector.check`` does it on demand."""

FIRST_SHARE_MIN: Final = 0.2
"""A server uses between so much and all of its first journal segment, at random (see Writer)."""

REACH_NAME: Final = "journal-reach"
RECORD_FORMAT: Final = 2

log = logging.getLogger("fivefold.storage")


class DataRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an identity remembers of its data.

    Attributes:
        format: version of this file.
        cluster: id of the cluster the data belongs to.
        server: fingerprint of the server the data belongs to.
        generation: the least generation that the data can have.
        digest: of all these.
    """

    format: int
    cluster: str
    server: str
    generation: int
    digest: str = ""


def open_data(
    data_dir: Path,
    identity_dir: Path,
    cluster_id: str,
    fingerprint: str,
    loop: asyncio.AbstractEventLoop,
    on_durable: OnDurable,
    *,
    fresh_allowed: bool,
    generation_seconds: float = GENERATION_SECONDS,
) -> SqliteStorage:
    """Open, or on the first start make, the data of one server. Blocks on the disk; the lock is held until ``close``.

    Args:
        data_dir: the directory that holds the database; made if it is missing and may be.
        identity_dir: the directory of the server's keys; holds the record.
        cluster_id: id of the cluster that the server is started for.
        fingerprint: of the server's certificate.
        loop: the event loop on whose thread callbacks run.
        on_durable: see :class:`fivefold.storage.Storage`.
        fresh_allowed: whether an identity without a record may begin one: with new data, or with what it finds.
        generation_seconds: how often a store that is written to takes a new generation.

    Raises:
        DataDirectoryError: the data is missing, foreign, older than the record, of an unknown format, damaged, or in
            use by another process; the message says what to do.
    """
    try:
        identity = DataRecord(format=RECORD_FORMAT, cluster=cluster_id, server=fingerprint, generation=1)
        record = _read_record(identity_dir / RECORD_NAME, identity)
        _prepare_directory(data_dir, record=record, fresh_allowed=fresh_allowed)
        release = _lock(data_dir / LOCK_NAME)
    except OSError as error:
        raise DataDirectoryError(f"the data in {data_dir} cannot be opened, fix this first: {error}") from error
    try:
        path = data_dir / DATABASE_NAME
        _maybe_create(path, identity_dir, identity, record=record, fresh_allowed=fresh_allowed)
        _verify(path, identity, record=record, fresh_allowed=fresh_allowed)
        keep = _keeper(identity_dir, identity)
        return SqliteStorage(
            path,
            loop,
            on_durable,
            reach=identity_dir / REACH_NAME,
            on_generation=keep,
            released=release,
            generation_seconds=generation_seconds,
            first_share=random.uniform(FIRST_SHARE_MIN, 1),
        )
    except (OSError, sqlite3.Error) as error:
        release()
        raise DataDirectoryError(f"the data in {data_dir} cannot be opened, fix this first: {error}") from error
    except BaseException:
        release()
        raise


def _read_record(path: Path, identity: DataRecord) -> DataRecord | None:
    try:
        record = msgspec.json.decode(path.read_bytes(), type=DataRecord)
    except FileNotFoundError:
        return None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DataDirectoryError(
            f"{path} cannot be read ({error}): restore it from the backup of the identity"
        ) from error
    refuse_other_format(path, record.format, RECORD_FORMAT)
    if record.digest != _digest_of(record):
        raise DataDirectoryError(
            f"{path} does not match its digest, so it is damaged: restore it from the backup of the identity"
        )
    _refuse_foreign(str(path), identity, cluster=record.cluster, server=record.server)
    return record


def _digest_of(record: DataRecord) -> str:
    """What tells that the record is whole."""
    return blake2b(msgspec.json.encode(msgspec.structs.replace(record, digest="")), digest_size=16).hexdigest()


def _refuse_foreign(what: str, identity: DataRecord, *, cluster: object, server: object) -> None:
    if cluster != identity.cluster:
        raise DataDirectoryError(
            f"{what} belongs to cluster {cluster}, not to {identity.cluster}: give this server its own directory"
        )
    if server != identity.server:
        raise DataDirectoryError(
            f"{what} belongs to server {server}, not to {identity.server}: give this server its own directory"
        )


def _missing(path: Path) -> DataDirectoryError:
    return DataDirectoryError(
        f"{path} is missing although this server has stored data: restore it as it was, or replace the server by one "
        "with a new identity; it must not answer with forgotten history"
    )


def _prepare_directory(data_dir: Path, *, record: DataRecord | None, fresh_allowed: bool) -> None:
    """Nothing is made where something should have been: an unmounted disk must not get a new directory."""
    if data_dir.is_dir():
        return
    if record is not None:
        raise _missing(data_dir)
    if not fresh_allowed:
        raise DataDirectoryError(f"{data_dir} does not exist: mount it, or allow a fresh start if this is the first")
    make_private(data_dir)
    sync(data_dir.parent)


def _lock(path: Path) -> Callable[[], None]:
    """Hold the directory for this process; the system lets go of it with the process, so nothing can be left over."""
    descriptor = open_private(path, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise DataDirectoryError(
            f"{path.parent} is in use by another process: stop that server, or give this one its own directory"
        ) from error
    return lambda: os.close(descriptor)


def _maybe_create(
    path: Path, identity_dir: Path, identity: DataRecord, *, record: DataRecord | None, fresh_allowed: bool
) -> None:
    if path.exists():
        return
    if record is not None:
        raise _missing(path)
    if not fresh_allowed:
        raise DataDirectoryError(f"{path} does not exist: mount its disk, or allow a fresh start if this is the first")
    log = log_of(path)
    if log.exists():
        raise DataDirectoryError(f"{log} lies there without its database: restore the database or remove the log")
    create(path, identity.cluster, identity.server)
    _write_record(identity_dir / RECORD_NAME, identity)


def create(path: Path, cluster_id: str, server_fingerprint: str) -> None:
    """Make an empty database of generation 1 that is either whole at ``path`` or not there at all.

    Raises:
        OSError: the directory cannot be written.
        sqlite3.Error: the database cannot be written.
    """
    unfinished = path.with_name(path.name + ".new")
    for suffix in ("", "-wal", "-shm", "-journal"):
        unfinished.with_name(unfinished.name + suffix).unlink(missing_ok=True)
    SqliteStorage.create(unfinished, cluster_id, server_fingerprint)
    unfinished.chmod(0o600)
    sync(unfinished)
    unfinished.rename(path)
    sync(path.parent)


def _verify(path: Path, identity: DataRecord, *, record: DataRecord | None, fresh_allowed: bool) -> None:
    try:
        with Inspector(path) as inspector:
            if inspector.application_id() != APPLICATION_ID:
                raise DataDirectoryError(
                    f"{path} is not a Fivefold database: move it away and restore the server's own"
                )
            meta = inspector.meta()
            refuse_other_format(path, meta.get("format"), FORMAT)
            _refuse_foreign(str(path), identity, cluster=meta.get("cluster"), server=meta.get("server"))
            is_small = inspector.bytes_used() <= QUICK_CHECK_BYTES_MAX
            problems = inspector.quick_check(1) if is_small else []
            if inspector.tables() != TABLES:
                problems.append("its tables are not as they were made")
            generation = inspector.generation()
            if generation != inspector.generation_in_header():
                problems.append("its header and the row that says what it holds differ")
    except sqlite3.OperationalError as error:
        raise DataDirectoryError(f"{path} cannot be opened, fix this first: {error}") from error
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        raise _damaged(path, str(error)) from error
    if problems:
        raise _damaged(path, problems[0])
    if generation < generation_in_file(path):
        raise _damaged(path, "the log beside it is older than the file")
    _refuse_older(path, generation_in_file(path), record=record, fresh_allowed=fresh_allowed)


def _damaged(path: Path, problem: str) -> DataDirectoryError:
    problem = " ".join(problem.split())  # SQLite says it in several lines
    return DataDirectoryError(
        f"{path} is damaged ({problem}): replace the disk, and the server by one with a new identity"
    )


def _refuse_older(path: Path, generation: int, *, record: DataRecord | None, fresh_allowed: bool) -> None:
    if record is None and generation > 1 and not fresh_allowed:
        raise DataDirectoryError(
            f"{path} has been used but the identity's {RECORD_NAME} is missing: restore it, or allow a fresh start if "
            "you are sure that this is the newest data"
        )
    if record is None and generation > 1:
        log.warning(
            "%s has been used but the identity's %s is missing: it is taken to be the newest data. If it is older, "
            "this server answers with forgotten history, like one that lies: stop it then, and replace it by one with "
            "a new identity",
            path,
            RECORD_NAME,
        )
    if record is not None and generation < record.generation:
        raise DataDirectoryError(
            f"{path} is of generation {generation} although this server had reached {record.generation}: restore the "
            "newest data, or replace the server by one with a new identity; it must not answer with forgotten history"
        )


def _keeper(identity_dir: Path, identity: DataRecord) -> Callable[[int], None]:
    """What follows the database's generations with the record."""

    def keep(generation: int) -> None:
        _write_record(identity_dir / RECORD_NAME, msgspec.structs.replace(identity, generation=generation))

    return keep


def _write_record(path: Path, record: DataRecord) -> None:
    """Replace the file at once and for good: new file, sync, rename, sync of the directory."""
    unfinished = path.with_name(path.name + ".new")
    whole = msgspec.structs.replace(record, digest=_digest_of(record))
    with os.fdopen(open_private(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), "wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(whole)) + b"\n")
    sync(unfinished)
    unfinished.rename(path)
    sync(path.parent)
