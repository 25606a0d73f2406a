"""Frames and bodies (the wire format of messages.py's docstring)."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fivefold.errors import PeerViolation
from fivefold.protocol.history import empty_histories
from fivefold.protocol.messages import (
    REPLY,
    REQUEST,
    Request,
    SyncReply,
    SyncRequest,
    Vote,
    decode_operation,
    decode_request,
    decode_sync,
    decode_vote,
    encode,
    reply_frame,
    request_frame,
    split,
    sync_frame,
    sync_reply_frame,
)
from fivefold.protocol.records import TIMESTAMP_BYTES
from tests.protocol_rig import A, B, candidate, op

REQUEST_OF_TWO = Request(A, (empty_histories(A, 6), empty_histories(B, 6)), encode(op("add", b"+", B, A)))
VOTE = Vote(0, candidate(1, A).timestamp, (b"v1", b"v2"), b"d" * 32, (b"history", b""), (5,))


def test_a_request_frame_is_laid_out_as_documented() -> None:
    """Kind, number, length, body, proof."""
    frame = request_frame(7, b"body", b"proof")
    assert frame == b"\x01" + (7).to_bytes(8, "big") + (4).to_bytes(4, "big") + b"bodyproof"
    assert split(frame, REQUEST) == (7, b"body", b"proof")


def test_a_reply_frame_is_laid_out_as_documented() -> None:
    """Kind, number, length, vote, authenticators."""
    frame = reply_frame(2**64 - 1, b"vote", [b"one", b"two"])
    assert frame == b"\x02" + b"\xff" * 8 + (4).to_bytes(4, "big") + b"voteonetwo"
    assert split(frame, REPLY) == (2**64 - 1, b"vote", b"onetwo")


def test_frames_of_another_kind_are_refused() -> None:
    """A reply is no request, nor the other way round."""
    with pytest.raises(PeerViolation):
        split(reply_frame(1, b"", ()), REQUEST)
    with pytest.raises(PeerViolation):
        split(request_frame(1, b"", b""), REPLY)


def test_requests_survive_their_encoding() -> None:
    """A request of two objects and the operation in it, whose objects are in parameter order."""
    found = decode_request(encode(REQUEST_OF_TWO), 6)
    assert found == REQUEST_OF_TWO
    assert decode_operation(found).objects == (B, A)


def test_a_request_is_for_so_many_servers() -> None:
    """History sets for six servers are refused where there are five or seven."""
    for n in (5, 7):
        with pytest.raises(PeerViolation):
            decode_request(encode(REQUEST_OF_TWO), n)


def test_votes_survive_their_encoding() -> None:
    """All fields."""
    assert decode_vote(encode(VOTE)) == VOTE


@pytest.mark.parametrize(
    "changes",
    [{"status": -1}, {"status": 9}, {"candidate": b"short"}, {"candidate": bytes(90)}, {"candidate": bytes(88)}],
)
def test_votes_with_impossible_fields_are_refused(changes: dict) -> None:
    """Unknown status, or a candidate that is no timestamp."""
    with pytest.raises(PeerViolation):
        decode_vote(encode(msgspec.structs.replace(VOTE, **changes)))


def test_syncs_survive_their_encoding() -> None:
    """Request and reply."""
    request = SyncRequest(3, A, candidate(1, A).timestamp, False)
    reply = SyncReply(3, b"d" * 32, b"version")
    assert decode_sync(sync_frame(request)) == request
    assert decode_sync(sync_reply_frame(reply)) == reply


GOOD = [encode(REQUEST_OF_TWO), encode(VOTE), sync_frame(SyncRequest(1, A, bytes(TIMESTAMP_BYTES), True))]
DECODERS = [lambda data: decode_request(data, 6), decode_vote, decode_sync]


@given(st.integers(0, 2), st.data())
def test_changed_bytes_are_refused_or_canonical(which: int, data: st.DataObject) -> None:
    """Whatever is changed: PeerViolation, or the one encoding of what it now says."""
    good = GOOD[which]
    position = data.draw(st.integers(0, len(good) - 1))
    other = data.draw(st.binary(max_size=3))
    bad = good[:position] + other + good[position + data.draw(st.integers(0, 2)) :]
    try:
        found = DECODERS[which](bad)
    except PeerViolation:
        return
    assert bad in (encode(found), b"\x03" + encode(found), b"\x04" + encode(found))


@given(st.binary(max_size=300))
def test_any_bytes_are_decoded_or_refused(data: bytes) -> None:
    """Nothing but PeerViolation comes out of a decoder."""
    for decode in (*DECODERS, lambda frame: split(frame, REQUEST), lambda frame: split(frame, REPLY)):
        try:
            decode(data)
        except PeerViolation:
            pass


@pytest.mark.parametrize("decode", DECODERS)
def test_deep_nesting_is_refused(decode) -> None:
    """A hundred thousand opening brackets, also where a field too many may be skipped."""
    for bad in (
        b"\x91" * 100_000,
        b"\x94" + encode(REQUEST_OF_TWO)[1:] + b"\x91" * 100_000,
        b"\x03" + b"\x95" * 100_000,
    ):
        with pytest.raises(PeerViolation):
            decode(bad)
