"""A cluster that is moved to another size (M1, M4): what a sealed server accepts, and what becomes of calls."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from fivefold.protocol.actions import Channel
from fivefold.protocol.client import Answered, Delay, TimedOut
from fivefold.protocol.editions import Announced, Edition, first_edition
from fivefold.protocol.messages import (
    BUSY,
    DECLINED,
    REQUEST,
    SUCCESS,
    decode_list_reply,
    decode_operation,
    decode_request,
    list_frame,
    split,
)
from fivefold.protocol.operations import ClientId, ObjectId
from fivefold.protocol.quorums import QuorumSystem
from fivefold.protocol.records import ListRequest
from fivefold.protocol.times import unpack_time
from tests.protocol_rig import A, Desk, WatchedRack, X, Y, op
from tests.replacement_rig import ReplacedRack

MOVER = ClientId(b"the mover 123456")


def sealed(n: int, mover: ClientId = MOVER) -> Edition:
    return Edition(2, b"2" * 32, (1,) * n, mover)


def moved(n: int) -> Edition:
    return Edition(3, b"3" * 32, (1,) * n, MOVER, has_moved=True)


def use(rack: WatchedRack, edition: Edition, servers: Iterable[int] | None = None) -> None:
    """Servers switch."""
    for index in range(rack.quorums.n) if servers is None else servers:
        machine = rack.servers[index]
        rack._perform(index, machine.switch(rack.now_ns, edition, machine.keys))


def reason(outcome: object) -> str:
    assert isinstance(outcome, TimedOut)
    assert outcome.delay is Delay.REFUSAL
    return outcome.reason


def test_a_sealed_server_accepts_no_update_and_answers_queries() -> None:
    """M1: neither the ordinary way nor step by step; the caller hears why, and that nothing was changed."""
    rack = WatchedRack()
    desk = Desk(rack)
    assert isinstance(desk.call("set", b"x"), Answered)
    before = [rack.history(server, A) for server in range(6)]
    use(rack, sealed(6))
    for client in (desk, Desk(rack, Y)):
        outcome = client.call("set", b"y", timeout_s=1)
        assert "sealed" in reason(outcome)
        assert isinstance(outcome, TimedOut)
        assert outcome.since is None
    assert [rack.history(server, A) for server in range(6)] == before
    assert desk.call("get") == Desk(rack, Y).call("get")
    assert isinstance(desk.call("get"), Answered)


def test_a_restarted_server_is_still_sealed() -> None:
    """M1: its edition is durable, and so is the seal."""
    rack = ReplacedRack()
    rack.files.append(list(rack.files[-1]))
    edition = rack.edition
    rack.edition = lambda number: edition(number)._replace(mover=MOVER if number == 2 else b"")  # type: ignore[method-assign]
    rack.tell(0, 1, 2, 3)
    for server in range(4):
        rack.restart(server)
    posted = rack.request({A: {}}, range(4), operation=op("set", b"e"))
    assert [vote.status for vote in posted.votes.values()] == [BUSY] * 4


def test_what_was_accepted_before_the_seal_is_answered_again() -> None:
    """M1, §4.3: the update was acknowledged, or may be; that it is held stays true."""
    rack = ReplacedRack()
    posted = rack.request({A: {}}, [0, 1], operation=op("set", b"e"))
    use(rack, sealed(4))
    posted.to([0, 1, 2])
    assert [posted.votes[server].status for server in (0, 1, 2)] == [SUCCESS, SUCCESS, BUSY]


def test_only_the_mover_repairs() -> None:
    """M1: an update reached two of six servers. A reader gets no answer before the mover has repaired the object."""
    rack = WatchedRack()
    desk = Desk(rack)
    preferred = rack.quorums.preference(A)
    desk.cuts = lambda server, frame: server in preferred[:3]
    assert isinstance(desk.call("set", b"x", timeout_s=1), TimedOut)
    use(rack, sealed(6))
    for client in (X, Y):
        assert "sealed" in reason(Desk(rack, client).call("get", timeout_s=1))
    assert isinstance(Desk(rack, MOVER).call("get"), Answered)
    assert isinstance(Desk(rack, Y).call("get"), Answered)
    assert "sealed" in reason(Desk(rack, MOVER).call("set", b"y", timeout_s=1))


def test_a_request_that_waits_while_its_server_is_sealed_is_refused() -> None:
    """M1: an inline repair waits for a version; it came before the seal, and would be accepted after it."""
    rack = WatchedRack()
    desk = Desk(rack)
    assert isinstance(desk.call("set", b"x"), Answered)
    missing = next(server for server in range(6) if not rack.history(server, A))
    rack.holds_syncs = True
    desk.down = {rack.quorums.preference(A)[0]}
    ticket = desk.start(op("get"), timeout_s=2)
    while not rack._waiting:
        desk.step()
    use(rack, sealed(6))
    rack.release_syncs()
    assert rack.history(missing, A) == b""
    desk.finish(ticket)
    assert rack.history(missing, A) == b""


def list_at(rack: WatchedRack, server: int) -> list[str] | None:
    """The ids of a server's list as the mover gets it; None while there is no answer."""
    channel = Channel(99)
    frame = list_frame(ListRequest(1, ObjectId(""), 100, 1 << 20, is_whole=True))
    rack._perform(server, rack.servers[server].receive_from_client(rack.now_ns, MOVER, channel, frame))
    return answer_at(rack, server)


def answer_at(rack: WatchedRack, server: int) -> list[str] | None:
    found = rack._replies.pop((server, Channel(99)), None)
    return None if found is None else [entry.object_id for entry in decode_list_reply(found).entries]


def test_a_list_after_the_seal_shows_all_that_was_accepted_before() -> None:
    """M2: an update is staged, and its SUCCESS waits for the disk; the list waits, too, and then it shows it."""
    rack = ReplacedRack()
    rack.slow = {0}
    posted = rack.request({A: {}}, [0], operation=op("set", b"e"))
    assert not posted.votes
    use(rack, sealed(4))
    assert list_at(rack, 0) is None
    for store in rack._staged.pop(0):
        rack._commit(0, store)
        rack._perform(0, rack.servers[0].durable(rack.now_ns, store.sequence))
    assert answer_at(rack, 0) == [A]


def test_a_cluster_that_has_moved_answers_nothing() -> None:
    """M4: not even queries: the new cluster may have a newer version already."""
    rack = WatchedRack()
    desk = Desk(rack)
    assert isinstance(desk.call("set", b"x"), Answered)
    use(rack, moved(6))
    for method in ("get", "set"):
        assert "moved" in reason(desk.call(method, b"", timeout_s=1))


def test_a_cluster_that_is_opened_again_is_as_it_was() -> None:
    """Given up: the next edition without a seal. The call that waited meanwhile ends, once."""
    rack = WatchedRack()
    desk = Desk(rack)
    assert isinstance(desk.call("set", b"x"), Answered)
    use(rack, sealed(6))
    ticket = desk.start(op("add", b"y"), timeout_s=60)
    for _ in range(40):
        desk.step()
    assert ticket not in desk.finished
    use(rack, Edition(3, b"4" * 32, (1,) * 6))
    assert isinstance(desk.finish(ticket), Answered)


# --- calls under way ----------------------------------------------------------------------------------------------


def carried(desk: Desk, rack: WatchedRack) -> tuple[Desk, list[int]]:
    """The desk's open calls go on at another cluster."""
    new = Desk(rack, desk.client)
    tickets, actions = new.session.take(rack.now_ns, desk.session.leave())
    new._take(actions)
    return new, tickets


@pytest.mark.parametrize("reached", [0, 2, 6])
def test_a_call_under_way_ends_in_the_new_cluster_and_is_applied_once(reached: int) -> None:
    """Whatever it reached in the old one: the copy holds its id, or it was never applied.

    The copy here is the old cluster itself, opened again after the mover's repairs: the same versions and rings.
    """
    rack = WatchedRack()
    desk = Desk(rack)
    assert isinstance(desk.call("set", b"x"), Answered)
    served = rack.quorums.preference(A)[:reached]
    desk.cuts = lambda server, frame: server in served
    desk.lies = dict.fromkeys(range(6), lambda frame: None)
    ticket = desk.start(op("add", b"y"))
    for _ in range(6):
        desk.step()
    use(rack, sealed(6))
    assert isinstance(Desk(rack, MOVER).call("get"), Answered)
    use(rack, Edition(3, b"4" * 32, (1,) * 6))
    assert ticket not in desk.finished
    new, [again] = carried(desk, rack)
    assert isinstance(new.finish(again), Answered)
    found = Desk(rack, Y).call("get")
    assert isinstance(found, Answered)
    assert found.answers[0].endswith(b"xy")


def test_calls_that_wait_are_carried_in_order_and_those_given_up_are_not() -> None:
    """One is under way, one waits behind it, one was given up: two come back, with tickets of their own."""
    rack = WatchedRack()
    desk = Desk(rack)
    desk.down = set(range(6))
    first, second, third = (desk.start(op("add", text)) for text in (b"a", b"b", b"c"))
    desk._take(desk.session.abandon(rack.now_ns, second))
    assert second in desk.finished
    new, tickets = carried(desk, rack)
    assert len(tickets) == 2
    assert {first, third}.isdisjoint(desk.finished)
    for ticket in tickets:
        assert isinstance(new.finish(ticket), Answered)
    found = Desk(rack, Y).call("get")
    assert isinstance(found, Answered)
    assert found.answers[0].endswith(b"ac")


def test_a_call_that_may_be_applied_is_not_told_as_refused_by_the_new_cluster() -> None:
    """It reached two servers of the old one, and the new one declines it: its outcome is unknown."""
    from tests.protocol_rig import altered

    rack = WatchedRack()
    desk = Desk(rack)
    desk.lies = dict.fromkeys(range(6), lambda frame: None)
    desk.start(op("add", b"y"))
    for _ in range(3):
        desk.step()
    new, [again] = carried(desk, rack)
    new.lies = dict.fromkeys(range(6), altered(status=DECLINED, answers=(b"\x01NotAllowed: no",), histories=()))
    outcome = new.finish(again)
    assert isinstance(outcome, TimedOut)
    assert outcome.since is not None


def test_a_call_that_is_carried_is_not_taken_for_an_older_one_than_it_is() -> None:
    """The new cluster is asked under the time at which the call was first made, although nothing is known there yet.

    Story: (1) a call was refused by sealed servers, and goes on in the new cluster, with all updates of a long life.
    (2) Its first attempt there says "made after time 0", and is not certainly dead, since a frame was sent twice.
    (3) So is the next one, and the ring does not reach back so far: the call would end with its outcome unknown.
    """
    rack = WatchedRack()
    desk = Desk(rack)
    for _ in range(70):
        assert isinstance(desk.call("add", b"."), Answered)
    use(rack, sealed(6))
    ticket = desk.start(op("add", b"y"), timeout_s=60)
    while desk.pending:
        desk.step()
    assert ticket not in desk.finished
    use(rack, Edition(3, b"4" * 32, (1,) * 6))
    known = desk.session.time_of((A,))
    calls = desk.session.leave()
    assert [call.since for call in calls] == [None]
    new = Desk(rack)
    [again], actions = new.session.take(rack.now_ns, calls)
    new._take(actions)
    request = decode_request(split(new.pending[0].frame, REQUEST)[1], 6)
    assert unpack_time(decode_operation(request).calls[0].since) == known >= 70
    assert isinstance(new.finish(again), Answered)
    found = Desk(rack, Y).call("get")
    assert isinstance(found, Answered)
    assert found.answers[0].endswith(b".y")


# --- when a client leaves -----------------------------------------------------------------------------------------


def test_a_client_leaves_once_q_servers_have_announced_that_the_cluster_has_moved() -> None:
    """M4: b + 1 are not enough. Otherwise one client writes in the new cluster what another does not read in the old.

    n = 4, b = 0: server 0 alone was told. A client that does not know of it reads the old state at 1, 2, 3.
    """
    rack = WatchedRack(n=4, t=1, b=0)
    assert isinstance(Desk(rack).call("set", b"old"), Answered)
    edition = moved(4)
    heard = Announced(QuorumSystem(4, 1, 0), edition.name)
    for server in (0, 1, 2):
        use(rack, edition, [server])
        heard.hear(server, edition.name)
        reads = isinstance(Desk(rack, Y).call("get", timeout_s=1), Answered)
        assert heard.is_agreed is (not reads) or server == 1
    assert heard.is_agreed


def test_who_announces_another_edition_does_not_count() -> None:
    """An older one, or another file of the same number."""
    heard = Announced(QuorumSystem(4, 1, 0), moved(4).name)
    for server, other in enumerate((first_edition(4).name, moved(4).name._replace(digest=b"x" * 32))):
        heard.hear(server, other)
    heard.hear(2, moved(4).name)
    heard.hear(3, moved(4).name)
    assert not heard.is_agreed


def test_a_sealed_server_tells_what_it_holds_to_who_asks_for_histories() -> None:
    """The mover reads it: a request without operation and with nothing known is answered with the history."""
    rack = ReplacedRack()
    rack.request({A: {}}, [0], operation=op("set", b"e"))
    use(rack, sealed(4))
    assert rack.look(0)[A].history == rack.history(0, A) != b""
