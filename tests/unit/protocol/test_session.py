"""A client's session: queues, late replies, lost connections, deadlines (PROTOCOL §6)."""

from __future__ import annotations

from random import Random

import pytest

from fivefold.protocol import session as module
from fivefold.protocol.messages import REPLY, Vote, encode, reply_frame, split
from fivefold.protocol.outcomes import Answered, Finished, TimedOut
from fivefold.protocol.quorums import QuorumSystem
from fivefold.protocol.session import QueueFull, Session
from tests.protocol_rig import A, B, Desk, WatchedRack, op

SECOND = 1_000_000_000


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


@pytest.mark.patches_internals
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
    assert actions.finished == (Finished(ticket, TimedOut(None, 0)),)


def test_a_running_call_times_out_with_what_to_resolve_from() -> None:
    """Its request may have been accepted: the outcome is unknown, from logical time 0 on."""
    session = fresh()
    ticket, _ = start(session, A)
    finished = [each for time in range(0, SECOND + 1, SECOND // 20) for each in session.wake(time).finished]
    assert finished == [Finished(ticket, TimedOut(0, 0))]


def test_an_abandoned_call_ends_at_once() -> None:
    """As if its deadline had come; the next one in the queue goes on."""
    session = fresh()
    ticket, _ = start(session, A)
    _, waiting = start(session, A)
    assert waiting.send == ()
    actions = session.abandon(1, ticket)
    assert [each.ticket for each in actions.finished] == [ticket]


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
    assert session.knowledge.order(A)[-1] == order[0]
    session.connected(2, order[0])
    assert session.knowledge.order(B)[-1] == order[0]
    _, actions = start(session, B, now_ns=2)
    assert order[0] in [ask.server for ask in actions.send]


def test_numbers_only_grow() -> None:
    """No frame number is used for two requests, so that a server can refuse what it has seen."""
    session = fresh()
    frames = [ask.frame for name in (A, B) for ask in start(session, name)[1].send]
    numbers = [split(frame, 1)[0] for frame in frames]
    assert numbers == sorted(numbers)
    assert len(set(numbers)) == 2


@pytest.mark.parametrize(
    "frame", [b"", b"\x01" * 20, reply_frame(1, b"\xc1", ()), reply_frame(1, encode(Vote(0, b"", (), b"", (), ())), ())]
)
def test_a_reply_that_cannot_be_read_is_a_strike(frame: bytes) -> None:
    """And the call goes on without that server."""
    session = fresh()
    start(session, A)
    server = QuorumSystem(6, 1, 1).preference(A)[0]
    session.receive(1, server, frame)
    assert [(each.server, each.strikes) for each in session.knowledge.evidence()] == [(server, {"malformed": 1})]


def test_silence_is_answered_by_asking_further_then_everybody_again() -> None:
    """After 50 ms the sixth server, after a second all six again; the silent ones are asked last by the next call."""
    session = fresh()
    _, actions = start(session, A, deadline_ns=10 * SECOND)
    order = QuorumSystem(6, 1, 1).preference(A)
    actions = session.wake(actions.wake_at_ns)
    assert [ask.server for ask in actions.send] == [order[5]]
    while actions.wake_at_ns < SECOND:
        actions = session.wake(actions.wake_at_ns)
        assert not actions.send, "a frame that is merely slow is not sent twice"
    actions = session.wake(actions.wake_at_ns)
    assert sorted(ask.server for ask in actions.send) == list(range(6))
    assert set(session.knowledge.slow) == set(range(6))


def test_a_reply_of_the_wrong_kind_is_no_reply() -> None:
    """A request frame sent to a client is a strike."""
    session = fresh()
    start(session, A)
    session.receive(1, 0, b"\x01" + reply_frame(1, b"", ())[1:])
    assert REPLY == 2
    assert session.knowledge.evidence()[0].server == 0
