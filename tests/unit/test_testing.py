"""``fivefold.testing``: what users' own test suites use."""

from __future__ import annotations

import asyncio
import signal
import time
from types import SimpleNamespace

import pytest

from fivefold import (
    NOT_APPLIED,
    ConfigurationError,
    Counter,
    Object,
    ObjectError,
    OutcomeUnknown,
    Unavailable,
    Upgrading,
    migrate,
    query,
    update,
)
from fivefold.testing import local_cluster
from fivefold.testing.pytest_plugin import fivefold_cluster  # noqa: F401 (also where Fivefold is not installed)
from fivefold.testing.slowness import SlowTransport


async def test_the_fixture_starts_a_cluster(fivefold_cluster) -> None:  # noqa: F811 (that is how fixtures work)
    """``async with fivefold_cluster(…)`` gives a running cluster of six servers."""
    async with fivefold_cluster() as cluster:
        assert len(cluster.servers) == 6
        assert await cluster.object(Counter, "hits").increment() == 1


async def test_a_crashed_server_comes_back_with_what_it_stored() -> None:
    """After a crash and restart of every server in turn the counter still counts on."""
    async with local_cluster() as cluster:
        hits = cluster.object(Counter, "hits")
        for index in range(6):
            await hits.increment()
            await cluster.crash(index)
            await hits.increment()
            await cluster.restart(index)
        assert await hits.get() == 12


async def test_too_many_crashes_stop_calls_until_one_is_back() -> None:
    """With t + 1 = 2 servers down a query ends as Unavailable by its deadline; with one back it succeeds."""
    async with local_cluster() as cluster:
        hits = cluster.object(Counter, "hits", deadline=0.3)
        await hits.increment()
        await cluster.crash(0)
        await cluster.crash(1)
        with pytest.raises(Unavailable):
            await hits.get()
        await cluster.restart(1)
        assert await hits.with_deadline(10).get() == 1


async def test_too_few_servers_are_refused() -> None:
    """Five servers cannot tolerate t = b = 1; the error says how many can."""
    with pytest.raises(ConfigurationError, match="at least 6 servers"):
        async with local_cluster(n=5):
            pass


class Endless(Object):
    """Its methods do not come back."""

    count: int = 0

    @update
    def loop(self) -> None:
        while True:
            self.count += 1

    @update
    def sleep(self) -> None:
        time.sleep(60)


async def test_a_looping_method_is_stopped() -> None:
    """A method that does not end is an ObjectError, as with a server, and the cluster goes on."""
    async with local_cluster(Endless, deadline=60, time_limit=0.05) as cluster:
        endless = cluster.object(Endless, "a")
        for call in (endless.loop, endless.sleep):
            with pytest.raises(ObjectError, match="TimeLimit: ran longer than 50 ms"):
                await call()
        assert await cluster.object(Counter, "hits").increment() == 1


async def test_signal_handlers_are_the_programs_own() -> None:
    """What stops a sleeping method is undone at the end, and does not touch a handler of the program."""
    async with local_cluster():
        assert signal.getsignal(signal.SIGURG) is not signal.SIG_DFL
    assert signal.getsignal(signal.SIGURG) is signal.SIG_DFL

    def own(number: int, frame: object) -> None:
        """The program's."""

    signal.signal(signal.SIGURG, own)
    try:
        async with local_cluster():
            assert signal.getsignal(signal.SIGURG) is own
    finally:
        signal.signal(signal.SIGURG, signal.SIG_DFL)


@pytest.mark.parametrize("how", ["answers", "macs"])
async def test_a_liar_changes_nothing_and_is_found_out(how: str) -> None:
    """With one liar every answer is right, and the client holds evidence against that server and no other."""
    async with local_cluster() as cluster:
        hits = cluster.object(Counter, "hits")
        await hits.increment()
        liar = 2
        await cluster.lie(liar, how)  # type: ignore[arg-type]
        for number in range(2, 30):
            assert await hits.increment() == number
            assert await cluster.object(Counter, f"other-{number}").increment() == 1
        accused = {each.server for each in cluster.evidence() if each.is_excluded or each.is_suspected}
        assert accused <= {liar}
        assert {each.server for each in cluster.evidence()} == {liar}
        assert (await cluster.status()).evidence == cluster.evidence()
        await cluster.crash(liar)
        await cluster.restart(liar)
        assert await hits.get() == 29


async def test_a_slow_server_is_not_waited_for() -> None:
    """One slow server delays nobody for long; as quick as before, it takes part again."""
    async with local_cluster() as cluster:
        hits = cluster.object(Counter, "hits")
        await hits.increment()
        cluster.slow(1, 3.0)
        started = asyncio.get_running_loop().time()
        assert [await hits.increment() for _ in range(5)] == [2, 3, 4, 5, 6]
        assert asyncio.get_running_loop().time() - started < 3.0
        cluster.slow(1, 0.0)
        assert await hits.increment() == 7


class Listening:
    """A transport that notes what a server listens with."""

    async def listen(self, **callbacks) -> None:
        self.callbacks = callbacks


async def test_a_slow_server_hears_in_order() -> None:
    """A frame that is held back less than the one before it does not overtake it; a closed connection is silent."""
    inner = Listening()
    slow = SlowTransport(inner)  # type: ignore[arg-type]
    heard: list[tuple[int, bytes]] = []
    one, other = SimpleNamespace(number=1), SimpleNamespace(number=2)
    await slow.listen(
        on_open=lambda connection: None,
        on_frames=lambda connection, frames: heard.extend((connection.number, frame) for frame in frames),
        on_close=lambda connection: None,
    )
    for connection in (one, other):
        inner.callbacks["on_open"](connection)
    slow.delay_s = 0.05
    inner.callbacks["on_frames"](one, [b"a"])
    inner.callbacks["on_frames"](other, [b"x"])
    slow.delay_s = 0.0
    inner.callbacks["on_frames"](one, [b"b"])
    inner.callbacks["on_close"](other)
    assert heard == []
    await asyncio.sleep(0.1)
    assert heard == [(1, b"a"), (1, b"b")]
    inner.callbacks["on_frames"](one, [b"c"])
    assert heard[2:] == [(1, b"c")], "at once, since nothing is held back"


async def test_status_of_a_local_cluster() -> None:
    """Every server says what it is, and one that is down does not."""
    async with local_cluster() as cluster:
        await cluster.object(Counter, "hits").increment()
        await cluster.crash(5)
        servers = (await cluster.status()).servers
        assert [server is None for server in servers] == [False] * 5 + [True]


class Names(Object):
    """As it was."""

    whole: str = ""

    @query
    def get(self) -> str:
        return self.whole

    @update
    def put(self, whole: str) -> None:
        self.whole = whole


def edited(version: int = 1) -> type[Object]:
    """Names as it becomes."""

    class Names(Object, version=version):
        given: str = ""
        family: str = ""

        @query
        def get(self) -> str:
            return f"{self.family}, {self.given}"

        @update
        def put(self, whole: str) -> None:
            self.given, _, self.family = whole.partition(" ")

        if version > 1:

            @migrate(from_version=1)
            def split(self, old: tuple[str]) -> None:
                self.given, _, self.family = old[0].partition(" ")

    return Names


async def test_a_rollout_can_be_tested() -> None:
    """Both versions side by side, server by server, then the switch: no call fails, and old states migrate."""
    async with local_cluster(Names) as cluster:
        ada = cluster.object(Names, "ada")
        await ada.put("Ada Lovelace")
        for index in range(6):
            await cluster.upgrade(index, Names, edited(2))
            assert await ada.get() == "Ada Lovelace"
        await cluster.activate(Names=2)
        assert await ada.get() == "Lovelace, Ada"
        await ada.put("Ada King")
        assert await ada.get() == "King, Ada"


async def test_a_rollout_with_a_gap_can_be_tested() -> None:
    """One code in the place of the other: in between calls get Upgrading, and afterwards the new code runs."""
    async with local_cluster(Names) as cluster:
        names = cluster.object(Names, "a")
        await names.put("Ada Lovelace")
        for index in (0, 1):
            await cluster.upgrade(index, edited())
        with pytest.raises(Upgrading, match="servers 0, 1 run Names 1"):
            await names.get()
        for index in (2, 3, 4, 5):
            await cluster.upgrade(index, edited())
        fresh = cluster.object(Names, "fresh")
        await fresh.put("Grace Hopper")
        assert await fresh.get() == "Hopper, Grace"
        assert await names.get() == ", Ada Lovelace"  # one text before and two now: the second reads as its default


async def test_the_first_clients_open_calls_are_known_and_resolved() -> None:
    """A call of unknown outcome is in the list until it is found out what became of it."""
    async with local_cluster() as cluster:
        assert cluster.pending() == ()
        await cluster.object(Counter, "a").get()
        for index in range(1, cluster.quorums.n):
            cluster.slow(index, 0.4)
        with pytest.raises(OutcomeUnknown) as caught:
            await cluster.object(Counter, "a", deadline=0.1).increment()
        assert cluster.pending() == (caught.value.call_id,)
        for index in range(1, cluster.quorums.n):
            cluster.slow(index, 0)
        assert await cluster.resolve(caught.value.call_id, deadline=10) in (1, NOT_APPLIED)
        assert cluster.pending() == ()
