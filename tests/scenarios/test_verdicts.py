"""PROTOCOL §6: accepted, rejected, could not run, declined and diverged are different things."""

from __future__ import annotations

import pytest

from fivefold.protocol.client.outcomes import Answered, Delay, Disagreed, Outcome, Refused, TimedOut
from fivefold.protocol.messages import (
    FAIL,
    REPLY,
    REQUEST,
    SUCCESS,
    UNABLE,
    UNCHANGED,
    decode_operation,
    decode_request,
    reply_frame,
    split,
)
from fivefold.protocol.operations import FAILED, REFUSED, REJECTED, STOPPED, VALUE, Executed, Operation
from fivefold.protocol.steps import Kind
from fivefold.simulation.rack import Letter
from tests.protocol_rig import A, B, Desk, Toy, WatchedRack, X, Y, altered, cancel, now, op, send

METHOD = Kind.METHOD


def preferred(rack: WatchedRack) -> tuple[int, ...]:
    """All servers in the order in which A's clients try them."""
    return rack.quorums.preference(A)


# --- what a server says ----------------------------------------------------------------------------------------------


class Stopped(Toy):
    """Cannot run ``add`` to its end."""

    def execute(self, objects, call, states):
        return (
            Executed(STOPPED + b"out of time", None) if call.method == "add" else super().execute(objects, call, states)
        )


@pytest.mark.parametrize("calls", [("add",), ("set", "add"), ("add", "set")])
@pytest.mark.parametrize("names", [(A,), (A, B)])
def test_an_operation_that_is_stopped_is_not_accepted_even_in_part(calls: tuple, names: tuple) -> None:
    """Other servers may run all of it: what one stops at must not name another version by the same candidate."""
    rack = WatchedRack(Stopped())
    operation = Operation(names, tuple(op(method).calls[0] for method in calls))
    vote = Letter(rack, X, now(rack, [], *names), operation=operation).to([0])[0]
    assert (vote.status, vote.answers) == (UNABLE, (STOPPED + b"out of time",))
    assert rack.disks[0].histories == {}


def test_an_ordinary_request_that_is_stopped_is_not_accepted() -> None:
    """The short way says UNABLE as well, and UNCHANGED of what is rejected."""
    rack = WatchedRack(Stopped())
    send(rack, X, now(rack, []), range(5), kind=METHOD, operation=op("set", b"e"))
    before = rack.shown()
    for method, status in (("add", UNABLE), ("refuse", UNCHANGED), ("get", SUCCESS)):
        votes = Letter(rack, X, now(rack, range(5)), operation=op(method)).to(range(5))
        assert {vote.status for vote in votes.values()} == {status}
    assert rack.shown() == before


def test_a_repeated_call_that_the_ring_has_changes_nothing() -> None:
    """The ring has its answer: UNCHANGED, as for a rejection."""
    rack = WatchedRack()
    operation = op("add", b"+")
    send(rack, X, now(rack, []), range(5), kind=METHOD, operation=operation)
    before = rack.shown()
    again = Letter(rack, X, now(rack, range(5)), operation=operation)
    assert {(vote.status, vote.answers) for vote in again.to(range(5)).values()} == {(UNCHANGED, (b"v",))}
    assert rack.shown() == before


def test_a_stale_query_that_is_stopped_has_no_answer() -> None:
    """It is refused as stale, and what this server could not run it does not answer."""

    class NoGet(Toy):
        def execute(self, objects, call, states):
            return Executed(STOPPED, None) if call.method == "get" else super().execute(objects, call, states)

    rack = WatchedRack(NoGet())
    send(rack, X, now(rack, []), range(5), kind=METHOD, operation=op("set", b"e"))
    vote = Letter(rack, Y, now(rack, []), operation=op("get")).to([0])[0]
    assert (vote.status, vote.answers) == (FAIL, ())


# --- accepted, unchanged, unable -------------------------------------------------------------------------------------


def stopping(rack: WatchedRack, *places: int) -> WatchedRack:
    """These servers of A's preferred order cannot run ``add`` to its end."""
    for place in places:
        rack.servers[preferred(rack)[place]] = type(rack.servers[0])(
            rack.quorums, rack.servers[preferred(rack)[place]].keys, Stopped(), rack._access
        )
    return rack


def echoing(desk: Desk, liar: int, like: int) -> None:
    """The liar works on nothing, and says what another server says."""
    rack, said = desk.rack, {}
    honest = rack.deliver

    def deliver(server: int, client: object, frame: bytes) -> bytes | None:
        if server == liar and client == desk.client:
            vote = said.get("vote")
            return vote and reply_frame(split(frame, REQUEST)[0], vote, (bytes(96),))
        reply = honest(server, client, frame)
        if server == like and reply is not None:
            said["vote"] = split(reply, REPLY)[1]
        return reply

    rack.deliver = deliver


def test_a_server_that_could_not_run_an_update_does_not_count_as_accepting_it() -> None:
    """One server is stopped, a liar accepts nothing and says it has: that is no quorum, a sixth server is asked.

    Counted as done, the update would be on three servers, and lost to a client that does not hear one of them.
    """
    rack = WatchedRack()
    order = preferred(rack)
    stopping(rack, 1)
    desk = Desk(rack)
    echoing(desk, order[4], order[0])
    rack.liars = frozenset({order[4]})
    assert desk.call("add", b"+") == Answered((b"v",))
    reader = Desk(rack, Y)
    reader.down = {order[0]}
    assert reader.call("get") == Answered((b"v+",))


@pytest.mark.parametrize("count", [4, 5, 6])
def test_what_no_server_can_run_is_an_error_with_the_reason(count: int) -> None:
    """Nothing is applied, and the caller is told why in the servers' words."""
    rack = stopping(WatchedRack(), *range(count))
    assert Desk(rack).call("add", b"+") == Refused(
        "ObjectError: the servers could not run add to its end, nothing was changed: out of time"
    )


def test_a_slow_refusal_of_a_second_frame_is_waited_for() -> None:
    """No server answers within a second, so each is sent the request again; all then say of both that they stopped."""
    rack = stopping(WatchedRack(), *range(6))
    desk = Desk(rack)
    held: list[tuple[int, bytes]] = []
    desk.lies = {server: lambda frame, server=server: held.append((server, frame)) for server in range(6)}
    ticket = desk.start(op("add", b"+"), timeout_s=10)
    while len(held) < 12:
        desk.step()
    for number, (server, frame) in enumerate(held, 1):
        desk._take(desk.session.receive(rack.now_ns, server, frame))
        desk._take(desk.session.wake(rack.now_ns))
        # Once five servers have refused both frames, one may hold it and a liar claim it: that is not enough.
        assert (ticket in desk.finished) is (number >= 11)
    assert isinstance(desk.finished[ticket], Refused)


def test_second_answers_that_are_lost_are_not_waited_for_for_ever() -> None:
    """All refuse the second frame, and what they said to the first one is lost: it is unknown within seconds."""
    rack = stopping(WatchedRack(), *range(6))
    desk = Desk(rack)
    lost = [0]

    def lose(frame: bytes) -> bytes | None:
        lost[0] += 1
        return frame if lost[0] > 6 else None

    desk.lies = dict.fromkeys(range(6), lose)
    outcome = desk.call("add", b"+", timeout_s=1000)
    assert outcome == TimedOut(0, 6, Delay.REFUSAL, "out of time")
    assert rack.now_ns < 10 * 1_000_000_000


def test_what_most_servers_cannot_run_is_unknown_while_two_may_have_accepted_it() -> None:
    """Three servers are stopped, two accepted it: with a liar's word those might still be repaired."""
    rack = stopping(WatchedRack(), 0, 1, 2, 5)
    outcome = Desk(rack).call("add", b"+")
    assert outcome == TimedOut(0, 5, Delay.REFUSAL, "out of time")


def test_what_r_servers_accepted_is_completed_for_those_that_could_not_run_it() -> None:
    """Three of six accepted it: the others take the version over, and none of them runs the method."""
    rack = stopping(WatchedRack(), 0, 1, 5)
    assert Desk(rack).call("add", b"+") == Answered((b"v",))
    assert [rack.state(server, A) for server in range(6)].count(b"+") >= 5


def test_a_server_that_is_stopped_is_no_liar() -> None:
    """Nothing is held against it; one that answers a query otherwise is struck."""
    rack = stopping(WatchedRack(), 0)
    desk = Desk(rack)
    assert desk.call("add", b"+") == Answered((b"v",))
    assert desk.session.standing.evidence() == []


def test_a_rejection_needs_a_quorum_that_changed_nothing() -> None:
    """Two of five accepted a call that the others rejected: the two kinds are not added up."""
    rack = WatchedRack()
    desk = Desk(rack)
    assert desk.call("refuse") == Answered((REJECTED + b"no",))
    rejected = altered(status=UNCHANGED, answers=(REJECTED + b"no",), version_digest=b"")
    desk.lies = {preferred(rack)[0]: rejected}
    assert desk.call("add", b"+") == Answered((b"v",))
    assert len(desk.sent) == 5 + 6


def test_a_rejection_ends_in_one_round() -> None:
    """Five servers reject alike: their replies are not looked at one by one."""
    rack = WatchedRack()
    desk = Desk(rack)
    desk.call("set", b"e")
    desk.sent.clear()
    assert desk.call("refuse") == Answered((REJECTED + b"no",))
    assert len(desk.sent) == 5


@pytest.mark.parametrize("tag", [REJECTED, FAILED, REFUSED])
def test_servers_that_reject_what_others_accept_prove_a_divergence(tag: bytes) -> None:
    """Two accept and four do not: fewer than r hold it, and whether it is applied nobody can say."""
    rack = WatchedRack()
    desk = Desk(rack)
    rejected = altered(status=UNCHANGED, answers=(tag + b"no",), version_digest=b"")
    desk.lies = dict.fromkeys(preferred(rack)[2:], rejected)
    assert desk.call("add", b"+") == Disagreed("add", None)


# --- divergence ------------------------------------------------------------------------------------------------------


class Odd(Toy):
    """Its own idea of what ``add`` and ``get`` come to."""

    def __init__(self, salt: bytes) -> None:
        self.salt = salt

    def execute(self, objects, call, states):
        done = super().execute(objects, call, states)
        return Executed(done.answer, tuple(state + self.salt for state in done.states)) if done.states else done


def split_rack(*salts: bytes) -> WatchedRack:
    """Servers that compute these results, in the order in which A's clients try them."""
    order = WatchedRack().quorums.preference(A)
    executors = [Odd(salts[order.index(server)]) if order.index(server) < len(salts) else Toy() for server in range(6)]
    return WatchedRack(executors)


@pytest.mark.parametrize(
    ("salts", "outcome"),
    [
        ((b"7", b"7", b"7", b"1", b"2", b"7"), Disagreed("add", True)),
        ((b"7", b"7", b"7", b"1", b"1", b"7"), Disagreed("add", True)),
        ((b"1", b"2", b"3", b"4", b"5", b"6"), Disagreed("add", True)),
        ((b"7", b"7", b"7", b"7", b"1", b"7"), Answered((b"v",))),
    ],
)
def test_more_than_b_other_results_prove_a_divergence(salts: tuple, outcome: Outcome) -> None:
    """One of five may lie; two that differ from three, alike or not, prove that honest servers differ."""
    desk = Desk(split_rack(*salts))
    assert desk.call("add", b"+") == outcome


def test_no_server_is_suspected_for_a_divergence() -> None:
    """Each may be an honest one that ran a method which is not deterministic."""
    desk = Desk(split_rack(b"7", b"7", b"7", b"1", b"2"))
    for _ in range(5):
        assert desk.call("add", b"+") == Disagreed("add", True)
        assert desk.call("get") == Disagreed("get", False)
    assert desk.session.standing.evidence() == []


def test_a_stale_query_of_a_diverged_object_is_not_answered() -> None:
    """Servers that call it stale answer it on their latest version, and more than b of them otherwise."""
    rack = split_rack(b"7", b"7", b"7", b"1", b"2", b"7")
    reader = Desk(rack, Y)
    reader.call("get")
    Desk(rack, X).call("add", b"+")
    assert reader.call("get") == Disagreed("get", False)
    assert reader.session.standing.evidence() == []


# --- declines --------------------------------------------------------------------------------------------------------


class Forbids:
    """Rules under which X may not use some methods."""

    def __init__(self, *methods: str) -> None:
        self.methods = methods

    def allows(self, client, name, method):
        return client != X or method not in self.methods

    def knows(self, client, name):
        return True


def forbidding(rack: WatchedRack, *methods: str, places: range) -> WatchedRack:
    """These servers of A's preferred order have newer rules."""
    for place in places:
        server = rack.servers[preferred(rack)[place]]
        server._access = server._ordinary._access = Forbids(*methods)
    return rack


@pytest.mark.parametrize("ahead", range(7))
@pytest.mark.parametrize("size", [(6, 1, 1), (4, 1, 0)])
def test_a_call_that_is_told_as_refused_is_never_applied(size: tuple, ahead: int) -> None:
    """New rules reach the servers one after the other: whoever is told "not allowed" has changed nothing for good."""
    n, t, b = size
    rack = forbidding(WatchedRack(n=n, t=t, b=b), "add", places=range(min(ahead, n)))
    desk = Desk(rack)
    outcome = desk.call("add", b"+")
    while desk.pending:  # what was sent before the outcome was known arrives all the same
        desk.step()
    applied = Desk(rack, Y).call("get") == Answered((b"v+",))
    assert isinstance(outcome, Answered | Refused | TimedOut)
    assert isinstance(outcome, Answered) <= applied
    assert isinstance(outcome, Refused) <= (not applied)
    assert isinstance(outcome, Refused) >= (ahead >= n)


def test_one_server_with_newer_rules_does_not_stop_a_crash_only_cluster() -> None:
    """With b = 0 its decline is true, and yet the other three are a quorum."""
    rack = forbidding(WatchedRack(n=4, t=1, b=0), "add", places=range(1))
    assert Desk(rack).call("add", b"+") == Answered((b"v",))


def test_a_call_with_an_earlier_attempt_that_may_live_is_not_refused() -> None:
    """The first attempt's replies are lost; all servers then decline the second one."""
    rack = WatchedRack()
    desk = Desk(rack)
    desk.lies = {server: lambda frame: None for server in range(6)}
    ticket = desk.start(op("add", b"+", call_id=b"lost call id 16b"), timeout_s=100)
    while desk.pending:
        desk.step()
    desk.lies = {}
    forbidding(rack, "add", places=range(6))
    outcome = desk.finish(ticket)
    assert isinstance(outcome, TimedOut)
    assert outcome.since == 0
    assert "access rules" in outcome.reason
    assert desk.run(cancel(b"lost call id 16b", 0), is_fixed=True) == Answered((b"v",))


def batch(desk: Desk, *calls: tuple[str, bytes], timeouts: tuple[float, ...] = ()) -> list[int]:
    """Calls that travel together, behind one that is under way; their tickets."""
    first = desk.start(op("add", b"1"))
    times = timeouts or (100.0,) * len(calls)
    tickets = [desk.start(op(*call), timeout_s=time) for call, time in zip(calls, times, strict=True)]
    while first not in desk.finished:
        desk.step()
    return tickets


def test_a_call_that_travelled_with_a_declined_one_is_not_told_that_it_changed_nothing() -> None:
    """Four servers accept ``set`` and ``add``, two decline; then nothing arrives, and the operation is repaired."""
    rack = forbidding(WatchedRack(), "set", places=range(2))
    desk = Desk(rack)
    _, innocent = batch(desk, ("set", b"2"), ("add", b"3"), timeouts=(1, 0.5))
    for _ in range(len(desk.pending)):
        desk.step()
    while desk.session._waiting or desk.session._running:
        desk.pending.clear()
        desk.step()
    outcome = desk.finished[innocent]
    assert isinstance(outcome, TimedOut)
    assert outcome.since is not None
    reader = Desk(rack, Y)
    reader.down = {preferred(rack)[0]}
    assert reader.call("get") == Answered((b"v23",))


@pytest.mark.parametrize("others", [0, 90])
def test_a_call_that_travelled_with_a_declined_one_is_applied_once(others: int) -> None:
    """It is repaired while nothing of X arrives; then X goes on, with 90 updates of another session in between."""
    rack = forbidding(WatchedRack(), "set", places=range(2))
    desk = Desk(rack)
    _, innocent = batch(desk, ("set", b"2"), ("add", b"3"))
    for _ in range(len(desk.pending)):
        desk.step()
    desk.pending.clear()
    reader = Desk(rack, Y)
    reader.down = {preferred(rack)[0]}
    assert reader.call("get") == Answered((b"v23",))
    other = Desk(rack, X)
    for _ in range(others):
        other.call("add", b".")
    desk.finish(innocent)
    assert reader.call("get").answers[0].count(b"3") == 1


class Purse(Toy):
    """``add`` deposits a coin; ``spend`` takes one, and is rejected where there is none."""

    def is_update(self, objects, method):
        return True if method == "spend" else super().is_update(objects, method)

    def execute(self, objects, call, states):
        if call.method != "spend":
            return super().execute(objects, call, states)
        if not states[0]:
            return Executed(REJECTED + b"empty", None)
        return Executed(VALUE, (states[0][1:],))


def test_a_call_that_fails_by_itself_may_still_be_applied_with_those_it_was_sent_with() -> None:
    """Deposit and withdrawal are accepted together by two servers only; alone the withdrawal finds an empty purse.

    To call that a rejection would be wrong: the two together may be repaired later, with a liar's help.
    """
    rack = forbidding(WatchedRack(Purse()), "add", places=range(3))
    desk = Desk(rack)
    first = desk.start(op("get"))
    deposit, spend = desk.start(op("add", b"c")), desk.start(op("spend"))
    assert isinstance(desk.finish(first), Answered)
    outcome = desk.finish(spend)
    assert desk.finish(deposit).since is not None
    assert isinstance(outcome, TimedOut)
    assert outcome.since == 0
    assert outcome.reason == "it fails by itself, but may be applied with the calls it was sent with"


# --- attempts --------------------------------------------------------------------------------------------------------


def attempts_of(desk: Desk) -> list[Operation]:
    """The operations among the requests that are about to be delivered."""
    requests = [decode_request(split(ask.frame, REQUEST)[1], 6) for ask in desk.pending]
    return [decode_operation(request) for request in requests if request.operation]


def test_each_attempt_has_a_number_and_the_calls_keep_their_ids() -> None:
    """Two attempts on the same histories name different candidates; the ring still knows the call."""
    rack = WatchedRack()
    desk, rival = Desk(rack), Desk(rack, Y, seed=2)
    desk.call("get")
    seen: list[Operation] = []

    def overtaken(server: int, frame: bytes) -> bool:
        request = decode_request(split(frame, REQUEST)[1], 6)
        if request.operation:
            seen.append(decode_operation(request))
        return server != preferred(rack)[0] or len(seen) > 9 or isinstance(rival.call("add", b"y"), Answered)

    desk.cuts = overtaken
    assert isinstance(desk.call("add", b"x"), Answered)
    numbers = [operation.attempt for operation in seen]
    assert numbers == sorted(numbers)
    assert set(numbers) >= {1, 2}
    assert len({operation.calls[0].id for operation in seen}) == 1


def test_a_call_that_is_made_again_goes_on_counting_its_attempts() -> None:
    """So no attempt of it by itself can have the bytes of one before."""
    rack = forbidding(WatchedRack(), "set", places=range(6))
    desk = Desk(rack)
    batch(desk, ("set", b"2"), ("add", b"3"))
    assert {(len(each.calls), each.attempt) for each in attempts_of(desk)} == {(2, 1)}
    for _ in range(len(desk.pending)):
        desk.step()
    assert {(len(each.calls), each.attempt) for each in attempts_of(desk)} == {(1, 2)}
