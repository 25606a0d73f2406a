"""The objects a server has in memory: the hot ones ready for use, the others as the bytes a store would hold.

A replica ready for use takes about three times the memory of its bytes, and most objects are not in use at any moment.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import islice
from typing import Final

import msgspec

from fivefold.protocol.actions import ObjectRecord
from fivefold.protocol.operations import ObjectId
from fivefold.protocol.replica import Replica

HOT_OBJECTS_MAX: Final = 4096
"""Replicas ready for use; the packed ones come back in a few microseconds."""

LOOKAHEAD: Final = 64
"""How many objects beyond the surplus are looked at for ones that may leave."""

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(ObjectRecord).decode


class Cache:
    """Replicas by object, the ones used longest ago leaving first, but none whose last write is not yet durable.

    Attributes:
        hot: the replicas ready for use; one that :meth:`fetch` has found is among them until the next :meth:`shrink`.
    """

    def __init__(self, objects_max: int) -> None:
        """Empty."""
        self._hot_max = min(objects_max, HOT_OBJECTS_MAX)
        self._packed_max = objects_max - self._hot_max
        self.hot: OrderedDict[ObjectId, Replica] = OrderedDict()
        self._packed: OrderedDict[ObjectId, bytes] = OrderedDict()

    def __len__(self) -> int:
        """Objects in memory."""
        return len(self.hot) + len(self._packed)

    def fetch(self, now_ns: int, name: ObjectId) -> bool:
        """Make the object's replica ready for use; False if it is not in memory."""
        if name in self.hot:
            self.hot.move_to_end(name)
            return True
        data = self._packed.pop(name, None)
        if data is None:
            return False
        self.add(now_ns, name, _decode(data))
        return True

    def add(self, now_ns: int, name: ObjectId, record: ObjectRecord | None) -> None:
        """Take up what a store holds of an object; nothing happens if it is in memory already."""
        if name not in self.hot and name not in self._packed:
            replica = self.hot[name] = Replica(name, record)
            if record:
                replica.adopt_leftovers(now_ns)

    def shrink(self, durable: int) -> None:
        """Pack the replicas beyond the limit of hot ones, and forget the objects beyond the limit of all."""
        surplus = len(self.hot) - self._hot_max
        if surplus <= 0:
            return
        oldest = [name for name in islice(self.hot, surplus + LOOKAHEAD) if self.hot[name].sequence <= durable]
        for name in oldest[:surplus]:
            replica = self.hot.pop(name)
            if self._packed_max:
                self._packed[name] = _encode(ObjectRecord(replica.history, tuple(replica.versions.items())))
        while len(self._packed) > self._packed_max:
            self._packed.popitem(last=False)
