"""Timestamps, candidates and histories by hand (PROTOCOL §2, S1)."""

from __future__ import annotations

import msgspec
import pytest

from fivefold.errors import PeerViolation
from fivefold.protocol import limits
from fivefold.protocol.history import (
    INITIAL_HISTORY,
    INITIAL_TIMESTAMP,
    Candidate,
    Entry,
    Part,
    check_histories,
    decode_history,
    empty_histories,
    encode_history,
    history_digest,
    initial_entry,
    make_histories,
    make_timestamp,
    short,
    time_of,
)
from fivefold.protocol.records import BARRIER_AT, CLIENT_AT
from tests.protocol_rig import A, B, C, candidate


def stamp(time: int, *, barrier: bool = False, client: bytes = b"c" * 16, op: bytes = b"o" * 32) -> bytes:
    return make_timestamp(time, is_barrier=barrier, client=client, operation_digest=op, history_set_digest=b"h" * 32)


def test_the_initial_timestamp_is_the_least() -> None:
    """(0, false, empty, empty, empty) comes before everything."""
    assert time_of(INITIAL_TIMESTAMP) == 0
    assert stamp(0) > INITIAL_TIMESTAMP


@pytest.mark.parametrize(
    ("less", "greater"),
    [
        (stamp(1), stamp(2)),
        (stamp(255), stamp(256)),
        (stamp(1), stamp(1, barrier=True)),
        (stamp(1, barrier=True), stamp(2)),
        (stamp(1, client=b"a" * 16), stamp(1, client=b"b" * 16)),
        (stamp(1, op=b"a" * 32), stamp(1, op=b"b" * 32)),
    ],
)
def test_timestamps_are_ordered_by_their_parts(less: bytes, greater: bytes) -> None:
    """Time, then barrier mark (false < true), then client, then operation digest."""
    assert less < greater


def test_timestamps_are_written_as_in_the_paper() -> None:
    """``7b`` for a barrier, ``6`` for a version."""
    assert (short(stamp(7, barrier=True)), short(stamp(6))) == ("7b", "6")


def test_equal_candidates_have_equal_parts_and_bases() -> None:
    """S1: timestamp, objects, LT_co and base make a candidate; the flag stands beside it."""
    one = candidate(3, A)
    assert one == candidate(3, A)
    assert one != candidate(3, A, B)
    assert one != candidate(3, (A, candidate(1, A).timestamp))
    based = Candidate(one.timestamp, (Part(A, INITIAL_TIMESTAMP, INITIAL_TIMESTAMP),))
    assert one != based
    assert Entry(one, True).candidate == Entry(one, False).candidate


def test_a_part_rests_on_its_base_or_on_what_it_is_conditioned_on() -> None:
    """A method names no base: it rests on its LT_co."""
    assert Part(A, stamp(2), None).base_or_conditioned_on == stamp(2)
    assert Part(A, stamp(2), stamp(1)).base_or_conditioned_on == stamp(1)


def test_a_candidate_knows_its_objects() -> None:
    """Its parts are found by object; another object is an error of ours."""
    both = candidate(1, A, B)
    assert (both.objects, both.is_multi, both.covers(B), both.covers(C)) == ((A, B), True, True, False)
    assert both.part(B).object_id == B
    with pytest.raises(KeyError):
        both.part(C)


def test_methods_are_told_from_copies_by_their_operation() -> None:
    """A copy has no operation digest, whatever its time: it may be its LT_co's plus one."""
    x = candidate(2, A).timestamp
    assert Candidate(stamp(3), (Part(A, x, None),)).is_method
    assert not Candidate(stamp(3, op=bytes(32)), (Part(A, x, None),)).is_method


def test_no_bytes_are_the_initial_history() -> None:
    """{⟨0, 0⟩} travels as nothing and decodes to the object's initial entry."""
    assert decode_history(A, INITIAL_HISTORY) == (initial_entry(A),)


def entries(*candidates: Candidate) -> tuple[Entry, ...]:
    return tuple(Entry(each, False) for each in candidates)


NOT_HISTORIES = {
    "nothing in it": (),
    "another object's": entries(candidate(1, B)),
    "out of order": entries(candidate(2, A), candidate(1, A)),
    "one timestamp twice": entries(candidate(1, A), candidate(1, A)),
    "two candidates of one timestamp": entries(candidate(1, A), candidate(1, A, B)),
    "short timestamp": entries(Candidate(stamp(1)[:-1], (Part(A, INITIAL_TIMESTAMP, None),))),
    "long timestamp": entries(Candidate(stamp(1) + b"\0", (Part(A, INITIAL_TIMESTAMP, None),))),
    "barrier mark 2": entries(
        Candidate(stamp(1)[:BARRIER_AT] + b"\x02" + stamp(1)[CLIENT_AT:], (Part(A, INITIAL_TIMESTAMP, None),))
    ),
    "no parts": entries(Candidate(stamp(1), ())),
    "parts out of order": entries(Candidate(stamp(1), tuple(Part(o, INITIAL_TIMESTAMP, None) for o in (B, A)))),
    "one object twice": entries(Candidate(stamp(1), tuple(Part(A, INITIAL_TIMESTAMP, None) for _ in range(2)))),
    "on the future": entries(Candidate(stamp(1), (Part(A, stamp(2), None),))),
    "on itself": entries(Candidate(stamp(1), (Part(A, stamp(1), None),))),
    "on a barrier": entries(Candidate(stamp(2), (Part(A, stamp(1, barrier=True), None),))),
    "base in the future": entries(Candidate(stamp(2), (Part(A, stamp(1), stamp(3)),))),
    "short LT_co": entries(Candidate(stamp(2), (Part(A, stamp(1)[:5], None),))),
    "long LT_co": entries(Candidate(stamp(2), (Part(A, stamp(1) + b"\0", None),))),
    "short base": entries(Candidate(stamp(2), (Part(A, stamp(1), stamp(1)[:5]),))),
    "long base": entries(Candidate(stamp(2), (Part(A, stamp(1), INITIAL_TIMESTAMP + b"\0"),))),
    "base is a barrier": entries(Candidate(stamp(2), (Part(A, stamp(1), stamp(1, barrier=True)),))),
    "base is itself": entries(Candidate(stamp(2), (Part(A, stamp(1), stamp(2)),))),
    "bad part behind one with a base": entries(
        Candidate(stamp(2), (Part(A, stamp(1), INITIAL_TIMESTAMP), Part(B, stamp(3), None)))
    ),
    "bad part behind one without": entries(Candidate(stamp(2), (Part(A, stamp(1), None), Part(B, stamp(3), None)))),
}


@pytest.mark.parametrize("name", NOT_HISTORIES)
def test_what_no_honest_server_writes_is_refused(name: str) -> None:
    """Each of these is well-formed MessagePack, and no history."""
    with pytest.raises(PeerViolation):
        decode_history(A, msgspec.msgpack.encode(NOT_HISTORIES[name]))


@pytest.mark.parametrize("bad", [b"\xc0", b"\x91", b"\x91\xc0", b"\x91\x92\x90\xc2", b"\x91" * 100_000, b"\xa1\xff"])
def test_what_is_no_history_at_all_is_refused(bad: bytes) -> None:
    """Neither short, nor deep, nor ill-typed bytes raise anything but PeerViolation."""
    with pytest.raises(PeerViolation):
        decode_history(A, bad)


def test_bytes_that_are_no_text_are_refused() -> None:
    """An object id that is no UTF-8 is a violation like any other."""
    good = encode_history(entries(candidate(1, A)))
    with pytest.raises(PeerViolation):
        decode_history(A, good.replace(b"Reg/a", b"Reg/\xff"))


@pytest.mark.parametrize(
    ("excess", "reason"), [(-1, "history-malformed"), (0, "history-malformed"), (1, "history-too-large")]
)
def test_a_history_has_a_largest_size(excess: int, reason: str) -> None:
    """Beyond HISTORY_BYTES_MAX its bytes are not even looked at."""
    with pytest.raises(PeerViolation) as caught:
        decode_history(A, b"\xc1" * (limits.HISTORY_BYTES_MAX + excess))
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("count", "barrier", "passes"), [(16, False, True), (17, False, False), (64, True, True), (65, True, False)]
)
def test_a_candidate_has_as_many_objects_as_an_operation_or_a_repair(count: int, barrier: bool, passes: bool) -> None:
    """Sixteen for versions, sixty-four for barriers."""
    names = [f"Reg/{number:02}" for number in range(count)]
    data = msgspec.msgpack.encode(entries(candidate(1, *names, is_barrier=barrier)))
    if passes:
        assert decode_history(names[0], data)[0].candidate.objects == tuple(names)
    else:
        with pytest.raises(PeerViolation):
            decode_history(names[0], data)


def test_a_digest_binds_the_object() -> None:
    """The same bytes for two objects have two digests, and no name and history can be split otherwise."""
    assert history_digest(A, b"x") != history_digest(B, b"x")
    assert history_digest("Reg/a", b"bx") != history_digest("Reg/ab", b"x")


def test_distinct_histories_are_sent_once() -> None:
    """Five servers with one history: it is in the set once, and the sixth is unknown."""
    found = make_histories(A, [b"h"] * 5 + [b""])
    assert (found.histories, found.holders) == ((b"h",), bytes([1, 1, 1, 1, 1, 0]))
    assert (found.of(0), found.of(5)) == (b"h", b"")


def test_histories_are_numbered_in_the_order_of_the_servers() -> None:
    """So that one set has one form."""
    found = make_histories(A, [b"y", b"x", b"y", b""])
    assert (found.histories, found.holders) == ((b"y", b"x"), bytes([1, 2, 1, 0]))


@pytest.mark.parametrize(
    ("histories", "holders"),
    [
        ((b"x",), bytes([1, 1])),
        ((b"x",), bytes([1, 1, 1, 1])),
        ((b"x",), bytes([2, 0, 0])),
        ((b"x", b"y"), bytes([2, 1, 0])),
        ((b"x", b"y"), bytes([1, 1, 0])),
        ((b"x", b"x"), bytes([1, 2, 0])),
        ((b"",), bytes([1, 0, 0])),
        ((b"x", b"y", b"z", b"w"), bytes([1, 2, 3])),
        ((), bytes([1, 0, 0])),
    ],
)
def test_other_forms_of_a_history_set_are_refused(histories: tuple, holders: bytes) -> None:
    """Wrong length, unused, unnumbered, repeated or empty histories: one set has one form."""
    found = msgspec.structs.replace(empty_histories(A, 3), histories=histories, holders=holders)
    with pytest.raises(PeerViolation):
        check_histories(found, 3)
