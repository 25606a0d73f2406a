"""Real servers: a backup, a restore into a new cluster, kill -9 in the middle of each, and what is refused."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fivefold import (
    NOT_APPLIED,
    Account,
    BackupError,
    ConfigurationError,
    Counter,
    DataDirectoryError,
    connect,
    transfer,
)
from fivefold.cluster import LocalCluster, free_addresses, load_configuration, load_identity
from fivefold.storage import BackupFile
from fivefold.upkeep import check_backup, restore_cluster, restore_server
from tests.integration.rig import ENVIRONMENT, Site, client, environment, running, until

pytestmark = [pytest.mark.integration, pytest.mark.long, pytest.mark.ci, pytest.mark.timeout(240)]

COUNT = 60


def command(*words: str, wait: bool = True) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "fivefold", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **ENVIRONMENT},
    )
    if wait:
        process.wait(120)
    return process


def fivefold(*words: str, code: int = 0) -> str:
    process = command(*words)
    out, err = process.communicate(timeout=10)
    assert process.returncode == code, out + err
    return out + err


async def fill(site: Site) -> str:
    """Counters, two accounts, and one call whose id is kept."""
    async with client(site) as cluster:
        await asyncio.gather(*(cluster.object(Counter, f"c{n}").increment(n + 1) for n in range(COUNT)))
        a, b = cluster.object(Account, "a"), cluster.object(Account, "b")
        await a.deposit(100)
        call_id = cluster.new_id(transfer, a, b)
        await cluster.call_with_id(call_id, transfer, a, b, amount=30)
        return call_id


def serving(directory: Path, n: int):
    """The servers of a restored cluster."""

    def serve(index: int) -> list[str]:
        words = [sys.executable, "-m", "fivefold", "serve", "--cluster", str(directory / "cluster.toml")]
        return [*words, "--identity", str(directory / f"server-{index}")]

    return LocalCluster(n, serve, directory / "logs")


def test_a_cluster_begins_with_a_backup(tmp_path: Path) -> None:
    """Of another size, with new servers and the old clients: values, atomicity, and the fate of old calls are there."""
    site = Site(tmp_path / "old")
    with running(site):
        call_id = asyncio.run(fill(site))
        said = fivefold("backup", str(tmp_path / "b"), "--cluster", str(site.file))
        assert f"{COUNT + 2} objects" in said
        assert "All of it is of one moment" in said
    assert "one moment" in fivefold("backup", str(tmp_path / "b"), "--check")
    new = tmp_path / "new"
    words = [word for address in free_addresses(4) for word in ("--server", address)]
    said = fivefold("restore", str(tmp_path / "b"), str(new), "-t", "1", "-b", "0", *words)
    assert "a new cluster of 4 servers" in said
    assert load_configuration(new / "cluster.toml").cluster_id != load_configuration(site.file).cluster_id

    async def look() -> None:
        async with connect(new / "cluster.toml", identity=site.directory / "client-admin") as cluster:
            values = await asyncio.gather(*(cluster.object(Counter, f"c{n}").get() for n in range(COUNT)))
            assert values == [n + 1 for n in range(COUNT)]
            assert await cluster.object(Counter, "c0").increment() == 2
            a, b = cluster.object(Account, "a"), cluster.object(Account, "b")
            assert (await a.balance(), await b.balance()) == (70, 30)
            assert await cluster.resolve(call_id) is not NOT_APPLIED
            assert (await a.balance(), await b.balance()) == (70, 30)
            await cluster.call(transfer, a, b, amount=20)
            assert (await a.balance(), await b.balance()) == (50, 50)

    with serving(new, 4):
        asyncio.run(look())
        assert "All of it is of one moment" in fivefold(
            *("backup", str(tmp_path / "b2"), "--cluster", str(new / "cluster.toml")),
            *("--identity", str(site.directory / "client-admin")),
        )


@pytest.fixture
def backed(tmp_path: Path) -> Path:
    """A directory with ``b``, a backup, and ``old``, its cluster, which is stopped."""
    site = Site(tmp_path / "old")
    with running(site):
        asyncio.run(fill(site))
        fivefold("backup", str(tmp_path / "b"), "--cluster", str(site.file))
    return tmp_path


def test_a_server_of_the_old_cluster_is_not_put_back(backed: Path) -> None:
    """It would forget what it has accepted since; the message says what to do instead."""
    old = backed / "old"
    with BackupFile(backed / "b") as file:
        check_backup(file)
        configuration = load_configuration(old / "cluster.toml")
        with pytest.raises(BackupError, match=r"this very cluster.*make a new cluster"):
            asyncio.run(restore_server(file, configuration, load_identity(old / "server-0"), backed / "elsewhere"))
    assert not (backed / "elsewhere").exists()


def test_a_server_that_has_run_is_not_restored(backed: Path) -> None:
    """Neither over its data, nor beside them."""
    with BackupFile(backed / "b") as file:
        new = backed / "new"
        asyncio.run(restore_cluster(file, new, free_addresses(6), t=1, b=1, publics={}))
        configuration, identity = load_configuration(new / "cluster.toml"), load_identity(new / "server-0")
        for data, says in ((new / "server-0.data", "exists already"), (new / "other", "has stored data")):
            with pytest.raises(DataDirectoryError, match=says):
                asyncio.run(restore_server(file, configuration, identity, data))
        with pytest.raises(ConfigurationError, match="exists already"):
            asyncio.run(restore_cluster(file, new, free_addresses(6), t=1, b=1, publics={}))


def test_six_owners_restore_each_their_own(backed: Path) -> None:
    """One puts the cluster file together; each makes the data of the own server, at home."""
    words = []
    for index, address in enumerate(free_addresses(6)):
        fivefold("identity", str(backed / f"home-{index}"))
        words += ["--server", f"{address}={backed / f'home-{index}.public'}"]
    fivefold("restore", str(backed / "b"), str(backed / "new"), *words)
    assert sorted(path.name for path in (backed / "new").iterdir()) == ["cluster.toml"]
    file = str(backed / "new" / "cluster.toml")
    for index in range(6):
        said = fivefold("restore", str(backed / "b"), "--cluster", file, "--identity", str(backed / f"home-{index}"))
        assert f"{COUNT + 2} objects" in said

    def serve(index: int) -> list[str]:
        words = [sys.executable, "-m", "fivefold", "serve", "--cluster", file]
        return [*words, "--identity", str(backed / f"home-{index}")]

    async def look() -> int:
        async with connect(file, identity=backed / "old" / "client-admin") as cluster:
            return await cluster.object(Counter, "c7").get()

    with LocalCluster(6, serve, backed / "logs"):
        assert asyncio.run(look()) == 8


def test_a_killed_backup_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kill -9 at several moments: the next run ends it, and nothing is missing."""
    site = Site(tmp_path / "old")
    with running(site):
        asyncio.run(fill(site))
        for delay in (0.6, 0.8, 1.0, 1.3):
            process = command("backup", str(tmp_path / "b"), "--cluster", str(site.file), wait=False)
            time.sleep(delay)
            process.send_signal(signal.SIGKILL)
            process.communicate(timeout=20)
        assert f"{COUNT + 2} objects" in fivefold("backup", str(tmp_path / "b"), "--cluster", str(site.file))
    assert "one moment" in fivefold("backup", str(tmp_path / "b"), "--check")


def test_a_backup_goes_on_after_it_and_all_servers_are_killed_together(tmp_path: Path) -> None:
    """Kill -9 of seven processes, at several moments: the servers start again, and the next run ends the backup."""
    site = Site(tmp_path / "old")
    with running(site):
        asyncio.run(fill(site))
        for delay in (0.7, 1.0):
            process = command("backup", str(tmp_path / "b"), "--cluster", str(site.file), wait=False)
            time.sleep(delay)
            process.send_signal(signal.SIGKILL)
            asyncio.run(site.kill_all())
            process.communicate(timeout=20)
            asyncio.run(site.start_all())
        assert f"{COUNT + 2} objects" in fivefold("backup", str(tmp_path / "b"), "--cluster", str(site.file))
    assert "one moment" in fivefold("backup", str(tmp_path / "b"), "--check")


def test_a_killed_restore_goes_on(backed: Path) -> None:
    """Kill -9 whenever another server's data are done: the same command goes on, and the directory appears whole."""
    new, unfinished = backed / "new", backed / "new.unfinished"
    words = [word for address in free_addresses(6) for word in ("--server", address)]
    for done in (0, 2, 4):
        process = command("restore", str(backed / "b"), str(new), *words, wait=False)
        asyncio.run(until(lambda n=done: (unfinished / f"server-{n}.data").exists() or new.exists(), "a server's data"))
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=20)
        if new.exists():
            break
        assert not new.exists()
    if not new.exists():
        first = (unfinished / "cluster.toml").read_text()
        other = [word for address in free_addresses(6) for word in ("--server", address)]
        assert "another restore" in fivefold("restore", str(backed / "b"), str(new), *other, code=1)
        fivefold("restore", str(backed / "b"), str(new), *words)
        assert (new / "cluster.toml").read_text() == first
    assert not unfinished.exists()

    async def look() -> list[int]:
        async with connect(new / "cluster.toml", identity=backed / "old" / "client-admin") as cluster:
            return list(await asyncio.gather(*(cluster.object(Counter, f"c{n}").get() for n in range(COUNT))))

    with environment(ENVIRONMENT), serving(new, 6):
        assert asyncio.run(look()) == [n + 1 for n in range(COUNT)]


def test_a_damaged_backup_is_not_restored(backed: Path) -> None:
    """Nothing is made of it."""
    path = backed / "b" / "backup.sqlite"
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    words = [word for address in free_addresses(6) for word in ("--server", address)]
    said = fivefold("restore", str(backed / "b"), str(backed / "new"), *words, code=1)
    assert "damaged" in said
    assert said.strip().count("\n") == 0
    assert not list(backed.glob("new*"))
