"""A client process that increments counters until its standard input ends, then writes down what it saw.

``python -m tests.integration.load_client CLUSTER IDENTITY HISTORY DEADLINE_S KEY…``; prints how many updates are
acknowledged and how many calls have failed whenever that has changed. At the end it reads every counter once more.
"""

import asyncio
import sys
from pathlib import Path

import msgspec

from fivefold import Counter, connect
from fivefold.checker import Observation
from fivefold.checker.history import write_history
from tests.integration.rig import PATIENCE_S, Load, Record


def named(seen: Observation, name: str) -> Observation:
    """The observation by a process whose name no other client has."""
    return msgspec.structs.replace(seen, process=f"{name}:{seen.process}")


def tell(acknowledged: int, failed: int) -> None:
    """Say so to whoever started this process."""
    sys.stdout.write(f"{acknowledged} {failed}\n")
    sys.stdout.flush()


async def main(cluster_file: str, identity: str, history: str, deadline: str, *keys: str) -> None:
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), lambda: sys.stdin.buffer.read1(1) or ended.set())
    async with connect(
        Path(cluster_file), identity=identity, connect_timeout=PATIENCE_S, deadline=PATIENCE_S
    ) as cluster:
        record, told = Record(), (-1, -1)
        async with Load(cluster, keys, record=record, deadline=float(deadline)):
            while not ended.is_set():
                if (record.total(), len(record.errors)) != told:
                    told = (record.total(), len(record.errors))
                    tell(*told)
                await asyncio.sleep(0.02)
        for key in keys:
            await record.run("the-end", f"Counter/{key}", "get", cluster.object(Counter, key).get(), is_update=False)
    write_history(Path(history), [named(seen, identity) for seen in record.history])
    tell(record.total(), len(record.errors))
    sys.stderr.write("".join(f"{error}\n" for error in record.errors))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
