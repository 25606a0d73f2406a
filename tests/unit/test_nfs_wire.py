"""XDR, ONC RPC and the heads of calls: what a peer may send, and what it gets."""

from __future__ import annotations

import asyncio
import struct

import pytest

from fivefold.gateways.nfs import limits, rpc
from fivefold.gateways.nfs.xdr import Reader, Writer, XdrError
from tests.nfs_client import Client
from tests.nfs_rig import gateway, in_memory

ACCEPTED = struct.pack(">IIII", 1, 0, 0, 0)


def u32s(*values: int) -> bytes:
    return struct.pack(f">{len(values)}I", *values)


def test_values_come_back() -> None:
    """What a writer wrote a reader reads, padding included, and nothing is left."""
    writer = Writer().u32(7).u64(2**63).boolean(True).opaque(b"abcde").fixed(b"xy")
    assert bytes(writer.data) == u32s(7) + struct.pack(">Q", 2**63) + u32s(1, 5) + b"abcde\0\0\0xy\0\0"
    reader = Reader(bytes(writer.data))
    assert (reader.u32(), reader.u64(), reader.boolean()) == (7, 2**63, True)
    assert (reader.opaque(5), reader.fixed(2)) == (b"abcde", b"xy")
    reader.end()


@pytest.mark.parametrize(
    ("data", "read"),
    [
        (b"\0\0\0", Reader.u32),
        (b"\0" * 7, Reader.u64),
        (u32s(2), Reader.boolean),
        (u32s(6) + b"abcdef\0\0", lambda reader: reader.opaque(5)),
        (u32s(2**32 - 1), lambda reader: reader.opaque(2**32)),
        (u32s(3) + b"abc", lambda reader: reader.opaque(5)),
        (u32s(3) + b"abcX", lambda reader: reader.opaque(5)),
        (u32s(3), lambda reader: reader.one_of(3)),
        (u32s(0), Reader.end),
    ],
)
def test_what_is_no_xdr_is_refused(data: bytes, read) -> None:
    """Short, too long, wrongly padded, or more than was asked for: XdrError, and nothing else."""
    with pytest.raises(XdrError):
        read(Reader(data))


def test_records_come_in_any_pieces() -> None:
    """Fragments are put together, byte by byte or many records at once."""
    stream = struct.pack(">I", 2) + b"ab" + rpc.framed(b"c") + rpc.framed(b"") + rpc.framed(b"de")
    assert list(rpc.Records().feed(stream)) == [b"abc", b"", b"de"]
    records = rpc.Records()
    assert [each for at in range(len(stream)) for each in records.feed(stream[at : at + 1])] == [b"abc", b"", b"de"]


def test_a_record_over_the_limit_ends_the_stream() -> None:
    """The head says how long a record is, so that nothing of it is kept; the same for the sum of fragments."""
    most = limits.RECORD_BYTES_MAX
    assert list(rpc.Records().feed(rpc.framed(bytes(most)))) == [bytes(most)]
    with pytest.raises(rpc.RecordError):
        list(rpc.Records().feed(struct.pack(">I", 0x8000_0000 | most + 1)))
    with pytest.raises(rpc.RecordError):
        list(rpc.Records().feed(struct.pack(">I", most) + bytes(most) + struct.pack(">I", 1)))
    with pytest.raises(rpc.RecordError):
        list(rpc.Records().feed(struct.pack(">I", 0) * (limits.FRAGMENTS_MAX + 1)))


async def answered(record: bytes) -> bytes | None:
    async with in_memory() as (made, _, _):
        return await made.service.answer("here", record)


def call(program: int, version: int, procedure: int, arguments: bytes = b"", rpc_version: int = 2) -> bytes:
    return u32s(9, 0, rpc_version, program, version, procedure, 0, 0, 0, 0) + arguments


@pytest.mark.parametrize(
    ("record", "reply"),
    [
        (call(100003, 3, 0), u32s(9) + ACCEPTED + u32s(0)),
        (call(100005, 3, 0), u32s(9) + ACCEPTED + u32s(0)),
        (call(100000, 2, 0), u32s(9) + ACCEPTED + u32s(rpc.PROG_UNAVAIL)),
        (call(100003, 4, 0), u32s(9) + ACCEPTED + u32s(rpc.PROG_MISMATCH, 3, 3)),
        (call(100005, 1, 0), u32s(9) + ACCEPTED + u32s(rpc.PROG_MISMATCH, 3, 3)),
        (call(100003, 3, 22), u32s(9) + ACCEPTED + u32s(rpc.PROC_UNAVAIL)),
        (call(100005, 3, 6), u32s(9) + ACCEPTED + u32s(rpc.PROC_UNAVAIL)),
        (call(100003, 3, 1, u32s(99)), u32s(9) + ACCEPTED + u32s(rpc.GARBAGE_ARGS)),
        (call(100003, 3, 0, u32s(1)), u32s(9) + ACCEPTED + u32s(rpc.GARBAGE_ARGS)),
        (call(100005, 3, 1, u32s(5000)), u32s(9) + ACCEPTED + u32s(rpc.GARBAGE_ARGS)),
        (call(100003, 3, 0, rpc_version=3), u32s(9, 1, 1, rpc.RPC_MISMATCH, 2, 2)),
        (u32s(9, 0, 2, 100003, 3, 0, 1, 4, 7, 0, 0), u32s(9, 1, 1, rpc.AUTH_ERROR, rpc.AUTH_BADCRED)),
        (u32s(9, 0, 2, 100003, 3, 0, 6, 0, 0, 0), u32s(9, 1, 1, rpc.AUTH_ERROR, rpc.AUTH_TOOWEAK)),
        (u32s(9, 0, 2, 100003, 3, 0, 0, 401), u32s(9, 1, 1, rpc.AUTH_ERROR, rpc.AUTH_BADCRED)),
        (u32s(9, 1, 0), None),
        (b"", None),
        (u32s(9, 0, 2), None),
    ],
)
async def test_what_the_rpc_layer_answers(record: bytes, reply: bytes | None) -> None:
    """Unknown programs, versions, procedures, arguments and credentials get RFC 5531's own answers."""
    assert await answered(record) == reply


async def test_mount_gives_the_root_of_its_own_path_only() -> None:
    """MNT of the export or of / succeeds, of anything else it is NOENT; EXPORT lists the one export."""
    async with in_memory() as (_, root, make):
        client = make()
        for path, status in ((b"/x", 0), (b"/x/", 0), (b"/", 0), (b"/y", 2), (b"x", 2)):
            reader = await client.call(1, Writer().opaque(path), program=100005)
            assert reader.u32() == status, path
            if status == 0:
                assert (reader.opaque(64), reader.u32(), reader.u32()) == (root, 1, 1)
            reader.end()
        reader = await client.call(5, Writer(), program=100005)
        assert (reader.boolean(), reader.opaque(9), reader.boolean(), reader.boolean()) == (True, b"/x", False, False)


async def test_a_connection_that_breaks_record_marking_is_ended_and_others_go_on() -> None:
    """A hostile client loses its own connection only."""
    from fivefold.gateways.nfs import MemoryStore

    async with gateway(MemoryStore()) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        bad_reader, bad = await asyncio.open_connection("127.0.0.1", port)
        bad.write(b"\xff" * 100)
        assert await asyncio.wait_for(bad_reader.read(), 10) == b""
        writer.write(rpc.framed(call(100003, 3, 0)))
        assert await asyncio.wait_for(reader.readexactly(28), 10) == rpc.framed(u32s(9) + ACCEPTED + u32s(0))
        bad.close()
        writer.close()


async def test_one_connection_too_many_is_turned_away() -> None:
    """CONNECTIONS_MAX clients are served; the next one's connection is ended."""
    from fivefold.gateways.nfs import MemoryStore

    async with gateway(MemoryStore()) as (_, port):
        open_ones = [await asyncio.open_connection("127.0.0.1", port) for _ in range(limits.CONNECTIONS_MAX)]
        for reader, writer in (open_ones[0], open_ones[-1]):
            writer.write(rpc.framed(call(100003, 3, 0)))
            assert await asyncio.wait_for(reader.readexactly(28), 10)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await asyncio.wait_for(reader.readexactly(1), 10)
        for _, each in [*open_ones, (reader, writer)]:
            each.close()


async def test_calls_of_one_connection_run_side_by_side_and_are_bounded() -> None:
    """More calls than may be under way wait in the socket, and all are answered in the end."""
    from fivefold.gateways.nfs import MemoryStore

    async with gateway(MemoryStore()) as (made, port):
        running, most, full, gate = 0, 0, asyncio.Event(), asyncio.Event()

        async def slow(host: str, record: bytes) -> bytes:
            nonlocal running, most
            running += 1
            most = max(most, running)
            if running == limits.CALLS_PER_CONNECTION_MAX:
                full.set()
            await gate.wait()
            running -= 1
            return record[:4]

        made.service.answer = slow
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        many = 3 * limits.CALLS_PER_CONNECTION_MAX
        writer.write(b"".join(rpc.framed(u32s(at)) for at in range(many)))
        await asyncio.wait_for(full.wait(), 10)
        gate.set()
        data = await asyncio.wait_for(reader.readexactly(8 * many), 20)
        assert sorted(struct.unpack(f">{2 * many}I", data)[1::2]) == list(range(many))
        assert most == limits.CALLS_PER_CONNECTION_MAX
        writer.close()


def test_the_client_of_these_tests_packs_calls_as_the_rfc_shows_them() -> None:
    """A GETATTR by hand, so that client and server do not agree on a mistake of ours alone."""

    async def carry(record: bytes) -> bytes | None:
        return record

    record = Client(carry, 5, (6, 7)).pack(1, Writer().opaque(b"h").data)
    assert record[4:] == (
        u32s(0, 2, 100003, 3, 1, 1, 28, 0, 4) + b"test" + u32s(5, 6, 1, 7) + u32s(0, 0) + u32s(1) + b"h\0\0\0"
    )
