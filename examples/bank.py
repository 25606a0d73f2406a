"""A bank under contention: several clients move money between the same accounts, and the total never changes.

A server crashes and comes back meanwhile. Each transfer is one update over two accounts, applied to both or to none;
each audit is one query over all accounts, at one moment. Run it with ``python examples/bank.py``.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from random import Random
from typing import Final

from fivefold import Account, Cluster, OutcomeUnknown, total, transfer
from fivefold.objects.account import Overdrawn
from fivefold.testing import LocalCluster, local_cluster

ACCOUNTS: Final = ("alice", "bob", "carol", "dave")
FUNDS: Final = 100
"""What each account holds at first."""

AMOUNT_MAX: Final = 60
CRASHED: Final = 2
"""The server that is away in the middle of the work."""

Tally = Counter[str]
"""How often what happened: ``moved``, ``overdrawn``, ``unknown`` and ``audits``."""


class MoneyLost(Exception):
    """The accounts hold another total than at first; nobody has ever seen this one."""


async def move_at_random(client: Cluster, random: Random, count: int, tally: Tally, done: asyncio.Queue[None]) -> None:
    """Make ``count`` transfers between accounts drawn at random, and tell ``done`` of each."""
    for _ in range(count):
        source, target = (client.object(Account, name) for name in random.sample(ACCOUNTS, 2))
        try:
            await client.call(transfer, source, target, amount=random.randint(1, AMOUNT_MAX))
            tally["moved"] += 1
        except Overdrawn:
            tally["overdrawn"] += 1
        except OutcomeUnknown as error:
            # Applied or not, it was applied to both accounts or to none; resolve() says which.
            tally["unknown"] += 1
            await error.resolve()
        done.put_nowait(None)


async def audit(client: Cluster, stop: asyncio.Event, tally: Tally) -> None:
    """Add up all accounts again and again, and once more at the end."""
    accounts = [client.object(Account, name) for name in ACCOUNTS]
    is_last = False
    while not is_last:
        is_last = stop.is_set()
        found = await client.call(total, *accounts)
        if found != FUNDS * len(ACCOUNTS):
            raise MoneyLost(f"the accounts hold {found} together, not {FUNDS * len(ACCOUNTS)}")
        tally["audits"] += 1
        await asyncio.sleep(0.01)


async def crash_and_restart(cluster: LocalCluster, count: int, done: asyncio.Queue[None]) -> None:
    """Take a server away after a third of ``count`` transfers, and bring it back after two thirds."""
    for change in (cluster.crash, cluster.restart):
        for _ in range(count // 3):
            await done.get()
        await change(CRASHED)


async def run(*, clients: int = 4, transfers: int = 25, seed: int = 0) -> Tally:
    """Let ``clients`` make ``transfers`` each; returns what happened.

    Raises:
        ExceptionGroup: of MoneyLost, if an audit found another total.
    """
    tally: Tally = Counter()
    done: asyncio.Queue[None] = asyncio.Queue()
    stop = asyncio.Event()
    async with local_cluster(seed=seed) as cluster:
        for name in ACCOUNTS:
            await cluster.object(Account, name).deposit(FUNDS)
        auditor = await cluster.client("auditor")
        tellers = [await cluster.client(f"teller-{number}") for number in range(clients)]
        async with asyncio.TaskGroup() as group:
            group.create_task(audit(auditor, stop, tally))
            group.create_task(crash_and_restart(cluster, clients * transfers, done))
            await asyncio.wait(
                [
                    group.create_task(move_at_random(teller, Random(seed + number), transfers, tally, done))
                    for number, teller in enumerate(tellers)
                ]
            )
            stop.set()
    return tally


def main() -> None:
    """Run it and print a short summary."""
    tally = asyncio.run(run())
    print(f"{tally['moved']} transfers made, {tally['overdrawn']} refused (too little in the account);")
    print(f"server {CRASHED} crashed and came back; {tally['unknown']} outcomes had to be asked for;")
    print(f"{tally['audits']} audits, and every one found {FUNDS * len(ACCOUNTS)}.")


if __name__ == "__main__":
    main()
