"""How fast the durable store commits and loads, and how much memory a million objects take.

    python benchmarks/storage.py [--seconds 5] [--directory .] [--million]

A write replaces a 400 B history, puts a 2,000 B version and deletes the one before, on a random one of 10,000 objects.
It counts when ``on_durable`` has named it: after the synced commit.
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
import threading
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from fivefold.protocol.actions import ObjectRecord, Write
from fivefold.storage import Inspector, SqliteStorage
from fivefold.storage.schema import READER_CACHE_KIB, Rows, connect, read_record, write_rows

OBJECTS = 10_000
VERSION_BYTES = 2000
HISTORY_BYTES = 400
MILLION = 1_000_000
BATCH = 1000


class Bench:
    """A store, and how to wait for what it was given."""

    def __init__(self, path: Path) -> None:
        SqliteStorage.create(path, "bench", "bench")
        self.path = path
        self.loop = asyncio.get_running_loop()
        self.storage = SqliteStorage(path, self.loop, self._on_durable)
        self.sequence = 0
        self.commits = 0
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []
        self._random = random.Random(1)
        self._versions: dict[int, int] = {}

    def _on_durable(self, sequence: int) -> None:
        self.commits += 1
        while self._waiting and self._waiting[0][0] <= sequence:
            self._waiting.pop(0)[1].set_result(None)

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
        draw = self._random.randbytes
        versions = tuple((timestamp(number, version), draw(version_bytes)) for version in (0, 1))
        return Write(name(number), draw(HISTORY_BYTES), versions)

    def update(self) -> Write:
        """The next write to a random object."""
        number = self._random.randrange(OBJECTS)
        version = self._versions.get(number, 1) + 1
        self._versions[number] = version
        draw = self._random.randbytes
        put = ((timestamp(number, version), draw(VERSION_BYTES)),)
        return Write(name(number), draw(HISTORY_BYTES), put, (timestamp(number, version - 1),))


def name(number: int) -> str:
    """Id of an object."""
    return f"Counter/object-{number:08d}"


def timestamp(number: int, version: int) -> bytes:
    """89 bytes, of which 64 stand for digests."""
    return version.to_bytes(8, "big") + bytes(17) + random.Random(number * 1009 + version).randbytes(64)


async def commits(bench: Bench, in_flight: int, seconds: float) -> tuple[float, float, list[float]]:
    """Commits a second, writes a second, and each write's seconds until it was durable."""
    times: list[float] = []
    end = time.perf_counter() + seconds

    async def client() -> None:
        while (begin := time.perf_counter()) < end:
            await bench.stage([bench.update()])
            times.append(time.perf_counter() - begin)

    before, begin = bench.commits, time.perf_counter()
    await asyncio.gather(*(client() for _ in range(in_flight)))
    spent = time.perf_counter() - begin
    return (bench.commits - before) / spent, len(times) / spent, times


async def loads(bench: Bench, in_flight: int, seconds: float) -> tuple[float, list[float]]:
    """Loads a second through the store's reading thread, and each one's seconds."""
    times: list[float] = []
    end = time.perf_counter() + seconds
    draw = random.Random(in_flight)

    async def client() -> None:
        while (begin := time.perf_counter()) < end:
            found: asyncio.Future[ObjectRecord | None] = bench.loop.create_future()
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
    times = []
    for _ in range(count):
        if is_cold:
            forget(path)
            connection.execute("PRAGMA shrink_memory")
        begin = time.perf_counter()
        read_record(connection, name(draw.randrange(OBJECTS)))
        times.append(time.perf_counter() - begin)
    connection.close()
    return times


def forget(path: Path) -> None:
    """Make the system drop its cached pages of the file."""
    descriptor = os.open(path, os.O_RDONLY)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)


def with_busy_thread(directory: Path, *, is_executemany: bool, commits_count: int) -> float:
    """Mean seconds of a commit of 64 writes while another thread (an event loop at its limit) computes all the time."""
    path = directory / f"busy-{is_executemany}.sqlite"
    SqliteStorage.create(path, "bench", "bench")
    spent: list[float] = []

    def work() -> None:
        connection = connect(path, cache_kib=READER_CACHE_KIB)
        for _ in range(commits_count):
            rows: Rows = {(name(row), bytes([part])): bytes(1000) for row in range(64) for part in (0, 1)}
            begin = time.perf_counter()
            connection.execute("BEGIN IMMEDIATE")
            if is_executemany:
                statement = "INSERT OR REPLACE INTO records VALUES (?, ?, 0, ?)"
                connection.executemany(statement, [(*key, data) for key, data in rows.items()])
            else:
                write_rows(connection, rows)
            connection.execute("COMMIT")
            spent.append(time.perf_counter() - begin)
        connection.close()

    thread = threading.Thread(target=work)
    thread.start()
    while thread.is_alive():
        sum(range(1000))
    return statistics.mean(spent)


def bare_sync(directory: Path, seconds: float) -> float:
    """Median seconds of appending 2 kB and fdatasync: what this disk takes today, with nothing of ours."""
    times = []
    with tempfile.NamedTemporaryFile(dir=directory, buffering=0) as file:
        end = time.perf_counter() + seconds
        while (begin := time.perf_counter()) < end:
            file.write(bytes(2048))
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - begin)
    return statistics.median(times)


def latencies(times: list[float]) -> tuple[str, str]:
    """Median and 99th percentile as text."""
    ordered = sorted(times)
    return f"{statistics.median(ordered) * 1e3:.3f} ms", f"{ordered[int(len(ordered) * 0.99)] * 1e3:.3f} ms"


async def speed(console: Console, directory: Path, seconds: float) -> None:
    """Measure writes and loads on 10,000 objects."""
    console.print(f"bare append of 2 kB + fdatasync in the same directory: {bare_sync(directory, 1) * 1e3:.3f} ms")
    bench = Bench(directory / "objects.sqlite")
    await bench.fill(OBJECTS, VERSION_BYTES)
    table = Table("what", "in flight", "commits/s", "operations/s", "p50", "p99", title="2 kB writes, loads of 4.4 kB")
    for in_flight in (1, 64):
        per_second, rows, times = await commits(bench, in_flight, seconds)
        table.add_row("write", str(in_flight), f"{per_second:,.0f}", f"{rows:,.0f}", *latencies(times))
    for in_flight in (1, 64):
        rate, times = await loads(bench, in_flight, seconds)
        table.add_row("load, thread", str(in_flight), "", f"{rate:,.0f}", *latencies(times))
    for is_cold in (False, True):
        times = direct(bench.path, is_cold=is_cold, count=300 if is_cold else 5000)
        where = "load in the loop, uncached" if is_cold else "load in the loop, cached"
        table.add_row(where, "1", "", f"{1 / statistics.mean(times):,.0f}", *latencies(times))
    bench.storage.close()
    console.print(table)
    for is_executemany, what in ((True, "a statement a row (executemany)"), (False, "128 rows a statement (ours)")):
        mean = with_busy_thread(directory, is_executemany=is_executemany, commits_count=20)
        console.print(f"commit of 128 rows beside a busy thread, {what}: {mean * 1e3:.1f} ms")


async def million(console: Console, directory: Path) -> None:
    """Fill, update, check and open a database with a million objects, and watch the memory."""
    before = resident_mb()
    bench = Bench(directory / "million.sqlite")
    begin = time.perf_counter()
    await bench.fill(MILLION, 200)
    console.print(
        f"a million objects (400 B history, two 200 B versions) written in {time.perf_counter() - begin:.0f} s"
    )
    _, rows, _ = await commits(bench, 64, 5)
    console.print(f"then updated at {rows:,.0f} writes/s with 64 in flight")
    bench.storage.close()
    for what in ("count", "quick_check", "bytes_used", "check"):
        with Inspector(bench.path) as inspector:
            begin = time.perf_counter()
            answer = getattr(inspector, what)()
            console.print(f"{what}: {answer} in {time.perf_counter() - begin:.2f} s")
    begin = time.perf_counter()
    SqliteStorage(bench.path, bench.loop, lambda sequence: None).close()
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
