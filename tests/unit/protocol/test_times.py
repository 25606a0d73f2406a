"""Logical times that a message carries, and objects whose clock is beyond what MessagePack has numbers for."""

import pytest

from fivefold.errors import PeerViolation
from fivefold.protocol.history import make_timestamp, time_of
from fivefold.protocol.messages import encode_operation
from fivefold.protocol.operations import ClientId
from fivefold.protocol.records import TIMESTAMP_BYTES, Recorded, Version
from fivefold.protocol.server.versions import (
    append_outcomes,
    decode_version,
    encode_version,
    initial_version,
    kept_version,
    read_rows,
    rows_of,
)
from fivefold.protocol.times import TIME_BYTES, is_time, pack_time, unpack_time
from tests.protocol_rig import A, op

BORDER = 2**64


@pytest.mark.parametrize("time", [0, 1, BORDER - 1, BORDER, BORDER + 1, 2**127, 2**128 - 1])
def test_every_time_travels(time: int) -> None:
    """A number as long as MessagePack has one that large, then 16 bytes."""
    packed = pack_time(time)
    assert isinstance(packed, bytes) == (time >= BORDER)
    assert unpack_time(packed) == time
    assert is_time(packed)


@pytest.mark.parametrize("packed", [-1, b"", bytes(15), bytes(16), (BORDER - 1).to_bytes(16, "big"), b"\1" * 17])
def test_a_time_has_one_form(packed: int | bytes) -> None:
    """Other bytes for the same time would give one operation two digests."""
    assert not is_time(packed)


def test_timestamps_sort_by_time_beyond_eight_bytes() -> None:
    """2^64 comes after 2^64 - 1, and after 1."""
    stamps = [
        make_timestamp(
            time, is_barrier=False, client=ClientId(b"c" * 16), operation_digest=bytes(32), history_set_digest=bytes(32)
        )
        for time in (1, BORDER - 1, BORDER, 2**128 - 1)
    ]
    assert stamps == sorted(stamps)
    assert [time_of(each) for each in stamps] == [1, BORDER - 1, BORDER, 2**128 - 1]
    assert {len(each) for each in stamps} == {TIMESTAMP_BYTES} == {TIME_BYTES + 81}


def old(time: int) -> Version:
    """A version whose ring has forgotten calls of that time and later ones."""
    version = initial_version(b"")
    for number in range(200):
        version = append_outcomes(version, time + number, b"", (Recorded(number.to_bytes(32, "big"), b"v"),))
    return version


@pytest.mark.parametrize("time", [BORDER - 100, BORDER, 2**127])
def test_a_ring_forgets_calls_of_late_times(time: int) -> None:
    """What a version remembers is stored, sent and read again whatever its times are."""
    version = old(time)
    assert time < version.horizon
    assert decode_version(encode_version(version)) == version
    stamp = make_timestamp(
        time, is_barrier=False, client=ClientId(b"c" * 16), operation_digest=bytes(32), history_set_digest=bytes(32)
    )
    assert read_rows(rows_of({stamp: version})) == {stamp: version}
    assert kept_version(version)


def test_a_version_whose_times_are_none_is_refused() -> None:
    """A peer that sends 17 bytes for a time is at fault; nothing of ours fails over it."""
    data = encode_version(old(BORDER))
    time = b"\xc4\x10" + old(BORDER).horizon.to_bytes(16, "big")
    assert time in data
    for wrong in (b"\xc4\x11\1" + time[2:], b"\xc4\x10" + bytes(16), b"\xff"):
        with pytest.raises(PeerViolation):
            decode_version(data.replace(time, wrong, 1))


def test_an_operation_says_since_when_it_may_be_applied_whatever_the_time() -> None:
    """The client's own bytes are those that a server reads."""
    operation = op("add", b"+", A)
    assert encode_operation(operation, 2**64 - 1, 1) != encode_operation(operation, 2**64, 1)
    assert (2**64).to_bytes(16, "big") in encode_operation(operation, 2**64, 1)
