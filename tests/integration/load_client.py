"""A client process that increments counters until its standard input ends, then writes down what it saw.

``python -m tests.integration.load_client CLUSTER IDENTITY HISTORY DEADLINE_S KEY…``; prints the number of acknowledged
updates whenever it has grown.
"""

import asyncio
import sys
from pathlib import Path

from fivefold import connect
from fivefold.checker import Observation
from fivefold.checker.history import write_history
from tests.integration.rig import PATIENCE_S, Load


def named(seen: Observation, name: str) -> Observation:
    """The observation by a process whose name no other client has."""
    import msgspec

    return msgspec.structs.replace(seen, process=f"{name}:{seen.process}")


async def main(cluster_file: str, identity: str, history: str, deadline: str, *keys: str) -> None:
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), lambda: sys.stdin.buffer.read1(1) or ended.set())
    async with connect(Path(cluster_file), identity=identity, connect_timeout=PATIENCE_S) as cluster:
        async with Load(cluster, keys, deadline=float(deadline)) as load:
            told = -1
            while not ended.is_set():
                if load.record.total() > told:
                    told = load.record.total()
                    print(told, flush=True)
                await asyncio.sleep(0.02)
    write_history(Path(history), [named(seen, identity) for seen in load.record.history])
    print(load.record.total(), flush=True)
    print(*load.record.errors, sep="\n", file=sys.stderr)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
