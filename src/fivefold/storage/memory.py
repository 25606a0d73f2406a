"""A store that forgets everything with its process: for tests, simulation and experiments."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from heapq import nsmallest
from itertools import chain
from typing import Final

import msgspec

from fivefold.protocol.actions import ObjectRecord, Write
from fivefold.storage.contract import Loaded, OnDurable

RECENT_OBJECTS_MAX: Final = 1024
"""Objects kept as they are, last written first; packing one takes 15 µs, as much as a server spends on an update."""

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(ObjectRecord).decode


class MemoryStorage:
    """Writes are "durable" as soon as they are staged; an object not written lately is one packed bytes object.

    The versions of an object repeat its history's timestamps and most of each other's ring of operations: packing
    saves a third of a small object, and a hundred thousand of them fit in 100 MB.

    ``on_durable`` is called from within ``stage``. A driver that stages again from within ``on_durable`` is called
    again after it has returned, not recursively; one call then covers everything staged in between.
    """

    failure: Final[str | None] = None
    """Memory does not fail half-way."""
    staged_bytes: Final = 0
    """Nothing waits."""

    def __init__(self, on_durable: OnDurable) -> None:
        self._on_durable = on_durable
        self._recent: dict[str, tuple[bytes, dict[bytes, bytes]]] = {}  # history and versions
        self._packed: dict[str, bytes] = {}
        self._staged = 0
        self._told = 0
        self._is_telling = False
        self._is_closed = False

    @property
    def count(self) -> int:
        """How many objects were ever written."""
        return len(self._recent) + len(self._packed)

    def object_ids(self, after: str = "", limit: int = 1000) -> list[str]:
        """The first ``limit`` ids greater than ``after``, in code-point order."""
        return nsmallest(limit, (object_id for object_id in chain(self._recent, self._packed) if object_id > after))

    def load(self, object_id: str, done: Loaded) -> None:
        """Call ``done`` with the object's record before returning."""
        if not self._is_closed:
            done(self._find(object_id))

    def stage(self, sequence: int, writes: Sequence[Write]) -> None:
        """Apply ``writes`` and call ``on_durable`` (see the class on calls from within ``on_durable``)."""
        assert sequence > self._staged
        assert not self._is_closed
        for write in writes:
            self._apply(write)
        self._staged = sequence
        self._tell()

    def close(self) -> None:
        """Forget everything."""
        self._is_closed = True
        self._recent.clear()
        self._packed.clear()

    def _find(self, object_id: str) -> ObjectRecord | None:
        recent = self._recent.get(object_id)
        if recent is not None:
            history, versions = recent
            return ObjectRecord(history, tuple(sorted(versions.items())))
        data = self._packed.get(object_id)
        return None if data is None else _decode(zlib.decompress(data))

    def _apply(self, write: Write) -> None:
        recent = self._recent.pop(write.object_id, None)
        if recent is not None:
            versions = recent[1]
        else:
            record = self._find(write.object_id)
            versions = {} if record is None else dict(record.versions)
            self._packed.pop(write.object_id, None)
        for timestamp in write.delete:
            versions.pop(timestamp, None)
        versions.update(write.put)
        self._recent[write.object_id] = (write.history, versions)
        if len(self._recent) > RECENT_OBJECTS_MAX:
            oldest = next(iter(self._recent))
            self._packed[oldest] = zlib.compress(_encode(self._find(oldest)), 1)
            del self._recent[oldest]

    def _tell(self) -> None:
        if self._is_telling:
            return
        self._is_telling = True
        try:
            while self._told < self._staged and not self._is_closed:
                self._told = self._staged
                self._on_durable(self._told)
        finally:
            self._is_telling = False
