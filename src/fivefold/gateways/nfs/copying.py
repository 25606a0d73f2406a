"""Copies of whole trees: from this machine's files into the objects, and back."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from typing import Final, NamedTuple, TypeVar

from fivefold.gateways.nfs.codes import Kind, Status
from fivefold.gateways.nfs.directories import Listed
from fivefold.gateways.nfs.guesses import Handle
from fivefold.gateways.nfs.limits import COPIES_AT_ONCE, LIST_AT_ONCE, TRANSFER_BYTES_MAX
from fivefold.gateways.nfs.objects import Attributes, Caller, Changes, Refused
from fivefold.gateways.nfs.tree import Tree

ROOT_USER: Final = Caller(0, (0,))
T = TypeVar("T")


class Source(NamedTuple):
    """A file of this machine: its path below the copied directory, and what lstat says."""

    path: bytes
    found: os.stat_result


class Copied(NamedTuple):
    """What a copy did. Devices and sockets are left out."""

    files: int
    size: int
    left_out: list[bytes]


def scan(directory: bytes) -> list[Source]:
    """All that is below a directory, each directory before what is in it; links are not followed.

    Raises:
        OSError: something cannot be read.
    """
    found: list[Source] = []

    def refuse(error: OSError) -> None:
        raise error

    for above, directories, files in os.walk(directory, onerror=refuse):
        for name in sorted(directories) + sorted(files):
            path = os.path.join(above, name)
            found.append(Source(os.path.relpath(path, directory), os.lstat(path)))
    return found


async def copy_in(
    tree: Tree, root: Handle, directory: bytes, sources: list[Source], on_bytes: Callable[[int], None]
) -> Copied:
    """Copy the scanned files of a directory into the tree; what is there under their names is written over.

    Args:
        tree: where to.
        root: below which directory of it.
        directory: which one was scanned.
        sources: what the scan found.
        on_bytes: told of each piece that was copied.
    """
    handles, links, left_out = {b"": root}, dict[tuple[int, int], Handle](), list[bytes]()
    for each in sources:
        if stat.S_ISDIR(each.found.st_mode):
            handles[each.path] = await _make_directory(tree, _above(handles, each.path), each)
    waiting = [each for each in sources if not stat.S_ISDIR(each.found.st_mode)]
    many = [each for each in waiting if each.found.st_nlink > 1]

    async def copy(each: Source) -> None:
        kind = _kind_of(each.found.st_mode)
        above, name = _above(handles, each.path), os.path.basename(each.path)
        key = (each.found.st_dev, each.found.st_ino)
        if kind is None:
            left_out.append(each.path)
        elif key in links:
            await _remove_if_there(tree, above, name)
            await tree.link(links[key], above, name, ROOT_USER)
        else:
            links[key] = await _copy_file_in(tree, above, kind, os.path.join(directory, each.path), each, on_bytes)

    await _side_by_side((each for each in waiting if each.found.st_nlink == 1), copy)
    for each in many:  # one after the other: the first name of a file makes it, the others are links to it
        await copy(each)
    for each in reversed(sources):  # at last, since what is put into a directory changes its time
        if stat.S_ISDIR(each.found.st_mode):
            await tree.setattr(handles[each.path], _changes_of(each), None, ROOT_USER)
    return Copied(len(sources) - len(left_out), sum(_size(each) for each in sources), left_out)


def _above(handles: dict[bytes, Handle], path: bytes) -> Handle:
    return handles[os.path.dirname(path)]


def _size(each: Source) -> int:
    return each.found.st_size if stat.S_ISREG(each.found.st_mode) else 0


def _kind_of(mode: int) -> Kind | None:
    kinds = ((stat.S_ISREG, Kind.REG), (stat.S_ISLNK, Kind.LNK), (stat.S_ISFIFO, Kind.FIFO))
    return next((kind for test, kind in kinds if test(mode)), None)


def _changes_of(each: Source) -> Changes:
    found = each.found
    mode = stat.S_IMODE(found.st_mode)
    return Changes(mode, found.st_uid, found.st_gid, None, max(found.st_atime_ns, 0), max(found.st_mtime_ns, 0))


async def _make_directory(tree: Tree, above: Handle, each: Source) -> Handle:
    name = os.path.basename(each.path)
    try:
        made, _ = await tree.make(above, name, Kind.DIR, Changes(mode=0o700), ROOT_USER)
    except Refused as refused:
        if refused.args[0] != Status.EXIST:
            raise
        made, _ = await tree.lookup(above, name, ROOT_USER)
    return made.handle


async def _copy_file_in(
    tree: Tree, above: Handle, kind: Kind, path: bytes, each: Source, on_bytes: Callable[[int], None]
) -> Handle:
    name, is_data = os.path.basename(path), kind == Kind.REG
    target = await asyncio.to_thread(os.readlink, path) if kind == Kind.LNK else b""
    if not is_data:
        await _remove_if_there(tree, above, name)
    changes = Changes(mode=0o600, size=0 if is_data else None)
    made, _ = await tree.make(above, name, kind, changes, ROOT_USER, target=target, is_guarded=not is_data)
    if is_data:
        offset = 0
        while piece := await asyncio.to_thread(_read_piece, path, offset):
            await tree.write(made.handle, offset, piece, ROOT_USER)
            offset += len(piece)
            on_bytes(len(piece))
    await tree.setattr(made.handle, _changes_of(each), None, ROOT_USER)
    return made.handle


async def _remove_if_there(tree: Tree, above: Handle, name: bytes) -> None:
    try:
        await tree.remove(above, name, ROOT_USER)
    except Refused as refused:
        if refused.args[0] != Status.NOENT:
            raise


def _read_piece(path: bytes, offset: int) -> bytes:
    with open(path, "rb") as file:
        file.seek(offset)
        return file.read(TRANSFER_BYTES_MAX)


async def _side_by_side(many: Iterable[T], work: Callable[[T], Awaitable[None]]) -> None:
    """Do the work on each, a bounded number at a time; the first failure ends all."""
    waiting: Iterator[T] = iter(many)

    async def worker() -> None:
        for each in waiting:
            await work(each)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(COPIES_AT_ONCE):
                group.create_task(worker())
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None


# --- out -------------------------------------------------------------------------------------------------------
class Found(NamedTuple):
    """A file of the tree, with its path below the root."""

    path: bytes
    handle: Handle
    attributes: Attributes


async def walk(tree: Tree, root: Handle) -> AsyncIterator[Found]:
    """All that is below a directory of the tree, each directory before what is in it."""
    waiting = [(b"", root)]
    while waiting:
        above, directory = waiting.pop()
        listed = [each async for each in walk_directory(tree, directory, ROOT_USER)]
        files = await tree.directories.files([each.id for each in listed])
        for each, file in zip(listed, files, strict=True):
            if file is None or each.name in (b".", b".."):
                continue
            path = os.path.join(above, each.name)
            yield Found(path, file.handle, file.attributes)
            if file.attributes.kind == Kind.DIR:
                waiting.append((path, file.handle))


async def walk_directory(tree: Tree, directory: Handle, who: Caller) -> AsyncIterator[Listed]:
    """All entries of one directory, a bounded number at a time."""
    cookie, is_end = 0, False
    while not is_end:
        listed, is_end, _ = await tree.directories.read(directory, cookie, LIST_AT_ONCE, who)
        for each in listed:
            cookie = each.cookie
            yield each


async def copy_out(tree: Tree, found: list[Found], directory: bytes, on_bytes: Callable[[int], None]) -> Copied:
    """Copy what a walk found into an empty directory of this machine.

    Args:
        tree: where from.
        found: by :func:`walk`.
        directory: where to; it must be empty.
        on_bytes: told of each piece that was copied.

    Raises:
        OSError: something cannot be written.
    """
    first_names: dict[int, bytes] = {}
    again: list[tuple[bytes, bytes]] = []
    left_out: list[bytes] = []
    files: list[Found] = []
    for each in found:
        path = os.path.join(directory, each.path)
        if each.attributes.kind == Kind.DIR:
            await asyncio.to_thread(os.mkdir, path, 0o700)
        elif each.handle.id in first_names:
            again.append((first_names[each.handle.id], path))
        elif each.attributes.kind in (Kind.REG, Kind.LNK, Kind.FIFO):
            first_names[each.handle.id] = path
            files.append(each)
        else:
            left_out.append(each.path)

    async def copy(each: Found) -> None:
        await _copy_file_out(tree, each, os.path.join(directory, each.path), on_bytes)

    await _side_by_side(files, copy)
    for old, new in again:
        await asyncio.to_thread(os.link, old, new, follow_symlinks=False)
    for each in reversed(found):
        if each.attributes.kind == Kind.DIR:
            await asyncio.to_thread(_dress, os.path.join(directory, each.path), each.attributes)
    size = sum(each.attributes.size for each in files if each.attributes.kind == Kind.REG)
    return Copied(len(found) - len(left_out), size, left_out)


async def _copy_file_out(tree: Tree, each: Found, path: bytes, on_bytes: Callable[[int], None]) -> None:
    match each.attributes.kind:
        case Kind.LNK:
            await asyncio.to_thread(os.symlink, (await tree.readlink(each.handle)).target, path)
        case Kind.FIFO:
            await asyncio.to_thread(os.mkfifo, path, 0o600)
        case _:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
            file = await asyncio.to_thread(os.open, path, flags, 0o600)
            try:
                offset = 0
                while piece := (await tree.read(each.handle, offset, TRANSFER_BYTES_MAX, ROOT_USER)).data:
                    await asyncio.to_thread(_write_all, file, piece)
                    offset += len(piece)
                    on_bytes(len(piece))
            finally:
                os.close(file)
    await asyncio.to_thread(_dress, path, each.attributes)


def _write_all(file: int, piece: bytes) -> None:
    while piece:
        piece = piece[os.write(file, piece) :]


def _dress(path: bytes, attributes: Attributes) -> None:
    """Owner (if we may), mode and times of a copied file."""
    if os.geteuid() == 0:
        os.chown(path, attributes.uid, attributes.gid, follow_symlinks=False)
    if attributes.kind != Kind.LNK:
        os.chmod(path, attributes.mode)
    os.utime(path, ns=(attributes.atime, attributes.mtime), follow_symlinks=False)
