"""An exception of our own, at any point of the client's code, ends one operation and harms no other (ours)."""

from __future__ import annotations

import sys
from pathlib import Path
from types import FrameType

import pytest

import fivefold.protocol.client
from fivefold.protocol.client.outcomes import Answered, Delay, Outcome, TimedOut
from fivefold.protocol.messages import FAIL
from tests.protocol_rig import A, B, Desk, WatchedRack, altered, op

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
