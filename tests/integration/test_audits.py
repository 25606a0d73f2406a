"""Real servers: one that was put back to an older copy, one that was emptied, and the liars of ``serve --lie``."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fivefold import Counter
from tests.integration.rig import ENVIRONMENT, Site, client, running

pytestmark = [pytest.mark.integration, pytest.mark.long, pytest.mark.ci, pytest.mark.timeout(240)]


def audit(site: Site, *words: str) -> tuple[int, dict]:
    command = [sys.executable, "-m", "fivefold", "audit", "--json", "--cluster", str(site.file), *words]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, env={**os.environ, **ENVIRONMENT}
    )
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def named(report: dict) -> dict[int, set[str]]:
    found: dict[int, set[str]] = {}
    for each in report["findings"]:
        found.setdefault(each["server"], set()).add(each["charge"])
    return found


async def fill(site: Site, times: int) -> None:
    async with client(site) as cluster:
        for _ in range(times):
            await asyncio.gather(*(cluster.object(Counter, f"c{n}").increment() for n in range(20)))


@pytest.mark.parametrize("is_emptied", [False, True])
def test_a_server_that_was_put_back_is_named(tmp_path: Path, *, is_emptied: bool) -> None:
    """Its identity's record was put back, too, so that it starts; the audit needs one pass."""
    site = Site(tmp_path / "site")
    identity, kept = site.directory / "server-2", tmp_path / "kept"
    if is_emptied:
        shutil.copytree(identity, kept / "identity")
    with running(site):
        asyncio.run(fill(site, 2))
        assert audit(site)[0] == 0
        asyncio.run(site.kill(2))
        if not is_emptied:
            shutil.copytree(identity, kept / "identity")
            shutil.copytree(site.data(2), kept / "data")
        asyncio.run(site.start(2))
        asyncio.run(fill(site, 3))
        asyncio.run(site.kill(2))
        for place in (identity, site.data(2)):
            shutil.rmtree(place)
        shutil.copytree(kept / "identity", identity)
        if not is_emptied:
            shutil.copytree(kept / "data", site.data(2))
        asyncio.run(site.start(2))
        evidence = tmp_path / "audit.json"
        code, report = audit(site, "--evidence", str(evidence))
    assert (code, named(report)) == (5, {2: {"forgot"}})
    assert json.loads(evidence.read_text())["findings"][0]["server"] == 2


@pytest.mark.parametrize("lie", ["macs", "answers"])
def test_the_liars_are_named(tmp_path: Path, lie: str) -> None:
    """And nobody else."""
    site = Site(tmp_path / "site", arguments=lambda index: ("--lie", lie) if index == 4 else ())
    with running(site):
        asyncio.run(fill(site, 3))
        code, report = audit(site)
    assert (code, set(named(report))) == (5, {4})
