"""Real clusters of which some servers, and some clients, run natively and others in pure Python."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fivefold import Counter
from fivefold.native import native
from tests.integration.rig import ENVIRONMENT, Site, client, running

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(240),
    pytest.mark.skipif(native is None, reason="fivefold-native is not installed"),
]

PURE = (0, 2, 4)
CALLS, OBJECTS = 200, 3

PURE_CLIENT = f"""
import asyncio, sys
from fivefold import Counter, connect
from fivefold.native import variant

async def main():
    async with connect(sys.argv[1], identity="second", deadline=60) as cluster:
        assert variant() == "pure Python"
        for number in range({CALLS}):
            await cluster.object(Counter, f"c{{number % {OBJECTS}}}").increment()

asyncio.run(main())
"""


async def work(site: Site) -> tuple[int, list[str], tuple[object, ...]]:
    """Both clients update the same objects; meanwhile a server of each variant is killed and started again."""
    environment = {**os.environ, **ENVIRONMENT, "FIVEFOLD_NATIVE": "0"}
    other = await asyncio.create_subprocess_exec(sys.executable, "-c", PURE_CLIENT, str(site.file), env=environment)
    async with client(site) as cluster:
        for number in range(CALLS):
            await cluster.object(Counter, f"c{number % OBJECTS}").increment()
            if number in (CALLS // 4, CALLS // 2):
                index = 1 if number == CALLS // 4 else PURE[0]
                await site.kill(index)
                await site.start(index)
        assert await asyncio.wait_for(other.wait(), 120) == 0
        total = sum([await cluster.object(Counter, f"c{number}").get() for number in range(OBJECTS)])
        status = await cluster.status()
    return total, [server.variant if server else "" for server in status.servers], status.evidence


def test_servers_and_clients_of_both_variants_agree_byte_for_byte(tmp_path: Path) -> None:
    """A vote, a history or a MAC of either that differs by a bit would be told of a server: nobody is accused."""
    site = Site(tmp_path / "site", prefix=lambda index: ("env", "FIVEFOLD_NATIVE=0") if index in PURE else ())
    site.add_client("second")
    with running(site):
        total, variants, evidence = asyncio.run(work(site))
        audit = [sys.executable, "-m", "fivefold", "audit", "--json", "--cluster", str(site.file)]
        environment = {**os.environ, **ENVIRONMENT}
        done = subprocess.run(audit, capture_output=True, text=True, timeout=120, check=False, env=environment)
    assert total == 2 * CALLS
    assert variants == ["pure Python" if index in PURE else "native" for index in range(6)]
    assert evidence == ()
    assert (done.returncode, json.loads(done.stdout)["findings"]) == (0, [])
