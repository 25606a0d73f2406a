"""Counting the replies of one round (PROTOCOL §6): thresholds at n-1, n and n+1."""

from __future__ import annotations

from random import Random

import pytest
from msgspec.structs import replace

from fivefold.errors import PeerViolation
from fivefold.protocol.client.rounds import Purpose, Round, absent_until, read_vote
from fivefold.protocol.client.session import Session
from fivefold.protocol.client.verdict import agreement_at, declined_reason
from fivefold.protocol.history import INITIAL_TIMESTAMP, Entry, empty_histories, encode_history
from fivefold.protocol.messages import BUSY, DECLINED, FAIL, SUCCESS, UNABLE, UNCHANGED, Vote, encode, reply_frame
from fivefold.protocol.operations import FORGOTTEN, NOT_RUN, REFUSED
from fivefold.protocol.quorums import QuorumSystem
from fivefold.protocol.records import Candidate, Request
from tests.protocol_rig import A, candidate, invocation_of, op

SIX = QuorumSystem(6, 1, 1)
THREE = candidate(3, A)
METHOD = candidate(4, (A, THREE.timestamp))
COPY = candidate(4, (A, THREE.timestamp), method=False)
LATER = candidate(9, (A, candidate(8, A).timestamp))


def round_of(*votes: Vote, purpose: Purpose = Purpose.OPERATION) -> Round:
    """A round sent once to the preferred quorum; server 0 cast the first of these votes, and so on."""
    found = Round(0, purpose, Request(A, (empty_histories(A, 6),), b"operation"), b"", q=5, servers=range(5))
    found.votes = dict(enumerate(votes))
    found.read = {bytes([place]): vote for place, vote in enumerate(dict.fromkeys(votes))}
    found.refused = {place: {b"only frame"} for place, vote in enumerate(votes) if vote.status != SUCCESS}
    return found


def showing(*candidates: Candidate, status: int = FAIL, answers: tuple[bytes, ...] = (NOT_RUN,)) -> Vote:
    """A vote that shows these candidates."""
    history = encode_history(tuple(Entry(each, False) for each in candidates)) if candidates else b""
    return Vote(status, b"", answers, b"", (history,), ())


# --- what the ring says of a refused update -------------------------------------------------------------------


@pytest.mark.parametrize(("count", "time"), [(0, 0), (1, 0), (2, 3), (3, 3)])
def test_b_1_refusals_rule_an_update_out(count: int, time: int) -> None:
    """So many servers hold version 4, made by a method on 3, and do not know the update: up to 3 it was not applied."""
    assert absent_until(round_of(*[showing(THREE, METHOD)] * count), SIX.b) == time


@pytest.mark.parametrize(
    "vote",
    [
        showing(THREE, COPY),
        showing(THREE, METHOD, status=SUCCESS),
        showing(THREE, METHOD, answers=(FORGOTTEN,)),
        showing(THREE, METHOD, answers=(NOT_RUN, b"v")),
        showing(THREE, METHOD, answers=()),
    ],
)
def test_nothing_else_rules_an_update_out(vote: Vote) -> None:
    """A copy proves nothing of what it rests on; a ring that knows the update, or cannot tell, does not deny it."""
    assert absent_until(round_of(*[vote] * 5), SIX.b) == 0


def test_all_calls_of_a_refused_batch_must_be_unknown() -> None:
    """Two calls travelled together, and neither is in the ring."""
    assert absent_until(round_of(*[showing(THREE, METHOD, answers=(NOT_RUN, NOT_RUN))] * 2), SIX.b) == 3


def test_the_latest_version_that_rules_it_out_counts() -> None:
    """Two servers are further on than two others; what a single one shows later still does not count."""
    votes = [showing(THREE, METHOD)] * 2 + [showing(LATER)] * 2 + [showing(candidate(20, (A, LATER.timestamp)))]
    assert absent_until(round_of(*votes), SIX.b) == 8


@pytest.mark.parametrize(("count", "since"), [(1, 0), (2, 3), (3, 3)])
def test_a_call_goes_on_from_what_b_1_refusals_rule_out(count: int, since: int) -> None:
    """Its attempt, on version 0, may be alive: it cannot have been applied up to 3, if more than one server says so."""
    session = Session(SIX, Random(1))
    ticket, _ = session.call(0, op("add", b"+"), is_query=False, deadline_ns=1)
    invocation = invocation_of(session, ticket)
    invocation._bury(round_of(*[showing(THREE, METHOD)] * count))
    assert invocation._since == since


# --- is the attempt dead? -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("refusals", "is_dead"), [(3, False), (4, True), (5, True)])
def test_an_attempt_that_fewer_than_r_may_show_is_dead(refusals: int, is_dead: bool) -> None:
    """Sent to five, r = 3: with four refusals one server may hold it and one liar may claim it, and no more."""
    assert round_of(*[showing()] * refusals).is_dead(SIX) is is_dead


@pytest.mark.parametrize("status", [FAIL, UNCHANGED, UNABLE, DECLINED, BUSY])
def test_whoever_says_anything_but_success_has_not_accepted_the_frame(status: int) -> None:
    """It is stale, changes nothing, cannot be run, is declined, or the server is busy: four of five say so."""
    found = round_of()
    for server in range(5):
        found.note(server, reply_frame(7, b"", ()), showing(status=status), b"")
        assert found.is_dead(SIX) is (server >= 3)


def test_a_frame_is_refused_once_however_often_that_is_said() -> None:
    """Two frames went to each server: two answers to one of them say nothing of the other."""
    found = round_of()
    found.sent = dict.fromkeys(range(5), 2)
    for number in (7, 7, 8):
        assert not found.is_dead(SIX)
        for server in range(5):
            found.note(server, reply_frame(number, b"", ()), showing(), b"")
    assert found.is_dead(SIX)


def test_a_refusal_of_one_frame_says_nothing_of_another() -> None:
    """One server was sent the attempt twice, and has refused one of them: it may have accepted the other."""
    found = round_of(*[showing()] * 4)
    found.sent[0] = 2
    assert not found.is_dead(SIX)


# --- declined, and optimistic answers -------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "reason"), [(1, None), (2, "no"), (3, "no")])
def test_b_1_servers_decline_a_call(count: int, reason: str | None) -> None:
    """One may lie; two that say the same may not."""
    declined = Vote(DECLINED, b"", (REFUSED + b"no",), b"", (), ())
    others = [showing()] * (5 - count)
    assert declined_reason(round_of(*[declined] * count, *others), SIX.b) == reason


def test_different_reasons_are_counted_apart() -> None:
    """Two servers decline, each for its own reason."""
    votes = [Vote(DECLINED, b"", (REFUSED + why,), b"", (), ()) for why in (b"no", b"never")]
    assert declined_reason(round_of(*votes), SIX.b) is None


def test_answers_on_one_latest_version_are_grouped() -> None:
    """Older versions, other statuses and replies without an answer do not count; the largest group comes first."""
    same = showing(THREE, METHOD, answers=(b"v",))
    votes = [
        showing(THREE, METHOD, answers=(b"w",)),
        same,
        showing(THREE, answers=(b"v",)),
        showing(THREE, METHOD, answers=()),
        showing(THREE, METHOD, answers=(b"v",), status=SUCCESS),
        same,
    ]
    assert agreement_at(round_of(*votes), [METHOD.timestamp], (FAIL,)) == [[1, 5], [0]]
    assert agreement_at(round_of(*votes), [METHOD.timestamp], (SUCCESS, FAIL)) == [[1, 4, 5], [0]]
    assert agreement_at(round_of(*votes), [INITIAL_TIMESTAMP], (SUCCESS, FAIL)) == []


@pytest.mark.parametrize("status", [DECLINED, BUSY])
def test_a_vote_that_turns_a_request_away_shows_no_histories(status: int) -> None:
    """Found by the fuzz target ``sessions``: nobody had read them, and the client raised when it counted them."""
    honest = encode(Vote(status, b"", (REFUSED + b"no",), b"", (), ()))
    assert read_vote(round_of(), honest, 1).status == status
    with pytest.raises(PeerViolation, match="vote-histories"):
        read_vote(round_of(), encode(Vote(status, b"", (REFUSED + b"no",), b"", (b"\x01",), ())), 1)


def test_what_was_culled_over_a_lost_connection_is_not_held_against_the_next() -> None:
    """Camps seed 33: a liar was started again with the right keys; replies to older requests had it excluded again."""
    vote = showing(candidate(1))
    culling = replace(vote, culled=(1, 2))
    session = Session(QuorumSystem(6, 1, 1), Random(1))
    ticket, _ = session.call(0, op("add", b"+"), is_query=False, deadline_ns=10**9)
    round_ = invocation_of(session, ticket)._round
    assert round_ is not None
    assert round_.heard(culling) is culling
    session.disconnected(1, 2)
    session.connected(2, 2)
    assert round_.heard(culling) == replace(vote, culled=(1,))
    assert round_.heard(vote) is vote
    round_.votes, round_.tails = {1: vote, 2: vote, 3: culling}, {1: b"one", 2: b"two", 3: b"three"}
    assert round_.tails_of(vote) == {1: b"one"}
