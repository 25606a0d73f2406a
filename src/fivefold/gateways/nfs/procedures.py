"""The 22 procedures of NFS version 3 (RFC 1813 §3.3): arguments in, the tree, results out.

Each reads all its arguments before it does anything, so that a malformed call changes nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

from fivefold.gateways.nfs.codes import Kind, Status
from fivefold.gateways.nfs.directories import File, Listed
from fivefold.gateways.nfs.guesses import Handle
from fivefold.gateways.nfs.handles import HANDLE_BYTES_MAX, Handles
from fivefold.gateways.nfs.limits import (
    FILE_BYTES_MAX,
    LINKS_MAX,
    NAME_BYTES_MAX,
    RECORD_BYTES_MAX,
    TRANSFER_BYTES_MAX,
)
from fivefold.gateways.nfs.nfs3 import (
    read_changes,
    read_time,
    write_attributes,
    write_change,
    write_post,
)
from fivefold.gateways.nfs.objects import Attributes, Caller, Change, Changes, Refused
from fivefold.gateways.nfs.rights import EXECUTE, READ, WRITE, refuse
from fivefold.gateways.nfs.store import Applied
from fivefold.gateways.nfs.tree import Tree
from fivefold.gateways.nfs.xdr import Reader, Writer, XdrError

FILE_SYNC: Final = 2
VERIFIER_BYTES: Final = 8
SPACE_BYTES: Final = 1 << 50
"""What FSSTAT says there is room for: nothing limits a tree as such."""
FILES: Final = 1 << 40
PROPERTIES: Final = 0x1B
"""Hard links, symbolic links, one set of limits for all files, times can be set."""
PREFERRED_LIST_BYTES: Final = 32 * 1024
ENTRY_BYTES: Final = 24
"""Of one READDIR entry beside its name; READDIRPLUS adds PLUS_BYTES."""
PLUS_BYTES: Final = 4 + 84 + 8 + 32
END_BYTES: Final = 4 + 88 + VERIFIER_BYTES + 8
"""Of a list beside its entries."""

ACCESS_DIRECTORY: Final = ((0x01, READ), (0x02, EXECUTE), (0x1C, WRITE | EXECUTE))
ACCESS_FILE: Final = ((0x01, READ), (0x0C, WRITE), (0x20, EXECUTE))


class Procedure(NamedTuple):
    """How one is run.

    Attributes:
        run: reads its arguments, writes its results.
        empty: bytes of a result without attributes, which follow any status but OK.
        bare: the same after OK, of an update whose answer is not known.
        is_repeatable: a call that is sent again may be run again.
    """

    run: Callable[[Reader, Caller, Writer], Awaitable[None]]
    empty: int
    is_repeatable: bool
    bare: int = 0


class Procedures:
    """NFS over one tree."""

    def __init__(self, tree: Tree, handles: Handles, verifier: bytes) -> None:
        """``verifier`` is new for each start of the gateway."""
        self._tree, self._handles, self._verifier = tree, handles, verifier
        self._fsid = handles.fsid
        self.table = (
            Procedure(self._null, 0, True),
            Procedure(self._getattr, 0, True),
            Procedure(self._setattr, 8, False, 8),
            Procedure(self._lookup, 4, True),
            Procedure(self._access, 4, True),
            Procedure(self._readlink, 4, True),
            Procedure(self._read, 4, True),
            Procedure(self._write, 8, False),
            Procedure(self._create, 8, False, 16),
            Procedure(self._mkdir, 8, False, 16),
            Procedure(self._symlink, 8, False, 16),
            Procedure(self._mknod, 8, False, 16),
            Procedure(self._remove, 8, False, 8),
            Procedure(self._rmdir, 8, False, 8),
            Procedure(self._rename, 16, False, 16),
            Procedure(self._link, 12, False, 12),
            Procedure(self._readdir, 4, True),
            Procedure(self._readdirplus, 4, True),
            Procedure(self._fsstat, 4, True),
            Procedure(self._fsinfo, 4, True),
            Procedure(self._pathconf, 4, True),
            Procedure(self._commit, 8, True),
        )

    async def run(self, number: int, reader: Reader, who: Caller, writer: Writer) -> None:
        """Run one, and write its status and results.

        Raises:
            XdrError: its arguments cannot be read; nothing was done.
        """
        procedure = self.table[number]
        begin = len(writer.data)
        try:
            await procedure.run(reader, who, writer)
        except Refused as refused:
            del writer.data[begin:]
            writer.u32(refused.args[0]).fixed(bytes(procedure.empty))
        except Applied:
            del writer.data[begin:]
            writer.u32(Status.OK).fixed(bytes(procedure.bare))

    def turn_away(self, number: int, writer: Writer) -> None:
        """Tell the client of a call that was not looked at to come back."""
        if number:
            writer.u32(Status.JUKEBOX).fixed(bytes(self.table[number].empty))

    # --- arguments and results ---------------------------------------------------------------------------------

    def _file(self, data: bytes) -> Handle:
        return self._handles.decode(data)

    def _post(self, writer: Writer, file: Handle, attributes: Attributes | None) -> None:
        write_post(writer, self._fsid, file.id, attributes)

    def _change(self, writer: Writer, file: Handle, change: Change | None) -> None:
        write_change(writer, self._fsid, file.id, change)

    def _write_made(self, writer: Writer, file: File, directory: Handle, change: Change) -> None:
        writer.u32(Status.OK).boolean(True).opaque(self._handles.encode(file.handle))
        self._post(writer, file.handle, file.attributes)
        self._change(writer, directory, change)

    # --- queries -----------------------------------------------------------------------------------------------

    async def _null(self, reader: Reader, who: Caller, writer: Writer) -> None:
        reader.end()

    async def _getattr(self, reader: Reader, who: Caller, writer: Writer) -> None:
        handle = _only_handle(reader)
        file = self._file(handle)
        attributes = await self._tree.getattr(file)
        writer.u32(Status.OK)
        write_attributes(writer, self._fsid, file.id, attributes)

    async def _lookup(self, reader: Reader, who: Caller, writer: Writer) -> None:
        handle, name = _where(reader)
        reader.end()
        directory = self._file(handle)
        found, attributes = await self._tree.lookup(directory, name, who)
        writer.u32(Status.OK).opaque(self._handles.encode(found.handle))
        self._post(writer, found.handle, found.attributes)
        self._post(writer, directory, attributes)

    async def _access(self, reader: Reader, who: Caller, writer: Writer) -> None:
        handle, wanted = reader.opaque(HANDLE_BYTES_MAX), reader.u32()
        reader.end()
        file = self._file(handle)
        found = await self._tree.access(file, who)
        table = ACCESS_DIRECTORY if found.attributes.kind == Kind.DIR else ACCESS_FILE
        granted = sum(bits for bits, needed in table if found.granted & needed == needed)
        writer.u32(Status.OK)
        self._post(writer, file, found.attributes)
        writer.u32(granted & wanted)

    async def _readlink(self, reader: Reader, who: Caller, writer: Writer) -> None:
        file = self._file(_only_handle(reader))
        found = await self._tree.readlink(file)
        writer.u32(Status.OK)
        self._post(writer, file, found.attributes)
        writer.opaque(found.target)

    async def _read(self, reader: Reader, who: Caller, writer: Writer) -> None:
        handle, offset, count = reader.opaque(HANDLE_BYTES_MAX), reader.u64(), reader.u32()
        reader.end()
        file = self._file(handle)
        found = await self._tree.read(file, min(offset, FILE_BYTES_MAX), min(count, TRANSFER_BYTES_MAX), who)
        writer.u32(Status.OK)
        self._post(writer, file, found.attributes)
        writer.u32(len(found.data)).boolean(offset + len(found.data) >= found.attributes.size).opaque(found.data)

    async def _readdir(self, reader: Reader, who: Caller, writer: Writer) -> None:
        handle, cookie, verifier = reader.opaque(HANDLE_BYTES_MAX), reader.u64(), reader.fixed(VERIFIER_BYTES)
        count = reader.u32()
        reader.end()
        directory = self._file(handle)
        many = min(count, TRANSFER_BYTES_MAX) // ENTRY_BYTES
        listed, is_end, attributes = await self._list(directory, cookie, verifier, many, who)
        self._begin_list(writer, directory, attributes)
        room = count - END_BYTES
        for at, each in enumerate(listed):
            room -= _entry_bytes(each)
            if room < 0:
                return _end_list(writer, is_empty=at == 0, is_end=False)
            writer.boolean(True).u64(each.id).opaque(each.name).u64(each.cookie)
        return _end_list(writer, is_empty=False, is_end=is_end)

    async def _readdirplus(self, reader: Reader, who: Caller, writer: Writer) -> None:
        handle, cookie, verifier = reader.opaque(HANDLE_BYTES_MAX), reader.u64(), reader.fixed(VERIFIER_BYTES)
        names_bytes, count = reader.u32(), reader.u32()
        reader.end()
        directory = self._file(handle)
        many = min(names_bytes // ENTRY_BYTES, min(count, TRANSFER_BYTES_MAX) // (ENTRY_BYTES + PLUS_BYTES)) + 1
        listed, is_end, attributes = await self._list(directory, cookie, verifier, many, who)
        files = await self._tree.directories.files([each.id for each in listed])
        self._begin_list(writer, directory, attributes)
        room, names_room = min(count, TRANSFER_BYTES_MAX) - END_BYTES, names_bytes
        for at, (each, file) in enumerate(zip(listed, files, strict=True)):
            room -= _entry_bytes(each) + PLUS_BYTES
            if room < 0 or (names_room <= 0 and at):
                return _end_list(writer, is_empty=at == 0, is_end=False)
            names_room -= _entry_bytes(each)
            writer.boolean(True).u64(each.id).opaque(each.name).u64(each.cookie)
            self._post(writer, Handle(each.id, 0), file.attributes if file else None)
            writer.boolean(file is not None)
            if file is not None:
                writer.opaque(self._handles.encode(file.handle))
        return _end_list(writer, is_empty=False, is_end=is_end)

    async def _list(
        self, directory: Handle, cookie: int, verifier: bytes, many: int, who: Caller
    ) -> tuple[list[Listed], bool, Attributes]:
        if cookie and verifier != _list_verifier(directory):
            raise refuse(Status.BAD_COOKIE)
        return await self._tree.directories.read(directory, cookie, max(many, 2), who)

    def _begin_list(self, writer: Writer, directory: Handle, attributes: Attributes) -> None:
        writer.u32(Status.OK)
        self._post(writer, directory, attributes)
        writer.fixed(_list_verifier(directory))

    async def _fsstat(self, reader: Reader, who: Caller, writer: Writer) -> None:
        file = self._file(_only_handle(reader))
        attributes = await self._tree.getattr(file)
        writer.u32(Status.OK)
        self._post(writer, file, attributes)
        writer.u64(SPACE_BYTES).u64(SPACE_BYTES).u64(SPACE_BYTES).u64(FILES).u64(FILES).u64(FILES).u32(0)

    async def _fsinfo(self, reader: Reader, who: Caller, writer: Writer) -> None:
        file = self._file(_only_handle(reader))
        attributes = await self._tree.getattr(file)
        writer.u32(Status.OK)
        self._post(writer, file, attributes)
        for _ in ("read", "write"):
            writer.u32(TRANSFER_BYTES_MAX).u32(TRANSFER_BYTES_MAX).u32(4096)
        writer.u32(PREFERRED_LIST_BYTES).u64(FILE_BYTES_MAX).u32(0).u32(1).u32(PROPERTIES)

    async def _pathconf(self, reader: Reader, who: Caller, writer: Writer) -> None:
        file = self._file(_only_handle(reader))
        attributes = await self._tree.getattr(file)
        writer.u32(Status.OK)
        self._post(writer, file, attributes)
        writer.u32(LINKS_MAX).u32(NAME_BYTES_MAX).boolean(True).boolean(True).boolean(False).boolean(True)

    # --- updates -----------------------------------------------------------------------------------------------

    async def _setattr(self, reader: Reader, who: Caller, writer: Writer) -> None:
        handle, changes = reader.opaque(HANDLE_BYTES_MAX), read_changes(reader)
        guard = read_time(reader) if reader.boolean() else None
        reader.end()
        file = self._file(handle)
        change = await self._tree.setattr(file, changes, guard, who)
        writer.u32(Status.OK)
        self._change(writer, file, change)

    async def _write(self, reader: Reader, who: Caller, writer: Writer) -> None:
        handle, offset, count, _ = reader.opaque(HANDLE_BYTES_MAX), reader.u64(), reader.u32(), reader.one_of(3)
        content = reader.opaque(TRANSFER_BYTES_MAX)
        reader.end()
        if count > len(content):
            raise XdrError("fewer bytes than the call says")
        file = self._file(handle)
        change: Change | None = None
        try:
            change = await self._tree.write(file, offset, content[:count], who)
        except Applied:
            pass  # the attributes are optional; what follows them is not
        writer.u32(Status.OK)
        self._change(writer, file, change)
        writer.u32(count).u32(FILE_SYNC).fixed(self._verifier)

    async def _commit(self, reader: Reader, who: Caller, writer: Writer) -> None:
        handle, _, _ = reader.opaque(HANDLE_BYTES_MAX), reader.u64(), reader.u32()
        reader.end()
        file = self._file(handle)
        attributes = await self._tree.getattr(file)  # every WRITE was durable when it was answered
        writer.u32(Status.OK).boolean(False)
        self._post(writer, file, attributes)
        writer.fixed(self._verifier)

    async def _create(self, reader: Reader, who: Caller, writer: Writer) -> None:
        handle, name = _where(reader)
        how = reader.one_of(3)
        changes = Changes() if how == 2 else read_changes(reader)
        verifier = reader.fixed(VERIFIER_BYTES) if how == 2 else b""
        reader.end()
        directory = self._file(handle)
        is_guarded = how == 1
        file, change = await self._tree.make(
            directory, name, Kind.REG, changes, who, verifier=verifier, is_guarded=is_guarded
        )
        self._write_made(writer, file, directory, change)

    async def _mkdir(self, reader: Reader, who: Caller, writer: Writer) -> None:
        handle, name = _where(reader)
        changes = _without_size(read_changes(reader))
        reader.end()
        directory = self._file(handle)
        file, change = await self._tree.make(directory, name, Kind.DIR, changes, who)
        self._write_made(writer, file, directory, change)

    async def _symlink(self, reader: Reader, who: Caller, writer: Writer) -> None:
        handle, name = _where(reader)
        changes, target = _without_size(read_changes(reader)), reader.opaque(RECORD_BYTES_MAX)
        reader.end()
        directory = self._file(handle)
        file, change = await self._tree.make(directory, name, Kind.LNK, changes, who, target=target)
        self._write_made(writer, file, directory, change)

    async def _mknod(self, reader: Reader, who: Caller, writer: Writer) -> None:
        handle, name = _where(reader)
        number = reader.u32()
        changes, rdev = Changes(), (0, 0)
        if number in (Kind.BLK, Kind.CHR, Kind.SOCK, Kind.FIFO):
            changes = _without_size(read_changes(reader))
        if number in (Kind.BLK, Kind.CHR):
            rdev = reader.u32(), reader.u32()
        reader.end()
        directory = self._file(handle)
        if number not in (Kind.BLK, Kind.CHR, Kind.SOCK, Kind.FIFO):
            raise refuse(Status.BADTYPE)
        if number in (Kind.BLK, Kind.CHR) and who.uid != 0:
            raise refuse(Status.PERM)
        file, change = await self._tree.make(directory, name, Kind(number), changes, who, rdev=rdev)
        self._write_made(writer, file, directory, change)

    async def _remove(self, reader: Reader, who: Caller, writer: Writer) -> None:
        await self._unlink(reader, who, writer, is_directory=False)

    async def _rmdir(self, reader: Reader, who: Caller, writer: Writer) -> None:
        await self._unlink(reader, who, writer, is_directory=True)

    async def _unlink(self, reader: Reader, who: Caller, writer: Writer, *, is_directory: bool) -> None:
        handle, name = _where(reader)
        reader.end()
        directory = self._file(handle)
        change = await self._tree.remove(directory, name, who, is_directory=is_directory)
        writer.u32(Status.OK)
        self._change(writer, directory, change)

    async def _rename(self, reader: Reader, who: Caller, writer: Writer) -> None:
        (handle, name), (new_handle, new_name) = _where(reader), _where(reader)
        reader.end()
        source, target = self._file(handle), self._file(new_handle)
        before, after = await self._tree.rename(source, name, target, new_name, who)
        writer.u32(Status.OK)
        self._change(writer, source, before)
        self._change(writer, target, after)

    async def _link(self, reader: Reader, who: Caller, writer: Writer) -> None:
        handle, (to, name) = reader.opaque(HANDLE_BYTES_MAX), _where(reader)
        reader.end()
        file, directory = self._file(handle), self._file(to)
        attributes, change = await self._tree.link(file, directory, name, who)
        writer.u32(Status.OK)
        self._post(writer, file, attributes)
        self._change(writer, directory, change)


def _only_handle(reader: Reader) -> bytes:
    handle = reader.opaque(HANDLE_BYTES_MAX)
    reader.end()
    return handle


def _where(reader: Reader) -> tuple[bytes, bytes]:
    """``diropargs3``; a name that is too long is the tree's to refuse."""
    return reader.opaque(HANDLE_BYTES_MAX), reader.opaque(RECORD_BYTES_MAX)


def _without_size(changes: Changes) -> Changes:
    return Changes(changes.mode, changes.uid, changes.gid, None, changes.atime, changes.mtime)


def _list_verifier(directory: Handle) -> bytes:
    """Cookies stay good as long as the directory lives."""
    return directory.generation.to_bytes(VERIFIER_BYTES)


def _entry_bytes(listed: Listed) -> int:
    return ENTRY_BYTES + len(listed.name) + -len(listed.name) % 4


def _end_list(writer: Writer, *, is_empty: bool, is_end: bool) -> None:
    if is_empty:
        raise refuse(Status.TOOSMALL)
    writer.boolean(False).boolean(is_end)
