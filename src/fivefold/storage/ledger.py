"""What a database must hold, in a tree of digests: what is stale, changed or *missing* is seen when it is read.

A checksum in a row says that the row is whole. It does not say that the row is the newest, or that no row is hidden.

1. A bit flips in a key of SQLite's index. The rows of an object are still there, whole, and no search finds them.
2. The server is asked for the object, and answers "never written": forgotten history, which is malevolent.

So each object has an *entry*: the checksum of its history, the sum of the checksums of its other rows, and its *floor*,
which says how far it had got if its rows are lost (:func:`fivefold.protocol.history.floor_of`). Entries lie
in 65,536 *buckets*, chosen by a digest of the object's id. 256 buckets are a *group*: a row with the digest of each.
The digests of all groups stand in the database's seal (:mod:`fivefold.storage.schema`), which has a checksum and is
bound to the journal and to the identity's record. One transaction changes rows, entries, buckets, groups and seal.

A load reads the bucket with the object's rows, in one statement, and compares both with the digests in memory
(512 KiB). An object without an entry was never written; an object whose rows do not match its entry is damaged.

A damaged group is made again from its buckets. A damaged bucket stays damaged for good: its digest becomes one that no
bucket has (:data:`DAMAGED`), since nobody can say what it held.

The id's digest is keyed with the database's *salt*: a client cannot choose ids that fall into one bucket.
"""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Container, Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Final, NamedTuple

from fivefold.protocol.actions import ObjectRecord
from fivefold.protocol.history import FLOOR_BYTES, NO_FLOOR
from fivefold.storage.schema import (
    GROUPS,
    HISTORY,
    ROOT_BYTES,
    STATEMENT_ROWS_MAX,
    Change,
    DamagedRecord,
    Seal,
    checksum_of,
    is_damage,
)

GROUP_BUCKETS: Final = 256
_KEY_BYTES: Final = 8
_ENTRY: Final = struct.Struct(f">II{FLOOR_BYTES}s")
_SUMS: Final = struct.Struct(">II")
_ENTRY_BYTES: Final = _KEY_BYTES + _ENTRY.size
_GROUP_BYTES: Final = GROUP_BUCKETS * ROOT_BYTES
_NO_BUCKETS: Final = bytes(_GROUP_BYTES)
_EMPTY: Final = bytes(ROOT_BYTES)

DAMAGED: Final = b"\xff" * ROOT_BYTES
"""Stands for the digest of a bucket whose contents are unknown."""

_LOAD: Final = """
SELECT NULL, 0, data FROM buckets WHERE number = ?1 UNION ALL
SELECT row_key, checksum, data FROM records WHERE object_id = ?2
"""
_LOST: Final = b"\xff" * _SUMS.size
"""Sums of an object that could not be written. Later changes leave it wrong: its sum is of rows that nobody has."""

_UPSERT: Final = "ON CONFLICT (number) DO UPDATE SET data = excluded.data"


class Place(NamedTuple):
    """Where an object's entry is: the number of its bucket, and its key there."""

    bucket: int
    key: bytes


class Ledger:
    """The digests of all buckets. The checkpointer's thread changes them; others compare.

    Args:
        salt: of the database.
        roots: the digests of all groups, one after the other.
        groups: the digests of each group's buckets, one after the other; None for a group that is lost.

    Attributes:
        changes: counts up with every change: a reader that finds damage reads again if it has moved meanwhile.
    """

    def __init__(self, salt: bytes, roots: bytes, groups: Sequence[bytes | None]) -> None:
        self._salt = salt
        self._roots = bytearray(roots)
        self._groups = list(groups)
        self._pending: dict[int, bytes] = {}
        self.changes = 0

    @classmethod
    def load(cls, connection: sqlite3.Connection, seal: Seal) -> Ledger:
        """The ledger that ``seal`` vouches for, read in one transaction with it.

        Raises:
            sqlite3.Error: the file cannot be read.
        """
        stored = dict(connection.execute("SELECT number, data FROM bucket_groups"))
        groups: list[bytes | None] = []
        for number in range(GROUPS):
            root = seal.roots[_slot(number)]
            data = stored.get(number, _NO_BUCKETS)
            groups.append(data if _is_group(number, data, root) else _maybe_rebuild(connection, number, root))
        return cls(seal.salt, seal.roots, groups)

    def place(self, object_id: str) -> Place:
        """Where the object's entry is."""
        name = blake2b(object_id.encode(), digest_size=2 + _KEY_BYTES, key=self._salt).digest()
        return Place(int.from_bytes(name[:2], "big"), name[2:])

    def read(self, connection: sqlite3.Connection, object_id: str) -> ObjectRecord | None:
        """The object as of the last commit, None if it was never written.

        Raises:
            DamagedRecord: what is stored is not what was written, or it cannot be told whether it was ever written.
            sqlite3.Error: the file cannot be read.
        """
        while True:
            changes = self.changes
            try:
                return self._read(connection, object_id)
            except DamagedRecord:
                if changes == self.changes:  # or a commit came between reading and comparing
                    raise

    def _read(self, connection: sqlite3.Connection, object_id: str) -> ObjectRecord | None:
        place = self.place(object_id)
        bucket: object = b""
        history, history_checksum, rows_sum = None, 0, 0
        rows = []
        for row_key, checksum, data in connection.execute(_LOAD, (place.bucket, object_id)).fetchall():
            if row_key is None:
                bucket = data
                continue
            if not isinstance(row_key, bytes) or not isinstance(data, bytes):
                raise DamagedRecord(f"{object_id} does not match its checksum")
            if checksum != checksum_of(object_id, row_key, data):
                raise DamagedRecord(f"{object_id} does not match its checksum")
            if row_key == HISTORY:
                history, history_checksum = data, checksum
            else:
                rows.append((row_key, data))
                rows_sum += checksum
        if not isinstance(bucket, bytes) or not self._is_bucket(place.bucket, bucket):
            raise DamagedRecord(
                f"whether {object_id} was ever written cannot be told: its bucket does not match its digest"
            )
        entry = _find(bucket, place.key)
        if history is None:
            if entry is None and not rows:
                return None
            raise DamagedRecord(f"{object_id} has no history")
        if entry is None or entry[: _SUMS.size] != sums_of(history_checksum, rows_sum):
            raise DamagedRecord(f"{object_id} is not stored as it was written: rows are missing or old")
        return ObjectRecord(history, tuple(sorted(rows)))

    def is_stray(self, connection: sqlite3.Connection, object_id: str) -> bool:
        """Whether an object of which there are rows was never written: a bit of another one's id has flipped.

        Raises:
            sqlite3.Error: the file cannot be read.
        """
        place = self.place(object_id)
        found = connection.execute("SELECT data FROM buckets WHERE number = ?", (place.bucket,)).fetchone()
        data = b"" if found is None else found[0]
        return isinstance(data, bytes) and self._is_bucket(place.bucket, data) and _find(data, place.key) is None

    def floor(self, connection: sqlite3.Connection, object_id: str) -> bytes:
        """How far an object had got, whatever has become of its rows; empty if nobody can tell.

        Raises:
            sqlite3.Error: the file cannot be read.
        """
        place = self.place(object_id)
        found = connection.execute("SELECT data FROM buckets WHERE number = ?", (place.bucket,)).fetchone()
        data = b"" if found is None else found[0]
        if not isinstance(data, bytes) or not self._is_bucket(place.bucket, data):
            return b""
        entry = _find(data, place.key)
        return b"" if entry is None or entry[_SUMS.size :] == NO_FLOOR else entry[_SUMS.size :]

    def _is_bucket(self, number: int, data: bytes) -> bool:
        group, slot = divmod(number, GROUP_BUCKETS)
        found = _bucket_digest(number, data)
        for digests in (self._groups[group], self._pending.get(group)):
            if digests is not None and digests[_slot(slot)] == found:
                return True
        return False

    # --- changes: one transaction at a time ---------------------------------------------------------------------

    def is_readable(self, connection: sqlite3.Connection, bucket: int) -> bool:
        """Whether SQLite can read this bucket."""
        try:
            connection.execute("SELECT data FROM buckets WHERE number = ?", (bucket,)).fetchall()
        except sqlite3.Error as error:
            if not is_damage(error):
                raise
            return False
        return True

    def write(
        self, connection: sqlite3.Connection, changes: Mapping[str, Change], lost: Container[int] = frozenset()
    ) -> None:
        """Enter what became of each object, as a part of the transaction under way; ``end`` must follow.

        Args:
            connection: in a transaction.
            changes: by object.
            lost: numbers of buckets that cannot be read.

        Raises:
            sqlite3.Error: as of any statement.
        """
        buckets: dict[int, dict[bytes, Change]] = {}
        for object_id, change in changes.items():
            place = self.place(object_id)
            buckets.setdefault(place.bucket, {})[place.key] = change
        groups: dict[int, bytearray] = {}
        numbers = sorted(buckets)
        for start in range(0, len(numbers), STATEMENT_ROWS_MAX):
            chunk = numbers[start : start + STATEMENT_ROWS_MAX]
            self._write_buckets(connection, {number: buckets[number] for number in chunk}, groups, lost)
        rows = [(number, bytes(digests)) for number, digests in groups.items()]
        _upsert(connection, "bucket_groups", rows)
        self._pending = dict(rows)
        self.changes += 1

    def _write_buckets(
        self,
        connection: sqlite3.Connection,
        buckets: Mapping[int, Mapping[bytes, Change]],
        groups: dict[int, bytearray],
        lost: Container[int],
    ) -> None:
        readable = [number for number in buckets if number not in lost]
        marks = ",".join("?" * len(readable))
        stored = dict(connection.execute(f"SELECT number, data FROM buckets WHERE number IN ({marks})", readable))  # noqa: S608 placeholders only
        rows = []
        for number, changes in buckets.items():
            group, slot = divmod(number, GROUP_BUCKETS)
            if group not in groups:
                groups[group] = bytearray(self._groups[group] or DAMAGED * GROUP_BUCKETS)
            data, found = stored.get(number, b""), DAMAGED
            # What has rotted is not to be vouched for by the next write.
            if number not in lost and isinstance(data, bytes) and self._is_bucket(number, data):
                data = _changed(data, changes)
                rows.append((number, data))
                found = _bucket_digest(number, data)
            groups[group][_slot(slot)] = found
        _upsert(connection, "buckets", rows)

    @property
    def roots(self) -> bytes:
        """The digests of all groups, with the changes under way."""
        roots = bytearray(self._roots)
        for number, digests in self._pending.items():
            roots[_slot(number)] = _group_digest(number, digests)
        return bytes(roots)

    def end(self, *, is_committed: bool) -> None:
        """The transaction is over: its changes hold from now on, or never did."""
        if is_committed:
            self._roots[:] = self.roots
            for group, digests in self._pending.items():
                self._groups[group] = digests
        self._pending = {}
        self.changes += 1

    # --- everything ---------------------------------------------------------------------------------------------

    def count(self, connection: sqlite3.Connection, problems: list[str]) -> int:
        """How many entries there are; adds a sentence to ``problems`` for each bucket that cannot be trusted."""
        entries = 0
        stored = dict(connection.execute("SELECT number, data FROM buckets"))
        used = {number // GROUP_BUCKETS for number in stored if isinstance(number, int)}
        empty = {group for group, digests in enumerate(self._groups) if digests == _NO_BUCKETS} - used
        for number in range(GROUPS * GROUP_BUCKETS):
            if number // GROUP_BUCKETS in empty:
                continue
            data = stored.get(number, b"")
            if isinstance(data, bytes) and self._is_bucket(number, data):
                entries += len(data) // _ENTRY_BYTES
            else:
                problems.append(f"bucket {number} of the ledger is damaged: nobody can tell what objects it had")
        return entries


def sums_of(history_checksum: int, rows_sum: int) -> bytes:
    """What an entry's value begins with."""
    return _SUMS.pack(history_checksum, rows_sum & 0xFFFFFFFF)


def _slot(number: int) -> slice:
    """Where the digest of a bucket is in its group, or that of a group in the roots."""
    return slice(number * ROOT_BYTES, (number + 1) * ROOT_BYTES)


def _changed(bucket: bytes, changes: Mapping[bytes, Change]) -> bytes:
    entries = dict(_entries(bucket))
    for key, change in changes.items():
        history, rows_sum, floor = _ENTRY.unpack(entries.get(key, bytes(_ENTRY.size)))
        if change.floor is not None:
            floor = change.floor
        if change.is_lost:
            entries[key] = _LOST + floor
            continue
        if change.history_checksum is not None:
            history = change.history_checksum
        entries[key] = sums_of(history, change.rows_sum + (0 if change.is_whole else rows_sum)) + floor
    return b"".join([key + value for key, value in entries.items()])


def _entries(bucket: bytes) -> Iterator[tuple[bytes, bytes]]:
    for start in range(0, len(bucket), _ENTRY_BYTES):
        yield bucket[start : start + _KEY_BYTES], bucket[start + _KEY_BYTES : start + _ENTRY_BYTES]


def _find(bucket: bytes, key: bytes) -> bytes | None:
    start = bucket.find(key)
    while start % _ENTRY_BYTES and start >= 0:
        start = bucket.find(key, start + 1)
    return bucket[start + _KEY_BYTES : start + _ENTRY_BYTES] if start >= 0 else None


def _bucket_digest(number: int, data: bytes) -> bytes:
    return blake2b(data, digest_size=ROOT_BYTES, salt=number.to_bytes(4, "big")).digest() if data else _EMPTY


def _group_digest(number: int, digests: bytes) -> bytes:
    if digests == _NO_BUCKETS:
        return _EMPTY
    return blake2b(digests, digest_size=ROOT_BYTES, salt=number.to_bytes(4, "big")).digest()


def _is_group(number: int, data: object, root: bytes) -> bool:
    return isinstance(data, bytes) and len(data) == _GROUP_BYTES and _group_digest(number, data) == root


def _maybe_rebuild(connection: sqlite3.Connection, number: int, root: bytes) -> bytes | None:
    """A group's digests from its buckets, if these are what they were."""
    first = number * GROUP_BUCKETS
    query = "SELECT number, data FROM buckets WHERE number BETWEEN ? AND ?"
    stored = dict(connection.execute(query, (first, first + GROUP_BUCKETS - 1)))
    found = [stored.get(each, b"") for each in range(first, first + GROUP_BUCKETS)]
    if not all(isinstance(data, bytes) for data in found):
        return None
    digests = b"".join([_bucket_digest(first + slot, data) for slot, data in enumerate(found)])
    return digests if _group_digest(number, digests) == root else None


def _upsert(connection: sqlite3.Connection, table: str, rows: Sequence[tuple[int, bytes]]) -> None:
    for start in range(0, len(rows), STATEMENT_ROWS_MAX):
        chunk = rows[start : start + STATEMENT_ROWS_MAX]
        values = ",".join(["(?,?)"] * len(chunk))
        parameters = [value for row in chunk for value in row]
        connection.execute(f"INSERT INTO {table} VALUES {values} {_UPSERT}", parameters)  # noqa: S608 placeholders only
