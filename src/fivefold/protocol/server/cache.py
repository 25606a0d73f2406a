"""The objects a server has in memory: the hot ones ready for use, the others as the bytes a store would hold.

A replica ready for use takes about three times the memory of its bytes, and most objects are not in use at any moment.
Which of the hot ones leave is decided by second chance: to keep them in the order of their use would touch two others
for each object that is used, and with many objects each touch is a wait for the memory.
"""

from __future__ import annotations

import zlib
from collections import OrderedDict
from heapq import nsmallest
from itertools import islice
from typing import Final

import msgspec

from fivefold.protocol.actions import Damaged, ObjectRecord, Page
from fivefold.protocol.history import trusted_history
from fivefold.protocol.limits import CACHED_BYTES_MAX, PACKED_BYTES_MAX
from fivefold.protocol.operations import ObjectId
from fivefold.protocol.records import INITIAL_HISTORY, LogicalTimestamp
from fivefold.protocol.server.replica import Replica

HOT_OBJECTS_MAX: Final = 4096
"""Replicas ready for use; the packed ones come back in a few microseconds."""

_REPLICA_BYTES: Final = 2048
"""What a replica takes beside its versions and its history's bytes: its entries, MACs and containers."""

LOOKAHEAD: Final = 64
"""How many objects beyond the surplus are looked at for ones that may leave."""

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(ObjectRecord).decode


def _pack(replica: Replica) -> bytes:
    """Its record, compressed: a third of the memory, for some 15 µs, half of what a server spends on an update."""
    return zlib.compress(_encode(replica.record()), 1)


def _unpack(data: bytes) -> ObjectRecord:
    return _decode(zlib.decompress(data))


class Cache:
    """Replicas by object; those not used lately leave first, but none whose last write is not yet durable.

    Attributes:
        size: about how many bytes all of them take.
        hot: the replicas ready for use; one that :meth:`fetch` has found is among them until the next :meth:`shrink`.
    """

    def __init__(self, objects_max: int | None, bytes_max: int = CACHED_BYTES_MAX) -> None:
        """Empty; without ``objects_max`` no object is ever forgotten that has been written."""
        self._hot_max = HOT_OBJECTS_MAX if objects_max is None else min(objects_max, HOT_OBJECTS_MAX)
        self._packed_max = None if objects_max is None else objects_max - self._hot_max
        self.hot: OrderedDict[ObjectId, Replica] = OrderedDict()
        self._packed: OrderedDict[ObjectId, bytes] = OrderedDict()
        self._bytes_max = bytes_max
        self.size = 0

    def __len__(self) -> int:
        """Objects in memory."""
        return len(self.hot) + len(self._packed)

    def fetch(self, now_ns: int, name: ObjectId) -> bool:
        """Make the object's replica ready for use; False if it is not in memory."""
        replica = self.hot.get(name)
        if replica is not None:
            replica.is_recent = True
            return True
        data = self._packed.get(name)
        if data is None:
            return False
        replica = Replica(name, _unpack(data), now_ns)
        self.size -= len(self._packed.pop(name))
        self.hot[name] = replica
        self.measure(replica)
        return True

    def page(self, after: ObjectId, objects_max: int, bytes_max: int) -> Page:
        """A page of the list of what was written, for a server without a store: it looks at every id."""
        names = nsmallest(objects_max + 1, [name for name in (*self.hot, *self._packed) if name > after])
        objects: list[tuple[str, ObjectRecord | Damaged]] = []
        size = 0
        for name in names:
            if len(objects) == objects_max or size >= bytes_max:
                return Page(tuple(objects), is_last=False)
            replica = self.hot.get(name)
            if replica is None or replica.history != INITIAL_HISTORY:
                objects.append((name, _unpack(self._packed[name]) if replica is None else replica.record()))
                size += len(self._packed[name]) if replica is None else replica.counted
        return Page(tuple(objects), is_last=True)

    def has_durable(self, name: ObjectId, timestamp: LogicalTimestamp, durable: int) -> bool:
        """Whether this is the object's latest candidate, and its transaction is among the durable ones.

        What is not in memory is not looked for: whoever asks then has the object read.
        """
        replica = self.hot.get(name)
        if replica is not None:
            return replica.latest == timestamp and replica.sequence <= durable
        data = self._packed.get(name)
        return data is not None and trusted_history(_unpack(data).history)[-1].candidate.timestamp == timestamp

    def forget_macs(self) -> None:
        """The keys have changed."""
        for replica in self.hot.values():
            replica.macs = None

    def drop(self, name: ObjectId) -> None:
        """Have nothing of the object in memory any more."""
        replica = self.hot.pop(name, None)
        self.size -= 0 if replica is None else replica.counted
        self.size -= len(self._packed.pop(name, b""))

    def add(self, now_ns: int, name: ObjectId, record: ObjectRecord | None) -> None:
        """Take up what a store holds of an object; nothing happens if it is in memory already."""
        if name not in self.hot and name not in self._packed:
            self.hot[name] = replica = Replica(name, record, now_ns)
            self.measure(replica)

    def measure(self, replica: Replica) -> None:
        """Count what a hot replica takes now; to be called when it has changed."""
        size = replica.size + len(replica.history) + _REPLICA_BYTES
        self.size += size - replica.counted
        replica.counted = size

    def shrink(self, durable: int) -> None:
        """Pack the replicas beyond the limit of hot ones, and forget the objects beyond the limits of all."""
        surplus = len(self.hot) - self._hot_max
        if surplus <= 0 and (self.size <= self._bytes_max or self._packed_max is None):
            return
        while self._packed and self._is_too_large:
            self._drop_packed()
        for name in list(islice(self.hot, max(surplus, 0) + LOOKAHEAD)):
            if surplus <= 0 and not self._is_too_large:
                break
            replica = self.hot[name]
            if replica.is_recent:
                replica.is_recent = False
                self.hot.move_to_end(name)
            elif replica.sequence <= durable:
                self._cool(name, replica)
                surplus -= 1
        while self._packed_max is not None and len(self._packed) > self._packed_max:
            self._drop_packed()

    @property
    def _is_too_large(self) -> bool:
        return self.size > self._bytes_max and self._packed_max is not None

    def _cool(self, name: ObjectId, replica: Replica) -> None:
        """Pack a replica, or forget it: what was never written, or can be read again sooner than unpacked."""
        is_kept = self._packed_max is None or (self._packed_max > 0 and replica.counted <= PACKED_BYTES_MAX)
        packed = _pack(replica) if is_kept and replica.history != INITIAL_HISTORY else b""
        del self.hot[name]
        self.size -= replica.counted
        if packed:
            self._packed[name] = packed
            self.size += len(packed)

    def _drop_packed(self) -> None:
        self.size -= len(self._packed.popitem(last=False)[1])
