"""Directories as wholes: their listings, and how they get more buckets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from fivefold.gateways.nfs import data, names
from fivefold.gateways.nfs.codes import Kind
from fivefold.gateways.nfs.guesses import Guesses, Handle, buckets_from
from fivefold.gateways.nfs.limits import ATTEMPTS_MAX, BUCKET_LOAD, GROUP
from fivefold.gateways.nfs.objects import COOKIE_BITS, COOKIE_FIRST, PLACE_BITS, Attributes, Caller, Moved, Refused
from fivefold.gateways.nfs.store import LATER, Ref, Store


class File(NamedTuple):
    """A file that a name leads to."""

    handle: Handle
    attributes: Attributes


class Listed(NamedTuple):
    """A directory's entry."""

    id: int
    name: bytes
    cookie: int


class Directories:
    """Those of one tree."""

    def __init__(self, store: Store, inode: Callable[[int], Ref], guesses: Guesses) -> None:
        """Use the tree's objects and guesses."""
        self._store, self._inode, self._guesses = store, inode, guesses
        self._splitting: set[int] = set()

    async def read(
        self, directory: Handle, cookie: int, many: int, who: Caller
    ) -> tuple[list[Listed], bool, Attributes]:
        """Entries behind the cookie, about ``many``; whether the directory ends there; its attributes."""
        after = max(cookie, COOKIE_FIRST - 1)
        place = max(0, after - COOKIE_FIRST) >> COOKIE_BITS
        listed: list[Listed] = []
        attempts = 0
        while attempts < ATTEMPTS_MAX:
            level, split = self._guesses.shape(directory.id)
            numbers, end = buckets_from(level, split, place, 1 + many // BUCKET_LOAD)
            objects = [self._inode(directory.id), *(self._guesses.bucket(directory.id, number) for number in numbers)]
            given = {"generation": directory.generation, "level": level, "split": split, "who": who}
            try:
                page = await self._store.call(names.read_entries, objects, after=after, limit=many, **given)
            except Moved as moved:
                self._guesses.learn_shape(directory.id, *moved.args[:2])
                attempts += 1
                continue
            if not listed and cookie < COOKIE_FIRST - 1:
                dots = [Listed(directory.id, b".", 1), Listed(page.parent, b"..", 2)]
                listed += dots[cookie:]
            listed += [Listed(id, name, at) for at, id, name in page.entries]
            is_cut, place = len(page.entries) == many, end
            if is_cut or listed or end >= 1 << PLACE_BITS:
                return listed, end >= 1 << PLACE_BITS and not is_cut, page.directory
        raise LATER

    async def files(self, ids: list[int]) -> list[File | None]:
        """Of each of these files, in groups side by side; None for one that is gone."""
        groups = [ids[at : at + GROUP] for at in range(0, len(ids), GROUP)]
        found = await asyncio.gather(
            *(self._store.call(data.getattrs, [self._inode(id) for id in dict.fromkeys(group)]) for group in groups)
        )
        files: dict[int, File | None] = {}
        for group, many in zip(groups, found, strict=True):
            for id, each in zip(dict.fromkeys(group), many, strict=True):
                files[id] = File(Handle(id, each.generation), each) if each.kind != Kind.FREE else None
        return [files[id] for id in ids]

    async def maybe_split(self, directory: int) -> None:
        """Give a directory another bucket, unless that is under way. One for each new entry that asks is enough."""
        if directory in self._splitting:
            return
        self._splitting.add(directory)
        try:
            level, at = self._guesses.shape(directory)
            buckets = [self._guesses.bucket(directory, number) for number in (at, (1 << max(level, 0)) + at)]
            shape = await self._store.call(names.split, [self._inode(directory), *buckets], level=level, at=at)
            self._guesses.learn_shape(directory, *shape)
        except Moved as moved:
            self._guesses.learn_shape(directory, *moved.args[:2])
        except Refused:
            pass  # no quorum now: the next new entry asks again
        finally:
            self._splitting.discard(directory)
