"""The ring of recent calls against a list."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from fivefold.protocol.operations import DIGEST, digest
from fivefold.protocol.versions import (
    Outcome,
    append_outcomes,
    can_tell,
    decode_version,
    encode_version,
    find_answer,
    initial_version,
    ring_entries,
)
from tests.protocol_twins import NaiveRing


def key(number: int) -> bytes:
    return number.to_bytes(16, "big")


batches = st.lists(st.lists(st.integers(0, 300), min_size=1, max_size=64), max_size=12)


@settings(max_examples=100, deadline=None)
@given(batches, st.lists(st.integers(0, 20), max_size=5))
def test_the_ring_is_a_list_of_the_last_64(sizes: list[list[int]], probes: list[int]) -> None:
    """Whatever the batches and the answers: the ring finds what the list finds, and forgets what it forgets."""
    version, naive = initial_version(b"state"), NaiveRing()
    calls = 0
    for time, batch in enumerate(sizes, 1):
        outcomes = []
        for length in batch:
            calls += 1
            outcomes.append(Outcome(key(calls), b"v" + bytes(length)))
            kept = outcomes[-1].answer
            naive.record(key(calls), time, kept if len(kept) <= 128 else DIGEST + digest(kept))
        version = decode_version(encode_version(append_outcomes(version, time, b"next", tuple(outcomes))))
        assert (version.number, version.horizon) == (naive.number, naive.horizon)
        assert ring_entries(version.ring) == [(found, answer) for found, _, answer in naive.calls]
        for outcome in outcomes:
            assert find_answer(version, outcome.key) == outcome.answer
    last = {outcome.key for outcome in version.outcomes}
    for number in range(1, calls + 1):
        if key(number) not in last:
            assert find_answer(version, key(number)) == naive.find(key(number))
    for since in probes:
        assert can_tell(version, since) == (naive.horizon <= since)


def test_keys_that_span_two_entries_are_not_found() -> None:
    """A key that appears in the ring's bytes by accident, across a boundary, is not taken for a call."""
    first = Outcome(key(1), b"v" + bytes(20))
    version = append_outcomes(initial_version(b""), 1, b"", (first,))
    accident = version.ring[10:26]
    version = append_outcomes(version, 2, b"", (Outcome(key(2), b"v"),))
    assert accident in version.ring
    assert find_answer(version, accident) is None
