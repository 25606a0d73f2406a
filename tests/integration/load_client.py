"""A client process that increments counters until its standard input ends, then writes down what it saw.

``python -m tests.integration.load_client CLUSTER IDENTITY HISTORY DEADLINE_S KEY…``; prints the number of acknowledged
updates whenever it has grown.
"""

import asyncio
import sys
from pathlib import Path

import msgspec

from fivefold import connect
from fivefold.checker import Observation
from fivefold.checker.history import write_history
from tests.integration.rig import PATIENCE_S, Load


def named(seen: Observation, name: str) -> Observation:
    """The observation by a process whose name no other client has."""
    return msgspec.structs.replace(seen, process=f"{name}:{seen.process}")


def tell(count: int) -> None:
    """How many updates are acknowledged by now."""
    sys.stdout.write(f"{count}\n")
    sys.stdout.flush()


async def main(cluster_file: str, identity: str, history: str, deadline: str, *keys: str) -> None:
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), lambda: sys.stdin.buffer.read1(1) or ended.set())
    async with (
        connect(Path(cluster_file), identity=identity, connect_timeout=PATIENCE_S) as cluster,
        Load(cluster, keys, deadline=float(deadline)) as load,
    ):
        told = -1
        while not ended.is_set():
            if load.record.total() > told:
                told = load.record.total()
                tell(told)
            await asyncio.sleep(0.02)
    write_history(Path(history), [named(seen, identity) for seen in load.record.history])
    tell(load.record.total())
    sys.stderr.write("".join(f"{error}\n" for error in load.record.errors))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
