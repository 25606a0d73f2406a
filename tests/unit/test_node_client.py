"""How a client starts."""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from fivefold import CallerError, Unavailable
from fivefold.node import ClientNode
from fivefold.node.client import LAST_SERVERS_S
from fivefold.protocol.client.session import Session
from fivefold.protocol.operations import Call, Operation
from fivefold.protocol.quorums import QuorumSystem


class SlowLink:
    """Is up so many seconds after its start; never, if None."""

    failure = None
    is_refused = False

    def __init__(self, server: int, delay_s: float | None, on_up) -> None:
        self.server, self.is_up = server, False
        self._delay_s, self._on_up = delay_s, on_up

    def start(self) -> None:
        if self._delay_s is not None:
            asyncio.get_running_loop().call_later(self._delay_s, self._up)

    def _up(self) -> None:
        self.is_up = True
        self._on_up()

    def send(self, frame: bytes) -> bool:
        return self.is_up

    async def close(self) -> None:
        self.is_up = False


class SlowTransport:
    """Makes links with these delays, by server."""

    def __init__(self, *delays_s: float | None) -> None:
        self._delays_s = delays_s

    def link(self, server: int, *, on_frames, on_up, on_down) -> SlowLink:
        return SlowLink(server, self._delays_s[server], on_up)


def client(*delays_s: float | None) -> ClientNode:
    return ClientNode(Session(QuorumSystem(6, 1, 1), Random(0)), SlowTransport(*delays_s))


async def test_the_last_server_has_a_moment_to_connect() -> None:
    """Who is up a moment after the quorum is there for the first call, so that all clients ask the same servers."""
    node = client(0, 0, 0, 0, 0, LAST_SERVERS_S / 5)
    await node.start(60)
    assert node.servers_up == [True] * 6
    await node.close()


async def test_a_server_that_is_down_is_not_waited_for() -> None:
    """A quorum is enough."""
    node = client(0, None, 0, 0, 0, 0)
    await node.start(60)
    assert node.servers_up == [True, False, True, True, True, True]
    await node.close()


async def test_too_few_servers_are_told_by_their_reasons() -> None:
    """Servers with the same reason are named together."""
    with pytest.raises(Unavailable, match=r"only 4 of the 5 servers needed .* \(servers 1, 4: silent\)"):
        await client(0, None, 0, 0, None, 0).start(0.1)


async def test_refusals_by_too_many_servers_are_told_at_once() -> None:
    """Two of six leave no quorum of five: nobody waits for the end of the time. One of six does."""
    node = client(None, None, 0, 0, 0, 0)
    start = asyncio.get_running_loop().create_task(node.start(60))
    await asyncio.sleep(0)
    node._links[0].is_refused = True
    node._links[0].failure = node._links[1].failure = "this identity has 32 connections to it already: close some"
    await asyncio.sleep(0.05)
    assert not start.done()
    node._links[1].is_refused = True
    with pytest.raises(Unavailable, match=r"^2 of the 6 servers refuse .* 5 are needed \(servers 0, 1: this identity"):
        await asyncio.wait_for(start, 5)


async def test_a_call_after_the_end_is_refused_at_once() -> None:
    """No timer would ever end it, so it must not be begun."""
    node = client(*[0] * 6)
    await node.start(60)
    await node.close()
    with pytest.raises(CallerError, match="closed and nothing was changed"):
        node.call(Operation(("Counter/a",), (Call(b"0" * 16, 0, "get", b""),)), is_query=True, deadline_s=60)


async def test_a_start_that_is_cancelled_leaves_no_links_behind() -> None:
    """Whoever gives up on a connection has nothing to close, so the start does it."""
    node = client(0, 0, None, None, None, None)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await node.start(60)
    assert node.servers_up == [False] * 6


async def test_the_last_of_a_quorum_may_come_with_the_end_of_the_time() -> None:
    """It comes up in the very turn in which time is up: connect goes on, and never says "6 of the 5 servers needed"."""
    node = client(0, 0, 0, 0, None, None)

    def late() -> None:
        node._links[4].is_up = True  # without a word: as if the word and the end of the time came in one turn

    asyncio.get_running_loop().call_later(0.04, late)
    await node.start(0.05)
    assert sum(node.servers_up) == 5
    await node.close()


async def test_a_server_that_cannot_be_reached_is_not_asked() -> None:
    """Its status is None at once; a link that was not tried yet is waited for, and so is an answer, within the time."""
    node = client(0, None, None, 0, 0, 0)
    await node.start(0.1, needs_quorum=False)
    node._links[1].failure = "Connection refused"
    began = asyncio.get_running_loop().time()
    assert await node.status(1, 60) is None
    assert asyncio.get_running_loop().time() - began < 10
    assert await node.status(2, 0.05) is None
    assert await node.status(3, 0.05) is None  # it is up, and silent
    await node.close()
