"""PROTOCOL §6: what a client sends, what it counts, and when it may return."""

from __future__ import annotations

from random import Random

import pytest

from fivefold.protocol import limits
from fivefold.protocol.client.outcomes import Answered, Disagreed, Refused, TimedOut
from fivefold.protocol.messages import BUSY, DECLINED, FAIL, REPLY, SUCCESS, reply_frame, split
from fivefold.protocol.operations import CANCELLED, FORGOTTEN, REFUSED, VALUE, ClientId
from fivefold.protocol.steps import Kind
from fivefold.simulation.rack import Letter, MemoryDisk
from tests.protocol_rig import (
    A,
    B,
    C,
    Desk,
    Toy,
    WatchedRack,
    X,
    Y,
    Z,
    altered,
    cancel,
    candidate,
    claims,
    invocation_of,
    newest,
    now,
    op,
    send,
    showing,
)

METHOD, INLINE, COPY, BARRIER = Kind.METHOD, Kind.INLINE_METHOD, Kind.COPY, Kind.BARRIER


def preferred(rack: WatchedRack) -> list[int]:
    """All servers in the order in which A's clients try them."""
    return list(rack.quorums.preference(A))


# --- messages ---------------------------------------------------------------------------------------------------------


def test_the_first_update_takes_one_round() -> None:
    """Of an object nobody knows: q requests, q replies, and not a word between servers."""
    rack = WatchedRack()
    desk = Desk(rack)
    assert desk.call("add", b"+") == Answered((b"v",))
    assert (desk.sent, desk.replies, rack.asked) == (preferred(rack)[:5], 5, [])


def test_an_update_on_a_cached_history_takes_one_round() -> None:
    """The next update of the same client: again q requests, q replies, nothing between servers."""
    rack = WatchedRack()
    desk = Desk(rack)
    desk.call("add", b"1")
    desk.sent.clear()
    assert desk.call("add", b"2") == Answered((b"v1",))
    assert (desk.sent, rack.asked) == (preferred(rack)[:5], [])


@pytest.mark.parametrize("count", [1, 2, 16])
def test_an_update_of_several_objects_takes_one_round(count: int) -> None:
    """Fault-free, sixteen objects cost as many messages as one."""
    rack = WatchedRack()
    desk = Desk(rack)
    names = [f"Reg/{number:02}" for number in range(count)]
    for _ in range(2):
        desk.sent.clear()
        assert isinstance(desk.call("add", b"+", *names), Answered)
        assert (len(desk.sent), rack.asked) == (5, [])


def test_a_query_takes_one_round_and_leaves_no_trace() -> None:
    """A query on a cached history: q requests, and every history stays as it is."""
    rack = WatchedRack()
    desk = Desk(rack)
    desk.call("add", b"1")
    before = rack.shown()
    desk.sent.clear()
    assert desk.call("get") == Answered((b"v1",))
    assert (len(desk.sent), rack.shown()) == (5, before)


def test_a_silent_server_costs_a_probe_and_is_then_asked_last() -> None:
    """T servers are silent: further ones are asked, and from then on first."""
    rack = WatchedRack()
    desk = Desk(rack)
    desk.down = {preferred(rack)[0]}
    assert isinstance(desk.call("add", b"1"), Answered)
    desk.sent.clear()
    assert isinstance(desk.call("add", b"2"), Answered)
    assert desk.sent == preferred(rack)[1:]


def test_nothing_completes_without_a_quorum() -> None:
    """With t + 1 silent servers an update's outcome is unknown, a query's is not, and after healing both complete."""
    rack = WatchedRack()
    desk = Desk(rack)
    desk.down = set(preferred(rack)[:2])
    assert desk.call("get", timeout_s=1) == TimedOut(None, 4)
    assert desk.call("add", b"+", timeout_s=1) == TimedOut(0, 4)
    desk.down = set()
    assert isinstance(desk.call("add", b"-"), Answered)


def test_a_server_that_declines_does_not_spoil_a_query_that_others_overtook() -> None:
    """Y's query is stale at five servers, the sixth declines it: the five are enough."""
    rack = WatchedRack()
    x, y = Desk(rack, X), Desk(rack, Y)
    x.call("add", b"1")
    y.session.standing.slow[preferred(rack)[5]] = 0  # it is tried again, beside the others
    y.lies[preferred(rack)[0]] = altered(status=DECLINED, candidate=b"", answers=(REFUSED + b"no",), histories=())
    assert y.call("get") == Answered((b"v1",))


def test_a_query_that_others_overtook_is_done_in_one_round() -> None:
    """Y's cache is old: every server calls its query stale, and yet their answers agree on what is newest."""
    rack = WatchedRack()
    x, y = Desk(rack, X), Desk(rack, Y)
    x.call("add", b"1")
    y.call("get")
    x.call("add", b"2")
    y.sent.clear()
    assert y.call("get") == Answered((b"v12",))
    assert len(y.sent) == 5


def test_a_client_that_was_away_for_long_learns_what_is_new() -> None:
    """Its version was dropped everywhere; of six servers one never had it and one has lost it: four could tell."""
    rack = WatchedRack(liars=preferred(WatchedRack())[4:5])
    x, y = Desk(rack, X), Desk(rack, Y)
    x.call("add", b"1")
    y.call("get")
    for _ in range(2 + limits.KEPT_VERSIONS):
        x.call("add", b"2")
    forgetful = preferred(rack)[4]
    rack.disks[forgetful] = MemoryDisk()
    rack.restart(forgetful)
    assert y.call("add", b"3", timeout_s=5) == Answered((b"v1222222",))


# --- lies -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", [{"answers": (b"vevil",)}, {"version_digest": b"evil"}, {"answers": (b"revil",)}])
def test_one_lying_answer_does_not_force_a_repair(change: dict) -> None:
    """Answers and candidates are counted separately: q servers accepted, b + 1 agree, and the liar is noted."""
    rack = WatchedRack()
    desk = Desk(rack)
    liar = preferred(rack)[0]
    desk.lies[liar] = altered(**change)
    assert desk.call("add", b"+") == Answered((b"v",))
    assert len(desk.sent) == 5
    assert [evidence.server for evidence in desk.session.knowledge.evidence()] == [liar]


def test_one_lying_candidate_costs_one_more_server() -> None:
    """A liar that names another candidate leaves q - 1 votes: one more server makes the quorum, no repair is needed."""
    rack = WatchedRack()
    desk = Desk(rack)
    desk.lies[preferred(rack)[0]] = altered(candidate=candidate(7, A).timestamp)
    assert desk.call("add", b"+") == Answered((b"v",))
    assert len(desk.sent) == 6
    assert rack.servers[preferred(rack)[1]].counters["accepted.BARRIER"] == 0


def test_a_liar_cannot_answer_a_query() -> None:
    """A query's answer, too, needs b + 1 servers: here the liar's reply is the first to come."""
    rack = WatchedRack()
    Desk(rack, X).call("add", b"1")
    y = Desk(rack, Y)
    y.lies[preferred(rack)[0]] = altered(answers=(b"vevil",))
    assert y.call("get") == Answered((b"v1",))
    assert y.call("get") == Answered((b"v1",))


def spoiled(rack: WatchedRack, *receivers: int):
    """A lie: authenticators whose MACs for some receivers are wrong."""

    def lie(frame: bytes) -> bytes:
        number, vote, tail = split(frame, REPLY)
        broken = bytearray(tail)
        for receiver in receivers:
            broken[16 * receiver : 16 * receiver + 16] = bytes(16)
        return reply_frame(number, vote, (bytes(broken),)) if tail else frame

    return lie


def test_a_server_that_culls_alone_is_made_up_for() -> None:
    """S culls the liar's history, which others believe, and derives another timestamp: another server is asked."""
    rack = WatchedRack()
    desk = Desk(rack)
    liar, alone = preferred(rack)[:2]
    desk.lies[liar] = spoiled(rack, alone)
    desk.call("add", b"1")
    desk.sent.clear()
    assert desk.call("add", b"2") == Answered((b"v1",))
    assert len(desk.sent) == 6
    evidence = desk.session.knowledge.evidence()
    assert [(each.server, each.culled_by, each.is_excluded) for each in evidence] == [(liar, (alone,), False)]
    assert desk.call("add", b"3") == Answered((b"v12",))  # the one that culled holds a candidate of its own: repaired
    desk.sent.clear()
    assert desk.call("add", b"4") == Answered((b"v123",))
    assert sorted(desk.sent) == sorted(set(range(6)) - {liar})


def test_authenticators_of_the_wrong_length_are_not_passed_on() -> None:
    """A liar votes like the others but cuts its authenticator: the next request must not be spoilt by that."""
    rack = WatchedRack()
    desk = Desk(rack)

    def cut(frame: bytes) -> bytes:
        number, vote, tail = split(frame, REPLY)
        return reply_frame(number, vote, (tail[:-1],))

    desk.lies[preferred(rack)[0]] = cut
    for _ in range(5):
        assert isinstance(desk.call("add", b"+", timeout_s=1), Answered)
    assert desk.session.standing.is_suspected(preferred(rack)[0])


def test_more_than_b_culls_exclude_a_server() -> None:
    """B + 1 servers find a server's MACs wrong: one of them is honest, so the server is malevolent and left out."""
    rack = WatchedRack()
    desk = Desk(rack)
    liar = preferred(rack)[0]
    desk.lies[liar] = spoiled(rack, *range(6))
    for _ in range(3):
        assert isinstance(desk.call("add", b"+"), Answered)
    assert desk.session.standing.is_excluded(liar)
    desk.sent.clear()
    assert isinstance(desk.call("add", b"+"), Answered)
    assert liar not in desk.sent
    assert len(desk.sent) == 5


def test_one_servers_word_excludes_nobody() -> None:
    """B servers may lie about having culled: their reports alone exclude no one."""
    rack = WatchedRack()
    desk = Desk(rack)
    desk.lies[preferred(rack)[0]] = altered(culled=tuple(preferred(rack)[1:4]))
    for _ in range(5):
        assert isinstance(desk.call("add", b"+"), Answered)
    assert not any(desk.session.standing.is_excluded(server) for server in range(6))


def test_two_servers_words_leave_nobody_out_who_is_asked() -> None:
    """Two of eleven report two others each: seven are left, fewer than q, so the four are asked, and believed."""
    rack = WatchedRack(n=11, t=2, b=2)
    desk = Desk(rack)
    order = preferred(rack)
    desk.lies = {order[0]: altered(culled=tuple(order[2:4])), order[1]: altered(culled=tuple(order[4:6]))}
    for _ in range(5):
        assert isinstance(desk.call("add", b"+"), Answered)
    desk.down = set(order[9:])
    for _ in range(5):
        assert isinstance(desk.call("add", b"+"), Answered)


def test_a_server_that_invents_candidates_is_asked_last() -> None:
    """The liar shows ever newer candidates, each of which forces a repair: after a while it is asked last."""
    rack = WatchedRack()
    desk = Desk(rack)
    liar = preferred(rack)[0]
    rack.liars = frozenset({liar})

    def invents(frame: bytes) -> bytes:
        time = 100 + len(desk.sent)
        shown = claims(rack, liar, A, candidate(time, A, is_barrier=True))
        return altered(status=1, answers=(), candidate=b"")(showing(rack, liar, {A: shown})(frame))

    desk.lies[liar] = invents
    for number in range(40):
        assert isinstance(desk.call("add", b"+"), Answered), number
    assert desk.session.standing.is_avoided(liar)
    desk.sent.clear()
    assert isinstance(desk.call("add", b"+"), Answered)
    assert desk.sent == preferred(rack)[1:]


@pytest.mark.parametrize("garbage", [b"", b"\x02", b"\x02" + bytes(12), b"\x02" * 100, bytes(1000)])
def test_garbage_is_not_an_answer(garbage: bytes) -> None:
    """A reply that cannot be read counts as silence, and against its sender."""
    rack = WatchedRack()
    desk = Desk(rack)
    liar = preferred(rack)[0]
    desk.lies[liar] = lambda frame: frame[:9] + garbage
    assert desk.call("add", b"+") == Answered((b"v",))
    assert len(desk.sent) >= 6


def test_an_unreadable_history_is_not_an_answer() -> None:
    """A history that is no MessagePack, no text or too deep counts against its sender, and harms nobody else."""
    rack = WatchedRack()
    Desk(rack, X).call("add", b"1")
    liar = preferred(rack)[0]
    good = rack.history(liar, A)
    for bad in (b"\xc1", good.replace(b"Reg/a", b"Reg/\xff"), b"\x91\x93" + good[2:] + b"\x91" * 10_000 + b"\xc0"):
        desk = Desk(rack, Y)
        desk.lies[liar] = showing(rack, liar, {A: bad})
        assert desk.call("get") == Answered((b"v1",))
        assert [each.server for each in desk.session.knowledge.evidence()] == [liar]


def test_one_refusal_does_not_end_a_call() -> None:
    """B servers may lie about rights: only b + 1 equal refusals are an outcome."""
    rack = WatchedRack()
    desk = Desk(rack)
    lie = {
        "status": DECLINED,
        "answers": (REFUSED + b"NotAllowed: no",),
        "candidate": b"",
        "histories": (),
        "culled": (),
    }
    desk.lies[preferred(rack)[0]] = altered(**lie)
    assert desk.call("add", b"+") == Answered((b"v",))
    assert Desk(rack).call("nonsense") == Refused(
        "UnknownMethod: the servers know no method 'nonsense' of Reg; do they run another version of it?"
    )


def test_a_server_with_a_full_disk_is_no_liar() -> None:
    """BUSY is no answer: another server is asked, and nothing is held against the one that cannot write."""
    rack = WatchedRack()
    desk = Desk(rack)
    full = preferred(rack)[0]
    rack.servers[full].storage_failure = "the disk is full"
    assert desk.call("add", b"+") == Answered((b"v",))
    assert [each for each in desk.session.knowledge.evidence() if each.strikes] == []
    assert rack.history(full, A) == b""
    assert Letter(rack, Y, now(rack, []), operation=op("add")).to([full])[full].status == BUSY


class Odd(Toy):
    """One server's own idea of what ``add`` does."""

    def __init__(self, salt: bytes) -> None:
        self.salt = salt

    def execute(self, objects, call, states):
        done = super().execute(objects, call, states)
        return type(done)(VALUE, tuple(state + self.salt for state in done.states)) if done.states else done


def test_a_method_that_is_not_deterministic_is_reported() -> None:
    """Every server computes another state: the answers agree, the versions do not, and the method is named."""
    rack = WatchedRack([Odd(b"%d" % server) for server in range(6)])
    assert Desk(rack).call("add", b"+") == Disagreed("add", True)


def test_one_odd_server_is_a_liar_not_a_bug_of_the_method() -> None:
    """Where b servers alone differ, the others' result counts."""
    rack = WatchedRack([Odd(b"odd"), *[Odd(b"")] * 5])
    assert Desk(rack).call("add", b"+") == Answered((b"v",))


# --- exactly once -----------------------------------------------------------------------------------------------------


def half_sent(rack: WatchedRack, *servers: int) -> tuple[Desk, int]:
    """X's ``add`` on ``A`` reaches these servers; the replies are lost, and X has not given up yet."""
    desk = Desk(rack, X)
    desk.cuts = lambda server, frame: server in servers
    desk.lies = {server: lambda frame: None for server in servers}
    ticket = desk.start(op("add", b"+"), timeout_s=100)
    while desk.pending:
        desk.step()
    desk.cuts = lambda server, frame: True
    desk.lies = {}
    return desk, ticket


def test_an_update_is_applied_once_though_a_repair_finishes_it() -> None:
    """X's add is on r servers; Y copies it behind a barrier; X's retry finds its id in the ring and gets its answer."""
    rack = WatchedRack()
    low = preferred(rack)[:5]
    desk, ticket = half_sent(rack, *low[:3])
    send(rack, Y, now(rack, [low[0], low[1], *low[3:]]), range(6), kind=BARRIER)
    send(rack, Y, now(rack, low), range(6), kind=COPY)
    assert desk.finish(ticket) == Answered((b"v",))
    assert {rack.state(server, A) for server in range(6)} == {b"+"}


def test_an_update_is_applied_once_though_a_repair_passes_over_it() -> None:
    """X's add is on too few servers to be found: the barrier buries that attempt, and X's retry is the one to count."""
    rack = WatchedRack()
    low = preferred(rack)[:5]
    desk, ticket = half_sent(rack, *low[:2])
    send(rack, Y, now(rack, low), range(6), kind=BARRIER)
    send(rack, Y, now(rack, low), range(6), kind=COPY)
    assert desk.finish(ticket) == Answered((b"v",))
    assert rack.state(low[0], A) == b"+"


def test_an_attempt_that_r_servers_may_show_is_not_dead() -> None:
    """X's add is on r servers, one of which lies that it refused: whatever the others say, it may still be applied.

    The two others hold what another client wrote. Its ring does not know the add, but that version is not established.
    """
    rack = WatchedRack()
    low = preferred(rack)[:5]
    mine, other = sorted((X, Y))
    send(rack, other, now(rack, []), low[3:], kind=METHOD, operation=op("add", b"-"))
    desk = Desk(rack, mine)
    desk.cuts = lambda server, frame: len(desk.sent) <= 5
    desk.lies[low[2]] = altered(status=FAIL, candidate=b"", answers=(), version_digest=b"")
    assert desk.run(op("add", b"+", call_id=b"lost call id 16b"), timeout_s=1) == TimedOut(0, 0)
    assert Desk(rack, Z).call("get") == Answered((b"v+",))
    assert Desk(rack, mine).run(cancel(b"lost call id 16b", 0), is_fixed=True) == Answered((b"v",))


def test_a_liars_success_does_not_keep_an_attempt_alive() -> None:
    """X knows nothing of 80 updates of another session of X's; four of five servers refuse its add: the fifth cannot
    make its outcome unknown.
    """
    rack = WatchedRack()
    for _ in range(80):
        assert isinstance(Desk(rack, X).call("set", b""), Answered)
    desk = Desk(rack, X)
    desk.lies[preferred(rack)[0]] = altered(status=SUCCESS, candidate=candidate(1, A).timestamp, answers=(b"vevil",))
    assert desk.call("add", b"+") == Answered((b"v",))


def test_a_call_that_keeps_losing_is_not_forgotten() -> None:
    """X's first attempt may be alive. It loses to 30 updates of another session of X's again and again, and each time
    hears: not in the ring.
    """
    rack = WatchedRack()
    low = preferred(rack)[:5]
    send(rack, Y, now(rack, []), low[2:], kind=METHOD, operation=op("set", b""))
    desk, other = Desk(rack, X), Desk(rack, X)
    ticket = desk.start(op("add", b"+"), timeout_s=100)
    for number in range(5):
        while len(desk.pending) < 5:
            desk.step()
        for _ in range(30 if number else 0):
            assert isinstance(other.call("set", b""), Answered)
        desk.step()
    assert desk.finish(ticket) == Answered((b"v",))


def test_a_long_pause_is_cut_short_when_others_have_repaired() -> None:
    """X has paused often and pauses for long; Z repairs meanwhile, and X looks and goes on."""
    rack = WatchedRack()
    low = preferred(rack)[:5]
    mine, other = sorted((X, Y))
    send(rack, other, now(rack, []), low[3:], kind=METHOD, operation=op("add", b"-"))
    desk = Desk(rack, mine)
    ticket = desk.start(op("add", b"+"), timeout_s=100)
    invocation_of(desk.session, ticket)._pauses.count = limits.BACKOFF_DOUBLINGS_MAX
    while desk.pending:
        desk.step()
    assert Desk(rack, Z).call("get") == Answered((b"v+",))
    started_ns = rack.now_ns
    assert desk.finish(ticket) == Answered((b"v",))
    assert rack.now_ns - started_ns <= 16 * limits.BACKOFF_NS


def test_an_update_that_was_applied_is_done_though_it_is_refused() -> None:
    """X's add is applied by a repair, and then overtaken: the refusal of X's retry tells its answer."""
    rack = WatchedRack()
    low = preferred(rack)[:5]
    other = Desk(rack, Y)
    other.call("add", b"1")
    letter = Letter(rack, X, now(rack, low), operation=op("add", b"+", call_id=b"lost call id 16b"))
    letter.to(low)
    assert other.call("add", b"2") == Answered((b"v1+",))
    desk = Desk(rack, X)
    assert desk.run(op("add", b"+", call_id=b"lost call id 16b")) == Answered((b"v1",))
    assert len(desk.sent) == 5


def test_an_update_is_applied_once_though_every_reply_is_lost() -> None:
    """All servers accepted, no reply came: asking again with the same request executes nothing."""
    rack = WatchedRack()
    desk, ticket = half_sent(rack, *range(6))
    assert desk.finish(ticket) == Answered((b"v",))
    assert {rack.state(server, A) for server in preferred(rack)[:5]} == {b"+"}


def lost(rack: WatchedRack, *servers: int) -> tuple[bytes, int]:
    """An ``add`` of X that reached these servers and then timed out: its id, and what to resolve it from."""
    desk = Desk(rack, X)
    desk.cuts = lambda server, frame: server in servers
    desk.lies = {server: lambda frame: None for server in servers}
    outcome = desk.run(op("add", b"+", call_id=b"lost call id 16b"), timeout_s=1)
    assert isinstance(outcome, TimedOut)
    assert outcome.since is not None
    return b"lost call id 16b", outcome.since


def test_a_lost_update_is_resolved_as_applied() -> None:
    """It reached a quorum: resolve returns its answer."""
    rack = WatchedRack()
    call_id, since = lost(rack, *preferred(rack)[:5])
    assert Desk(rack, X).run(cancel(call_id, since), is_fixed=True) == Answered((b"v",))
    assert rack.state(preferred(rack)[0], A) == b"+"


def test_a_lost_update_is_resolved_as_cancelled_for_ever() -> None:
    """It reached one server: resolve writes *cancelled*, and the request, delivered late, changes nothing any more."""
    rack = WatchedRack()
    first = preferred(rack)[0]
    late = Letter(rack, X, now(rack, []), operation=op("add", b"+", call_id=b"lost call id 16b"))
    late.to([first])
    desk = Desk(rack, X)
    assert desk.run(cancel(b"lost call id 16b", 0), is_fixed=True) == Answered((CANCELLED,))
    late.to(range(6))
    assert desk.run(op("add", b"+", call_id=b"lost call id 16b")) == Answered((CANCELLED,))
    assert desk.call("get") == Answered((b"v",))


def test_a_resolve_may_be_repeated() -> None:
    """The second resolve finds what the first one wrote."""
    rack = WatchedRack()
    call_id, since = lost(rack, preferred(rack)[0])
    desk = Desk(rack, X)
    for _ in range(2):
        assert desk.run(cancel(call_id, since), is_fixed=True) == Answered((CANCELLED,))


@pytest.mark.parametrize(
    ("client", "updates", "answer"),
    [(X, 78, b"v"), (X, 79, FORGOTTEN), (X, 80, FORGOTTEN), (Y, 120, b"v")],
)
def test_a_lost_update_is_forgotten_after_as_many_as_the_ring_holds(
    client: ClientId, updates: int, answer: bytes
) -> None:
    """64 calls are remembered at least, and forgotten by 16: after 79 more resolve says that it cannot tell.

    So it is with calls of another session of the same client; other clients' calls do not drive out its last one.
    """
    rack = WatchedRack()
    call_id, since = lost(rack, *preferred(rack)[:5])
    other = Desk(rack, client)
    for _ in range(updates):
        assert isinstance(other.call("set", b""), Answered)
    assert Desk(rack, X).run(cancel(call_id, since), is_fixed=True) == Answered((answer,))


@pytest.mark.parametrize(("updates", "answer"), [(79, CANCELLED), (80, FORGOTTEN)])
def test_a_first_call_that_nobody_answered_is_told_from_the_rings_whole_past_alone(updates: int, answer: bytes) -> None:
    """Who has not heard of the object cannot say that its 80 updates came before the call: some have left the ring."""
    rack = WatchedRack()
    for _ in range(updates):
        assert isinstance(Desk(rack, X).call("set", b""), Answered)
    call_id, since = lost(rack)
    assert since == 0
    assert Desk(rack, X).run(cancel(call_id, since), is_fixed=True) == Answered((answer,))


def test_a_first_call_after_a_query_is_resolved() -> None:
    """What a query learnt is newer than all that left the ring, so the lost call is known not to be among that."""
    rack = WatchedRack()
    for _ in range(99):
        assert isinstance(Desk(rack, X).call("set", b""), Answered)
    desk = Desk(rack, X)
    desk.call("get")
    desk.cuts = lambda server, frame: False
    outcome = desk.run(op("add", b"+", call_id=b"lost call id 16b"), timeout_s=1)
    assert isinstance(outcome, TimedOut)
    assert Desk(rack, X).run(cancel(b"lost call id 16b", outcome.since or 0), is_fixed=True) == Answered((CANCELLED,))


def test_nobody_resolves_or_uses_anothers_call() -> None:
    """Ring keys bind an id to its client: Y's cancel of X's id says nothing about X's call."""
    rack = WatchedRack()
    call_id, since = lost(rack, *preferred(rack)[:5])
    assert Desk(rack, Y).run(cancel(call_id, since), is_fixed=True) == Answered((CANCELLED,))
    assert Desk(rack, X).run(cancel(call_id, since), is_fixed=True) == Answered((b"v",))


def test_a_long_answer_is_remembered_by_its_digest() -> None:
    """The ring keeps 128 bytes of an answer; of a longer one it keeps that it was given."""
    rack = WatchedRack()
    desk = Desk(rack, X)
    desk.call("set", b"s" * 200)
    operation = op("add", b"+")
    assert desk.run(operation) == Answered((VALUE + b"s" * 200,))
    assert desk.run(operation) == Answered((VALUE + b"s" * 200,))
    desk.call("add", b"+")
    (answer,) = desk.run(operation).answers
    assert answer[:1] == b"d"


# --- several clients --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(10))
def test_contending_clients_all_finish(seed: int) -> None:
    """Three clients, messages in random order: every update is applied exactly once, and nothing forks."""
    rack = WatchedRack()
    random = Random(seed)
    desks = [Desk(rack, client, seed=seed + number) for number, client in enumerate((X, Y, Z))]
    tickets = {desk: desk.start(op("add", b"%d" % number), timeout_s=1000) for number, desk in enumerate(desks)}
    while len(tickets) > sum(ticket in desk.finished for desk, ticket in tickets.items()):
        busy = [desk for desk, ticket in tickets.items() if ticket not in desk.finished]
        ready = [desk for desk in busy if desk.pending]
        random.choice(ready or busy).step()
    assert all(isinstance(desk.finished[ticket], Answered) for desk, ticket in tickets.items())
    assert sorted(Desk(rack, X).call("get").answers[0][1:]) == sorted(b"012")


def test_calls_on_one_object_queue_up() -> None:
    """One client's second call on an object is sent when the first has ended; other objects do not wait."""
    rack = WatchedRack()
    desk = Desk(rack)
    first, second = desk.start(op("add", b"1")), desk.start(op("add", b"2"))
    other = desk.start(op("add", b"3", B))
    assert len(desk.pending) == 10
    assert [desk.finish(ticket) for ticket in (other, first, second)] == [
        Answered((b"v",)), Answered((b"v",)), Answered((b"v1",))
    ]  # fmt: skip


def test_a_call_on_two_objects_waits_for_both() -> None:
    """A call that shares an object with an earlier one waits for it, whichever it shares."""
    rack = WatchedRack()
    desk = Desk(rack)
    tickets = [desk.start(op("add", b"1")), desk.start(op("add", b"2", A, B)), desk.start(op("add", b"3", B))]
    assert len(desk.pending) == 5
    assert [desk.finish(ticket) for ticket in tickets] == [
        Answered((b"v",)), Answered((b"v1|",)), Answered((b"v2",))
    ]  # fmt: skip


# --- several objects --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reached", range(7))
def test_a_client_that_dies_between_servers_leaves_all_or_nothing(reached: int) -> None:
    """M on A, B and C reached so many servers: whoever comes next on one of them finds M on all three, or on none."""
    rack = WatchedRack()
    Letter(rack, X, now(rack, [], A, B, C), operation=op("add", b"M", A, B, C)).to(preferred(rack)[:reached])
    found = [Desk(rack, client).call("add", b"", name).answers[0] for client, name in ((Y, B), (Z, A), (Y, C))]
    assert set(found) in ({b"v"}, {b"vM"})
    assert set(found) == {b"vM"} or reached < 5


@pytest.mark.parametrize("reached", [2, 3, 4, 5])
def test_a_joint_update_is_applied_once_across_joint_repairs(reached: int) -> None:
    """X's update of A and B reached so many servers; Y repairs; X's retry with the same id is not applied again."""
    rack = WatchedRack()
    order = preferred(rack)
    operation = op("add", b"M", A, B)
    Letter(rack, X, now(rack, [], A, B), operation=operation).to(order[:reached])
    assert isinstance(Desk(rack, Y).call("add", b"y", B), Answered)
    assert isinstance(Desk(rack, X).run(operation), Answered)
    for name in (A, B):
        assert Desk(rack, Z).call("get", b"", name).answers[0].count(b"M") == 1


def test_a_client_grows_its_repair_by_the_objects_it_must_judge() -> None:
    """A client that wants A alone meets M{A,B}, learns of B, and repairs both together."""
    rack = WatchedRack(n=4, t=1, b=0)
    order = preferred(rack)
    send(rack, X, now(rack, [], A, B), order[:2], kind=METHOD, operation=op("add", b"M", A, B))
    assert Desk(rack, Y).call("get") == Answered((b"vM",))
    assert {newest(rack, server, B) for server in order[:3]} == {newest(rack, order[0])}


def test_repairing_sixteen_objects_takes_a_few_requests_for_each() -> None:
    """M over sixteen objects is passed over for one of them: each object is judged by all, and copied alone in the end.

    Joint simulation seed 85 did so too, and needed hundreds of requests: every joint barrier undid earlier copies.
    """
    rack = WatchedRack(n=4, t=1, b=0)
    names = [f"Reg/{number:02}" for number in range(16)]
    send(rack, X, now(rack, [], *names), [1, 3], kind=METHOD, operation=op("set", b"M", *names))
    send(rack, Y, now(rack, [], names[-1]), [0, 2], kind=METHOD, operation=op("set", b"y", names[-1]))
    send(rack, Y, now(rack, [0, 2], names[-1]), [3], kind=Kind.INLINE_METHOD)
    desk = Desk(rack)
    desk.down = {2}
    assert isinstance(desk.call("add", b"+", *names), Answered)
    assert len(desk.sent) <= 5 * 16 * 4


def test_a_consistent_read_sees_both_objects_at_one_moment() -> None:
    """A query of two objects never shows one with and the other without an update of both."""
    rack = WatchedRack()
    Desk(rack, X).call("add", b"1", A, B)
    assert Desk(rack, Y).call("get", b"", A, B) == Answered((b"v1|1",))
    assert newest(rack, preferred(rack)[0], A) == newest(rack, preferred(rack)[0], B)


class OnlyA:
    """Y may use ``A`` alone; the others may do everything."""

    def allows(self, client, object_id, method):
        return client != Y or object_id == A

    def knows(self, client, object_id):
        return client != Y or object_id == A


@pytest.mark.parametrize("reached", range(7))
def test_a_client_without_rights_on_a_partner_can_still_repair(reached: int) -> None:
    """§7, Limits: Y has no rights on B, and yet M{A,B}, which stands in the way on A, does not stop it."""
    rack = WatchedRack(access=OnlyA())
    Letter(rack, X, now(rack, [], A, B), operation=op("add", b"M", A, B)).to(preferred(rack)[:reached])
    assert Desk(rack, Y).call("add", b"y") in (Answered((b"v",)), Answered((b"vM",)))
    assert isinstance(Desk(rack, Y).call("get", b"", B), Refused)
    assert Desk(rack, Z).call("get", b"", A, B) in (Answered((b"vy|",)), Answered((b"vMy|M",)))
