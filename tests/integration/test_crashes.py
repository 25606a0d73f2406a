"""Servers that are killed, restarted, paused, all at once too: work goes on, nothing acknowledged is lost."""

import asyncio

import pytest

from fivefold import NOT_APPLIED, Counter, OutcomeUnknown, Unavailable
from tests.integration.rig import PATIENCE_S, Load, Site, client, running, until_connected, verify

pytestmark = pytest.mark.integration

SHORT_S = 0.6
"""A deadline that is meant to pass."""


def names(key: str, count: int) -> list[str]:
    return [f"{key}-{number}" for number in range(count)]


async def test_work_goes_on_while_a_server_is_killed_and_restarted(site: Site, key: str) -> None:
    """With kill -9 of one server under load updates go on; back again, it is right in quorums that need it."""
    async with client(site) as cluster:
        async with Load(cluster, names(key, 6)) as load:
            await load.progress_everywhere()
            await site.kill(2)
            await load.progress_everywhere(3)
            await site.start(2)
            await until_connected(cluster, 2)
            await load.progress_everywhere()
        site.pause(4)  # from here on every quorum includes server 2
        async with Load(cluster, names(key, 6)) as last:
            await last.progress_everywhere(2)
        values = await verify(cluster, load.record, last.record)
        assert sum(values.values()) == load.record.total() + last.record.total()


async def kill_all_rounds(site: Site, keys: list[str], rounds: int) -> None:
    """Load through kill -9 of every server, again and again; verified at the end."""
    async with client(site) as cluster:
        async with Load(cluster, keys, deadline=PATIENCE_S / 4) as load:
            for _ in range(rounds):
                await load.progress_everywhere()
                await load.progress(20)
                await site.kill_all()
                await site.start_all()
        await verify(cluster, load.record)


@pytest.mark.timeout(240)
async def test_nothing_acknowledged_is_lost_when_all_servers_are_killed(site: Site, key: str) -> None:
    """Two rounds of kill -9 of all servers under load: every acknowledged increment is there, none twice."""
    await kill_all_rounds(site, names(key, 8), rounds=2)


@pytest.mark.long
@pytest.mark.timeout(900)
async def test_nothing_acknowledged_is_lost_in_twenty_rounds(site: Site, key: str) -> None:
    """Twenty rounds of kill -9 of all servers under load of 64 in flight lose nothing that was acknowledged."""
    await kill_all_rounds(site, names(key, 64), rounds=20)


async def test_a_restarted_cluster_has_its_state(site: Site, key: str) -> None:
    """All servers ended in order and started again answer from what they stored."""
    async with client(site) as cluster:
        assert await cluster.object(Counter, key).increment(41) == 41
    await asyncio.to_thread(site.processes.stop)
    await site.start_all()
    async with client(site) as cluster:
        assert await cluster.object(Counter, key).get() == 41
        assert await cluster.object(Counter, key).increment() == 42


async def test_a_paused_server_costs_a_probe_once(site: Site, key: str) -> None:
    """A stopped server is asked once and then left out: further updates send hardly more than q requests each."""
    async with client(site) as cluster:
        counter = cluster.object(Counter, key)
        await counter.increment()
        quorums = (await cluster.status()).quorums
        victim = quorums.preference(f"Counter/{key}")[0]
        site.pause(victim)
        await counter.increment()
        before = cluster.requests_sent
        for _ in range(40):
            await counter.increment()
        # One trial a second finds out whether it is back; nothing waits for its answer.
        assert cluster.requests_sent - before <= 40 * (quorums.q + 1)
        assert victim in [each.server for each in cluster.evidence() if each.is_slow]


async def test_a_paused_server_is_used_again(site: Site, key: str) -> None:
    """A server that was stopped and goes on makes quorums possible again that need it."""
    async with client(site) as cluster:
        async with Load(cluster, names(key, 6)) as load:
            await load.progress_everywhere()
            site.pause(1)
            await load.progress_everywhere(2)
            site.resume(1)
            await site.kill(5)
            await load.progress_everywhere(2)
        await verify(cluster, load.record)


@pytest.mark.long
@pytest.mark.ci
async def test_too_few_servers_make_calls_fail_by_their_deadline(site: Site, key: str) -> None:
    """With t + 1 servers down a query is Unavailable, an update unknown; calls succeed once they are back."""
    async with client(site) as cluster:
        counter = cluster.object(Counter, key)
        await counter.increment()
        await site.kill(0, 1)
        async with asyncio.timeout(PATIENCE_S):
            with pytest.raises(Unavailable, match=r"got 4 answers before its deadline .*servers 0, 1: "):
                await counter.with_deadline(SHORT_S).get()
            with pytest.raises(OutcomeUnknown, match=r"await resolve\(\)"):
                await counter.with_deadline(SHORT_S).increment()
        await site.start(0, 1)
        assert await counter.get() in (1, 2)


async def test_connecting_to_too_few_servers_says_why(site: Site) -> None:
    """With fewer servers than a quorum ``connect`` raises Unavailable and names those that are missing."""
    await site.kill(3, 4)
    with pytest.raises(Unavailable, match=r"only 4 of the 5 servers needed could be reached.*servers 3, 4: "):
        async with client(site, connect_timeout=SHORT_S):
            pass


async def test_an_update_that_a_repairable_set_accepted_resolves_as_applied(site: Site, key: str) -> None:
    """Four of six servers accept, the deadline passes, the others go on: resolve returns the answer."""
    async with client(site) as cluster:
        counter = cluster.object(Counter, key)
        await counter.increment()
        site.pause(0, 1)
        with pytest.raises(OutcomeUnknown) as unknown:
            await counter.with_deadline(SHORT_S).increment()
        site.resume(0, 1)
        assert await counter.get() == 2
        assert await unknown.value.resolve() == 2
        assert await counter.get() == 2


async def test_an_update_that_nobody_accepted_resolves_as_not_applied(site: Site, key: str) -> None:
    """All servers are stopped, get the request and are killed before they read it: resolve says not applied."""
    async with client(site) as cluster:
        counter = cluster.object(Counter, key)
        await counter.increment()
        everybody = range(site.n)
        site.pause(*everybody)
        with pytest.raises(OutcomeUnknown) as unknown:
            await counter.with_deadline(SHORT_S).increment()
        await site.kill_all()
        await site.start_all()
        await until_connected(cluster, *everybody)
        assert await counter.get() == 1
        assert await resolved(unknown.value) is NOT_APPLIED
        assert await counter.increment() == 2


async def test_an_update_that_too_few_accepted_resolves_as_not_applied(site: Site, key: str) -> None:
    """Two of six servers accept, the others lose the request: the repair drops it, and it never comes back."""
    async with client(site) as cluster:
        counter = cluster.object(Counter, key)
        await counter.increment()
        site.pause(0, 1, 2, 3)
        with pytest.raises(OutcomeUnknown) as unknown:
            await counter.with_deadline(SHORT_S).increment()
        await site.kill(0, 1, 2, 3)
        await site.start(0, 1, 2, 3)
        await until_connected(cluster, 0, 1, 2, 3)
        assert await resolved(unknown.value) is NOT_APPLIED
        assert await counter.get() == 1
        assert await counter.increment() == 2


@pytest.mark.long
@pytest.mark.ci
async def test_a_late_frame_of_a_cancelled_update_does_nothing(site: Site, key: str) -> None:
    """Servers that read the request only after it was resolved as not applied do not apply it."""
    async with client(site) as cluster:
        counter = cluster.object(Counter, key)
        await counter.increment()
        site.pause(*range(site.n))
        with pytest.raises(OutcomeUnknown) as unknown:
            await counter.with_deadline(SHORT_S).increment()
        # Five lose the frame; the sixth still has it in its socket, and reads it after the resolve.
        await site.kill(0, 1, 2, 3, 4)
        await site.start(0, 1, 2, 3, 4)
        await until_connected(cluster, 0, 1, 2, 3, 4)
        assert await resolved(unknown.value) is NOT_APPLIED
        site.resume(5)
        for expected in (2, 3, 4):
            assert await counter.increment() == expected


async def resolved(unknown: OutcomeUnknown) -> object:
    """What becomes of a call with a short deadline, however often it takes to ask."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                return await unknown.resolve()
            except OutcomeUnknown as again:
                unknown = again


@pytest.mark.long
@pytest.mark.ci
async def test_two_faults_are_borne_and_a_third_is_not(tmp_path, key: str) -> None:
    """T = 2, b = 0 (n = 7): with t servers down updates go on, with t + 1 they do not until one is back."""
    with running(Site(tmp_path / "cluster", t=2, b=0, memory=True)) as site:
        async with client(site) as cluster:
            counter = cluster.object(Counter, key)
            await counter.increment()
            await site.kill(0, 1)
            assert await counter.increment() == 2
            site.pause(2)
            with pytest.raises(OutcomeUnknown):
                await counter.with_deadline(SHORT_S).increment()
            site.resume(2)
            assert await counter.get() in (2, 3)
