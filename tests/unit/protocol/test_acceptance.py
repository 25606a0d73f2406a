"""What a history has room for, in bytes (PROTOCOL §4.7)."""

from __future__ import annotations

import pytest

from fivefold.protocol import history, limits
from fivefold.protocol.actions import ObjectRecord
from fivefold.protocol.history import (
    INITIAL_TIMESTAMP,
    decode_history,
    encode_entry,
    encode_history,
    initial_entry,
    make_timestamp,
    read_history,
    short,
)
from fivefold.protocol.operations import ClientId, ObjectId
from fivefold.protocol.records import Candidate, Entry, Part
from fivefold.protocol.server.acceptance import Acceptance
from fivefold.protocol.server.cache import Cache
from fivefold.protocol.server.outbox import Outbox
from fivefold.protocol.server.versions import initial_version
from fivefold.protocol.steps import Kind, Step
from tests.protocol_rig import A, B, X, Y, candidate

LONG = [ObjectId("Reg/" + f"{number:02d}".rjust(252, "x")) for number in range(64)]


def copy(time: int, client: ClientId, objects: list[ObjectId] | None = None) -> Candidate:
    """A copy on nothing established: nothing is pruned by it."""
    timestamp = make_timestamp(
        time, is_barrier=False, client=client, operation_digest=bytes(32), history_set_digest=b"h" * 32
    )
    parts = [Part(name, candidate(1, A).timestamp, INITIAL_TIMESTAMP) for name in sorted(objects or [A])]
    return Candidate(timestamp, tuple(parts))


def size(each: Candidate) -> int:
    return len(encode_entry(Entry(each, False)))


class Full:
    """One object's history, filled as far as there is room."""

    def __init__(self) -> None:
        self.cache = Cache(10)
        self.cache.add(0, A, None)
        self.acceptance = Acceptance(self.cache, Outbox(has_store=False))
        self.time = 1
        assert self.take(candidate(1, A), Kind.METHOD)

    @property
    def replica(self):
        return self.cache.hot[A]

    def take(self, each: Candidate, kind: Kind) -> bool:
        step = Step(kind, each, (each.part(A),), (each.timestamp,))
        if not self.acceptance.has_room(step):
            return False
        self.replica.accept(each, None if each.is_barrier else initial_version(b""), 0)
        decode_history(A, self.replica.history)
        return True

    def copied(self, client: ClientId, kind: Kind = Kind.COPY, objects: list[ObjectId] | None = None) -> bool:
        self.time += 1
        return self.take(copy(self.time, client, objects), kind)


def test_the_largest_barrier_and_the_largest_versions_fit() -> None:
    """64 objects with ids of 256 bytes in a barrier; a copy of 16 beside what it is conditioned on and its base."""
    barrier = Candidate(
        candidate(9, A, is_barrier=True).timestamp, tuple(Part(name, INITIAL_TIMESTAMP, None) for name in LONG)
    )
    assert {len(name.encode()) for name in LONG} == {limits.OBJECT_ID_BYTES_MAX}
    head = 5
    assert head + size(barrier) <= limits.HISTORY_BARRIER_BYTES_MAX
    assert head + 3 * size(copy(9, X, LONG[:16])) <= limits.HISTORY_VERSIONS_BYTES_MAX
    assert limits.HISTORY_BYTES_MAX <= 128 * 1024


def test_what_a_joint_step_leaves_is_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients are about to show these histories: they are known, and they are what reading them would give."""
    cache = Cache(10)
    for name in (A, B):
        cache.add(0, name, None)
    joint = candidate(1, A, B)
    step = Step(Kind.METHOD, joint, joint.parts, (INITIAL_TIMESTAMP, INITIAL_TIMESTAMP))
    made = [initial_version(b""), initial_version(b"")]
    Acceptance(cache, Outbox(has_store=False)).accept(0, step, made, [])
    read = {name: read_history(name, cache.hot[name].history) for name in (A, B)}
    monkeypatch.setattr(history, "read_history", None)
    for name in (A, B):
        assert decode_history(name, cache.hot[name].history) == read[name] == cache.hot[name].entries


def test_barriers_do_not_add_up() -> None:
    """A thousand barriers leave one: it is the newest that counts."""
    full = Full()
    for number in range(1000):
        assert full.take(candidate(2 + number, A, is_barrier=True), Kind.BARRIER)
    assert len(full.replica.entries) == 3


def test_copies_of_one_version_take_each_others_place() -> None:
    """A thousand copies of one object, by many clients, leave the newest."""
    full = Full()
    for number in range(1000):
        assert full.copied(ClientId(b"villain %08d" % (number % 50)))
    assert [short(entry.candidate.timestamp) for entry in full.replica.entries] == ["0", "1", str(full.time)]
    assert sorted(full.replica.versions) == [entry.candidate.timestamp for entry in full.replica.entries][1:]


def test_joint_copies_take_each_others_place_too() -> None:
    """A thousand copies over two objects, by many clients, leave the newest; everything else still has room."""
    full = Full()
    for number in range(1000):
        assert full.copied(ClientId(b"villain %08d" % (number % 50)), objects=[A, B])
    assert len(full.replica.entries) == len(full.replica.versions) + 1 == 3
    assert full.take(candidate(full.time + 1, A, is_barrier=True), Kind.BARRIER)
    full.time += 1
    assert full.copied(Y, Kind.INLINE_METHOD, [*LONG[:15], A]), "an inline repair over many objects"
    assert full.copied(X), "a copy of the object alone"
    on = full.replica.entries[-1].candidate.timestamp
    assert full.take(candidate(full.time + 1, (A, on)), Kind.METHOD)
    assert len(full.replica.entries) == 2


def test_whatever_adds_up_every_reader_takes_it() -> None:
    """Copies over sixteen objects each, always others: there is room for ten or so; a method still gets through."""
    full = Full()
    taken = sum([full.copied(X, objects=[*LONG[start : start + 15], A]) for start in range(40)])
    assert 10 <= taken < 20
    assert len(full.replica.history) <= limits.HISTORY_VERSIONS_BYTES_MAX + 5
    on = full.replica.entries[-1].candidate.timestamp
    assert full.take(candidate(full.time + 1, (A, on)), Kind.METHOD)


def test_a_server_reads_its_own_disk_without_the_limits_for_peers() -> None:
    """A history that no peer would take: it is there, and the object goes on from it."""
    many = [candidate(time, A, is_barrier=True) for time in range(2, 900)]
    data = encode_history((initial_entry(A), *(Entry(each, False) for each in many)))
    assert len(data) > limits.HISTORY_BYTES_MAX
    cache = Cache(10)
    cache.add(0, A, ObjectRecord(data, ()))
    assert cache.hot[A].latest == many[-1].timestamp
    cache.hot[A].accept(candidate(1000, A, is_barrier=True), None, 0)
    assert len(cache.hot[A].entries) == 2
