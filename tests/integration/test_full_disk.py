"""A disk that is full under one server, and under all of them: no promises are made, none is broken, and it passes."""

import asyncio
import os
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path

import pytest

from fivefold import Cluster, Counter
from fivefold.storage.schema import PAGE_BYTES, WAL_PAGES
from tests.integration.rig import PATIENCE_S, Load, Site, client, running, until, verify

pytestmark = pytest.mark.integration

DISK_BYTES = 2 * WAL_PAGES * PAGE_BYTES
"""The log grows to half of that before it is emptied. On a disk that it fills alone, taking the ballast away would not
help: the database file needs a page or two more than there is, and what is in the log cannot be moved into it."""

VICTIM = 1


@contextmanager
def small_disk(path: Path) -> Iterator[Path]:
    """A file system of its own at a path; skips where it cannot be mounted."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    path.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=0700", "fivefold-test", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    try:
        yield path
    finally:
        subprocess.run(["umount", str(path)], check=True)


def fill(disk: Path) -> Path:
    """Take all room that is left; returns the file to remove."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (65536, 4096, 1):
            try:
                while file.write(b"x" * size):
                    pass
            except OSError:
                continue
    return ballast


async def failures(cluster: Cluster) -> list[str | None]:
    servers = (await cluster.status(timeout=PATIENCE_S)).servers
    return [server.storage_failure if server is not None else "silent" for server in servers]


def works_again(cluster: Cluster) -> Callable[[], Awaitable[bool]]:
    async def holds() -> bool:
        return await failures(cluster) == [None] * 6

    return holds


async def test_one_full_disk(tmp_path: Path) -> None:
    """The others carry on; the server says in its status that its disk is full, and works again once there is room."""
    site = Site(tmp_path / "cluster")
    with small_disk(site.data(VICTIM)) as disk, running(site):
        async with client(site) as cluster:
            async with Load(cluster, [f"k{number}" for number in range(6)]) as load:
                await load.progress_everywhere()
                ballast = fill(disk)

                async def says_so() -> bool:
                    said = await failures(cluster)
                    return said[VICTIM] is not None and "full, free some space" in said[VICTIM]

                await until(says_so, "the server says that its disk is full")
                await load.progress_everywhere(3)
                assert [index for index, failure in enumerate(await failures(cluster)) if failure] == [VICTIM]
                ballast.unlink()
                await until(works_again(cluster), "the server works again")
                await site.kill((VICTIM + 1) % 6)  # now every quorum needs it
                await load.progress_everywhere(3)
            await verify(cluster, load.record)


@pytest.mark.long
@pytest.mark.ci
async def test_every_disk_is_full(tmp_path: Path) -> None:
    """With all disks full reads go on; with room again updates do, and nothing acknowledged is lost."""
    site = Site(tmp_path / "cluster")
    with ExitStack() as stack:
        disks = [stack.enter_context(small_disk(site.data(index))) for index in range(site.n)]
        stack.enter_context(running(site))
        async with client(site) as cluster:
            reader = cluster.object(Counter, "quiet")
            assert await reader.increment() == 1
            async with Load(cluster, ["a", "b"], deadline=2.0) as load:
                await load.progress_everywhere(3)
                ballast = [fill(disk) for disk in disks]

                numbers, written = count(), []

                async def no_quorum_is_left() -> bool:
                    # New objects need room; old ones can be updated for ever in the room that the log has already.
                    # Not all servers: once updates stop, one that still has room need not write any more.
                    fresh = [cluster.object(Counter, f"new-{next(numbers)}", deadline=0.5) for _ in range(40)]
                    answers = await asyncio.gather(*(each.increment() for each in fresh), return_exceptions=True)
                    written.extend(each for each, answer in zip(fresh, answers, strict=True) if answer == 1)
                    return sum(failure is not None for failure in await failures(cluster)) >= 2

                await until(no_quorum_is_left, "two servers say that their disks are full")
                assert await reader.get() == 1
                for file in ballast:
                    file.unlink()
                await load.progress_everywhere(3)
                await until(works_again(cluster), "every server works again")
            await site.kill_all()
            await site.start_all()
            await verify(cluster, load.record)
            assert [await each.with_deadline(PATIENCE_S).get() for each in written] == [1] * len(written)
