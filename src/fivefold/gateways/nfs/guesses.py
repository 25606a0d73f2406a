"""Which objects an operation probably needs: what the gateway saw last, and no answer to anybody."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, NamedTuple, TypeVar

from fivefold.gateways.nfs import names
from fivefold.gateways.nfs.limits import GROUP, HINTS_MAX, SMALL_BYTES_MAX
from fivefold.gateways.nfs.objects import (
    NO_BUCKETS,
    PLACE_BITS,
    Elsewhere,
    Entries,
    Moved,
    Name,
    bucket_at,
    bucket_of,
    places_of,
)
from fivefold.gateways.nfs.store import Ref

K = TypeVar("K")
V = TypeVar("V")

_SMALL: Final = (NO_BUCKETS, 0)


class Handle(NamedTuple):
    """Which file: what a file handle says."""

    id: int
    generation: int


class Guesses:
    """Shapes of directories, files under names, sizes of files; the oldest guesses make room for new ones."""

    def __init__(self, export: str) -> None:
        """Of one export; nothing is known."""
        self._export = export
        self._shapes: OrderedDict[int, tuple[int, int]] = OrderedDict()
        self._children: OrderedDict[tuple[int, bytes], int] = OrderedDict()
        self._sizes: OrderedDict[int, int] = OrderedDict()
        self._chunked: OrderedDict[int, None] = OrderedDict()  # small files whose beginning is in a chunk all the same

    def bucket(self, directory: int, number: int) -> Ref:
        """Where a bucket is kept."""
        return Entries, f"{self._export}/{directory}.{number}"

    def place(self, directory: Handle, name: bytes) -> tuple[Name, list[Ref]]:
        """The name with the bucket that it is probably in; none if the directory probably has none."""
        level, split = self.shape(directory.id)
        if level < 0:
            return Name(directory.generation, name, NO_BUCKETS), []
        number = bucket_of(level, split, places_of(name)[1])
        return Name(directory.generation, name, number), [self.bucket(directory.id, number)]

    def shape(self, directory: int) -> tuple[int, int]:
        """Level and split of a directory."""
        return self._shapes.get(directory, _SMALL)

    def child(self, directory: int, name: bytes) -> int | None:
        """The file that a name leads to."""
        return self._children.get((directory, name))

    def size(self, id: int) -> int:
        """A file's size."""
        return self._sizes.get(id, SMALL_BYTES_MAX)

    def is_small(self, id: int, end: int) -> bool:
        """Whether the file's beginning is in its inode, and stays there if ``end`` is the end of what is written."""
        return id not in self._chunked and max(end, self._sizes.get(id, 0)) <= SMALL_BYTES_MAX

    def learn_shape(self, directory: int, level: int, split: int) -> None:
        """A directory has these buckets."""
        _remember(self._shapes, directory, (level, split))

    def learn_child(self, directory: int, name: bytes, child: int) -> None:
        """The name leads to this file, or (0) to none."""
        if child > 0:
            _remember(self._children, (directory, name), child)
        else:
            self._children.pop((directory, name), None)

    def learn_size(self, id: int, size: int) -> None:
        """A file has this size."""
        _remember(self._sizes, id, size)
        if size == 0:
            self._chunked.pop(id, None)

    def learn_data(self, id: int, elsewhere: Elsewhere) -> None:
        """What an operation on a file's data that was tried on the wrong objects says."""
        size, is_chunked = elsewhere.args
        self.learn_size(id, size)
        if is_chunked:
            _remember(self._chunked, id, None)
        else:
            self._chunked.pop(id, None)

    def learn(self, directory: Handle, name: bytes, moved: Moved) -> None:
        """What an operation that was tried on the wrong objects says."""
        level, split, child = moved.args
        self.learn_shape(directory.id, level, split)
        if child != names.UNKNOWN:
            self.learn_child(directory.id, name, child)

    def forget(self, id: int) -> None:
        """The id is another file's from now on."""
        self._shapes.pop(id, None)
        self._sizes.pop(id, None)
        self._chunked.pop(id, None)


def _remember(known: OrderedDict[K, V], key: K, value: V) -> None:
    known[key] = value
    known.move_to_end(key)
    if len(known) > HINTS_MAX:
        known.popitem(last=False)


def buckets_from(level: int, split: int, place: int, many: int) -> tuple[list[int], int]:
    """Numbers of the buckets from a place on, a limited number, and the place behind them."""
    numbers: list[int] = []
    if level < 0:
        return numbers, 1 << PLACE_BITS
    while place < 1 << PLACE_BITS and len(numbers) < min(many, GROUP):
        number, place = bucket_at(level, split, place)
        numbers.append(number)
    return numbers, place
