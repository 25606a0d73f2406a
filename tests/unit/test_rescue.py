"""Objects whose servers hold different states, and how they come to hold one again."""

from __future__ import annotations

import itertools

import pytest

from fivefold import Counter, NonDeterministicObject, Object, ObjectError, query, update
from fivefold.api import Condition, rescue
from fivefold.cluster.access import AccessRules
from fivefold.objects import Registry
from fivefold.protocol.operations import ADOPT, SHOW, Call, ObjectId
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


async def test_without_r_equal_states_nothing_is_done() -> None:
    """Two of five are not enough: they might be liars and the servers that believed them."""
    async with local_cluster(Loose) as cluster:
        loose = await diverged(cluster, [7, 7, 1, 2, 3])
        with pytest.raises(ObjectError, match="none of them is held by 3"):
            await rescue(cluster.cluster, "Loose/a")
        with pytest.raises(NonDeterministicObject):
            await loose.get()


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
    executed = registry.execute((ObjectId("Counter/a"),), Call(b"i" * 16, 0, ADOPT, b"\x91\xa1x"), (b"",))
    assert executed.states is None
    assert executed.answer.startswith(b"xInvalidArguments: that is no state of Counter/a")


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
