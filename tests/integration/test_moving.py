"""Real clusters that are moved to another size under load: nothing acknowledged is lost, nothing is applied twice."""

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fivefold import NOT_APPLIED, Counter
from fivefold.cluster import LocalCluster, free_addresses, load_configuration
from tests.integration.rig import ENVIRONMENT, PATIENCE_S, Load, Site, client, environment, running, until, verify

pytestmark = [pytest.mark.integration, pytest.mark.long, pytest.mark.ci, pytest.mark.timeout(300)]

KEYS = [f"k{number}" for number in range(8)]


class Move:
    """A move of a site's cluster, as an operator on this machine makes it.

    Attributes:
        directory: of the new cluster.
        servers: its processes, once its files are there.
        file: the old cluster's.
        identity: the mover's.
    """

    def __init__(self, site: Site, directory: Path, n: int, *words: str) -> None:
        self.directory, self.n = directory, n
        self.file, self.identity = site.file, site.directory / "client-admin"
        self._addresses, self._words = free_addresses(n), words
        self.servers: LocalCluster | None = None

    def begin(self, *words: str) -> subprocess.Popen[str]:
        """Start the mover."""
        options = [word for address in self._addresses for word in ("--server", address)]
        return self._run(*options, *self._words, "--timeout", "90", *words)

    def _run(self, *words: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "fivefold", "move", str(self.directory)]
        return subprocess.Popen(
            [*command, "--cluster", str(self.file), "--identity", str(self.identity), *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **ENVIRONMENT},
        )

    async def refused(self, *words: str, code: int = 1) -> str:
        """Run the mover to its end, which is a refusal."""
        return await self.end(self.begin(*words), code=code)

    async def killed_when(self, holds: Callable[[], bool], what: str) -> None:
        """Run the mover until something holds, and kill -9 it then."""
        process = self.begin()
        await until(lambda: holds() or process.poll() is not None, what)
        process.kill()
        _, err = await asyncio.to_thread(process.communicate, None, 60)
        assert holds(), err

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


def assert_typed(load: Load) -> None:
    """On a busy machine calls may miss their deadlines: then they say that nothing changed, or that nobody knows."""
    assert [each for each in load.record.errors if not each.startswith(("OutcomeUnknown", "Unavailable"))] == []


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
    site.processes.start(2 * PATIENCE_S)
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
            assert_typed(load)


async def test_six_servers_become_eleven_and_six_again(tmp_path: Path, moves: list[Move]) -> None:
    """T = b = 1, then 2, then 1. Old calls resolve in the new cluster; what was half written is decided there."""
    site = Site(tmp_path / "old")
    larger = Move(site, tmp_path / "larger", 11, "--faults", "2")
    moves.append(larger)
    site.processes.start(2 * PATIENCE_S)
    with running(site):
        async with client(site) as cluster, Load(cluster, KEYS, deadline=60) as load:
            await load.progress_everywhere(2)
            applied, never = cluster.object(Counter, "a"), cluster.object(Counter, "b")
            ids = applied.increment.new_id(), never.increment.new_id()
            assert await applied.increment.with_id(ids[0], 5) == 5
            await larger.make()
            await until_moved(cluster, larger.directory)
            assert cluster.quorums.n == 11
            assert await cluster.resolve(ids[0]) == 5
            assert await cluster.resolve(ids[1]) is NOT_APPLIED
            await load.progress_everywhere(2)
            assert larger.servers is not None
            smaller = Move(site, tmp_path / "smaller", 6, "--faults", "1")
            smaller.file = larger.directory / "cluster.toml"
            smaller.identity = site.directory / "client-admin"
            moves.append(smaller)
            await smaller.make()
            await until_moved(cluster, smaller.directory)
            await load.progress_everywhere(2)
            await load.stop()
            await verify(cluster, load.record)
            assert_typed(load)


async def test_whatever_is_killed_in_the_middle_the_same_command_continues(tmp_path: Path, moves: list[Move]) -> None:
    """Kill -9 of the mover at each step, of two old servers, of all of them, and of new ones; clients work on."""
    site = Site(tmp_path / "old", t=1, b=0)
    move = Move(site, tmp_path / "new", 4, "-t", "1", "-b", "0")
    moves.append(move)
    copy = move.directory.with_name("new.copy")
    site.processes.start(2 * PATIENCE_S)
    with running(site):
        async with client(site) as cluster, Load(cluster, KEYS, deadline=60) as load:
            await load.progress_everywhere(2)
            await move.killed_when(copy.exists, "the copy is begun")
            await move.killed_when(lambda: bool(load_configuration(site.file).mover), "the cluster is sealed")
            await site.kill_all()
            await site.start_all()
            await move.killed_when(move.directory.with_name("new.unfinished").exists, "the new cluster is begun")
            await move.killed_when(move.directory.exists, "the new cluster is made")
            await site.kill(0)
            process = move.begin()
            await move.start()
            assert move.servers is not None
            await asyncio.to_thread(move.servers.kill, 3)
            await move.end(process)
            await site.start(0)
            await asyncio.to_thread(move.servers.start, PATIENCE_S)
            again = await move.end(move.begin())
            assert "has moved" in again
            await until_moved(cluster, move.directory)
            await load.progress_everywhere(2)
            await load.stop()
            await site.kill_all()
            await verify(cluster, load.record)


async def test_a_move_is_given_up_and_made_later(tmp_path: Path, moves: list[Move]) -> None:
    """Sealed, its new servers never started, opened again: calls go on, and a later move takes what they wrote."""
    site = Site(tmp_path / "old", t=1, b=0)
    move = Move(site, tmp_path / "new", 4, "-t", "1", "-b", "0")
    moves.append(move)
    site.processes.start(2 * PATIENCE_S)
    with running(site):
        async with client(site) as cluster, Load(cluster, KEYS, deadline=60) as load:
            await load.progress_everywhere(1)
            await move.killed_when(move.directory.exists, "the new cluster is made")
            status = (await cluster.status()).servers
            assert all(server is not None and server.place is not None and server.place.mover for server in status)
            assert "open again" in await move.give_up()
            await load.progress_everywhere(2)
            assert "given up" in await move.refused()
            shutil.move(move.directory, tmp_path / "given-up")
            await move.make()
            await until_moved(cluster, move.directory)
            assert "for good" in await move.give_up(code=1)
            await load.progress_everywhere(1)
            await load.stop()
            await verify(cluster, load.record)
            assert_typed(load)


async def test_what_cannot_be_moved_is_refused_and_nothing_is_sealed(tmp_path: Path) -> None:
    """Numbers, addresses, rights, an unhealthy cluster; and a new server with an empty folder does not start."""
    site = Site(tmp_path / "old", t=1, b=0)
    move = Move(site, tmp_path / "new", 4, "-t", "1", "-b", "0")
    site.processes.start(2 * PATIENCE_S)
    with running(site):
        assert "Nothing stands in the way" in await move.end(move.begin("--dry-run"))
        few = Move(site, tmp_path / "new", 4, "-t", "1", "-b", "1")
        assert "need at least 6 servers" in await few.refused()
        old = load_configuration(site.file).servers[2].address
        assert "address of server 2 of the old cluster" in await move.refused("--server", old, "-t", "1", "-b", "0")
        site.add_client("clerk", "Counter")
        assert "access rule is `*`" in await move.refused("--identity", "clerk")
        await site.kill(0, 1)
        assert "nothing was sealed" in await move.refused("--dry-run", code=3)
        assert "nothing was sealed" in await move.refused(code=3)
    assert not load_configuration(site.file).mover
    assert not move.directory.exists()
