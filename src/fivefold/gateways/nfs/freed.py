"""File ids to use again, and the chunks that removed files leave behind.

No list of free ids is kept on the servers. An id is free if its inode is, and an update that takes one makes sure: so a
gateway that starts looks through the inodes below the counter, beside its work, and one that removes a file knows its
id. Nothing is lost by a crash, whenever it comes. New ids come from the counter, many at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

from fivefold.gateways.nfs import data
from fivefold.gateways.nfs.codes import Kind
from fivefold.gateways.nfs.limits import (
    DIRTY_AGE_S,
    DIRTY_IDS_MAX,
    FREE_IDS_MAX,
    GROUP,
    IDS_AT_ONCE,
)
from fivefold.gateways.nfs.objects import ROOT, Chunk, Ids, Inode, Refused
from fivefold.gateways.nfs.store import Ref, Store


class Freed:
    """Hands out file ids, and empties chunks."""

    def __init__(self, store: Store, export: str, seconds: Callable[[], float]) -> None:
        """Know of no free id yet."""
        self._store, self._export, self._seconds = store, export, seconds
        self._free: dict[int, None] = {}
        self._dirty: dict[int, float] = {}
        self._reserving = asyncio.Lock()
        self._position = ROOT + 1

    def inode(self, id: int) -> Ref:
        """Where an inode is kept."""
        return Inode, f"{self._export}/{id}"

    def chunk(self, id: int, number: int) -> Ref:
        """Where a chunk is kept."""
        return Chunk, f"{self._export}/{id}.{number}"

    async def take(self) -> int:
        """An id that seems free: the newest freed one first, whose chunks are then written over."""
        for known in (self._dirty, self._free):
            if known:
                return known.popitem()[0]
        async with self._reserving:
            if not self._free:
                first = await self._store.call(data.reserve, [(Ids, self._export)], count=IDS_AT_ONCE)
                self._free.update(dict.fromkeys(range(first + IDS_AT_ONCE - 1, first - 1, -1)))
        return self._free.popitem()[0]

    def give(self, id: int, *, is_dirty: bool) -> None:
        """This id is free (again)."""
        if is_dirty:
            self._dirty[id] = self._seconds()
        elif len(self._free) < FREE_IDS_MAX:
            self._free[id] = None

    async def tend(self) -> None:
        """Empty chunks, and look for free ids, for ever; a lost quorum is waited for."""
        while True:
            try:
                await self.empty_old()
                if len(self._free) < FREE_IDS_MAX:
                    await self._search()
            except Refused:
                pass
            await asyncio.sleep(DIRTY_AGE_S / 5)

    async def empty_old(self, *, is_all: bool = False) -> None:
        """Empty the chunks of files freed long ago, and of more than a bounded number of others."""
        for id in list(self._old(is_all)):
            if self._dirty.pop(id, None) is not None:
                await self.empty(id)
                self.give(id, is_dirty=False)

    def _old(self, is_all: bool) -> Iterator[int]:
        many, latest = len(self._dirty) - DIRTY_IDS_MAX, self._seconds() - DIRTY_AGE_S
        for at, (id, since) in enumerate(self._dirty.items()):
            if is_all or at < many or since <= latest:
                yield id

    async def empty(self, id: int) -> None:
        """Empty what no longer counts in a file that is there, or that is gone."""
        while numbers := await self._store.call(data.to_empty, [self.inode(id)], many=GROUP):
            chunks = [self.chunk(id, number) for number in numbers]
            await self._store.call(data.empty, [self.inode(id), *chunks], numbers=numbers)

    async def _search(self) -> None:
        """Look at all inodes below the counter, once."""
        end = await self._store.call(data.reserved, [(Ids, self._export)])
        while self._position < end and len(self._free) < FREE_IDS_MAX:
            ids = range(self._position, min(self._position + GROUP, end))
            found = await self._store.call(data.peek, [self.inode(id) for id in ids])
            self._position = ids.stop
            for id, (kind, is_dirty) in zip(ids, found, strict=True):
                if kind == Kind.FREE and id not in self._dirty:
                    self.give(id, is_dirty=is_dirty)
                elif is_dirty:
                    await self.empty(id)
