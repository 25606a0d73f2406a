"""What is durable in the journal and not yet in the database: kept in memory, laid over what the database says."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from heapq import nsmallest
from typing import Final

from fivefold.protocol.actions import ObjectRecord, Write
from fivefold.storage.schema import HISTORY, Key, Rows

_OBJECT_BYTES: Final = 400
_ROW_BYTES: Final = 250
"""Memory of an object and of a row beside their own bytes."""


class _Patch:
    """The last word on one object's rows.

    A row is put only while it is not stored. So one that is put and deleted here was never stored below, unless it was
    deleted here before.
    """

    __slots__ = ("deleted", "history", "is_whole", "put")

    def __init__(self) -> None:
        self.history = HISTORY
        self.put: dict[bytes, bytes] = {}
        self.deleted: frozenset[bytes] = frozenset()  # rows below, if they are there; some may be put again
        self.is_whole = False  # whether nothing below counts any more


class Overlay:
    """Coalesced writes: what is left of each row after the last of them.

    Attributes:
        size: bytes of memory that it takes, about.
    """

    def __init__(self, writes: Iterable[Write] = ()) -> None:
        self.size = 0
        self._patches: dict[str, _Patch] = {}
        self.apply(writes)

    def apply(self, writes: Iterable[Write]) -> None:
        """Add writes, oldest first."""
        patches, size = self._patches, self.size
        for write in writes:
            patch = patches.get(write.object_id)
            if patch is None:
                patch = patches[write.object_id] = _Patch()
                size += _OBJECT_BYTES + len(write.object_id)
            size += len(write.history) - len(patch.history)
            patch.history = write.history
            if write.is_whole:
                size -= sum(_ROW_BYTES + len(key) + len(data) for key, data in patch.put.items())
                size -= sum(_ROW_BYTES + len(key) for key in patch.deleted)
                patch.put, patch.deleted, patch.is_whole = {}, frozenset(), True
            put, below = patch.put, []
            for key in write.delete:
                data = put.pop(key, None)
                if data is not None:
                    size -= _ROW_BYTES + len(key) + len(data)
                elif key not in patch.deleted:
                    below.append(key)
                    size += _ROW_BYTES + len(key)
            if below:
                patch.deleted = patch.deleted.union(below)  # not a set to add to: an empty one takes 216 bytes
            for key, data in write.put:
                assert key != HISTORY
                size += len(data) - len(put[key]) if key in put else _ROW_BYTES + len(key) + len(data)
                put[key] = data
        self.size = size

    def object_ids(self) -> Iterable[str]:
        """Ids of all objects that are written to."""
        return self._patches.keys()

    def patched(self, object_id: str, record: ObjectRecord | None) -> ObjectRecord | None:
        """One object as it is with these writes, when it was ``record`` without them."""
        patch = self._patches.get(object_id)
        if patch is None:
            return record
        below = () if record is None or patch.is_whole else record.rows
        rows = {key: data for key, data in below if key not in patch.deleted}
        rows.update(patch.put)
        return ObjectRecord(patch.history, tuple(sorted(rows.items())))

    def rows(self) -> Rows:
        """The same for the database."""
        return dict(self._rows())

    def replaced(self) -> list[Key]:
        """Keys of rows below that were deleted and put again."""
        patches = self._patches.items()
        return [(name, key) for name, patch in patches for key in patch.deleted if key in patch.put]

    def whole(self) -> list[str]:
        """Objects of which nothing below counts."""
        return [object_id for object_id, patch in self._patches.items() if patch.is_whole]

    def is_whole(self, object_id: str) -> bool:
        """Whether nothing below counts of an object."""
        patch = self._patches.get(object_id)
        return patch is not None and patch.is_whole

    def history_of(self, object_id: str) -> bytes | None:
        """An object's history with these writes; None if they have none of it."""
        patch = self._patches.get(object_id)
        return None if patch is None else patch.history

    def apart(self) -> Iterator[Overlay]:
        """The same, one object each."""
        for object_id, patch in self._patches.items():
            part = Overlay()
            part._patches[object_id] = patch
            yield part

    def _rows(self) -> Iterator[tuple[tuple[str, bytes], bytes | None]]:
        for object_id, patch in self._patches.items():
            yield (object_id, HISTORY), patch.history
            for key in patch.deleted:
                yield (object_id, key), None
            for key, data in patch.put.items():
                yield (object_id, key), data


class Layers:
    """The overlay that is being filled, over the one that is being folded, over the database. Used by all threads.

    Args:
        filling: what the journal's last segment holds.
        folding: what the one before holds, if it is not in the database.
    """

    def __init__(self, filling: Overlay, folding: Overlay | None = None) -> None:
        self._lock = threading.Lock()
        self._filling = filling
        self._folding = folding
        self._changes = 0

    @property
    def filling(self) -> Overlay:
        """What the journal's last segment holds; one thread changes it, through :meth:`apply`."""
        return self._filling

    @property
    def folding(self) -> Overlay | None:
        """What the segment before holds until the database has it."""
        return self._folding

    def object_ids(self) -> set[str]:
        """Ids of all objects that are written to."""
        with self._lock:
            return {*self._filling.object_ids(), *(self._folding.object_ids() if self._folding is not None else ())}

    def apply(self, writes: Iterable[Write]) -> None:
        """Add what has become durable: a load sees all of it or none."""
        with self._lock:
            self._filling.apply(writes)

    def rotate(self) -> Overlay:
        """Begin a new overlay; returns the one that is now to be folded."""
        with self._lock:
            assert self._folding is None
            self._folding, self._filling = self._filling, Overlay()
            self._changes += 1
            return self._folding

    def folded(self) -> None:
        """The database holds what was to be folded."""
        with self._lock:
            self._folding = None
            self._changes += 1

    def load(self, object_id: str, below: Callable[[str], ObjectRecord | None]) -> ObjectRecord | None:
        """One object as it is now; ``below`` reads it from the database.

        Story: (1) the database is read, without the writes being folded. (2) They are folded, and no longer laid over
        it. (3) Without looking at the count of changes, the answer would be an object without them.
        """
        while True:
            changes = self._changes
            record = None if self._is_whole(object_id) else below(object_id)
            with self._lock:
                if self._changes == changes:
                    if self._folding is not None:
                        record = self._folding.patched(object_id, record)
                    return self._filling.patched(object_id, record)

    def _is_whole(self, object_id: str) -> bool:
        with self._lock:
            is_folding = self._folding is not None and self._folding.is_whole(object_id)
            return is_folding or self._filling.is_whole(object_id)

    def history_of(self, object_id: str) -> bytes | None:
        """The newest history of an object that the database does not have; None if there is none."""
        with self._lock:
            found = self._filling.history_of(object_id)
            return self._folding.history_of(object_id) if found is None and self._folding is not None else found

    def object_ids_after(self, after: str, limit: int, below: Callable[[str, int], list[str]]) -> list[str]:
        """The first ``limit`` ids greater than ``after``, in order; ``below`` asks the database for its first ones."""
        while True:
            changes = self._changes
            stored = below(after, limit)
            with self._lock:
                if self._changes == changes:
                    folding = () if self._folding is None else self._folding.object_ids()
                    fresh = [name for names in (self._filling.object_ids(), folding) for name in names if name > after]
                    return sorted({*stored, *nsmallest(limit, fresh)})[:limit]
