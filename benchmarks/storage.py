"""How fast the durable store commits and loads, and how much memory a million objects take.

    python benchmarks/storage.py [--seconds 5] [--directory .] [--million]

A write replaces a 400 B history, puts a 2,500 B version and deletes the one before, on a random one of 1,000 objects
(hot) or 10,000. It counts when ``on_durable`` has named it: after the synced commit. "CPU" is the processor time of
all threads together for one write, without what the same loop takes over a store that does nothing; on a machine shared
with other work it is the figure to compare. "Beside work" has the event loop compute 0.1 ms in each of its turns.
"""

import argparse
import asyncio
import os
import platform
import random
import resource
import sqlite3
import statistics
import tempfile
import time
from collections import deque
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from fivefold.protocol.actions import Damaged, ObjectRecord, Write
from fivefold.storage import Inspector, Loaded, OnDurable, SqliteStorage, Storage
from fivefold.storage.ledger import Ledger
from fivefold.storage.schema import READER_CACHE_KIB, connect, seal_of

OBJECTS = 10_000
HOT_OBJECTS = 1000
VERSION_BYTES = 2500
HISTORY_BYTES = 400
MILLION = 1_000_000
BATCH = 1000
WORK_SECONDS = 0.0001
BARE_BYTES = 16 * 2**20


POOL = random.Random(0).randbytes(2**20)
"""What values are cut from: making random bytes would take longer than storing them."""


class Nothing:
    """A store that calls everything durable in the next turn of the event loop: what measuring itself takes."""

    failure = None
    staged_bytes = 0

    def __init__(self, loop: asyncio.AbstractEventLoop, on_durable: OnDurable) -> None:
        self._loop = loop
        self._on_durable = on_durable
        self._staged = 0

    def stage(self, sequence: int, writes: Sequence[Write]) -> None:
        """Remember the sequence."""
        if not self._staged:
            self._loop.call_soon(self._tell)
        self._staged = sequence

    def load(self, object_id: str, done: Loaded) -> None:
        """There is nothing."""
        done(None)

    def close(self) -> None:
        """Nothing to release."""

    def _tell(self) -> None:
        sequence, self._staged = self._staged, 0
        self._on_durable(sequence)


class Bench:
    """A store, and how to wait for what it was given."""

    def __init__(self, path: Path | None) -> None:
        self.loop = asyncio.get_running_loop()
        self.storage: Storage
        if path is None:
            self.storage = Nothing(self.loop, self._on_durable)
        else:
            SqliteStorage.create(path, "bench", "bench")
            self.storage = SqliteStorage(path, self.loop, self._on_durable)
        self.sequence = 0
        self.commits = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._random = random.Random(1)
        self._versions: dict[int, int] = {}

    def _on_durable(self, sequence: int) -> None:
        self.commits += 1
        while self._waiting and self._waiting[0][0] <= sequence:
            self._waiting.popleft()[1].set_result(None)

    def stage(self, writes: list[Write]) -> asyncio.Future[None]:
        """A future that is done when ``writes`` are durable."""
        self.sequence += 1
        future = self.loop.create_future()
        self._waiting.append((self.sequence, future))
        self.storage.stage(self.sequence, writes)
        return future

    async def fill(self, count: int, version_bytes: int) -> None:
        """Write ``count`` objects of two versions, a thousand a commit."""
        for start in range(0, count, BATCH):
            await self.stage([self._fresh(number, version_bytes) for number in range(start, start + BATCH)])

    def _fresh(self, number: int, version_bytes: int) -> Write:
        versions = tuple((timestamp(number, version), self._cut(version_bytes)) for version in (0, 1))
        return Write(name(number), self._cut(HISTORY_BYTES), versions)

    def update(self, objects: int = OBJECTS) -> Write:
        """The next write to a random object."""
        number = self._random.randrange(objects)
        version = self._versions.get(number, 1) + 1
        self._versions[number] = version
        put = ((timestamp(number, version), self._cut(VERSION_BYTES)),)
        return Write(name(number), self._cut(HISTORY_BYTES), put, (timestamp(number, version - 1),))

    def _cut(self, size: int) -> bytes:
        start = self._random.randrange(len(POOL) - size)
        return POOL[start : start + size]


def name(number: int) -> str:
    """Id of an object."""
    return f"Counter/object-{number:08d}"


def timestamp(number: int, version: int) -> bytes:
    """97 bytes, of which 64 stand for digests."""
    start = (number * 1009 + version) % (len(POOL) - 64)
    return version.to_bytes(16, "big") + bytes(17) + POOL[start : start + 64]


class Measured(NamedTuple):
    """Of one run: commits and writes a second, processor seconds of all threads, each write's seconds."""

    commits_per_second: float
    writes_per_second: float
    processor: float
    times: list[float]

    @property
    def processor_us(self) -> float:
        """Processor time of one write, measuring included."""
        return self.processor / len(self.times) * 1e6


async def commits(bench: Bench, in_flight: int, seconds: float, *, objects: int = OBJECTS, is_busy: bool) -> Measured:
    """Write as fast as the store does, with ``in_flight`` writes at a time."""
    times: list[float] = []
    end = time.perf_counter() + seconds

    async def client() -> None:
        while (begin := time.perf_counter()) < end:
            await bench.stage([bench.update(objects)])
            times.append(time.perf_counter() - begin)

    async def work() -> None:
        while time.perf_counter() < end:
            bench.storage.give_way()
            until = time.thread_time() + WORK_SECONDS
            while time.thread_time() < until:
                sum(range(100))
            await asyncio.sleep(0)

    before, begin, processor = bench.commits, time.perf_counter(), time.process_time()
    await asyncio.gather(*(client() for _ in range(in_flight)), *([work()] if is_busy else []))
    spent = time.perf_counter() - begin
    return Measured((bench.commits - before) / spent, len(times) / spent, time.process_time() - processor, times)


async def write_table(bench: Bench, seconds: float) -> Table:
    """Writes: hot and not, one at a time and many, with an event loop that has nothing else to do and one that has."""
    columns = ("objects", "in flight", "beside work", "commits/s", "writes/s", "p50", "p99", "CPU")
    table = Table(*columns, title="writes of 3 kB")
    for objects, in_flight, is_busy in product((HOT_OBJECTS, OBJECTS), (1, 64), (False, True)):
        measuring = await commits(Bench(None), in_flight, 0.5, objects=objects, is_busy=False)
        found = await commits(bench, in_flight, seconds, objects=objects, is_busy=is_busy)
        processor = "" if is_busy else f"{found.processor_us - measuring.processor_us:.1f} µs"
        rates = (f"{found.commits_per_second:,.0f}", f"{found.writes_per_second:,.0f}")
        what = (str(objects), str(in_flight), "yes" if is_busy else "no")
        table.add_row(*what, *rates, *latencies(found.times), processor)
    return table


async def loads(bench: Bench, in_flight: int, seconds: float) -> tuple[float, list[float]]:
    """Loads a second through the store's reading thread, and each one's seconds."""
    times: list[float] = []
    end = time.perf_counter() + seconds
    draw = random.Random(in_flight)

    async def client() -> None:
        while (begin := time.perf_counter()) < end:
            found: asyncio.Future[ObjectRecord | Damaged | None] = bench.loop.create_future()
            bench.storage.load(name(draw.randrange(OBJECTS)), found.set_result)
            assert await found is not None
            times.append(time.perf_counter() - begin)

    begin = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(in_flight)))
    return len(times) / (time.perf_counter() - begin), times


def direct(path: Path, *, is_cold: bool, count: int) -> list[float]:
    """Seconds of reads in the event loop's own thread: all of it is time in which the loop stands still."""
    connection = connect(path, cache_kib=READER_CACHE_KIB, access="mode=ro")
    draw = random.Random(count)
    ledger = Ledger.load(connection, seal_of(connection))
    times = []
    for _ in range(count):
        if is_cold:
            forget(path)
            connection.execute("PRAGMA shrink_memory")
        begin = time.perf_counter()
        ledger.read(connection, name(draw.randrange(OBJECTS)))
        times.append(time.perf_counter() - begin)
    connection.close()
    return times


def forget(path: Path) -> None:
    """Make the system drop its cached pages of the file."""
    descriptor = os.open(path, os.O_RDONLY)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)


def bare_sync(directory: Path, seconds: float, *, is_growing: bool) -> float:
    """Median seconds of writing 3 kB and fdatasync: what this disk takes today, with nothing of ours."""
    times: list[float] = []
    with tempfile.NamedTemporaryFile(dir=directory, buffering=0) as file:
        if not is_growing:
            file.write(bytes(BARE_BYTES))
            os.fsync(file.fileno())
        end = time.perf_counter() + seconds
        while (begin := time.perf_counter()) < end:
            offset = len(times) * 3072
            os.pwrite(file.fileno(), POOL[:3072], offset if is_growing else offset % (BARE_BYTES - 3072))
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - begin)
    return statistics.median(times)


def latencies(times: list[float]) -> tuple[str, str]:
    """Median and 99th percentile as text."""
    ordered = sorted(times)
    return f"{statistics.median(ordered) * 1e3:.3f} ms", f"{ordered[int(len(ordered) * 0.99)] * 1e3:.3f} ms"


async def speed(console: Console, directory: Path, seconds: float) -> None:
    """Measure writes and loads on 10,000 objects."""
    for is_growing, what in ((True, "appended to a file"), (False, "written into a file that has the room")):
        bare = bare_sync(directory, 1, is_growing=is_growing)
        console.print(f"bare 3 kB {what}, and fdatasync, in the same directory: {bare * 1e3:.3f} ms")
    path = directory / "objects.sqlite"
    bench = Bench(path)
    await bench.fill(OBJECTS, VERSION_BYTES)
    console.print(await write_table(bench, seconds))
    table = Table("what", "in flight", "loads/s", "p50", "p99", title="loads of 5.4 kB")
    for in_flight in (1, 64):
        rate, times = await loads(bench, in_flight, seconds)
        table.add_row("through the thread", str(in_flight), f"{rate:,.0f}", *latencies(times))
    for is_cold in (False, True):
        times = direct(path, is_cold=is_cold, count=300 if is_cold else 5000)
        where = "in the loop, uncached" if is_cold else "in the loop, cached"
        table.add_row(where, "1", f"{1 / statistics.mean(times):,.0f}", *latencies(times))
    bench.storage.close()
    console.print(table)


async def million(console: Console, directory: Path) -> None:
    """Fill, update, check and open a database with a million objects, and watch the memory."""
    before = resident_mb()
    path = directory / "million.sqlite"
    bench = Bench(path)
    begin = time.perf_counter()
    await bench.fill(MILLION, 200)
    console.print(
        f"a million objects (400 B history, two 200 B versions) written in {time.perf_counter() - begin:.0f} s"
    )
    rows = (await commits(bench, 64, 5, is_busy=False)).writes_per_second
    console.print(f"then updated at {rows:,.0f} writes/s with 64 in flight")
    bench.storage.close()
    for what in ("count", "quick_check", "bytes_used", "check"):
        with Inspector(path) as inspector:
            begin = time.perf_counter()
            answer = getattr(inspector, what)()
            console.print(f"{what}: {answer} in {time.perf_counter() - begin:.2f} s")
    begin = time.perf_counter()
    SqliteStorage(path, bench.loop, lambda sequence: None).close()
    console.print(f"opened and closed in {(time.perf_counter() - begin) * 1e3:.0f} ms")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    console.print(f"memory of the process: {before:.0f} MB before, {resident_mb():.0f} MB after, {peak:.0f} MB at most")


def resident_mb() -> float:
    """Memory of this process at present."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / 1e6


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    parser.add_argument("--directory", type=Path, default=Path(), help="on the disk to measure")
    parser.add_argument("--million", action="store_true", help="also fill a database with a million objects")
    options = parser.parse_args()
    console = Console(width=120)
    console.print(__doc__.strip().rpartition("\n\n")[2], highlight=False)
    console.print(
        f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, closed loop, {options.seconds:g} s each"
    )
    with tempfile.TemporaryDirectory(dir=options.directory) as directory:
        asyncio.run(speed(console, Path(directory), options.seconds))
        if options.million:
            asyncio.run(million(console, Path(directory)))


if __name__ == "__main__":
    main()
