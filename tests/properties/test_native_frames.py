"""Native code on frames, valid and spoilt: it takes what is ordinary, and makes of it what Python makes of it."""

from __future__ import annotations

import pytest

from fivefold.native import native
from fivefold.protocol import limits
from fivefold.protocol.actions import Channel
from tests.native_rig import NAME, Twins, run_twins
from tests.protocol_rig import X, Y

pytestmark = pytest.mark.skipif(native is None, reason="fivefold-native is not installed")

BUGS = (
    *("trailing", "smuggled", "twice", "ring", "forgotten", "capacity", "quorum", "history", "proof", "half"),
    *("operation", "sets", "stopped", "unchanged", "prune", "base", "reused", "state"),
)
"""Those of the server's half; see native/src/planted.rs."""


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_both_ways_come_to_the_same(seed: int) -> None:
    """Of 260 random operations and three times as many spoilt frames, nothing is decided otherwise."""
    assert run_twins(seed) > 240


@pytest.mark.skipif(native is None or not native.IS_PLANTED, reason="this build has no bugs on purpose")
@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_seen(bug: str) -> None:
    """Each rule that native code follows is needed: without it, the two ways differ."""
    assert native is not None
    native.plant(bug)
    try:
        with pytest.raises((AssertionError, native.Panicked)):
            sum(map(run_twins, range(4)))
    finally:
        native.plant("")


def test_the_limits_are_the_same() -> None:
    """What is bounded in Python is bounded by the same in native code."""
    assert native is not None
    assert {name: getattr(limits, name) for name, _ in native.LIMITS} == dict(native.LIMITS)


def after_two_updates() -> Twins:
    twins = Twins(1)
    for _ in range(2):
        twins.number += 1
        twins.deliver(X, twins.draw(X))
    return twins


def test_a_frame_that_native_code_took_is_refused_when_it_comes_again() -> None:
    """Numbers are shared: what one way has worked on the other takes for a repetition."""
    twins = after_two_updates()
    server, twins.number = twins.servers[0], 3
    frame = twins.frame(0, twins.draw(Y))
    taken = [server.receive_from_client(0, Y, Channel(1), frame) for _ in range(2)]
    assert [len(each.send) for each in taken] == [1, 0]
    assert server.counters["rejected.replayed"] == 1
    assert not server._take_natively(0, Y, Channel(1), frame)


def test_a_difference_is_told_and_ends_the_use_of_native_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """A judge that sees another reply keeps Python's, says which frame it was, and asks native code no more."""
    twins = after_two_updates()
    server, natively = twins.servers[0], twins.natively
    natively.judge_every = 1
    twins.number = 3
    frame = twins.frame(0, twins.draw(Y))
    expected = natively._work_out(Y, frame)
    honest = natively._requests
    monkeypatch.setattr(natively, "_requests", Tampered(honest))
    actions = server.receive_from_client(0, Y, Channel(1), frame)
    assert [each.frame for each in actions.send] == [expected[-1]]
    assert [frame.hex() in str(fault.error) for fault in actions.faults] == [True]
    assert server.counters["native.differed"] == 1
    assert not natively.is_trusted
    assert server.natively is natively
    assert NAME in server._replicas.hot


def test_a_judge_that_sees_no_difference_changes_nothing() -> None:
    """With a judge for every request, all is as it was."""
    twins = Twins(5)
    twins.natively.judge_every = 1
    for _ in range(20):
        twins.step()
    assert twins.natively.is_trusted
    assert twins.servers[0].counters["native.differed"] == 0


def test_a_panic_ends_one_request_in_native_code_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is counted and told; Python then answers the request, and the next one is native code's again."""
    twins = after_two_updates()
    server, natively = twins.servers[0], twins.natively
    twins.number = 3
    monkeypatch.setattr(natively, "_requests", Panicking(natively._requests))
    actions = server.receive_from_client(0, Y, Channel(1), twins.frame(0, twins.draw(Y)))
    assert len(actions.send) == 1
    assert server.counters["native.panicked"] == 1
    assert natively.is_trusted


class Tampered:
    """Native code that replies something else."""

    def __init__(self, honest: object) -> None:
        self._honest = honest

    def decide(self, *arguments: object) -> object:
        found = self._honest.decide(*arguments)
        return (*found[:-1], found[-1] + b"\0")


class Panicking:
    """Native code that fails after it has noted the request's number."""

    def __init__(self, honest: object) -> None:
        self._honest = honest

    def decide(self, *arguments: object) -> object:
        self._honest.decide(*arguments)
        assert native is not None
        raise native.Panicked("on purpose")
