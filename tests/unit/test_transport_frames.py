"""Frames on a byte stream, fed one byte at a time and in every other way."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fivefold.errors import PeerViolation
from fivefold.transport import Framer
from fivefold.transport.frames import header_of


def encoded(*frames: bytes) -> bytes:
    return b"".join(len(frame).to_bytes(4, "big") + frame for frame in frames)


def naive(stream: bytes) -> list[bytes]:
    """The same in the most obvious way."""
    frames = []
    while len(stream) >= 4 and len(stream) >= 4 + int.from_bytes(stream[:4], "big"):
        size = int.from_bytes(stream[:4], "big")
        frames.append(stream[4 : 4 + size])
        stream = stream[4 + size :]
    return frames


def test_header_is_four_bytes_big_endian():
    """The length goes before the frame as an unsigned 32-bit number, most significant byte first."""
    assert header_of(258) == b"\0\0\1\2"


def test_one_byte_at_a_time():
    """A frame is given out with its last byte, not before."""
    framer = Framer(10)
    stream = encoded(b"abc", b"d")
    given_out = [framer.feed(stream[index : index + 1]) for index in range(len(stream))]
    assert given_out == [[], [], [], [], [], [], [b"abc"], [], [], [], [], [b"d"]]


def test_several_frames_in_one_chunk():
    """All whole frames of a chunk come out, in order; the rest waits."""
    framer = Framer(10)
    assert framer.feed(encoded(b"a", b"bc") + b"\0\0\0\2x") == [b"a", b"bc"]
    assert framer.partial_bytes == 5
    assert framer.feed(b"y") == [b"xy"]
    assert framer.partial_bytes == 0


@given(st.lists(st.binary(min_size=1, max_size=40)), st.lists(st.integers(0, 200)), st.integers(0, 50))
def test_chunks_do_not_matter(frames, cuts, missing):
    """However a stream is cut, the frames are those that the naive reader finds in the whole."""
    stream = encoded(*frames)
    stream = stream[: max(0, len(stream) - missing)]
    edges = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    framer = Framer(40)
    found = []
    for start, stop in pairwise(edges):
        found += framer.feed(stream[start:stop])
    assert found == naive(stream)


@pytest.mark.parametrize("size", [9, 10])
def test_frames_up_to_the_limit(size):
    """A frame of exactly the limit is taken."""
    assert Framer(10).feed(encoded(bytes(size))) == [bytes(size)]


@pytest.mark.parametrize("size", [0, 11, 2**32 - 1])
def test_frames_out_of_bounds(size):
    """An empty frame and one byte over the limit are refused as soon as the length is here."""
    with pytest.raises(PeerViolation, match="frame_size"):
        Framer(10).feed(size.to_bytes(4, "big"))


def test_a_promised_length_sets_no_memory_aside():
    """A frame announced with the greatest size keeps only the bytes that came."""
    framer = Framer(2**32 - 1)
    assert framer.feed(b"\xff\xff\xff\xffxyz") == []
    assert framer.partial_bytes == 7


def test_the_limit_can_be_raised():
    """Once the peer is known, larger frames are taken, also in the middle of a stream."""
    framer = Framer(2)
    assert framer.feed(encoded(b"ab") + b"\0\0") == [b"ab"]
    framer.frame_bytes_max = 3
    assert framer.feed(b"\0\3abc") == [b"abc"]
