"""The journal's format: what is read back after a tear, a flip, a move, or in another journal's place."""

import pytest

from fivefold.protocol.actions import Write
from fivefold.storage.journal import (
    PAGE_BYTES,
    DamagedJournal,
    Segment,
    decode_writes,
    encode_prefix,
    encode_writes,
    opening,
    padded,
    record_size,
    scan,
)

EPOCH = b"epoch-01"
SHORT, LONG = b"s" * 100, b"l" * 5000


def record(segment: int, offset: int, payload: bytes, epoch: bytes = EPOCH) -> bytes:
    whole = encode_prefix(epoch, segment, offset, payload) + payload
    return whole + bytes(padded(len(whole)) - len(whole))


def file_of(*payloads: bytes, segment: int = 7, previous_end: int = 8192, epoch: bytes = EPOCH) -> bytes:
    """A segment with its first record and these."""
    data = b""
    for payload in (opening(previous_end), *payloads):
        data += record(segment, len(data), payload, epoch)
    return data


def payloads_of(found: Segment | None) -> list[bytes]:
    assert found is not None
    return [bytes(payload) for payload in found.payloads]


def test_records_come_back_in_order() -> None:
    """Payloads, the end, and where the segment before ended; zeros after it are no records."""
    for rest in (b"", bytes(10 * PAGE_BYTES)):
        found = scan(file_of(SHORT, LONG, b"") + rest, EPOCH, 7)
        assert found is not None
        assert payloads_of(found) == [SHORT, LONG, b""]
        assert (found.previous_end, found.end) == (8192, 4096 + 4096 + 8192 + 4096)


@pytest.mark.parametrize(("size", "pages"), [(0, 1), (4064, 1), (4065, 2), (8160, 2), (8161, 3)])
def test_a_record_takes_whole_pages(size: int, pages: int) -> None:
    """The prefix of 32 bytes counts too."""
    assert record_size(bytes(size)) == pages * PAGE_BYTES


def test_a_file_without_the_segment_holds_none() -> None:
    """Nothing, zeros, another segment's records and another journal's are not this segment."""
    for data in (b"", bytes(100), bytes(PAGE_BYTES * 3), file_of(SHORT, segment=5), file_of(SHORT, epoch=b"epoch-02")):
        assert scan(data, EPOCH, 7) is None


def test_a_torn_tail_is_dropped_wherever_it_tears() -> None:
    """Cut at any byte of the last record that says something, or with zeros from there on, the ones before remain."""
    whole = file_of(SHORT, LONG)
    start, end = 8192, 8192 + 32 + len(LONG)
    for cut in range(start, end):
        for rest in (b"", bytes(len(whole) - cut)):
            found = scan(whole[:cut] + rest, EPOCH, 7)
            assert payloads_of(found) == [SHORT]
            assert found is not None
            assert found.end == start
    assert payloads_of(scan(whole[:end], EPOCH, 7)) == [SHORT, LONG]


def test_a_tail_torn_between_pages_is_dropped() -> None:
    """Of an append of several pages the later ones may reach the disk alone."""
    whole = file_of(SHORT, LONG)
    assert payloads_of(scan(whole[:8192] + bytes(4096) + whole[12288:], EPOCH, 7)) == [SHORT]


def test_what_an_older_segment_left_is_not_read() -> None:
    """In a file that is used again, the older records begin where the newer ones end."""
    newer, older = file_of(SHORT), file_of(SHORT, SHORT, LONG, SHORT, segment=5)
    assert payloads_of(scan(newer + older[len(newer) :], EPOCH, 7)) == [SHORT]


def flipped(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 0x10]) + data[place + 1 :]


def test_any_flip_before_a_whole_record_is_damage() -> None:
    """Whatever byte of a record is changed, prefix or payload, it is told as long as a later record is whole."""
    whole = file_of(SHORT, LONG)
    for place in (*range(32 + 8), *range(4096, 4096 + 32 + len(SHORT))):
        with pytest.raises(
            DamagedJournal, match=f"the record at {place // 4096 * 4096} of segment 7 is damaged, and later"
        ):
            scan(flipped(whole, place), EPOCH, 7)


def test_a_flip_in_the_last_record_ends_the_segment_before_it() -> None:
    """It cannot be told from a torn append."""
    whole = file_of(SHORT, SHORT)
    for place in range(8192, 8192 + 32 + len(SHORT)):
        assert payloads_of(scan(flipped(whole, place), EPOCH, 7)) == [SHORT]


def test_records_that_changed_places_are_damage() -> None:
    """A record is one only where it was written."""
    whole = file_of(SHORT, b"x" * 100, LONG)
    one, other = whole[4096:8192], whole[8192:12288]
    with pytest.raises(DamagedJournal, match="the record at 4096 "):
        scan(whole[:4096] + other + one + whole[12288:], EPOCH, 7)


def test_a_repeated_record_is_not_read() -> None:
    """A copy of the last record after it is none."""
    whole = file_of(SHORT)
    assert payloads_of(scan(whole + whole[4096:], EPOCH, 7)) == [SHORT]


def test_a_known_end_must_be_reached() -> None:
    """When the next segment says where this one ended, a damaged last record is told."""
    whole = file_of(SHORT, LONG)
    assert payloads_of(scan(whole, EPOCH, 7, end=len(whole))) == [SHORT, LONG]
    with pytest.raises(DamagedJournal, match="at 8192 of segment 7 is damaged, and it reached 16384"):
        scan(flipped(whole, 9000), EPOCH, 7, end=len(whole))
    for end in (12288, 20480):
        with pytest.raises(DamagedJournal, match=f"is damaged, and it reached {end}"):
            scan(whole, EPOCH, 7, end=end)


def test_what_follows_a_known_end_was_never_promised() -> None:
    """A record whose append failed may have reached the disk all the same; the next segment holds its writes again."""
    assert payloads_of(scan(file_of(SHORT, LONG), EPOCH, 7, end=8192)) == [SHORT]
    assert payloads_of(scan(flipped(file_of(SHORT, LONG, LONG), 9000), EPOCH, 7, end=8192)) == [SHORT]


def test_writes_come_back_as_they_were() -> None:
    """Ids beyond ASCII, empty parts and many versions keep every byte."""
    writes = [Write("A/𝄞", b""), Write("A/x", b"h", ((b"1", bytes(300)), (b"2", b"")), (b"3", b"4"))]
    assert decode_writes(memoryview(encode_writes(writes))) == writes


def test_a_payload_that_is_no_writes_is_damage() -> None:
    """A right checksum over something else means that something else wrote it."""
    with pytest.raises(DamagedJournal, match="holds no writes"):
        decode_writes(memoryview(b"\xc1"))
