"""What Wireshark's dissector says of our replies: all of them decode, none is malformed."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from fivefold.gateways.nfs.rpc import framed
from fivefold.gateways.nfs.xdr import Writer
from tests.nfs_client import OK, Client
from tests.nfs_rig import in_memory

pytestmark = [
    pytest.mark.integration,
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark not installed"),
]

SEGMENT = 32_000
"""Bytes of one TCP segment in the capture."""


class Capture:
    """A pcap file with one TCP connection, made from what a client and a server sent each other."""

    def __init__(self) -> None:
        self._packets: list[bytes] = []
        self._sent = [1, 1]

    def add(self, data: bytes, *, is_reply: bool) -> None:
        for at in range(0, len(data), SEGMENT):
            piece = data[at : at + SEGMENT]
            ports = (2049, 700) if is_reply else (700, 2049)
            mine, other = self._sent[is_reply], self._sent[not is_reply]
            tcp = struct.pack(">HHIIBBHHH", *ports, mine, other, 0x50, 0x18, 65535, 0, 0)
            ends = [b"\x7f\0\0\2", b"\x7f\0\0\1"]
            source, target = ends if is_reply else ends[::-1]
            head = struct.pack(">BBHHHBBH", 0x45, 0, 40 + len(piece), 0, 0, 64, 6, 0)
            self._packets.append(head + source + target + tcp + piece)
            self._sent[is_reply] += len(piece)

    def write(self, path: Path) -> None:
        with path.open("wb") as file:
            file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262_144, 101))
            for at, packet in enumerate(self._packets):
                file.write(struct.pack("<IIII", at, 0, len(packet), len(packet)) + packet)


def tshark(path: Path, wanted: str) -> list[str]:
    """Lines about the packets that the filter lets through."""
    words = ["tshark", "-n", "-r", str(path), "-Y", wanted, "-T", "fields", "-e", "frame.number", "-e", "_ws.col.Info"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=100, check=True)
    return done.stdout.splitlines()


async def everything(client: Client, root: bytes) -> None:
    """All 22 procedures, with success and with failure."""
    await client.call(0, Writer())
    _, directory, _ = await client.mkdir(root, b"d", mode=0o755)
    _, file, found = await client.create(directory, b"f", mode=0o644, mtime=5_000_000_001)
    await client.create(directory, b"f", 1)
    await client.create(directory, b"g", 2, b"verifier")
    await client.write(file, 3, b"x" * 100_001)
    await client.read(file, 0, 70_000)
    await client.read(directory, 0, 1)
    await client.setattr(file, guard=found["ctime"], size=7)
    await client.setattr(file, atime=-1, uid=5, gid=6)
    await client.symlink(directory, b"s", b"target")
    _, link, _ = await client.lookup(directory, b"s")
    await client.readlink(link)
    await client.readlink(file)
    await client.mknod(directory, b"fifo", 7, mode=0o600)
    await client.mknod(directory, b"dev", 4, (5, 6), mode=0o600)
    await client.mknod(directory, b"bad", 1)
    await client.link(file, directory, b"hard")
    await client.link(file, directory, b"hard")
    await client.rename(directory, b"hard", root, b"moved")
    await client.rename(directory, b"hard", root, b"moved")
    await client.lookup(directory, b"nothing")
    await client.access(directory)
    await client.getattr(file)
    await client.getattr(bytes(32))
    await client.readdir(directory, 200)
    await client.readdir(directory, 400, is_plus=True)
    await client.readdir(file)
    for procedure in (18, 19, 20):
        await client.call(procedure, Writer().opaque(root))
        await client.call(procedure, Writer().opaque(bytes(32)))
    await client.call(21, Writer().opaque(file).u64(0).u32(0))
    assert await client.remove(root, b"moved") == OK
    await client.remove(root, b"moved")
    await client.rmdir(root, b"d")
    await client.rmdir(root, b"nothing")
    for procedure in (0, 2, 4, 5):
        await client.call(procedure, Writer(), program=100005)
    await client.call(1, Writer().opaque(b"/none"), program=100005)


async def test_wireshark_understands_every_reply(tmp_path: Path) -> None:
    """No packet is malformed, each call has its reply, and all procedures are among them."""
    capture, calls = Capture(), 0
    async with in_memory() as (made, root, make_client):

        def watch(record: bytes, reply: bytes) -> None:
            nonlocal calls
            calls += 1
            capture.add(framed(record), is_reply=False)
            capture.add(framed(reply), is_reply=True)

        made.service.watch = watch
        client: Client = make_client()
        assert await client.mount(b"/x") == root
        await everything(client, root)
    capture.write(tmp_path / "nfs.pcap")
    assert tshark(tmp_path / "nfs.pcap", "_ws.malformed || _ws.unreassembled") == []
    replies = tshark(tmp_path / "nfs.pcap", "rpc.msgtyp == 1 && (nfs || mount)")
    assert len(replies) == calls
    for name in (
        *("NULL", "GETATTR", "SETATTR", "LOOKUP", "ACCESS", "READLINK", "READ", "WRITE", "CREATE", "MKDIR", "SYMLINK"),
        *("MKNOD", "REMOVE", "RMDIR", "RENAME", "LINK", "READDIR", "READDIRPLUS", "FSSTAT", "FSINFO", "PATHCONF"),
        *("COMMIT", "MNT", "DUMP", "UMNTALL", "EXPORT"),
    ):
        assert any(f" {name} Reply" in line for line in replies), name


async def test_wireshark_sees_what_is_wrong(tmp_path: Path) -> None:
    """A reply that is cut short is malformed: the check above can fail."""
    capture = Capture()
    async with in_memory() as (made, root, make_client):

        def watch(record: bytes, reply: bytes) -> None:
            capture.add(framed(record), is_reply=False)
            capture.add(framed(reply[:-8]), is_reply=True)

        made.service.watch = watch
        await make_client().getattr(root)
    capture.write(tmp_path / "nfs.pcap")
    assert tshark(tmp_path / "nfs.pcap", "_ws.malformed")
