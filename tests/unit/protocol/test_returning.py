"""Servers whose connection has come back are tried with a few objects first (ours)."""

from __future__ import annotations

import pytest

from fivefold.protocol.client.knowledge import Knowledge
from fivefold.protocol.client.returning import Returning
from fivefold.protocol.history import encode_history
from fivefold.protocol.limits import RETURN_EVERY_NS, RETURN_OBJECTS_MAX, STRIKES_MAX
from fivefold.protocol.messages import FAIL, SUCCESS
from fivefold.protocol.quorums import QuorumSystem
from fivefold.protocol.records import Entry, Vote
from tests.protocol_rig import A, B, C, candidate

SIX = QuorumSystem(6, 1, 1)


def back(server: int) -> Returning:
    """One server that has come back."""
    found = Returning()
    found.add(server)
    return found


def test_one_more_object_is_tried_every_so_often() -> None:
    """The first at once, the next after RETURN_EVERY_NS; one that is tried already is not the next."""
    found = back(2)
    found.maybe_try(0, A)
    found.maybe_try(RETURN_EVERY_NS - 1, B)
    assert [found.is_tried_with(2, name) for name in (A, B)] == [True, False]
    found.maybe_try(RETURN_EVERY_NS, A)
    found.maybe_try(RETURN_EVERY_NS, B)
    assert [found.is_tried_with(2, name) for name in (A, B)] == [True, True]


def test_only_so_many_objects_are_remembered() -> None:
    """The oldest gives way: who uses each object once must not fill the memory."""
    found = back(2)
    for number in range(RETURN_OBJECTS_MAX + 1):
        found.maybe_try(number * RETURN_EVERY_NS, f"Reg/{number}")
    assert not found.is_tried_with(2, "Reg/0")
    assert found.is_tried_with(2, "Reg/1")


def test_an_accepted_history_of_its_own_ends_the_trial() -> None:
    """What it signed since it came back was accepted: it is asked about everything again."""
    found = back(2)
    found.maybe_try(0, A)
    found.accepted(A, bytes([1, 1, 0, 1, 1, 1]))
    assert 2 in found
    found.accepted(A, bytes([0, 1, 1, 1, 1, 1]))
    assert not found


def test_an_old_history_of_its_own_ends_nothing() -> None:
    """What an object shows that it was not tried with, it may have signed before it went."""
    found = back(2)
    found.maybe_try(0, A)
    found.accepted(B, bytes([1] * 6))
    assert 2 in found


def test_one_that_comes_for_the_first_time_is_asked_at_once() -> None:
    """Nothing is known yet that it could spoil."""
    found = Knowledge(SIX)
    found.standing.went(2)
    found.came(2)
    assert 2 not in found.standing.returning


def test_one_that_comes_back_is_asked_last_but_for_what_it_is_tried_with() -> None:
    """And by nobody's word against it: another one that is down comes behind it."""
    found = Knowledge(SIX)
    first, second = SIX.preference(A)[:2]
    found.of(A)
    found.standing.went(first)
    found.came(first)
    assert found.standing.order(A, SIX.preference(A))[-1] == first
    found.standing.went(second)
    assert found.standing.order(A, SIX.preference(A))[-2:] == [first, second]
    found.standing.returning.maybe_try(0, A)
    assert found.standing.order(A, SIX.preference(A))[0] == first
    assert found.standing.order(C, SIX.preference(C))[-2:] == [first, second]


def test_one_that_is_doubted_is_not_preferred_for_being_tried() -> None:
    """Whoever is culled, excluded or suspected stays last."""
    found = Knowledge(SIX)
    first = SIX.preference(A)[0]
    found.of(A)
    found.standing.went(first)
    found.came(first)
    found.standing.returning.maybe_try(0, A)
    for _ in range(3):
        found.standing.strike(first, "malformed")
    assert found.standing.order(A, SIX.preference(A))[-1] == first


@pytest.mark.parametrize(
    ("status", "culled", "is_welcome"), [(SUCCESS, (), True), (FAIL, (), False), (SUCCESS, (2,), False)]
)
def test_only_what_is_accepted_whole_speaks_for_it(status: int, culled: tuple[int, ...], is_welcome: bool) -> None:
    """A refusal does not, nor does a quorum that found MACs wrong."""
    found = Knowledge(SIX)
    shown = encode_history((Entry(candidate(1, A), False),))
    found.absorb([A], Vote(SUCCESS, b"", (), b"", (shown,), ()), {server: bytes(96) for server in range(1, 6)})
    found.standing.went(2)
    found.came(2)
    found.standing.returning.maybe_try(0, A)
    found.maybe_welcome([A], Vote(status, b"", (), b"", (shown,), culled))
    assert (2 not in found.standing.returning) is is_welcome


def test_one_that_goes_again_begins_anew() -> None:
    """While it is down it is just that; what it was tried with is forgotten."""
    found = Knowledge(SIX)
    found.of(A)
    found.standing.went(2)
    found.came(2)
    found.standing.returning.maybe_try(0, A)
    found.standing.went(2)
    assert 2 not in found.standing.returning
    found.came(2)
    assert not found.standing.returning.is_tried_with(2, A)


def test_one_that_is_doubted_is_left_out_while_another_comes_back() -> None:
    """The one that is back is asked before it: an inventing liar must not keep every operation from succeeding."""
    found = Knowledge(SIX)
    shown = encode_history((Entry(candidate(1, A), False),))
    found.absorb([A], Vote(SUCCESS, b"", (), b"", (shown,), ()), {server: bytes(96) for server in range(6)})
    back_again, liar = SIX.preference(A)[1], SIX.preference(A)[0]
    for _ in range(STRIKES_MAX):
        found.standing.strike(liar, "malformed")
    found.standing.went(back_again)
    found.came(back_again)
    assert found.standing.order(A, SIX.preference(A))[-2:] == [back_again, liar]
    assert [bool(found.trusted(A).of(server)) for server in (back_again, liar)] == [True, False]
