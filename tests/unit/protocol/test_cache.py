"""The objects a server has in memory: hot, packed, forgotten."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from fivefold.protocol.history import INITIAL_TIMESTAMP
from fivefold.protocol.records import Candidate
from fivefold.protocol.server import cache as module
from fivefold.protocol.server.cache import Cache
from fivefold.protocol.server.replica import Replica
from fivefold.protocol.server.versions import initial_version
from fivefold.protocol.steps import Kind
from tests.protocol_rig import A, candidate

pytestmark = pytest.mark.patches_internals


@dataclass
class Small:
    """A cache with room for a few hot objects."""

    cache: Cache
    seen: list[str] = field(default_factory=list)

    def use(self, *names: str) -> None:
        for name in names:
            if not self.cache.fetch(0, name):
                self.cache.add(0, name, None)
            self.cache.shrink(0)

    @property
    def hot(self) -> str:
        return "".join(self.cache.hot)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Small:
    monkeypatch.setattr(module, "HOT_OBJECTS_MAX", 3)
    return Small(Cache(6))


def test_what_was_used_has_a_second_chance(small: Small) -> None:
    """The first look only notes that all were used; after it, what was not used again goes first."""
    small.use(*"abcd")
    assert sorted(small.hot) == ["a", "b", "c", "d"]
    small.use("b")
    assert sorted(small.hot) == ["b", "c", "d"]
    small.use("c", "e")
    assert sorted(small.hot) == ["b", "c", "e"]


def test_what_is_beyond_the_room_is_forgotten(small: Small) -> None:
    """Six objects fit; with the seventh the one goes that was packed first, and no other."""
    small.use(*"abcdef")
    assert len(small.cache) == 6
    small.use("g")
    assert len(small.cache) == 6
    assert not small.cache.fetch(0, "a")
    assert small.cache.fetch(0, "b")


def test_without_a_limit_nothing_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a server without a store."""
    monkeypatch.setattr(module, "HOT_OBJECTS_MAX", 3)
    everything = Small(Cache(None))
    everything.use(*"abcdefghij")
    assert len(everything.cache) == 10


def test_what_is_not_yet_durable_stays_hot(small: Small) -> None:
    """An object whose last write the store has not committed is not packed, whatever the room."""
    small.use(*"abc")
    for name in "abc":
        small.cache.hot[name].sequence = 7
    small.use(*"defgh")
    assert {"a", "b", "c"} <= set(small.hot)


def written(*steps: tuple[Kind, Candidate]) -> Replica:
    replica = Replica(A, None)
    for number, (kind, each) in enumerate(steps):
        is_barrier = each.is_barrier
        replica.accept(kind, each, None if is_barrier else initial_version(b"%d" % number), 0)
    return replica


ONE = candidate(1, (A, INITIAL_TIMESTAMP))
TWO = candidate(2, (A, ONE.timestamp))
THREE = candidate(3, (A, TWO.timestamp))
BARRIER = candidate(4, (A, THREE.timestamp), is_barrier=True)


@pytest.mark.parametrize(
    "replica",
    [
        Replica(A, None),
        written((Kind.METHOD, ONE)),
        written((Kind.METHOD, ONE), (Kind.METHOD, TWO), (Kind.METHOD, THREE)),
        written((Kind.METHOD, ONE), (Kind.METHOD, TWO), (Kind.METHOD, THREE), (Kind.BARRIER, BARRIER)),
    ],
    ids=["initial", "one version", "with a pruned version", "with a barrier"],
)
def test_a_packed_object_comes_back_as_it_was(replica: Replica) -> None:
    """History, versions and pruned versions, in the order of their timestamps."""
    record = module._unpack(module._pack(replica))
    again = Replica(A, record)
    assert (again.entries, again.latest, again.record()) == (replica.entries, replica.latest, replica.record())
    assert list(again.versions.items()) == list(replica.versions.items())
