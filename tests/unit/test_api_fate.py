"""What became of a call: after a time-out, a cancellation, or the death of the program that made it."""

from __future__ import annotations

import asyncio
import pickle  # noqa: TID251 - the id travels with the exception

import pytest

from fivefold import (
    NOT_APPLIED,
    Account,
    CallerError,
    Cluster,
    Counter,
    InvalidArguments,
    OutcomeUnknown,
    Unavailable,
    transfer,
)
from fivefold.api import cluster as api_cluster
from fivefold.testing import LocalCluster, local_cluster


async def until_sent(cluster: Cluster, count: int) -> None:
    """Wait until the client has sent that many requests in all."""
    while cluster.requests_sent < count:  # noqa: ASYNC110 - nothing else tells
        await asyncio.sleep(0)


async def cancelled_increment(local: LocalCluster) -> None:
    """An increment that has been sent, and whose caller then goes away."""
    hits = local.object(Counter, "hits")
    sent = local.cluster.requests_sent
    task = asyncio.create_task(hits.increment())
    await until_sent(local.cluster, sent + 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_the_fate_of_a_cancelled_update_can_be_learnt() -> None:
    """A cancelled update is pending; resolving says what became of it, and then it is pending no more."""
    async with local_cluster() as local:
        hits = local.object(Counter, "hits")
        assert await hits.increment() == 1
        await cancelled_increment(local)
        (call_id,) = local.cluster.pending()
        fate = await local.cluster.resolve(call_id)
        assert fate in (2, NOT_APPLIED)
        assert await hits.get() == (2 if fate == 2 else 1)
        assert local.cluster.pending() == ()
        assert await local.cluster.resolve(call_id) == fate, "what it said stays true"


async def test_wait_for_leaves_a_pending_update() -> None:
    """What asyncio.wait_for gives up is pending, too: here a quorum is missing, so it is not applied yet."""
    async with local_cluster() as local:
        hits = local.object(Counter, "hits")
        await hits.increment()
        for index in (0, 1):
            await local.crash(index)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(hits.increment(), 0.2)
        (call_id,) = local.cluster.pending()
        for index in (0, 1):
            await local.restart(index)
        fate = await local.cluster.resolve(call_id)
        assert await hits.get() == (2 if fate == 2 else 1)


async def test_cancelled_queries_are_not_pending() -> None:
    """A query changes nothing: nobody has to ask what became of it."""
    async with local_cluster() as local:
        hits = local.object(Counter, "hits")
        task = asyncio.create_task(hits.get())
        await until_sent(local.cluster, 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert local.cluster.pending() == ()


async def test_pending_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest ids make room: a program that never asks does not grow."""
    monkeypatch.setattr(api_cluster, "PENDING_MAX", 2)
    async with local_cluster() as local:
        seen: list[str] = []
        for _ in range(4):
            await cancelled_increment(local)
            seen.append(local.cluster.pending()[-1])
        assert list(local.cluster.pending()) == seen[-2:]


async def test_an_id_applies_a_call_once() -> None:
    """An update under an id of its own may be run again and again: it is applied once, and answers the same."""
    async with local_cluster() as local:
        hits = local.object(Counter, "hits")
        call_id = hits.increment.new_id()
        assert [await hits.increment.with_id(call_id, by=5) for _ in range(3)] == [5, 5, 5]
        assert await hits.get() == 5
        assert await local.cluster.resolve(call_id) == 5


async def test_a_program_that_died_learns_what_became_of_its_call() -> None:
    """Another connection of the same identity resolves an id that was kept: applied, or never will be."""
    async with local_cluster() as local:
        hits = local.object(Counter, "hits")
        done, lost = hits.increment.new_id(), hits.increment.new_id()
        assert await hits.increment.with_id(done) == 1
        again = await local.client("first")
        assert await again.resolve(done) == 1
        assert await again.resolve(lost) is NOT_APPLIED
        with pytest.raises(CallerError, match="never to be applied: make a new id"):
            await hits.increment.with_id(lost)
        assert await hits.get() == 1


async def test_ids_of_functions() -> None:
    """An update over several objects has an id, too."""
    async with local_cluster() as local:
        ada, bob = local.object(Account, "ada"), local.object(Account, "bob")
        await ada.deposit(10)
        call_id = local.cluster.new_id(transfer, ada, bob)
        for _ in range(2):
            await local.cluster.call_with_id(call_id, transfer, ada, bob, amount=3)
        assert (await ada.balance(), await bob.balance()) == (7, 3)
        assert await local.cluster.resolve(call_id) is None


async def test_an_id_that_was_never_used_is_cancelled_for_good() -> None:
    """Resolving an update that was not made yet makes sure that it never will be."""
    async with local_cluster() as local:
        ada = local.object(Account, "ada")
        call_id = ada.deposit.new_id()
        assert await local.cluster.resolve(call_id) is NOT_APPLIED
        with pytest.raises(CallerError, match="never to be applied"):
            await ada.deposit.with_id(call_id, 5)
        assert await ada.balance() == 0


async def test_an_id_from_before_many_updates_says_so() -> None:
    """An id that is older than what the object remembers is not taken for one that was not applied."""
    async with local_cluster() as local:
        hits = local.object(Counter, "hits")
        await hits.increment()
        old = hits.increment.new_id()
        assert await hits.increment.with_id(old) == 2
        for _ in range(200):
            await hits.increment()
        with pytest.raises(OutcomeUnknown, match="too many updates") as caught:
            await hits.increment.with_id(old)
        assert caught.value.call_id is None
        assert await hits.get() == 202


async def test_ids_are_for_one_client_one_update_and_its_objects() -> None:
    """An id of another client would be told that nothing was applied: it is refused, as for another call."""
    async with local_cluster() as local:
        hits, other = local.object(Counter, "hits"), local.object(Counter, "other")
        call_id = hits.increment.new_id()
        stranger = await local.client("stranger")
        with pytest.raises(InvalidArguments, match="of another client identity"):
            await stranger.resolve(call_id)
        for call in (other.increment, hits.add, stranger.object(Counter, "hits").increment):
            with pytest.raises(InvalidArguments, match=r"this id is for increment of Counter/hits|another client"):
                await call.with_id(call_id, 1)
        with pytest.raises(InvalidArguments, match="get is a query"):
            hits.get.new_id()
        for text in ("", "call-", "call-!!", "call-" + "A" * 40, "call-" + "A" * 100_000, 5, None):
            with pytest.raises(InvalidArguments, match="this is no call's id"):
                await local.cluster.resolve(text)  # type: ignore[arg-type]
        assert await hits.get() == 0


async def test_the_id_of_an_unknown_outcome() -> None:
    """An exception from elsewhere is resolved by its id; the call is applied or never will be."""
    async with local_cluster(deadline=0.3) as local:
        hits = local.object(Counter, "hits")
        await hits.increment()
        for index in (0, 1):
            await local.crash(index)
        with pytest.raises(OutcomeUnknown) as caught:
            await hits.increment()
        travelled = pickle.loads(pickle.dumps(caught.value))
        assert local.cluster.pending() == (travelled.call_id,)
        for index in (0, 1):
            await local.restart(index)
        fate = await local.cluster.resolve(travelled.call_id, deadline=10)
        assert await hits.get() == (2 if fate == 2 else 1)


async def test_a_call_with_an_id_is_never_said_to_be_unavailable() -> None:
    """An earlier run under the id may have been applied, whatever became of this one."""
    async with local_cluster(deadline=0.3) as local:
        hits = local.object(Counter, "hits")
        call_id = hits.increment.new_id()
        for index in range(3):
            await local.crash(index)
        with pytest.raises(OutcomeUnknown) as caught:
            await hits.increment.with_id(call_id)
        assert caught.value.call_id == call_id
        with pytest.raises(Unavailable):
            await hits.get()
