"""The objects that a file system is made of, and the values that its operations take and answer.

A file is an :class:`Inode` and a :class:`Chunk` for each piece that was written; a directory is an Inode and its
:class:`Entries`, a bucket each. Small files and directories lie in their inode and have neither. Keys: ``EXPORT/ID`` of
an inode, ``EXPORT/ID.NUMBER`` of a chunk or bucket.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

from msgspec import Struct

from fivefold import Object, Rejected
from fivefold.gateways.nfs.limits import BUCKET_LOAD, LEVEL_MAX, SMALL_ENTRIES_MAX

ROOT: Final = 1
"""File id of the root directory."""

NO_BUCKETS: Final = -1
"""As a directory's level, and as the number of a name's bucket: the names are in the inode."""

PLACE_BITS: Final = 48
COOKIE_BITS: Final = 12
DIRECTORY_BYTES: Final = 4096
"""What a directory says its size is."""

COOKIE_FIRST: Final = 3
"""Cookies 1 and 2 are those of ``.`` and ``..``."""


class Refused(Rejected):
    """The operation ends with this ``nfsstat3``; nothing changed."""


class Moved(Rejected):
    """The operation was tried on the wrong objects: (level, split, file id found or -1), to try again with."""


class Elsewhere(Rejected):
    """A file's data is in chunks that were not given: (its size, whether its beginning is in a chunk)."""


class Taken(Rejected):
    """The file id for the new file is in use: try again with another one."""


class Unchecked(Rejected):
    """A directory would get another parent, and whether it gets below itself must be looked up (again)."""


class Crowded(Rejected):
    """Too many ranges of emptied chunks lie between written ones: empty them first, then try again."""


class Caller(Struct, frozen=True, array_like=True):
    """Who calls, after root squash: ``gids`` begins with the primary group."""

    uid: int
    gids: tuple[int, ...]


class Name(Struct, frozen=True, array_like=True):
    """A name in a directory: the directory's generation by its handle, the name, and the bucket that it is tried in."""

    generation: int
    name: bytes
    bucket: int


class Changes(Struct, frozen=True, array_like=True):
    """``sattr3``: what is None stays. Times in ns; NOW for the time of the operation."""

    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    size: int | None = None
    atime: int | None = None
    mtime: int | None = None


NOW: Final = -1
"""As a time in Changes: when the operation is made."""


class Attributes(Struct, frozen=True, array_like=True):
    """``fattr3``, with the generation and without the file id, which is in the object's key.

    Most numbers are differences, which are small: an answer of at most 128 bytes is kept whole by the servers, for a
    call whose outcome must be asked for later.
    """

    kind: int
    generation: int
    mode: int
    nlink: int
    uid: int
    gid: int
    size: int
    unused: int
    rdev: tuple[int, int]
    ctime: int
    mtime_ago: int
    atime_ago: int

    @property
    def used(self) -> int:
        """Bytes that are stored."""
        return self.size - self.unused

    @property
    def mtime(self) -> int:
        """When the data changed."""
        return self.ctime - self.mtime_ago

    @property
    def atime(self) -> int:
        """When the file was made, or as it was set."""
        return self.ctime - self.atime_ago


class Change(Struct, frozen=True, array_like=True):
    """``wcc_data`` of an update: the attributes after it, and by how much some were smaller before."""

    after: Attributes
    size_grown: int
    ctime_ago: int
    mtime_ago: int

    @property
    def before(self) -> tuple[int, int, int]:
        """Size, mtime and ctime before."""
        ctime = self.after.ctime - self.ctime_ago
        return self.after.size - self.size_grown, ctime - self.mtime_ago, ctime


Names = dict[str, tuple[int, int]]
"""From each name (its bytes as Latin-1 text) to file id and cookie."""


class Inode(Object):
    """A file of any kind.

    Attributes:
        kind: see :class:`fivefold.gateways.nfs.codes.Kind`; 0 if no file has this id now.
        generation: how many files have had this id.
        live: ranges of chunks that hold data; the others read as zeros.
        garbage: ranges of chunks with bytes that no longer count, until they are emptied.
        parent: of a directory.
        entries: how many, of a directory; then also ``level`` and ``split``, which say what buckets there are.
        data: what chunk 0 would hold, as long as that is not ``live``.
        names: what a bucket would hold, of a directory without buckets.
    """

    kind: int = 0
    generation: int = 0
    mode: int = 0
    uid: int = 0
    gid: int = 0
    nlink: int = 0
    size: int = 0
    rdev: tuple[int, int] = (0, 0)
    atime: int = 0
    mtime: int = 0
    ctime: int = 0
    target: bytes = b""
    verifier: bytes = b""
    live: list[int] = []  # noqa: RUF012 - a field: every object has its own
    garbage: list[int] = []  # noqa: RUF012
    parent: int = 0
    entries: int = 0
    level: int = 0
    split: int = 0
    data: bytes = b""
    names: Names = {}  # noqa: RUF012


class Entries(Object):
    """A bucket of a directory."""

    names: Names = {}  # noqa: RUF012


class Chunk(Object):
    """A piece of a file; what lies behind its end reads as zeros."""

    data: bytes = b""


class Ids(Object):
    """The counter of file ids."""

    next: int = ROOT + 1


class Moves(Object):
    """Counts moves of directories from one parent to another: of two that are checked at once, one is checked again."""

    count: int = 0


# --- buckets ---------------------------------------------------------------------------------------------------


def places_of(name: bytes) -> tuple[int, int]:
    """The name's place in the order of its directory, and the same bits in reverse, which pick its bucket.

    So a bucket holds the names of one stretch of places, and a directory can be read in the order of places although
    its buckets are split one by one (linear hashing).
    """
    low = int.from_bytes(blake2b(name, digest_size=PLACE_BITS // 8).digest())
    return int(f"{low:0{PLACE_BITS}b}"[::-1], 2), low


def bucket_of(level: int, split: int, low: int) -> int:
    """The bucket for reversed bits ``low`` in a directory with 2**level + split buckets, or NO_BUCKETS."""
    if level < 0:
        return NO_BUCKETS
    bucket = low & ((1 << level) - 1)
    return low & ((2 << level) - 1) if bucket < split else bucket


def bucket_at(level: int, split: int, place: int) -> tuple[int, int]:
    """The bucket that holds this place, and the place after its stretch."""
    low = int(f"{place:0{PLACE_BITS}b}"[::-1], 2)
    bucket = bucket_of(level, split, low)
    bits = level + 1 if (low & ((1 << level) - 1)) < split else level
    span = 1 << (PLACE_BITS - bits)
    return bucket, (place // span + 1) * span


def wants_split(inode: Inode) -> bool:
    """Whether the directory's buckets are fuller than they should be on the average."""
    if inode.level < 0:
        return inode.entries > SMALL_ENTRIES_MAX
    return inode.entries > BUCKET_LOAD * ((1 << inode.level) + inode.split) and inode.level < LEVEL_MAX
