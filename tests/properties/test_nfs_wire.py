"""Bytes that no client sends: whatever comes, the gateway answers in order or not at all, and goes on."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from fivefold.gateways.nfs import rpc
from fivefold.gateways.nfs.xdr import Writer
from tests.nfs_client import Client, write_changes
from tests.nfs_rig import in_memory

SYSTEM_ERR = rpc.SYSTEM_ERR.to_bytes(4)


def arguments(handle: bytes) -> list[bytes]:
    """Well-formed arguments of all 22 procedures."""
    name = Writer().opaque(handle).opaque(b"name")
    sattr = Writer()
    write_changes(sattr, mode=0o644, uid=1, gid=2, size=3, atime=-1, mtime=5)
    at, changes = bytes(name.data), bytes(sattr.data)
    one = bytes(Writer().opaque(handle).data)
    writers = [
        Writer(), Writer().fixed(one), Writer().fixed(one + changes).boolean(True).u32(1).u32(2), Writer().fixed(at),
        Writer().fixed(one).u32(63), Writer().fixed(one), Writer().fixed(one).u64(0).u32(10),
        Writer().fixed(one).u64(0).u32(3).u32(2).opaque(b"abc"), Writer().fixed(at).u32(0).fixed(changes),
        Writer().fixed(at + changes), Writer().fixed(at + changes).opaque(b"target"),
        Writer().fixed(at).u32(3).fixed(changes).u32(1).u32(2), Writer().fixed(at), Writer().fixed(at),
        Writer().fixed(at + at), Writer().fixed(one + at), Writer().fixed(one).u64(0).u64(0).u32(1000),
        Writer().fixed(one).u64(0).u64(0).u32(1000).u32(1000), Writer().fixed(one), Writer().fixed(one),
        Writer().fixed(one), Writer().fixed(one).u64(0).u32(0),
    ]  # fmt: skip
    return [bytes(each.data) for each in writers]


async def survives(change: Any) -> None:
    async with in_memory() as (made, root, make):
        client: Client = make()
        for record in change(client, root):
            reply = await made.service.answer("here", record)
            assert reply is None or reply[:4] == record[:4]
            assert reply is None or reply[20:24] != SYSTEM_ERR or reply[8:12] != bytes(4), record
        assert (await client.getattr(root))[0] == 0


async def test_well_formed_calls_of_all_procedures_are_understood() -> None:
    """The calls that the fuzz below starts from are good ones: none is GARBAGE_ARGS."""
    async with in_memory() as (made, root, make):
        for number, each in enumerate(arguments(root)):
            reply = await made.service.answer("here", make().pack(number, each))
            assert reply is not None, number
            assert reply[20:24] == bytes(4), number


@settings(max_examples=200)
@given(st.lists(st.binary(max_size=200), max_size=20))
def test_any_bytes_are_survived(records: list[bytes]) -> None:
    """Random records get no traceback."""
    asyncio.run(survives(lambda client, root: records))


wrong_byte = st.tuples(st.integers(0, 400), st.integers(0, 255))


@settings(max_examples=300)
@given(
    st.integers(0, 21), st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=4), st.integers(0, 99)
)
def test_damaged_calls_are_survived(procedure: int, damage: list[tuple[int, int]], cut: int) -> None:
    """Calls with a few wrong bytes, cut off or with bytes too many, get an answer in order or none."""

    def damaged(client: Client, root: bytes) -> list[bytes]:
        record = bytearray(client.pack(procedure, arguments(root)[procedure]))
        for at, value in damage:
            record[at % len(record)] = value
        return [bytes(record), bytes(record[: len(record) - cut % 60]), bytes(record) + bytes(cut % 7)]

    asyncio.run(survives(damaged))


@settings(max_examples=100)
@given(st.lists(st.binary(min_size=1, max_size=300), max_size=8), st.integers(1, 50))
def test_any_stream_is_records_or_ends(pieces: list[bytes], size: int) -> None:
    """Whatever bytes come, in whatever pieces, the same records come out, or the stream ends."""
    stream = b"".join(rpc.framed(piece) for piece in pieces)
    records = rpc.Records()
    found = [each for at in range(0, len(stream), size) for each in records.feed(stream[at : at + size])]
    assert found == pieces
