"""What a client does about editions of the cluster file (R7): whose answers count, and when it begins anew."""

from collections.abc import Iterable

import pytest

from fivefold.protocol.client import Answered, Refused, TimedOut
from fivefold.protocol.editions import Edition
from fivefold.protocol.messages import DECLINED, FAIL
from tests.protocol_rig import A, Desk, WatchedRack, altered, op

FIRST = Edition(1, bytes(32), (1, 1, 1, 1))
SECOND = Edition(2, b"2" * 32, (2, 1, 1, 1))


def desk_of(n: int = 4, t: int = 1, b: int = 0) -> Desk:
    return Desk(WatchedRack(n=n, t=t, b=b))


def edition(number: int, n: int, slot: int = 0, tag: bytes = b"2") -> Edition:
    since = [1] * n
    since[slot] = number
    return Edition(number, tag * 32, tuple(since))


def announce(desk: Desk, servers: Iterable[int], each: Edition) -> None:
    for server in servers:
        desk._take(desk.session.announced(desk.rack.now_ns, server, each.number, each.digest))


def preferred(desk: Desk) -> tuple[int, ...]:
    return desk.rack.quorums.preference(A)


def deliver_all(desk: Desk, rounds: int = 1) -> None:
    """Deliver what is under way, and what that leads to, so often; no time passes."""
    for _ in range(rounds):
        for _ in range(len(desk.pending)):
            desk.step()


def switch(desk: Desk, each: Edition) -> None:
    desk._take(desk.session.switch(desk.rack.now_ns, each))


def test_d3_an_answer_of_the_old_identity_does_not_finish_a_call_beside_servers_that_have_switched() -> None:
    """D3: n = 4, b = 0. Server 0's SUCCESS is of its old identity; 1 and 2 took the update after they were read.

    One announcement of a newer edition among the q that count is one too many: the call waits for the file, begins
    anew, and ends with an answer of the servers of that file.
    """
    desk = desk_of()
    old, *others, silent = preferred(desk)
    ticket = desk.start(op("set", b"m"))
    desk.cuts = lambda server, frame: server == old
    deliver_all(desk)
    announce(desk, others, edition(2, 4, old))
    desk.cuts = lambda server, frame: server != silent
    for server in others:  # their connections were closed, and are back
        desk._take(desk.session.disconnected(desk.rack.now_ns, server))
        desk._take(desk.session.connected(desk.rack.now_ns, server))
    deliver_all(desk, 20)
    assert ticket not in desk.finished
    switch(desk, edition(2, 4, old))
    desk.cuts = lambda server, frame: True
    assert isinstance(desk.finish(ticket), Answered)


def test_after_the_switch_the_round_begins_again() -> None:
    """N = 6: five had said SUCCESS, two of them with a newer edition; with the file at hand none of that counts."""
    desk = desk_of(6, 1, 1)
    old, first, second, *_, silent = preferred(desk)
    announce(desk, [first, second], edition(2, 6, old))
    desk.cuts = lambda server, frame: server != silent
    ticket = desk.start(op("set", b"m"))
    deliver_all(desk, 3)
    switch(desk, edition(2, 6, old))
    desk.pending.clear()
    desk.down = set(range(6))
    for _ in range(10):
        desk.step()
    assert ticket not in desk.finished
    desk.down = set()
    assert isinstance(desk.finish(ticket), Answered)


def test_without_the_file_nothing_is_finished_up_to_the_deadline() -> None:
    """Updates and queries: the outcome is that of silence, however many servers answer."""
    desk = desk_of()
    assert isinstance(desk.call("set", b"x"), Answered)
    announce(desk, preferred(desk)[1:3], SECOND)
    assert isinstance(desk.call("set", b"y", timeout_s=1), TimedOut)
    assert isinstance(desk.call("get", timeout_s=1), TimedOut)


def test_of_servers_with_a_newer_edition_b_count() -> None:
    """N = 6, b = 1: one of five that has announced a newer edition finishes the call with four others; two do not."""
    desk = desk_of(6, 1, 1)
    first, second, *_ = preferred(desk)
    announce(desk, [first], edition(2, 6))
    assert isinstance(desk.call("set", b"x"), Answered)
    assert len(set(desk.sent)) == 5
    announce(desk, [second], edition(2, 6))
    assert isinstance(desk.call("set", b"y"), Answered)  # the sixth is asked, and four without a mark and one are five
    assert len(set(desk.sent)) == 6
    announce(desk, preferred(desk)[2:3], edition(2, 6))
    assert isinstance(desk.call("set", b"z", timeout_s=1), TimedOut)


@pytest.mark.parametrize("method", ["set", "get"])
def test_a_refusal_by_servers_with_a_newer_edition_is_no_outcome(method: str) -> None:
    """More than b of those that decline use a later edition: the call is not told as refused."""
    desk = desk_of()
    announce(desk, range(4), SECOND)
    desk.lies = dict.fromkeys(range(4), altered(status=DECLINED, answers=(b"\x01NotAllowed: no",), histories=()))
    assert isinstance(desk.call(method, b"x" if method == "set" else b"", timeout_s=1), TimedOut)
    assert desk.rack.now_ns >= 1_000_000_000
    switch(desk, SECOND)
    assert isinstance(desk.call(method, b"x" if method == "set" else b"", timeout_s=1), Refused | TimedOut)


def test_liars_alone_stop_nobody() -> None:
    """B servers that announce any edition do not stop a client, whatever number they say."""
    desk = desk_of(6, 1, 1)
    announce(desk, preferred(desk)[:1], Edition(99, b"9" * 32, (1,) * 6))
    for value in (b"x", b"y", b"z"):
        assert isinstance(desk.call("set", value), Answered)
    assert isinstance(desk.call("get"), Answered)


def test_a_mark_stays_when_the_connection_goes() -> None:
    """What a server answered after its announcement counts as that of a newer edition, also once it has gone again."""
    desk = desk_of()
    old, first, second, _ = preferred(desk)
    ticket = desk.start(op("set", b"m"))
    desk.cuts = lambda server, frame: server in (old, first)
    announce(desk, [first], edition(2, 4, old))
    deliver_all(desk)
    desk._take(desk.session.disconnected(desk.rack.now_ns, first))
    desk.cuts = lambda server, frame: server == second
    deliver_all(desk, 3)
    assert ticket not in desk.finished


def test_the_switch_drops_every_history() -> None:
    """The next request is conditioned on nothing; the servers say what they hold, and the call goes through."""
    desk = desk_of()
    desk.call("set", b"x")
    assert desk.session.knowledge.is_known(A)
    switch(desk, SECOND)
    assert not desk.session.knowledge.is_known(A)
    assert isinstance(desk.call("set", b"y"), Answered)


def test_the_switch_drops_the_verdicts_about_the_slot_alone() -> None:
    """Nothing is held against the new identity; what is held against another server stays."""
    desk = desk_of(6, 1, 1)
    standing = desk.session.standing
    for server in (0, 1):
        for _ in range(5):
            standing.strike(server, "malformed")
        standing.note_cull(server, 3)
        standing.note_cull(server, 4)
    standing.note_cull(5, 0)
    switch(desk, edition(2, 6, 0))
    assert not standing.is_suspected(0)
    assert not standing.is_excluded(0)
    assert standing.is_suspected(1)
    assert standing.is_excluded(1)
    assert not standing.is_doubted(5)


def test_a_call_that_waits_in_a_pause_goes_on_after_the_switch() -> None:
    """The switch sends nothing for it before its time, and it ends."""
    desk = desk_of()
    desk.lies = dict.fromkeys(range(4), altered(status=FAIL))
    ticket = desk.start(op("set", b"x"))
    deliver_all(desk, 10)
    desk.lies = {}
    switch(desk, SECOND)
    assert isinstance(desk.finish(ticket), Answered)


# --- culls ------------------------------------------------------------------------------------------------------


def reports(culled: int) -> object:
    return altered(culled=(culled,))


def evidence_after(desk: Desk, culled: int, by: Iterable[int]) -> tuple[int, ...]:
    """What a query teaches the client about one server that others say they have culled."""
    desk.lies = {server: reports(culled) for server in by}
    desk.call("set", b"v", timeout_s=1)
    return tuple(sorted(desk.session.standing._culled_by[culled]))


def test_between_servers_of_the_client_s_edition_a_cull_is_evidence() -> None:
    """Both have announced it before the histories were fetched: then the report counts."""
    desk = desk_of()
    switch(desk, SECOND)
    announce(desk, range(4), SECOND)
    desk.call("set", b"u")
    culled, by = preferred(desk)[:2]
    assert evidence_after(desk, culled, [by]) == (by,)


@pytest.mark.parametrize("untold_reports", [True, False])
def test_a_cull_by_or_of_a_server_that_was_not_told_proves_nothing(untold_reports: bool) -> None:
    """It has other keys for the newcomer's place; it counts as silent, and every other history stays in the set."""
    desk = desk_of()
    switch(desk, SECOND)
    untold, other = preferred(desk)[:2]
    announce(desk, set(range(4)) - {untold}, SECOND)
    announce(desk, [untold], FIRST)
    desk.call("set", b"u")
    culled, by = (other, untold) if untold_reports else (untold, other)
    assert evidence_after(desk, culled, [by]) == ()
    standing = desk.session.standing
    assert not standing.is_doubted(culled)
    assert standing.rank(untold) == 3
    assert standing.left_out([b"x"] * 4) == {untold}
    assert standing.left_out([b"x", b"x", b"x", b""]) == (set() if untold != 3 else {3})


def test_before_a_server_has_announced_anything_its_reports_prove_nothing() -> None:
    """In a cluster with a replaced server, silence about the edition is no agreement."""
    desk = desk_of()
    switch(desk, SECOND)
    culled, by, *others = preferred(desk)
    announce(desk, [culled, *others], SECOND)
    assert evidence_after(desk, culled, [by]) == ()


def test_what_was_fetched_before_the_last_announcement_proves_nothing() -> None:
    """It may carry no MAC for the server that was told last: then the client has to fetch it again."""
    desk = desk_of()
    switch(desk, SECOND)
    *told, late, culled = preferred(desk)
    announce(desk, [*told, culled], SECOND)
    desk.call("set", b"u")
    ticket = desk.start(op("set", b"v"))
    announce(desk, [late], SECOND)
    assert not desk.session.knowledge.is_known(A)
    desk.lies = {late: reports(culled)}
    desk.finish(ticket)
    assert tuple(desk.session.standing._culled_by[culled]) == ()


def test_a_server_that_announces_to_and_fro_has_nothing_forgotten_again() -> None:
    """Each server begins one new era while the client uses one edition."""
    desk = desk_of()
    switch(desk, SECOND)
    announce(desk, range(4), SECOND)
    desk.call("set", b"u")
    for _ in range(3):
        announce(desk, [1], FIRST)
        announce(desk, [1], SECOND)
    assert desk.session.knowledge.is_known(A)


def test_in_a_cluster_of_which_nobody_was_replaced_announcements_change_nothing() -> None:
    """What is cached stays, and culls count as they always did."""
    desk = desk_of()
    desk.call("set", b"u")
    announce(desk, range(4), FIRST)
    assert desk.session.knowledge.is_known(A)
    culled, by = preferred(desk)[:2]
    assert evidence_after(desk, culled, [by]) == (by,)
