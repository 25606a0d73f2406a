"""What a server has seen others sign: remembered from ordinary requests, told to who may see states."""

import pytest

from fivefold.errors import PeerViolation
from fivefold.protocol import limits
from fivefold.protocol.actions import Channel
from fivefold.protocol.messages import (
    WITNESS,
    WITNESS_REPLY,
    decode_witness,
    decode_witness_reply,
    witness_frame,
    witness_reply_frame,
)
from fivefold.protocol.records import ObjectHistories, WitnessReply
from fivefold.protocol.steps import Kind
from tests.protocol_rig import A, X, Y, op, send
from tests.unit.protocol.test_lists import filled


def ask(rack, client, server: int = 0) -> WitnessReply:
    rack._perform(server, rack.servers[server].receive_from_client(0, client, Channel(77), witness_frame(9)))
    return decode_witness_reply(rack._replies.pop((server, Channel(77))), 4)


def twice_written():
    rack = filled([A])
    before = rack.history(0, A)
    histories = dict.fromkeys((0, 1, 2), before)
    send(rack, X, {A: histories}, [0, 1, 2], kind=Kind.METHOD, operation=op("set", b"w", A))
    return rack, before


def test_verified_sets_are_remembered() -> None:
    """The set on which the second update was conditioned: three servers had signed the first one."""
    rack, before = twice_written()
    reply = ask(rack, X)
    assert reply.number == 9
    assert reply.seen == (ObjectHistories(A, (before,), b"\1\1\1\0"),)


def test_only_who_may_see_states_is_told() -> None:
    """Others learn nothing, not even the ids."""
    rack, _ = twice_written()
    assert ask(rack, Y).seen == ()


def test_memory_is_bounded() -> None:
    """However many requests there are, a fixed number of sets is kept."""
    rack, before = twice_written()
    witness = rack.servers[0]._peers.witness
    for number in range(5 * limits.WITNESSED_SETS):
        witness.note(number.to_bytes(4, "big"), ObjectHistories(A, (before,), b"\1\1\1\0"))
    assert len(witness.seen) == limits.WITNESSED_SETS
    assert len(ask(rack, X).seen) == limits.WITNESSED_SETS


@pytest.mark.parametrize("frame", [b"", bytes((WITNESS,)), witness_frame(1) + b"x", bytes((WITNESS_REPLY,)) + bytes(8)])
def test_bad_questions_are_refused(frame: bytes) -> None:
    """Nothing but the kind and a number is one."""
    with pytest.raises(PeerViolation):
        decode_witness(frame)


@pytest.mark.parametrize("holders", [b"\1\1\1", b"\2\1\1\1", b"\1\1\1\1\1"])
def test_sets_of_a_wrong_shape_are_refused(holders: bytes) -> None:
    """A liar's sets are checked before they are used."""
    frame = witness_reply_frame(WitnessReply(1, (ObjectHistories(A, (b"h",), holders),)))
    with pytest.raises(PeerViolation):
        decode_witness_reply(frame, 4)
