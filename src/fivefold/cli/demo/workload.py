"""The demo's work: several clients on counters, maps, registers and accounts, also on the same ones at once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from random import Random
from typing import Any, Final

from fivefold import Cluster, Counter
from fivefold.checker import Outcome
from fivefold.cli.demo.recorder import Recorder
from fivefold.objects import Account, Map, Register, total, transfer

RULES: Final = ("Counter", "Map", "Register:*", "Account")
"""What the workers may do."""

ACCOUNTS: Final = ("alice", "bob", "carol", "dave")
FUNDS: Final = 1000
"""What each account holds at first."""

TASKS_PER_CLIENT: Final = 2
PAUSE_S: Final = 0.006
"""Between two calls of one task: the clients share two cores with the servers."""


class Worker:
    """One task of one client: calls one thing after the other."""

    def __init__(self, name: str, cluster: Cluster, recorder: Recorder) -> None:
        """Work as ``name`` through a client's connections."""
        self.name = name
        self._cluster = cluster
        self._recorder = recorder
        self._random = Random(name)
        # How often each kind of work is done, out of 20 calls.
        self._kinds = [self._count] * 8 + [self._read_count] * 3 + [self._count_together] * 2
        self._kinds += [self._use_map] * 3 + [self._use_register] * 2 + [self._move_money, self._see_all_money]

    async def work(self, stop: asyncio.Event) -> None:
        """Call until told to stop."""
        while not stop.is_set():
            await self._random.choice(self._kinds)()
            await asyncio.sleep(self._random.uniform(0, 2 * PAUSE_S))

    async def _call(self, cls: type[Any], key: str, method: str, /, **arguments: Any) -> Any:  # noqa: ANN401
        remote = self._cluster.object(cls, key)
        call = getattr(remote, method)(**arguments)
        return await self._recorder.record(self.name, method, (f"{cls.__name__}/{key}",), arguments, call)

    async def _count(self) -> None:
        await self._call(Counter, self.name, "increment", by=self._random.randint(1, 9))

    async def _read_count(self) -> None:
        await self._call(Counter, self.name, "get")

    async def _count_together(self) -> None:
        await self._call(Counter, "visits", "increment")

    async def _use_map(self) -> None:
        key = self._random.choice(["red", "green", "blue"])
        if self._random.random() < 0.5:
            await self._call(Map, "colours", "get", key=key)
        else:
            await self._call(Map, "colours", "put", key=key, value=self._random.randint(0, 255))

    async def _use_register(self) -> None:
        key = f"page-{self._random.randint(1, 20)}"
        if self._random.random() < 0.5:
            await self._call(Register, key, "read")
        else:
            await self._call(Register, key, "write", value=f"{self.name} {self._random.randint(0, 999)}")

    async def _move_money(self) -> None:
        """One atomic call over two objects."""
        source, target = self._random.sample(ACCOUNTS, 2)
        amount = self._random.randint(1, 50)
        remotes = [self._cluster.object(Account, name) for name in (source, target)]
        call = self._cluster.call(transfer, *remotes, amount=amount)
        objects = (f"Account/{source}", f"Account/{target}")
        await self._recorder.record(self.name, "transfer", objects, {"amount": amount}, call)

    async def _see_all_money(self) -> None:
        remotes = [self._cluster.object(Account, name) for name in ACCOUNTS]
        objects = tuple(f"Account/{name}" for name in ACCOUNTS)
        await self._recorder.record(self.name, "total", objects, {}, self._cluster.call(total, *remotes))


async def open_accounts(cluster: Cluster, recorder: Recorder) -> None:
    """Give every account its first funds."""
    for name in ACCOUNTS:
        call = cluster.object(Account, name).deposit(amount=FUNDS)
        await recorder.record("bank", "deposit", (f"Account/{name}",), {"amount": FUNDS}, call)


async def read_back(cluster: Cluster, recorder: Recorder, workers: Sequence[Worker]) -> list[str]:
    """Read everything that can be added up, and say what is missing: what was acknowledged must be there."""
    missing = []
    for key in ["visits", *(worker.name for worker in workers)]:
        object_id = f"Counter/{key}"
        expected = _sum_of_increments(recorder, object_id)
        found = await recorder.record("auditor", "get", (object_id,), {}, cluster.object(Counter, key).get())
        if found != expected:
            missing.append(f"{object_id} is {found}, acknowledged were {expected}")
    remotes = [cluster.object(Account, name) for name in ACCOUNTS]
    objects = tuple(f"Account/{name}" for name in ACCOUNTS)
    funds = await recorder.record("auditor", "total", objects, {}, cluster.call(total, *remotes))
    if funds != FUNDS * len(ACCOUNTS):
        missing.append(f"the accounts hold {funds} together, not {FUNDS * len(ACCOUNTS)}")
    return missing


def _sum_of_increments(recorder: Recorder, object_id: str) -> int:
    amounts = [
        seen.arguments.get("by", 1)
        for seen in recorder.history
        if seen.objects == (object_id,) and seen.method == "increment" and seen.outcome is Outcome.OK
    ]
    return sum(amount for amount in amounts if isinstance(amount, int))
