"""The types of NFS version 3 (RFC 1813 §2.5 and 2.6) as XDR."""

from __future__ import annotations

from typing import Final

from fivefold.gateways.nfs.limits import SECONDS_MAX
from fivefold.gateways.nfs.objects import NOW, Attributes, Caller, Change, Changes
from fivefold.gateways.nfs.rpc import NOBODY
from fivefold.gateways.nfs.xdr import Reader, Writer

PROGRAM: Final = 100003
VERSION: Final = 3
SECOND_NS: Final = 1_000_000_000

NAME_BYTES_READ_MAX: Final = 4096
"""Longer names are GARBAGE_ARGS; those between this and the 255 that are allowed get NFS3ERR_NAMETOOLONG."""


def read_time(reader: Reader) -> int:
    """``nfstime3`` in ns."""
    seconds, nanoseconds = reader.u32(), reader.one_of(SECOND_NS)
    return seconds * SECOND_NS + nanoseconds


def write_time(writer: Writer, time_ns: int) -> None:
    """``nfstime3``."""
    seconds, nanoseconds = divmod(max(time_ns, 0), SECOND_NS)
    writer.u32(min(seconds, SECONDS_MAX)).u32(nanoseconds)


def read_changes(reader: Reader) -> Changes:
    """``sattr3``."""
    mode = reader.u32() & 0o7777 if reader.boolean() else None
    uid = reader.u32() if reader.boolean() else None
    gid = reader.u32() if reader.boolean() else None
    size = reader.u64() if reader.boolean() else None
    atime, mtime = _read_set_time(reader), _read_set_time(reader)
    return Changes(mode, uid, gid, size, atime, mtime)


def _read_set_time(reader: Reader) -> int | None:
    match reader.one_of(3):
        case 0:
            return None
        case 1:
            return NOW
        case _:
            return read_time(reader)


def write_attributes(writer: Writer, fsid: int, id: int, attributes: Attributes) -> None:
    """``fattr3``."""
    writer.u32(attributes.kind).u32(attributes.mode).u32(attributes.nlink).u32(attributes.uid).u32(attributes.gid)
    writer.u64(attributes.size).u64(attributes.used).u32(attributes.rdev[0]).u32(attributes.rdev[1])
    writer.u64(fsid).u64(id)
    for time_ns in (attributes.atime, attributes.mtime, attributes.ctime):
        write_time(writer, time_ns)


def write_post(writer: Writer, fsid: int, id: int, attributes: Attributes | None) -> None:
    """``post_op_attr``."""
    writer.boolean(attributes is not None)
    if attributes is not None:
        write_attributes(writer, fsid, id, attributes)


def write_change(writer: Writer, fsid: int, id: int, change: Change | None) -> None:
    """``wcc_data``."""
    if change is None:
        writer.u64(0)  # neither before nor after
        return
    size, mtime, ctime = change.before
    writer.boolean(True).u64(size)
    write_time(writer, mtime)
    write_time(writer, ctime)
    write_post(writer, fsid, id, change.after)


def squashed(uid: int, gids: tuple[int, ...], *, is_squashing: bool) -> Caller:
    """The caller by its credentials; root is nobody if root squash is on."""
    if is_squashing and uid == 0:
        return Caller(NOBODY, (NOBODY,))
    if is_squashing:
        return Caller(uid, tuple(gid or NOBODY for gid in gids))
    return Caller(uid, gids)
