"""What a client knows, and whom it asks first (PROTOCOL §6)."""

from __future__ import annotations

import pytest

from fivefold.protocol.authenticators import columns
from fivefold.protocol.client import knowledge as module
from fivefold.protocol.client.knowledge import Knowledge
from fivefold.protocol.client.outcomes import Evidence
from fivefold.protocol.history import Entry, encode_history, make_histories
from fivefold.protocol.limits import (
    ALONE_MAX,
    FRAME_BYTES_MAX,
    HISTORY_BYTES_MAX,
    LONG_HISTORY_BYTES,
    STRIKES_MAX,
    TRIAL_AFTER_NS,
)
from fivefold.protocol.messages import Vote, encode
from fivefold.protocol.operations import ObjectId
from fivefold.protocol.quorums import QuorumSystem
from fivefold.protocol.records import Request
from tests.protocol_rig import A, B, candidate

SIX = QuorumSystem(6, 1, 1)


def history(time: int, name: str = A) -> bytes:
    return encode_history((Entry(candidate(time, name), False),))


def vote(*histories: bytes, culled: tuple = ()) -> Vote:
    return Vote(1, b"", (), b"", histories, culled)


def tails(*servers: int, count: int = 1) -> dict[int, bytes]:
    return {server: bytes([server]) * 96 * count for server in servers}


def told(times: dict[int, int]) -> Knowledge:
    """Each server showed a history of this time."""
    found = Knowledge(SIX)
    for server, time in times.items():
        found.absorb([A], vote(history(time)), tails(server))
    return found


def test_nothing_is_known_at_first() -> None:
    """The first operation is conditioned on nothing, and asks the preferred quorum."""
    found = Knowledge(SIX)
    assert not found.is_known(A)
    assert found.fitting(A).histories == ()
    assert found.standing.order(A, SIX.preference(A)) == SIX.preference(A)
    assert found.evidence() == []


def test_histories_and_authenticators_are_taken_over() -> None:
    """Object by object, each server's own."""
    found = Knowledge(SIX)
    found.absorb([A, B], vote(history(1), history(1, B)), tails(2, count=2))
    assert found.of(A).histories[2] == history(1)
    assert columns(found.authenticators([found.trusted(A), found.trusted(B)]), 6) == [b"\x02" * 32] * 6


def test_an_initial_history_needs_no_authenticator() -> None:
    """A vote that shows nothing of one object brings authenticators for the others alone."""
    found = Knowledge(SIX)
    assert found.absorb([A, B], vote(b"", history(1, B)), tails(2)) == [2]
    assert found.of(B).authenticators[2] == b"\x02" * 96


@pytest.mark.parametrize("length", [0, 95, 97, 192])
def test_authenticators_of_another_length_are_a_strike(length: int) -> None:
    """And nothing of that reply is kept."""
    found = Knowledge(SIX)
    assert found.absorb([A], vote(history(1)), {2: bytes(length)}) == []
    assert found.of(A).histories[2] == b""
    assert found.evidence()[0].strikes == {"malformed": 1}


def test_the_column_of_a_server_is_its_mac_of_each_authenticator() -> None:
    """16 bytes of each, at its own place."""
    first, second = bytes(range(96)), bytes(range(96, 192))
    assert columns(first + second, 6)[1] == first[16:32] + second[16:32]
    assert columns(b"", 6) == [b""] * 6


def test_q_equal_histories_fit() -> None:
    """The sixth server's, equal too, is left out: it would cost a MAC at every server."""
    found = told(dict.fromkeys(range(6), 3))
    assert sum(map(bool, found.fitting(A).holders)) == 5


def test_an_older_history_is_left_out_a_newer_one_is_not() -> None:
    """What lags behind says nothing; what is ahead calls for a repair."""
    older = told({0: 3, 1: 3, 2: 3, 3: 3, 4: 3, 5: 2})
    assert older.fitting(A).holders == bytes([1, 1, 1, 1, 1, 0])
    newer = told({0: 3, 1: 3, 2: 3, 3: 3, 4: 3, 5: 4})
    assert newer.fitting(A).holders == bytes([1, 1, 1, 1, 1, 2])


def test_the_conditioned_time_is_that_of_the_newest_version() -> None:
    """0 if nothing is known; the object candidate's otherwise."""
    assert Knowledge(SIX).conditioned_time(Knowledge(SIX).fitting(A)) == 0
    found = told(dict.fromkeys(range(6), 3))
    assert found.conditioned_time(found.fitting(A)) == 3


def test_the_conditioned_time_is_not_that_of_an_invention() -> None:
    """What fewer than r servers show may be a liar's: an attempt may be applied on what the others hold, at time 0."""
    shown_by_two = make_histories(A, [history(7)] * 2 + [b""] * 4)
    assert Knowledge(SIX).conditioned_time(shown_by_two) == 0
    shown_by_three = make_histories(A, [history(7)] * 3 + [b""] * 3)
    assert Knowledge(SIX).conditioned_time(shown_by_three) == 7


@pytest.mark.parametrize(
    ("used", "known"),
    [
        ("1234", "1234"),
        ("12345", "2345"),
        ("12345" + "26", "2456"),
        ("12345" + "26" + "27", "2567"),
        ("12345" + "346", "3456"),
        ("12345" + "23456", "3456"),
    ],
)
def test_objects_not_used_lately_are_forgotten(monkeypatch: pytest.MonkeyPatch, used: str, known: str) -> None:
    """With room for four a fifth makes one of them go: one not used since that last happened, or else the oldest."""
    monkeypatch.setattr(module, "KNOWN_OBJECTS_MAX", 4)
    found = Knowledge(SIX)
    for number in used:
        found.of(f"Reg/{number}")
    assert "".join(number for number in "1234567" if found.is_known(f"Reg/{number}")) == known


@pytest.mark.parametrize(("reporters", "is_excluded"), [((1,), False), ((1, 2), True), ((1, 2, 3), True)])
def test_more_than_b_reports_exclude(reporters: tuple, is_excluded: bool) -> None:
    """B servers may lie about culling; b + 1 may not."""
    found = Knowledge(SIX)
    for reporter in reporters:
        found.absorb([A], vote(b"", culled=(0,)), {reporter: b""})
    assert found.standing.is_excluded(0) is is_excluded
    assert found.standing.rank(0) == (4 if is_excluded else 2)
    assert found.evidence()[0].culled_by == reporters


def test_one_server_reports_once() -> None:
    """The same server's reports, however many, are one; nobody reports itself or a server that is not there."""
    found = Knowledge(SIX)
    for _ in range(5):
        found.absorb([A], vote(b"", culled=(0, 1, 6, -1, 99)), {1: b""})
    assert [(each.server, each.culled_by) for each in found.evidence()] == [(0, (1,))]


@pytest.mark.parametrize(("strikes", "is_suspected"), [(STRIKES_MAX - 1, False), (STRIKES_MAX, True)])
def test_strikes_make_a_suspect(strikes: int, is_suspected: bool) -> None:
    """A suspect is asked last, and not excluded."""
    found = Knowledge(SIX)
    for _ in range(strikes):
        found.standing.strike(0, "malformed")
    assert (found.standing.is_suspected(0), found.standing.is_excluded(0)) == (is_suspected, False)
    assert (found.standing.order(A, SIX.preference(A))[-1] == 0) is (is_suspected or SIX.preference(A)[-1] == 0)


@pytest.mark.parametrize(("times", "strikes"), [(ALONE_MAX - 1, 0), (ALONE_MAX, 1), (2 * ALONE_MAX, 1)])
def test_standing_alone_is_forgiven_for_a_while(times: int, strikes: int) -> None:
    """Under contention that is bad luck; so often it is a strike, but never a suspicion."""
    found = Knowledge(SIX)
    alone = history(1)
    found.of(A).histories[3] = alone
    for _ in range(times):
        found.note_alone((A,), {3, 4})
    assert sum(sum(each.strikes.values()) for each in found.evidence()) == strikes
    found.of(A).histories[4] = alone
    for _ in range(ALONE_MAX):
        found.note_alone((A,), {3, 4})
    assert sum(sum(each.strikes.values()) for each in found.evidence()) == strikes, "two are not alone"


@pytest.mark.parametrize(("missing", "is_avoided"), [(1, False), (0, True)])
def test_a_server_that_keeps_standing_alone_is_asked_last_but_not_suspected(missing: int, is_avoided: bool) -> None:
    """A client with the right to repair can do that to an honest server, by sending its barriers to it alone."""
    found = Knowledge(SIX)
    found.of(A).histories[3] = history(1)
    for _ in range(ALONE_MAX - missing):
        found.note_alone((A,), {3, 4})
    assert (found.standing.is_avoided(3), found.standing.is_suspected(3)) == (is_avoided, False)
    assert (found.standing.rank(3) > 0) is is_avoided


def test_a_server_that_stands_alone_no_more_is_trusted_again() -> None:
    """Calls that are done with it make up for that, however often it stood alone; and so does others' bad luck."""
    by_use, by_luck = Knowledge(SIX), Knowledge(SIX)
    for found in (by_use, by_luck):
        found.of(A).histories[3] = history(1)
        for _ in range(1000):
            found.note_alone((A,), {3})
        found.of(A).histories[3] = b""
        for _ in range(1000):
            found.note_alone((A,), {3})
        assert found.standing.is_avoided(3), "that nobody stands alone says nothing"
    by_luck.of(A).histories[2] = history(1)
    by_luck.note_alone((A,), {1, 2})
    assert by_luck.standing.is_avoided(3), "it has not answered, so nothing is known that speaks for it"
    for _ in range(3 * ALONE_MAX + 1):
        by_luck.note_alone((A,), {2, 3})
        by_use.standing.note_done({3: 0}, ())
    assert not by_luck.standing.is_avoided(3)
    assert not by_use.standing.is_avoided(3)


def test_a_server_that_is_not_asked_any_more_stands_alone_all_the_same() -> None:
    """Camps seed 41: a liar had shown a time that no barrier reaches, and was not asked again; it froze the object."""
    found = Knowledge(SIX)
    found.of(A).histories[3] = history(1)
    for _ in range(ALONE_MAX):
        found.note_alone((A,), {0, 1, 2, 4, 5})
    assert found.standing.is_avoided(3)


def test_b_servers_together_stand_alone() -> None:
    """Two liars may invent the same: where two may lie, two show it alone."""
    found = Knowledge(QuorumSystem(11, 2, 2))
    for server in (3, 4):
        found.of(A).histories[server] = history(1)
    for _ in range(ALONE_MAX):
        found.note_alone((A,), range(11))
    assert {each.server for each in found.evidence()} == {3, 4}


def test_only_the_objects_of_a_round_tell_who_stands_alone() -> None:
    """Of the other object the first liar's invention is the last thing known: it says nothing of the second liar."""
    found = Knowledge(QuorumSystem(11, 2, 2))
    found.of(B).histories[3] = history(9)
    found.of(A).histories[4] = history(1)
    for _ in range(ALONE_MAX):
        found.note_alone((A,), range(11))
    assert [found.standing.is_avoided(server) for server in (3, 4)] == [False, True]


def test_who_stands_alone_on_one_object_of_a_round_stands_alone() -> None:
    """Not to stand alone on the other object does not make up for it."""
    found = Knowledge(SIX)
    found.of(A).histories[3] = history(1)
    for _ in range(ALONE_MAX):
        found.note_alone((A, B), range(6))
    assert found.standing.is_avoided(3)


def test_an_avoided_server_does_not_hide_who_stands_alone_below_it() -> None:
    """A liar shows something newer than the other liar does: it is avoided first, and then the other one, too."""
    found = Knowledge(QuorumSystem(11, 2, 2))
    found.of(A).histories[3], found.of(A).histories[4] = history(2), history(1)
    for _ in range(ALONE_MAX):
        found.note_alone((A,), range(11))
    assert [found.standing.is_avoided(server) for server in (3, 4)] == [True, False]
    for _ in range(ALONE_MAX):
        found.note_alone((A,), range(11))
    assert [found.standing.is_avoided(server) for server in (3, 4)] == [True, True]


def test_histories_much_longer_than_the_others_are_avoided() -> None:
    """Three of them are enough: to read each slows every client. Where b + 1 servers show long ones, they are usual."""
    found = Knowledge(SIX)
    usual = dict.fromkeys(range(5), 400)
    for _ in range(STRIKES_MAX):
        assert not found.standing.is_avoided(2)
        found.note_long({**usual, 2: LONG_HISTORY_BYTES + 1})
    assert (found.standing.is_avoided(2), found.standing.is_suspected(2)) == (True, False)
    for sizes in ({0: LONG_HISTORY_BYTES}, {0: 10**6, 1: 10**6}, {0: 4 * LONG_HISTORY_BYTES, 1: LONG_HISTORY_BYTES}):
        found.note_long({**usual, **sizes})
    assert [each.server for each in found.evidence()] == [2]


@pytest.mark.parametrize(("count", "is_heard"), [(1, True), (2, False), (5, False)])
def test_who_says_that_more_than_b_lie_is_not_heard(count: int, is_heard: bool) -> None:
    """At most b can lie, or it lies itself: its reports make nobody doubted."""
    found = Knowledge(SIX)
    found.absorb([A], vote(b"", culled=tuple(range(1, 1 + count))), {0: b""})
    assert [found.standing.is_doubted(server) for server in range(1, 1 + count)] == [is_heard] * count


def test_what_a_suspected_server_reports_does_not_count() -> None:
    """Nor does the word of one that is avoided, or excluded."""
    for speaks_against in range(3):
        found = Knowledge(SIX)
        found.absorb([A], vote(b"", culled=(1,)), {0: b""})
        assert found.standing.is_doubted(1)
        if speaks_against == 0:
            for _ in range(STRIKES_MAX):
                found.standing.strike(0, "malformed")
        elif speaks_against == 1:
            for _ in range(STRIKES_MAX):
                found.standing.note_long(0)
        else:
            for reporter in (2, 3):
                found.absorb([A], vote(b"", culled=(0,)), {reporter: b""})
        assert not found.standing.is_doubted(1)


def test_exclusion_ends_with_the_connection() -> None:
    """Another process may answer over the next one; what was shown over the last is not shown to others again."""
    found = told(dict.fromkeys(range(6), 3))
    for reporter in (1, 2):
        found.absorb([A], vote(history(3), culled=(0,)), tails(reporter))
    assert found.standing.is_excluded(0)
    found.went(0)
    found.came(0)
    assert not found.standing.is_excluded(0)
    assert found.of(A).histories[0] == b""
    assert found.of(A).histories[1] == history(3)


def test_what_a_server_said_of_others_ends_with_its_connection() -> None:
    """The liar comes back honest, and has culled nobody so far."""
    found = Knowledge(SIX)
    found.absorb([A], vote(b"", culled=(1,)), {0: b""})
    found.went(0)
    assert not found.standing.is_doubted(1)


def test_an_excluded_server_counts_while_fewer_than_q_others_answer() -> None:
    """One of the other five is down: whoever is asked must be believed."""
    found = told(dict.fromkeys(range(6), 3))
    for reporter in (1, 2):
        found.absorb([A], vote(history(3), culled=(0,)), tails(reporter))
    assert found.trusted(A).holders[0] == 0
    found.went(5)
    assert found.trusted(A).holders[0] != 0
    assert found.standing.order(A, SIX.preference(A))[-2:] == [0, 5]


def test_servers_are_asked_in_the_order_of_their_ranks() -> None:
    """Down after excluded after slow after suspected after good; among equals the preferred order."""
    found = Knowledge(SIX)
    good, suspect, slow, excluded, down, last = SIX.preference(A)
    for _ in range(STRIKES_MAX):
        found.standing.strike(suspect, "malformed")
    found.standing.slow[slow] = 0
    found.standing.down.add(down)
    for reporter in (good, last):
        found.absorb([A], vote(b"", culled=(excluded,)), {reporter: b""})
    assert found.standing.order(A, SIX.preference(A)) == [good, last, suspect, slow, excluded, down]


def test_a_doubted_history_is_left_out_while_q_others_are_asked_first() -> None:
    """PROTOCOL §6: what was reported culled is dropped from the next OHS."""
    found = told(dict.fromkeys(range(6), 3))
    found.absorb([A], vote(history(3), culled=(5,)), tails(1))
    assert found.trusted(A).holders == bytes([1, 1, 1, 1, 1, 0])
    assert found.fitting(A).holders == bytes([1, 1, 1, 1, 1, 0])


@pytest.mark.parametrize(("others", "is_left_out"), [(4, False), (5, True)])
def test_a_doubted_history_is_needed_until_q_others_have_told(others: int, is_left_out: bool) -> None:
    """Where fewer have told what they hold, the doubted one's history helps to classify."""
    found = told(dict.fromkeys([*range(others), 5], 3))
    found.absorb([B], vote(b"", culled=(5,)), {1: b""})
    assert (found.trusted(A).holders[5] == 0) is is_left_out


def test_the_next_operation_is_conditioned_on_q_histories() -> None:
    """All six showed the same: one of them is left out, for it would cost a MAC at every server."""
    found = told(dict.fromkeys(range(6), 3))
    found.remember_fit([A], range(6), vote(history(3)))
    assert found.fitting(A).holders == bytes([1, 1, 1, 1, 1, 0])
    found.absorb([B], vote(b"", culled=(2,)), {1: b""})
    found.remember_fit([A], range(6), vote(history(3)))
    assert found.fitting(A).holders == bytes([1, 1, 0, 1, 1, 1])


def test_fewer_than_q_that_are_trusted_do_not_fit() -> None:
    """Two of six are doubted: what was fitting before stays."""
    found = told(dict.fromkeys(range(6), 3))
    for reporter, culled in ((1, 2), (4, 3)):
        found.absorb([B], vote(b"", culled=(culled,)), {reporter: b""})
    found.remember_fit([A], range(6), vote(history(4)))
    assert found.of(A).fitted is None


def test_a_doubted_server_that_must_be_asked_is_believed() -> None:
    """Two servers are doubted: one of them is among the first five asked, so neither history is left out."""
    found = told(dict.fromkeys(range(6), 3))
    for reporter, culled in ((1, 4), (2, 5)):
        found.absorb([A], vote(history(3), culled=(culled,)), tails(reporter))
    assert found.trusted(A).holders == bytes([1, 1, 1, 1, 1, 1])


def test_a_silent_server_is_tried_beside_the_others() -> None:
    """When its time has come, with one request; then not before TRIAL_AFTER_NS are over."""
    found = Knowledge(SIX)
    first, *others = SIX.preference(A)
    found.standing.slow[first] = 10
    assert found.standing.first_asked(9, A, SIX.preference(A)) == others
    assert found.standing.first_asked(10, A, SIX.preference(A)) == [*others, first]
    assert found.standing.first_asked(9 + TRIAL_AFTER_NS, A, SIX.preference(A)) == others
    assert found.standing.first_asked(10 + TRIAL_AFTER_NS, A, SIX.preference(A)) == [*others, first]


def test_the_operator_hears_of_a_silent_server() -> None:
    """Nothing else speaks against it."""
    found = Knowledge(SIX)
    found.standing.slow[2] = 0
    assert found.evidence() == [Evidence(2, False, False, (), {}, True)]


def test_the_round_trip_is_smoothed() -> None:
    """The first is taken as it is, of each later one an eighth."""
    found = Knowledge(SIX)
    found.note_round_trip(800)
    assert found.round_trip_ns == 800
    found.note_round_trip(1600)
    assert found.round_trip_ns == 900


def test_who_answered_is_not_silent_any_more() -> None:
    """One of two that were silent has answered."""
    found = Knowledge(SIX)
    found.standing.slow = {1: 0, 2: 0}
    found.standing.note_answered([0, 1])
    assert found.standing.slow == {2: 0}


def test_a_silent_server_that_must_be_asked_is_asked_once() -> None:
    """Two are silent: one of them completes the quorum, the other is the one that is tried."""
    found = Knowledge(SIX)
    first, second, *others = SIX.preference(A)
    found.standing.slow = {first: 10, second: 10}
    assert found.standing.first_asked(9, A, SIX.preference(A)) == [*others, first]
    assert found.standing.first_asked(10, A, SIX.preference(A)) == [*others, first, second]


def test_a_repair_fits_into_one_request_whatever_liars_show() -> None:
    """Two liars show the longest histories of 64 objects: one is enough to leave out, and everybody else is shown."""
    quorums = QuorumSystem(11, 2, 2)
    found, names = Knowledge(quorums), [ObjectId(f"Reg/{number:02d}") for number in range(64)]
    for name in names:
        for server in range(11):
            found.of(name).histories[server] = history(1, name)
        for liar, size in ((3, HISTORY_BYTES_MAX), (7, HISTORY_BYTES_MAX - 1)):
            found.of(name).histories[liar] = bytes([liar]) * size
    sets = found.repair_sets(names[0], names)
    assert [each.object_id for each in sets] == names
    assert {each.holders.count(0) for each in sets} == {1}
    assert all(each.of(3) == b"" and each.of(7) for each in sets)
    assert len(encode(Request(names[0], sets, b""))) < FRAME_BYTES_MAX * 3 // 4


def test_a_repair_shows_a_quorum_even_if_that_is_long() -> None:
    """Who has told nothing is not one of them: six long histories, one of them left out; with five none is."""
    names = [ObjectId(f"Reg/{number:02d}") for number in range(64)]
    for telling in (6, 5):
        found = Knowledge(SIX)
        for name in names:
            for server in range(telling):
                found.of(name).histories[server] = bytes([server]) * (40_000 + server)
        assert {each.holders for each in found.repair_sets(names[0], names)} == {b"\x01\x02\x03\x04\x05\x00"}
