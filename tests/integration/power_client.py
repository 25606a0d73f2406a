"""A client inside the machine that loses its power: says what is acknowledged, or what is there.

``python -m tests.integration.power_client write|read CLUSTER``: lines ``ack KEY VALUE``, or ``value KEY VALUE`` and
``end``. What is acknowledged is also appended, unsynced, to the file ``canary`` beside the cluster file: to get lost.
"""

import asyncio
import sys
from pathlib import Path

from fivefold import Counter, connect
from tests.integration.rig import PATIENCE_S

KEYS = [f"k{number}" for number in range(16)]


def say(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


async def main(mode: str, cluster_file: str) -> None:
    async with connect(cluster_file, deadline=PATIENCE_S, connect_timeout=PATIENCE_S) as cluster:
        if mode == "read":
            for key in KEYS:
                say("value", key, await cluster.object(Counter, key).get())
            say("end")
            return
        with Path(cluster_file).with_name("canary").open("a") as canary:

            async def increment(key: str) -> None:
                counter = cluster.object(Counter, key)
                while True:
                    value = await counter.increment()
                    canary.write(f"{key} {value}\n")
                    canary.flush()
                    say("ack", key, value)

            await asyncio.gather(*map(increment, KEYS))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
