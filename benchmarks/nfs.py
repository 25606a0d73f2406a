"""The NFS gateway over a cluster beside the same gateway over plain memory, in turns, in one run.

PostMark's work (files of 500 to 10,000 bytes are created, read, appended to and removed), the latency of metadata
operations, creates in a small and in a large directory, and a tree of 20 MB copied in. Load comes from one process over
loopback TCP, as from one mount. Every server is a process of its own in memory.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import struct
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import nfs_fill
from figure import carry_out, finish, parser

import fivefold
from fivefold.cluster import LocalCluster, create_cluster, free_addresses, serve_command, server_directory
from fivefold.gateways.nfs import MODULE
from fivefold.gateways.nfs.xdr import Reader, Writer

NO_CHANGES = bytes(24)
FILE_MODE = struct.pack(">II", 1, 0o644) + bytes(20)
DIRECTORY_MODE = struct.pack(">II", 1, 0o755) + bytes(20)
ATTRIBUTES_BYTES = 84
SECONDS = 2.0
"""Of each measurement of a rate."""
START_S = 180.0
"""Patience for the servers' start, on a busy machine."""
FILES_FIRST = 96
"""Files that PostMark begins with, of all workers together."""
CALLS = 40
"""Of each metadata operation, for a median."""
MEMORY = "memory"


class Mount:
    """A client that keeps many calls in flight on one connection."""

    def __init__(self) -> None:
        self._xid = 0
        self._waiting: dict[int, asyncio.Future[Reader]] = {}
        self._credentials = bytes(Writer().u32(1).opaque(bytes(Writer().u32(0).opaque(b"b").u32(0).u32(0).u32(0).data))
                                  .u32(0).u32(0).data)  # fmt: skip

    async def connect(self, port: int) -> None:
        """Connect to a server on loopback."""
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", port)
        self._task = asyncio.create_task(self._receive())

    async def open(self, port: int, path: bytes, mount_port: int | None = None) -> bytes:
        """Connect; gives back the root's handle."""
        mounting = self if mount_port is None else Mount()
        await mounting.connect(port if mount_port is None else mount_port)
        reader = await mounting.call(1, bytes(Writer().opaque(path).data), program=100005)
        assert reader.u32() == 0
        if mounting is not self:
            await mounting.close()
            await self.connect(port)
        return reader.opaque(64)

    async def close(self) -> None:
        """End the connection."""
        self._task.cancel()
        self._writer.close()

    async def _receive(self) -> None:
        while True:
            head = await self._reader.readexactly(8)
            size, xid = struct.unpack(">II", head)
            body = await self._reader.readexactly((size & 0x7FFF_FFFF) - 4)
            self._waiting.pop(xid).set_result(Reader(body, 20))

    async def call(self, procedure: int, arguments: bytes, *, program: int = 100003) -> Reader:
        """A procedure's results, after the RPC head."""
        self._xid += 1
        future = self._waiting[self._xid] = asyncio.get_running_loop().create_future()
        head = struct.pack(">IIIIII", self._xid, 0, 2, program, 3, procedure)
        record = head + self._credentials + arguments
        self._writer.write(struct.pack(">I", 0x8000_0000 | len(record)) + record)
        return await future

    async def ok(self, procedure: int, arguments: Writer) -> Reader:
        """A call that must succeed."""
        reader = await self.call(procedure, bytes(arguments.data))
        status = reader.u32()
        assert status == 0, f"procedure {procedure} failed with {status}"
        return reader

    async def create(self, directory: bytes, name: bytes) -> bytes:
        """CREATE; the file's handle."""
        return made(await self.ok(8, Writer().opaque(directory).opaque(name).u32(0).fixed(FILE_MODE)))

    async def mkdir(self, directory: bytes, name: bytes) -> bytes:
        """MKDIR; the directory's handle."""
        return made(await self.ok(9, Writer().opaque(directory).opaque(name).fixed(DIRECTORY_MODE)))

    async def lookup(self, directory: bytes, name: bytes) -> bytes:
        """LOOKUP; the file's handle."""
        return (await self.ok(3, Writer().opaque(directory).opaque(name))).opaque(64)

    async def getattr(self, file: bytes) -> None:
        """GETATTR."""
        await self.ok(1, Writer().opaque(file))

    async def write(self, file: bytes, offset: int, data: bytes) -> None:
        """WRITE."""
        await self.ok(7, Writer().opaque(file).u64(offset).u32(len(data)).u32(0).opaque(data))

    async def read(self, file: bytes, offset: int, count: int) -> None:
        """READ."""
        await self.ok(6, Writer().opaque(file).u64(offset).u32(count))

    async def remove(self, directory: bytes, name: bytes) -> None:
        """REMOVE."""
        await self.ok(12, Writer().opaque(directory).opaque(name))

    async def list(self, directory: bytes) -> None:
        """READDIR of all of a directory; the gateway then knows its buckets, whose first use costs a round trip."""
        cookie, verifier, is_end = 0, bytes(8), False
        while not is_end:
            reader = await self.ok(16, Writer().opaque(directory).u64(cookie).fixed(verifier).u32(65536))
            if reader.boolean():
                reader.fixed(ATTRIBUTES_BYTES)
            verifier = reader.fixed(8)
            while reader.boolean():
                reader.u64()
                reader.opaque(255)
                cookie = reader.u64()
            is_end = reader.boolean()

    async def rename(self, directory: bytes, name: bytes, new_name: bytes) -> None:
        """RENAME in one directory."""
        await self.ok(14, Writer().opaque(directory).opaque(name).opaque(directory).opaque(new_name))


def made(reader: Reader) -> bytes:
    """The handle in the results of CREATE and MKDIR."""
    assert reader.boolean()
    return reader.opaque(64)


# --- systems -----------------------------------------------------------------------------------------------------
class Running(NamedTuple):
    """A gateway that listens, and the processes behind its answers: its own first."""

    port: int
    processes: list[int]
    cluster: Path | None = None

    def processor_s(self) -> list[float]:
        """Processor seconds of each process so far."""
        ticks = os.sysconf("SC_CLK_TCK")
        stats = [Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split() for each in self.processes]
        return [(int(each[11]) + int(each[12])) / ticks for each in stats]


@asynccontextmanager
async def gateway(arguments: list[str]) -> AsyncIterator[Running]:
    """A gateway process."""
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdout=asyncio.subprocess.PIPE)
    try:
        assert process.stdout is not None
        line = (await process.stdout.readline()).decode()
        assert "serving" in line, line
        yield Running(int(line.partition("127.0.0.1:")[2].partition(".")[0]), [process.pid])
    finally:
        process.kill()  # it has nothing to lose
        await process.wait()


@asynccontextmanager
async def system(faults: int | None) -> AsyncIterator[Running]:
    """A gateway over plain memory (None), or over servers of which ``faults`` may lie."""
    if faults is None:
        async with gateway([__file__, "--serve-memory"]) as found:
            yield found
        return
    with tempfile.TemporaryDirectory(prefix="fivefold-nfs-") as name:
        directory, n = Path(name), 5 * faults + 1
        create_cluster(directory, free_addresses(n), t=faults, b=faults)
        file = directory / "cluster.toml"

        def command(index: int) -> list[str]:
            identity = server_directory(directory, index)
            objects = [MODULE, nfs_fill.__name__]
            return serve_command(file, identity=identity, data=directory / f"{index}", memory=True, objects=objects)

        servers = LocalCluster(n, command, directory / "logs")
        try:
            await asyncio.to_thread(servers.start, START_S)
            words = ["-m", "fivefold", "nfs", "--cluster", str(file), "--identity", "admin", "--port", "0"]
            async with gateway([*words, "--no-root-squash"]) as found:
                processes = found.processes + [each.pid for each in servers.servers if each.pid]
                yield Running(found.port, processes, file)
        finally:
            await asyncio.to_thread(servers.stop)


async def serve_memory() -> None:
    """The baseline: the same gateway, whose objects are plain ones in its own memory."""
    from fivefold.cli.loop import spare_collector
    from fivefold.gateways.nfs import Gateway, MemoryStore

    made = Gateway(MemoryStore(), export="files", is_squashing=False)
    port = await made.start("127.0.0.1", 0, uid=0, gid=0)
    print(f"serving memory on 127.0.0.1:{port}.", flush=True)
    spare_collector()
    await asyncio.Event().wait()


# --- work ----------------------------------------------------------------------------------------------------------
async def postmark(
    mount: Mount, root: bytes, name: bytes, workers: int, seconds: float, processor_s: Callable[[], list[float]] = list
) -> tuple[float, list[float]]:
    """PostMark transactions a second, and what processes spent on each in seconds, by their clocks ``processor_s``.

    Half are a read or an append, half a create or a removal (Katcher 1997). The files to begin with are not counted.
    """
    done, ready, began = 0, 0, 0.0
    before: list[float] = []
    go = asyncio.Event()

    async def work(number: int) -> None:
        nonlocal done, ready, began, before
        random = Random(number)
        directory = await mount.mkdir(root, b"%b-%d" % (name, number))
        files: dict[bytes, list[Any]] = {}
        counter = 0

        async def add() -> None:
            nonlocal counter
            counter += 1
            data = random.randbytes(random.randrange(500, 10_000))
            file = await mount.create(directory, b"%d" % counter)
            await mount.write(file, 0, data)
            files[b"%d" % counter] = [file, len(data)]

        for _ in range(FILES_FIRST // workers):
            await add()
        ready += 1
        if ready == workers:
            began, before = time.perf_counter(), processor_s()
            go.set()
        await go.wait()
        while time.perf_counter() < began + seconds:
            key = random.choice(list(files))
            file = await mount.lookup(directory, key)
            if random.random() < 0.5:
                await mount.read(file, 0, 65536)
            else:
                data = random.randbytes(random.randrange(1, 2000))
                await mount.write(file, files[key][1], data)
                files[key][1] += len(data)
            if random.random() < 0.5:
                await add()
            elif len(files) > 5:
                key = random.choice(list(files))
                await mount.remove(directory, key)
                del files[key]
            done += 1

    await asyncio.gather(*map(work, range(workers)))
    rate = done / (time.perf_counter() - began)
    return rate, [(after - each) / done for each, after in zip(before, processor_s(), strict=True)]


async def latencies(mount: Mount, root: bytes, name: bytes, count: int) -> dict[str, float]:
    """Median milliseconds of each metadata operation, one at a time."""
    directory = await mount.mkdir(root, name)
    taken: dict[str, list[float]] = {}

    async def timed(what: str, work: Awaitable[Any]) -> Any:
        began = time.perf_counter()
        answer = await work
        taken.setdefault(what, []).append((time.perf_counter() - began) * 1000)
        return answer

    for at in range(count):
        file = await timed("create", mount.create(directory, b"%d" % at))
        await timed("getattr", mount.getattr(file))
        await timed("lookup", mount.lookup(directory, b"%d" % at))
        await timed("rename", mount.rename(directory, b"%d" % at, b"r%d" % at))
        await timed("remove", mount.remove(directory, b"r%d" % at))
    return {what: statistics.median(each) for what, each in taken.items()}


async def metadata(mount: Mount, root: bytes, name: bytes, workers: int, seconds: float) -> float:
    """Metadata operations a second: create, getattr, lookup, rename, remove in turns, in a directory a worker."""
    done, deadline = 0, time.perf_counter() + seconds

    async def work(number: int) -> None:
        nonlocal done
        directory = await mount.mkdir(root, b"%b-%d" % (name, number))
        while time.perf_counter() < deadline:
            file = await mount.create(directory, b"a")
            await mount.getattr(file)
            await mount.lookup(directory, b"a")
            await mount.rename(directory, b"a", b"b")
            await mount.remove(directory, b"b")
            done += 5

    began = time.perf_counter()
    await asyncio.gather(*map(work, range(workers)))
    return done / (time.perf_counter() - began)


async def fill(running: Running, mount: Mount, directory: bytes, count: int) -> None:
    """Fill a directory with names of few files, which need no inode each; a large one over servers at once."""
    if running.cluster is not None and count > 100:
        async with fivefold.connect(running.cluster, identity="admin", objects=[MODULE, nfs_fill.__name__]) as cluster:
            await nfs_fill.fill_directory(cluster, "files", id_of(directory), id_of(directory), count)
        return
    numbers = iter(range(count))

    async def work(at: int) -> None:
        file = await mount.create(directory, b"file-%d" % at)
        for number in numbers:
            await mount.ok(15, Writer().opaque(file).opaque(directory).opaque(b"name-%d" % number))

    await asyncio.gather(*map(work, range(1 if count <= 100 else 16)))


def id_of(handle: bytes) -> int:
    """The file id in a handle."""
    return int.from_bytes(handle[8:16], "big")


async def creates(mount: Mount, directories: list[bytes], count: int) -> list[float]:
    """Median milliseconds of a create in each directory, in turns; each keeps its size."""
    taken: list[list[float]] = [[] for _ in directories]
    for at in range(count):
        for index, directory in enumerate(directories):
            began = time.perf_counter()
            name = b"new-%d-%f" % (at, began)
            await mount.create(directory, name)
            taken[index].append((time.perf_counter() - began) * 1000)
            await mount.remove(directory, name)
    return [statistics.median(each) for each in taken]


async def copy_in(mount: Mount, root: bytes, name: bytes, size: int) -> float:
    """MB/s of a tree with files of 1 kB to 400 kB, eight files at a time."""
    random, left, sizes = Random(1), size, []
    while left > 0:
        sizes.append(min(left, random.choice((1000, 5000, 20_000, 100_000, 400_000))))
        left -= sizes[-1]
    directory = await mount.mkdir(root, name)
    waiting = iter(enumerate(sizes))

    async def work() -> None:
        for number, each in waiting:
            file = await mount.create(directory, b"%d" % number)
            for offset in range(0, each, 262_144):
                await mount.write(file, offset, bytes(min(262_144, each - offset)))

    began = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(8)))
    return size / 1e6 / (time.perf_counter() - began)


async def measure_other(server: str, rounds: int) -> None:
    """Latencies and PostMark of another server: PORT:MOUNT_PORT:PATH, on loopback."""
    port, mount_port, path = server.split(":")
    mount = Mount()
    root = await mount.open(int(port), path.encode(), int(mount_port))
    latency = [await latencies(mount, root, b"other-l%d" % at, CALLS) for at in range(rounds)]
    for what in latency[0]:
        print(f"{what} p50 ms {statistics.median(each[what] for each in latency):.3f}")
    for workers in (1, 16):
        found = [await postmark(mount, root, b"other-%d-%d" % (workers, at), workers, SECONDS) for at in range(rounds)]
        print(f"PostMark/s, {workers} at once {statistics.median([rate for rate, _ in found]):.0f}")
    await mount.close()


class System(NamedTuple):
    """A system to compare, with the directories for creates."""

    label: str
    running: Running
    mount: Mount
    root: bytes
    directories: list[bytes]


async def measure(
    faults: list[int], rounds: int, seconds: float, large: int, megabytes: int
) -> dict[str, dict[str, list[float]]]:
    """All figures: of each system a list with one value a round. The systems take turns in each round."""
    results: dict[str, dict[str, list[float]]] = {}

    def note(label: str, what: str, value: float) -> None:
        results.setdefault(label, {}).setdefault(what, []).append(value)
        print(f"{label:8} {what:28} {value:10.3f}", flush=True)

    async with AsyncExitStack() as stack:
        systems = []
        for label, which in [(MEMORY, None), *((f"f={each}", each) for each in faults)]:
            running, mount = await stack.enter_async_context(system(which)), Mount()
            root = await mount.open(running.port, b"/files")
            stack.push_async_callback(mount.close)
            directories = []
            if which in (None, 1):
                directories = [await mount.mkdir(root, b"small"), await mount.mkdir(root, b"big")]
                await fill(running, mount, directories[0], 100)
                await fill(running, mount, directories[1], large)
                for each in directories:
                    await mount.list(each)
            systems.append(System(label, running, mount, root, directories))
        for at in range(rounds):
            for each in systems:
                for what, value in await measure_one(each, b"round%d" % at, seconds, large, megabytes):
                    note(each.label, what, value)
    return results


async def measure_one(one: System, tag: bytes, seconds: float, large: int, megabytes: int) -> list[tuple[str, float]]:
    """One round of one system."""
    found: list[tuple[str, float]] = []
    for workers in (1, 16):
        name, clocks = tag + b"p%d" % workers, one.running.processor_s
        rate, used = await postmark(one.mount, one.root, name, workers, seconds, clocks)
        found.append((f"PostMark/s, {workers} at once", rate))
        for what, each in (("gateway", used[0]), ("servers", sum(used[1:]))):
            found.append((f"{what} µs of processor a transaction, {workers} at once", each * 1e6))
    found.append(("metadata/s, 16 at once", await metadata(one.mount, one.root, tag + b"m", 16, seconds)))
    took = await latencies(one.mount, one.root, tag + b"l", CALLS)
    found += [(f"{what} p50 ms", value) for what, value in took.items()]
    if one.directories:
        few, many = await creates(one.mount, one.directories, CALLS)
        found += [("create p50 ms, 100 names", few), (f"create p50 ms, {large} names", many)]
        found.append(("copy in MB/s", await copy_in(one.mount, one.root, tag + b"c", megabytes * 10**6)))
    return found


def numbers_of(results: dict[str, dict[str, list[float]]]) -> dict[str, float]:
    """Medians over the rounds of each system, and their ratios to the baseline's."""
    numbers: dict[str, float] = {}
    for what in results[MEMORY]:
        for label, found in results.items():
            if what not in found:
                continue
            value, base = statistics.median(found[what]), statistics.median(results[MEMORY][what])
            numbers[f"{what}: {label}"] = float(f"{value:.3g}")
            if label != MEMORY and base > 0:
                numbers[f"{what}: {label} / {MEMORY}"] = float(f"{value / base:.3g}")
    return numbers


def main() -> None:
    """Measure, save, print."""
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    options = parser(__doc__, "nfs", seconds=2.0)
    options.add_argument("--faults", default="1,2,3")
    options.add_argument("--large", type=int, default=100_000, help="names in the large directory")
    options.add_argument("--megabytes", type=int, default=20)
    options.add_argument("--server", help="only measure the latencies of this server: PORT:MOUNT_PORT:PATH")
    options.add_argument("--serve-memory", action="store_true", help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.serve_memory:
        run(serve_memory())
    elif chosen.server:
        run(measure_other(chosen.server, chosen.rounds))
    else:
        faults = [int(each) for each in chosen.faults.split(",") if each]
        results = run(measure(faults, chosen.rounds, chosen.seconds, chosen.large, chosen.megabytes))
        title = "The NFS gateway over servers in memory, TLS, beside the same gateway over plain memory"
        finish(chosen, [], figure="file-system", title=title, x_label="", numbers=numbers_of(results))


def run(work: Any) -> Any:
    """On uvloop, as the gateway does."""
    import uvloop

    return uvloop.run(work)


if __name__ == "__main__":
    carry_out(main)
