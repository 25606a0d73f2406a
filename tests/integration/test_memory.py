"""How much memory a server process takes: with a full cache, and with many more objects on disk than in it."""

import asyncio
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest

from fivefold import Cluster, Counter
from fivefold.cluster import load_configuration, load_identity, macs_under, server_directory
from fivefold.objects import standard_registry
from fivefold.protocol.actions import Channel, Write
from fivefold.protocol.authenticators import AuthenticatorKeys
from fivefold.protocol.client.session import Session
from fivefold.protocol.operations import Call, ClientId, ObjectId, Operation
from fivefold.protocol.quorums import QuorumSystem
from fivefold.protocol.server.machine import Server
from fivefold.storage import open_data
from fivefold.storage.ledger import Ledger
from fivefold.storage.overlay import Overlay
from fivefold.storage.schema import seal_of, set_seal, write_rows
from tests.integration.rig import Site, client, running

pytestmark = [pytest.mark.integration, pytest.mark.long, pytest.mark.timeout(900)]

BYTES_MAX = 200 * 1000 * 1000
BATCH = 10_000
IN_FLIGHT = 64


class Everyone:
    """Access rules that allow everything."""

    def allows(self, client: ClientId, object_id: ObjectId, method: str) -> bool:
        return True

    def knows(self, client: ClientId, object_id: ObjectId) -> bool:
        return True


def one_write() -> Write:
    """What a server of one stores for ``Counter/0`` after two increments.

    A history names its object, and a timestamp the operation, but both have the same length for all objects here.
    """
    quorums = QuorumSystem(1, 0, 0)
    keys = AuthenticatorKeys(0, [bytes(32)], [bytes(32)], macs_under)
    session, server = Session(quorums, Random(1)), Server(quorums, keys, standard_registry(), Everyone())
    object_id = ObjectId(name_of(0))
    arguments = standard_registry().encode_arguments((object_id,), "increment", (), {})
    stored: list[Write] = []
    for number in range(2):
        call = Call(number.to_bytes(16, "big"), 0, "increment", arguments)
        _, asked = session.call(0, Operation((object_id,), (call,)), is_query=False, deadline_ns=10**9)
        work = list(asked.send)
        while work:
            actions = server.receive_from_client(0, ClientId(bytes(16)), Channel(1), work.pop().frame)
            for name in actions.load:
                actions = server.loaded(0, ObjectId(name), None)
            for store in actions.store:
                stored.extend(store.writes)
                for reply in server.durable(0, store.sequence).send:
                    session.receive(0, 0, reply.frame)
    put = tuple(pair for write in stored for pair in write.put)
    return Write(object_id, stored[-1].history, put)


def name_of(number: int) -> str:
    return f"Counter/{number:07}"


def write_objects(site: Site, count: int) -> None:
    """Give the only server of a site so many counters, each incremented twice."""
    configuration, identity = load_configuration(site.file), load_identity(server_directory(site.directory, 0))
    loop = asyncio.new_event_loop()
    open_data(
        site.data(0),
        identity.directory,
        configuration.cluster_id.hex(),
        identity.fingerprint,
        loop,
        lambda sequence: None,
        fresh_allowed=True,
    ).close()
    loop.close()
    template = one_write()
    old = name_of(0).encode()
    connection = sqlite3.connect(site.data(0) / "objects.sqlite", isolation_level=None)
    connection.execute("PRAGMA synchronous = OFF")
    seal = seal_of(connection)
    ledger = Ledger.load(connection, seal)
    for first in range(0, count, BATCH):
        writes = [
            Write(name_of(number), template.history.replace(old, name_of(number).encode()), template.put)
            for number in range(first, first + BATCH)
        ]
        connection.execute("BEGIN")
        ledger.write(connection, write_rows(connection, Overlay(writes).rows()))
        set_seal(connection, seal._replace(roots=ledger.roots))
        ledger.end(is_committed=True)
        connection.execute("COMMIT")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


async def read_objects(cluster: Cluster, numbers: Sequence[int]) -> None:
    """Read each of these counters once."""
    left = iter(numbers)

    async def read() -> None:
        for number in left:
            assert await cluster.object(Counter, f"{number:07}").get() == 2

    await asyncio.gather(*[read() for _ in range(IN_FLIGHT)])


async def memory_after(site: Site, reads: Sequence[int], updates: Sequence[int]) -> tuple[int, int]:
    """Objects in the server's cache and bytes of its process after so many reads and updates."""
    with running(site):
        async with client(site) as cluster:
            await read_objects(cluster, reads)
            await asyncio.gather(*[cluster.object(Counter, f"{number:07}").increment() for number in updates])
            (server,) = (await cluster.status(timeout=60)).servers
            assert server is not None
            assert server.counters["accepted.METHOD"] == len(updates)
            return server.cached_objects, server.memory_bytes


async def test_a_hundred_thousand_cached_objects(tmp_path: Path) -> None:
    """A server with 100,000 small objects in its cache takes less than 200 MB."""
    site = Site(tmp_path / "cluster", t=0, b=0)
    count = 100_000
    await asyncio.to_thread(write_objects, site, count)
    cached, size = await memory_after(site, range(count), range(0, count, 100))
    assert cached == count
    assert size < BYTES_MAX, size


async def test_a_million_stored_objects(tmp_path: Path) -> None:
    """With a million objects on disk and a cache of 10,000 a server takes less than 200 MB, wherever it reads."""
    limit = 10_000
    site = Site(tmp_path / "cluster", t=0, b=0, arguments=lambda index: ["--cached-objects", str(limit)])
    count = 1_000_000
    await asyncio.to_thread(write_objects, site, count)
    everywhere = Random(2).sample(range(count), 5 * limit)
    cached, size = await memory_after(site, everywhere, everywhere[::50])
    assert limit <= cached <= limit + IN_FLIGHT + len(everywhere[::50])
    assert size < BYTES_MAX, size
