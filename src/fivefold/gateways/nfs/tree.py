"""The file system: NFS's procedures as calls on objects.

An operation's objects must be named before it runs, but which they are says the tree itself: the bucket of a name, the
file that it leads to. The gateway guesses them from what it saw last. A guess is a condition of the operation and never
an answer: where it is wrong, the operation is rejected with what to guess next, and tried again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, TypeVar

from fivefold.gateways.nfs import data, names
from fivefold.gateways.nfs.codes import Kind, Status
from fivefold.gateways.nfs.directories import Directories, File
from fivefold.gateways.nfs.freed import Freed
from fivefold.gateways.nfs.guesses import Guesses, Handle
from fivefold.gateways.nfs.limits import (
    ATTEMPTS_MAX,
    CHUNK_BYTES,
    DEPTH_MAX,
    FILE_BYTES_MAX,
    NAME_BYTES_MAX,
    TARGET_BYTES_MAX,
)
from fivefold.gateways.nfs.objects import (
    ROOT,
    Attributes,
    Caller,
    Change,
    Changes,
    Crowded,
    Elsewhere,
    Moved,
    Moves,
    Name,
    Refused,
    Taken,
    Unchecked,
)
from fivefold.gateways.nfs.rights import refuse
from fivefold.gateways.nfs.store import LATER, Ref, Store

R = TypeVar("R")


class Where(NamedTuple):
    """A name in a directory."""

    directory: Handle
    name: bytes


class Tree:
    """One exported tree over a store."""

    def __init__(self, store: Store, export: str = "root", clock: Callable[[], int] = time.time_ns) -> None:
        """Use the objects of ``export``; ``clock`` gives the time in ns."""
        self._store, self._export, self._clock = store, export, clock
        self.freed = Freed(store, export, time.monotonic)
        self._inode, self._chunk = self.freed.inode, self.freed.chunk
        self._guesses = Guesses(export)
        self._tasks: set[asyncio.Task[None]] = set()
        self.directories = Directories(store, self._inode, self._guesses)

    async def start(self, *, mode: int, uid: int, gid: int) -> Handle:
        """Make the root directory if there is none, begin to tidy up, and give back the root's handle."""
        root = await self._call(names.found_root, [self._inode(ROOT)], mode=mode, uid=uid, gid=gid, now=self._clock())
        self._spawn(self.freed.tend())
        return Handle(ROOT, root.generation)

    async def close(self) -> None:
        """End what runs beside the calls."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _spawn(self, work: Any) -> None:  # noqa: ANN401 - a coroutine
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _call(self, function: Callable[..., R], objects: list[Ref], **arguments: Any) -> R:  # noqa: ANN401
        return await self._store.call(function, objects, **arguments)

    # --- guesses -----------------------------------------------------------------------------------------------

    async def _child(self, directory: Handle, name: bytes, who: Caller) -> int:
        """The id under a name: a guess, or looked up."""
        for _ in range(ATTEMPTS_MAX):
            if (known := self._guesses.child(directory.id, name)) is not None:
                return known
            at, bucket = self._guesses.place(directory, name)
            try:
                found = await self._call(names.find, [self._inode(directory.id), *bucket], at=at, who=who)
                self._guesses.learn_child(directory.id, name, found.id)
            except Moved as moved:
                self._guesses.learn(directory, name, moved)
        raise LATER

    async def _on_child(
        self, directory: Handle, name: bytes, who: Caller, run: Callable[[list[Ref], Name, int], Awaitable[R]]
    ) -> tuple[int, R]:
        """Run an operation on a directory, a bucket and the file that a name leads to."""
        for _ in range(ATTEMPTS_MAX):
            child = await self._child(directory, name, who)
            at, bucket = self._guesses.place(directory, name)
            try:
                objects = [self._inode(directory.id), self._inode(child), *bucket]
                return child, await run(objects, at, child)
            except Moved as moved:
                self._guesses.learn(directory, name, moved)
            except Refused:
                self._guesses.learn_child(directory.id, name, 0)
                raise
        raise LATER

    # --- one file ----------------------------------------------------------------------------------------------

    async def getattr(self, file: Handle) -> Attributes:
        """GETATTR."""
        return self._sized(file, await self._call(data.getattr, [self._inode(file.id)], generation=file.generation))

    def _sized(self, file: Handle, attributes: Attributes) -> Attributes:
        self._guesses.learn_size(file.id, attributes.size)
        return attributes

    async def access(self, file: Handle, who: Caller) -> data.Access:
        """ACCESS."""
        return await self._call(data.access, [self._inode(file.id)], generation=file.generation, who=who)

    async def readlink(self, file: Handle) -> data.Link:
        """READLINK."""
        return await self._call(data.readlink, [self._inode(file.id)], generation=file.generation)

    async def setattr(self, file: Handle, changes: Changes, guard: int | None, who: Caller) -> Change:
        """SETATTR; ``guard`` is the ctime that the file must have."""
        given = {"generation": file.generation, "changes": changes, "guard": guard, "who": who, "now": self._clock()}
        for _ in range(ATTEMPTS_MAX):
            objects = [self._inode(file.id), *self._boundary(file.id, changes.size)]
            try:
                change = await self._call(data.setattr, objects, **given)
            except (Crowded, Elsewhere) as error:
                await self._learn_data(file.id, error)
            else:
                self._sized(file, change.after)
                return change
        raise LATER

    def _boundary(self, id: int, size: int | None) -> list[Ref]:
        """The chunk that a new size cuts."""
        _check_size(size or 0)
        if not size or size % CHUNK_BYTES == 0 or self._guesses.is_small(id, size):
            return []
        return [self._chunk(id, size // CHUNK_BYTES)]

    async def _learn_data(self, id: int, error: Crowded | Elsewhere) -> None:
        """Get ready to try an operation on a file's data again."""
        if isinstance(error, Elsewhere):
            self._guesses.learn_data(id, error)
        else:
            await self.freed.empty(id)

    async def read(self, file: Handle, offset: int, count: int, who: Caller) -> data.Bytes:
        """READ of at most TRANSFER_BYTES_MAX."""
        for _ in range(ATTEMPTS_MAX):
            end = min(offset + count, max(self._guesses.size(file.id), offset + 1))
            first, chunks = self._stretch(file.id, offset, end, 0)
            given = {"generation": file.generation, "offset": offset, "count": count, "first": first, "who": who}
            try:
                found = await self._call(data.read, [self._inode(file.id), *chunks], **given)
            except Elsewhere as elsewhere:
                self._guesses.learn_data(file.id, elsewhere)
            else:
                self._sized(file, found.attributes)
                return found
        raise LATER

    def _stretch(self, id: int, offset: int, end: int, written: int) -> tuple[int, list[Ref]]:
        """The chunks of a stretch, behind the number of the first; ``written`` is the end of what is to be written."""
        first = offset // CHUNK_BYTES
        if first == 0 and self._guesses.is_small(id, written):
            first = 1
        return first, [self._chunk(id, number) for number in range(first, -(-end // CHUNK_BYTES))]

    async def write(self, file: Handle, offset: int, content: bytes, who: Caller) -> Change:
        """WRITE of at most TRANSFER_BYTES_MAX; it is durable when this returns."""
        _check_size(offset + len(content))
        end = offset + len(content)
        given = {"generation": file.generation, "offset": offset, "data": content, "who": who, "now": self._clock()}
        for _ in range(ATTEMPTS_MAX):
            first, chunks = self._stretch(file.id, offset, end, end)
            try:
                change = await self._call(data.write, [self._inode(file.id), *chunks], first=first, **given)
            except (Crowded, Elsewhere) as error:
                await self._learn_data(file.id, error)
            else:
                self._sized(file, change.after)
                return change
        raise LATER

    # --- names -------------------------------------------------------------------------------------------------

    async def lookup(self, directory: Handle, name: bytes, who: Caller) -> tuple[File, Attributes]:
        """LOOKUP: the file, and the directory's attributes."""
        _check_length(name)
        if name in (b".", b".."):
            return await self._lookup_dot(directory, name, who)

        def run(objects: list[Ref], at: Name, child: int) -> Awaitable[names.Found]:
            return self._call(names.lookup, objects, at=at, expected=child, who=who)

        id, found = await self._on_child(directory, name, who, run)
        assert found.child is not None, "lookup answers with the child's attributes"
        handle = Handle(id, found.child.generation)
        return File(handle, self._sized(handle, found.child)), found.directory

    async def _lookup_dot(self, directory: Handle, name: bytes, who: Caller) -> tuple[File, Attributes]:
        objects = [self._inode(directory.id)]
        found = await self._call(names.parent, objects, generation=directory.generation, who=who)
        if name == b".":
            return File(directory, found.directory), found.directory
        (above,) = await self.directories.files([found.id])
        if above is None:
            raise LATER  # the directory has just been moved away from a parent that is gone
        return above, found.directory

    async def make(
        self, directory: Handle, name: bytes, kind: Kind, changes: Changes, who: Caller, *,
        target: bytes = b"", rdev: tuple[int, int] = (0, 0), verifier: bytes = b"", is_guarded: bool = True,
    ) -> tuple[File, Change]:  # fmt: skip
        """CREATE, MKDIR, SYMLINK and MKNOD.

        Args:
            directory: where.
            name: its name there.
            kind: what it is.
            changes: its attributes.
            who: calls.
            target: of a symbolic link.
            rdev: of a device.
            verifier: of an exclusive CREATE; a file that was made with the same one is that file.
            is_guarded: EXIST if the name is there; otherwise a regular file may be, and is cut to the size given.
        """
        _check_new(name)
        if len(target) > TARGET_BYTES_MAX:
            raise refuse(Status.NAMETOOLONG)
        new = names.NewFile(int(kind), 0, directory.id, changes, target, rdev, verifier)
        is_reopened = kind == Kind.REG and (not is_guarded or bool(verifier))
        for _ in range(ATTEMPTS_MAX):
            child = self._guesses.child(directory.id, name) if is_reopened else None
            try:
                if child is not None:
                    return await self._reopen(directory, name, child, new, who)
                return await self._make(directory, name, new, who)
            except Taken:
                continue
            except (Crowded, Elsewhere) as error:
                await self._learn_data(child or 0, error)
            except Moved as moved:
                self._guesses.learn(directory, name, moved)
                if moved.args[2] > 0 and not is_reopened:
                    raise refuse(Status.EXIST) from None
        raise LATER

    async def _make(self, directory: Handle, name: bytes, new: names.NewFile, who: Caller) -> tuple[File, Change]:
        at, bucket = self._guesses.place(directory, name)
        id = await self.freed.take()
        if id == directory.id:
            await self._refuse_stale(directory)
        objects = [self._inode(directory.id), self._inode(id), *bucket]
        new = names.NewFile(new.kind, id, directory.id, new.changes, new.target, new.rdev, new.verifier)
        try:
            made = await self._call(names.make, objects, at=at, new=new, who=who, now=self._clock())
        except (Moved, Refused):
            self.freed.give(id, is_dirty=False)
            raise
        await self._after(directory, name, id, made)
        self._guesses.forget(id)
        handle = Handle(id, made.child.generation)
        return File(handle, self._sized(handle, made.child)), made.directory

    async def _refuse_stale(self, directory: Handle) -> None:
        """A directory's id seems free: it was removed, unless another gateway has used its id again."""
        try:
            await self.getattr(directory)
        except Refused:
            self.freed.give(directory.id, is_dirty=False)
            raise
        raise Taken

    async def _reopen(
        self, directory: Handle, name: bytes, child: int, new: names.NewFile, who: Caller
    ) -> tuple[File, Change]:
        at, bucket = self._guesses.place(directory, name)
        size = None if new.verifier else new.changes.size
        objects = [self._inode(directory.id), self._inode(child), *bucket, *self._boundary(child, size)]
        made = await self._call(names.reopen, objects, at=at, expected=child, new=new, who=who, now=self._clock())
        handle = Handle(child, made.child.generation)
        return File(handle, self._sized(handle, made.child)), made.directory

    async def _after(self, directory: Handle, name: bytes, child: int, made: names.Made) -> None:
        self._guesses.learn_child(directory.id, name, child)
        if made.wants_split:
            await self.directories.maybe_split(directory.id)

    async def remove(self, directory: Handle, name: bytes, who: Caller, *, is_directory: bool = False) -> Change:
        """REMOVE and RMDIR."""
        _check_length(name)
        if name in (b".", b".."):
            is_empty = not is_directory or name == b"."
            raise refuse(Status.INVAL if is_empty else Status.NOTEMPTY)
        now = self._clock()

        def run(objects: list[Ref], at: Name, child: int) -> Awaitable[names.Gone]:
            return self._call(names.remove, objects, at=at, expected=child, is_directory=is_directory, who=who, now=now)

        id, gone = await self._on_child(directory, name, who, run)
        self._guesses.learn_child(directory.id, name, 0)
        if gone.is_freed:
            self._guesses.forget(id)
            self.freed.give(id, is_dirty=not is_directory)
        return gone.directory

    async def link(self, file: Handle, directory: Handle, name: bytes, who: Caller) -> tuple[Attributes, Change]:
        """LINK: a further name for a file."""
        _check_new(name)
        if file.id == directory.id:  # a directory, unless one of the handles is stale
            await self.getattr(file)
            await self.getattr(directory)
            raise refuse(Status.INVAL)
        for _ in range(ATTEMPTS_MAX):
            at, bucket = self._guesses.place(directory, name)
            objects = [self._inode(directory.id), self._inode(file.id), *bucket]
            given = {"at": at, "id": file.id, "generation": file.generation, "who": who, "now": self._clock()}
            try:
                made = await self._call(names.link, objects, **given)
            except Moved as moved:
                self._guesses.learn(directory, name, moved)
            else:
                await self._after(directory, name, file.id, made)
                return made.child, made.directory
        raise LATER

    async def rename(
        self, source: Handle, name: bytes, target: Handle, new_name: bytes, who: Caller
    ) -> tuple[Change, Change]:
        """RENAME; what the new name led to is gone in the same moment."""
        for each in (name, new_name):
            _check_length(each)
            if each in (b".", b".."):
                raise refuse(Status.INVAL)
        _check_new(new_name)
        old, new, moves = Where(source, name), Where(target, new_name), -1
        for _ in range(ATTEMPTS_MAX):
            moved = await self._child(source, name, who)
            replaced = self._guesses.child(target.id, new_name) or 0
            plan = names.Plan(source.id, target.id, moved, replaced)
            try:
                done = await self._rename(old, new, plan, who, moves)
            except Unchecked:
                moves = await self._moves_without_cycle(moved, target)
            except Moved as found:
                self._learn_rename(old, new, found)
            else:
                await self._after_rename(old, new, plan, done)
                return done.source, done.target or done.source
        raise LATER

    async def _rename(self, old: Where, new: Where, plan: names.Plan, who: Caller, moves: int) -> names.Renamed:
        (source_at, source_bucket), (target_at, target_bucket) = self._guesses.place(*old), self._guesses.place(*new)
        objects: list[Ref] = []

        def role(refs: list[Ref]) -> int:
            """The index of one object; -1 if there is none."""
            objects.extend([ref for ref in refs if ref not in objects])
            return objects.index(refs[0]) if refs else -1

        roles = names.Roles(
            role([self._inode(plan.source)]),
            role(source_bucket),
            role([self._inode(plan.target)]),
            role(target_bucket),
            role([self._inode(plan.moved)]),
            role([self._inode(plan.replaced)] if plan.replaced else []),
            role([(Moves, self._export)] if moves >= 0 else []),
        )
        given = {"roles": roles, "plan": plan, "source_at": source_at, "target_at": target_at, "moves": moves}
        return await self._call(names.rename, objects, who=who, now=self._clock(), **given)

    async def _moves_without_cycle(self, moved: int, target: Handle) -> int:
        """How many moves of directories there were before it was seen that the target is not below what is moved."""
        moves = await self._call(names.moves_made, [(Moves, self._export)])
        above = target.id
        for _ in range(DEPTH_MAX):
            if above == moved:
                raise refuse(Status.INVAL)
            if above in (ROOT, 0):
                return moves
            above = await self._call(names.climb, [self._inode(above)])
        raise refuse(Status.INVAL)

    def _learn_rename(self, old: Where, new: Where, found: Moved) -> None:
        if len(found.args) == 2:
            self._guesses.learn_child(old.directory.id, old.name, found.args[0])
            self._guesses.learn_child(new.directory.id, new.name, found.args[1])
            return
        level, split, id = found.args
        self._guesses.learn_shape(id, level, split)

    async def _after_rename(self, old: Where, new: Where, plan: names.Plan, done: names.Renamed) -> None:
        if plan.moved == plan.replaced:
            return
        self._guesses.learn_child(plan.source, old.name, 0)
        self._guesses.learn_child(plan.target, new.name, plan.moved)
        if done.is_freed:
            self._guesses.forget(plan.replaced)
            self.freed.give(plan.replaced, is_dirty=True)
        if done.wants_split:
            await self.directories.maybe_split(plan.target)


def _check_size(size: int) -> None:
    if size > FILE_BYTES_MAX:
        raise refuse(Status.FBIG)


def _check_length(name: bytes) -> None:
    if not name or b"/" in name or b"\0" in name:
        raise refuse(Status.ACCES if not name else Status.INVAL)
    if len(name) > NAME_BYTES_MAX:
        raise refuse(Status.NAMETOOLONG)


def _check_new(name: bytes) -> None:
    _check_length(name)
    if name in (b".", b".."):
        raise refuse(Status.EXIST)
