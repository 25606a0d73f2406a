"""What a reader believes of the histories it is shown: nothing acknowledged is missed, nothing invented is taken."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from fivefold.protocol.client import read
from fivefold.protocol.history import INITIAL_TIMESTAMP, encode_history, initial_entry
from fivefold.protocol.quorums import QuorumSystem
from fivefold.protocol.records import Candidate, Entry
from tests.protocol_rig import candidate
from tests.unit.test_audit import A, history

SIX = QuorumSystem(6, 1, 1)


def times(found) -> int:
    return int.from_bytes(found.candidate.timestamp[:16], "big")


def test_the_newest_of_a_quorum_is_believed() -> None:
    """Five of six show it; the sixth is behind."""
    found = read(SIX, A, {**{s: history(1, 2) for s in range(5)}, 5: history(1)})
    assert found is not None
    assert (times(found), found.holders) == (2, (0, 1, 2, 3, 4))


def test_what_b_servers_show_alone_is_left_out() -> None:
    """One liar's invention, above everything, changes nothing; two servers' word does."""
    shown = {s: history(1, 2) for s in range(5)}
    found = read(SIX, A, {**shown, 5: history(1, 9)})
    assert found is not None
    assert times(found) == 2
    found = read(SIX, A, {**shown, 4: history(2, 9), 5: history(2, 9)})
    assert found is not None
    assert (times(found), found.holders) == (9, (4, 5))


def test_fewer_than_q_histories_tell_nothing() -> None:
    """An acknowledged update may be with the others; bytes that no honest server writes do not count."""
    assert read(SIX, A, {s: history(1) for s in range(4)}) is None
    assert read(SIX, A, {**{s: history(1) for s in range(4)}, 4: b"\xff"}) is None


def test_a_barrier_is_the_newest() -> None:
    """Then the object has to be repaired before it can be read."""
    found = read(SIX, A, {s: history(1, -2) for s in range(5)})
    assert found is not None
    assert found.candidate.is_barrier


def test_what_nobody_has_written_is_initial() -> None:
    """Empty histories show the initial version."""
    found = read(SIX, A, dict.fromkeys(range(6), b""))
    assert found is not None
    assert found.candidate.timestamp == INITIAL_TIMESTAMP


@given(st.sampled_from(list(itertools.combinations(range(6), 5))), st.integers(0, 5), st.data())
def test_nothing_acknowledged_is_missed(asked: tuple[int, ...], liar: int, data: st.DataObject) -> None:
    """An update that q servers accepted, one of them lying, is read from any q servers, whatever the liar shows now."""
    accepted = data.draw(st.sampled_from(list(itertools.combinations(range(6), 5))))
    shown = {server: history(1, 2) if server in accepted else history(1) for server in asked}
    if liar in asked:
        shown[liar] = data.draw(st.sampled_from([b"", history(1), history(1, 3), history(5), b"\xff"]))
    found = read(SIX, A, shown)
    if found is None:  # the liar's bytes were none, and four histories are too few
        assert shown.get(liar) == b"\xff"
    else:
        assert times(found) == 2


# --- while others write ---------------------------------------------------------------------------------------------

BASE = candidate(1, A)
NEXT = candidate(2, (A, BASE.timestamp))
RIVAL = candidate(2, (A, BASE.timestamp), salt=b"z")  # above NEXT


def shows(*candidates: Candidate) -> bytes:
    """A history with these entries, and the initial one below them unless it was pruned."""
    first = () if len(candidates) > 2 else (initial_entry(A),)
    return encode_history((*first, *(Entry(each, False) for each in candidates)))


def established(*histories: bytes):
    found = read(SIX, A, dict(enumerate(histories)))
    assert found is not None
    return found.established


def test_what_r_servers_show_is_taken() -> None:
    """It may have been acknowledged: r of any q servers show what was."""
    assert established(*[shows(BASE, NEXT)] * SIX.r, *[shows(BASE)] * (6 - SIX.r)) == NEXT.timestamp


def test_a_newest_candidate_on_its_way_leaves_its_base() -> None:
    """Two show it, one of them maybe a liar: it was not acknowledged, and what it is built on is established."""
    assert established(*[shows(BASE, NEXT)] * 2, *[shows(BASE)] * 4) == BASE.timestamp


def test_an_acknowledged_update_is_not_passed_over_for_the_base_of_its_rival() -> None:
    """Five servers accepted NEXT. One of them lies, and shows RIVAL with the sixth: RIVAL's base is too old then."""
    assert RIVAL.timestamp > NEXT.timestamp
    assert established(*[shows(BASE, NEXT)] * 4, *[shows(BASE, RIVAL)] * 2) is None


def test_a_barrier_leaves_it_open() -> None:
    """A repair has to say what becomes of the candidates below it."""
    barrier = candidate(3, (A, BASE.timestamp), is_barrier=True)
    assert established(*[shows(BASE, barrier)] * 2, *[shows(BASE)] * 4) is None


def test_a_base_that_only_liars_name_is_none() -> None:
    """One server's invention proves nothing about what it is said to be built on."""
    invented = candidate(9, (A, candidate(8, A).timestamp))
    assert established(shows(BASE, invented), *[shows(BASE)] * 5) == BASE.timestamp
