"""What is done with names: look-ups, and the updates that change a directory, each a function over all its objects.

The gateway guesses which objects an operation needs (:mod:`tree`). The guess is a condition of the operation: where it
is wrong, the operation is rejected with :class:`Moved`, which says what to guess next. All checks come before the first
change, as in :mod:`data`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, cast

from msgspec import Struct

from fivefold import Object, query, update
from fivefold.gateways.nfs.codes import Kind, Status
from fivefold.gateways.nfs.data import cut
from fivefold.gateways.nfs.limits import BUCKET_ENTRIES_MAX, LINKS_MAX, RANGES_MAX
from fivefold.gateways.nfs.objects import (
    COOKIE_BITS,
    COOKIE_FIRST,
    DIRECTORY_BYTES,
    NO_BUCKETS,
    ROOT,
    Attributes,
    Caller,
    Change,
    Changes,
    Chunk,
    Entries,
    Inode,
    Moved,
    Moves,
    Name,
    Names,
    Taken,
    Unchecked,
    bucket_of,
    places_of,
    wants_split,
)
from fivefold.gateways.nfs.ranges import add, merge
from fivefold.gateways.nfs.rights import (
    EXECUTE,
    READ,
    SETGID,
    WRITE,
    Before,
    apply_changes,
    attributes_of,
    before,
    changed,
    check_changes,
    check_directory,
    drop_privileges,
    refuse,
    require,
    require_unlink,
    touch,
)

UNKNOWN: Final = -1
"""In Moved: the file that the name leads to has not been looked at."""


class Found(Struct, frozen=True, array_like=True):
    """Where a name leads: the file's id, and its attributes if it was among the objects."""

    id: int
    child: Attributes | None
    directory: Attributes


class Made(Struct, frozen=True, array_like=True):
    """What a new name led to; ``wants_split``: the directory needs another bucket."""

    child: Attributes
    directory: Change
    wants_split: bool


class Gone(Struct, frozen=True, array_like=True):
    """What became of a file whose name was taken away; ``is_freed``: that was its last."""

    directory: Change
    is_freed: bool


class Renamed(Struct, frozen=True, array_like=True):
    """Both directories (the target only if it is another one).

    Attributes:
        source: where the old name was.
        target: where the new one is.
        is_freed: the replaced file's id is free.
        wants_split: the target needs another bucket.
    """

    source: Change
    target: Change | None
    is_freed: bool
    wants_split: bool


class Page(Struct, frozen=True, array_like=True):
    """Part of a directory: (cookie, file id, name) in the order of cookies, the directory, its parent's id."""

    entries: list[tuple[int, int, bytes]]
    directory: Attributes
    parent: int


class NewFile(Struct, frozen=True, array_like=True):
    """What is to be made under a name: ``id`` is that of the inode given; ``parent`` that of the directory."""

    kind: int
    id: int
    parent: int
    changes: Changes
    target: bytes = b""
    rdev: tuple[int, int] = (0, 0)
    verifier: bytes = b""


class Roles(Struct, frozen=True, array_like=True):
    """Which of a rename's objects is what, by index; -1 for none, also for the buckets of a directory without.

    Some may be the same one.
    """

    source: int
    source_bucket: int
    target: int
    target_bucket: int
    moved: int
    replaced: int
    moves: int


class Plan(Struct, frozen=True, array_like=True):
    """File ids that a rename was planned with: of both directories, of what is moved and of what is replaced (or 0)."""

    source: int
    target: int
    moved: int
    replaced: int


def _text(name: bytes) -> str:
    return name.decode("latin-1")


def _look(directory: Inode, buckets: Sequence[Entries], at: Name, who: Caller) -> tuple[int, Names]:
    """The file id under the name, 0 if there is none, and the names among which it is.

    Refused without the right to search, and in the wrong bucket.
    """
    check_directory(directory, at.generation)
    require(directory, who, EXECUTE)
    if bucket_of(directory.level, directory.split, places_of(at.name)[1]) != at.bucket:
        raise _moved(directory)
    names = buckets[0].names if buckets else directory.names
    return names.get(_text(at.name), (0, 0))[0], names


def _moved(directory: Inode, child: int = UNKNOWN) -> Moved:
    return Moved(directory.level, directory.split, child)


def _new_cookie(names: Names, name: bytes) -> int:
    """A cookie in the order of places; the few names of one place are told apart by a number."""
    if len(names) >= BUCKET_ENTRIES_MAX:
        raise refuse(Status.NOSPC)
    first = (places_of(name)[0] << COOKIE_BITS) + COOKIE_FIRST
    taken = {cookie for _, cookie in names.values() if 0 <= cookie - first < 1 << COOKIE_BITS}
    return next(cookie for cookie in range(first, first + len(taken) + 1) if cookie not in taken)


@query
def find(directory: Inode, *buckets: Entries, at: Name, who: Caller) -> Found:
    """Which file a name leads to; here and below, the bucket is given if the directory has any."""
    child, _ = _look(directory, buckets, at, who)
    if not child:
        raise refuse(Status.NOENT)
    return Found(child, None, attributes_of(directory))


@query
def lookup(directory: Inode, child: Inode, *buckets: Entries, at: Name, expected: int, who: Caller) -> Found:
    """LOOKUP, if the name leads to the inode given, whose id is ``expected``."""
    found, _ = _look(directory, buckets, at, who)
    if not found:
        raise refuse(Status.NOENT)
    if found != expected:
        raise _moved(directory, found)
    return Found(found, attributes_of(child), attributes_of(directory))


@query
def parent(directory: Inode, generation: int, who: Caller) -> Found:
    """LOOKUP of ``..``: the parent's id."""
    check_directory(directory, generation)
    require(directory, who, EXECUTE)
    return Found(directory.parent, None, attributes_of(directory))


@query
def read_entries(
    directory: Inode, *buckets: Entries, generation: int, level: int, split: int, after: int, limit: int, who: Caller
) -> Page:
    """READDIR: entries behind the cookie ``after`` in these buckets, which follow each other; ``limit`` at most.

    Of a directory without buckets, all of it.
    """
    check_directory(directory, generation)
    require(directory, who, READ)
    if (directory.level, directory.split) != (level, split):
        raise _moved(directory)
    entries = [
        (cookie, child, name.encode("latin-1"))
        for names in ([bucket.names for bucket in buckets] or [directory.names])
        for name, (child, cookie) in names.items()
        if cookie > after
    ]
    return Page(sorted(entries)[:limit], attributes_of(directory), directory.parent)


@query
def climb(directory: Inode) -> int:
    """The parent's id; 0 if this is no directory (any more)."""
    return directory.parent if directory.kind == Kind.DIR else 0


@query
def moves_made(moves: Moves) -> int:
    """How many directories have got another parent."""
    return moves.count


@update
def found_root(root: Inode, mode: int, uid: int, gid: int, now: int) -> Attributes:
    """Make the root directory, unless there is one."""
    if root.kind == Kind.FREE:
        root.kind, root.mode, root.uid, root.gid = int(Kind.DIR), mode, uid, gid
        root.generation, root.nlink, root.parent, root.size, root.level = 1, 2, ROOT, DIRECTORY_BYTES, NO_BUCKETS
        root.atime = root.mtime = root.ctime = now
    return attributes_of(root)


@update
def make(directory: Inode, child: Inode, *buckets: Entries, at: Name, new: NewFile, who: Caller, now: int) -> Made:
    """CREATE of a file that is not there, MKDIR, SYMLINK, MKNOD: of the free inode given."""
    found, names = _look(directory, buckets, at, who)
    if found:
        raise _moved(directory, found)
    require(directory, who, WRITE)
    is_directory = new.kind == Kind.DIR
    if is_directory and directory.nlink >= LINKS_MAX:
        raise refuse(Status.MLINK)
    if child.kind != Kind.FREE:
        raise Taken
    fresh = Inode(kind=new.kind, generation=child.generation + 1, uid=who.uid, nlink=2 if is_directory else 1)
    is_inherited = directory.mode & SETGID
    fresh.gid = directory.gid if is_inherited else who.gids[0]
    check_changes(fresh, new.changes, who)
    cookie = _new_cookie(names, at.name)
    earlier = before(directory)

    _fill(child, fresh)
    child.target, child.rdev, child.verifier, child.parent = new.target, new.rdev, new.verifier, new.parent
    child.size = len(new.target) if new.kind == Kind.LNK else DIRECTORY_BYTES if is_directory else new.changes.size or 0
    child.atime = child.mtime = child.ctime = now
    apply_changes(child, new.changes, who, now)
    if is_inherited and is_directory:
        child.mode |= SETGID
    names[_text(at.name)] = (new.id, cookie)
    directory.entries += 1
    directory.nlink += is_directory
    touch(directory, now)
    return Made(attributes_of(child), changed(directory, earlier), wants_split(directory))


def _fill(child: Inode, fresh: Inode) -> None:
    """The freed inode becomes the fresh one; what is still to be emptied stays known."""
    child.kind, child.generation, child.nlink = fresh.kind, fresh.generation, fresh.nlink
    child.mode, child.uid, child.gid = 0, fresh.uid, fresh.gid
    child.live, child.entries, child.level, child.split = [], 0, NO_BUCKETS, 0
    child.data, child.names = b"", {}


@update
def reopen(
    directory: Inode,
    child: Inode,
    *others: Object,
    at: Name,
    expected: int,
    new: NewFile,
    who: Caller,
    now: int,
) -> Made:
    """CREATE of a name that is there: UNCHECKED may cut it, EXCLUSIVE finds the file that the same call made before.

    Given are also the bucket, if the directory has any, and the chunk that is cut, if there is one.
    """
    buckets = [each for each in others if isinstance(each, Entries)]
    chunks = tuple([each for each in others if isinstance(each, Chunk)])
    found, _ = _look(directory, buckets, at, who)
    if found != expected:
        raise _moved(directory, found)
    if child.kind != Kind.REG or (new.verifier and child.verifier != new.verifier):
        raise refuse(Status.ISDIR if child.kind == Kind.DIR and not new.verifier else Status.EXIST)
    earlier = before(directory)
    size = new.changes.size
    if size is not None and not new.verifier:
        check_changes(child, Changes(size=size), who)
        cut(child, chunks, size)
        drop_privileges(child, who)
        touch(child, now)
    return Made(attributes_of(child), changed(directory, earlier), wants_split=False)


@update
def remove(
    directory: Inode,
    child: Inode,
    *buckets: Entries,
    at: Name,
    expected: int,
    is_directory: bool,
    who: Caller,
    now: int,
) -> Gone:
    """REMOVE and RMDIR of a name that leads to the inode given."""
    found, names = _look(directory, buckets, at, who)
    if not found:
        raise refuse(Status.NOENT)
    if found != expected:
        raise _moved(directory, found)
    require_unlink(directory, child, who)
    if is_directory != (child.kind == Kind.DIR):
        raise refuse(Status.NOTDIR if is_directory else Status.ISDIR)
    if child.entries:
        raise refuse(Status.NOTEMPTY)
    earlier = before(directory)
    del names[_text(at.name)]
    directory.entries -= 1
    directory.nlink -= is_directory
    touch(directory, now)
    return Gone(changed(directory, earlier), _unlink(child, now))


def _unlink(child: Inode, now: int) -> bool:
    """One name less; without any, the id is free, and all its chunks are to be emptied."""
    child.nlink -= 1
    touch(child, now, is_modified=False)
    if child.nlink and child.kind != Kind.DIR:
        return False
    child.kind, child.nlink, child.size, child.entries = int(Kind.FREE), 0, 0, 0
    for low, high in zip(child.live[::2], child.live[1::2], strict=True):
        add(child.garbage, low, high)
    merge(child.garbage, [], RANGES_MAX)
    child.live, child.data, child.target, child.verifier, child.rdev = [], b"", b"", b"", (0, 0)
    return True


@update
def link(
    directory: Inode, child: Inode, *buckets: Entries, at: Name, id: int, generation: int, who: Caller, now: int
) -> Made:
    """LINK: another name for the inode given."""
    if child.kind == Kind.FREE or child.generation != generation:
        raise refuse(Status.STALE)
    found, names = _look(directory, buckets, at, who)
    if found:
        raise refuse(Status.EXIST)
    if child.kind == Kind.DIR:
        raise refuse(Status.INVAL)
    require(directory, who, WRITE)
    if child.nlink >= LINKS_MAX:
        raise refuse(Status.MLINK)
    cookie = _new_cookie(names, at.name)
    earlier = before(directory)
    names[_text(at.name)] = (id, cookie)
    directory.entries += 1
    child.nlink += 1
    touch(child, now, is_modified=False)
    touch(directory, now)
    return Made(attributes_of(child), changed(directory, earlier), wants_split(directory))


@update
def rename(
    *objects: Object, roles: Roles, plan: Plan, source_at: Name, target_at: Name, moves: int, who: Caller, now: int
) -> Renamed:
    """RENAME, the file that is replaced included.

    A directory that gets another parent must not get below itself. Whether it would, the gateway has looked up at
    ``moves`` moves of directories; if there was one since, it looks again.
    """
    source, target, moved = (cast(Inode, objects[at]) for at in (roles.source, roles.target, roles.moved))
    source_buckets, target_buckets = (
        [cast(Entries, objects[at])] if at >= 0 else [] for at in (roles.source_bucket, roles.target_bucket)
    )
    replaced = cast(Inode, objects[roles.replaced]) if roles.replaced >= 0 else None
    found, source_names = _look_for_rename(source, source_buckets, source_at, who, plan.source)
    if not found:
        raise refuse(Status.NOENT)
    there, target_names = _look_for_rename(target, target_buckets, target_at, who, plan.target)
    if (found, there) != (plan.moved, plan.replaced):
        raise Moved(found, there)
    is_directory = moved.kind == Kind.DIR
    is_elsewhere = plan.source != plan.target
    _check_rename(source, target, moved, replaced, who)
    earlier = before(source), before(target)
    if found == there:
        return _renamed(source, target, earlier)
    if is_directory and is_elsewhere:
        if roles.moves < 0 or (counter := cast(Moves, objects[roles.moves])).count != moves:
            raise Unchecked
        if replaced is None and target.nlink >= LINKS_MAX:
            raise refuse(Status.MLINK)
        counter.count += 1
        moved.parent = plan.target
    cookie = target_names[_text(target_at.name)][1] if there else _new_cookie(target_names, target_at.name)

    del source_names[_text(source_at.name)]
    target_names[_text(target_at.name)] = (found, cookie)
    source.entries -= 1
    target.entries += replaced is None
    source.nlink -= is_directory
    target.nlink += is_directory - (replaced is not None and replaced.kind == Kind.DIR)
    touch(source, now)
    if is_elsewhere:
        touch(target, now)
    touch(moved, now, is_modified=False)
    is_freed = replaced is not None and _unlink(replaced, now)
    return _renamed(source, target, earlier, is_freed=is_freed)


def _renamed(source: Inode, target: Inode, earlier: tuple[Before, Before], *, is_freed: bool = False) -> Renamed:
    other = None if source is target else changed(target, earlier[1])
    return Renamed(changed(source, earlier[0]), other, is_freed, wants_split(target))


def _look_for_rename(directory: Inode, buckets: Sequence[Entries], at: Name, who: Caller, id: int) -> tuple[int, Names]:
    """Like ``_look``; of two directories, Moved says which one has other buckets."""
    try:
        return _look(directory, buckets, at, who)
    except Moved:
        raise _moved(directory, id) from None


def _check_rename(source: Inode, target: Inode, moved: Inode, replaced: Inode | None, who: Caller) -> None:
    require_unlink(source, moved, who)
    require(target, who, WRITE)
    if moved.kind == Kind.DIR and source is not target:
        require(moved, who, WRITE)  # its `..` changes
    if replaced is None or replaced is moved:
        return
    require_unlink(target, replaced, who)
    if moved.kind == Kind.DIR and replaced.kind != Kind.DIR:
        raise refuse(Status.NOTDIR)
    if moved.kind != Kind.DIR and replaced.kind == Kind.DIR:
        raise refuse(Status.ISDIR)
    if replaced.entries:
        raise refuse(Status.NOTEMPTY)


@update
def split(directory: Inode, full: Entries, added: Entries, level: int, at: int) -> tuple[int, int]:
    """Give a directory its next bucket, into which part of bucket ``at`` goes; or its first two.

    Returns:
        Its level and split from now on.
    """
    if (directory.level, directory.split) != (level, at) or directory.kind != Kind.DIR:
        raise _moved(directory)
    if wants_split(directory):
        if level < 0:
            level, full.names, directory.names = 0, directory.names, {}
        for name in list(full.names):
            if places_of(name.encode("latin-1"))[1] >> level & 1:
                added.names[name] = full.names.pop(name)
        is_last = at + 1 == 1 << level
        directory.level, directory.split = (level + 1, 0) if is_last else (level, at + 1)
    return directory.level, directory.split
