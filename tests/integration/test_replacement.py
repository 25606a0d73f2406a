"""Servers that are replaced in a real cluster, under load: nothing that was acknowledged is lost."""

import asyncio
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from fivefold import Cluster, Counter
from fivefold.cli.server import refuse_too_many
from fivefold.cluster import (
    EDITION_FILE,
    ServerProcess,
    free_addresses,
    load_configuration,
    replace_server,
    serve_command,
)
from fivefold.errors import Unavailable
from tests.integration.rig import PATIENCE_S, Load, client, running, until, verify
from tests.integration.test_editions import Hosts, edition_at

pytestmark = [pytest.mark.integration, pytest.mark.long, pytest.mark.ci, pytest.mark.timeout(300)]


class Renewable(Hosts):
    """Hosts whose servers can be replaced: each starts with the newest identity that was made for it."""

    def __init__(self, directory: Path, **options: object) -> None:
        super().__init__(directory, **options)
        self.names = [f"server-{index}" for index in range(self.n)]

    def renew(self, index: int, *, address: str | None = None, in_place: bool = True) -> None:
        """Make a new identity and the next edition; with ``in_place`` the process's next start is the newcomer's."""
        _, made = replace_server(self.file, index, address=address)
        assert made is not None
        self.names[index] = made.name
        if in_place:
            self.processes.servers[index]._command = self.command(index)

    def command(self, index: int) -> list[str]:
        name = self.names[index]
        data = self.directory / f"{name}.data"
        return [*serve_command(self.file_of(index), identity=self.directory / name, data=data)]

    async def replace(self, index: int, *, told: Sequence[int]) -> None:
        """Wipe a server's disk, start the newcomer, and bring the file to it and to others."""
        await self.kill(index)
        shutil.rmtree(self.data(index), ignore_errors=True)
        self.renew(index)
        self.bring(index, *told)
        await self.start(index)

    def edition_of(self, index: int) -> int:
        return load_configuration(self.directory / self.names[index] / "edition.toml").edition


def environment_of(process: ServerProcess) -> dict[str, str]:
    return process._environment


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Renewable]:
    """Six servers (t = b = 1)."""
    hosts = Renewable(tmp_path / "cluster")
    hosts.processes.start(2 * PATIENCE_S)
    with running(hosts):
        yield hosts


async def until_standing(cluster: Cluster, index: int, seconds: float = PATIENCE_S) -> None:
    """Wait until a server says that it is in standing."""
    text = ""

    async def stands() -> bool:
        nonlocal text
        status = (await cluster.status(timeout=5)).servers[index]
        text = str(status and status.place)
        return status is not None and status.place is not None and status.place.is_standing

    try:
        await until(stands, f"server {index} is in standing", seconds)
    except AssertionError as error:
        raise AssertionError(f"{error}: {text}") from None


async def test_a_lost_server_is_replaced_under_load_and_then_another_one_lies(hosts: Renewable) -> None:
    """Its disk is gone; the new one catches up while clients work, and is good for a quorum when another one lies."""
    keys = [f"k{number}" for number in range(12)]
    async with client(hosts) as cluster, Load(cluster, keys) as load:
        await load.progress(100)
        await hosts.replace(0, told=[1, 2])
        await hosts.until_edition(2)
        await until(lambda: edition_at(cluster) == 2, "the client uses edition 2")
        await until_standing(cluster, 0)
        await load.progress_everywhere(2)
        await hosts.kill(3)
        await asyncio.to_thread(hosts.processes.start_one, 3, ["--lie", "macs"], PATIENCE_S)
        await load.progress_everywhere(2)
        await load.stop()
        await verify(cluster, load.record)
    assert "is newborn (edition 2)" in hosts.log_of(0)
    assert "in standing" in hosts.log_of(0)


async def test_a_newcomer_that_is_killed_in_the_middle_goes_on_and_the_same_slot_is_replaced_again(
    hosts: Renewable,
) -> None:
    """Kill -9 as soon as it listens: the next start goes on. Then the slot gets a third identity, and stands again."""
    keys = [f"k{number}" for number in range(12)]
    async with client(hosts) as cluster, Load(cluster, keys) as load:
        await load.progress_everywhere(2)
        await hosts.replace(0, told=[1, 2])
        for _ in range(2):
            await hosts.kill(0)
            await hosts.start(0)
        await until_standing(cluster, 0)
        await load.progress_everywhere(1)
        await hosts.replace(0, told=[4, 5])
        await hosts.until_edition(3)
        await until_standing(cluster, 0)
        await load.progress_everywhere(1)
        await load.stop()
        await verify(cluster, load.record)


async def test_the_wrong_healthy_server_is_replaced_while_it_runs_on(hosts: Renewable, tmp_path: Path) -> None:
    """A twin: the old identity runs on where it was, the new one elsewhere. Nobody counts the old one, nothing is lost.

    Brought the file, the old one ends and says why; and it never starts again.
    """
    [address] = free_addresses(1)
    keys = [f"k{number}" for number in range(6)]
    async with client(hosts) as cluster, Load(cluster, keys) as load:
        await load.progress_everywhere(2)
        old = hosts.processes.servers[0]
        before = tmp_path / "old.toml"
        shutil.copy(hosts.file_of(0), before)
        old._command[old._command.index("--cluster", old._command.index("--cluster") + 1) + 1] = str(before)
        await hosts.kill(0)
        await hosts.start(0)  # the old identity, with a file of its own
        hosts.renew(0, address=address, in_place=False)
        twin = ServerProcess(0, hosts.command(0), tmp_path / "twin.log", environment_of(old))
        hosts.bring(0, 1, 2)
        twin.start()
        try:
            await asyncio.to_thread(twin.wait_ready, time.monotonic() + PATIENCE_S)
            await hosts.until_edition(2)
            await until(lambda: edition_at(cluster) == 2, "the client uses edition 2")
            await until_standing(cluster, 0)
            await load.progress_everywhere(2)
            await load.stop()
            await verify(cluster, load.record)
            assert old.is_running
            shutil.copy(hosts.file, before)
            await until(lambda: not old.is_running, "the old identity ends")
            assert "another identity has the place of server 0 now" in hosts.log_of(0)
            old.start()
            await until(lambda: not old.is_running, "it does not start again")
            assert "not that of a server in edition 2" in hosts.log_of(0)
        finally:
            twin.kill()


async def test_a_server_that_was_not_told_counts_as_down_until_it_is(hosts: Renewable) -> None:
    """Cut off from the others it works with the old file; told later, it is a server like any other."""
    keys = [f"k{number}" for number in range(6)]
    async with client(hosts) as cluster, Load(cluster, keys) as load:
        await load.progress_everywhere(2)
        hosts.pause(5)
        await hosts.replace(0, told=[1, 2])
        await hosts.until_edition(2, 0, 1, 2, 3, 4)
        hosts.resume(5)
        await hosts.until_edition(2, 5)
        await until_standing(cluster, 0)
        await load.progress_everywhere(2)
        await hosts.kill(3)
        await load.progress_everywhere(2)
        await hosts.start(3)
        await load.stop()
        await verify(cluster, load.record)


async def test_everything_is_killed_in_the_middle_of_a_replacement(hosts: Renewable) -> None:
    """All six servers, the newcomer among them, die at once, twice: they go on, and nothing acknowledged is lost."""
    keys = [f"k{number}" for number in range(6)]
    names = [f"filler-{number}" for number in range(300)]
    async with client(hosts) as cluster:
        await asyncio.gather(*(cluster.object(Counter, name).increment() for name in names))
        async with Load(cluster, keys) as load:
            await load.progress_everywhere(2)
            await hosts.replace(0, told=[1, 2])
            for adopted in (10, 150):
                await until_adopted(cluster, 0, adopted)
                await hosts.kill_all()
                await hosts.start_all()
            await hosts.until_edition(2)
            await until_standing(cluster, 0)
            await load.progress_everywhere(2)
            await load.stop()
            await hosts.kill(3)
            await verify(cluster, load.record)
        assert await asyncio.gather(*(cluster.object(Counter, name).get() for name in names)) == [1] * len(names)
    assert "is newborn (edition 2)" in hosts.log_of(0)


async def until_adopted(cluster: Cluster, index: int, count: int) -> None:
    """Wait until a newcomer has taken so many objects over since its start, or is in standing."""

    async def is_there() -> bool:
        status = (await cluster.status(timeout=5)).servers[index]
        place = None if status is None else status.place
        return place is not None and place.born > 1 and (place.is_standing or place.adopted >= count)

    await until(is_there, f"server {index} has adopted {count} objects")


@pytest.mark.timeout(900)
async def test_of_eleven_one_is_replaced_while_another_lies_and_then_a_third_is_killed(tmp_path: Path) -> None:
    """T = b = 2: two are faulty at each time, the newcomer and a liar, then a liar and one that is killed."""
    hosts = Renewable(tmp_path / "cluster", t=2, b=2)
    hosts.processes.start(3 * PATIENCE_S)
    keys, patience_s = [f"k{number}" for number in range(3)], 3 * PATIENCE_S  # eleven servers share the machine
    with running(hosts):
        async with client(hosts) as cluster, Load(cluster, keys, deadline=20.0) as load:
            await load.progress_everywhere(2, seconds=patience_s)
            await hosts.kill(3)
            await asyncio.to_thread(hosts.processes.start_one, 3, ["--lie", "macs"], patience_s)
            await load.progress_everywhere(1, seconds=patience_s)
            await hosts.replace(0, told=[1, 2, 4])
            await hosts.until_edition(2)
            await until(lambda: edition_at(cluster) == 2, "the client uses edition 2")
            await until_standing(cluster, 0, patience_s)
            await load.progress_everywhere(2, seconds=patience_s)
            await hosts.kill(5)
            await load.progress_everywhere(2, seconds=patience_s)
            await hosts.start(5)
            await hosts.kill(3)
            await asyncio.to_thread(hosts.processes.start_one, 3, ["--lie", "answers"], patience_s)
            await hosts.kill(7)
            await load.progress_everywhere(2, seconds=patience_s)
            await load.stop()
            await verify(cluster, load.record)


async def test_out_of_two_files_of_one_number_although_only_one_server_may_fail(
    hosts: Renewable, tmp_path: Path
) -> None:
    """T = 1: one operator replaces server 0, another one server 1; one of the six has used the second file.

    The newcomer waits for that one, and no further replacement is allowed. Taken back as the how-to says, it works with
    the others again, the newcomer is in standing, and nothing is lost.
    """
    keys = [f"k{number}" for number in range(6)]
    other = tmp_path / "other.toml"
    shutil.copy(hosts.file, other)
    replace_server(other, 1)
    async with client(hosts) as cluster, Load(cluster, keys) as load:
        await load.progress_everywhere(2)
        await hosts.kill(5)
        hosts.bring(5, file=other)
        await hosts.start(5)
        await until(lambda: hosts.edition_of(5) == 2, "server 5 uses the other file")
        await load.progress_everywhere(1)
        await hosts.replace(0, told=[1, 2, 3, 4])
        await until(
            lambda: "bring the cluster file to server 5" in hosts.log_of(0), "the newcomer says whom it waits for"
        )
        await until(lambda: edition_at(cluster) == 2, "the client uses the first file")
        with pytest.raises(Unavailable, match="server 5 uses another file of this edition"):
            refuse_too_many(await cluster.status(timeout=PATIENCE_S), 3)
        await hosts.kill(5)
        (hosts.directory / "server-5" / EDITION_FILE).unlink()
        hosts.bring(5)
        await hosts.start(5)
        await until_standing(cluster, 0)
        await load.progress_everywhere(2)
        await hosts.kill(3)
        await load.progress_everywhere(1)
        await load.stop()
        await verify(cluster, load.record)
