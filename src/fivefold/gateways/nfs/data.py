"""What is done with one file: its attributes and its data, each a function over its inode and chunks.

All checks come before the first change, so that the functions serve plain objects in memory, too (:mod:`store`).
Times and the caller's rights are arguments: every server reaches the same result.
"""

from __future__ import annotations

from msgspec import Struct

from fivefold import query, update
from fivefold.gateways.nfs.codes import Kind, Status
from fivefold.gateways.nfs.limits import CHUNK_BYTES, RANGES_MAX, SMALL_BYTES_MAX
from fivefold.gateways.nfs.objects import (
    Attributes,
    Caller,
    Change,
    Changes,
    Chunk,
    Crowded,
    Elsewhere,
    Ids,
    Inode,
)
from fivefold.gateways.nfs.ranges import add, first, has, merge, remove, within
from fivefold.gateways.nfs.rights import (
    EXECUTE,
    READ,
    WRITE,
    apply_changes,
    attributes_of,
    before,
    changed,
    check,
    check_changes,
    drop_privileges,
    permits,
    refuse,
    require_data,
    touch,
)


class Bytes(Struct, frozen=True, array_like=True):
    """What READ answers."""

    data: bytes
    attributes: Attributes


class Link(Struct, frozen=True, array_like=True):
    """What READLINK answers."""

    target: bytes
    attributes: Attributes


class Access(Struct, frozen=True, array_like=True):
    """What the caller may do: bits of READ, WRITE and EXECUTE."""

    granted: int
    attributes: Attributes


@query
def getattr(inode: Inode, generation: int) -> Attributes:
    """GETATTR."""
    check(inode, generation)
    return attributes_of(inode)


@query
def getattrs(*inodes: Inode) -> list[Attributes]:
    """Attributes of several at once, for READDIRPLUS; kind 0 for one that is gone."""
    return [attributes_of(inode) for inode in inodes]


@update
def reserve(ids: Ids, count: int) -> int:
    """Take ``count`` file ids; returns the first."""
    ids.next += count
    return ids.next - count


@query
def reserved(ids: Ids) -> int:
    """The id that comes next: all those in use are below."""
    return ids.next


@query
def peek(*inodes: Inode) -> list[tuple[int, bool]]:
    """Kinds, and whether there are chunks to be emptied: for the search for ids to use again."""
    return [(inode.kind, bool(inode.garbage)) for inode in inodes]


@query
def to_empty(inode: Inode, many: int) -> list[int]:
    """Numbers of chunks to be emptied, a limited number."""
    return first(inode.garbage, many)


@query
def access(inode: Inode, generation: int, who: Caller) -> Access:
    """ACCESS."""
    check(inode, generation)
    granted = sum(bit for bit in (READ, WRITE, EXECUTE) if permits(inode, who, bit))
    return Access(granted, attributes_of(inode))


@query
def readlink(inode: Inode, generation: int) -> Link:
    """READLINK."""
    check(inode, generation)
    if inode.kind != Kind.LNK:
        raise refuse(Status.INVAL)
    return Link(inode.target, attributes_of(inode))


@update
def setattr(
    inode: Inode, *chunks: Chunk, generation: int, changes: Changes, guard: int | None, who: Caller, now: int
) -> Change:
    """SETATTR; of a new size inside a chunk, that chunk is given, unless its data is in the inode.

    ``guard`` is the ctime that the file must have, by the caller's last look.
    """
    check(inode, generation)
    if guard is not None and guard != inode.ctime:
        raise refuse(Status.NOT_SYNC)
    check_changes(inode, changes, who)
    earlier = before(inode)
    if changes.size is not None:
        cut(inode, chunks, changes.size)
        drop_privileges(inode, who)
    apply_changes(inode, changes, who, now)
    touch(inode, now, is_modified=changes.size is not None and changes.mtime is None)
    return changed(inode, earlier)


def cut(inode: Inode, chunks: tuple[Chunk, ...], size: int) -> None:
    """Give the file this size. Data beyond it never comes back, whatever size the file gets later."""
    number, rest = divmod(size, CHUNK_BYTES)
    if size < inode.size:
        if rest and has(inode.live, number) and not chunks:
            raise _elsewhere(inode)
        live, garbage = inode.live.copy(), inode.garbage.copy()
        start = number + (rest > 0)
        gone = within(live, start, max(start, *live, 0))
        for low, high in zip(gone[::2], gone[1::2], strict=True):
            remove(live, low, high)
            add(garbage, low, high)
        _bound(live, garbage)
        if rest and has(live, number):
            chunks[0].data = chunks[0].data[:rest]
        inode.live, inode.garbage = live, garbage
        inode.data = inode.data[:size]
    inode.size = size


def _elsewhere(inode: Inode) -> Elsewhere:
    return Elsewhere(inode.size, has(inode.live, 0))


def _bound(live: list[int], garbage: list[int]) -> None:
    """Keep few ranges; holes count as either kind, since they hold nothing."""
    if not merge(live, garbage, RANGES_MAX) or not merge(garbage, live, RANGES_MAX):
        raise Crowded


@query
def read(inode: Inode, *chunks: Chunk, generation: int, offset: int, count: int, first: int, who: Caller) -> Bytes:
    """READ; the chunks are those of the stretch, from number ``first`` on: chunk 0 may be left out."""
    check(inode, generation)
    if inode.kind != Kind.REG:
        raise refuse(Status.INVAL)
    require_data(inode, who, READ)
    end = min(offset + count, inode.size)
    pieces = []
    for number in range(offset // CHUNK_BYTES, -(-end // CHUNK_BYTES) if offset < end else 0):
        start = number * CHUNK_BYTES
        low, high = max(offset - start, 0), min(end - start, CHUNK_BYTES)
        data = b"" if number else inode.data
        if has(inode.live, number):
            if not first <= number < first + len(chunks):
                raise _elsewhere(inode)
            data = chunks[number - first].data
        pieces.append(data[low:high].ljust(high - low, b"\0"))
    return Bytes(b"".join(pieces), attributes_of(inode))


@update
def write(
    inode: Inode, *chunks: Chunk, generation: int, offset: int, data: bytes, first: int, who: Caller, now: int
) -> Change:
    """WRITE, all of it or nothing; the chunks are those of the stretch, from number ``first`` on.

    Chunk 0 is left out if the file's beginning is to stay in the inode.
    """
    check(inode, generation)
    if inode.kind != Kind.REG:
        raise refuse(Status.ISDIR if inode.kind == Kind.DIR else Status.INVAL)
    require_data(inode, who, WRITE)
    earlier = before(inode)
    if not data:
        return changed(inode, earlier)
    if chunks:
        _write_chunks(inode, chunks, first, offset, data)
    elif offset + len(data) > SMALL_BYTES_MAX or has(inode.live, 0):
        raise _elsewhere(inode)
    else:
        inode.data = _spliced(inode.data, offset, data)
    inode.size = max(inode.size, offset + len(data))
    drop_privileges(inode, who)
    touch(inode, now)
    return changed(inode, earlier)


def _write_chunks(inode: Inode, chunks: tuple[Chunk, ...], first: int, offset: int, data: bytes) -> None:
    live, garbage = inode.live.copy(), inode.garbage.copy()
    add(live, first, first + len(chunks))
    remove(garbage, first, first + len(chunks))
    _bound(live, garbage)
    for number, chunk in enumerate(chunks, first):
        start = number * CHUNK_BYTES
        low, high = max(offset - start, 0), min(offset + len(data) - start, CHUNK_BYTES)
        old = chunk.data if has(inode.live, number) else b"" if number else inode.data
        chunk.data = _spliced(old, low, data[start + low - offset : start + high - offset])
    inode.live, inode.garbage = live, garbage
    if first == 0:
        inode.data = b""


def _spliced(old: bytes, low: int, piece: bytes) -> bytes:
    return old[:low].ljust(low, b"\0") + piece + old[low + len(piece) :]


@update
def empty(inode: Inode, *chunks: Chunk, numbers: list[int]) -> int:
    """Empty those of these chunks that hold nothing that counts; returns how many ranges are left to be emptied."""
    for number, chunk in zip(numbers, chunks, strict=True):
        if has(inode.garbage, number):
            chunk.data = b""
            remove(inode.garbage, number, number + 1)
    return len(inode.garbage) // 2
