"""PROTOCOL §4, §5, §9: what a server checks, in which order, and what it promises when it answers."""

from __future__ import annotations

import msgspec

from fivefold.protocol.actions import Channel
from fivefold.protocol.authenticators import columns
from fivefold.protocol.client.outcomes import Answered
from fivefold.protocol.history import (
    Entry,
    decode_history,
    encode_history,
    initial_entry,
    make_histories,
    short,
    time_of,
)
from fivefold.protocol.limits import TIME_LEAD_MAX, TIME_MAX
from fivefold.protocol.messages import (
    FAIL,
    REPLY,
    SUCCESS,
    UNCHANGED,
    SyncReply,
    SyncRequest,
    decode_vote,
    encode,
    request_frame,
    split,
)
from fivefold.protocol.operations import digest
from fivefold.protocol.server.versions import decode_version, encode_version, initial_version
from fivefold.protocol.steps import Kind
from fivefold.simulation.rack import Letter
from tests import protocol_rig
from tests.protocol_rig import (
    A,
    B,
    Desk,
    WatchedRack,
    X,
    Y,
    Z,
    candidate,
    claims,
    copies,
    deliver,
    newest,
    now,
    op,
    send,
)

METHOD, INLINE, COPY, BARRIER = Kind.METHOD, Kind.INLINE_METHOD, Kind.COPY, Kind.BARRIER


def says(actual: object, expected: object) -> None:
    assert protocol_rig.is_lenient or actual == expected


def written(rack: WatchedRack, *servers: int, text: bytes = b"e") -> None:
    """Write ``A`` once, at these servers."""
    send(rack, X, now(rack, []), servers, kind=METHOD, operation=op("set", text))


def forged(letter: Letter, *positions: int) -> Letter:
    """Spoil the MACs of some of the histories that a request shows."""
    for position in positions:
        letter.proofs[position] = bytes(len(letter.proofs[position]))
    return letter


# --- §4.1 culling -------------------------------------------------------------------------------------------------


def test_forged_histories_do_not_resurrect_the_initial_version() -> None:
    """A client forges five histories with a barrier and no e: believed, they would copy version 0 over e."""
    rack = WatchedRack()
    written(rack, *range(5))
    barrier = candidate(2, A, is_barrier=True)
    lie = encode_history((initial_entry(A), Entry(barrier, False)))
    letter = forged(Letter(rack, Z, {A: dict.fromkeys(range(5), lie)}), *range(5))
    assert letter.kind() is COPY
    votes = letter.to(range(5))
    assert {(vote.status, vote.culled) for vote in votes.values()} == {(FAIL, (0, 1, 2, 3, 4))}


def test_each_server_judges_its_own_macs() -> None:
    """A MAC that is wrong for s0 alone is culled by s0 alone, and s0 alone says so."""
    rack = WatchedRack()
    written(rack, *range(5))
    letter = Letter(rack, X, now(rack, range(5)), operation=op("add", b"+"))
    frame = request_frame(1, encode(letter.request), bytes(16) + columns(b"".join(letter.proofs), 6)[0][16:])
    assert rack.deliver(0, X, frame) is not None
    assert rack.servers[0].counters["stale"] == 0
    assert short(newest(rack, 0).timestamp) == "1"
    votes = letter.to(range(1, 5))
    assert {vote.culled for vote in votes.values()} == {()}


def test_a_history_of_another_object_is_culled() -> None:
    """An authenticator is bound to the object: B's history cannot be shown as A's."""
    rack = WatchedRack()
    send(rack, X, now(rack, []), range(5), kind=METHOD, operation=op("set", b"a"))
    send(rack, X, now(rack, [], B), range(5), kind=METHOD, operation=op("set", b"b", B))
    letter = Letter(rack, Y, now(rack, range(5)), operation=op("get"))
    real = Letter(rack, Y, now(rack, range(5), B), operation=op("get", b"", B))
    letter.proofs = real.proofs
    sets = (make_histories(A, [*(rack.history(s, B) for s in range(5)), b""]),)
    letter.request = msgspec.structs.replace(letter.request, sets=sets)
    assert {vote.culled for vote in letter.to(range(5)).values()} == {(0, 1, 2, 3, 4)}


def test_another_history_cannot_borrow_the_macs_of_the_servers_own() -> None:
    """What a server expects of others for its own history, which it has at hand, proves no other history."""
    rack = WatchedRack()
    written(rack, *range(5))
    letter = Letter(rack, Y, now(rack, range(5)), operation=op("get"))
    own = rack.history(0, A)
    lie = encode_history(tuple(Entry(entry.candidate, True) for entry in decode_history(A, own)))
    assert lie != own
    sets = (make_histories(A, [*[lie] * 5, b""]),)
    letter.request = msgspec.structs.replace(letter.request, sets=sets)
    assert {vote.culled for vote in letter.to(range(5)).values()} == {(0, 1, 2, 3, 4)}


def test_a_history_is_not_another_servers() -> None:
    """Keys are each server's own: s0's history and authenticator shown as s1's are culled."""
    rack = WatchedRack()
    written(rack, *range(5))
    letter = Letter(rack, Y, now(rack, range(5)), operation=op("get"))
    letter.proofs[1] = letter.proofs[0]
    assert {vote.culled for vote in letter.to(range(5)).values()} == {(1,)}
    assert rack.servers[0].counters["culled.1"] == 1, "the operator can see it"


def test_a_mac_cannot_be_reflected() -> None:
    """k(1→0) is not k(0→1): a MAC that s0 made for s1 does not pass at s0 as s1's."""
    rack = WatchedRack()
    written(rack, *range(5))
    letter = Letter(rack, Y, now(rack, range(5)), operation=op("get"))
    made_by_s0_for_s1 = columns(b"".join(letter.proofs), 6)[1][:16]
    proof = columns(b"".join(letter.proofs), 6)[0]
    frame = request_frame(1, encode(letter.request), proof[:16] + made_by_s0_for_s1 + proof[32:])
    assert culled_by(rack, 0, frame) == (1,)


def culled_by(rack: WatchedRack, server: int, frame: bytes) -> tuple[int, ...]:
    reply = rack.deliver(server, Y, frame)
    assert reply is not None
    return decode_vote(split(reply, REPLY)[1]).culled


def test_a_mac_for_another_server_is_no_proof() -> None:
    """Each receiver has a MAC of its own in an authenticator: s1's column does not convince s0."""
    rack = WatchedRack()
    written(rack, *range(5))
    letter = Letter(rack, Y, now(rack, range(5)), operation=op("get"))
    assert culled_by(rack, 0, request_frame(1, encode(letter.request), columns(b"".join(letter.proofs), 6)[1])) == (
        0,
        1,
        2,
        3,
        4,
    )


def test_the_digest_is_over_what_culling_left() -> None:
    """s3 culls what the others believe and judges otherwise: its candidate must have another timestamp."""
    rack = WatchedRack(n=4, t=1, b=0)
    written(rack, 0, 1)
    send(rack, Y, now(rack, []), [2, 3], kind=METHOD, operation=op("set", b"y"))
    everyone = range(4)
    letter = Letter(rack, Z, now(rack, everyone))
    says(letter.kind(), INLINE)
    send(rack, Z, now(rack, [0, 1, 2]), everyone, kind=BARRIER)
    letter = send(rack, Z, now(rack, everyone), [0, 1], kind=COPY)
    says(copies(letter), {A: "1"})
    # Without s3's own history the newest candidate of order 2 is the other one.
    forged(letter, 3).to([3])
    assert newest(rack, 3).part(A).conditioned_on != newest(rack, 0).part(A).conditioned_on
    assert newest(rack, 3).timestamp != newest(rack, 0).timestamp


def test_one_liar_cannot_use_up_the_clock() -> None:
    """A barrier follows a time that leads what q histories reach, but no further than by 2^40."""
    lead = 1 + TIME_LEAD_MAX
    for time, made in (
        (lead - 1, lead),
        (lead, lead + 1),
        (lead + 1, lead + 1),
        (TIME_MAX, lead + 1),
        (TIME_MAX + 1, None),
    ):
        rack = WatchedRack(liars={5})
        written(rack, *range(5))
        view = now(rack, range(5))
        view[A][5] = claims(rack, 5, A, candidate(time, A))
        vote = Letter(rack, Y, view).to([0])[0]
        newest_time = time_of(newest(rack, 0).timestamp)
        assert (vote.culled, newest_time) == (((), made) if made else ((5,), 1))


def test_a_liars_leaps_do_not_freeze_an_object() -> None:
    """The liar and a hostile client lead s3 and s4 far ahead; then the liar is silent, and s3 and s4 are needed.

    They are no liars, so nobody may cull them; and what is built next must exceed what they hold.
    """
    rack = WatchedRack(liars={5})
    written(rack, *range(5))
    for lead in (1, 2, 3):
        view = now(rack, range(5))
        top = max(time_of(newest(rack, server).timestamp) for server in range(5))
        for time in (1 + lead * TIME_LEAD_MAX, top + TIME_LEAD_MAX, top + 1):
            view[A][5] = claims(rack, 5, A, candidate(time, A, is_barrier=True))
            Letter(rack, Z, view).to([3, 4])
    assert time_of(newest(rack, 3).timestamp) > TIME_LEAD_MAX
    for client in (X, Y):
        desk = Desk(rack, client)
        desk.down = {5}
        assert isinstance(desk.call("add", b"+"), Answered)
        assert not any(each.culled_by or each.is_excluded for each in desk.session.knowledge.evidence())


# --- §4.2 to §4.4 -------------------------------------------------------------------------------------------------


def test_an_operation_on_histories_to_repair_does_nothing() -> None:
    """E is on three of five, and shown twice beside x: an operation sent with that view is not run on version 0."""
    rack = WatchedRack(n=4, t=1, b=0)
    written(rack, 0, 1, 2)
    send(rack, Y, now(rack, range(3)), [0], kind=METHOD, operation=op("set", b"x"))
    letter = Letter(rack, Z, now(rack, [0, 1, 3]), operation=op("set", b"z"))
    votes = letter.to([0, 1, 2, 3])
    assert {vote.status for vote in votes.values()} == {FAIL}
    rack.check()
    assert short(newest(rack, 1).timestamp) == "1"


def test_a_repeated_request_is_executed_once() -> None:
    """The same request twice: one candidate, one execution, and the same answer to both."""
    rack = WatchedRack()
    letter = send(rack, X, now(rack, []), range(5), kind=METHOD, operation=op("add", b"+"))
    again = letter.to(range(5))
    assert {(vote.status, vote.answers) for vote in again.values()} == {(SUCCESS, (b"v",))}
    assert [rack.state(s, A) for s in range(5)] == [b"+"] * 5
    assert rack.servers[0].counters["accepted.METHOD"] == 1


def test_a_repeated_request_is_answered_even_after_it_was_pruned() -> None:
    """A version outlives its candidate for a while, so that a slow repeated request still gets its answer."""
    rack = WatchedRack()
    first = send(rack, X, now(rack, []), range(5), kind=METHOD, operation=op("add", b"1"))
    for text in (b"2", b"3"):
        send(rack, X, now(rack, range(5)), range(5), kind=METHOD, operation=op("add", text))
    assert "1" not in rack.shown()[0].strip("{}").split(",")
    assert first.to([0])[0].answers == (b"v",)


def test_a_repeated_repair_succeeds_again() -> None:
    """A barrier and a copy already accepted are answered SUCCESS, and nothing changes; an older barrier is stale."""
    rack = WatchedRack(n=4, t=1, b=0)
    written(rack, 0)
    view = now(rack, [0, 1, 2])
    barrier = send(rack, Y, view, range(4), kind=BARRIER)
    shown = rack.shown()
    deliver(barrier, range(4))
    assert rack.shown() == shown
    copy = send(rack, Y, now(rack, [0, 1, 2]), range(4), kind=COPY)
    before = rack.shown()
    deliver(barrier, range(4), accepts=[])
    deliver(copy, range(4))
    assert rack.shown() == before


def test_an_older_version_is_not_built_upon() -> None:
    """X and y are both conditioned on e: a server that has accepted x refuses y."""
    rack = WatchedRack()
    written(rack, *range(5))
    view = now(rack, range(5))
    send(rack, X, view, range(5), kind=METHOD, operation=op("set", b"x"))
    send(rack, Y, view, range(5), kind=METHOD, operation=op("set", b"y"), accepts=[])


def test_a_stale_query_is_answered_on_the_latest_version() -> None:
    """Optimistic execution: FAIL, but with the answer that the newest version gives."""
    rack = WatchedRack()
    written(rack, *range(5))
    letter = send(rack, Y, now(rack, []), [0], kind=METHOD, operation=op("get"), accepts=[])
    vote = letter.to([0])[0]
    assert (vote.status, vote.answers, vote.histories) == (FAIL, (b"ve",), (rack.history(0, A),))


def test_a_stale_query_at_a_barrier_has_no_answer() -> None:
    """A barrier has no version to answer on."""
    rack = WatchedRack(n=4, t=1, b=0)
    written(rack, 0)
    send(rack, Y, now(rack, [0, 1, 2]), range(4), kind=BARRIER)
    assert Letter(rack, Y, now(rack, []), operation=op("get")).to([0])[0].answers == ()


def test_a_query_writes_nothing() -> None:
    """A query is answered on the version it is conditioned on; no candidate comes of it."""
    rack = WatchedRack()
    written(rack, *range(5))
    before = rack.shown()
    letter = send(rack, Y, now(rack, range(5)), range(5), kind=METHOD, operation=op("get"))
    assert letter.to([0])[0].answers == (b"ve",)
    assert rack.shown() == before


def test_a_rejection_writes_nothing() -> None:
    """What the method rejects is answered on the candidate's timestamp, and no history changes."""
    rack = WatchedRack()
    written(rack, *range(5))
    before = rack.shown()
    letter = send(rack, X, now(rack, range(5)), range(5), kind=METHOD, operation=op("refuse"), accepts=())
    vote = letter.to([0])[0]
    assert (vote.status, vote.answers, vote.version_digest) == (UNCHANGED, (b"rno",), b"")
    assert rack.shown() == before


# --- §4.7 -----------------------------------------------------------------------------------------------------------


def test_what_waited_is_checked_again() -> None:
    """While s3 fetches e for m, a barrier and a copy of e pass: m, sent before them, is refused when e arrives."""
    rack = WatchedRack(n=4, t=1, b=0)
    written(rack, 0, 1, 2)
    view = now(rack, [0, 1, 2])
    m = Letter(rack, X, view, operation=op("set", b"m"))
    deliver(m, [0, 1])
    rack.holds_syncs = True
    assert m.to([3]) == {}
    held, rack._waiting = rack._waiting, type(rack._waiting)()
    rack.holds_syncs = False
    send(rack, Y, now(rack, [0, 2, 3]), [0, 2, 3], kind=BARRIER)
    send(rack, Y, now(rack, [0, 2, 3]), [0, 2], kind=COPY)
    rack._waiting = held
    rack.release_syncs()
    rack.check()
    deliver(Letter(rack, Y, now(rack, [0, 2, 3])), [3])
    assert "2" not in rack.shown()[3]


# --- §4.8, §9 durability ----------------------------------------------------------------------------------------------


def test_a_reply_waits_for_the_disk() -> None:
    """SUCCESS leaves only when the disk has what it promises."""
    rack = WatchedRack()
    rack.slow.add(0)
    letter = Letter(rack, X, now(rack, []), operation=op("set", b"e"))
    assert letter.to([0]) == {}
    assert rack.history(0, A) == b""
    assert [vote.status for vote in rack.settle(0)] == [SUCCESS]
    assert short(newest(rack, 0).timestamp) == "1"


def test_no_reply_shows_what_the_disk_may_forget() -> None:
    """A FAIL to somebody else shows the newest history too, so it waits as well."""
    rack = WatchedRack()
    rack.slow.add(0)
    Letter(rack, X, now(rack, []), operation=op("set", b"e")).to([0])
    assert Letter(rack, Y, now(rack, []), operation=op("get")).to([0]) == {}
    assert sorted(vote.status for vote in rack.settle(0)) == [SUCCESS, FAIL]


def test_other_objects_need_not_wait() -> None:
    """Only replies about what is being written wait for the disk."""
    rack = WatchedRack()
    rack.slow.add(0)
    Letter(rack, X, now(rack, []), operation=op("set", b"e")).to([0])
    assert Letter(rack, Y, now(rack, [], B), operation=op("get", b"", B)).to([0])[0].status == SUCCESS


def test_a_version_is_not_given_away_before_it_is_durable() -> None:
    """An object sync, too, shows only what the disk has."""
    rack = WatchedRack(n=4, t=1, b=0)
    rack.slow.add(0)
    Letter(rack, X, now(rack, []), operation=op("set", b"e")).to([0])
    request = SyncRequest(1, A, candidate(1, A).timestamp, True)
    rack._perform(0, rack.servers[0].receive_from_server(0, 1, Channel(99), b"\x03" + encode(request)))
    assert (0, 99) not in rack._replies
    rack.slow.clear()
    rack.restart(0)


def test_a_restarted_server_goes_on_from_its_disk() -> None:
    """After a crash the history, its versions and the ring are those of the last commit."""
    rack = WatchedRack()
    first = send(rack, X, now(rack, []), range(5), kind=METHOD, operation=op("add", b"+"))
    rack.slow.add(0)
    Letter(rack, X, now(rack, range(5)), operation=op("add", b"lost")).to([0])
    rack.slow.clear()
    rack.restart(0)
    assert first.to([0])[0].answers == (b"v",)
    send(rack, X, now(rack, range(5)), range(5), kind=METHOD, operation=op("add", b"-"))
    assert {rack.state(s, A) for s in range(5)} == {b"+-"}


def test_eviction_loses_nothing() -> None:
    """With room for one object in memory, every object still has its last version."""
    rack = WatchedRack(cached_objects_max=1)
    names = [f"Reg/{number}" for number in range(20)]
    for _ in range(2):
        for name in names:
            send(rack, X, now(rack, range(5), name), range(5), kind=METHOD, operation=op("add", name.encode(), name))
    assert rack.servers[0].cached_objects <= 1
    letters = {name: Letter(rack, X, now(rack, range(5), name), operation=op("get", b"", name)) for name in names}
    assert all(letter.to([3])[3].answers == (b"v" + 2 * name.encode(),) for name, letter in letters.items())


def test_the_widest_operation_needs_room_for_its_objects() -> None:
    """An operation on 16 objects goes through with room for those 16; with less they would be loaded for ever."""
    rack = WatchedRack(cached_objects_max=16)
    names = [f"Reg/{number:02}" for number in range(16)]
    send(rack, X, now(rack, [], *names), range(5), kind=METHOD, operation=op("set", b"M", *names))
    send(rack, X, now(rack, range(5), *names), range(5), kind=METHOD, operation=op("add", b"+", *names))
    assert {rack.state(s, name) for s in range(5) for name in names} == {b"M+"}


def test_what_is_not_durable_is_not_evicted() -> None:
    """An object whose last write is on its way to the disk stays in memory, however full that is."""
    rack = WatchedRack(cached_objects_max=1)
    rack.slow.add(0)
    for number in range(5):
        name = f"Reg/{number}"
        Letter(rack, X, now(rack, [], name), operation=op("set", b"e", name)).to([0])
    assert rack.servers[0].cached_objects == 5
    rack.settle(0)
    assert rack.servers[0].cached_objects == 1


# --- §5 object sync ---------------------------------------------------------------------------------------------------


def lying_sync(rack: WatchedRack, liar: int) -> None:
    """The liar answers object syncs with a version of its own making, digest and all."""
    version = encode_version(initial_version(b"evil"))
    rack.sync_lies[liar] = lambda request: SyncReply(request.number, digest(version), version)


def test_one_servers_word_is_not_enough_for_a_version() -> None:
    """s5 fetches e; the liar, asked first, sends a version of its own: only what b + 1 servers agree on counts."""
    rack = WatchedRack(liars={0})
    lying_sync(rack, 0)
    written(rack, *range(4))
    send(rack, Y, now(rack, range(4)), [5], kind=INLINE)
    assert rack.asked[0] == (5, 0)
    assert rack.state(5, A) == b"e"


def test_a_copy_must_match_its_digest() -> None:
    """The liar gives the right digest with a wrong copy: another server is asked for it."""
    rack = WatchedRack(liars={0})
    written(rack, *range(4))
    right = digest(encode_version(rack.disks[1].versions(A)[newest(rack, 1).timestamp]))
    evil = encode_version(initial_version(b"evil"))
    rack.sync_lies[0] = lambda request: SyncReply(request.number, right, evil)
    send(rack, Y, now(rack, range(4)), [5], kind=INLINE)
    assert rack.state(5, A) == b"e"


def test_a_liar_that_withholds_the_copy_is_passed_by() -> None:
    """The liar agrees on the digest and never sends the copy: it is asked once, then another server is."""
    rack = WatchedRack(liars={0})
    written(rack, *range(4))
    right = digest(encode_version(rack.disks[1].versions(A)[newest(rack, 1).timestamp]))
    rack.sync_lies[0] = lambda request: SyncReply(request.number, right, b"")
    send(rack, Y, now(rack, range(4)), [5], kind=INLINE)
    assert rack.state(5, A) == b"e"
    assert len(rack.asked) <= 4


def test_a_silent_server_is_passed_by_when_time_comes() -> None:
    """Silence for SYNC_RETRY_NS makes the server ask somebody else."""
    rack = WatchedRack()
    written(rack, *range(4))
    rack.silent = {0}
    letter = Letter(rack, Y, now(rack, range(4)))
    assert letter.to([5]) == {}
    rack.now_ns = 50_000_000
    rack._perform(5, rack.servers[5].wake(rack.now_ns))
    assert rack.state(5, A) == b"e"


def test_a_sync_that_cannot_end_gives_up() -> None:
    """When nobody answers, the request is told FAIL after two seconds, and nothing was accepted."""
    rack = WatchedRack()
    written(rack, *range(4))
    rack.silent = set(range(6))
    letter = Letter(rack, Y, now(rack, range(4)))
    assert letter.to([5]) == {}
    for time in range(0, 2_100_000_000, 50_000_000):
        rack.now_ns = time
        rack._perform(5, rack.servers[5].wake(time))
    assert rack.servers[5].counters["sync.failed"] == 1
    assert [vote.status for vote in rack.settle(5)] == [FAIL]
    assert rack.history(5, A) == b""


def test_what_nobody_has_any_more_is_not_waited_for() -> None:
    """All say that they have dropped the version: the request is told FAIL at once, with what is held here."""
    rack = WatchedRack()
    written(rack, *range(5))
    view = now(rack, range(5))
    rack.sync_lies = {server: lambda request: SyncReply(request.number, b"", b"") for server in range(5)}
    vote = Letter(rack, Y, view, operation=op("get")).to([5])[5]
    assert (vote.status, vote.histories, vote.answers) == (FAIL, (b"",), (b"v",))


def test_a_server_fetches_a_version_once_for_all_who_wait() -> None:
    """Two requests that need one version share one object sync."""
    rack = WatchedRack(n=4, t=1, b=0)
    written(rack, 0, 1, 2)
    rack.holds_syncs = True
    view = now(rack, [0, 1, 2])
    for client in (X, Y):
        assert Letter(rack, client, view, operation=op("get")).to([3]) == {}
    rack.release_syncs()
    assert len(rack.asked) == 1


def test_the_fetched_version_answers_a_query_without_being_kept() -> None:
    """A server that never accepted e answers a query on it, and its history stays as it was."""
    rack = WatchedRack()
    written(rack, *range(5))
    vote = Letter(rack, Y, now(rack, range(5)), operation=op("get")).to([5])[5]
    assert (vote.answers, vote.histories) == ((b"ve",), (b"",))


def test_a_version_holds_what_the_repairing_client_did_not_do() -> None:
    """INLINE_METHOD adopts the version as its client made it, answer and ring included (§4.5)."""
    rack = WatchedRack(n=4, t=1, b=0)
    first = send(rack, X, now(rack, []), [0, 1], kind=METHOD, operation=op("add", b"+"))
    send(rack, Y, now(rack, [0, 1, 2]), [2, 3], kind=INLINE)
    assert first.to([3])[3].answers == (b"v",)
    versions = [encode_version(rack.disks[s].versions(A)[newest(rack, s).timestamp]) for s in range(4)]
    assert len(set(versions)) == 1
    assert decode_version(versions[0]).number == 1
