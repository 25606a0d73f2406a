"""The file system against a plain one in memory: random operations agree in results and error codes.

Two gateways serve one tree here, and callers use one or the other: each gateway's guesses are out of date all the time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fivefold.gateways.nfs
from fivefold.gateways.nfs import ClusterStore, MemoryStore
from fivefold.gateways.nfs.server import Service
from fivefold.gateways.nfs.tree import Tree
from fivefold.testing import local_cluster
from tests.nfs_client import OK, Client
from tests.nfs_model import DIR, LNK, REG, Failed, Model, Node

NAMES = (b"a", b"b", b"c", b"\xff\xfe", b"x" * 255, b".", b"..", b"", b"n/m", b"y" * 256)
OFFSETS = (0, 1, 16300, 16384, 65535, 65536, 65537, 131072, 150000)
LENGTHS = (0, 1, 84, 100, 65536, 70000)
MODES = (0o777, 0o755, 0o644, 0o600, 0o1777, 0o2775, 0o4755, 0o000, 0o060, 0o311)
CALLERS = ((0, (0,)), (1000, (1000, 50)), (1001, (50,)), (1002, (1002,)))
TIMES = (-1, 5_000_000_001, 10**18)

STEPS = (
    *("create", "create", "create", "exclusive", "mkdir", "mkdir", "mkdir", "symlink", "fifo"),
    *("remove", "rmdir", "rename", "rename", "rename", "link", "write", "write", "read", "truncate"),
    *("chmod", "chown", "utime", "lookup", "access", "readlink", "readdir", "readdirplus", "guarded"),
)
number = st.integers(0, 200)
step = st.tuples(st.sampled_from(STEPS), st.sampled_from(range(4)), number, number, number, number)


@dataclass
class Both:
    """The same tree twice: by its handles at the server, and by its nodes in the model."""

    model: Model
    clients: list[Client]
    handles: list[bytes]
    nodes: list[Node]
    clock: list[int]

    def pick(self, at: int) -> int:
        """A file: often a directory that is there."""
        if at % 3:
            many = [index for index, node in enumerate(self.nodes) if node.kind == DIR and not node.is_gone]
            return many[at // 3 % len(many)]
        return at // 3 % len(self.nodes)

    def name(self, at: int) -> bytes:
        return NAMES[at % 4] if at < 180 else NAMES[at % len(NAMES)]

    async def check(self, step: tuple[str, int, int, int, int, int]) -> None:
        what, caller, *numbers = step
        self.clock[0] += 1000 * (numbers[3] % 3 - 1)  # the clock may stand still, or go back
        self.model.now = self.clock[0]
        self.model.uid, self.model.gids = CALLERS[caller]
        got = await getattr(self, f"do_{what}")(self.clients[caller], *numbers)
        try:
            expected = (OK, getattr(self, f"model_{what}")(*numbers))
        except Failed as failed:
            expected = (failed.args[0], None)
        assert got == expected, f"{step}: the server said {got}, the model {expected}"

    # --- how each step is done in both; a result is None where only the status counts ---------------------------

    def added(self, node: Node) -> dict[str, Any]:
        self.nodes.append(node)
        return node.shown()

    def keep(self, found: tuple[int, bytes, dict[str, Any]]) -> tuple[int, Any]:
        status, handle, attributes = found
        if status == OK:
            self.handles.append(handle)
        return shown(status, attributes)

    def model_create(self, a: int, b: int, c: int, d: int) -> Any:
        changes = self.new_changes(c, d)
        return self.added(self.model.make(self.nodes[self.pick(a)], self.name(b), REG, changes, how=c % 2))

    async def do_create(self, client: Client, a: int, b: int, c: int, d: int) -> Any:
        changes = self.new_changes(c, d)
        return self.keep(await client.create(self.handles[self.pick(a)], self.name(b), c % 2, **changes))

    @staticmethod
    def new_changes(c: int, d: int) -> dict[str, Any]:
        return {"mode": MODES[d % len(MODES)]} | ({"size": OFFSETS[d % len(OFFSETS)]} if c % 3 == 0 else {})

    def model_exclusive(self, a: int, b: int, c: int, d: int) -> Any:
        verifier = bytes([c % 2] * 8)
        where = self.nodes[self.pick(a)]
        return self.added(self.model.make(where, self.name(b), REG, {}, how=2, verifier=verifier))

    async def do_exclusive(self, client: Client, a: int, b: int, c: int, d: int) -> Any:
        return self.keep(await client.create(self.handles[self.pick(a)], self.name(b), 2, bytes([c % 2] * 8)))

    def model_mkdir(self, a: int, b: int, c: int, d: int) -> Any:
        changes = {"mode": MODES[c % len(MODES)]}
        return self.added(self.model.make(self.nodes[self.pick(a)], self.name(b), DIR, changes))

    async def do_mkdir(self, client: Client, a: int, b: int, c: int, d: int) -> Any:
        return self.keep(await client.mkdir(self.handles[self.pick(a)], self.name(b), mode=MODES[c % len(MODES)]))

    def model_symlink(self, a: int, b: int, c: int, d: int) -> Any:
        target = b"t" * (5000 if c > 190 else c)
        return self.added(self.model.make(self.nodes[self.pick(a)], self.name(b), LNK, {"mode": 0o777}, target=target))

    async def do_symlink(self, client: Client, a: int, b: int, c: int, d: int) -> Any:
        target = b"t" * (5000 if c > 190 else c)
        return self.keep(await client.symlink(self.handles[self.pick(a)], self.name(b), target, mode=0o777))

    def model_fifo(self, a: int, b: int, c: int, d: int) -> Any:
        changes = {"mode": MODES[d % len(MODES)]}
        return self.added(self.model.make(self.nodes[self.pick(a)], self.name(b), 6 + c % 2, changes))

    async def do_fifo(self, client: Client, a: int, b: int, c: int, d: int) -> Any:
        mode = MODES[d % len(MODES)]
        return self.keep(await client.mknod(self.handles[self.pick(a)], self.name(b), 6 + c % 2, mode=mode))

    def model_remove(self, a: int, b: int, c: int, d: int) -> Any:
        self.model.remove(self.nodes[self.pick(a)], self.name(b), is_directory=False)

    async def do_remove(self, client: Client, a: int, b: int, c: int, d: int) -> Any:
        return await client.remove(self.handles[self.pick(a)], self.name(b)), None

    def model_rmdir(self, a: int, b: int, c: int, d: int) -> Any:
        self.model.remove(self.nodes[self.pick(a)], self.name(b), is_directory=True)

    async def do_rmdir(self, client: Client, a: int, b: int, c: int, d: int) -> Any:
        return await client.rmdir(self.handles[self.pick(a)], self.name(b)), None

    def model_rename(self, a: int, b: int, c: int, d: int) -> Any:
        self.model.rename(self.nodes[self.pick(a)], self.name(b), self.nodes[self.pick(c)], self.name(d))

    async def do_rename(self, client: Client, a: int, b: int, c: int, d: int) -> Any:
        source, target = self.handles[self.pick(a)], self.handles[self.pick(c)]
        return await client.rename(source, self.name(b), target, self.name(d)), None

    def model_link(self, a: int, b: int, c: int, d: int) -> Any:
        self.model.link(self.nodes[c % len(self.nodes)], self.nodes[self.pick(a)], self.name(b))

    async def do_link(self, client: Client, a: int, b: int, c: int, d: int) -> Any:
        return await client.link(self.handles[c % len(self.nodes)], self.handles[self.pick(a)], self.name(b)), None

    def model_write(self, a: int, b: int, c: int, d: int) -> Any:
        data = bytes([d or 1]) * LENGTHS[c % len(LENGTHS)]
        return self.model.write(self.nodes[a % len(self.nodes)], OFFSETS[b % len(OFFSETS)], data)

    async def do_write(self, client: Client, a: int, b: int, c: int, d: int) -> Any:
        data = bytes([d or 1]) * LENGTHS[c % len(LENGTHS)]
        return shown(*await client.write(self.handles[a % len(self.handles)], OFFSETS[b % len(OFFSETS)], data))

    def model_read(self, a: int, b: int, c: int, d: int) -> Any:
        return self.model.read(self.nodes[a % len(self.nodes)], OFFSETS[b % len(OFFSETS)], LENGTHS[c % len(LENGTHS)])

    async def do_read(self, client: Client, a: int, b: int, c: int, d: int) -> Any:
        handle = self.handles[a % len(self.handles)]
        status, data, _ = await client.read(handle, OFFSETS[b % len(OFFSETS)], LENGTHS[c % len(LENGTHS)])
        return status, data if status == OK else None

    def set(self, a: int, changes: dict[str, Any], guard: int | None = None) -> Any:
        return self.model.setattr(self.nodes[a % len(self.nodes)], guard, changes)

    async def do_set(self, client: Client, a: int, changes: dict[str, Any], guard: int | None = None) -> Any:
        return shown(*await client.setattr(self.handles[a % len(self.handles)], guard, **changes))

    def model_truncate(self, a: int, b: int, c: int, d: int) -> Any:
        return self.set(a, {"size": OFFSETS[b % len(OFFSETS)] if c else 1 << 45})

    async def do_truncate(self, client: Client, a: int, b: int, c: int, d: int) -> Any:
        return await self.do_set(client, a, {"size": OFFSETS[b % len(OFFSETS)] if c else 1 << 45})

    def model_chmod(self, a: int, b: int, c: int, d: int) -> Any:
        return self.set(a, {"mode": MODES[b % len(MODES)]})

    async def do_chmod(self, client: Client, a: int, b: int, c: int, d: int) -> Any:
        return await self.do_set(client, a, {"mode": MODES[b % len(MODES)]})

    @staticmethod
    def owners(b: int, c: int) -> dict[str, int]:
        uid = {"uid": (1000, 1001)[b % 2]} if b % 3 else {}
        return uid | ({"gid": (1000, 50, 1002)[c % 3]} if c % 4 else {})

    def model_chown(self, a: int, b: int, c: int, d: int) -> Any:
        return self.set(a, self.owners(b, c))

    async def do_chown(self, client: Client, a: int, b: int, c: int, d: int) -> Any:
        return await self.do_set(client, a, self.owners(b, c))

    def model_utime(self, a: int, b: int, c: int, d: int) -> Any:
        return self.set(a, {"atime": TIMES[b % 3], "mtime": TIMES[c % 3]})

    async def do_utime(self, client: Client, a: int, b: int, c: int, d: int) -> Any:
        return await self.do_set(client, a, {"atime": TIMES[b % 3], "mtime": TIMES[c % 3]})

    def guard(self, a: int, c: int) -> int:
        """The ctime before, or another one."""
        return self.nodes[a % len(self.nodes)].ctime - (c % 2)

    def model_guarded(self, a: int, b: int, c: int, d: int) -> Any:
        return self.set(a, {"mode": MODES[b % len(MODES)]}, self.guard(a, c))

    async def do_guarded(self, client: Client, a: int, b: int, c: int, d: int) -> Any:
        return await self.do_set(client, a, {"mode": MODES[b % len(MODES)]}, self.guard(a, c))

    def model_lookup(self, a: int, b: int, c: int, d: int) -> Any:
        return self.model.lookup(self.nodes[self.pick(a)], self.name(b)).shown()

    async def do_lookup(self, client: Client, a: int, b: int, c: int, d: int) -> Any:
        status, _, attributes = await client.lookup(self.handles[self.pick(a)], self.name(b))
        return shown(status, attributes)

    def model_access(self, a: int, b: int, c: int, d: int) -> Any:
        return self.model.access(self.nodes[a % len(self.nodes)])

    async def do_access(self, client: Client, a: int, b: int, c: int, d: int) -> Any:
        status, granted = await client.access(self.handles[a % len(self.handles)])
        return status, granted if status == OK else None

    def model_readlink(self, a: int, b: int, c: int, d: int) -> Any:
        return self.model.readlink(self.nodes[a % len(self.nodes)])

    async def do_readlink(self, client: Client, a: int, b: int, c: int, d: int) -> Any:
        status, target = await client.readlink(self.handles[a % len(self.handles)])
        return status, target if status == OK else None

    def model_readdir(self, a: int, b: int, c: int, d: int) -> Any:
        return sorted(self.model.readdir(self.nodes[self.pick(a)]))

    async def do_readdir(self, client: Client, a: int, b: int, c: int, d: int) -> Any:
        status, found = await client.readdir(self.handles[self.pick(a)], 600)
        return status, sorted(found) if status == OK else None

    def model_readdirplus(self, a: int, b: int, c: int, d: int) -> Any:
        return {name: node.shown() for name, node in self.model.readdir(self.nodes[self.pick(a)]).items()}

    async def do_readdirplus(self, client: Client, a: int, b: int, c: int, d: int) -> Any:
        status, found = await client.readdir(self.handles[self.pick(a)], 900, is_plus=True)
        return status, {name: shown(OK, plus)[1] for name, (_, plus) in found.items()} if status == OK else None


def shown(status: int, attributes: dict[str, Any]) -> tuple[int, Any]:
    names = ("kind", "mode", "nlink", "uid", "gid", "size", "rdev", "atime", "mtime", "ctime")
    return status, {name: attributes[name] for name in names} if status == OK else None


@asynccontextmanager
async def both_over(store: Any) -> AsyncIterator[Both]:
    clock = [1_700_000_000_000_000_000]
    trees = [Tree(store, "model", lambda: clock[0]) for _ in range(2)]
    roots = [await tree.start(mode=0o1777, uid=0, gid=0) for tree in trees]
    services = [Service(tree, root, path="/model", is_squashing=False) for tree, root in zip(trees, roots, strict=True)]

    def carrier(at: int) -> Callable[[bytes], Awaitable[bytes | None]]:
        return lambda record: services[at % 2].answer("here", record)

    clients = [Client(carrier(at), uid, gids) for at, (uid, gids) in enumerate(CALLERS)]
    model = Model(clock[0])
    try:
        yield Both(model, clients, [await clients[0].mount(b"/model")], [model.root], clock)
    finally:
        for tree in trees:
            await tree.close()


async def run(store: Callable[[], Any], steps: list[Any]) -> None:
    async with both_over(store()) as both:
        for each in steps:
            await both.check(each)


@settings(max_examples=300)
@given(st.lists(step, max_size=60))
def test_any_operations_agree_with_a_plain_file_system(steps: list[Any]) -> None:
    """Results, attributes, times and error codes are those of the model, whatever is done in whatever order."""
    asyncio.run(run(MemoryStore, steps))


@pytest.mark.parametrize("seed", range(10))
def test_long_histories_agree_with_a_plain_file_system(seed: int) -> None:
    """The same over hundreds of operations, where ids have been used again and many handles are stale."""
    random = Random(seed)
    steps = [
        (random.choice(STEPS), random.randrange(4), *(random.randrange(201) for _ in range(4))) for _ in range(300)
    ]
    asyncio.run(run(MemoryStore, steps))


@settings(max_examples=5, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(step, min_size=20, max_size=60))
def test_replicated_objects_agree_with_a_plain_file_system(steps: list[Any]) -> None:
    """The same over six servers: the functions run on encoded states there, and a rejection must leave no trace."""

    async def scenario() -> None:
        async with local_cluster(fivefold.gateways.nfs) as cluster:
            await run(lambda: ClusterStore(cluster.cluster), steps)

    asyncio.run(scenario())
