"""The objects a server has in memory: hot, packed, forgotten."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

import pytest

from fivefold.protocol.actions import ObjectRecord
from fivefold.protocol.history import INITIAL_TIMESTAMP
from fivefold.protocol.operations import ObjectId
from fivefold.protocol.records import Candidate
from fivefold.protocol.server import cache as module
from fivefold.protocol.server.cache import Cache
from fivefold.protocol.server.replica import Replica
from fivefold.protocol.server.versions import initial_version
from fivefold.protocol.steps import Kind
from tests.protocol_rig import A, candidate


def record_of(name: str, size: int) -> ObjectRecord:
    """An object whose only version has so many bytes, which do not get fewer by packing."""
    replica = Replica(ObjectId(name), None)
    version = initial_version(Random(size).randbytes(size))
    replica.accept(candidate(1, (name, INITIAL_TIMESTAMP)), version, 0)
    return replica.record()


@dataclass
class Small:
    """A cache with room for a few hot objects."""

    cache: Cache
    seen: list[str] = field(default_factory=list)

    def use(self, *names: str) -> None:
        for name in names:
            if not self.cache.fetch(0, name):
                self.cache.add(0, name, record_of(name, 0))
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


def test_what_was_never_written_is_forgotten_everywhere() -> None:
    """Questions about objects that do not exist do not fill the memory of a server without a store."""
    cache = Cache(None)
    for number in range(module.HOT_OBJECTS_MAX + 3 * module.LOOKAHEAD):
        cache.add(0, ObjectId(f"Reg/{number}"), None)
        cache.shrink(0)
    for _ in range(9):
        cache.shrink(0)
    assert len(cache) <= module.HOT_OBJECTS_MAX


MIB = 1024 * 1024


def test_large_objects_fill_the_cache_by_their_bytes() -> None:
    """Of 24 objects of 4 MiB as many stay as the bytes allow; the others are read again when they are needed."""
    cache = Cache(100_000, 32 * MIB)
    for number in range(24):
        cache.add(0, ObjectId(f"Reg/{number}"), record_of(f"Reg/{number}", 4 * MIB))
        cache.shrink(0)
        cache.shrink(0)
        assert cache.size <= 32 * MIB
        assert cache.size >= sum(len(each.versions) * 4 * MIB for each in cache.hot.values())
    assert len(cache) == len(cache.hot) == 7
    assert not cache.fetch(0, ObjectId("Reg/0"))
    assert cache.fetch(0, ObjectId("Reg/23"))


def test_a_large_object_whose_write_is_not_durable_stays() -> None:
    """Nothing else has what it has; once the store has it, it may go."""
    cache = Cache(100_000, MIB)
    cache.add(0, A, record_of(A, 2 * MIB))
    cache.hot[A].sequence = 7
    for _ in range(3):
        cache.shrink(6)
    assert list(cache.hot) == [A]
    cache.shrink(7)
    assert len(cache) == 0
    assert cache.size == 0


def test_packed_objects_count_and_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has not been used for longest makes room, and every byte is counted off again."""
    monkeypatch.setattr(module, "HOT_OBJECTS_MAX", 2)
    cache = Cache(100, 60_000)
    for number in range(40):
        cache.add(0, ObjectId(f"Reg/{number}"), record_of(f"Reg/{number}", 9_000))
        cache.shrink(0)
        cache.shrink(0)
        hot = sum(each.counted for each in cache.hot.values())
        assert cache.size == hot + sum(map(len, cache._packed.values())) <= 60_000
    assert 2 < len(cache) < 40


def test_an_object_that_grows_is_counted_again() -> None:
    """An update of a small object can make it a large one."""
    cache = Cache(100_000)
    cache.add(0, A, None)
    before = cache.size
    cache.hot[A].accept(ONE, initial_version(bytes(MIB)), 0)
    cache.measure(cache.hot[A])
    cache.measure(cache.hot[A])
    assert before + MIB <= cache.size <= before + MIB + 4096


def written(*steps: tuple[Kind, Candidate]) -> Replica:
    replica = Replica(A, None)
    for number, (_, each) in enumerate(steps):
        is_barrier = each.is_barrier
        replica.accept(each, None if is_barrier else initial_version(b"%d" % number), 0)
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
