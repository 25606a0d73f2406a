"""What a POSIX file system does, as plainly as it can be said: written from the manual pages and RFC 1813.

Files are Python objects; names lead to them. Each operation gives back a status of RFC 1813 and a result.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

OK, PERM, NOENT, ACCES, EXIST, NOTDIR, ISDIR, INVAL, FBIG, NAMETOOLONG, NOTEMPTY, STALE, NOT_SYNC = (
    *(0, 1, 2, 13, 17, 20, 21, 22, 27, 63, 66, 70, 10002),
)
REG, DIR, BLK, CHR, LNK, SOCK, FIFO = range(1, 8)
R, W, X = 4, 2, 1
LARGEST = 1 << 44


class Failed(Exception):
    """The operation ends with this status."""


@dataclass(eq=False)
class Node:
    """A file."""

    kind: int
    mode: int
    uid: int
    gid: int
    ctime: int = 0
    mtime: int = 0
    atime: int = 0
    nlink: int = 1
    data: bytearray = field(default_factory=bytearray)
    target: bytes = b""
    rdev: tuple[int, int] = (0, 0)
    verifier: bytes = b""
    children: dict[bytes, Node] = field(default_factory=dict)
    parent: Node | None = None
    is_gone: bool = False

    @property
    def size(self) -> int:
        return {REG: len(self.data), LNK: len(self.target), DIR: 4096}.get(self.kind, 0)

    def shown(self) -> dict[str, Any]:
        names = ("kind", "mode", "nlink", "uid", "gid", "size", "rdev", "atime", "mtime", "ctime")
        return {name: getattr(self, name) for name in names}


class Model:
    """The whole file system and one caller at a time."""

    def __init__(self, now: int) -> None:
        self.root = Node(DIR, 0o1777, 0, 0, now, now, now, nlink=2)
        self.root.parent = self.root
        self.uid, self.gids, self.now = 0, (0,), now

    # --- rights ------------------------------------------------------------------------------------------------

    def may(self, node: Node, wanted: int) -> bool:
        if self.uid == 0:
            return wanted != X or node.kind == DIR or node.mode & 0o111 != 0
        if self.uid == node.uid:
            bits = node.mode // 64
        elif node.gid in self.gids:
            bits = node.mode // 8
        else:
            bits = node.mode
        return bits & wanted == wanted

    def must(self, node: Node, wanted: int) -> None:
        if not all(self.may(node, bit) for bit in (R, W, X) if wanted & bit):
            raise Failed(ACCES)

    def is_owner(self, node: Node) -> bool:
        return self.uid in (0, node.uid)

    def must_data(self, node: Node, wanted: int) -> None:
        if self.uid != node.uid and not self.may(node, wanted) and not (wanted == R and self.may(node, X)):
            raise Failed(ACCES)

    def must_take_away(self, directory: Node, node: Node) -> None:
        self.must(directory, W | X)
        if directory.mode & 0o1000 and not self.is_owner(directory) and not self.is_owner(node):
            raise Failed(PERM)

    # --- steps -------------------------------------------------------------------------------------------------

    def alive(self, node: Node) -> Node:
        if node.is_gone:
            raise Failed(STALE)
        return node

    def directory(self, node: Node) -> Node:
        if self.alive(node).kind != DIR:
            raise Failed(NOTDIR)
        return node

    def touch(self, node: Node, *, is_modified: bool = True) -> None:
        node.ctime = max(self.now, node.ctime + 1)
        if is_modified:
            node.mtime = node.ctime

    def searched(self, node: Node) -> Node:
        self.must(self.directory(node), X)
        return node

    @staticmethod
    def check(name: bytes) -> None:
        if not name:
            raise Failed(ACCES)
        if b"/" in name or b"\0" in name:
            raise Failed(INVAL)
        if len(name) > 255:
            raise Failed(NAMETOOLONG)

    def check_new(self, name: bytes) -> None:
        self.check(name)
        if name in (b".", b".."):
            raise Failed(EXIST)

    def no_privileges(self, node: Node) -> None:
        if self.uid != 0:
            node.mode &= ~0o4000
            if node.mode & 0o010:
                node.mode &= ~0o2000

    def resized(self, node: Node, size: int) -> None:
        if size < len(node.data):
            del node.data[size:]
        else:
            node.data.extend(bytes(size - len(node.data)))

    def unlinked(self, node: Node) -> None:
        node.nlink = 0 if node.kind == DIR else node.nlink - 1
        self.touch(node, is_modified=False)
        node.is_gone = node.nlink == 0

    # --- operations --------------------------------------------------------------------------------------------

    def getattr(self, node: Node) -> dict[str, Any]:
        return self.alive(node).shown()

    def check_changes(self, node: Node, changes: dict[str, Any]) -> None:
        uid, gid = changes.get("uid"), changes.get("gid")
        if uid not in (None, node.uid) and self.uid != 0:
            raise Failed(PERM)
        if gid not in (None, node.gid) and self.uid != 0 and not (self.is_owner(node) and gid in self.gids):
            raise Failed(PERM)
        times = (changes.get("atime"), changes.get("mtime"))
        is_explicit = any(each not in (None, -1) for each in times)
        if (is_explicit or {"mode", "uid", "gid"} & changes.keys()) and not self.is_owner(node):
            raise Failed(PERM)
        if -1 in times and not self.is_owner(node):
            self.must(node, W)
        if "size" in changes:
            if node.kind != REG:
                raise Failed(ISDIR if node.kind == DIR else INVAL)
            self.must_data(node, W)

    def change(self, node: Node, changes: dict[str, Any]) -> None:
        if "mode" in changes:
            node.mode = changes["mode"]
            if self.uid != 0 and node.gid not in self.gids and node.kind != DIR:
                node.mode &= ~0o2000
        if {"uid", "gid"} & changes.keys():
            node.uid, node.gid = changes.get("uid", node.uid), changes.get("gid", node.gid)
            if node.kind != DIR and "mode" not in changes:
                node.mode &= ~0o4000
                if node.mode & 0o010:
                    node.mode &= ~0o2000
        for name in ("atime", "mtime"):
            if name in changes:
                setattr(node, name, self.now if changes[name] == -1 else changes[name])

    def setattr(self, node: Node, guard: int | None, changes: dict[str, Any]) -> dict[str, Any]:
        if changes.get("size", 0) > LARGEST:
            raise Failed(FBIG)
        self.alive(node)
        if guard is not None and guard != node.ctime:
            raise Failed(NOT_SYNC)
        self.check_changes(node, changes)
        if "size" in changes:
            self.resized(node, changes["size"])
            self.no_privileges(node)
        self.change(node, changes)
        self.touch(node, is_modified="size" in changes and "mtime" not in changes)
        return node.shown()

    def lookup(self, directory: Node, name: bytes) -> Node:
        self.check(name)
        self.searched(directory)
        if name in (b".", b".."):
            found = directory if name == b"." else directory.parent
        else:
            found = directory.children.get(name)
        if found is None:
            raise Failed(NOENT)
        return found

    def access(self, node: Node) -> int:
        self.alive(node)
        r, w, x = (self.may(node, bit) for bit in (R, W, X))
        if node.kind == DIR:
            return 0x01 * r | 0x02 * x | 0x1C * (w and x)
        return 0x01 * r | 0x0C * w | 0x20 * x

    def readlink(self, node: Node) -> bytes:
        if self.alive(node).kind != LNK:
            raise Failed(INVAL)
        return node.target

    def read(self, node: Node, offset: int, count: int) -> bytes:
        if self.alive(node).kind != REG:
            raise Failed(INVAL)
        self.must_data(node, R)
        return bytes(node.data[offset : offset + count])

    def write(self, node: Node, offset: int, data: bytes) -> dict[str, Any]:
        if offset + len(data) > LARGEST:
            raise Failed(FBIG)
        if self.alive(node).kind != REG:
            raise Failed(ISDIR if node.kind == DIR else INVAL)
        self.must_data(node, W)
        if data:
            self.resized(node, max(len(node.data), offset))
            node.data[offset : offset + len(data)] = data
            self.no_privileges(node)
            self.touch(node)
        return node.shown()

    def make(
        self, directory: Node, name: bytes, kind: int, changes: dict[str, Any], *, how: int = 1, verifier: bytes = b"",
        target: bytes = b"", rdev: tuple[int, int] = (0, 0),
    ) -> Node:  # fmt: skip
        self.check_new(name)
        if len(target) > 4096:
            raise Failed(NAMETOOLONG)
        if changes.get("size", 0) > LARGEST:
            raise Failed(FBIG)
        self.searched(directory)
        if (found := directory.children.get(name)) is not None:
            return self.again(found, kind, changes, how, verifier)
        self.must(directory, W)
        is_inherited = directory.mode & 0o2000 != 0
        fresh = Node(kind, 0, self.uid, directory.gid if is_inherited else self.gids[0], self.now, self.now, self.now)
        self.check_changes(fresh, changes)
        fresh.nlink, fresh.target, fresh.rdev, fresh.verifier = 2 if kind == DIR else 1, target, rdev, verifier
        self.resized(fresh, changes.get("size", 0))
        self.change(fresh, changes)
        if is_inherited and kind == DIR:
            fresh.mode |= 0o2000
        fresh.parent = directory
        directory.children[name] = fresh
        directory.nlink += kind == DIR
        self.touch(directory)
        return fresh

    def again(self, found: Node, kind: int, changes: dict[str, Any], how: int, verifier: bytes) -> Node:
        if kind != REG or how == 1:
            raise Failed(EXIST)
        if how == 2 and (found.kind != REG or found.verifier != verifier):
            raise Failed(EXIST)
        if found.kind != REG:
            raise Failed(ISDIR if found.kind == DIR else EXIST)
        if how == 0 and "size" in changes:
            self.must_data(found, W)
            self.resized(found, changes["size"])
            self.no_privileges(found)
            self.touch(found)
        return found

    def remove(self, directory: Node, name: bytes, *, is_directory: bool) -> None:
        self.check(name)
        if name in (b".", b".."):
            raise Failed(NOTEMPTY if is_directory and name == b".." else INVAL)
        self.searched(directory)
        node = directory.children.get(name)
        if node is None:
            raise Failed(NOENT)
        self.must_take_away(directory, node)
        if is_directory and node.kind != DIR:
            raise Failed(NOTDIR)
        if not is_directory and node.kind == DIR:
            raise Failed(ISDIR)
        if node.children:
            raise Failed(NOTEMPTY)
        del directory.children[name]
        directory.nlink -= node.kind == DIR
        self.touch(directory)
        self.unlinked(node)

    def link(self, node: Node, directory: Node, name: bytes) -> None:
        self.check_new(name)
        self.alive(node)
        if node is directory:
            raise Failed(INVAL)
        self.searched(directory)
        if name in directory.children:
            raise Failed(EXIST)
        if node.kind == DIR:
            raise Failed(INVAL)
        self.must(directory, W)
        directory.children[name] = node
        node.nlink += 1
        self.touch(node, is_modified=False)
        self.touch(directory)

    def rename(self, source: Node, name: bytes, target: Node, new_name: bytes) -> None:
        for each in (name, new_name):
            self.check(each)
            if each in (b".", b".."):
                raise Failed(INVAL)
        self.searched(source)
        moved = source.children.get(name)
        if moved is None:
            raise Failed(NOENT)
        self.searched(target)
        replaced = target.children.get(new_name)
        self.must_take_away(source, moved)
        self.must(target, W)
        if moved.kind == DIR and source is not target:
            self.must(moved, W)
        if replaced is not None and replaced is not moved:
            self.must_take_away(target, replaced)
            if moved.kind == DIR != replaced.kind:
                raise Failed(NOTDIR)
            if moved.kind != DIR == replaced.kind:
                raise Failed(ISDIR)
            if replaced.children:
                raise Failed(NOTEMPTY)
        if replaced is moved:
            return
        if moved.kind == DIR and source is not target and self.is_below(target, moved):
            raise Failed(INVAL)
        del source.children[name]
        target.children[new_name] = moved
        source.nlink -= moved.kind == DIR
        target.nlink += moved.kind == DIR
        if replaced is not None:
            target.nlink -= replaced.kind == DIR
            self.unlinked(replaced)
        if moved.kind == DIR:
            moved.parent = target
        self.touch(source)
        if source is not target:
            self.touch(target)
        self.touch(moved, is_modified=False)

    def is_below(self, node: Node, above: Node) -> bool:
        while node is not above:
            if node is self.root:
                return False
            assert node.parent is not None
            node = node.parent
        return True

    def readdir(self, node: Node) -> dict[bytes, Node]:
        self.must(self.directory(node), R)
        assert node.parent is not None
        return {**node.children, b".": node, b"..": node.parent}
