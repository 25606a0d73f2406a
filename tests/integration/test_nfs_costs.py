"""What each NFS procedure costs: calls on objects, round trips one after the other, objects, bytes of the requests."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

import fivefold.gateways.nfs
from fivefold.gateways.nfs import ClusterStore
from fivefold.gateways.nfs.store import Ref
from fivefold.protocol.client import Session
from fivefold.testing import local_cluster
from tests.integration.rig import ROOT
from tests.nfs_client import OK, Client
from tests.nfs_rig import gateway

pytestmark = [pytest.mark.integration]

QUORUM = 5
PAGE = ROOT / "docs" / "concepts" / "file-system.md"
BYTES_TOLERANCE = 0.2
LARGE = 140


@dataclass
class Cost:
    """Of one procedure."""

    calls: int = 0
    rounds: int = 0
    objects: int = 0
    requests: int = 0
    sent: int = 0
    received: int = 0

    def row(self) -> tuple[int, int, int]:
        return self.calls, self.rounds, self.objects


class Counting(ClusterStore):
    """Counts calls, and those that begin when no other one is under way: these wait for each other."""

    cost = Cost()  # of the procedure at hand
    running = 0

    async def call(self, function: Callable[..., Any], objects: Sequence[Ref], **arguments: Any) -> Any:
        self.cost.calls += 1
        self.cost.rounds += self.running == 0
        self.cost.objects += len(objects)
        self.running += 1
        try:
            return await super().call(function, objects, **arguments)
        finally:
            self.running -= 1


@asynccontextmanager
async def counted(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Client, bytes, Callable[..., Any]]]:
    """A client over a cluster, the root's handle, and ``cost(work)``."""
    async with local_cluster(fivefold.gateways.nfs) as cluster:
        store = Counting(cluster.cluster)
        async with gateway(store) as (made, _):
            await drained(made)
            watch_bytes(monkeypatch, store)
            client = Client(lambda record: made.service.answer("here", record), 0, (0,))

            async def cost(work: Awaitable[Any]) -> Cost:
                before, store.cost = cluster.cluster.requests_sent, Cost()
                done = await work
                assert (done if isinstance(done, int) else done[0]) == OK
                found, store.cost = store.cost, Cost()
                found.requests = cluster.cluster.requests_sent - before
                return found

            yield client, await client.mount(b"/x"), cost


async def drained(made: Any) -> None:
    """End what runs beside the calls."""
    for task in list(made.tree._tasks):
        task.cancel()


def watch_bytes(monkeypatch: pytest.MonkeyPatch, store: Counting) -> None:
    """Count the frames of the client's session."""
    flush, receive = Session._flush, Session.receive

    def flushed(self: Session) -> Any:
        actions = flush(self)
        store.cost.sent += sum(len(ask.frame) for ask in actions.send)
        return actions

    def received(self: Session, now_ns: int, server: int, *frames: bytes) -> Any:
        store.cost.received += sum(map(len, frames))
        return receive(self, now_ns, server, *frames)

    monkeypatch.setattr(Session, "_flush", flushed)
    monkeypatch.setattr(Session, "receive", received)


async def measure(client: Client, root: bytes, cost: Callable[..., Any]) -> dict[str, Cost]:
    """Each procedure once in directories and on files that the gateway has seen, as most are."""
    found: dict[str, Cost] = {}
    _, small, _ = await client.mkdir(root, b"small")
    _, file, _ = await client.create(small, b"file")
    _, big, _ = await client.create(small, b"big")
    _, link, _ = await client.symlink(small, b"link", b"target")
    await client.write(file, 0, bytes(4096))
    await client.write(big, 0, bytes(262_144))
    for at in range(20):
        await client.create(small, b"%d" % at)
    steps: list[tuple[str, Callable[[], Awaitable[Any]]]] = [
        ("GETATTR, ACCESS, FSSTAT, FSINFO, PATHCONF, COMMIT", lambda: client.getattr(file)),
        ("SETATTR", lambda: client.setattr(file, mode=0o600)),
        ("LOOKUP", lambda: client.lookup(small, b"file")),
        ("READLINK", lambda: client.readlink(link)),
        ("READ of 4 KiB", lambda: client.read(file, 0, 4096)),
        ("READ of 256 KiB", lambda: client.read(big, 0, 262_144)),
        ("WRITE of 4 KiB", lambda: client.write(file, 0, bytes(4096))),
        ("WRITE of 256 KiB", lambda: client.write(big, 0, bytes(262_144))),
        ("CREATE, MKDIR, SYMLINK, MKNOD", lambda: client.create(small, b"new")),
        ("RENAME", lambda: client.rename(small, b"new", small, b"newer")),
        ("LINK", lambda: client.link(file, small, b"hard")),
        ("REMOVE, RMDIR", lambda: client.remove(small, b"newer")),
        ("READDIR of 24 names", lambda: client.readdir(small, 8000)),
        ("READDIRPLUS of 24 names", lambda: client.readdir(small, 8000, is_plus=True)),
    ]
    for what, work in steps:
        found[what] = await cost(work())
    _, large, _ = await client.mkdir(root, b"large")
    for at in range(LARGE):
        await client.create(large, b"%d" % at)
    found["LOOKUP in a large directory"] = await cost(client.lookup(large, b"7"))
    found["CREATE in a large directory"] = await cost(client.create(large, b"new"))
    return found


async def test_each_procedure_costs_what_the_page_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nearly all are one call in one round trip to one quorum; bytes are those of the page within a fifth."""
    async with counted(monkeypatch) as (client, root, cost):
        found = await measure(client, root, cost)
    text = PAGE.read_text()
    rows = re.findall(r"^\| ([A-Z][^|]*) \| (\d+) \| (\d+) \| (\d+) \| ([\d.]+) \| ([\d.]+) \|$", text, re.MULTILINE)
    table = "\n".join(
        f"| {what} | {each.calls} | {each.rounds} | {each.objects} | {each.sent / 1000:.1f} | "
        f"{each.received / 1000:.1f} |"
        for what, each in found.items()
    )
    assert {what: tuple(map(int, numbers[:3])) for what, *numbers in rows} == {
        what: each.row() for what, each in found.items()
    }, table
    for what, *_, sent, received in rows:
        each = found[what]
        assert each.requests == QUORUM * each.calls, f"{what}: servers were asked again"
        assert float(sent) * 1000 == pytest.approx(each.sent, rel=BYTES_TOLERANCE, abs=100), table
        assert float(received) * 1000 == pytest.approx(each.received, rel=BYTES_TOLERANCE, abs=100), table
