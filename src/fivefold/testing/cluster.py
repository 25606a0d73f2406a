"""A whole cluster inside one process, without sockets and files, for users' own test suites."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from random import Random
from typing import Any, Final, Literal, TypeAlias, TypeVar, overload

from fivefold.api import Cluster, ClusterStatus, Remote, TypedRemote
from fivefold.cluster import macs_under
from fivefold.node import ClientNode, CodeTable
from fivefold.node.server import CorruptKeys, LyingCodes, ServerNode
from fivefold.objects import KNOCK, Object, Registry, TimeLimit, let_signals_in, standard_registry
from fivefold.protocol.actions import ObjectRecord, Write
from fivefold.protocol.authenticators import AuthenticatorKeys
from fivefold.protocol.client import Evidence, Session
from fivefold.protocol.operations import ClientId, Codes, ObjectId, digest
from fivefold.protocol.quorums import QuorumSystem
from fivefold.protocol.server import Server
from fivefold.storage import HeardPage, Loaded, Storage, page_of
from fivefold.testing.slowness import SlowTransport
from fivefold.transport import MemoryNetwork

START_S: Final = 10.0
"""How long connections may take."""

TIME_LIMIT_S: Final = 0.5
"""How long a method may run."""

Lie: TypeAlias = Literal["answers", "macs"]

T = TypeVar("T", bound=Object)
Typed = TypeVar("Typed", bound=TypedRemote[Any])
R = TypeVar("R")


class LocalCluster:
    """n real servers and any number of clients in one event loop.

    Everything but sockets, disks and certificates is what a real cluster runs. ``crash`` and ``restart`` keep what the
    server had stored; ``cut`` and ``heal`` break and mend the connections between clients and a server; ``lie`` and
    ``slow`` make one malevolent, or late.

    Attributes:
        quorums: n, t, b and what follows from them.
        cluster: the first client's :class:`fivefold.Cluster`.
        servers: the running servers by index.
    """

    cluster: Cluster

    def __init__(
        self, things: tuple[object, ...], quorums: QuorumSystem, *, deadline: float, seed: int, time_limit: float | None
    ) -> None:
        """Made by :func:`local_cluster`."""
        self.quorums = quorums
        self.servers: dict[int, ServerNode] = {}
        self._limit = None if time_limit is None else TimeLimit(max(1, round(time_limit * 1000)))
        self.registry = standard_registry(self._limit)
        self.registry.register(*things)
        self._deadline = deadline
        self._random = Random(seed)
        self._network = MemoryNetwork()
        self._storages: dict[int, SurvivingStorage] = {}
        self._transports: dict[int, SlowTransport] = {}
        self._clients: dict[ClientId, ClientNode] = {}
        self._codes: dict[ClientId, CodeTable] = {}
        self._upgraded: dict[int, Registry] = {}

    async def start(self) -> None:
        """Start all servers and the first client."""
        for index in range(self.quorums.n):
            await self.restart(index)
        self.cluster = await self.client("first")

    async def close(self) -> None:
        """Stop everything."""
        for node in self._clients.values():
            await node.close()
        for server in list(self.servers.values()):
            await server.close()
        if self._limit is not None:
            self._limit.close()

    # --- clients ----------------------------------------------------------------------------------------------

    @overload
    def object(self, cls: type[Typed], key: str, *, deadline: float | None = None) -> Typed: ...

    @overload
    def object(self, cls: type[T], key: str, *, deadline: float | None = None) -> Remote[T]: ...

    def object(self, cls: Any, key: str, *, deadline: float | None = None) -> TypedRemote[Any]:
        """A remote object of the first client."""
        found: TypedRemote[Any] = self.cluster.object(cls, key, deadline=deadline)
        return found

    async def call(self, function: Callable[..., R], *args: Any, **kwargs: Any) -> R:  # noqa: ANN401
        """Run a function over several objects, as the first client."""
        return await self.cluster.call(function, *args, **kwargs)

    def pending(self) -> tuple[str, ...]:
        """Ids of the first client's updates whose fate is open."""
        return self.cluster.pending()

    async def resolve(self, call_id: str, *, deadline: float | None = None) -> Any:  # noqa: ANN401
        """Find out, as the first client, what became of an update."""
        return await self.cluster.resolve(call_id, deadline=deadline)

    async def status(self, *, timeout: float = 2.0) -> ClusterStatus:  # noqa: ASYNC109 (a duration, not a scope)
        """What every server says about itself, and what the first client holds against them."""
        return await self.cluster.status(timeout=timeout)

    def evidence(self) -> tuple[Evidence, ...]:
        """What the first client holds against which server."""
        return self.cluster.evidence()

    async def client(self, name: str) -> Cluster:
        """One more client, connected."""
        client = ClientId(digest(name.encode())[:16])
        codes = CodeTable(self.quorums)
        session = Session(self.quorums, Random(self._random.random()))
        node = ClientNode(session, self._network.transport(client), codes)
        await node.start(START_S)
        self._clients[client], self._codes[client] = node, codes

        def code_of(objects: tuple[ObjectId, ...], method: str) -> bytes:
            # As long as all run the code at hand, a test may use classes that it has not named at the start.
            return (codes if self._upgraded else self.registry.shelf).code_of(objects, method)

        return Cluster(node, self.registry, client=client, code_of=code_of, deadline_s=self._deadline)

    # --- faults -----------------------------------------------------------------------------------------------

    async def crash(self, index: int) -> None:
        """Stop a server as if its process had died; what it stored remains."""
        await self.servers.pop(index).close()

    async def restart(self, index: int) -> None:
        """Start a server (again) on what it had stored; an honest one, whatever it was before."""
        await self._start(index, _keys(index, self.quorums.n), self._registry_of(index).shelf)

    def _registry_of(self, index: int) -> Registry:
        return self._upgraded.get(index, self.registry)

    async def upgrade(self, index: int, *things: Any) -> None:  # noqa: ANN401
        """Restart a server with other code, on what it had stored: one step of a rollout.

        Args:
            index: which.
            things: all classes, functions and modules that it holds from now on, beside the ready-made types. Two
                versions of a class may stand side by side; the lower one runs until :meth:`activate`.
        """
        registry = standard_registry(self._limit)
        registry.register(*things)
        self._upgraded[index] = registry
        if index in self.servers:
            await self.crash(index)
        before = [codes.count for codes in self._codes.values()]
        await self.restart(index)
        async with asyncio.timeout(START_S):
            for client, count in zip(self._codes, before, strict=True):
                await self._clients[client].until_announced(count)

    async def activate(self, **versions: int) -> None:
        """Have all servers run versions of types up to these: ``activate(Names=2)``; clients have heard of it then."""
        before = [codes.count for codes in self._codes.values()]
        for server in self.servers.values():
            server.activate(versions)
        async with asyncio.timeout(START_S):
            for client, count in zip(self._codes, before, strict=True):
                await self._clients[client].until_announced(count + len(self.servers) - 1)

    async def lie(self, index: int, how: Lie = "answers") -> None:
        """Make a server malevolent, until it is crashed and restarted.

        Args:
            index: which.
            how: ``"answers"``: it gives wrong answers, and says so of its states; ``"macs"``: the others take what it
                shows for forged.
        """
        if index in self.servers:
            await self.crash(index)
        keys = _keys(index, self.quorums.n, CorruptKeys if how == "macs" else AuthenticatorKeys)
        shelf = self._registry_of(index).shelf
        await self._start(index, keys, LyingCodes(shelf) if how == "answers" else shelf)

    def slow(self, index: int, seconds: float) -> None:
        """Have a server hear everything so much later, from now on; 0 for at once."""
        self._transports[index].delay_s = seconds

    async def _start(self, index: int, keys: AuthenticatorKeys, codes: Codes) -> None:
        storage = self._storages.setdefault(index, SurvivingStorage())
        if index not in self._transports:
            self._transports[index] = SlowTransport(self._network.transport(index))
        registry = self._registry_of(index)
        machine = Server(self.quorums, keys, registry, _Everyone(), codes=codes)
        shelf = registry.shelf
        node = ServerNode(machine, self._transports[index], storage.open, storage_name="memory", shelf=shelf)
        await node.start()
        self.servers[index] = node

    def cut(self, index: int) -> None:
        """Break every client's connection to a server."""
        for client in self._clients:
            self._network.cut(client, index)

    def heal(self, index: int) -> None:
        """Undo ``cut``."""
        for client in self._clients:
            self._network.heal(client, index)


class SurvivingStorage:
    """Memory that outlives the server that writes it; implements :class:`fivefold.storage.Storage`."""

    failure: str | None = None
    staged_bytes = 0

    def __init__(self) -> None:
        """Empty."""
        self._records: dict[str, ObjectRecord] = {}
        self._on_durable: Callable[[int], None] = _ignore
        self._staged = self._told = 0
        self._is_telling = False

    def open(self, on_durable: Callable[[int], None]) -> Storage:
        """The store, from now on for a new server."""
        self._on_durable = on_durable
        self._staged = self._told = 0
        return self

    def load(self, object_id: str, done: Loaded) -> None:
        """One object's record, at once."""
        done(self._records.get(object_id))

    def list_objects(self, after: str, objects_max: int, bytes_max: int, done: HeardPage) -> None:
        """A page of the list, at once."""
        names = sorted(name for name in self._records if name > after)
        done(page_of(names, objects_max, bytes_max, self._records.get))

    def stage(self, sequence: int, writes: Sequence[Write]) -> None:
        """Take writes over, at once."""
        for write in writes:
            record = self._records.get(write.object_id)
            rows = dict(record.rows) if record else {}
            for key in write.delete:
                rows.pop(key, None)
            rows.update(write.put)
            self._records[write.object_id] = ObjectRecord(write.history, tuple(sorted(rows.items())))
        self._staged = sequence
        if not self._is_telling:
            self._is_telling = True
            while self._told < self._staged:  # a stage from within on_durable is told after it returns
                self._told = self._staged
                self._on_durable(self._told)
            self._is_telling = False

    def give_way(self) -> None:
        """Nobody waits."""

    def close(self) -> None:
        """The server is gone; what it stored remains."""
        self._on_durable = _ignore


def _ignore(sequence: int) -> None:
    """Nobody listens."""


class _Everyone:
    """Access rules that allow everything."""

    def allows(self, client: ClientId, object_id: ObjectId, method: str) -> bool:
        """Always."""
        return True

    def knows(self, client: ClientId, object_id: ObjectId) -> bool:
        """Always."""
        return True


def _keys(index: int, n: int, keys: type[AuthenticatorKeys] = AuthenticatorKeys) -> AuthenticatorKeys:
    def key(sender: int, receiver: int) -> bytes:
        return digest(b"%d>%d" % (sender, receiver))

    return keys(index, [key(index, other) for other in range(n)], [key(other, index) for other in range(n)], macs_under)


@asynccontextmanager
async def local_cluster(
    *things: object,
    t: int = 1,
    b: int = 1,
    n: int | None = None,
    deadline: float = 10.0,
    seed: int = 0,
    time_limit: float | None = TIME_LIMIT_S,
) -> AsyncIterator[LocalCluster]:
    """A running cluster for the length of an ``async with`` block.

    Args:
        things: your Object classes, functions and modules, beside the ready-made types.
        t: faulty servers to tolerate.
        b: malevolent ones among them.
        n: servers; by default as few as t and b allow.
        deadline: seconds that a call may take.
        seed: of the clients' back-offs.
        time_limit: seconds that a method may run before it is stopped, as a server does; None for no limit, so that a
            debugger may stop in it. Servers run one after the other here, so a method that loops takes q times that.

    Example::

        async def test_counter() -> None:
            async with local_cluster() as cluster:
                hits = cluster.object(Counter, "hits")
                assert await hits.increment() == 1
                await cluster.crash(0)
                assert await hits.increment() == 2
    """
    quorums = QuorumSystem(3 * t + 2 * b + 1 if n is None else n, t, b)
    cluster = LocalCluster(things, quorums, deadline=deadline, seed=seed, time_limit=time_limit)
    with _signals_let_in():
        try:
            await cluster.start()
            yield cluster
        finally:
            await cluster.close()
            await asyncio.sleep(0)


@contextmanager
def _signals_let_in() -> Iterator[None]:
    """Methods that sleep or wait can be stopped, too; the program's own signal handlers stay what they are."""
    is_free = threading.current_thread() is threading.main_thread() and signal.getsignal(KNOCK) is signal.SIG_DFL
    if is_free:
        let_signals_in()
    try:
        yield
    finally:
        if is_free:
            signal.signal(KNOCK, signal.SIG_DFL)
