"""The same tree by FUSE, for hosts without an NFS client: what libfuse calls, as calls on the tree.

libfuse calls from threads of its own, and the tree lives in an event loop: each call waits there for its coroutine.
"""

from __future__ import annotations

import asyncio
import errno
import os
import stat
from collections.abc import Callable, Coroutine
from concurrent.futures import TimeoutError as LateError
from typing import Any, Final, TypeVar

from fivefold.gateways.nfs.codes import Kind, Status
from fivefold.gateways.nfs.copying import walk_directory
from fivefold.gateways.nfs.data import Access
from fivefold.gateways.nfs.directories import File
from fivefold.gateways.nfs.guesses import Handle
from fivefold.gateways.nfs.limits import FUSE_CALL_S, FUSE_OPEN_MAX, NAME_BYTES_MAX, TRANSFER_BYTES_MAX
from fivefold.gateways.nfs.objects import Attributes, Caller, Changes, Refused
from fivefold.gateways.nfs.rights import READ, WRITE
from fivefold.gateways.nfs.tree import Tree

R = TypeVar("R")
Context = Callable[[], tuple[int, int, int]]
"""Who calls: user, group and process."""

ERRORS: Final = {
    Status.STALE: errno.ESTALE,
    Status.NOTEMPTY: errno.ENOTEMPTY,
    Status.NAMETOOLONG: errno.ENAMETOOLONG,
    Status.JUKEBOX: errno.ETIMEDOUT,
}
"""The others below 100 are numbered like errno."""

FILE_TYPES: Final = {
    Kind.REG: stat.S_IFREG,
    Kind.DIR: stat.S_IFDIR,
    Kind.BLK: stat.S_IFBLK,
    Kind.CHR: stat.S_IFCHR,
    Kind.LNK: stat.S_IFLNK,
    Kind.SOCK: stat.S_IFSOCK,
    Kind.FIFO: stat.S_IFIFO,
}
KINDS: Final = {value: kind for kind, value in FILE_TYPES.items()}
NO_OWNER: Final = 2**32 - 1
"""In chown: leave it."""


class Operations:
    """What mfusepy asks for, by its names and in its forms."""

    use_ns = True

    def __init__(self, tree: Tree, root: Handle, loop: asyncio.AbstractEventLoop, context: Context) -> None:
        """Over a tree that has started in ``loop``, which runs in another thread."""
        self._tree, self._root, self._loop, self._context = tree, root, loop, context
        self._open: dict[int, Handle] = {}
        self._next = 1

    # --- ground ------------------------------------------------------------------------------------------------

    def _run(self, work: Coroutine[Any, Any, R]) -> R:
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(FUSE_CALL_S)
        except Refused as refused:
            status = Status(refused.args[0])
            number = ERRORS.get(status, int(status) if status < Status.NAMETOOLONG else errno.EIO)
            raise OSError(number, os.strerror(number)) from None
        except LateError:
            future.cancel()
            raise OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT)) from None

    def _who(self) -> Caller:
        uid, gid, process = self._context()
        return Caller(uid, (gid, *_groups_of(process)))

    async def _find(self, path: str, who: Caller) -> File:
        names = [each for each in os.fsencode(path).split(b"/") if each]
        file = File(self._root, await self._tree.getattr(self._root)) if not names else None
        handle = self._root
        for name in names:
            file, _ = await self._tree.lookup(handle, name, who)
            handle = file.handle
        assert file is not None, "a path has a name, or is the root"
        return file

    async def _above(self, path: str, who: Caller) -> tuple[Handle, bytes]:
        above, _, name = path.rstrip("/").rpartition("/")
        return (await self._find(above, who)).handle, os.fsencode(name)

    async def _handle(self, path: str, fh: int | None, who: Caller) -> Handle:
        known = self._open.get(fh or 0)
        return known if known is not None else (await self._find(path, who)).handle

    def _opened(self, handle: Handle) -> int:
        if len(self._open) >= FUSE_OPEN_MAX:
            raise OSError(errno.ENFILE, os.strerror(errno.ENFILE))
        self._next += 1
        self._open[self._next] = handle
        return self._next

    # --- queries -----------------------------------------------------------------------------------------------

    def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
        """stat(2)."""
        who = self._who()

        async def work() -> tuple[Handle, Attributes]:
            handle = await self._handle(path, fh, who)
            return handle, await self._tree.getattr(handle)

        return _stat_of(*self._run(work()))

    def access(self, path: str, amode: int) -> int:
        """Refuse what the caller may not do."""
        who = self._who()

        async def work() -> Access:
            return await self._tree.access((await self._find(path, who)).handle, who)

        if self._run(work()).granted & amode != amode:
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        return 0

    def readlink(self, path: str) -> str:
        """The target of a symbolic link."""
        who = self._who()

        async def work() -> bytes:
            return (await self._tree.readlink((await self._find(path, who)).handle)).target

        return os.fsdecode(self._run(work()))

    def readdir(self, path: str, fh: int) -> list[tuple[str, dict[str, Any], int]]:
        """All names of a directory, with their file ids: the kernel leaves out a name without one."""
        who = self._who()

        async def work() -> list[tuple[str, dict[str, Any], int]]:
            directory = (await self._find(path, who)).handle
            found = walk_directory(self._tree, directory, who)
            return [(os.fsdecode(each.name), {"st_ino": each.id, "st_mode": 0}, 0) async for each in found]

        return self._run(work())

    def open(self, path: str, flags: int) -> int:
        """Open a file that is there."""
        who = self._who()
        mode = flags & os.O_ACCMODE
        wanted = {os.O_RDONLY: READ, os.O_WRONLY: WRITE}.get(mode, READ | WRITE)
        granted = self._run(self._access(path, who))
        if granted[1].granted & wanted != wanted:
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        return self._opened(granted[0])

    async def _access(self, path: str, who: Caller) -> tuple[Handle, Access]:
        handle = (await self._find(path, who)).handle
        return handle, await self._tree.access(handle, who)

    def release(self, path: str, fh: int) -> int:
        """close(2) by the last process that has it open."""
        self._open.pop(fh, None)
        return 0

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        """Data of a file."""
        who = self._who()

        async def work() -> bytes:
            handle = await self._handle(path, fh, who)
            return (await self._tree.read(handle, offset, min(size, TRANSFER_BYTES_MAX), who)).data

        return self._run(work())

    def statfs(self, path: str) -> dict[str, int]:
        """statvfs(3): nothing limits a tree as such."""
        blocks = 1 << 38
        return {"f_bsize": 4096, "f_frsize": 4096, "f_blocks": blocks, "f_bfree": blocks, "f_bavail": blocks,
                "f_namemax": NAME_BYTES_MAX}  # fmt: skip

    # --- updates -----------------------------------------------------------------------------------------------

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        """Write data, which is durable on a quorum when this returns."""
        who = self._who()

        async def work() -> int:
            handle = await self._handle(path, fh, who)
            for at in range(0, len(data), TRANSFER_BYTES_MAX):
                await self._tree.write(handle, offset + at, data[at : at + TRANSFER_BYTES_MAX], who)
            return len(data)

        return self._run(work())

    def _make(self, path: str, kind: Kind, mode: int, target: bytes = b"", rdev: tuple[int, int] = (0, 0)) -> Handle:
        who = self._who()

        async def work() -> Handle:
            above, name = await self._above(path, who)
            changes = Changes(mode=stat.S_IMODE(mode))
            made, _ = await self._tree.make(above, name, kind, changes, who, target=target, rdev=rdev)
            return made.handle

        return self._run(work())

    def create(self, path: str, mode: int) -> int:
        """Make a file, and open it."""
        return self._opened(self._make(path, Kind.REG, mode))

    def mkdir(self, path: str, mode: int) -> int:
        """Make a directory."""
        self._make(path, Kind.DIR, mode)
        return 0

    def symlink(self, target: str, source: str) -> int:
        """Make a symbolic link: ``target`` is the new name, ``source`` what it says."""
        self._make(target, Kind.LNK, 0o777, os.fsencode(source))
        return 0

    def mknod(self, path: str, mode: int, dev: int) -> int:
        """Make a file of any kind."""
        kind = KINDS.get(stat.S_IFMT(mode), Kind.REG)
        if kind in (Kind.BLK, Kind.CHR) and self._who().uid != 0:
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))
        self._make(path, kind, mode, rdev=(os.major(dev), os.minor(dev)))
        return 0

    def _unlink(self, path: str, *, is_directory: bool) -> int:
        who = self._who()

        async def work() -> None:
            above, name = await self._above(path, who)
            await self._tree.remove(above, name, who, is_directory=is_directory)

        self._run(work())
        return 0

    def unlink(self, path: str) -> int:
        """Take a name away."""
        return self._unlink(path, is_directory=False)

    def rmdir(self, path: str) -> int:
        """Remove an empty directory."""
        return self._unlink(path, is_directory=True)

    def rename(self, old: str, new: str) -> int:
        """Move a file; what the new name led to is gone in the same moment."""
        who = self._who()

        async def work() -> None:
            (source, name), (target, new_name) = await self._above(old, who), await self._above(new, who)
            await self._tree.rename(source, name, target, new_name, who)

        self._run(work())
        return 0

    def link(self, target: str, source: str) -> int:
        """Give a file another name: ``target`` is the new name of ``source``."""
        who = self._who()

        async def work() -> None:
            file = await self._find(source, who)
            above, name = await self._above(target, who)
            await self._tree.link(file.handle, above, name, who)

        self._run(work())
        return 0

    def _change(self, path: str, fh: int | None, changes: Changes) -> int:
        who = self._who()

        async def work() -> None:
            await self._tree.setattr(await self._handle(path, fh, who), changes, None, who)

        self._run(work())
        return 0

    def chmod(self, path: str, mode: int) -> int:
        """Change the mode."""
        return self._change(path, None, Changes(mode=stat.S_IMODE(mode)))

    def chown(self, path: str, uid: int, gid: int) -> int:
        """Change owner and group."""
        owner, group = (None if each % (NO_OWNER + 1) == NO_OWNER else each for each in (uid, gid))
        return self._change(path, None, Changes(uid=owner, gid=group))

    def truncate(self, path: str, length: int, fh: int | None = None) -> int:
        """Change the size."""
        return self._change(path, fh, Changes(size=length))

    def utimens(self, path: str, times: tuple[int, int] | None = None) -> int:
        """utimensat(2), in ns."""
        atime, mtime = times or (-1, -1)
        return self._change(path, None, Changes(atime=atime, mtime=mtime))


def _stat_of(handle: Handle, found: Attributes) -> dict[str, Any]:
    return {
        "st_mode": FILE_TYPES[Kind(found.kind)] | found.mode,
        "st_ino": handle.id,
        "st_nlink": found.nlink,
        "st_uid": found.uid,
        "st_gid": found.gid,
        "st_size": found.size,
        "st_blocks": -(-found.used // 512),
        "st_rdev": os.makedev(*found.rdev),
        "st_atime": found.atime,
        "st_mtime": found.mtime,
        "st_ctime": found.ctime,
    }


def _groups_of(process: int) -> tuple[int, ...]:
    """Supplementary groups of a process; none if it has gone, or is in another namespace."""
    try:
        with open(f"/proc/{process}/status", encoding="ascii", errors="replace") as status:
            line = next((each for each in status if each.startswith("Groups:")), "")
    except OSError:
        return ()
    return tuple(int(each) for each in line.split()[1:])
