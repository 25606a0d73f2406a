"""A small NFSv3 client for tests: it packs calls by hand and unpacks replies, over any carrier of records."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable
from typing import Any

from fivefold.gateways.nfs.xdr import Reader, Writer

OK = 0
Carrier = Callable[[bytes], Awaitable[bytes | None]]


class Client:
    """Calls as one user."""

    xids = itertools.count(1)

    def __init__(self, carry: Carrier, uid: int = 1000, gids: tuple[int, ...] = (1000,)) -> None:
        self._carry = carry
        body = Writer().u32(0).opaque(b"test").u32(uid).u32(gids[0]).u32(len(gids) - 1)
        for gid in gids[1:]:
            body.u32(gid)
        self._credentials = bytes(Writer().u32(1).opaque(bytes(body.data)).u32(0).u32(0).data)

    def pack(self, procedure: int, arguments: bytes, *, program: int = 100003, version: int = 3) -> bytes:
        head = Writer().u32(next(self.xids)).u32(0).u32(2).u32(program).u32(version).u32(procedure)
        return bytes(head.data) + self._credentials + arguments

    async def call(self, procedure: int, arguments: Writer, *, program: int = 100003) -> Reader:
        record = self.pack(procedure, bytes(arguments.data), program=program)
        reply = await self._carry(record)
        assert reply is not None
        assert reply[:4] == record[:4]
        reader = Reader(reply, 4)
        assert [reader.u32() for _ in range(5)] == [1, 0, 0, 0, 0], reply
        return reader

    async def mount(self, path: bytes) -> bytes:
        reader = await self.call(1, Writer().opaque(path), program=100005)
        assert reader.u32() == OK
        return reader.opaque(64)

    # --- procedures: each gives back (status, what follows) ------------------------------------------------------

    async def getattr(self, handle: bytes) -> tuple[int, dict[str, Any]]:
        reader = await self.call(1, Writer().opaque(handle))
        status = reader.u32()
        found = attributes(reader) if status == OK else {}
        reader.end()
        return status, found

    async def setattr(self, handle: bytes, guard: int | None = None, **changes: Any) -> tuple[int, dict[str, Any]]:
        writer = Writer().opaque(handle)
        write_changes(writer, **changes)
        writer.boolean(guard is not None)
        if guard is not None:
            writer.u32(guard // 10**9).u32(guard % 10**9)
        return await self._changed(2, writer)

    async def _changed(self, procedure: int, writer: Writer) -> tuple[int, dict[str, Any]]:
        reader = await self.call(procedure, writer)
        status = reader.u32()
        found = wcc(reader)
        reader.end()
        return status, found

    async def lookup(self, directory: bytes, name: bytes) -> tuple[int, bytes, dict[str, Any]]:
        reader = await self.call(3, Writer().opaque(directory).opaque(name))
        status = reader.u32()
        if status != OK:
            post(reader)
            reader.end()
            return status, b"", {}
        handle = reader.opaque(64)
        found = post(reader)
        post(reader)
        reader.end()
        return status, handle, found

    async def access(self, handle: bytes, wanted: int = 0x3F) -> tuple[int, int]:
        reader = await self.call(4, Writer().opaque(handle).u32(wanted))
        status = reader.u32()
        post(reader)
        granted = reader.u32() if status == OK else 0
        reader.end()
        return status, granted

    async def readlink(self, handle: bytes) -> tuple[int, bytes]:
        reader = await self.call(5, Writer().opaque(handle))
        status = reader.u32()
        post(reader)
        return status, reader.opaque(4096) if status == OK else b""

    async def read(self, handle: bytes, offset: int, count: int) -> tuple[int, bytes, bool]:
        reader = await self.call(6, Writer().opaque(handle).u64(offset).u32(count))
        status = reader.u32()
        post(reader)
        if status != OK:
            return status, b"", False
        size, is_end = reader.u32(), reader.boolean()
        data = reader.opaque(1 << 20)
        assert len(data) == size
        return status, data, is_end

    async def write(self, handle: bytes, offset: int, data: bytes, stable: int = 2) -> tuple[int, dict[str, Any]]:
        reader = await self.call(7, Writer().opaque(handle).u64(offset).u32(len(data)).u32(stable).opaque(data))
        status = reader.u32()
        found = wcc(reader)
        if status == OK:
            assert (reader.u32(), reader.u32()) == (len(data), 2)
            reader.fixed(8)
        reader.end()
        return status, found

    async def create(
        self, directory: bytes, name: bytes, how: int = 0, verifier: bytes = b"", **changes: Any
    ) -> tuple[int, bytes, dict[str, Any]]:
        writer = Writer().opaque(directory).opaque(name).u32(how)
        if how == 2:
            writer.fixed(verifier)
        else:
            write_changes(writer, **changes)
        return await self._made(8, writer)

    async def mkdir(self, directory: bytes, name: bytes, **changes: Any) -> tuple[int, bytes, dict[str, Any]]:
        writer = Writer().opaque(directory).opaque(name)
        write_changes(writer, **changes)
        return await self._made(9, writer)

    async def symlink(
        self, directory: bytes, name: bytes, target: bytes, **changes: Any
    ) -> tuple[int, bytes, dict[str, Any]]:
        writer = Writer().opaque(directory).opaque(name)
        write_changes(writer, **changes)
        return await self._made(10, writer.opaque(target))

    async def mknod(
        self, directory: bytes, name: bytes, kind: int, rdev: tuple[int, int] = (0, 0), **changes: Any
    ) -> tuple[int, bytes, dict[str, Any]]:
        writer = Writer().opaque(directory).opaque(name).u32(kind)
        if kind in (3, 4, 6, 7):
            write_changes(writer, **changes)
        if kind in (3, 4):
            writer.u32(rdev[0]).u32(rdev[1])
        return await self._made(11, writer)

    async def _made(self, procedure: int, writer: Writer) -> tuple[int, bytes, dict[str, Any]]:
        reader = await self.call(procedure, writer)
        status = reader.u32()
        handle, found = b"", {}
        if status == OK:
            assert reader.boolean()
            handle = reader.opaque(64)
            found = post(reader)
        wcc(reader)
        reader.end()
        return status, handle, found

    async def remove(self, directory: bytes, name: bytes) -> int:
        return (await self._changed(12, Writer().opaque(directory).opaque(name)))[0]

    async def rmdir(self, directory: bytes, name: bytes) -> int:
        return (await self._changed(13, Writer().opaque(directory).opaque(name)))[0]

    async def rename(self, source: bytes, name: bytes, target: bytes, new_name: bytes) -> int:
        writer = Writer().opaque(source).opaque(name).opaque(target).opaque(new_name)
        reader = await self.call(14, writer)
        status = reader.u32()
        wcc(reader)
        wcc(reader)
        reader.end()
        return status

    async def link(self, handle: bytes, directory: bytes, name: bytes) -> int:
        reader = await self.call(15, Writer().opaque(handle).opaque(directory).opaque(name))
        status = reader.u32()
        post(reader)
        wcc(reader)
        reader.end()
        return status

    async def readdir(
        self, directory: bytes, count: int = 1024, *, is_plus: bool = False
    ) -> tuple[int, dict[bytes, tuple[int, dict[str, Any]]]]:
        """The whole directory, in as many calls as it takes."""
        found: dict[bytes, tuple[int, dict[str, Any]]] = {}
        cookie, verifier, is_end = 0, bytes(8), False
        while not is_end:
            writer = Writer().opaque(directory).u64(cookie).fixed(verifier).u32(count)
            reader = await self.call(17, writer.u32(count)) if is_plus else await self.call(16, writer)
            status = reader.u32()
            post(reader)
            if status != OK:
                return status, {}
            verifier = reader.fixed(8)
            while reader.boolean():
                number, name, cookie = reader.u64(), reader.opaque(255), reader.u64()
                assert name not in found, "an entry came twice"
                plus = post(reader) if is_plus else {}
                if is_plus and reader.boolean():
                    reader.opaque(64)
                found[name] = number, plus
            is_end = reader.boolean()
            reader.end()
        return OK, found


def write_changes(
    writer: Writer,
    mode: int | None = None,
    uid: int | None = None,
    gid: int | None = None,
    size: int | None = None,
    atime: int | None = None,
    mtime: int | None = None,
) -> None:
    """``sattr3``; a time of -1 is the server's."""
    for value in (mode, uid, gid):
        writer.boolean(value is not None)
        if value is not None:
            writer.u32(value)
    writer.boolean(size is not None)
    if size is not None:
        writer.u64(size)
    for value in (atime, mtime):
        writer.u32(0 if value is None else 1 if value == -1 else 2)
        if value is not None and value != -1:
            writer.u32(value // 10**9).u32(value % 10**9)


def attributes(reader: Reader) -> dict[str, Any]:
    """``fattr3``."""
    found: dict[str, Any] = {name: reader.u32() for name in ("kind", "mode", "nlink", "uid", "gid")}
    found |= {name: reader.u64() for name in ("size", "used")}
    found["rdev"] = (reader.u32(), reader.u32())
    found |= {name: reader.u64() for name in ("fsid", "id")}
    found |= {name: reader.u32() * 10**9 + reader.u32() for name in ("atime", "mtime", "ctime")}
    return found


def post(reader: Reader) -> dict[str, Any]:
    """``post_op_attr``; empty if absent."""
    return attributes(reader) if reader.boolean() else {}


def wcc(reader: Reader) -> dict[str, Any]:
    """``wcc_data``: the attributes afterwards, and ``before``."""
    before = None
    if reader.boolean():
        before = (reader.u64(), reader.u32() * 10**9 + reader.u32(), reader.u32() * 10**9 + reader.u32())
    found = post(reader)
    return {**found, "before": before} if found else {}
