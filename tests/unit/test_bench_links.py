"""Clients at a distance: frames and events travel for a while, in their order."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fivefold.bench import links
from fivefold.bench.links import Delayed


class Loop:
    """An event loop whose time stands still until it is told to pass."""

    def __init__(self) -> None:
        self.now = 0.0
        self.due: list[tuple[float, Callable[..., object], tuple[object, ...]]] = []

    def call_later(self, delay: float, act: Callable[..., object], *arguments: object) -> None:
        self.due.append((self.now + delay, act, arguments))

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        ready = [each for each in self.due if each[0] <= self.now]
        self.due = [each for each in self.due if each[0] > self.now]
        for _, act, arguments in ready:
            act(*arguments)


class Wire:
    """A transport with one link, which keeps what is sent."""

    listen = None

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.server, self.is_up, self.is_refused, self.failure, self.dropped = 3, True, False, None, 0

    def link(self, server, *, on_frames, on_up, on_down):
        self.on_frames, self.on_up, self.on_down = on_frames, on_up, on_down
        return self

    def send(self, frame: bytes) -> bool:
        self.sent.append(frame)
        return True


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> Loop:
    made = Loop()
    monkeypatch.setattr(links.asyncio, "get_running_loop", lambda: made)
    return made


def test_frames_and_events_arrive_late_and_in_their_order(loop: Loop) -> None:
    """One way takes half a second in each direction: nothing comes sooner, and nothing overtakes."""
    wire, heard = Wire(), []
    link = Delayed(wire, 0.5).link(3, on_frames=heard.extend, on_up=lambda: heard.append("up"), on_down=lambda: None)
    wire.on_up()
    assert (link.send(b"a"), link.send(b"b")) == (True, True)
    loop.sleep(0.4)
    wire.on_frames([b"x", b"y"])
    assert (wire.sent, heard) == ([], [])
    loop.sleep(0.1)
    assert (wire.sent, heard) == ([b"a", b"b"], ["up"])
    loop.sleep(0.4)
    assert heard == ["up", b"x", b"y"]


def test_what_is_sent_over_a_link_that_is_down_is_dropped_at_once(loop: Loop) -> None:
    """The caller hears so, as from a link that is near; the rest is the inner link's."""
    wire = Wire()
    link = Delayed(wire, 0.5).link(3, on_frames=len, on_up=lambda: None, on_down=lambda: None)
    wire.is_up = False
    assert not link.send(b"a")
    loop.sleep(1)
    assert wire.sent == []
    link.dropped = 2
    assert (link.server, link.is_up, link.failure, link.is_refused, wire.dropped) == (3, False, None, False, 2)
