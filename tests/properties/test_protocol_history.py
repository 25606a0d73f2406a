"""Timestamps, histories, history sets and views against naive twins."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fivefold.errors import PeerViolation
from fivefold.protocol.classify import View, classify
from fivefold.protocol.history import (
    Candidate,
    Entry,
    Part,
    check_histories,
    client_of,
    decode_history,
    encode_history,
    initial_entry,
    is_barrier,
    make_histories,
    make_timestamp,
    time_of,
    without,
)
from fivefold.protocol.quorums import QuorumSystem
from tests import protocol_twins as twins
from tests.protocol_rig import A, B, candidate

times = st.integers(0, 2**63 - 1)
digests = st.binary(min_size=32, max_size=32)
fields = st.tuples(times, st.booleans(), st.binary(min_size=16, max_size=16), digests, digests)


def packed(five: tuple) -> bytes:
    time, barrier, client, operation, histories = five
    return make_timestamp(
        time, is_barrier=barrier, client=client, operation_digest=operation, history_set_digest=histories
    )


@given(fields, fields)
def test_timestamps_sort_as_bytes_like_the_papers_tuples(left: tuple, right: tuple) -> None:
    """The order of the bytes is the order of (time, is_barrier, client, operation, history set)."""
    assert (packed(left) < packed(right)) == (left < right)
    assert (packed(left) == packed(right)) == (left == right)


@given(fields)
def test_timestamps_give_their_parts_back(five: tuple) -> None:
    """Time, barrier mark and client can be read from the bytes."""
    timestamp = packed(five)
    assert (time_of(timestamp), is_barrier(timestamp), client_of(timestamp)) == five[:3]


# --- candidates and histories -----------------------------------------------------------------------------------------

_base = candidate(1, A).timestamp
POOL = [
    candidate(1, A),
    candidate(1, A, B, client=b"a" * 16),
    candidate(2, A, is_barrier=True),
    candidate(2, (A, _base)),
    candidate(3, (A, _base), B, is_barrier=True),
    candidate(3, (A, _base), (B, _base), salt=b"x"),
    candidate(3, (A, _base), salt=b"y"),
    Candidate(candidate(5, A, method=False).timestamp, (Part(A, candidate(2, A).timestamp, _base),)),
]
"""Candidates for ``A``, alone and with ``B``; barriers, methods and a copy with a base."""

chosen = st.lists(st.tuples(st.sampled_from(POOL), st.booleans()), max_size=5)


def history_from(pairs: list) -> tuple[Entry, ...]:
    """An ordered history of distinct timestamps; now and then with the initial candidate."""
    by_timestamp = {each.timestamp: Entry(each, flag and each.is_multi) for each, flag in pairs}
    entries = tuple(by_timestamp[timestamp] for timestamp in sorted(by_timestamp))
    return (initial_entry(A), *entries) if len(pairs) % 2 else entries or (initial_entry(A),)


histories = chosen.map(history_from)


@given(histories)
def test_histories_survive_their_encoding(history: tuple[Entry, ...]) -> None:
    """What was encoded is decoded to the same entries."""
    assert decode_history(A, encode_history(history)) == history


@given(histories, st.data())
def test_what_is_decoded_is_canonical(history: tuple[Entry, ...], data: st.DataObject) -> None:
    """Changed bytes are refused, or are themselves the one encoding of what they say."""
    good = encode_history(history)
    position = data.draw(st.integers(0, len(good) - 1))
    change = data.draw(st.sampled_from(["flip", "cut", "insert", "append", "delete"]))
    other = data.draw(st.binary(min_size=1, max_size=3))
    bad = {
        "flip": good[:position] + bytes([good[position] ^ other[0]]) + good[position + 1 :],
        "cut": good[:position],
        "insert": good[:position] + other + good[position:],
        "append": good + other,
        "delete": good[:position] + good[position + 1 :],
    }[change]
    try:
        decoded = decode_history(A, bad)
    except PeerViolation:
        return
    assert bad == b"" or encode_history(decoded) == bad


@given(st.binary(max_size=200))
def test_any_bytes_are_decoded_or_refused(data: bytes) -> None:
    """No bytes raise anything but PeerViolation."""
    try:
        decode_history(A, data)
    except PeerViolation:
        pass


@given(st.lists(histories, min_size=6, max_size=6), st.sets(st.integers(0, 5)))
def test_history_sets_hold_each_servers_history(shown: list, blank: set[int]) -> None:
    """An OHS gives every server's history back, and is accepted by its own check; so is it without some servers."""
    data = [b"" if server in blank else encode_history(shown[server]) for server in range(6)]
    found = make_histories(A, data)
    check_histories(found, 6)
    assert [found.of(server) for server in range(6)] == data
    left = without(found, {0, 3})
    check_histories(left, 6)
    assert [left.of(server) for server in range(6)] == [b"" if s in (0, 3) else data[s] for s in range(6)]


@given(st.binary(min_size=6, max_size=6), st.lists(st.sampled_from([b"", b"a", b"b", b"c"]), max_size=4))
def test_only_what_make_histories_makes_is_accepted(holders: bytes, stored: list[bytes]) -> None:
    """An OHS passes the check exactly if it is the one that make_histories makes of what it says."""
    from fivefold.protocol.records import ObjectHistories

    holders = bytes(each % 5 for each in holders)
    given_set = ObjectHistories(A, tuple(stored), holders)
    says = [stored[index - 1] if 0 < index <= len(stored) else b"" for index in holders]
    is_canonical = make_histories(A, says) == given_set and max(holders) <= len(stored)
    try:
        check_histories(given_set, 6)
    except PeerViolation:
        assert not is_canonical
    else:
        assert is_canonical


# --- views ------------------------------------------------------------------------------------------------------------


@settings(max_examples=300)
@given(st.lists(histories, min_size=6, max_size=6), st.sampled_from([(6, 1, 1), (6, 1, 0)]))
def test_views_count_like_explicit_sets(shown: list, sizes: tuple[int, int, int]) -> None:
    """Orders, flags, latest, object and barrier candidates, and the kind, are those of a count server by server."""
    system = QuorumSystem(*sizes)
    view = View(system, make_histories(A, [encode_history(history) for history in shown]))
    naive = [[(entry.candidate, entry.is_settled) for entry in history] for history in shown]
    for each in {entry.candidate for history in shown for entry in history}:
        assert view.order(each) == twins.order(each, naive)
        assert view.flags.get(each.original, 0) == twins.flags(each, naive)
    assert view.latest == twins.latest(naive)
    assert view.repairable == twins.at_least(naive, system.r, barriers=False)
    barriers = twins.at_least(naive, system.r, barriers=True)
    assert view.barrier == (barriers[0] if barriers else None)
    kind = classify(system, view)
    assert (kind.value if kind else None) == twins.kind_of(naive, system.q, system.r)


@pytest.mark.parametrize("blank", range(7))
def test_servers_that_said_nothing_show_the_initial_version(blank: int) -> None:
    """An unknown, silent or culled server's history counts as ⟨0, 0⟩, which needs no authenticator."""
    shown = [b"" if server < blank else encode_history((Entry(POOL[0], False),)) for server in range(6)]
    view = View(QuorumSystem(6, 1, 1), make_histories(A, shown))
    assert (view.order(initial_entry(A).candidate), view.order(POOL[0])) == (blank, 6 - blank)
