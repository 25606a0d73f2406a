"""The Linux kernel's own NFSv3 client, in a user-mode Linux on a tap device, over six real servers.

Debian: user-mode-linux kmod iproute2 nfs-common git postmark dbench stress-ng.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from fivefold.gateways.nfs import MODULE
from tests.integration.rig import ROOT, Site, running, until
from tests.nfs_client import OK, Client
from tests.nfs_rig import Wire, gateway_process

PROGRAMS = ("linux.uml", "ip", "modprobe", "mount.nfs", "git", "postmark", "dbench", "stress-ng")
MISSING = [each for each in PROGRAMS if shutil.which(each) is None]
GUEST = ROOT / "tests" / "integration" / "nfs_guest.sh"
GUEST_S = 800.0
RACES = ("mkdir", "create", "link", "rename")

pytestmark = [
    pytest.mark.integration,
    pytest.mark.long,
    pytest.mark.timeout(900),
    pytest.mark.skipif(bool(MISSING), reason=f"{', '.join(MISSING)} not installed"),
]


class Network:
    """A tap device of this host: the guest's only neighbour is the gateway."""

    def __init__(self) -> None:
        number = os.getpid() % 250 + 1
        self.tap, self.gateway, self.guest = f"ffnfs{number}", f"10.77.{number}.1", f"10.77.{number}.2"

    def __enter__(self) -> Network:
        for words in (
            ["ip", "tuntap", "add", self.tap, "mode", "tap"],
            ["ip", "addr", "add", f"{self.gateway}/24", "dev", self.tap],
            ["ip", "link", "set", self.tap, "up"],
        ):
            done = subprocess.run(words, capture_output=True, text=True, check=False)
            if done.returncode:
                pytest.skip(f"no tap device can be made here: {done.stderr.strip()}")
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run(["ip", "link", "del", self.tap], check=False)


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    with Network() as found:
        yield found


@pytest.fixture
def kernel_site(tmp_path: Path) -> Iterator[Site]:
    with running(Site(tmp_path / "cluster", objects=[MODULE])) as site:
        yield site


@asynccontextmanager
async def guest(network: Network, port: int, work: str, log: Path, options: str = "hard") -> AsyncIterator[Guest]:
    """A user-mode Linux that does this work; it is gone at the end of the block."""
    words = ["linux.uml", "mem=256M", "root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro", f"init={GUEST}"]
    words += ["con=null", "con0=fd:0,fd:1", "quiet", f"vec0:transport=tap,ifname={network.tap},depth=128,gro=1"]
    words += [f"address={network.guest}", f"gateway={network.gateway}", f"port={port}", f"work={work}"]
    words += [f"repo={ROOT}", f"options={options}"]
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(*words, stdin=asyncio.subprocess.DEVNULL, stdout=out, stderr=out)
        try:
            yield Guest(process, log)
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


@asynccontextmanager
async def working(
    site: Site, network: Network, work: str, log: Path, options: str = "hard"
) -> AsyncIterator[tuple[asyncio.subprocess.Process, int, Guest]]:
    """A gateway process, its port, and a guest that works on its tree."""
    arguments = ("--no-root-squash", "--host", network.gateway)
    async with (
        gateway_process(site.file, *arguments) as (process, port),
        guest(network, port, work, log, options) as kernel,
    ):
        yield process, port, kernel


class Guest:
    """A running one."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self._process, self._log = process, log

    def text(self) -> str:
        return self._log.read_text(errors="replace")

    async def end(self) -> str:
        """What it printed; it must have done all its work without an error."""
        async with asyncio.timeout(GUEST_S):
            await self._process.wait()
        assert "RESULT 0" in self.text(), self.text()[-4000:]
        return self.text()


@pytest.mark.ci
async def test_git_and_tar_work_while_servers_die_and_lie(kernel_site: Site, network: Network, tmp_path: Path) -> None:
    """No error reaches the kernel, git fsck is clean, tar's copy is the same, and the gateway names the liar."""
    async with working(kernel_site, network, "git,tar,postmark,git", tmp_path / "log") as (process, _, kernel):
        await happens(kernel, "PART git")
        await kernel_site.kill(1)
        await happens(kernel, "PART tar")
        await kernel_site.start(1)
        await happens(kernel, "PART postmark")
        await asyncio.to_thread(kernel_site.processes.restart, 4, ["--lie", "macs"])
        await happens(kernel, "PART git", 2)
        await asyncio.to_thread(kernel_site.processes.restart, 4, ["--lie", "answers"])
        await kernel.end()
        process.terminate()
        assert process.stdout is not None
        assert "server 4: LIE" in (await process.stdout.read()).decode()


async def happens(kernel: Guest, text: str, times: int = 1) -> None:
    """Wait until the guest has printed this so often."""
    async with asyncio.timeout(GUEST_S):
        while kernel.text().count(text) < times:
            assert "RESULT" not in kernel.text(), kernel.text()[-4000:]
            await asyncio.sleep(0.2)


@pytest.mark.parametrize("work", ["dbench,stress", "links"])
async def test_stressors_end_without_an_error(kernel_site: Site, network: Network, tmp_path: Path, work: str) -> None:
    """dbench, and stress-ng's dentry, dir, link, symlink, rename, chmod, utime and touch."""
    async with working(kernel_site, network, work, tmp_path / "log") as (_, _, kernel):
        await kernel.end()


@pytest.mark.ci
async def test_of_a_kernel_and_another_client_just_one_gets_each_name(
    kernel_site: Site, network: Network, tmp_path: Path
) -> None:
    """Both race for the same directories, exclusive creates, links and renames: one winner each."""
    nfs_rs = pytest.importorskip("nfs_rs", reason="nfs-rs is not installed (PyPI)")
    won: set[str] = set()
    async with (
        working(kernel_site, network, "race", tmp_path / "log", "noac") as (_, port, kernel),
        Wire(port, network.gateway) as wire,
    ):
        client = Client(wire.carry, 0, (0,))
        root = await client.mount(b"/x")
        await client.create(root, b"source")
        for at in range(1, 31):
            await client.create(root, b"m%d" % at)
        rival = await nfs_rs.AsyncClient.connect(
            f"nfs://{network.gateway}/x", versions=("3",), nfs_port=port, mount_port=port, uid=0, gid=0
        )
        await until(lambda: is_there(client, root, b"ready"), "the guest is ready")
        await client.create(root, b"go")
        for at in range(1, 31):
            found = await asyncio.gather(
                rival.mkdir(f"/d{at}"),
                client.create(root, b"f%d" % at, 2, bytes([at] * 8)),  # nfs-rs has no exclusive create
                rival.link("/source", f"/l{at}"),
                rival.rename(f"/m{at}", f"/other{at}"),
                return_exceptions=True,
            )
            for what, each in zip(RACES, found, strict=True):
                assert each is None or isinstance(each, tuple | nfs_rs.NfsError), each
                if each is None or (isinstance(each, tuple) and each[0] == OK):
                    won.add(f"{what} {at}")
        await rival.close()
        text = await kernel.end()
        names = (await client.readdir(root, 8000))[1]
    others = {line.removeprefix("WON ").strip() for line in text.splitlines() if line.startswith("WON ")}
    assert not won & others
    assert won | others == {f"{what} {at}" for what in RACES for at in range(1, 31)}
    assert len([each for each in names if each.startswith((b"kernel", b"other"))]) == 30


async def is_there(client: Client, directory: bytes, name: bytes) -> bool:
    """Whether a name is there."""
    return (await client.lookup(directory, name))[0] == OK
