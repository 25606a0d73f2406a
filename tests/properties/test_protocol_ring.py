"""The ring of recent calls against a list."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fivefold.protocol.operations import DIGEST, digest
from fivefold.protocol.records import Version
from fivefold.protocol.server.versions import (
    Recorded,
    append_outcomes,
    can_tell,
    decode_version,
    encode_version,
    find_answer,
    initial_version,
)
from fivefold.protocol.times import unpack_time
from tests.protocol_twins import NaiveRing


def key(number: int, client: int = 0) -> bytes:
    return b"client %09d" % client + number.to_bytes(16, "big")


FIFTEEN = append_outcomes(
    initial_version(b""), 6, b"", tuple(Recorded(key(1, client=100 + number), b"v") for number in range(15))
)
"""With calls of fifteen others: the next one will be the sixteenth, and the last to leave together with them."""


def remembered(version: Version) -> list[tuple[bytes, int, bytes]]:
    """Keys, logical times and answers of all calls, oldest first."""
    entries, answers = version.ring.entries + version.recent, version.ring.answers + version.recent_answers
    calls = []
    for key_, time, length in struct.iter_unpack(">32s16sH", entries):
        calls.append((key_, unpack_time(time), answers[:length]))
        answers = answers[length:]
    return calls


batches = st.lists(st.tuples(st.integers(0, 70), st.lists(st.integers(0, 300), min_size=1, max_size=20)), max_size=90)


@pytest.mark.slow
@settings(max_examples=150)
@given(batches, st.lists(st.tuples(st.integers(0, 70), st.integers(0, 90)), max_size=9))
def test_the_ring_is_a_list_of_recent_calls(made: list[tuple[int, list[int]]], probes: list[tuple[int, int]]) -> None:
    """Whatever the clients, batches and answers: the ring finds what the list finds, and forgets what it forgets.

    And it says that it can tell only where whatever was recorded since is still there.
    """
    version, naive = initial_version(b"state"), NaiveRing()
    recorded: list[tuple[bytes, int]] = []
    for time, (client, lengths) in enumerate(made, 1):
        outcomes = [Recorded(key(len(recorded) + n, client), b"v" + bytes(length)) for n, length in enumerate(lengths)]
        recorded += [(outcome.key, time) for outcome in outcomes]
        kept = [each.answer if len(each.answer) <= 128 else DIGEST + digest(each.answer) for each in outcomes]
        naive.record([(each.key, time, answer) for each, answer in zip(outcomes, kept, strict=True)])
        version = decode_version(encode_version(append_outcomes(version, time, b"next", tuple(outcomes))))
        assert (version.number, version.horizon, version.orphaned) == (naive.number, naive.horizon, naive.orphaned)
        assert remembered(version) == naive.calls
        for outcome in outcomes:
            assert find_answer(version, outcome.key) == outcome.answer
    last = {outcome.key for outcome in version.outcomes}
    for found, _ in recorded:
        if found not in last:
            assert find_answer(version, found) == naive.find(found)
    for client, since in probes:
        told = can_tell(version, key(0, client), since)
        assert told == naive.can_tell(key(0, client)[:16], since)
        later = [found for found, time in recorded if found[:16] == key(0, client)[:16] and time > since]
        assert not told or all(find_answer(version, found) is not None for found in later)


def test_a_client_s_last_call_outlives_those_of_others() -> None:
    """Two hundred calls of somebody else later it is still there, and of later ones the ring can tell."""
    version = append_outcomes(initial_version(b""), 1, b"", (Recorded(key(1, client=1), b"mine"),))
    for number in range(2, 202):
        version = append_outcomes(version, number, b"", (Recorded(key(number, client=2), b"v"),))
    assert find_answer(version, key(1, client=1)) == b"mine"
    assert can_tell(version, key(999, client=1), 1)
    assert can_tell(version, key(999, client=3), 0), "and of those who never called"
    assert not can_tell(version, key(999, client=2), 1)


def batch(version: Version, time: int, client: int, calls: int = 16) -> Version:
    """The next version: so many calls of a client in one operation."""
    made = tuple(Recorded(key(16 * time + number, client=client), b"v") for number in range(calls))
    return append_outcomes(version, time, b"", made)


@pytest.mark.parametrize("clients", [4, 16, 30])
def test_batches_of_others_do_not_make_a_client_s_calls_forgotten(clients: int) -> None:
    """A client's calls, its last one and the one before, are there after two batches of 16 by each of many others."""
    version = append_outcomes(initial_version(b""), 1, b"", (Recorded(key(1, client=1), b"first"),))
    version = append_outcomes(version, 2, b"", (Recorded(key(2, client=1), b"second"),))
    for time in range(3, 3 + 2 * clients):
        version = batch(version, time, client=2 + time % clients)
    assert find_answer(version, key(1, client=1)) == b"first"
    assert find_answer(version, key(2, client=1)) == b"second"
    assert can_tell(version, key(999, client=1), 1)


def test_a_client_s_newest_operation_leaves_whole_and_only_for_64_others() -> None:
    """With 64 clients each has its batch in the ring; the 65th drives out the oldest one, and the ring says so."""
    version = initial_version(b"")
    for client in range(64):
        version = batch(version, 1 + client, client)
    assert all(find_answer(version, key(16 + 16 * client, client)) for client in range(64))
    assert version.orphaned == 0
    version = batch(version, 65, client=64)
    assert [find_answer(version, key(16 + number, 0)) for number in range(16)] == [None] * 16
    assert version.orphaned == 1
    assert not can_tell(version, key(999, 0), 0)
    assert find_answer(version, key(32, 1)) == b"v"


def test_bytes_that_look_like_a_client_are_no_entry() -> None:
    """A call's id and an answer are chosen by others: they do not make a client's call older or newer than it is."""
    me, forged = key(1, client=1), b"client %09d" % 2 + b"client %09d" % 1
    version = append_outcomes(FIFTEEN, 7, b"", (Recorded(forged, b"client %09d" % 1),))
    for number in range(64):
        version = append_outcomes(version, 8 + number, b"", (Recorded(key(number, client=3 + number), b"v"),))
    assert version.orphaned == 7
    assert not can_tell(version, me, 6)
    assert find_answer(version, version.ring.entries[10:42]) is None


def test_bytes_that_look_like_a_client_supersede_nothing() -> None:
    """Who chooses an id that contains another's cannot have that one's last call leave the ring unnoticed."""
    version = append_outcomes(FIFTEEN, 7, b"", (Recorded(key(1, client=1), b"mine"),))
    forged = b"client %09d" % 2 + b"client %09d" % 1
    version = append_outcomes(version, 8, b"", (Recorded(forged, b"v"),))
    for number in range(63):
        version = append_outcomes(version, 9 + number, b"", (Recorded(key(number, client=3 + number), b"v"),))
    assert find_answer(version, key(1, client=1)) is None
    assert version.orphaned == 7
    assert not can_tell(version, key(999, client=1), 6)
