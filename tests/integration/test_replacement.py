"""Servers that are replaced in a real cluster, under load: nothing that was acknowledged is lost."""

import asyncio
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from fivefold import Cluster
from fivefold.cluster import load_configuration, replace_server, serve_command
from tests.integration.rig import PATIENCE_S, Load, client, running, until, verify
from tests.integration.test_editions import Hosts, edition_at

pytestmark = pytest.mark.integration


class Renewable(Hosts):
    """Hosts whose servers can be replaced: each starts with the newest identity that was made for it."""

    def __init__(self, directory: Path, **options: object) -> None:
        super().__init__(directory, **options)
        self.names = [f"server-{index}" for index in range(self.n)]

    def renew(self, index: int) -> None:
        """Make a new identity and the next edition; the server's next start is the newcomer's."""
        _, made = replace_server(self.file, index)
        assert made is not None
        self.names[index] = made.name
        server = self.processes.servers[index]
        server._command = self.command(index)

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


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Renewable]:
    """Six servers (t = b = 1)."""
    with running(Renewable(tmp_path / "cluster")) as hosts:
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
        await asyncio.to_thread(hosts.processes.restart, 3, ["--lie", "macs"])
        await load.progress_everywhere(2)
        await load.stop()
        await verify(cluster, load.record)
    assert "is newborn (edition 2)" in hosts.log_of(0)
    assert "in standing" in hosts.log_of(0)
