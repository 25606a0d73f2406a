"""One object sync by hand: whom to ask, whom to believe, when to stop (PROTOCOL §5)."""

from __future__ import annotations

from collections import Counter

import pytest

from fivefold.protocol.actions import Ask, Channel
from fivefold.protocol.history import make_histories
from fivefold.protocol.limits import SYNC_COPIES_BYTES_MAX, SYNC_RETRY_NS, SYNC_TIMEOUT_NS, VERSION_BYTES_MAX
from fivefold.protocol.messages import SyncReply, SyncRequest, decode_sync
from fivefold.protocol.operations import ClientId, digest
from fivefold.protocol.quorums import QuorumSystem
from fivefold.protocol.records import Request
from fivefold.protocol.server.admission import Work
from fivefold.protocol.server.synchronise import Sync, SyncTable
from tests.protocol_rig import A, candidate

KEY = (A, candidate(1, A).timestamp)
GOOD, EVIL = b"the version", b"another one"


def sync(*servers: int, needed: int = 2) -> Sync:
    return Sync(0, 9, KEY, servers=servers, needed=needed)


def asked(asks: list[Ask]) -> list[tuple[int, bool]]:
    """Whom, and whether for the whole version."""
    found = []
    for ask in asks:
        request = decode_sync(ask.frame)
        assert isinstance(request, SyncRequest)
        assert (request.number, request.object_id, request.timestamp) == (9, *KEY)
        found.append((ask.server, request.is_whole))
    return found


def whole(data: bytes) -> SyncReply:
    return SyncReply(9, digest(data), data)


def only_digest(data: bytes) -> SyncReply:
    return SyncReply(9, digest(data), b"")


NOTHING = SyncReply(9, b"", b"")


def test_the_first_is_asked_for_everything_the_others_for_digests() -> None:
    """B + 1 servers at first, likely holders first."""
    assert asked(sync(3, 1, 2).start(0)) == [(3, True), (1, False)]


def test_b_1_equal_digests_and_a_copy_end_it() -> None:
    """Neither the copy alone nor the digests alone do."""
    one = sync(3, 1, 2)
    one.start(0)
    assert one.receive(3, whole(GOOD)) == []
    assert one.version is None
    assert one.receive(1, only_digest(GOOD)) == []
    assert one.version == GOOD


def test_one_server_says_it_twice_and_is_counted_once() -> None:
    """A liar cannot be its own witness."""
    one = sync(3, 1, 2)
    one.start(0)
    for _ in range(3):
        one.receive(3, whole(EVIL))
    assert one.version is None


def test_disagreement_asks_further() -> None:
    """Two digests differ: the next server is asked for everything, and decides."""
    one = sync(3, 1, 2)
    one.start(0)
    one.receive(3, whole(EVIL))
    assert asked(one.receive(1, only_digest(GOOD))) == [(2, True)]
    one.receive(2, whole(GOOD))
    assert one.version == GOOD


def test_a_copy_that_does_not_match_its_digest_is_no_answer() -> None:
    """The next server is asked."""
    one = sync(3, 1, 2)
    one.start(0)
    assert asked(one.receive(3, SyncReply(9, digest(GOOD), EVIL))) == [(2, True)]


def test_a_server_that_holds_nothing_is_passed_by() -> None:
    """Empty digest: the next server is asked."""
    one = sync(3, 1, 2)
    one.start(0)
    assert asked(one.receive(3, NOTHING)) == [(2, True)]


def test_a_withheld_copy_is_asked_of_the_next() -> None:
    """The first gave a digest instead of the copy it was asked for: the second is asked for it, not the first again."""
    one = sync(3, 1, 2)
    one.start(0)
    one.receive(3, only_digest(GOOD))
    assert asked(one.receive(1, only_digest(GOOD))) == [(1, True)]
    assert asked(one.receive(1, only_digest(GOOD))) == [(2, True)]
    assert one.receive(3, only_digest(GOOD)) == []
    one.receive(2, whole(GOOD))
    assert one.version == GOOD


def test_a_copy_given_for_another_digest_is_not_taken() -> None:
    """A liar sends a copy, then changes its mind about the digest: its copy does not become the version."""
    one = sync(3, 1, 2)
    one.start(0)
    one.receive(3, whole(EVIL))
    one.receive(3, only_digest(GOOD))
    assert asked(one.receive(1, only_digest(GOOD))) == [(1, True)]
    assert one.version is None


def test_when_nobody_is_left_nobody_is_asked() -> None:
    """The sync then waits for its deadline."""
    one = sync(3, 1)
    one.start(0)
    assert one.ask_further() == []


def test_it_is_over_when_too_few_are_left() -> None:
    """Of four servers two have nothing and one is silent: the two that may still have it could agree, one could not."""
    one = sync(3, 1, 2, 0)
    one.start(0)
    one.receive(3, NOTHING)
    one.receive(1, NOTHING)
    assert not one.is_over
    one.receive(2, NOTHING)
    assert (one.is_over, one.version) == (True, None)


def test_it_is_not_over_while_a_copy_may_come() -> None:
    """Two agree on the digest, and the second is asked for the copy."""
    one = sync(3, 1)
    one.start(0)
    one.receive(3, only_digest(GOOD))
    one.receive(1, only_digest(GOOD))
    assert not one.is_over


def test_without_liars_one_answer_is_enough() -> None:
    """B = 0: the first copy that matches is the version."""
    one = sync(3, 1, needed=1)
    assert asked(one.start(0)) == [(3, True)]
    one.receive(3, whole(GOOD))
    assert one.version == GOOD


def test_who_was_silent_is_asked_last_until_it_is_heard_of() -> None:
    """One server that is down must not cost every sync a wait."""
    table = SyncTable(5, QuorumSystem(6, 1, 1))
    nothing = make_histories(A, [b""] * 6)
    work = Work(Channel(1), ClientId(bytes(16)), 1, Request(A, (nothing,), b""), b"", 0)

    def first_asked(time: int) -> list[int]:
        asks = table.wait(0, work, (A, candidate(time, A).timestamp), nothing)
        return [ask.server for ask in asks]

    assert first_asked(1) == [0, 1]
    table.receive(1, SyncReply(1, digest(GOOD), b""))
    for each in table.due(SYNC_RETRY_NS):
        table.ask_after_silence(SYNC_RETRY_NS, each)
    assert first_asked(2) == [1, 2]
    table.receive(0, SyncReply(99, b"", b""))
    assert first_asked(3) == [0, 1]


@pytest.mark.parametrize("lie", [SyncReply(1, digest(b"other"), b""), SyncReply(1, digest(GOOD), b"other")])
def test_who_gives_another_version_than_b_1_others_is_counted(lie: SyncReply) -> None:
    """Once the version is certain: until then nobody can say who is mistaken. A server without it is not."""
    seen: Counter[str] = Counter()
    table = SyncTable(5, QuorumSystem(6, 1, 1), 0, seen)
    nothing = make_histories(A, [b""] * 6)
    work = Work(Channel(1), ClientId(bytes(16)), 1, Request(A, (nothing,), b""), b"", 0)
    table.wait(0, work, (A, candidate(1, A).timestamp), nothing)
    table.receive(0, lie)
    table.receive(3, SyncReply(1, b"", b""))
    assert not seen
    table.receive(1, SyncReply(1, digest(GOOD), GOOD))
    _, found = table.receive(2, SyncReply(1, digest(GOOD), b""))
    assert found is not None
    table.end(found)
    assert seen == {"seen.0 wrong-version": 1}


def test_one_more_is_asked_after_each_silence_until_it_is_given_up() -> None:
    """Every SYNC_RETRY_NS, and not before; after SYNC_TIMEOUT_NS the work comes back."""
    table = SyncTable(5, QuorumSystem(6, 1, 1))
    nothing = make_histories(A, [b""] * 6)
    work = Work(Channel(1), ClientId(bytes(16)), 1, Request(A, (nothing,), b""), b"", 0)
    assert [ask.server for ask in table.wait(0, work, KEY, nothing)] == [0, 1]
    for silence, server in enumerate((2, 3, 4), 1):
        assert table.wake_at_ns == silence * SYNC_RETRY_NS
        assert table.due(silence * SYNC_RETRY_NS - 1) == []
        (due,) = table.due(silence * SYNC_RETRY_NS)
        assert [ask.server for ask in table.ask_after_silence(silence * SYNC_RETRY_NS, due)] == [server]
    assert table.ask_after_silence(SYNC_TIMEOUT_NS - 1, due) == []
    assert table.wake_at_ns == due.deadline_ns == SYNC_TIMEOUT_NS
    assert table.due(SYNC_TIMEOUT_NS) == [due]
    assert (table.end(due), table.parked_count) == ([work], 0)
    assert table.wake_at_ns is None


def test_a_server_that_floods_syncs_with_copies_fills_no_memory() -> None:
    """Of one server's copies that wait for others' word a few are kept; the version then comes from another one."""
    table = SyncTable(5, QuorumSystem(6, 1, 1))
    nothing = make_histories(A, [b""] * 6)
    large = bytes(SYNC_COPIES_BYTES_MAX // 4)
    for number in range(1, 11):
        work = Work(Channel(1), ClientId(bytes(16)), number, Request(A, (nothing,), b""), b"", 0)
        table.wait(0, work, (A, candidate(number, A).timestamp), nothing)
        assert table.receive(0, SyncReply(number, digest(large), large)) == ([], None)
    kept = [sync.copy_size(0) for sync, _ in table._syncs.values()]
    assert sum(kept) == table._copied[0] == SYNC_COPIES_BYTES_MAX
    asks, done = table.receive(1, SyncReply(10, digest(large), b""))
    assert ([ask.server for ask in asks], done) == ([1], None)
    _, done = table.receive(1, SyncReply(10, digest(large), large))
    assert done is not None
    assert done.version == large
    for each in table.due(SYNC_TIMEOUT_NS):
        table.end(each)
    assert table._copied == [0] * 6


def test_a_copy_that_no_version_can_be_is_not_kept() -> None:
    """Whatever room there is."""
    table = SyncTable(5, QuorumSystem(6, 1, 1))
    nothing = make_histories(A, [b""] * 6)
    work = Work(Channel(1), ClientId(bytes(16)), 1, Request(A, (nothing,), b""), b"", 0)
    table.wait(0, work, KEY, nothing)
    huge = bytes(VERSION_BYTES_MAX + 1)
    table.receive(0, SyncReply(1, digest(huge), huge))
    assert table._copied == [0] * 6
