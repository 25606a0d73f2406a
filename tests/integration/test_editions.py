"""Later editions of the cluster file in a real cluster: handed on, followed without a restart, refused if need be."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from fivefold import Cluster, connect
from fivefold.cluster import (
    EDITION_FILE,
    free_addresses,
    load_configuration,
    move_server,
    save_configuration,
    server_directory,
)
from tests.integration.rig import PATIENCE_S, Load, Site, client, running, until, verify

pytestmark = [pytest.mark.integration, pytest.mark.long, pytest.mark.ci]


class Hosts(Site):
    """A site whose servers each have a copy of the cluster file, as if on hosts of their own."""

    def __init__(self, directory: Path, **options: object) -> None:
        super().__init__(directory, arguments=lambda index: ["--cluster", str(self.file_of(index))], **options)
        for index in range(self.n):
            self.bring(index)

    def file_of(self, index: int) -> Path:
        """The copy of a server's host."""
        return self.directory / f"cluster-{index}.toml"

    def bring(self, *indices: int, file: Path | None = None) -> None:
        """Copy the operator's file, or another one, to hosts: it is there whole, as `scp` and `mv` leave it."""
        for index in indices:
            unfinished = self.directory / "unfinished"
            shutil.copy(file or self.file, unfinished)
            unfinished.rename(self.file_of(index))

    def edition_of(self, index: int) -> int:
        """The newest edition that a server has made durable."""
        return load_configuration(server_directory(self.directory, index) / EDITION_FILE).edition

    async def until_edition(self, number: int, *indices: int) -> None:
        """Wait until servers, by default all, use an edition."""
        indices = indices or tuple(range(self.n))
        await until(lambda: all(self.edition_of(index) == number for index in indices), f"{indices} use {number}")


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    """Six servers (t = b = 1), each with a cluster file of its own."""
    hosts = Hosts(tmp_path / "cluster")
    hosts.processes.start(PATIENCE_S)
    with running(hosts):
        yield hosts


def edition_at(cluster: Cluster) -> int:
    return cluster._node.editions.edition.number


async def until_all_up(hosts: Hosts, cluster: Cluster) -> None:
    await until(lambda: not cluster._node.failures, f"all connected: {cluster._node.failures}")


async def test_a_server_moves_under_load_and_everybody_follows(hosts: Hosts) -> None:
    """Its new address is brought to two servers of six; the others and the client get it from these.

    No call is lost, and the client, which goes on with the file that it started with, calls the server at its new
    address. A client that starts with the old file gets there too.
    """
    old = hosts.directory / "old.toml"
    shutil.copy(hosts.file, old)
    [address] = free_addresses(1)
    async with client(hosts) as cluster, Load(cluster, ["a", "b"]) as load:
        await load.progress(20)
        move_server(hosts.file, 2, address)
        hosts.bring(2, 4)
        await hosts.until_edition(2)
        await until(lambda: edition_at(cluster) == 2, "the client uses edition 2")
        await until_all_up(hosts, cluster)
        await load.progress(20)
        assert cluster._node._transport.credentials.address_of(2) == hosts.address(2)
        await load.stop()
        await verify(cluster, load.record)
        assert load.record.errors == []
    shutil.copy(old, hosts.file)
    async with client(hosts) as late:
        await until(lambda: edition_at(late) == 2, "a client with the old file uses edition 2")
        await until_all_up(hosts, late)


async def test_one_server_convinces_nobody(hosts: Hosts, tmp_path: Path) -> None:
    """One of six may lie: an edition that one alone announces is not taken, and calls go on."""
    new = tmp_path / "new.toml"
    shutil.copy(hosts.file, new)
    move_server(new, 2, free_addresses(1)[0])
    hosts.bring(4, file=new)
    await hosts.until_edition(2, 4)
    async with client(hosts) as cluster, Load(cluster, ["a"]) as load:
        await load.progress(100)
        assert edition_at(cluster) == 1
    assert [hosts.edition_of(index) for index in (0, 1, 2, 3, 5)] == [1] * 5


async def test_a_server_that_was_down_gets_the_edition_when_it_starts(hosts: Hosts) -> None:
    """It asks the others before it listens, and a restart with the old file does not take it back."""
    await hosts.kill(5)
    move_server(hosts.file, 2, free_addresses(1)[0])
    hosts.bring(2, 4)
    await hosts.until_edition(2, 0, 1, 2, 3, 4)
    await hosts.start(5)
    assert hosts.edition_of(5) == 2
    assert load_configuration(hosts.file_of(5)).edition == 1
    await hosts.kill(0, 1, 2, 3, 4, 5)
    await hosts.start_all()
    async with client(hosts) as cluster:
        await until_all_up(hosts, cluster)
        assert edition_at(cluster) == 2


async def test_two_files_of_one_number_are_refused_and_named(hosts: Hosts, tmp_path: Path) -> None:
    """Two operators make edition 2: who has one refuses the other, in words, and edition 3 leads out of it."""
    other = tmp_path / "other.toml"
    shutil.copy(hosts.file, other)
    move_server(hosts.file, 2, free_addresses(1)[0])
    move_server(other, 3, free_addresses(1)[0])
    await hosts.kill(3, 4, 5)  # else all of them take over the first file that b + 1 have
    hosts.bring(0, 1, 2)
    await hosts.until_edition(2, 0, 1, 2)
    hosts.bring(3, 4, 5, file=other)
    await hosts.start(3, 4, 5)
    await hosts.until_edition(2)
    hosts.bring(0, file=other)
    await until(lambda: "another file of edition 2 than the one in use" in hosts.log_of(0), "the refusal is logged")
    # Not by `client`: server 3 is where the other file says, so this one finds five.
    connection = connect(hosts.file, identity="admin", deadline=PATIENCE_S, connect_timeout=PATIENCE_S)
    async with connection as cluster, Load(cluster, ["a"]) as load:
        await load.progress(10)
        move_server(hosts.file, 3, free_addresses(1)[0])
        hosts.bring(0, 3)
        await hosts.until_edition(3)
        await until(lambda: edition_at(cluster) == 3, "the client uses edition 3")
        await load.progress(10)
        await load.stop()
        await verify(cluster, load.record)


async def test_an_older_and_a_foreign_file_are_refused_and_named(hosts: Hosts, tmp_path: Path) -> None:
    """The log names the file and why; a restart with a foreign file is refused with the same words."""
    old = tmp_path / "old.toml"
    shutil.copy(hosts.file, old)
    move_server(hosts.file, 2, free_addresses(1)[0])
    hosts.bring(*range(6))
    await hosts.until_edition(2)
    hosts.bring(0, file=old)
    await until(lambda: "is of edition 1 and edition 2 is in use" in hosts.log_of(0), "the older file is named")
    foreign = tmp_path / "foreign.toml"
    configuration = load_configuration(hosts.file)
    save_configuration(foreign, msgspec.structs.replace(configuration, cluster_id=bytes(16), edition=3), is_new=True)
    hosts.bring(1, file=foreign)
    await until(lambda: "it is the file of another cluster" in hosts.log_of(1), "the foreign file is named")
    assert [hosts.edition_of(index) for index in range(6)] == [2] * 6
