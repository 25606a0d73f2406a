"""One object at one server: accepting, pruning, keeping and forgetting versions (PROTOCOL §4.7, S2)."""

from __future__ import annotations

import pytest

from fivefold.protocol.actions import ObjectRecord
from fivefold.protocol.history import (
    INITIAL_TIMESTAMP,
    Candidate,
    Part,
    initial_entry,
    make_timestamp,
    short,
    trusted_history,
)
from fivefold.protocol.limits import KEPT_VERSIONS, KEPT_VERSIONS_AGE_NS, RING_RECENT
from fivefold.protocol.records import Entry, Recorded, Version
from fivefold.protocol.server.replica import Replica, first_kept, needs_version, prune
from fivefold.protocol.server.versions import (
    RING_NAME_BYTES,
    append_outcomes,
    initial_version,
    kept_version,
    ring_key,
    rows_of,
    size_of,
)
from tests.protocol_rig import A, B, X, candidate

ZERO = initial_entry(A)


def chain(length: int) -> list[Candidate]:
    """Method candidates, each on the one before."""
    made: list[Candidate] = []
    for time in range(1, length + 1):
        made.append(candidate(time, (A, made[-1].timestamp if made else INITIAL_TIMESTAMP)))
    return made


def version(number: int) -> Version:
    return initial_version(b"version %d" % number)


def accepted(replica: Replica, candidates: list[Candidate], now_ns: int = 0) -> None:
    for number, each in enumerate(candidates):
        replica.accept(each, version(number), now_ns)


def shown(replica: Replica) -> list[str]:
    return [short(entry.candidate.timestamp) for entry in replica.entries]


def test_a_new_object_is_initial() -> None:
    """Nothing stored, {0} shown, no authenticator needed."""
    replica = Replica(A, None)
    assert (replica.history, replica.latest, shown(replica)) == (b"", INITIAL_TIMESTAMP, ["0"])


def test_accepting_changes_history_and_versions_together() -> None:
    """The write carries the new history and the new version; the authenticator is made anew."""
    replica = Replica(A, None)
    replica.macs = b"old"
    (one,) = chain(1)
    accepted(replica, [one])
    write = replica.written(7)
    assert (write.object_id, write.history) == (A, replica.history)
    assert (write.put, write.delete) == (((one.timestamp, kept_version(version(0))),), ())
    assert (replica.sequence, replica.macs, replica.written(8).put) == (7, None, ())
    assert replica.holds(one)
    assert replica.entry_at(one.timestamp).candidate == one
    assert replica.entry_at(b"other") is None


@pytest.mark.parametrize("count", [KEPT_VERSIONS, KEPT_VERSIONS + 1, KEPT_VERSIONS + 2, KEPT_VERSIONS + 3])
def test_a_few_versions_outlive_their_candidates(count: int) -> None:
    """KEPT_VERSIONS pruned ones are kept beside the two of the history; the oldest goes first."""
    replica = Replica(A, None)
    made = chain(count)
    accepted(replica, made)
    kept = min(count, KEPT_VERSIONS + 2)
    assert list(replica.versions) == [each.timestamp for each in made[-kept:]]


@pytest.mark.parametrize(("size", "kept"), [(100, KEPT_VERSIONS), (400_000, 2), (600_000, 1), (4_000_000, 0)])
def test_pruned_versions_are_kept_by_their_bytes_too(size: int, kept: int) -> None:
    """Large ones go earlier; those of the history's candidates stay, and what all take is known."""
    replica = Replica(A, None)
    for each in chain(KEPT_VERSIONS + 4):
        replica.accept(each, initial_version(bytes(size)), 0)
    assert len(replica.versions) == 2 + kept
    assert replica.size == sum(map(size_of, replica.versions.values()))
    assert list(replica.versions)[-1] == replica.latest


def test_the_store_is_to_hold_the_versions_of_the_history_only() -> None:
    """A version leaves the store with its candidate, once, while memory keeps it."""
    replica, stored = Replica(A, None), set()
    for position, each in enumerate(chain(KEPT_VERSIONS + 4)):
        replica.accept(each, version(position), 0)
        write = replica.written(position)
        assert stored >= set(write.delete)
        stored = stored.difference(write.delete) | {timestamp for timestamp, _ in write.put}
        assert stored == {entry.candidate.timestamp for entry in replica.entries} - {INITIAL_TIMESTAMP}


def counted(replica: Replica, candidates: list[Candidate]) -> list[Version]:
    """Have a replica accept a candidate for each of so many updates; their versions."""
    versions = [initial_version(b"state")]
    for time, each in enumerate(candidates, 1):
        outcome = Recorded(ring_key(X, time.to_bytes(16)), b"v")
        versions.append(append_outcomes(versions[-1], time, b"state", (outcome,)))
        replica.accept(each, versions[-1], 0)
        replica.written(time)
    return versions[1:]


def test_the_store_has_each_ring_once_and_no_longer_than_it_is_needed() -> None:
    """Through a hundred updates: a ring is put once, and what is stored can be taken up again, whole."""
    replica, stored, rings = Replica(A, None), {}, 0
    made = chain(100)
    for time, each, version in zip(range(100), made, counted(Replica(A, None), made), strict=True):
        replica.accept(each, version, 0)
        write = replica.written(time)
        for key in write.delete:
            del stored[key]
        assert not stored.keys() & dict(write.put).keys()
        stored.update(write.put)
        rings += sum(len(key) == RING_NAME_BYTES for key, _ in write.put)
        named = {
            entry.candidate.timestamp: replica.versions[entry.candidate.timestamp]
            for entry in replica.entries[-2:]
            if entry.candidate.timestamp in replica.versions
        }
        assert stored == dict(rows_of(named))
        assert Replica(A, ObjectRecord(write.history, tuple(stored.items()))).versions == named
    assert rings == 100 // RING_RECENT


def test_a_version_whose_ring_is_lost_is_one_that_is_not_held() -> None:
    """Like one whose own row is lost: the replica takes up the others, and this one has to be fetched."""
    replica, made = Replica(A, None), chain(2 * RING_RECENT)
    counted(replica, made)
    record = replica.record()
    lost = replica.versions[made[-1].timestamp].ring.name
    with_ring = {timestamp for timestamp, each in replica.versions.items() if each.ring.name == lost}
    rows = tuple(row for row in record.rows if row[0] != lost)
    assert len(rows) == len(record.rows) - 1
    assert set(Replica(A, ObjectRecord(record.history, rows)).versions) == set(replica.versions) - with_ring
    assert made[-1].timestamp in with_ring
    assert set(replica.versions) - with_ring


def test_one_that_was_packed_knows_which_rings_are_stored() -> None:
    """Not the one that pruned versions have: who builds on one of them again has to put it again."""
    replica, made = Replica(A, None), chain(2 * RING_RECENT + 1)
    versions = counted(replica, made)
    now, before = versions[-1], versions[-3]
    assert before.ring != now.ring
    for version, rings in ((now, []), (before, [before.ring.name])):
        again = Replica(A, replica.record())
        again.accept(copy(99, made[-1], made[-2]), version, 0)
        write = again.written(99)
        assert [key for key, _ in write.put if len(key) == RING_NAME_BYTES] == rings
        assert write.delete == ()


@pytest.mark.parametrize(("age_ns", "is_kept"), [(KEPT_VERSIONS_AGE_NS, True), (KEPT_VERSIONS_AGE_NS + 1, False)])
def test_pruned_versions_grow_old(age_ns: int, is_kept: bool) -> None:
    """A pruned version goes with the first write after its time."""
    replica = Replica(A, None)
    made = chain(4)
    accepted(replica, made[:3])
    replica.accept(made[3], version(3), age_ns)
    assert (made[0].timestamp in replica.versions) is is_kept


def test_pruned_versions_of_a_record_are_kept_as_before() -> None:
    """Those that no candidate of its history names count as pruned; the store has them no more."""
    replica = Replica(A, None)
    made = chain(KEPT_VERSIONS + 3)
    accepted(replica, made)
    loaded = Replica(A, replica.record())
    following = candidate(99, (A, made[-1].timestamp))
    loaded.accept(following, version(9), 0)
    assert len(loaded.versions) == KEPT_VERSIONS + 2
    assert loaded.written(1).delete == (made[-2].timestamp,)


@pytest.mark.parametrize(("age_ns", "is_kept"), [(KEPT_VERSIONS_AGE_NS, True), (KEPT_VERSIONS_AGE_NS + 1, False)])
def test_pruned_versions_of_a_record_grow_old_from_then_on(age_ns: int, is_kept: bool) -> None:
    """Like versions pruned then."""
    replica = Replica(A, None)
    made = chain(3)
    accepted(replica, made)
    loaded = Replica(A, replica.record(), 7)
    loaded.accept(candidate(99, (A, made[-1].timestamp)), version(9), 7 + age_ns)
    assert (made[0].timestamp in loaded.versions) is is_kept


def test_a_flag_is_set_once_and_only_on_what_is_held() -> None:
    """Setting it again, or on a candidate that is not there, changes nothing."""
    replica = Replica(A, None)
    both = candidate(1, A, B)
    replica.accept(both, version(0), 0)
    before = replica.history
    assert replica.flag_settled(both)
    assert replica.history != before
    assert not replica.flag_settled(both)
    assert not replica.flag_settled(candidate(2, A, B))


def copy(time: int, of: Candidate, base: Candidate | None) -> Candidate:
    """A copy of ``of`` that names its base; None for one whose request proved it established."""
    timestamp = make_timestamp(
        time, is_barrier=False, client=b"c" * 16, operation_digest=bytes(32), history_set_digest=b"h" * 32
    )
    return Candidate(timestamp, (Part(A, of.timestamp, base.timestamp if base else None),))


ONE, TWO = candidate(1, A), candidate(2, A)


@pytest.mark.parametrize(
    ("new", "left"),
    [
        (candidate(4, (A, TWO.timestamp)), ["2"]),
        (copy(4, TWO, None), ["2"]),
        (copy(4, TWO, ONE), ["1", "2"]),
        (copy(4, TWO, ZERO.candidate), ["0", "1", "2"]),
        (candidate(4, A, is_barrier=True), ["0", "1", "2"]),
    ],
    ids=["method", "copy of what is proved", "copy", "copy on nothing", "barrier"],
)
def test_pruning(new: Candidate, left: list[str]) -> None:
    """A version leaves those from its base on; whatever is accepted, the barrier that was the newest goes."""
    entries = (ZERO, *(Entry(each, False) for each in (ONE, TWO, candidate(3, A, is_barrier=True))))
    assert [short(entry.candidate.timestamp) for entry in prune(entries, first_kept(A, new), new)] == left


def test_the_last_entry_alone_is_kept_without_decoding_the_others() -> None:
    """A method on the latest leaves it and the method: the same bytes and versions as a replica that decodes all."""
    chosen, decoding = Replica(A, None), Replica(A, None)
    for position, each in enumerate(chain(5)):
        decoding.history, encoded = b"", decoding.history  # as of an initial one, which has no last entry
        assert position == 0 or decoding.entries[-1].candidate.timestamp == decoding.latest
        decoding.accept(each, version(position), 0)
        chosen.accept(each, version(position), 0)
        assert encoded != chosen.history == decoding.history
        assert (chosen.entries, chosen.versions) == (decoding.entries, decoding.versions)
        assert chosen.entries == trusted_history(chosen.history)
        assert chosen.written(position) == decoding.written(position)


def test_barriers_and_the_initial_version_are_not_stored() -> None:
    """Everything else must be there when it is built upon."""
    assert not needs_version(INITIAL_TIMESTAMP)
    assert not needs_version(candidate(1, A, is_barrier=True).timestamp)
    assert needs_version(candidate(1, A).timestamp)
