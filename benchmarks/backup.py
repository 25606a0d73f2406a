"""Backup, restore and audit of a cluster with many objects: time, memory, and what others get meanwhile.

n = 6, t = b = 1, durable, TLS, one machine. ``--objects`` counters are made by a client with 64 updates in flight; then
two clients update objects of their own (8 in flight each) all the time, without and with a backup beside them.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from fivefold import Counter, connect
from fivefold.cluster import LocalCluster, create_cluster, free_addresses, serve_command, server_directory

IN_FLIGHT = 64
LOAD_IN_FLIGHT = 16
LOAD_SECONDS = 8.0
START_S = 180.0


class Cost(NamedTuple):
    """What a command costs.

    Attributes:
        seconds: by the clock.
        processor_seconds: of its process, which a busy machine does not distort.
        megabytes: of memory, at most.
    """

    seconds: float
    processor_seconds: float
    megabytes: float

    @property
    def cells(self) -> str:
        """For the table."""
        return f"{self.seconds:.1f} | {self.processor_seconds:.1f} | {self.megabytes:.0f} MB"


async def fill(file: Path, count: int) -> float:
    """Make the objects; seconds it took."""
    began = time.monotonic()
    numbers = iter(range(count))
    async with connect(file, deadline=60) as cluster:

        async def work() -> None:
            for number in numbers:
                await cluster.object(Counter, f"object-{number:07}").increment(number)

        await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))
    return time.monotonic() - began


async def load(file: Path, is_done: asyncio.Event) -> float:
    """Updates a second until told to stop."""
    began, count = time.monotonic(), 0
    async with connect(file, deadline=60) as cluster:

        async def work(number: int) -> None:
            nonlocal count
            while not is_done.is_set():
                await cluster.object(Counter, f"load-{number}").increment()
                count += 1

        await asyncio.gather(*(work(number) for number in range(LOAD_IN_FLIGHT)))
    return count / (time.monotonic() - began)


async def beside(file: Path, command: Sequence[str] | None) -> tuple[float, Cost]:
    """The rate of others while a command runs, and what that costs; or while nothing does."""
    is_done = asyncio.Event()
    rate = asyncio.create_task(load(file, is_done))
    cost = Cost(0, 0, 0)
    if command is None:
        await asyncio.sleep(LOAD_SECONDS)
    else:
        cost = await asyncio.to_thread(run, command)
    is_done.set()
    return await rate, cost


def run(command: Sequence[str]) -> Cost:
    """What a command of fivefold costs."""
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "fivefold", *command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"fivefold {command[0]} failed: {process.stderr.read() if process.stderr else ''}")
    return Cost(time.monotonic() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1000)


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, default=10_000)
    count = parser.parse_args().objects
    with tempfile.TemporaryDirectory(prefix="fivefold-backup-") as name:
        directory = Path(name)
        file = directory / "cluster.toml"
        create_cluster(directory, free_addresses(6), t=1, b=1)
        os.environ["FIVEFOLD_CLUSTER"] = str(file)

        def serve(index: int) -> list[str]:
            return serve_command(file, identity=server_directory(directory, index), data=directory / f"data-{index}")

        servers = LocalCluster(6, serve, directory / "logs")
        with ExitStack() as stack:
            stack.push(servers)
            servers.start(START_S)
            took = asyncio.run(fill(file, count))
            print(f"{count:,} objects, made in {took:.0f} s\n", flush=True)
            print("| | seconds | processor seconds | memory of the command | updates of others |")
            print("|---|---:|---:|---:|---:|", flush=True)
            alone, _ = asyncio.run(beside(file, None))
            print(f"| nothing else | | | | {alone:,.0f}/s |", flush=True)
            backup = ["backup", str(directory / "backup")]
            rows = [("first backup", backup), ("second backup", backup), ("audit", ["audit"])]
            for title, command in rows:
                rate, cost = asyncio.run(beside(file, command))
                print(f"| {title} | {cost.cells} | {rate:,.0f}/s ({rate / alone:.2f}) |", flush=True)
            again, _ = asyncio.run(beside(file, None))
            print(f"| nothing else, again | | | | {again:,.0f}/s |", flush=True)
        words = [word for address in free_addresses(6) for word in ("--server", address)]
        for title, command in (
            ("check of the backup", [*backup, "--check"]),
            ("restore of six servers", ["restore", str(directory / "backup"), str(directory / "new"), *words]),
        ):
            print(f"| {title} | {run(command).cells} | |", flush=True)


if __name__ == "__main__":
    main()
