"""A process that commits without end and prints each sequence once it is durable; killed by test_storage_sqlite."""

import asyncio
import sys
from pathlib import Path

from fivefold.protocol.actions import Write
from fivefold.storage import SqliteStorage, writer

IN_FLIGHT = 16
writer.OVERLAY_BYTES_MAX = 50_000  # a fold every forty transactions, for kills to hit


async def main(path: Path, last: int) -> None:
    """Stage from ``last`` + 1 on, 16 transactions in flight, each of two objects."""
    woken = asyncio.Event()
    durable = last

    def on_durable(sequence: int) -> None:
        nonlocal durable
        durable = sequence
        print(sequence, flush=True)  # noqa: T201 the acknowledgement
        woken.set()

    storage = SqliteStorage(path, asyncio.get_running_loop(), on_durable)
    sequence = last
    while True:
        while sequence < durable + IN_FLIGHT:
            sequence += 1
            text = str(sequence).encode()
            storage.stage(sequence, [Write("A/last", text), Write(f"A/{sequence}", text, ((text, bytes(500)),))])
        woken.clear()
        await woken.wait()


asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
