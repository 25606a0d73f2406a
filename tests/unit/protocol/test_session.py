"""A client's session: queues, late replies, lost connections, deadlines (PROTOCOL §6)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

import pytest

from fivefold.protocol.client import session as module
from fivefold.protocol.client.alike import KEPT, OTHER
from fivefold.protocol.client.outcomes import Answered, Delay, Finished, TimedOut
from fivefold.protocol.client.queues import QueueFull
from fivefold.protocol.client.rounds import Purpose, Round
from fivefold.protocol.client.session import Session
from fivefold.protocol.history import Entry, encode_history
from fivefold.protocol.limits import PROBE_AFTER_NS, RECONNECTIONS_AT_ONCE, TRIAL_AFTER_NS
from fivefold.protocol.messages import REPLY, Vote, encode, reply_frame, split
from fivefold.protocol.operations import NOT_RUN
from fivefold.protocol.quorums import QuorumSystem
from fivefold.protocol.records import Request
from fivefold.protocol.steps import Missing
from tests.protocol_rig import A, B, C, Desk, WatchedRack, Y, candidate, invocation_of, op

SECOND = 1_000_000_000
MILLISECOND = 1_000_000


def fresh() -> Session:
    return Session(QuorumSystem(6, 1, 1), Random(1))


def start(session: Session, *objects: str, now_ns: int = 0, deadline_ns: int = SECOND):
    return session.call(now_ns, op("add", b"+", *objects), is_query=False, deadline_ns=deadline_ns)


def test_tickets_are_new_for_every_call() -> None:
    """They tell the calls apart when they finish."""
    session = fresh()
    assert len({start(session, f"Reg/{number}")[0] for number in range(5)}) == 5


def test_a_call_goes_to_the_preferred_quorum_at_once() -> None:
    """Five frames, one for each of the first five servers, and an alarm."""
    session = fresh()
    _, actions = start(session, A)
    assert [ask.server for ask in actions.send] == list(QuorumSystem(6, 1, 1).preference(A)[:5])
    assert (session.messages_sent, actions.finished) == (5, ())
    assert actions.wake_at_ns is not None


def test_too_many_waiting_calls_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """With room for two behind the running one, the third that would wait is refused."""
    monkeypatch.setattr(module, "QUEUED_CALLS_MAX", 2)
    session = fresh()
    for _ in range(3):
        start(session, A)
    with pytest.raises(QueueFull):
        start(session, A)


def test_a_waiting_call_times_out_in_its_place() -> None:
    """Its deadline comes while an earlier call runs: nothing of it was sent, nothing can have changed."""
    session = fresh()
    start(session, A, deadline_ns=9 * SECOND)
    ticket, _ = start(session, A, deadline_ns=SECOND)
    actions = session.wake(SECOND)
    assert actions.finished == (Finished(ticket, TimedOut(None, 0, Delay.QUEUE)),)


def test_a_running_call_times_out_with_what_to_resolve_from() -> None:
    """Its request may have been accepted: the outcome is unknown, from logical time 0 on."""
    session = fresh()
    ticket, _ = start(session, A)
    finished = [each for time in range(0, SECOND + 1, SECOND // 20) for each in session.wake(time).finished]
    assert finished == [Finished(ticket, TimedOut(0, 0))]


def test_a_lost_update_is_resolved_from_the_version_it_was_conditioned_on() -> None:
    """Two updates are known: the third, of which nobody answers, can have been applied after them only."""
    rack = WatchedRack()
    desk = Desk(rack)
    assert {type(desk.call("add", b"+")) for _ in range(2)} == {Answered}
    desk.down = set(range(6))
    assert desk.call("add", b"+", timeout_s=1) == TimedOut(2, 0)


def overtaking(desk: Desk) -> Callable[[int, bytes], bool]:
    """Has another client's update done before each request of this one reaches its first server."""
    rival, first = Desk(desk.rack, Y, seed=2), desk.rack.quorums.preference(A)[0]
    return lambda server, frame: server != first or type(rival.call("add", b"y")) is Answered


def test_a_call_that_keeps_losing_is_told_from_one_that_nobody_answers() -> None:
    """Another client's update comes before each of its requests: all servers are well, and the call never gets in."""
    desk = Desk(WatchedRack())
    desk.cuts = overtaking(desk)
    outcome = desk.call("add", b"x", timeout_s=0.5)
    assert isinstance(outcome, TimedOut)
    assert outcome.delay is Delay.CONTENTION


def test_a_call_that_lost_and_then_got_no_answers_is_delayed_by_silence() -> None:
    """Two servers go down while it contends: to call again helps nobody, to start the servers does."""
    desk = Desk(WatchedRack())
    overtake = overtaking(desk)
    desk.cuts = lambda server, frame: desk.rack.now_ns < SECOND // 4 and overtake(server, frame)
    outcome = desk.call("add", b"x", timeout_s=5)
    assert isinstance(outcome, TimedOut)
    assert outcome.delay is Delay.SILENCE


def test_an_abandoned_call_ends_at_once() -> None:
    """As if its deadline had come; the next one in the queue goes on."""
    session = fresh()
    ticket, _ = start(session, A)
    _, waiting = start(session, A)
    assert waiting.send == ()
    actions = session.abandon(1, ticket)
    assert [each.ticket for each in actions.finished] == [ticket]


def test_only_the_call_that_is_abandoned_ends() -> None:
    """Calls on other objects, and those that wait behind it, go on; a ticket that nobody waits for ends nothing."""
    session = fresh()
    running = [start(session, name)[0] for name in (A, B)]
    waiting = [start(session, A)[0] for _ in range(2)]
    assert [each.ticket for each in session.abandon(1, running[1]).finished] == [running[1]]
    assert session.abandon(1, running[1]).finished == ()
    assert session.abandon(1, 99).finished == ()
    assert [each.ticket for each in session.abandon(1, waiting[0]).finished] == [waiting[0]]
    assert [each.ticket for each in session.abandon(1, running[0]).finished] == [running[0]]
    assert [each.ticket for each in session.abandon(1, waiting[1]).finished] == [waiting[1]]


def test_a_reply_to_a_round_that_is_over_changes_nothing() -> None:
    """Late or repeated, it is dropped."""
    rack = WatchedRack()
    desk = Desk(rack)
    late: list[tuple[int, bytes]] = []

    def keep(server: int):
        def lie(frame: bytes) -> bytes:
            late.append((server, frame))
            return frame

        return lie

    desk.lies = {server: keep(server) for server in range(6)}
    assert isinstance(desk.call("add", b"+"), Answered)
    for server, frame in late:
        actions = desk.session.receive(rack.now_ns, server, frame)
        assert (actions.send, actions.finished) == ((), ())


def test_what_is_over_leaves_no_alarm() -> None:
    """A timer for each call that came back in time would wake the client as often as it calls."""
    desk = Desk(WatchedRack())
    assert isinstance(desk.call("add", b"+"), Answered)
    assert desk.session.receive(0, 0, b"").wake_at_ns is None


def test_a_call_that_outlives_others_is_woken_in_its_time() -> None:
    """The alarm of a call that is over serves the next one to set its own."""
    session = fresh()
    ticket, actions = start(session, A)
    assert actions.wake_at_ns == 50_000_000
    assert start(session, B, now_ns=1_000_000)[1].wake_at_ns == 50_000_000
    session.abandon(2_000_000, ticket)
    actions = session.wake(50_000_000)
    assert (actions.send, actions.wake_at_ns) == ((), 51_000_000)
    assert len(session.wake(51_000_000).send) == 1


def test_one_server_cannot_vote_for_another() -> None:
    """A reply counts for the connection it came on, once: five copies from one server are one vote."""
    rack = WatchedRack()
    desk = Desk(rack)
    ticket = desk.start(op("add", b"+"))
    ask = desk.pending[0]
    frame = rack.deliver(ask.server, desk.client, ask.frame)
    for _ in range(5):
        desk._take(desk.session.receive(0, ask.server, frame))
    assert ticket not in desk.finished


def test_a_lost_connection_is_not_waited_for() -> None:
    """The sixth server is asked at once, without a timer; the lost one is tried again with the next operation."""
    session = fresh()
    start(session, A)
    order = QuorumSystem(6, 1, 1).preference(A)
    actions = session.disconnected(1, order[0])
    assert [ask.server for ask in actions.send] == [order[5]]
    assert session.standing.order(A, QuorumSystem(6, 1, 1).preference(A))[-1] == order[0]
    session.connected(2, order[0])
    assert session.standing.order(B, QuorumSystem(6, 1, 1).preference(B))[-1] == order[0]
    _, actions = start(session, B, now_ns=2)
    assert order[0] in [ask.server for ask in actions.send]


def test_numbers_only_grow() -> None:
    """No frame number is used for two requests, so that a server can refuse what it has seen."""
    session = fresh()
    frames = [ask.frame for name in (A, B) for ask in start(session, name)[1].send]
    numbers = [split(frame, 1)[0] for frame in frames]
    assert numbers == sorted(numbers)
    assert len(set(numbers)) == 2


UNREADABLE = reply_frame(1, encode(Vote(0, b"", (), b"", (), ())), ())


@pytest.mark.parametrize("frame", [b"", b"\x01" * 20, reply_frame(1, b"\xc1", ()), UNREADABLE[:-1]])
def test_a_reply_that_cannot_be_read_is_a_strike(frame: bytes) -> None:
    """And the call goes on without that server."""
    session = fresh()
    start(session, A)
    server = QuorumSystem(6, 1, 1).preference(A)[0]
    session.receive(1, server, frame)
    assert [(each.server, each.strikes) for each in session.knowledge.evidence()] == [(server, {"malformed": 1})]


def woken(session: Session, server: int) -> None:
    session.wake(SECOND // 2)


def lost(session: Session, server: int) -> None:
    session.disconnected(2, server)


def back(session: Session, server: int) -> None:
    session.connected(2, server)


def told_otherwise(session: Session, server: int) -> None:
    session.receive(2, (server + 1) % 6, reply_frame(1, encode(Vote(3, b"", (b"xBusy: later",), b"", (), ())), ()))


def told_again(session: Session, server: int) -> None:
    session.receive(2, server, UNREADABLE)


@pytest.mark.parametrize("event", [woken, lost, back, told_otherwise, told_again])
def test_what_is_held_is_looked_at_when_anything_else_happens(event: Callable[[Session, int], None]) -> None:
    """A first reply that looks like SUCCESS is kept unread; what is wrong with it comes out as soon as it matters."""
    session = fresh()
    start(session, A)
    server = QuorumSystem(6, 1, 1).preference(A)[0]
    session.receive(1, server, UNREADABLE)
    assert not session.knowledge.evidence()
    event(session, server)
    (found,) = [each for each in session.knowledge.evidence() if each.server == server]
    assert found.strikes["malformed"] == 1 + (event is told_again)


def test_only_an_operation_s_replies_are_held() -> None:
    """What follows from a repair or a refresh is for the classification to say."""
    frame = reply_frame(1, encode(Vote(0, b"", (), b"", (), ())), ())
    for purpose in Purpose:
        round_ = Round(0, purpose, Request(A, (), b""), b"", q=2, servers=(0, 1))
        assert round_.alike.take(0, frame) == (KEPT if purpose is Purpose.OPERATION else OTHER)


def test_of_a_single_server_the_first_reply_ends_the_call() -> None:
    """Nobody else is there whose replies it could be held against."""
    session = Session(QuorumSystem(1, 0, 0), Random(1))
    start(session, A)
    assert session.receive(1, 0, accepted(b"v")).finished == (Finished(1, Answered((b"v",))),)


def accepted(answer: bytes) -> bytes:
    made = candidate(1, A)
    history = encode_history((Entry(made, False),))
    vote = encode(Vote(0, made.timestamp, (answer,), b"d" * 32, (history,), ()))
    return reply_frame(1, vote, (bytes(16),))


def test_a_call_that_was_not_run_is_sent_again() -> None:
    """By itself, too: whoever says so of the only call of an operation has not done it either."""
    session = Session(QuorumSystem(1, 0, 0), Random(1))
    start(session, A)
    actions = session.receive(1, 0, accepted(NOT_RUN))
    assert not actions.finished
    assert len(actions.send) == 1


def hear(session: Session, now_ns: int, servers: Sequence[int]) -> None:
    """These servers answer a call that nobody waits for any more."""
    for server in servers:
        session.receive(now_ns, server, reply_frame(99, b"", ()))


def test_servers_that_answer_others_are_busy_and_not_silent() -> None:
    """Rounds take 100 ms by now: a further server is asked after four times that, as by calls that begin now."""
    session = fresh()
    _, actions = start(session, A, deadline_ns=10 * SECOND)
    asked = [ask.server for ask in actions.send]
    hear(session, actions.wake_at_ns - 1, asked)
    session.knowledge.note_round_trip(100 * MILLISECOND)
    actions = session.wake(actions.wake_at_ns)
    assert (actions.send, actions.wake_at_ns) == ((), 400 * MILLISECOND)
    assert not session.standing.slow
    assert len(session.wake(actions.wake_at_ns).send) == 1


def test_a_server_that_answers_nobody_is_silent_however_long_rounds_take() -> None:
    """It is passed by as soon as if all were quick: what others take says nothing of it."""
    session = fresh()
    _, actions = start(session, A, deadline_ns=10 * SECOND)
    asked = [ask.server for ask in actions.send]
    hear(session, actions.wake_at_ns - 1, asked[1:])
    session.knowledge.note_round_trip(100 * MILLISECOND)
    assert len(session.wake(actions.wake_at_ns).send) == 1
    assert set(session.standing.slow) >= {asked[0]}


def test_silence_is_answered_by_asking_further_then_everybody_again() -> None:
    """After 50 ms the sixth server, after a second all six again; the silent ones are asked last by the next call."""
    session = fresh()
    _, actions = start(session, A, deadline_ns=10 * SECOND)
    order = QuorumSystem(6, 1, 1).preference(A)
    actions = session.wake(actions.wake_at_ns)
    assert [ask.server for ask in actions.send] == [order[5]]
    assert session.standing.slow == dict.fromkeys(order[:5], PROBE_AFTER_NS + TRIAL_AFTER_NS)
    while actions.wake_at_ns < SECOND:
        actions = session.wake(actions.wake_at_ns)
        assert not actions.send, "a frame that is merely slow is not sent twice"
    actions = session.wake(actions.wake_at_ns)
    assert sorted(ask.server for ask in actions.send) == list(range(6))
    assert set(session.standing.slow) == set(range(6))


def test_a_server_that_has_answered_may_go() -> None:
    """Nobody is asked in its place, and it is not asked again when it is back; one that has not answered is."""
    session = fresh()
    start(session, A)
    answered, silent, *_, sixth = QuorumSystem(6, 1, 1).preference(A)
    session.receive(1, answered, accepted(b"v"))
    assert session.disconnected(2, answered).send == session.connected(3, answered).send == ()
    assert [ask.server for ask in session.disconnected(4, silent).send] == [sixth]
    assert [ask.server for ask in session.connected(5, silent).send] == [silent]


def test_a_connection_that_comes_and_goes_multiplies_no_requests() -> None:
    """RECONNECTIONS_AT_ONCE times the request goes again to a server that has not answered it, then no more."""
    session = fresh()
    start(session, A)
    server = QuorumSystem(6, 1, 1).preference(A)[0]
    again = 0
    for time in range(1, 2 * RECONNECTIONS_AT_ONCE):
        session.disconnected(time, server)
        again += len(session.connected(time, server).send)
    assert again == RECONNECTIONS_AT_ONCE


@pytest.mark.parametrize(("count", "left"), [(59, 63), (60, 64), (61, 4)])
def test_a_repair_that_grows_too_wide_begins_anew(count: int, left: int) -> None:
    """Sixty-four objects are judged at most: beyond that, those of the candidate at hand alone."""
    session = fresh()
    ticket, _ = start(session, A)
    invocation = invocation_of(session, ticket)
    invocation._evidence = tuple(f"Reg/{number:02}" for number in range(count))
    invocation._extend(1, Missing((A, B, C, "Reg/d")))
    assert len(invocation._evidence) == left
    assert {A, B, C, "Reg/d"} <= set(invocation._evidence)


def test_a_reply_of_the_wrong_kind_is_no_reply() -> None:
    """A request frame sent to a client is a strike."""
    session = fresh()
    start(session, A)
    session.receive(1, 0, b"\x01" + reply_frame(1, b"", ())[1:])
    assert REPLY == 2
    assert session.knowledge.evidence()[0].server == 0
