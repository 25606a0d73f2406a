"""PROTOCOL §6: b + 1 servers are believed, in what they answer and in what they decline."""

from __future__ import annotations

import pytest

from fivefold.protocol.client.outcomes import Answered, Delay, Disagreed, Refused, TimedOut
from fivefold.protocol.messages import DECLINED, FAIL, REPLY, decode_vote, split
from fivefold.protocol.operations import REFUSED
from tests.protocol_rig import A, Desk, Lie, WatchedRack, Y, altered, cancel, op


def saying(rack: WatchedRack, *answers: bytes) -> Desk:
    """A client to whom the servers, in the order in which it tries them, answer so; those left over are down."""
    desk = Desk(rack)
    order = rack.quorums.preference(A)
    desk.lies = {server: altered(answers=(b"v" + answer,)) for server, answer in zip(order, answers, strict=False)}
    desk.down = set(order[len(answers) :])
    return desk


@pytest.mark.parametrize(
    ("answers", "outcome"),
    [
        ((b"1", b"2", b"3", b"4", b"5"), Disagreed("add", True)),
        ((b"1", b"1", b"2", b"3", b"4"), Disagreed("add", True)),
        ((b"1", b"1", b"1", b"2", b"3"), Disagreed("add", True)),
        ((b"1", b"1", b"2", b"2", b"3"), Disagreed("add", True)),
        ((b"1", b"1", b"1", b"2", b"2"), Disagreed("add", True)),
        ((b"1", b"1", b"1", b"1", b"2"), Answered((b"v1",))),
    ],
)
def test_answers_count_unless_more_than_b_differ_from_them(answers: tuple, outcome: object) -> None:
    """One server may lie. Two that differ from the others, alike or not, may not: the method is not deterministic."""
    assert saying(WatchedRack(), *answers).call("add", b"+") == outcome


def test_when_all_have_answered_nobody_is_waited_for() -> None:
    """Six servers, six answers: that is reported at once."""
    rack = WatchedRack()
    started_ns = rack.now_ns
    assert saying(rack, b"1", b"2", b"3", b"4", b"5", b"6").call("add", b"+") == Disagreed("add", True)
    assert rack.now_ns == started_ns


@pytest.mark.parametrize(("was_applied", "outcome"), [(True, Disagreed("", None)), (False, Disagreed("", True))])
def test_a_resolve_of_which_servers_differ_does_not_say_that_nothing_was_changed(
    was_applied: bool, outcome: object
) -> None:
    """Rolling seed 268: every ring held the call, so its resolve changed nothing. That was told of the call itself."""
    rack, lost = WatchedRack(), b"lost call id 16b"
    if was_applied:
        assert Desk(rack).run(op("add", b"+", call_id=lost)) == Answered((b"v",))
    desk = saying(rack, b"1", b"2", b"3", b"4", b"5", b"6")
    assert desk.run(cancel(lost, 0), is_fixed=True) == outcome


UNKNOWN = TimedOut(0, 5, Delay.REFUSAL, "no")


@pytest.mark.parametrize(
    ("count", "outcome"), [(1, Answered((b"v",))), (2, UNKNOWN), (3, UNKNOWN), (4, Refused("no")), (5, Refused("no"))]
)
def test_servers_that_decline_end_a_call(count: int, outcome: object) -> None:
    """One may lie, and is made up for; of two that say the same one is honest, but only for itself.

    With a liar's help, what two others have accepted may still be repaired.
    """
    rack = WatchedRack()
    desk = Desk(rack)
    no = altered(status=DECLINED, answers=(REFUSED + b"no",), histories=())
    desk.lies = dict.fromkeys(rack.quorums.preference(A)[:count], no)
    assert desk.call("add", b"+") == outcome


@pytest.mark.parametrize(("count", "answer", "rounds"), [(1, b"v+", 2), (2, b"vtold", 1), (3, b"vtold", 1)])
def test_b_1_servers_that_refuse_answer_a_query(count: int, answer: bytes, rounds: int) -> None:
    """All refuse a query as stale, and so many answer it all the same, alike: one of them may lie."""
    rack = WatchedRack()
    desk = Desk(rack)
    desk.call("get")
    Desk(rack, Y).call("add", b"+")
    desk.sent.clear()

    def telling(*answers: bytes) -> Lie:
        refused = altered(answers=answers)
        return lambda frame: refused(frame) if decode_vote(split(frame, REPLY)[1]).status == FAIL else frame

    order = rack.quorums.preference(A)
    desk.lies = dict.fromkeys(order[:count], telling(b"vtold")) | dict.fromkeys(order[count:], telling())
    assert desk.call("get") == Answered((answer,))
    assert len(desk.sent) == 5 * rounds
