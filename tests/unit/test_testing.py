"""``fivefold.testing``: what users' own test suites use."""

from __future__ import annotations

import pytest

from fivefold import ConfigurationError, Counter, Unavailable
from fivefold.testing import local_cluster
from fivefold.testing.pytest_plugin import fivefold_cluster  # noqa: F401 (also where Fivefold is not installed)


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
