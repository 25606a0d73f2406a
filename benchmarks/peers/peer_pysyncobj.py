"""PySyncObj from PyPI: three nodes of its replicated dictionary, in memory, as it is configured by default.

PySyncObj has no clients: the program that uses the dictionary is one of the nodes. So the client process is the third
node, and has the shortest way there is. Its journal file is never synced, so it has no durable class. Reads are local,
hence not linearizable, and are not compared.

``python peer_pysyncobj.py SELF PARTNER PARTNER`` is one of the other nodes.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from peer_common import NODES, PYTHON, announced, ports, python_command, require, setting

from fivefold.bench.beds import Bed, Beds
from fivefold.bench.system import Driven, System
from fivefold.errors import Unavailable


def start(beds: Beds, payload_bytes: int) -> Bed:
    """Two nodes; the client process will be the third."""
    require(PYTHON / "pysyncobj")
    addresses = [f"127.0.0.1:{port}" for port in ports(NODES)]

    def command(index: int) -> list[str]:
        others = [address for address in addresses if address != addresses[index]]
        return announced(index, "pysyncobj", python_command("peer_pysyncobj", addresses[index], *others))

    found = setting("PySyncObj", "memory", "0.3.17", "one of its nodes")
    two = type(found)(**{**{name: getattr(found, name) for name in found.__struct_fields__}, "n": NODES - 1})
    bed = beds.peer(
        two, command, "peer_pysyncobj:open_pysyncobj", {"addresses": addresses, "payload_bytes": payload_bytes}
    )
    return type(bed)(setting=found, cluster=bed.cluster, opener=bed.opener, options=bed.options)


class _Operations:
    def __init__(self, shared: Any, payload: bytes) -> None:
        self._shared = shared
        self._payload = payload
        self._loop = asyncio.get_running_loop()

    async def update(self, key: int) -> None:
        future: asyncio.Future[Any] = self._loop.create_future()

        def done(_: object, failure: int) -> None:  # in PySyncObj's own thread
            self._loop.call_soon_threadsafe(_finish, future, failure)

        self._shared.set(key, self._payload, callback=done)
        await future

    async def query(self, key: int) -> None:
        self._shared.get(key)


def _finish(future: asyncio.Future[None], failure: int) -> None:
    if failure:
        future.set_exception(Unavailable(f"PySyncObj refused ({failure}): is there a leader?"))
    else:
        future.set_result(None)


@asynccontextmanager
async def open_pysyncobj(options: dict[str, Any]) -> AsyncIterator[System]:
    """Become the third node."""
    own, *others = reversed(options["addresses"])
    node, shared = _node(own, others)
    async with asyncio.timeout(60):
        while not node.isReady():  # noqa: ASYNC110 - another thread gets there
            await asyncio.sleep(0.1)
    yield Driven(_Operations(shared, b"x" * max(1, options["payload_bytes"])))
    node.destroy()


def _node(own: str, others: list[str]) -> tuple[Any, Any]:
    from pysyncobj import SyncObj
    from pysyncobj.batteries import ReplDict

    shared = ReplDict()
    return SyncObj(own, others, consumers=[shared]), shared


if __name__ == "__main__":
    sys.path.append(str(PYTHON))
    _node(sys.argv[1], sys.argv[2:])
    while True:
        time.sleep(1)
