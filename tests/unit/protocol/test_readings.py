"""What a reader believes of the histories it is shown: nothing acknowledged is missed, nothing invented is taken."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from fivefold.protocol.client import read
from fivefold.protocol.history import INITIAL_TIMESTAMP
from fivefold.protocol.quorums import QuorumSystem
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
