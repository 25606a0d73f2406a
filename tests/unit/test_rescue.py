"""Objects whose servers hold different states, and how they come to hold one again."""

from __future__ import annotations

import itertools

import msgspec
import pytest

from fivefold import Counter, InvalidArguments, NonDeterministicObject, Object, ObjectError, query, update
from fivefold.api import Condition, rescue
from fivefold.cli.rescue import _words
from fivefold.cluster.access import AccessRules
from fivefold.objects import Adoption, Registry
from fivefold.protocol.operations import ADOPT, SHOW, Call, ObjectId, Operation, digest
from fivefold.testing import local_cluster

results = itertools.cycle([7])


class Loose(Object):
    """What an update stores is what each server draws."""

    value: int = 0

    @query
    def get(self) -> int:
        return self.value

    @update
    def put(self) -> None:
        self.value = next(results)

    @update
    def add(self) -> int:
        self.value += 1
        return self.value


def adoption(state: bytes, instead_of: bytes = b"") -> bytes:
    return msgspec.msgpack.encode(Adoption(state, (digest(instead_of),)))


async def diverged(cluster, stored: list[int]):
    """An object of which the servers that accept an update store these values, one after the other."""
    global results  # noqa: PLW0602
    globals()["results"] = itertools.cycle(stored)
    loose = cluster.object(Loose, "a")
    with pytest.raises(NonDeterministicObject):
        await loose.put()
    with pytest.raises(NonDeterministicObject):
        await loose.get()
    return loose


async def test_the_state_of_r_servers_becomes_that_of_all() -> None:
    """Three of five hold 7: afterwards every call works again, on 7."""
    async with local_cluster(Loose) as cluster:
        loose = await diverged(cluster, [7, 7, 7, 1, 2])
        found = await rescue(cluster.cluster, "Loose/a")
        assert found.condition is Condition.RESCUED
        assert sorted(map(len, found.groups), reverse=True) == [3, 1, 1]
        assert await loose.get() == 7
        assert await loose.add() == 8
        assert (await rescue(cluster.cluster, "Loose/a")).condition is Condition.HEALTHY


async def test_a_late_rescue_loses_no_update(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two look at one object; the other has rescued it, and an update was acknowledged: what it did stays."""
    async with local_cluster(Loose) as cluster:
        loose = await diverged(cluster, [7, 7, 7, 1, 2])
        run_operation, done = cluster.cluster.run_operation, []

        async def late(operation: Operation, *, is_query: bool):
            if operation.calls[0].method == ADOPT and not done:
                done.append(True)
                assert (await rescue(cluster.cluster, "Loose/a")).condition is Condition.RESCUED
                assert await loose.add() == 8
            return await run_operation(operation, is_query=is_query)

        monkeypatch.setattr(cluster.cluster, "run_operation", late)
        with pytest.raises(InvalidArguments, match="Loose/a has changed since its states were shown"):
            await rescue(cluster.cluster, "Loose/a")
        assert done
        assert await loose.get() == 8


async def test_without_r_equal_states_nothing_is_done() -> None:
    """Two of five are not enough: they might be liars and the servers that believed them."""
    async with local_cluster(Loose) as cluster:
        loose = await diverged(cluster, [7, 7, 1, 2, 3])
        with pytest.raises(ObjectError, match="none of them is held by 3"):
            await rescue(cluster.cluster, "Loose/a")
        with pytest.raises(NonDeterministicObject):
            await loose.get()


async def test_an_object_that_one_server_holds_otherwise_needs_no_rescue() -> None:
    """That server is as one that lies: calls work, and nobody says that all servers hold one state."""
    async with local_cluster(Loose) as cluster:
        globals()["results"] = itertools.cycle([7, 7, 7, 7, 9])
        loose = cluster.object(Loose, "a")
        await loose.put()
        found = await rescue(cluster.cluster, "Loose/a")
        assert found.condition is Condition.HEALTHY
        assert await loose.get() == 7
        assert "all servers that answered hold one state, but for as many at most as may lie" in _words(found)


async def test_a_healthy_object_is_left_alone() -> None:
    """Also one that was never written, and one of a ready-made type."""
    async with local_cluster(Loose) as cluster:
        assert (await rescue(cluster.cluster, "Loose/never")).condition is Condition.HEALTHY
        await cluster.object(Counter, "a").increment(3)
        assert (await rescue(cluster.cluster, "Counter/a")).condition is Condition.HEALTHY
        assert await cluster.object(Counter, "a").get() == 3


def test_what_is_no_state_is_not_adopted() -> None:
    """Bytes that the class cannot read would make the object unreadable for everybody."""
    registry = Registry(Counter)
    for arguments, text in (
        (adoption(b"\x91\xa1x"), b"xInvalidArguments: that is no state of Counter/a"),
        (b"\x91\xa1x", b"xInvalidArguments: that names no state for Counter/a"),
        (b"\x91" * 5000, b"xInvalidArguments: that names no state for Counter/a"),
    ):
        executed = registry.execute((ObjectId("Counter/a"),), Call(b"i" * 16, 0, ADOPT, arguments), (b"",))
        assert executed.states is None
        assert executed.answer.startswith(text)


@pytest.mark.parametrize("rule", ["Counter", "Counter/*", "*:*", "Counter:*", "*:@update", "*:@query"])
@pytest.mark.parametrize("method", [SHOW, ADOPT])
def test_only_the_owner_of_everything_may_go_past_the_methods(rule: str, method: str) -> None:
    """A rule for all methods of a type is one for its own methods."""
    me = b"m" * 16
    registry = Registry(Counter)

    def is_update(name: str, asked: str) -> bool | None:
        return registry.is_update((ObjectId(f"{name}/-"),), asked)

    assert not AccessRules({me: (rule,)}, is_update).allows(me, ObjectId("Counter/a"), method)
    assert AccessRules({me: ("*",)}, is_update).allows(me, ObjectId("Counter/a"), method)
