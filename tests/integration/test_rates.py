"""Clients with a rate on a real cluster: they wait and lose nothing, and hostile ones cannot stop the others."""

import asyncio
import time
from contextlib import suppress
from pathlib import Path

import pytest

from fivefold import Counter, FivefoldError, Map
from fivefold.bench.hostile import open_hostile
from fivefold.bench.load import Log, Segment
from fivefold.bench.workload import Seat, Workload
from fivefold.cluster import add_client, limit_client
from tests.integration.rig import PATIENCE_S, Load, Site, client, counters_of, running, until, verify

pytestmark = pytest.mark.integration

RATE = 20
VILLAIN_S = 1.0
COSTLY_S = 3.0


async def test_a_client_over_its_rate_waits_and_loses_nothing(tmp_path: Path) -> None:
    """Servers take no more from it than the rate and a second's worth; each call ends well, applied once."""
    site = Site(tmp_path / "cluster", memory=True)
    add_client(site.file, "guest", ["*"], rate=RATE)
    with running(site):
        async with client(site, "guest") as guest:
            counters = [guest.object(Counter, f"k{number}") for number in range(8)]
            began = time.monotonic()
            for _ in range(5):
                await asyncio.gather(*(counter.increment() for counter in counters))
            assert await asyncio.gather(*(counter.get() for counter in counters)) == [5] * 8
            took = time.monotonic() - began
        async with client(site) as admin:
            status = await admin.status()
    assert any(counters_of(status, "throttled"))
    assert all(0 < accepted <= RATE * (took + 1) + 1 for accepted in counters_of(status, "accepted.METHOD"))


@pytest.mark.long
@pytest.mark.ci
@pytest.mark.parametrize("villainy", ["flood", "barriers"])
async def test_a_hostile_client_with_a_rate_does_not_stop_the_others(tmp_path: Path, villainy: str) -> None:
    """One that floods, or keeps barriers coming, is taken as much from as its rate says; others get on, correctly."""
    site = Site(tmp_path / "cluster", memory=True)
    add_client(site.file, "villain", ["*"], rate=RATE)
    keys = [f"hot-{number}" for number in range(4)]
    options = {"cluster": str(site.file), "identity": "villain", "tls": True, "prefix": "hot", "villainy": villainy}
    workload = Workload(in_flight=32, skew="uniform", objects=len(keys))
    with running(site):
        async with client(site) as cluster, open_hostile(options) as villain:
            async with Load(cluster, keys) as load:
                await load.progress_everywhere(2)
                began = time.monotonic()
                segment = Segment(workload=workload, seconds=VILLAIN_S, start_ns=time.monotonic_ns())
                deed = asyncio.create_task(villain.run(segment, Seat(0, 1), Log()))
                await load.progress_everywhere(5)
                await deed
                await until(lambda: _throttled(cluster), "the villain has to wait")
                status = await cluster.status()
                took = time.monotonic() - began
                if villainy == "flood":  # barriers are the others' answer to a barrier, too
                    assert all(0 < stale <= RATE * (took + 1) + 1 for stale in counters_of(status, "stale"))
                else:
                    assert any(counters_of(status, "accepted.BARRIER"))
                await load.progress_everywhere(5)
            values = await verify(cluster, load.record)
            assert sum(values.values()) == load.record.total()


@pytest.mark.long
@pytest.mark.ci
async def test_a_rate_bounds_what_costly_calls_take(tmp_path: Path) -> None:
    """Queries of a large state are few: each decodes it, and the rate counts the time, not the number."""
    site = Site(tmp_path / "cluster", memory=True)
    add_client(site.file, "villain", ["Map"], rate=RATE)
    with running(site):
        async with client(site) as cluster, client(site, "villain") as villain:
            await cluster.object(Map, "large").put("k", [[]] * 200_000)
            large, answered = villain.object(Map, "large"), 0
            began = time.monotonic()

            async def ask() -> None:
                nonlocal answered
                while time.monotonic() < began + COSTLY_S:
                    with suppress(FivefoldError):
                        await large.with_deadline(COSTLY_S).size()
                        answered += 1

            async with Load(cluster, ["k"]) as load:
                await asyncio.gather(*(ask() for _ in range(32)))
                await load.progress_everywhere(5)
            status = await cluster.status()
    # Without, a request of 16 calls passes 20 times a second. Each call takes 5 ms of every server at least, and the
    # rate gives it 10 ms a second.
    assert answered < 100
    assert any(counters_of(status, "throttled"))


@pytest.mark.long
@pytest.mark.ci
async def test_a_rate_comes_and_goes_while_servers_run(tmp_path: Path) -> None:
    """Servers read it from the changed file: they begin to hold the client back, and stop."""
    site = Site(tmp_path / "cluster", memory=True)
    site.add_client("guest")
    with running(site):
        async with client(site, "guest") as guest, client(site) as admin:
            counter = guest.object(Counter, "k")
            for _ in range(5 * RATE):
                await counter.increment()
            assert not await _throttled(admin)
            limit_client(site.file, "guest", RATE)

            async def waits() -> bool:
                await asyncio.gather(*(counter.increment() for _ in range(RATE)))
                return await _throttled(admin)

            await until(waits, "the rate is read", PATIENCE_S)
            limit_client(site.file, "guest", None)
            value = await counter.get()
            for _ in range(5 * RATE):
                value += 1
                assert await counter.increment() == value


async def _throttled(cluster) -> bool:
    return any(count > 0 for count in counters_of(await cluster.status(), "throttled"))
