"""A store that forgets everything with its process: for tests, simulation and experiments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from fivefold.protocol.actions import ObjectRecord, Write
from fivefold.storage.contract import Loaded, OnDurable

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(tuple[bytes | int, ...]).decode
_LENGTH_BITS: Final = 16


class MemoryStorage:
    """Keeps one compact bytes object per replicated object; writes are "durable" as soon as they are staged.

    ``on_durable`` is called from within ``stage``. A driver that stages again from within ``on_durable`` is called
    again after it has returned, not recursively; one call then covers everything staged in between.
    """

    def __init__(self, on_durable: OnDurable) -> None:
        self._on_durable = on_durable
        self._records: dict[str, bytes] = {}
        self._staged = 0
        self._told = 0
        self._is_telling = False
        self._is_closed = False

    @property
    def failure(self) -> str | None:
        """None: memory does not fail half-way."""
        return None

    @property
    def staged_bytes(self) -> int:
        """0: nothing waits."""
        return 0

    @property
    def count(self) -> int:
        """How many objects were ever written."""
        return len(self._records)

    def object_ids(self, after: str = "", limit: int = 1000) -> list[str]:
        """The first ``limit`` ids greater than ``after``, in code-point order."""
        return sorted(object_id for object_id in self._records if object_id > after)[:limit]

    def load(self, object_id: str, done: Loaded) -> None:
        """Call ``done`` with the object's record before returning."""
        if not self._is_closed:
            data = self._records.get(object_id)
            done(None if data is None else _unpack(data))

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
        self._records.clear()

    def _apply(self, write: Write) -> None:
        data = self._records.get(write.object_id)
        versions = {} if data is None else dict(_unpack(data).versions)
        for timestamp in write.delete:
            versions.pop(timestamp, None)
        versions.update(write.put)
        self._records[write.object_id] = _pack(write.history, versions)

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


def _pack(history: bytes, versions: dict[bytes, bytes]) -> bytes:
    """History, then timestamp and version in turn; a timestamp that the history spells out is a reference into it.

    A version's timestamp is nearly always one of the history's candidates: at about 90 bytes each, references save a
    fifth of a small object.
    """
    parts: list[bytes | int] = [history]
    for timestamp in sorted(versions):
        start = history.find(timestamp)
        is_found = start >= 0 and len(timestamp) < 1 << _LENGTH_BITS
        parts += (start << _LENGTH_BITS | len(timestamp) if is_found else timestamp, versions[timestamp])
    return _encode(parts)


def _unpack(data: bytes) -> ObjectRecord:
    history, *rest = _decode(data)
    assert isinstance(history, bytes)
    versions = []
    for key, version in zip(rest[::2], rest[1::2], strict=True):
        assert isinstance(version, bytes)
        versions.append((key if isinstance(key, bytes) else _referred(history, key), version))
    return ObjectRecord(history, tuple(versions))


def _referred(history: bytes, reference: int) -> bytes:
    start, length = reference >> _LENGTH_BITS, reference & ((1 << _LENGTH_BITS) - 1)
    return history[start : start + length]
