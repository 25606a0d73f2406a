"""The journal's format: records that say where they belong, and how a segment of them is read back.

A *segment* is a sequence of records, each written at once and synced before the next one begins. A record is a prefix
of 32 bytes, its payload, and zeros up to a whole page. The prefix holds the journal's *epoch* (random, known to the
database), the number of the segment, the record's own place in it, the payload's size, and a CRC-32 over all of these
and the payload. A file is used again and again for newer segments without being emptied: what an older one left there
names its own segment, and is no record of this one.

The first record *opens* the segment: its payload is where the segment before ended. The others hold writes.

What cannot be read is one of two things, and must not be mistaken:

1. the power goes in the middle of the last append: its pages reach the disk in any order or not at all. Nobody was told
   of it, so the segment ends before it;
2. a page rots in the middle: after it there are whole records, which were begun only once it was durable. Dropping it
   would forget what was promised: :class:`DamagedJournal`.

So one append is one record. With two in one append the power could leave the second without the first, which looks like
rot, and the server would never start again.

A record begins on a page of its own: what a failed or torn write destroys was never promised.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final, NamedTuple
from zlib import crc32

import msgspec

from fivefold.protocol.actions import Write

PAGE_BYTES: Final = 4096
EPOCH_BYTES: Final = 8
PAYLOAD_BYTES_MAX: Final = 2**32 - 1

_PREFIX: Final = struct.Struct(">8sQQII")
_PLACE: Final = struct.Struct(">8sQQ")
_CHECKSUM: Final = struct.Struct(">I")
_END: Final = struct.Struct(">Q")

encode_writes: Final = msgspec.msgpack.Encoder().encode
_decode_writes: Final = msgspec.msgpack.Decoder(list[Write]).decode


class DamagedJournal(Exception):
    """A segment does not hold what was promised; the message says where."""


class Segment(NamedTuple):
    """What a segment holds.

    Attributes:
        previous_end: where the segment before this one ended; 0 if there was none.
        payloads: encoded writes of each record, in order.
        end: where the next record goes.
    """

    previous_end: int
    payloads: Sequence[memoryview]
    end: int


def padded(size: int) -> int:
    """``size`` rounded up to whole pages."""
    return -(-size // PAGE_BYTES) * PAGE_BYTES


def record_size(payload: bytes | memoryview) -> int:
    """Bytes that a record of ``payload`` takes, a whole number of pages."""
    return padded(_PREFIX.size + len(payload))


def encode_prefix(epoch: bytes, segment: int, offset: int, payload: bytes | memoryview) -> bytes:
    """What stands before ``payload`` in its record at ``offset`` of a segment."""
    assert len(epoch) == EPOCH_BYTES
    assert offset % PAGE_BYTES == 0
    assert len(payload) <= PAYLOAD_BYTES_MAX
    prefix = _PREFIX.pack(epoch, segment, offset, len(payload), 0)[: -_CHECKSUM.size]
    return prefix + _CHECKSUM.pack(crc32(payload, crc32(prefix)))


def opening(previous_end: int) -> bytes:
    """The payload of a segment's first record."""
    return _END.pack(previous_end)


def decode_writes(payload: memoryview) -> list[Write]:
    """The writes of one record, in the order in which they were staged.

    Raises:
        DamagedJournal: the checksum is right but these are no writes, so something else wrote them.
    """
    try:
        return _decode_writes(payload)
    except msgspec.DecodeError as error:
        raise DamagedJournal(f"a record holds no writes ({error})") from error


def scan(data: bytes, epoch: bytes, segment: int, *, end: int | None = None) -> Segment | None:
    """Read a segment from a file's contents; None if the file does not hold it.

    Args:
        data: the whole file, which may hold left-overs of older segments.
        epoch: of the journal.
        segment: number of the segment.
        end: where it ended if that is known, because a later segment says so; what follows was never promised.

    Raises:
        DamagedJournal: a record is missing before ``end``, or before another one.
    """
    view = memoryview(data)
    payloads: list[memoryview] = []
    offset = 0
    while offset != end and (payload := _payload_at(view, epoch, segment, offset)) is not None:
        payloads.append(payload)
        offset += padded(_PREFIX.size + len(payload))
    later = range(offset + PAGE_BYTES, len(view), PAGE_BYTES) if end is None else ()
    if any(_payload_at(view, epoch, segment, place) is not None for place in later):
        raise DamagedJournal(f"the record at {offset} of segment {segment} is damaged, and later ones are whole")
    if end is not None and offset != end:
        raise DamagedJournal(f"the record at {offset} of segment {segment} is damaged, and it reached {end}")
    if not payloads:
        return None
    (previous_end,) = _END.unpack(payloads[0])
    return Segment(previous_end, payloads[1:], offset)


def _payload_at(view: memoryview, epoch: bytes, segment: int, offset: int) -> memoryview | None:
    prefix = view[offset : offset + _PREFIX.size]
    if prefix[: _PLACE.size] != _PLACE.pack(epoch, segment, offset) or len(prefix) < _PREFIX.size:
        return None
    *_, size, checksum = _PREFIX.unpack(prefix)
    payload = view[offset + _PREFIX.size : offset + _PREFIX.size + size]
    if crc32(payload, crc32(prefix[: -_CHECKSUM.size])) != checksum:
        return None
    return payload
