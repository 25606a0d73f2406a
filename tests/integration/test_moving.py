"""Real clusters that are moved to another size under load: nothing acknowledged is lost, nothing is applied twice."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fivefold.cluster import LocalCluster, free_addresses, load_configuration
from tests.integration.rig import ENVIRONMENT, PATIENCE_S, Load, Site, client, environment, running, until, verify

pytestmark = [pytest.mark.integration, pytest.mark.long, pytest.mark.ci, pytest.mark.timeout(300)]

KEYS = [f"k{number}" for number in range(8)]


class Move:
    """A move of a site's cluster, as an operator on this machine makes it.

    Attributes:
        directory: of the new cluster.
        servers: its processes, once its files are there.
    """

    def __init__(self, site: Site, directory: Path, n: int, *words: str) -> None:
        self.site, self.directory, self.n = site, directory, n
        self._addresses, self._words = free_addresses(n), words
        self.servers: LocalCluster | None = None

    def begin(self, *words: str) -> subprocess.Popen[str]:
        """Start the mover."""
        options = [word for address in self._addresses for word in ("--server", address)]
        return self._run(*options, *self._words, "--timeout", "90", *words)

    def _run(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "fivefold", "move", str(self.directory), "--cluster", str(self.site.file), *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **ENVIRONMENT},
        )

    async def refused(self, *words: str, code: int = 1) -> str:
        """Run the mover to its end, which is a refusal."""
        return await self.end(self.begin(*words), code=code)

    async def give_up(self, code: int = 0) -> str:
        return await self.end(self._run("--give-up", "--timeout", "60"), code=code)

    async def end(self, process: subprocess.Popen[str], code: int = 0) -> str:
        """What it said."""
        out, err = await asyncio.to_thread(process.communicate, None, 120)
        assert process.returncode == code, out + err
        return out + err

    async def start(self) -> None:
        """Start the new servers when their files are there."""
        await until(self.directory.exists, "the new cluster is made")

        def serve(index: int) -> list[str]:
            words = [sys.executable, "-m", "fivefold", "serve", "--cluster", str(self.directory / "cluster.toml")]
            return [*words, "--identity", str(self.directory / f"server-{index}")]

        if self.servers is None:
            with environment(ENVIRONMENT):
                self.servers = LocalCluster(self.n, serve, self.directory / "logs")
        await asyncio.to_thread(self.servers.start, PATIENCE_S)

    async def make(self) -> str:
        """The whole of it."""
        process = self.begin()
        try:
            await self.start()
        except BaseException:
            process.kill()
            raise
        return await self.end(process)

    def stop(self) -> None:
        if self.servers is not None:
            self.servers.stop()


@pytest.fixture
def moves() -> Iterator[list[Move]]:
    """Whose servers are stopped at the end."""
    made: list[Move] = []
    yield made
    for move in made:
        move.stop()


def in_cluster(cluster, directory: Path) -> bool:
    found = cluster.configuration
    return found is not None and found.cluster_id == load_configuration(directory / "cluster.toml").cluster_id


async def until_moved(cluster, directory: Path) -> None:
    await until(lambda: in_cluster(cluster, directory), "the client has followed")


async def test_a_cluster_moves_to_four_other_servers_under_load(tmp_path: Path, moves: list[Move]) -> None:
    """Four servers (t = 1, b = 0) become four others. The client, and its calls under way, follow by themselves."""
    site = Site(tmp_path / "old", t=1, b=0)
    move = Move(site, tmp_path / "new", 4, "-t", "1", "-b", "0")
    moves.append(move)
    with running(site):
        async with client(site) as cluster, Load(cluster, KEYS, deadline=60) as load:
            await load.progress_everywhere(3)
            said = await move.make()
            assert "has moved to 4 servers" in said
            await until_moved(cluster, move.directory)
            await load.progress_everywhere(3)
            await load.stop()
            await site.kill_all()
            await verify(cluster, load.record)
            assert not load.record.errors
