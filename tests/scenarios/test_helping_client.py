"""Helping, the client's part (H5-H7, H9): when it announces, whom it carries, what it believes of the outcome."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from fivefold.protocol.announcements import Help
from fivefold.protocol.client import crowd
from fivefold.protocol.client.crowd import LEFT_OUT_NS, Place
from fivefold.protocol.client.outcomes import Answered, TimedOut
from fivefold.protocol.messages import (
    ANNOUNCE,
    LACKING,
    REPLY,
    REQUEST,
    SUCCESS,
    WITHDRAW,
    decode_operation,
    decode_request,
    decode_vote,
    encode,
    reply_frame,
    split,
)
from fivefold.protocol.operations import REJECTED, VALUE, ClientId, Operation, carried_by, key_of
from fivefold.protocol.quorums import QuorumSystem
from fivefold.protocol.server.versions import find_answer
from fivefold.protocol.steps import Kind
from tests.helping_rig import HelpedDesk, HelpingRack, Line, announcement, carrying, pooled
from tests.protocol_rig import SECOND, A, X, Y, Z, cancel, now, op, send

METHOD = Kind.METHOD
ID = b"a call of X's 16"


def low(rack: HelpingRack) -> list[int]:
    """The quorum that A's clients ask first."""
    return list(rack.quorums.preference(A))[: rack.quorums.q]


def counted(rack: HelpingRack, name: str) -> int:
    """How often something happened at all servers together."""
    return sum(server.counters[name] for server in rack.servers)


def outrun(desk: HelpedDesk, near: HelpedDesk) -> None:
    """Before each operation of the desk's arrives, a near client updates the object."""

    def cut(server: int, frame: bytes) -> bool:
        if frame[0] == REQUEST:
            assert isinstance(near.run(op("add", b".")), Answered)
        return True

    desk.cuts = cut


def waiting(rack: HelpingRack, desk: HelpedDesk, near: HelpedDesk) -> int:
    """A call of the desk's that waits in the pools of all servers."""
    assert isinstance(near.run(op("add", b".")), Answered)
    outrun(desk, near)
    ticket = desk.start(op("add", b"+", call_id=ID))
    for _ in range(300):
        if ANNOUNCE in desk.kinds and not desk.pending:
            break
        desk.step()
    assert ANNOUNCE in desk.kinds
    desk.hear()
    assert ticket not in desk.finished
    return ticket


# --- being carried ----------------------------------------------------------------------------------------------------


def test_a_client_that_others_outrun_is_carried_by_the_next_of_them() -> None:
    """X loses twice and announces; Z, whose update has just gone through, carries X's call, though it has none left."""
    rack = HelpingRack()
    far, near = HelpedDesk(rack, X), HelpedDesk(rack, Z, seed=2)
    ticket = waiting(rack, far, near)
    assert pooled(rack) == [[ID]] * 6
    assert isinstance(near.run(op("add", b"z")), Answered)
    near.deliver()
    far.hear()
    outcome = far.finished[ticket]
    assert isinstance(outcome, Answered)
    assert outcome.answers[0].startswith(VALUE + b".")
    assert near.session.crowd.counters["carried"] == 1
    state = rack.state(low(rack)[0], A)
    assert state.count(b"+") == 1
    assert state.endswith(b"z+")


def test_a_client_does_not_wait_for_another_session_of_its_own() -> None:
    """Servers do not list a client its own calls: outrun by a namesake, it repairs and backs off as without helping."""
    rack = HelpingRack()
    far, near = HelpedDesk(rack, X), HelpedDesk(rack, X, seed=2)
    assert isinstance(near.run(op("add", b".")), Answered)
    outrun(far, near)
    far.start(op("add", b"+", call_id=ID))
    for _ in range(300):
        far.step()
    assert far.kinds.count(REQUEST) > 20
    assert ANNOUNCE not in far.kinds


def test_without_contention_every_frame_is_what_it_is_without_helping() -> None:
    """D12: two clients by turns, one of them a first-time client: the same frames, byte for byte."""
    frames = []
    for is_helping in (False, True):
        rack = HelpingRack()
        first = HelpedDesk(rack, X, is_helping=is_helping)
        second = HelpedDesk(rack, Y, is_helping=is_helping)
        for number in range(6):
            desk = (first, second)[number % 2]
            outcome = desk.run(op("add", b"+", call_id=number.to_bytes(16, "big")))
            assert isinstance(outcome, Answered)
        frames.append((first.sent, second.sent))
    assert frames[0] == frames[1]


def test_a_client_that_was_carried_only_announces_its_next_calls() -> None:
    """H6: X follows for a few round trips; a success of its own ends that."""
    rack = HelpingRack()
    far, near = HelpedDesk(rack, X), HelpedDesk(rack, Z, seed=2)
    ticket = waiting(rack, far, near)
    near.run(op("add", b"z"))
    near.deliver()
    far.hear()
    assert ticket in far.finished
    far.sent.clear()
    far.cuts = lambda server, frame: True
    second = far.start(op("add", b"x"))
    far.deliver()
    assert set(far.kinds) == {ANNOUNCE}
    assert isinstance(far.finish(second), Answered)  # nobody comes: it acts itself
    assert rack.state(low(rack)[0], A).endswith(b"x")


def test_d7_an_update_under_way_is_not_repaired_at_first_sight() -> None:
    """D7: one server shows something newer than q - 1 others: for three round trips no barrier, then it is repaired."""
    rack = HelpingRack()
    far, near = HelpedDesk(rack, X), HelpedDesk(rack, Z, seed=2)
    waiting(rack, far, near)
    near.run(op("add", b"z"))
    near.deliver()
    far.hear()
    far.cuts = lambda server, frame: True
    servers = low(rack)
    send(rack, Y, now(rack, servers), servers[:1], kind=METHOD, operation=op("add", b"y"))
    began_ns = rack.now_ns
    second = far.start(op("add", b"x"))
    while rack.now_ns - began_ns < 1_500_000 and second not in far.finished:
        assert counted(rack, "accepted.BARRIER") == 0
        far.step()
    assert isinstance(far.finish(second), Answered)


# --- whom to carry ----------------------------------------------------------------------------------------------------


def test_only_what_q_minus_b_servers_list_alike_is_carried() -> None:
    """H5: b liars list what nobody announced, or not what everybody has: neither matters."""
    quorums = QuorumSystem(6, 1, 1)
    one, two = announcement(X, op("add", b"+")), announcement(Y, op("add", b"-"))
    for count, expected in ((3, []), (4, [one]), (5, [one])):
        assert crowd.agreed({server: Help((one,)) for server in range(count)}, quorums) == expected
    helps = {server: Help((one, two)) for server in range(4)} | {4: Help((two, one))}
    assert crowd.agreed(helps, quorums) == [one, two]
    helps = {server: Help((replace(one, calls=op("add", b"?").calls),)) for server in range(5)}
    assert crowd.agreed(helps, quorums) == []
    assert crowd.agreed({0: Help((one, one, one, one))}, quorums) == []


def test_an_announcement_is_carried_whole_or_not_at_all() -> None:
    """Sixteen calls in all; one that does not fit any more is left for the next operation, later ones that fit not."""
    place = Place()
    big = [announcement(ClientId(bytes((k,)) * 16), carrying(*[op("add", b"+") for _ in range(6)])) for k in range(3)]
    small = announcement(Y, op("add", b"-"))
    place.listed = (*big, small)
    carried, _ = place.take(b"", 3)
    assert [each.owner for each in carried] == [big[0].owner] * 6 + [big[1].owner] * 6 + [Y]


@pytest.mark.parametrize("again", ["add", "cancel"])
def test_a_call_that_is_announced_twice_is_carried_once(again: str) -> None:
    """X announces a call over two connections, once with another one: servers would not answer who carries both."""
    rack = HelpingRack()
    near = HelpedDesk(rack, Z)
    near.run(op("add", b"."))
    servers = low(rack)
    add, more = op("add", b"+", call_id=ID), op("add", b"-")
    twice = add if again == "add" else cancel(ID, 0)
    Line(rack, X).announce(add, servers)
    Line(rack, X).announce(Operation((A,), (*twice.calls, *more.calls)), servers)
    began_ns = rack.now_ns
    assert isinstance(near.run(op("add", b"z")), Answered)  # whose replies list both
    near.deliver()
    assert isinstance(near.run(op("add", b"z")), Answered)
    assert rack.now_ns - began_ns < SECOND
    assert sum(server.counters["rejected.operation-carried"] for server in rack.servers) == 0
    assert rack.state(servers[0], A).count(b"+") == 1


def test_a_cancellation_takes_on_nobodys_code() -> None:
    """Servers may no longer run the code that an announcement names; a cancellation names none, and none may fail."""
    place = Place()
    place.listed = (replace(announcement(X, op("add", b"+")), code=b"some"),)
    assert place.take(b"", 1) == ((), b"")
    carried, code = place.take(b"", 0)
    assert ([each.owner for each in carried], code) == ([X], b"some")


def test_an_owner_whose_calls_servers_lack_is_left_out_for_longer_and_longer() -> None:
    """More than b servers of a round lacked it: 0.1 s, doubling, and from the beginning after ten seconds of peace."""
    place, now_ns = Place(), 0
    for factor in (1, 2, 4):
        place.note_lacking(now_ns, X)
        assert place.is_left_out(now_ns + factor * LEFT_OUT_NS - 1, X)
        now_ns += factor * LEFT_OUT_NS
        assert not place.is_left_out(now_ns, X)
    assert not place.is_left_out(now_ns, Y)
    place.note_lacking(now_ns + 11_000_000_000, X)
    assert not place.is_left_out(now_ns + 11_000_000_000 + LEFT_OUT_NS, X)


def listing(*more: object) -> Callable[[bytes], bytes]:
    """A liar that lists announcements in each reply about an object."""

    def lie(frame: bytes) -> bytes:
        number, vote, tail = split(frame, REPLY)
        size = 96 * sum(map(bool, decode_vote(vote).histories))
        return reply_frame(number, vote, (tail[:size], encode(Help(tuple(more)))))

    return lie


def test_d6_liars_and_a_partial_announcement_cost_one_inline_repair() -> None:
    """D6: q - 2b honest servers have X's call and b liars list it, too: the others lack it, and no barrier comes."""
    rack = HelpingRack()
    near, line = HelpedDesk(rack, Z), Line(rack, X)
    near.run(op("add", b"."))
    servers = low(rack)
    add = op("add", b"+", call_id=ID)
    line.announce(add, servers[:3])
    near.lies[servers[3]] = listing(announcement(X, add))
    assert isinstance(near.run(op("add", b"z")), Answered)
    near.deliver()
    for _ in range(50):
        if near.wake_at_ns is None:
            break
        near.step()
    near.deliver()
    assert rack.state(servers[0], A) == b".z+"
    assert counted(rack, "helping.lacking") >= 1
    assert counted(rack, "accepted.INLINE_METHOD") >= 1
    assert counted(rack, "accepted.BARRIER") == 0


# --- what to believe --------------------------------------------------------------------------------------------------


def test_pushes_of_different_candidates_do_not_add_up() -> None:
    """D3: two servers push one version with X's call, three another: five pushes, and the call is not done."""
    rack = HelpingRack()
    far, near = HelpedDesk(rack, X), HelpedDesk(rack, Z, seed=2)
    ticket = waiting(rack, far, near)
    servers = low(rack)
    (entry,) = rack.servers[servers[0]].pool.objects[A].values()
    add = replace(op("add", b"+"), calls=entry.calls)
    view = now(rack, servers)
    for client, some in ((Y, servers[:2]), (ClientId(b"W" * 16), servers[2:])):
        heard = Line(rack, client).send(view, some, carrying(op("add", b"y"), carried=[(X, add)]))
        assert {each.vote.status for each in heard.values()} == {SUCCESS}
    assert len(far.line.inbox) == 5
    far.hear()
    assert ticket not in far.finished


def test_a_liars_push_does_not_change_an_answer() -> None:
    """B of the q that push say something else: the others are believed, and it gets a strike."""
    rack = HelpingRack()
    far, near = HelpedDesk(rack, X), HelpedDesk(rack, Z, seed=2)
    ticket = waiting(rack, far, near)
    liar = low(rack)[0]

    def lie(frame: bytes) -> bytes:
        number, vote, tail = split(frame, REPLY)
        told = decode_vote(vote)
        if told.status == SUCCESS:
            told = replace(told, answers=(b"vlie",) * len(told.answers))
        return reply_frame(number, encode(told), (tail,))

    far.lies[liar] = lie
    near.run(op("add", b"z"))
    near.deliver()
    far.hear()
    outcome = far.finished[ticket]
    assert isinstance(outcome, Answered)
    assert outcome.answers[0].endswith(b"z")
    (evidence,) = far.session.standing.evidence()
    assert evidence.server == liar


# --- H9: dead or alive ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_confirmed", [False, True])
def test_d5_an_announced_call_is_certainly_dead_only_when_q_servers_say_so(is_confirmed: bool) -> None:
    """D5: pending everywhere, and the deadline comes. Unknown, for it may be carried; unless its withdrawal is
    confirmed, and then nobody can carry it any more.
    """
    rack = HelpingRack()
    far, near = HelpedDesk(rack, X), HelpedDesk(rack, Z, seed=2)
    ticket = waiting(rack, far, near)
    servers = low(rack)
    (entry,) = rack.servers[servers[0]].pool.objects[A].values()
    add = replace(op("add", b"+"), calls=entry.calls)
    far.cuts = lambda server, frame: frame[0] == WITHDRAW and is_confirmed
    outcome = far.finish(ticket)
    assert isinstance(outcome, TimedOut)
    assert (outcome.since is None) == is_confirmed
    far.deliver()
    heard = Line(rack, Y).send(now(rack, servers), servers, carrying(carried=[(X, add)]))
    assert {each.vote.status for each in heard.values()} == ({LACKING} if is_confirmed else {SUCCESS})


def test_a_withdrawal_that_q_servers_have_not_confirmed_proves_nothing() -> None:
    """Q - 1 say so: the others and the liars are r."""
    rack = HelpingRack()
    far, near = HelpedDesk(rack, X), HelpedDesk(rack, Z, seed=2)
    ticket = waiting(rack, far, near)
    silent = low(rack)[:2]
    far.cuts = lambda server, frame: frame[0] == WITHDRAW and server not in silent
    outcome = far.finish(ticket)
    assert isinstance(outcome, TimedOut)
    assert outcome.since is not None


def test_a_call_that_is_given_up_while_its_operation_goes_on_may_be_applied() -> None:
    """Two calls travel together, and no server keeps them. One is over its deadline, and the other's attempt is dead,
    too; but the next one is made with both.
    """
    rack = HelpingRack()
    far, near = HelpedDesk(rack, X), HelpedDesk(rack, Z, seed=2)
    first = waiting(rack, far, near)
    hasty, patient = far.start(op("add", b"1"), timeout_s=1), far.start(op("add", b"2"), timeout_s=60)
    for server in rack.servers:
        server.pool.is_open = False
    near.run(op("add", b"z"))
    near.deliver()
    assert isinstance(far.finish(first), Answered)
    for _ in range(40):
        far.step()
    far.deliver()  # and refused by all
    rack.now_ns += SECOND
    far.wake()
    outcome = far.finished[hasty]
    assert isinstance(outcome, TimedOut)
    far.cuts = lambda server, frame: True
    answer = far.finish(patient)
    assert isinstance(answer, Answered)
    assert b"1" in answer.answers[0]
    assert outcome.since is not None


def test_a_rejection_is_recorded_where_a_refusal_has_announced_the_call() -> None:
    """X has announced before, and its histories are old: servers keep the refused call. Its next attempt is rejected,
    and nobody can have the call applied afterwards.
    """
    rack = HelpingRack()
    far, near = HelpedDesk(rack, X), HelpedDesk(rack, Z, seed=2)
    first = waiting(rack, far, near)
    far.cuts = lambda server, frame: True
    assert isinstance(far.finish(first), Answered)
    rack.now_ns += SECOND
    assert isinstance(near.run(op("add", b"n")), Answered)
    refuse = op("refuse", call_id=b"refused by X 16b")
    answer = far.run(refuse)
    assert isinstance(answer, Answered)
    assert answer.answers[0].startswith(REJECTED)
    assert counted(rack, "helping.announced") > 6
    found = rack.disks[low(rack)[0]].versions(A)
    assert find_answer(found[max(found)], key_of(X, refuse.calls[0])) == answer.answers[0]


def test_a_call_that_is_given_up_by_its_caller_is_withdrawn_at_once() -> None:
    """Nobody waits for the answers, so what became of it is not known; but it does not stay in the pools."""
    rack = HelpingRack()
    far, near = HelpedDesk(rack, X), HelpedDesk(rack, Z, seed=2)
    ticket = waiting(rack, far, near)
    far.cuts = lambda server, frame: True
    far._do(far.session.abandon(rack.now_ns, ticket))
    outcome = far.finished[ticket]
    assert isinstance(outcome, TimedOut)
    assert outcome.since is not None
    far.deliver()
    assert pooled(rack) == [[]] * 6


def test_an_announced_call_is_made_alike_in_every_attempt() -> None:
    """H3: its ``since`` stays as it is, and its own attempts record what they come to."""
    rack = HelpingRack()
    far, near = HelpedDesk(rack, X), HelpedDesk(rack, Z, seed=2)
    ticket = waiting(rack, far, near)
    far.cuts = lambda server, frame: True
    assert isinstance(far.finish(ticket), Answered)
    calls, attempts = set(), []
    for _, frame in far.sent:
        if frame[0] == REQUEST:
            request = decode_request(split(frame, REQUEST)[1], 6)
            if request.operation:
                operation = decode_operation(request)
                attempts.append(operation)
                assert carried_by(operation) == ()
        elif frame[0] == ANNOUNCE:
            calls.add(split(frame, ANNOUNCE)[1])
    assert len(calls) == 1
    assert len({each.calls[0].since for each in attempts[-1:]} | {0}) <= 2
