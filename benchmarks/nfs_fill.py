"""Fills a directory of the file system with very many names, many at once: a call by NFS for each would take hours."""

from __future__ import annotations

from fivefold import Cluster, update
from fivefold.gateways.nfs.limits import BUCKET_LOAD
from fivefold.gateways.nfs.objects import COOKIE_BITS, COOKIE_FIRST, Entries, Inode, Names, bucket_of, places_of

GROUP = 15
"""Buckets of one call; it takes 16 objects."""


@update
def fill(directory: Inode, *buckets: Entries, filled: list[Names], level: int, split: int) -> None:
    """Put names into some buckets of a directory, whose number of buckets when full is known."""
    for bucket, names in zip(buckets, filled, strict=True):
        bucket.names = names
        directory.entries += len(names)
    directory.level, directory.split = level, split


async def fill_directory(cluster: Cluster, export: str, directory: int, file: int, count: int) -> None:
    """Make ``count`` names of one file in an empty directory, as ``count`` LINKs would leave them."""
    many = -(-count // BUCKET_LOAD)
    level = many.bit_length() - 1
    split = many - (1 << level)
    filled: list[Names] = [{} for _ in range(many)]
    for number in range(count):
        name = b"name-%d" % number
        place, low = places_of(name)
        filled[bucket_of(level, split, low)][name.decode()] = file, (place << COOKIE_BITS) + COOKIE_FIRST
    inode = cluster.object(Inode, f"{export}/{directory}")
    for first in range(0, many, GROUP):
        group = filled[first : first + GROUP]
        buckets = [cluster.object(Entries, f"{export}/{directory}.{first + at}") for at in range(len(group))]
        await cluster.call(fill, inode, *buckets, filled=group, level=level, split=split)
