"""One object's rows rot on one server: that object is out there, everything else and every quorum goes on."""

import sqlite3
from pathlib import Path

import pytest

from fivefold import Counter
from tests.integration.rig import PATIENCE_S, Site, client, running, until

pytestmark = pytest.mark.integration

VICTIM, OBJECTS = 1, 20


@pytest.mark.long
@pytest.mark.ci
async def test_one_damaged_object(tmp_path: Path) -> None:
    """Its server fetches it from the others, and is needed, and does its work for it as for all the others."""
    site = Site(tmp_path / "cluster")
    with running(site):
        async with client(site) as cluster:
            for number in range(OBJECTS):
                assert await cluster.object(Counter, f"k{number}").increment() == 1
    connection = sqlite3.connect(site.data(VICTIM) / "objects.sqlite")
    with connection:
        changed = connection.execute("UPDATE records SET data = x'00' WHERE object_id = 'Counter/k7' AND row_key = x''")
    assert changed.rowcount == 1
    connection.close()
    with running(site):
        async with client(site) as cluster:
            for number in range(OBJECTS):
                assert await cluster.object(Counter, f"k{number}").increment() == 2

            async def has_it_again() -> bool:
                server = (await cluster.status(timeout=PATIENCE_S)).servers[VICTIM]
                return server is not None and not server.damaged and server.counters.get("adopted") == 1

            await until(has_it_again, "the server fetches its damaged object")
            await site.kill((VICTIM + 1) % 6)  # now every quorum needs it
            for number in range(OBJECTS):
                assert await cluster.object(Counter, f"k{number}").increment() == 3
