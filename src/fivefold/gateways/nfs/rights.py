"""Who may do what with an inode, as a local file system decides it, and how its times move."""

from __future__ import annotations

from typing import Final

from fivefold.gateways.nfs.codes import Kind, Status
from fivefold.gateways.nfs.limits import CHUNK_BYTES
from fivefold.gateways.nfs.objects import NOW, Attributes, Caller, Change, Changes, Inode, Refused
from fivefold.gateways.nfs.ranges import count

READ: Final = 4
WRITE: Final = 2
EXECUTE: Final = 1

SETUID: Final = 0o4000
SETGID: Final = 0o2000
STICKY: Final = 0o1000
GROUP_EXECUTE: Final = 0o010

Before = tuple[int, int, int]


def refuse(status: Status) -> Refused:
    """The rejection that ends an operation so."""
    return Refused(int(status))


def permits(inode: Inode, who: Caller, wanted: int) -> bool:
    """Whether the mode gives the caller all of the wanted bits."""
    if who.uid == 0:
        return not wanted & EXECUTE or inode.kind == Kind.DIR or bool(inode.mode & 0o111)
    shift = 6 if who.uid == inode.uid else 3 if inode.gid in who.gids else 0
    return (inode.mode >> shift) & wanted == wanted


def owns(inode: Inode, who: Caller) -> bool:
    """Whether the caller is the owner, or root."""
    return who.uid in (0, inode.uid)


def require(inode: Inode, who: Caller, wanted: int) -> None:
    """Refuse with ACCES what the mode does not permit."""
    if not permits(inode, who, wanted):
        raise refuse(Status.ACCES)


def require_data(inode: Inode, who: Caller, wanted: int) -> None:
    """The same for a file's data. Its owner always may: the file may have been opened before its mode was changed.

    For the same reason what may be executed may be read (RFC 1813 §4.4).
    """
    if who.uid == inode.uid or permits(inode, who, wanted):
        return
    if wanted != READ or not permits(inode, who, EXECUTE):
        raise refuse(Status.ACCES)


def require_unlink(directory: Inode, child: Inode, who: Caller) -> None:
    """Refuse to take a name out of a directory that the caller may not write, or that is sticky."""
    require(directory, who, WRITE | EXECUTE)
    if directory.mode & STICKY and not owns(directory, who) and not owns(child, who):
        raise refuse(Status.PERM)


def check(inode: Inode, generation: int) -> None:
    """Refuse with STALE a handle of a file that is gone."""
    if inode.kind == Kind.FREE or inode.generation != generation:
        raise refuse(Status.STALE)


def check_directory(inode: Inode, generation: int) -> None:
    """The same, and NOTDIR."""
    check(inode, generation)
    if inode.kind != Kind.DIR:
        raise refuse(Status.NOTDIR)


def attributes_of(inode: Inode) -> Attributes:
    """What GETATTR answers."""
    return Attributes(
        kind=inode.kind,
        generation=inode.generation,
        mode=inode.mode,
        nlink=inode.nlink,
        uid=inode.uid,
        gid=inode.gid,
        size=inode.size,
        unused=max(0, inode.size - _stored(inode)) if inode.kind == Kind.REG else 0,
        rdev=inode.rdev,
        ctime=inode.ctime,
        mtime_ago=inode.ctime - inode.mtime,
        atime_ago=inode.ctime - inode.atime,
    )


def _stored(inode: Inode) -> int:
    return len(inode.data) + count(inode.live) * CHUNK_BYTES


def before(inode: Inode) -> Before:
    """What weak cache consistency compares."""
    return inode.size, inode.mtime, inode.ctime


def touch(inode: Inode, now: int, *, is_modified: bool = True) -> None:
    """Move the times on. Two changes never share a ctime, whatever the gateway's clock says."""
    inode.ctime = max(now, inode.ctime + 1)
    if is_modified:
        inode.mtime = inode.ctime


def changed(inode: Inode, earlier: Before) -> Change:
    """The answer's wcc_data."""
    size, mtime, ctime = earlier
    return Change(attributes_of(inode), inode.size - size, inode.ctime - ctime, ctime - mtime)


def drop_privileges(inode: Inode, who: Caller) -> None:
    """A write by someone else than root takes setuid and setgid away, as the kernel does."""
    if who.uid != 0:
        inode.mode &= ~SETUID
        if inode.mode & GROUP_EXECUTE:
            inode.mode &= ~SETGID


def check_changes(inode: Inode, changes: Changes, who: Caller) -> None:
    """Refuse changes of attributes that the caller may not make; see chmod(2), chown(2), utimensat(2)."""
    is_root = who.uid == 0
    if changes.uid is not None and changes.uid != inode.uid and not is_root:
        raise refuse(Status.PERM)
    is_own_group = owns(inode, who) and changes.gid in who.gids
    if changes.gid is not None and changes.gid != inode.gid and not is_root and not is_own_group:
        raise refuse(Status.PERM)
    wants_owner = changes.mode is not None or changes.uid is not None or changes.gid is not None
    times = (changes.atime, changes.mtime)
    if (wants_owner or any(each not in (None, NOW) for each in times)) and not owns(inode, who):
        raise refuse(Status.PERM)
    if NOW in times and not owns(inode, who):
        require(inode, who, WRITE)
    if changes.size is not None:
        if inode.kind != Kind.REG:
            raise refuse(Status.ISDIR if inode.kind == Kind.DIR else Status.INVAL)
        require_data(inode, who, WRITE)


def apply_changes(inode: Inode, changes: Changes, who: Caller, now: int) -> None:
    """Make the changes, but for the size; they have been checked."""
    if changes.mode is not None:
        inode.mode = changes.mode & 0o7777
        if who.uid != 0 and inode.gid not in who.gids and inode.kind != Kind.DIR:
            inode.mode &= ~SETGID
    if changes.uid is not None or changes.gid is not None:
        inode.uid = inode.uid if changes.uid is None else changes.uid
        inode.gid = inode.gid if changes.gid is None else changes.gid
        if inode.kind != Kind.DIR and changes.mode is None:
            inode.mode &= ~SETUID
            if inode.mode & GROUP_EXECUTE:
                inode.mode &= ~SETGID
    if changes.atime is not None:
        inode.atime = now if changes.atime == NOW else changes.atime
    if changes.mtime is not None:
        inode.mtime = now if changes.mtime == NOW else changes.mtime
