"""``fivefold nfs`` as a process, over six durable server processes: copies, crashes, lost quorums, liars."""

from __future__ import annotations

import asyncio
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from fivefold.gateways.nfs import MODULE
from tests.integration.rig import ENVIRONMENT, PATIENCE_S, Site, running, until
from tests.nfs_client import OK, Client
from tests.nfs_rig import Wire, gateway_process

pytestmark = [pytest.mark.integration, pytest.mark.long, pytest.mark.ci]

JUKEBOX = 10008


@pytest.fixture(scope="module")
def nfs_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with running(Site(tmp_path_factory.mktemp("nfs") / "cluster", objects=[MODULE])) as site:
        yield site


def fivefold(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "fivefold", "nfs", *words]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=PATIENCE_S, check=False, env={**os.environ, **ENVIRONMENT}
    )


def shown(directory: Path) -> dict[str, tuple[int, int, int, bytes]]:
    """All that a copy must keep of each file."""
    found = {}
    for path in sorted(directory.rglob("*")):
        status = path.lstat()
        content = os.readlink(path).encode() if path.is_symlink() else path.read_bytes() if path.is_file() else b""
        mode = 0 if path.is_symlink() else status.st_mode
        nlink = 0 if path.is_dir() else status.st_nlink
        found[str(path.relative_to(directory))] = (mode, nlink, 0 if path.is_symlink() else status.st_mtime_ns, content)
    return found


def test_a_tree_that_is_imported_comes_back_the_same(nfs_site: Site, tmp_path: Path) -> None:
    """Contents, modes, times, hard and symbolic links and FIFOs; what cannot be copied is named."""
    source = tmp_path / "source"
    (source / "deep" / "er").mkdir(parents=True)
    (source / "empty").mkdir()
    random = Random(2)
    for number in range(20):
        path = source / ("deep" if number % 2 else "deep/er") / f"file {number}"
        path.write_bytes(random.randbytes(random.choice((0, 1, 65536, 70_000, 700_000))))
        path.chmod(random.choice((0o644, 0o600, 0o755)))
        os.utime(path, ns=(10**18, 10**18 + number))
    os.link(source / "deep" / "file 1", source / "hard")
    os.symlink("deep/file 1", source / "soft")
    os.mkfifo(source / "fifo")
    (source / "deep" / "er").chmod(0o750)
    for words in (["import", str(source)], ["import", str(source)], ["export", str(tmp_path / "target")]):
        done = fivefold(*words, "--cluster", str(nfs_site.file), "--identity", "admin", "--export", "copied")
        assert done.returncode == 0, done.stderr
        assert "copied 26 files and directories" in done.stdout
    assert shown(tmp_path / "target") == shown(source)
    assert stat.S_ISFIFO((tmp_path / "target" / "fifo").stat().st_mode)


def test_mistakes_are_told_in_one_sentence(nfs_site: Site, tmp_path: Path) -> None:
    """No export's name, a directory that is not empty, servers without the objects' classes."""
    common = ["--cluster", str(nfs_site.file), "--identity", "admin"]
    done = fivefold("import", str(tmp_path), *common, "--export", "a/b")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "letters, digits and _" in done.stderr
    (tmp_path / "file").touch()
    done = fivefold("export", str(tmp_path), *common)
    assert done.returncode == 1
    assert "is not empty" in done.stderr
    done = fivefold("--mount", str(tmp_path / "nothing"), *common)
    assert done.returncode == 1
    assert "is no directory" in done.stderr


@pytest.mark.parametrize("may", [True, False])
async def test_the_tree_is_mounted_where_the_user_may_and_otherwise_the_line_is_printed(
    nfs_site: Site, tmp_path: Path, may: bool
) -> None:
    """``--mount`` runs mount and, at the end, umount; a refusal is told with the exact line for root."""
    for name in ("mount", "umount"):
        script = tmp_path / name
        script.write_text(
            f'#!/bin/sh\necho {name} "$@" >> {tmp_path}/ran\necho only root may\nexit {0 if may else 1}\n'
        )
        script.chmod(0o755)
    (tmp_path / "tree").mkdir()
    async with gateway_process(nfs_site.file, "--mount", str(tmp_path / "tree"), path=str(tmp_path)) as (process, port):
        assert process.stdout is not None
        told = (await process.stdout.readline()).decode()
        line = f"mount -t nfs -o vers=3,proto=tcp,nolock,hard,port={port},mountport={port},mountproto=tcp 127.0.0.1:/x"
        if may:
            assert "mounted on" in told
        else:
            assert "not mounted: only root may" in told
            rest = [(await process.stdout.readline()).decode() for _ in range(2)]
            assert f"{line} {tmp_path}/tree" in " ".join(rest)
        process.terminate()
        await process.wait()
    ran = (tmp_path / "ran").read_text().splitlines()
    assert ran == [f"{line} {tmp_path}/tree", *([f"umount {tmp_path}/tree"] if may else [])]


async def test_what_was_answered_outlives_the_death_of_everybody(nfs_site: Site) -> None:
    """Kill -9 of the gateway and of all servers at one moment: each answered write, create and rename is there."""
    answered: dict[bytes, bytes] = {}
    async with gateway_process(nfs_site.file, "--no-root-squash") as (process, port), Wire(port) as wire:
        client = Client(wire.carry, 0, (0,))
        _, directory, _ = await client.mkdir(await client.mount(b"/x"), b"crash")

        async def work(number: int) -> None:
            for at in range(1000):
                name = b"%d-%d" % (number, at)
                status, file, _ = await client.create(directory, b"new-" + name)
                assert status == OK
                assert (await client.write(file, 0, name * 100))[0] == OK
                assert await client.rename(directory, b"new-" + name, directory, name) == OK
                answered[name] = name * 100

        workers = [asyncio.create_task(work(number)) for number in range(8)]
        await until(lambda: len(answered) >= 60, "sixty files were answered")
        process.kill()
        await nfs_site.kill_all()
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
    await nfs_site.start_all()
    async with gateway_process(nfs_site.file, "--no-root-squash") as (_, port), Wire(port) as wire:
        client = Client(wire.carry, 0, (0,))
        _, directory, _ = await client.lookup(await client.mount(b"/x"), b"crash")
        for name, data in answered.items():
            status, file, _ = await client.lookup(directory, name)
            assert status == OK, name
            assert (await client.read(file, 0, 65536))[1] == data
        listed = (await client.readdir(directory, 4000))[1]
        assert answered.keys() <= listed.keys()
        assert len(listed) <= len(answered) + 2 + 2 * 8


async def test_without_a_quorum_clients_are_told_to_come_back_and_nothing_is_done_twice(nfs_site: Site) -> None:
    """Queries get JUKEBOX; an update that was under way is answered once a quorum is back, by what became of it."""
    async with gateway_process(nfs_site.file, "--no-root-squash") as (_, port), Wire(port) as wire:
        client = Client(wire.carry, 0, (0,))
        root = await client.mount(b"/x")
        _, directory, _ = await client.mkdir(root, b"quorum")
        assert (await client.create(directory, b"before"))[0] == OK
        nfs_site.pause(0, 1, 2)
        try:
            waiting = [asyncio.create_task(client.mkdir(directory, b"%d" % at)) for at in range(3)]
            removal = asyncio.create_task(client.remove(directory, b"before"))
            assert (await client.getattr(root))[0] == JUKEBOX
        finally:
            nfs_site.resume(0, 1, 2)
        for at, task in enumerate(waiting):
            status, _, _ = await task
            while status == JUKEBOX:
                status, _, _ = await client.mkdir(directory, b"%d" % at)
            assert status == OK
        status = await removal
        while status == JUKEBOX:
            status = await client.remove(directory, b"before")
        assert status == OK
        assert sorted((await client.readdir(directory))[1]) == [b".", b"..", b"0", b"1", b"2"]


def test_the_demo_holds_its_promises() -> None:
    """A tree goes in while a server dies and another one lies, and comes back byte for byte."""
    done = subprocess.run(
        [sys.executable, "-m", "fivefold", "nfs", "demo"],
        capture_output=True, text=True, timeout=300, check=False, env={**os.environ, **ENVIRONMENT},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("✓") == 2
