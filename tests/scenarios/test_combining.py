"""Combining (ours): one client's calls that queue up for one object travel as one operation."""

from __future__ import annotations

import asyncio

import pytest

from fivefold import Counter, Object, Unavailable, query, update
from fivefold.objects import Account, Overdrawn
from fivefold.protocol.limits import CALLS_MAX
from fivefold.protocol.operations import ClientId, ObjectId
from fivefold.testing import LocalCluster, local_cluster


class Diary(Object):
    """Remembers the order in which it was written."""

    lines: list[int] = []  # noqa: RUF012 (a field's default, copied for each object)

    @update
    def write(self, line: int) -> int:
        """Append a line; its position."""
        self.lines.append(line)
        return len(self.lines) - 1

    @query
    def read(self) -> list[int]:
        """All lines."""
        return self.lines


def accepted(cluster: LocalCluster) -> int:
    """METHOD candidates accepted by the server that accepted most."""
    return max(node.machine.counters["accepted.METHOD"] for node in cluster.servers.values())


async def test_queued_calls_travel_together_and_keep_their_order() -> None:
    """Sixty-five calls on one object take one operation, then four of CALLS_MAX calls; each has its own answer."""
    async with local_cluster(Diary) as cluster:
        diary = cluster.object(Diary, "d")
        count = 4 * CALLS_MAX + 1
        answers = await asyncio.gather(*(diary.write(line) for line in range(count)))
        assert answers == list(range(count))
        assert await diary.read() == list(range(count))
        assert accepted(cluster) == 5


async def test_queries_and_updates_are_not_mixed_in_one_operation() -> None:
    """A query between updates sees exactly those that were called before it."""
    async with local_cluster() as cluster:
        hits = cluster.object(Counter, "hits")
        calls = [hits.increment(), hits.increment(), hits.get(), hits.increment(), hits.get()]
        assert await asyncio.gather(*calls) == [1, 2, 2, 3, 3]


async def test_a_rejection_in_a_batch_is_the_rejected_caller_s_alone() -> None:
    """Of five withdrawals from an account of three, two are rejected; the others are applied."""
    async with local_cluster() as cluster:
        account = cluster.object(Account, "a")
        await account.deposit(3)
        results = await asyncio.gather(*(account.withdraw(1) for _ in range(5)), return_exceptions=True)
        assert [isinstance(result, Overdrawn) for result in results] == [False, False, False, True, True]
        assert await account.balance() == 0


class Book(Object):
    """Answers at length."""

    pages: int = 0

    @update
    def turn(self) -> str:
        """Turn a page and read it."""
        self.pages += 1
        return f"{self.pages}:" + "x" * 900_000

    @query
    def read(self) -> str:
        """Read the page."""
        return f"{self.pages}:" + "x" * 900_000


async def test_answers_too_long_to_travel_together_travel_apart() -> None:
    """Of six queued calls with answers of 0.9 MB, those that do not fit into one reply go again, and run once."""
    async with local_cluster(Book) as cluster:
        book = cluster.object(Book, "b", deadline=60)
        turned = await asyncio.gather(*(book.turn() for _ in range(6)))
        assert [page.partition(":")[0] for page in turned] == ["1", "2", "3", "4", "5", "6"]
        pages = await asyncio.gather(*(book.read() for _ in range(6)))
        assert {page.partition(":")[0] for page in pages} == {"6"}


class OnlyIncrements:
    """An access policy under which nobody may ``add``."""

    def allows(self, client: ClientId, object_id: ObjectId, method: str) -> bool:
        """Everything but ``decrement``."""
        return method != "decrement"

    def knows(self, client: ClientId, object_id: ObjectId) -> bool:
        """Everything."""
        return True


async def test_a_call_that_is_refused_does_not_take_its_batch_down() -> None:
    """A call without rights among queued ones is refused; the others are tried again by themselves and succeed."""
    async with local_cluster() as cluster:
        for node in cluster.servers.values():
            node.machine._access = node.machine._ordinary._access = OnlyIncrements()
        hits = cluster.object(Counter, "hits")
        calls = [hits.increment(), hits.increment(), hits.decrement(), hits.increment()]
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert results[:2] == [1, 2]
        assert results[3] == 3
        assert "access rules" in str(results[2])


async def test_each_call_of_a_batch_has_its_own_deadline() -> None:
    """With two servers down a short call ends at its deadline, a patient one when a server is back."""
    async with local_cluster() as cluster:
        hits = cluster.object(Counter, "hits")
        assert await hits.increment() == 1
        await cluster.crash(0)
        await cluster.crash(1)
        first = asyncio.ensure_future(hits.with_deadline(0.1).get())
        short = asyncio.ensure_future(hits.with_deadline(0.4).get())
        patient = asyncio.ensure_future(hits.with_deadline(30).get())
        for call in (first, short):
            with pytest.raises(Unavailable):
                await call
        await cluster.restart(0)
        assert await patient == 1
