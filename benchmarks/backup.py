"""Upkeep of a cluster with many objects: time, messages, memory, and what others get meanwhile.

n = 6, t = b = 1, durable, TLS, one machine. ``--objects`` counters are made by a client with 64 updates in flight; then
a client updates 16 other objects all the time, without and with each of these beside it: a backup, a second one, an
audit, a scrub pass of one server, and the replacement of a server that has lost its disk. What the others get is
compared with what they got just before and just after.

Two figures say what the others keep. One is their rate by the clock, which other programs on the machine change as
well. The other is their share by processor time: what all servers and the load's client use for an update alone, over
what these and the work beside use for an update. It is the rate that the others keep where processors are short, as
they are with everything on one machine.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import NamedTuple

from fivefold import Cluster, Counter, connect
from fivefold.cluster import (
    LocalCluster,
    ServerProcess,
    create_cluster,
    free_addresses,
    replace_server,
    serve_command,
    server_directory,
)

IN_FLIGHT = 64
LOAD_IN_FLIGHT = 16
LOAD_SECONDS = 8.0
START_S = 180.0
UPKEEP_S = 3600.0
POLL_S = 0.5
SCRUBBER, LOST = 0, 5

COUNTING = """
import sys
from fivefold.cli import main
from fivefold.transport import links
sent, send = 0, links.StreamLink.send
def counting(self, frame):
    global sent
    sent += 1
    return send(self, frame)
links.StreamLink.send = counting
try:
    main()
finally:
    print("messages:", sent, file=sys.stderr)
"""
"""Runs a command of fivefold, and says how many messages it has sent."""


class Cost(NamedTuple):
    """What something costs.

    Attributes:
        seconds: by the clock.
        processor_seconds: of its process, which a busy machine does not distort.
        megabytes: of memory, at most.
        messages: sent by it, to all servers together.
        is_command: whether that is a process of its own, and no server.
    """

    seconds: float
    processor_seconds: float
    megabytes: float
    messages: int
    is_command: bool = False

    @property
    def cells(self) -> str:
        """For the table."""
        messages = f"{self.messages:,}" if self.messages else ""
        return f"{self.seconds:.1f} | {self.processor_seconds:.1f} | {self.megabytes:.0f} MB | {messages}"


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


class Pace(NamedTuple):
    """What the others get.

    Attributes:
        rate: updates a second.
        cost_ms: of the processors for each, in the servers, the load's client and what works beside.
    """

    rate: float
    cost_ms: float


class Load:
    """A client that updates a few objects all the time."""

    def __init__(self, cluster: Cluster, servers: LocalCluster) -> None:
        """It begins at once."""
        self._count = 0
        self._servers = servers
        self._work = [asyncio.create_task(self._update(cluster, number)) for number in range(LOAD_IN_FLIGHT)]

    async def _update(self, cluster: Cluster, number: int) -> None:
        while True:
            await cluster.object(Counter, f"load-{number}").increment()
            self._count += 1

    async def pace(self, meanwhile: Awaitable[Cost | None]) -> Pace:
        """What the load gets beside something else; the cost is of that, too."""
        began, before, used = time.monotonic(), self._count, self._used_s()
        cost = await meanwhile
        count, now = max(1, self._count - before), self._used_s()
        # A server that was started meanwhile counts from its start.
        used_s = sum([seconds - used.get(pid, 0.0) for pid, seconds in now.items()])
        if cost is not None and cost.is_command:
            used_s += cost.processor_seconds
        return Pace(count / (time.monotonic() - began), used_s / count * 1000)

    def _used_s(self) -> dict[int, float]:
        """Processor time of the servers that run, and of this process, by pid."""
        servers = {pid: processor_s(each) for each in self._servers.servers if (pid := each.pid) is not None}
        return {**servers, os.getpid(): time.process_time()}

    async def stop(self) -> None:
        """It ends."""
        for task in self._work:
            task.cancel()
        await asyncio.gather(*self._work, return_exceptions=True)


class Rows:
    """The table, a row at a time."""

    def __init__(self, load: Load) -> None:
        """Print its head."""
        self._load = load
        print("| | seconds | processor s | memory | messages | updates of others/s | ms of processor each | kept |")
        print("|---|---:|---:|---:|---:|---:|---:|---:|", flush=True)

    async def row(
        self, title: str, work: Callable[[], Awaitable[Cost]], *, ready: Awaitable[None] | None = None
    ) -> None:
        """Do something beside the load, once it is time, and print what it costs and what the others get."""
        before = await self._load.pace(asyncio.sleep(LOAD_SECONDS))
        if ready is not None:
            await ready
        task = asyncio.ensure_future(work())
        during = await self._load.pace(task)
        after = await self._load.pace(asyncio.sleep(LOAD_SECONDS))
        three = (before, during, after)
        rates = ", ".join([f"{each.rate:,.0f}" for each in three])
        share = during.rate / ((before.rate + after.rate) / 2)
        costs = ", ".join([f"{each.cost_ms:.2f}" for each in three])
        kept = (before.cost_ms + after.cost_ms) / 2 / during.cost_ms
        print(f"| {title} | {task.result().cells} | {rates} ({share:.2f}) | {costs} | {kept:.2f} |", flush=True)


def run(command: Sequence[str]) -> Cost:
    """What a command of fivefold costs."""
    began = time.monotonic()
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen([sys.executable, "-c", COUNTING, *command], stdout=subprocess.DEVNULL, stderr=said)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        text = said.read()
    if process.returncode:
        raise SystemExit(f"fivefold {command[0]} failed: {text}")
    messages = int(re.findall(r"messages: (\d+)", text)[-1])
    return Cost(time.monotonic() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1000, messages, True)


# --- servers ------------------------------------------------------------------------------------------------------


def processor_s(process: ServerProcess) -> float:
    """Processor time of a server so far."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_mb(process: ServerProcess) -> float:
    """The most memory that a server has had."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())
    return int(found[1]) / 1000 if found else 0.0


async def scrub(cluster: Cluster, process: ServerProcess) -> Cost:
    """The first pass of one server, which has just begun; its processor time is for the load, too."""
    began, used_s = time.monotonic(), processor_s(process)
    while time.monotonic() < began + UPKEEP_S:
        status = (await cluster.status(timeout=20)).servers[SCRUBBER]
        if status is not None and status.place is not None and status.place.passes:
            asked = status.counters.get("upkeep-asks", 0)
            return Cost(time.monotonic() - began, processor_s(process) - used_s, peak_mb(process), asked)
        await asyncio.sleep(POLL_S)
    raise SystemExit("the scrub has not ended")


async def until_scrub(cluster: Cluster) -> None:
    """Wait until the pass begins."""
    while True:
        status = (await cluster.status(timeout=20)).servers[SCRUBBER]
        if status is not None and status.place is not None and (status.place.position or status.place.passes):
            return
        await asyncio.sleep(POLL_S)


async def replacement(cluster: Cluster, process: ServerProcess) -> Cost:
    """From the start of the newcomer until it is in standing."""
    began = time.monotonic()
    process.start()
    await asyncio.to_thread(process.wait_ready, time.monotonic() + START_S)
    while time.monotonic() < began + UPKEEP_S:
        status = (await cluster.status(timeout=20)).servers[LOST]
        place = None if status is None else status.place
        if status is not None and place is not None and place.born > 1 and place.is_standing:
            asked = status.counters.get("upkeep-asks", 0)
            return Cost(time.monotonic() - began, processor_s(process), peak_mb(process), asked)
        await asyncio.sleep(POLL_S)
    raise SystemExit("the newcomer is not in standing")


async def beside_load(directory: Path, file: Path, servers: LocalCluster) -> None:
    """Everything that works beside other clients."""
    backup = ["backup", str(directory / "backup")]
    async with connect(file, deadline=60) as cluster:
        load = Load(cluster, servers)
        rows = Rows(load)
        for title, command in (("first backup", backup), ("second backup", backup), ("audit", ["audit"])):
            await rows.row(title, partial(asyncio.to_thread, run, command))
        await asyncio.to_thread(servers.restart, SCRUBBER)
        scrubber = servers.servers[SCRUBBER]
        await rows.row("scrub pass of a server", lambda: scrub(cluster, scrubber), ready=until_scrub(cluster))
        await asyncio.to_thread(servers.kill, LOST)
        shutil.rmtree(directory / f"data-{LOST}")
        _, identity = await asyncio.to_thread(replace_server, file, LOST)
        assert identity is not None
        servers.servers[LOST]._command = serve_command(file, identity=identity, data=directory / "data-new")
        await rows.row("replacement of a server", lambda: replacement(cluster, servers.servers[LOST]))
        await load.stop()


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
            asyncio.run(beside_load(directory, file, servers))
        words = [word for address in free_addresses(6) for word in ("--server", address)]
        backup = str(directory / "backup")
        for title, command in (
            ("check of the backup", ["backup", backup, "--check"]),
            ("restore of six servers", ["restore", backup, str(directory / "new"), *words]),
        ):
            print(f"| {title} | {run(command).cells} | |", flush=True)


if __name__ == "__main__":
    main()
