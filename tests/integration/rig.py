"""Real clusters for the integration tests: server processes, load from clients, and the verdict on what they saw.

Every wait has a deadline; nothing here compares times with each other.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections import Counter as Tally
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import msgspec

import fivefold
from fivefold import Cluster, Counter, FivefoldError, OutcomeUnknown, Rejected, connect
from fivefold.checker import Observation, Outcome, Verdict, check
from fivefold.checker.history import read_history
from fivefold.cluster import (
    LocalCluster,
    add_client,
    create_cluster,
    free_addresses,
    load_configuration,
    serve_command,
    server_directory,
)
from fivefold.protocol.operations import ObjectId, type_of

ROOT = Path(__file__).parents[2]
PATIENCE_S = 60.0
"""How long any wait of a test may take: generous, because the machine may be busy with other things."""

PYTHON_PATH = os.pathsep.join([str(Path(fivefold.__file__).parents[1]), str(ROOT)])
ENVIRONMENT = {"PYTHONPATH": PYTHON_PATH, "FIVEFOLD_ALLOW_LIES": "1"}
"""What processes need to find this very fivefold and the tests' own modules."""

MISBEHAVING = "tests.integration.misbehaving"


async def until(holds: Callable[[], bool | Awaitable[bool]], what: str, seconds: float = PATIENCE_S) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + seconds
    while True:
        found = holds()
        if found is True or (not isinstance(found, bool) and await found):
            return
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        await asyncio.sleep(0.02)


# --- servers ----------------------------------------------------------------------------------------------------
class Site:
    """One cluster's files and its server processes.

    Attributes:
        directory: holds everything.
        file: the cluster file.
        processes: the servers.
    """

    def __init__(
        self,
        directory: Path,
        *,
        t: int = 1,
        b: int = 1,
        n: int | None = None,
        addresses: Sequence[str] | None = None,
        objects: Sequence[str] = (),
        memory: bool = False,
        arguments: Callable[[int], Sequence[str]] = lambda index: (),
        prefix: Callable[[int], Sequence[str]] = lambda index: (),
    ) -> None:
        """Make the files; nothing is started yet.

        Args:
            directory: is made.
            t: faulty servers to tolerate.
            b: malevolent ones among them.
            n: servers; by default as few as t and b allow.
            addresses: of the servers; by default free ports on loopback.
            objects: modules with object types.
            memory: whether servers store nothing.
            arguments: further arguments of each server, at every start.
            prefix: what each server's command begins with, to run it elsewhere.
        """
        n = 3 * t + 2 * b + 1 if n is None else n
        self.directory, self.file = directory, directory / "cluster.toml"
        create_cluster(directory, addresses or free_addresses(n), t=t, b=b)

        def command(index: int) -> list[str]:
            plain = serve_command(
                self.file,
                identity=server_directory(directory, index),
                data=self.data(index),
                memory=memory,
                objects=objects,
            )
            return [*prefix(index), *plain, *arguments(index)]

        with environment(ENVIRONMENT):
            self.processes = LocalCluster(n, command, directory / "logs")

    @property
    def n(self) -> int:
        """Number of servers."""
        return len(self.processes.servers)

    def data(self, index: int) -> Path:
        """A server's data directory."""
        return self.directory / f"data-{index}"

    def address(self, index: int) -> tuple[str, int]:
        """Host and port of a server."""
        entry = load_configuration(self.file).servers[index]
        return entry.host, entry.port

    def log_of(self, index: int) -> str:
        """What a server has printed so far."""
        return self.processes.servers[index].log.read_text(errors="replace")

    def heal(self) -> None:
        """All servers run, none is paused."""
        for server in self.processes.servers:
            server.resume()
        self.processes.start()

    def add_client(self, name: str, *rules: str) -> str:
        """A further client; returns its name. Running servers learn of it within a second or so."""
        add_client(self.file, name, rules or ("*",))
        return name

    async def kill(self, *indices: int) -> None:
        """SIGKILL servers, all at once."""
        for index in indices:
            self.processes.servers[index].send_kill()
        for index in indices:
            await asyncio.to_thread(self.processes.kill, index)

    async def start(self, *indices: int) -> None:
        """Start servers again and wait until they listen."""
        for index in indices:
            self.processes.servers[index].start()
        deadline = time.monotonic() + PATIENCE_S
        for index in indices:
            await asyncio.to_thread(self.processes.servers[index].wait_ready, deadline)

    async def kill_all(self) -> None:
        """SIGKILL every server."""
        await self.kill(*range(self.n))

    async def start_all(self) -> None:
        """Start every server that does not run."""
        await self.start(*[server.index for server in self.processes.servers if not server.is_running])

    def pause(self, *indices: int) -> None:
        """SIGSTOP servers."""
        for index in indices:
            self.processes.pause(index)

    def resume(self, *indices: int) -> None:
        """SIGCONT servers."""
        for index in indices:
            self.processes.resume(index)


@contextmanager
def environment(changes: Mapping[str, str]) -> Iterator[None]:
    """Environment variables for the length of a block."""
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def running(site: Site) -> Iterator[Site]:
    """All servers run for the length of a block."""
    with site.processes:
        yield site


@asynccontextmanager
async def client(site: Site, name: str = "admin", **options: Any) -> AsyncIterator[Cluster]:
    """A connected client of the site that knows all servers that are up."""
    options.setdefault("deadline", PATIENCE_S)
    options.setdefault("connect_timeout", PATIENCE_S)
    async with connect(site.file, identity=name, **options) as cluster:
        up = sum(server.is_running for server in site.processes.servers)
        await until(lambda: len(cluster._node.failures) <= site.n - up, "all running servers are connected")
        yield cluster


async def until_connected(cluster: Cluster, *servers: int) -> None:
    """Wait until the client is connected to servers."""
    await until(lambda: not set(servers) & set(cluster._node.failures), f"servers {servers} are connected")


# --- what clients saw -------------------------------------------------------------------------------------------
class Record:
    """A history for the checker, how many updates of each object it knows of, and what went wrong, in words."""

    def __init__(self) -> None:
        """Nothing yet."""
        self.history: list[Observation] = []
        self.acknowledged: Tally[str] = Tally()
        self.unknown: Tally[str] = Tally()
        self.errors: list[str] = []

    async def run(
        self, process: str, object_id: str, method: str, call: Awaitable[Any], *, is_update: bool = True
    ) -> Outcome:
        """Await a call without arguments and note what became of it."""
        invoked = time.monotonic_ns()
        answer: Any = msgspec.UNSET
        try:
            answer = msgspec.to_builtins(await call)
            outcome = Outcome.OK
        except Rejected as rejected:
            outcome, answer = Outcome.REJECTED, type(rejected).__name__
        except FivefoldError as error:
            outcome = Outcome.UNKNOWN if isinstance(error, OutcomeUnknown) else Outcome.FAILED
            self.errors.append(f"{type(error).__name__}: {error}")
        returned = None if outcome is Outcome.UNKNOWN else time.monotonic_ns()
        self.history.append(
            Observation(
                process=process,
                method=method,
                objects=(object_id,),
                invoke_ns=invoked,
                return_ns=returned,
                outcome=outcome,
                answer=answer,
            )
        )
        if is_update:
            self.acknowledged[object_id] += outcome is Outcome.OK
            self.unknown[object_id] += outcome is Outcome.UNKNOWN
        return outcome

    def total(self) -> int:
        """Acknowledged updates so far."""
        return self.acknowledged.total()


def tally(history: Sequence[Observation]) -> tuple[Tally[str], Tally[str]]:
    """Acknowledged and unknown increments of each object."""
    acknowledged: Tally[str] = Tally()
    unknown: Tally[str] = Tally()
    for seen in history:
        if seen.method == "increment":
            acknowledged[seen.objects[0]] += seen.outcome is Outcome.OK
            unknown[seen.objects[0]] += seen.outcome is Outcome.UNKNOWN
    return acknowledged, unknown


class Load:
    """Workers that increment and read counters, each one call at a time, until stopped.

    Attributes:
        record: what they saw.
        keys: of the counters.
    """

    def __init__(
        self,
        cluster: Cluster,
        keys: Sequence[str],
        *,
        workers: int = 1,
        deadline: float = 5.0,
        record: Record | None = None,
    ) -> None:
        """``workers`` for each key; each call may take ``deadline`` seconds."""
        self.record, self.keys = record or Record(), list(keys)
        self._cluster, self._workers, self._deadline = cluster, workers, deadline
        self._tasks: list[asyncio.Task[None]] = []
        self._is_over = False

    async def __aenter__(self) -> Load:
        names = [(key, number) for key in self.keys for number in range(self._workers)]
        self._tasks = [asyncio.create_task(self._work(key, f"{key}-{number}")) for key, number in names]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Let every worker end its call, then end."""
        self._is_over = True
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.gather(*self._tasks)

    async def _work(self, key: str, process: str) -> None:
        counter = self._cluster.object(Counter, key, deadline=self._deadline)
        count = 0
        while not self._is_over:
            count += 1
            if count % 8:
                outcome = await self.record.run(process, f"Counter/{key}", "increment", counter.increment())
            else:
                outcome = await self.record.run(process, f"Counter/{key}", "get", counter.get(), is_update=False)
            if outcome in (Outcome.UNKNOWN, Outcome.FAILED):
                await asyncio.sleep(0.02)

    async def progress(self, updates: int, *, seconds: float = PATIENCE_S) -> None:
        """Wait for so many more acknowledged updates."""
        goal = self.record.total() + updates
        await until(lambda: self.record.total() >= goal, f"{updates} more updates", seconds)

    async def progress_everywhere(self, updates: int = 1, *, seconds: float = PATIENCE_S) -> None:
        """Wait for so many more acknowledged updates of every counter."""
        before = dict(self.record.acknowledged)
        await until(
            lambda: all(
                self.record.acknowledged[f"Counter/{key}"] >= before.get(f"Counter/{key}", 0) + updates
                for key in self.keys
            ),
            "updates of every counter",
            seconds,
        )


async def verify(cluster: Cluster, *records: Record) -> dict[str, int]:
    """Read every object at the end: nothing acknowledged is lost, nothing applied twice, the history linearizable.

    Returns:
        The final value of each counter.
    """
    history = [seen for record in records for seen in record.history]
    last = Record()
    for object_id in sorted({name for seen in history for name in seen.objects}):
        assert type_of(ObjectId(object_id)) == "Counter"
        counter = cluster.object(Counter, object_id.partition("/")[2], deadline=PATIENCE_S)
        outcome = await last.run("the-end", object_id, "get", counter.get(), is_update=False)
        assert outcome is Outcome.OK
    return judge([*history, *last.history])


def judge(history: Sequence[Observation]) -> dict[str, int]:
    """The same for a history that ends with a read of every counter."""
    values = {seen.objects[0]: seen.answer for seen in history if seen.process.endswith("the-end")}
    acknowledged, unknown = tally(history)
    for object_id, value in values.items():
        least = acknowledged[object_id]
        assert isinstance(value, int)
        assert least <= value <= least + unknown[object_id], object_id
    result = check(history)
    assert result.verdict is Verdict.LINEARIZABLE, result.message
    return values  # type: ignore[return-value]


class LoadProcess:
    """A client process that runs load_client.

    Attributes:
        history_file: what it saw, once it has ended.
    """

    def __init__(
        self,
        site: Site,
        name: str,
        directory: Path,
        keys: Sequence[str],
        *,
        deadline: float,
        prefix: Sequence[str] = (),
    ) -> None:
        """Start it.

        Args:
            site: its cluster.
            name: of the client.
            directory: for its files; one process for each directory.
            keys: of the counters.
            deadline: seconds that each call may take.
            prefix: what its command begins with, to run it elsewhere.
        """
        directory.mkdir(parents=True)
        self.history_file, self._output, self._errors = directory / "history", directory / "out", directory / "errors"
        command = python("-m", "tests.integration.load_client", str(site.file), name, str(self.history_file))
        with (
            environment(ENVIRONMENT),
            self._output.open("wb") as output,
            self._errors.open("wb") as errors,
        ):
            self._process = subprocess.Popen(
                [*prefix, *command, str(deadline), *keys], cwd=ROOT, stdin=subprocess.PIPE, stdout=output, stderr=errors
            )

    def _told(self) -> tuple[int, int]:
        lines = self._output.read_text().splitlines(keepends=True)
        whole = [line for line in lines if line.endswith("\n")]
        acknowledged, failed = whole[-1].split() if whole else ("0", "0")
        return int(acknowledged), int(failed)

    @property
    def acknowledged(self) -> int:
        """Updates acknowledged so far."""
        return self._told()[0]

    @property
    def failed(self) -> int:
        """Calls without an answer so far."""
        return self._told()[1]

    def errors(self) -> str:
        """What went wrong, in words; once it has ended."""
        return self._errors.read_text()

    async def progress(self, updates: int) -> None:
        """Wait for so many more acknowledged updates."""
        goal = self.acknowledged + updates
        await until(lambda: self.acknowledged >= goal, f"{updates} more updates of a client process")

    async def end(self) -> tuple[Observation, ...]:
        """Let it finish; returns what it saw."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        code = await asyncio.to_thread(self._process.wait, 2 * PATIENCE_S)
        assert code == 0, self.errors()
        return read_history(self.history_file)

    def kill(self) -> None:
        """End it in any case."""
        self._process.kill()
        self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()


def python(*arguments: str) -> list[str]:
    """A command line of this interpreter."""
    return [sys.executable, *arguments]


def counters_of(status: fivefold.ClusterStatus, prefix: str) -> list[int]:
    """The sum of each server's counters whose names start with ``prefix``; -1 for servers that did not answer."""
    return [
        -1 if server is None else sum(count for name, count in server.counters.items() if name.startswith(prefix))
        for server in status.servers
    ]
