"""An exception of our own, at any point of the client's code, ends one operation and harms no other (ours)."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import pytest

import fivefold.protocol.client
from fivefold.protocol.client.outcomes import Answered, Delay, Outcome, TimedOut
from fivefold.protocol.messages import FAIL
from tests.protocol_rig import A, B, Desk, WatchedRack, altered, op
from tests.scenarios.test_client_rules import spoiled
from tests.scenarios.test_following import announce, deliver_all, edition

OURS = str(Path(fivefold.protocol.client.__file__).parent)


class Scene:
    """Three updates of one client, two of them of one object, and an exception at the so-many-th call of a function."""

    def __init__(self, number: int, *, is_lied_to: bool) -> None:
        self.desk = Desk(WatchedRack())
        if is_lied_to:  # then replies are looked at one by one
            liar = self.desk.rack.quorums.preference(A)[0]
            self.desk.lies[liar] = altered(status=FAIL, answers=(), candidate=b"", version_digest=b"")
        self.where, self.escaped = "", 0
        self._left = number

    def run(self) -> list[Outcome]:
        """All of it; the outcomes."""
        desk = self.desk
        desk.call("add", b"1", A)
        tickets = [desk.start(op("add", b"+", A)), desk.start(op("add", b"+", B)), desk.start(op("add", b"!", A))]
        sys.setprofile(self._see)
        try:
            for _ in range(1000):
                if all(ticket in desk.finished for ticket in tickets):
                    break
                self._step()
        finally:
            sys.setprofile(None)
        assert all(ticket in desk.finished for ticket in tickets), (
            f"a call never ends after an exception in {self.where}"
        )
        return [desk.finished.pop(ticket) for ticket in tickets]

    def _step(self) -> None:
        try:
            self.desk.step()
        except MemoryError:  # a driver has the session go on a while later
            self.escaped += 1
            self.desk._take(self.desk.session.wake(self.desk.rack.now_ns))

    def _see(self, frame: FrameType, event: str, argument: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(OURS) and code.co_name != "<genexpr>":
            self._left -= 1
            if self._left < 0 and not self.where:
                sys.setprofile(None)
                self.where = code.co_qualname
                raise MemoryError


@pytest.mark.slow
@pytest.mark.parametrize("is_lied_to", [False, pytest.param(True, marks=[pytest.mark.long, pytest.mark.ci])])
def test_an_exception_anywhere_ends_one_operation_at_most(is_lied_to: bool) -> None:
    """The others are answered, nothing is left under way, and the next call on each object is done."""
    number = 0
    while True:
        scene = Scene(number, is_lied_to=is_lied_to)
        outcomes = scene.run()
        if not scene.where:
            break
        failed = [each for each in outcomes if not isinstance(each, Answered)]
        assert len(failed) <= 1, f"{outcomes} after an exception in {scene.where}"
        for each in failed:
            assert isinstance(each, TimedOut), scene.where
            assert each.delay in (Delay.ERROR, Delay.SILENCE), scene.where
        session = scene.desk.session
        assert (len(session._running), len(session._rounds), len(session._waiting)) == (0, 0, 0), scene.where
        assert isinstance(scene.desk.call("add", b"2", A), Answered), scene.where
        assert isinstance(scene.desk.call("add", b"2", B), Answered), scene.where
        for outcome, argument, name in zip(outcomes, (b"+", b"+", b"!"), (A, B, A), strict=True):
            value = scene.desk.call("get", b"", name)
            assert isinstance(value, Answered)
            is_unchanged = isinstance(outcome, TimedOut) and outcome.since is None
            assert value.answers[0].count(argument) <= (0 if is_unchanged else 1), scene.where
        number += 1
    assert number > 50


def test_what_an_error_of_the_client_ended_may_be_applied() -> None:
    """Its caller is told from when to resolve it, and the driver what it was."""
    desk = Desk(WatchedRack())
    desk.call("add", b"1", A)
    ticket = desk.start(op("add", b"+", A))
    invocation = next(iter(desk.session._running.values()))
    desk.session._fail(desk.rack.now_ns, invocation, MemoryError())
    actions = desk.session.wake(desk.rack.now_ns)
    assert [(each.ticket, each.outcome) for each in actions.finished] == [
        (ticket, TimedOut(1, 0, Delay.ERROR, "MemoryError"))
    ]
    assert [type(fault) for fault in actions.faults] == [MemoryError]
    assert desk.session.wake(desk.rack.now_ns).faults == ()


def raises_at(number: int, act: Callable[[], object]) -> bool:
    """Do it, with an exception at the so-many-th call of a function of the client; False if there are fewer calls."""
    left = number

    def see(frame: FrameType, event: str, argument: object) -> None:
        nonlocal left
        if event == "call" and frame.f_code.co_filename.startswith(OURS) and frame.f_code.co_name != "<genexpr>":
            left -= 1
            if left < 0:
                sys.setprofile(None)
                raise MemoryError

    sys.setprofile(see)
    try:
        act()
    except MemoryError:
        pass
    finally:
        sys.setprofile(None)
    return left < 0


def test_the_end_of_a_connection_that_an_exception_hid_is_made_up_for() -> None:
    """An excluded server is started again with the right keys: over its new connection nothing speaks against it."""
    number = 0
    while True:
        desk = Desk(WatchedRack())
        liar = desk.rack.quorums.preference(A)[0]
        desk._take(desk.session.connected(desk.rack.now_ns, liar))
        desk.lies[liar] = spoiled(desk.rack, *range(6))
        for _ in range(3):
            assert isinstance(desk.call("add", b"+"), Answered)
        assert desk.session.standing.is_excluded(liar)
        ticket = desk.start(op("add", b"+", B))
        has_raised = raises_at(number, lambda d=desk, s=liar: d._take(d.session.disconnected(d.rack.now_ns, s)))
        desk.lies = {}
        desk._take(desk.session.connected(desk.rack.now_ns, liar))
        assert not desk.session.standing.is_excluded(liar), number
        assert not any(desk.session.knowledge.of(A).authenticators[liar]), number
        desk.finish(ticket)
        for _ in range(5):
            assert isinstance(desk.call("add", b"+"), Answered)
        assert not desk.session.standing.is_doubted(liar), number
        if not has_raised:
            break
        number += 1
    assert number > 5


def test_a_switch_that_raises_may_be_made_again() -> None:
    """A call under way begins anew, another that an exception ends harms nobody, and the old identity is forgotten."""
    number = 0
    while True:
        desk = Desk(WatchedRack())
        old, first, second, *_ = desk.rack.quorums.preference(A)
        for _ in range(5):
            desk.session.standing.strike(old, "malformed")
        desk.call("add", b"0")
        announce(desk, [first, second], edition(2, 6, old))
        desk.down = {old}
        tickets = [desk.start(op("add", b"+", name)) for name in (A, B)]
        deliver_all(desk)
        new = edition(2, 6, old)
        has_raised = raises_at(number, lambda d=desk, e=new: d._take(d.session.switch(d.rack.now_ns, e)))
        if desk.session.knowledge.following.edition != new:
            desk._take(desk.session.switch(desk.rack.now_ns, new))
        assert not desk.session.standing.is_suspected(old), number
        desk._take(desk.session.wake(desk.rack.now_ns))
        desk.down = set()
        outcomes = [desk.finish(ticket) for ticket in tickets]
        assert sum(not isinstance(each, Answered) for each in outcomes) <= has_raised, (number, outcomes)
        if not has_raised:
            break
        number += 1 if number < 30 else 13  # a second's worth of all places
    assert number > 100


def test_a_late_reply_that_raises_holds_no_other_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """What came behind it is worked on, and the driver hears of the exception."""
    desk = Desk(WatchedRack())
    ticket = desk.start(op("add", b"+"))
    frames = [(ask.server, desk.rack.deliver(ask.server, desk.client, ask.frame)) for ask in desk.pending]

    def strike(server: int, kind: str) -> None:
        raise MemoryError(kind)

    monkeypatch.setattr(desk.session.standing, "strike", strike)
    faults: list[Exception] = []
    for server, frame in frames:
        assert frame is not None
        actions = desk.session.receive(desk.rack.now_ns, server, b"no reply at all", frame)
        faults += actions.faults
        desk._take(actions)
    assert list(map(str, faults)) == ["malformed"] * 5
    assert isinstance(desk.finished[ticket], Answered)
