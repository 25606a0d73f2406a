"""Clients of a real cluster: several at once, across a repair, blocking ones, and how many messages an update costs."""

import asyncio
from collections import Counter as Tally
from pathlib import Path

import msgspec
import pytest

from fivefold import Counter, OutcomeUnknown, Unavailable, connect, connect_blocking
from fivefold.cluster import free_addresses
from fivefold.cluster.configuration import split_address
from fivefold.protocol.messages import REPLY, REQUEST, SYNC, SYNC_REPLY
from tests.integration.proxy import proxied
from tests.integration.rig import (
    PATIENCE_S,
    Load,
    LoadProcess,
    Record,
    Site,
    client,
    running,
    until,
    verify,
)

pytestmark = pytest.mark.integration


@pytest.mark.long
@pytest.mark.ci
async def test_contending_client_processes_all_succeed(site: Site, key: str, tmp_path: Path) -> None:
    """Three processes with two identities increment one counter: all get on, and the joint history is linearizable.

    They do nothing else, without a pause. Of those that share an identity, a call that loses to more than the 64
    updates that an object remembers may end as unknown, and says so; who has an identity of its own never hears that.
    """
    other = site.add_client(f"other-{key[:8]}")
    processes = [
        LoadProcess(site, name, tmp_path / str(number), [key], deadline=PATIENCE_S)
        for number, name in enumerate(["admin", other, other])
    ]
    try:
        await until(lambda: all(process.acknowledged >= 20 for process in processes), "twenty increments of each")
        histories = [await process.end() for process in processes]
    finally:
        for process in processes:
            process.kill()
    records = []
    for number, (process, history) in enumerate(zip(processes, histories, strict=True)):
        errors = process.errors().splitlines()
        assert all(number and "too many updates" in error for error in errors), errors
        records.append(Record())
        records[-1].history = [rename(seen, number) for seen in history if not seen.process.endswith("the-end")]
    async with client(site) as cluster:
        values = await verify(cluster, *records)
    assert sum(values.values()) >= sum(process.acknowledged for process in processes)


def rename(seen, number):
    return msgspec.structs.replace(seen, process=f"{number}:{seen.process}")


async def test_two_clients_on_one_object_across_a_repair(site: Site, key: str) -> None:
    """One client's update reaches four of six servers; another one finds it, repairs it, and both see one order."""
    async with client(site) as first, client(site) as second:
        mine, theirs = first.object(Counter, key), second.object(Counter, key)
        assert await mine.increment() == 1
        assert await theirs.increment() == 2
        assert await mine.get() == 2
        site.pause(4, 5)
        with pytest.raises(OutcomeUnknown) as unknown:
            await mine.with_deadline(0.5).increment()
        site.resume(4, 5)
        assert await theirs.increment() == 4
        assert await unknown.value.resolve() == 3
        answers = await asyncio.gather(*[counter.increment() for counter in (mine, theirs) for _ in range(5)])
        assert sorted(answers) == list(range(5, 15))


@pytest.mark.long
@pytest.mark.ci
async def test_two_clients_load_one_object_while_servers_fall_and_return(site: Site, key: str) -> None:
    """Contention and repairs at once: one server after the other is killed and restarted, the history stays right."""
    async with client(site) as first, client(site) as second:
        async with Load(first, [key]) as mine, Load(second, [key], workers=2) as theirs:
            for victim in (0, 3):
                await site.kill(victim)
                await asyncio.gather(mine.progress(5), theirs.progress(5))
                await site.start(victim)
                await asyncio.gather(mine.progress(5), theirs.progress(5))
        for number, record in enumerate([mine.record, theirs.record]):
            record.history = [rename(seen, number) for seen in record.history]
        await verify(first, mine.record, theirs.record)


def test_a_program_without_an_event_loop(site: Site, key: str) -> None:
    """The blocking façade updates, reads, reports status, and resolves an unknown outcome over a real cluster."""
    with connect_blocking(site.file, deadline=PATIENCE_S) as cluster:
        counter = cluster.object(Counter, key)
        assert counter.increment(by=2) == 2
        assert counter.get() == 2
        site.pause(0, 1)
        with pytest.raises(OutcomeUnknown) as unknown:
            cluster.object(Counter, key, deadline=0.5).increment()
        site.resume(0, 1)
        assert counter.get() == 3
        assert unknown.value.resolve() == 3
        assert [server is not None for server in cluster.status(timeout=PATIENCE_S).servers] == [True] * 6


def test_a_blocking_program_without_servers(tmp_path: Path) -> None:
    """Nobody listens: Unavailable in one sentence that says what to do."""
    site = Site(tmp_path / "cluster")
    with (
        pytest.raises(Unavailable, match=r"only 0 of the 5 servers needed could be reached: start them"),
        connect_blocking(site.file, connect_timeout=0.3),
    ):
        pass


def carried(frames: Tally[int]) -> dict[int, int]:
    """The protocol's frames by kind; the others greet a new connection, which servers may make at any time."""
    return {kind: count for kind, count in frames.items() if kind in (REQUEST, REPLY, SYNC, SYNC_REPLY)}


async def test_a_fault_free_update_is_one_round_trip_to_a_quorum(tmp_path: Path, key: str) -> None:
    """An update on a cached history: q requests, q replies, nothing between servers, by proxies' count."""
    listening = free_addresses(6)
    real = [split_address(address) for address in listening]
    site = Site(tmp_path / "cluster", memory=True, arguments=lambda index: ["--no-tls", "--listen", listening[index]])
    async with proxied(site, real) as proxies:
        await asyncio.to_thread(site.processes.start)
        try:
            async with connect(site.file, tls=False, deadline=PATIENCE_S, connect_timeout=PATIENCE_S) as cluster:
                await until(lambda: all(cluster._node.servers_up), "all servers are connected")
                counter = cluster.object(Counter, key)
                await counter.increment()
                await until(lambda: proxies.by_kind()[REPLY] >= 5, "five replies")
                before = proxies.by_kind()
                assert await counter.increment() == 2
                # The call ends with the fifth reply: nothing is still on its way.
                assert carried(proxies.by_kind() - before) == {REQUEST: 5, REPLY: 5}
                for _ in range(20):
                    await counter.increment()
                assert carried(proxies.by_kind() - before) == {REQUEST: 105, REPLY: 105}
                assert proxies.by_kind()[SYNC] == proxies.by_kind()[SYNC_REPLY] == 0
                assert len([place for place in proxies.frames if place[1:] == ("to", REQUEST)]) == 5
        finally:
            await asyncio.to_thread(site.processes.stop)


@pytest.mark.long
@pytest.mark.ci
async def test_lost_replies_resolve_as_applied(tmp_path: Path, key: str) -> None:
    """All six servers apply an update and no reply comes back: resolve returns its answer, and it was applied once."""
    listening = free_addresses(6)
    real = [split_address(address) for address in listening]
    site = Site(tmp_path / "cluster", memory=True, arguments=lambda index: ["--no-tls", "--listen", listening[index]])
    async with proxied(site, real) as proxies:
        await asyncio.to_thread(site.processes.start)
        try:
            async with connect(site.file, tls=False, deadline=PATIENCE_S, connect_timeout=PATIENCE_S) as cluster:
                await until(lambda: all(cluster._node.servers_up), "all servers are connected")
                counter = cluster.object(Counter, key)
                assert await counter.increment() == 1
                proxies.lets_pass = lambda server, direction, kind: kind != REPLY
                with pytest.raises(OutcomeUnknown) as unknown:
                    await counter.with_deadline(0.5).increment()
                proxies.lets_pass = lambda server, direction, kind: True
                assert await unknown.value.resolve() == 2
                assert await counter.get() == 2
        finally:
            await asyncio.to_thread(site.processes.stop)


async def test_a_connection_too_many_is_refused_at_connect(tmp_path: Path) -> None:
    """Two connections of one identity are taken here: the third learns why from every server, others are let in."""
    site = Site(tmp_path / "site", memory=True, arguments=lambda index: ["--connections", "2"])
    site.add_client("other")
    with running(site):
        async with client(site), client(site):
            with pytest.raises(Unavailable, match=r"refuse this .* this identity has 2 connections to it already"):
                async with client(site, connect_timeout=1):
                    pass
            async with client(site, "other") as cluster:
                assert await cluster.object(Counter, "a").increment() == 1
        async with client(site) as cluster:
            assert await cluster.object(Counter, "a").get() == 1


async def test_a_call_that_loses_to_others_says_so(site: Site, key: str, tmp_path: Path) -> None:
    """Processes that do nothing else keep a short call from its turn: it does not send its caller to the servers."""
    processes = [LoadProcess(site, "admin", tmp_path / str(number), [key], deadline=PATIENCE_S) for number in range(3)]
    try:
        await until(lambda: all(process.acknowledged >= 5 for process in processes), "the others are at work")
        async with client(site) as cluster, asyncio.timeout(PATIENCE_S):
            hits, said = cluster.object(Counter, key), ""
            while "other calls on its objects" not in said:
                try:
                    await hits.with_deadline(0.05).increment()
                except (Unavailable, OutcomeUnknown) as error:
                    said = str(error)
                    assert "check the servers" not in said or "got" in said
    finally:
        for process in processes:
            process.kill()
