"""PROTOCOL §6: whom a client asks and believes, against one liar and against clients that blame honest servers."""

from __future__ import annotations

from fivefold.protocol import limits
from fivefold.protocol.client.outcomes import Answered
from fivefold.protocol.client.standing import Standing
from fivefold.protocol.history import time_of
from fivefold.protocol.messages import FAIL
from fivefold.protocol.quorums import QuorumSystem
from fivefold.simulation.rack import Letter
from tests.protocol_rig import A, Desk, Lie, WatchedRack, X, Y, Z, altered, candidate, claims, showing
from tests.scenarios.test_client_rules import spoiled


def preferred(rack: WatchedRack) -> list[int]:
    """All servers in the order in which A's clients try them."""
    return list(rack.quorums.preference(A))


def inventing(rack: WatchedRack, liar: int, *, culled: tuple[int, ...], count: int = 1) -> Lie:
    """In each reply new inventions above everything, and a report of having culled these servers."""
    asked = 0

    def lie(frame: bytes) -> bytes | None:
        nonlocal asked
        asked += 1
        latest = max(time_of(rack.entries(server, A)[-1].candidate.timestamp) for server in range(6))
        inventions = [candidate(latest + 1 + each, A, is_barrier=True, salt=b"%d" % asked) for each in range(count)]
        changed = altered(status=FAIL, answers=(), candidate=b"", version_digest=b"", culled=culled)
        return changed(showing(rack, liar, {A: claims(rack, liar, A, *inventions)})(frame))

    return lie


def test_a_liar_that_reports_all_others_and_invents_freezes_no_object() -> None:
    """Each client gets through, in turn, with a few dozen messages for each server."""
    rack = WatchedRack()
    liar = preferred(rack)[0]
    rack.liars = frozenset({liar})
    for client in (X, Y, Z):
        desk = Desk(rack, client)
        desk.lies[liar] = inventing(rack, liar, culled=tuple(preferred(rack)[1:]))
        for number in range(3):
            assert isinstance(desk.call("add", b"+"), Answered), number
        assert len(desk.sent) < 400
        assert desk.session.standing.is_avoided(liar)
        assert not any(desk.session.standing.is_doubted(server) for server in preferred(rack)[1:])


def test_a_liar_that_takes_breaks_freezes_no_object() -> None:
    """It is honest about barriers, and shows an invention above each copy: it stands alone every other time."""
    rack = WatchedRack()
    liar = preferred(rack)[0]
    rack.liars = frozenset({liar})
    invent = inventing(rack, liar, culled=())

    def lie(frame: bytes) -> bytes | None:
        return frame if rack.entries(liar, A)[-1].candidate.is_barrier else invent(frame)

    for client in (X, Y):
        desk = Desk(rack, client)
        desk.lies[liar] = lie
        for _ in range(3):
            assert isinstance(desk.call("add", b"+", timeout_s=1), Answered)
        assert desk.session.standing.is_avoided(liar)


def test_luck_is_not_taken_for_malice_nor_malice_for_luck() -> None:
    """Of eleven servers one after the other stands alone, and none is avoided; of two that take turns, both are."""
    lucky, malicious = (Standing(QuorumSystem(11, 2, 2)) for _ in range(2))
    for time in range(1100):
        lucky.note_alone({time % 11}, range(11))
        malicious.note_alone({time % 2}, range(11))
    assert not any(map(lucky.is_avoided, range(11)))
    assert [server for server in range(11) if malicious.is_avoided(server)] == [0, 1]


def test_a_session_recovers_when_the_liar_turns_honest() -> None:
    """Its reports count no more, and calls take one round: also when another server is down, and it is needed."""
    rack = WatchedRack()
    liar, *others = preferred(rack)
    rack.liars = frozenset({liar})
    desk = Desk(rack)
    desk.lies[liar] = inventing(rack, liar, culled=tuple(others))
    for _ in range(3):
        assert isinstance(desk.call("add", b"+"), Answered)
    desk.lies = {}
    desk.sent.clear()
    assert isinstance(desk.call("add", b"+"), Answered)
    assert desk.sent == others
    desk.down = {others[0]}
    desk._take(desk.session.disconnected(rack.now_ns, others[0]))
    for _ in range(3):
        assert isinstance(desk.call("add", b"+"), Answered)
    desk.sent.clear()
    assert isinstance(desk.call("add", b"+"), Answered)
    assert sorted(desk.sent) == sorted([liar, *others[1:]])


def test_an_excluded_server_and_one_that_is_down_do_not_stop_a_session() -> None:
    """The excluded one is honest by now, and so five of six are."""
    rack = WatchedRack()
    liar, first, *_ = preferred(rack)
    desk = Desk(rack)
    desk.lies[liar] = spoiled(rack, *range(6))
    for _ in range(3):
        assert isinstance(desk.call("add", b"+"), Answered)
    assert desk.session.standing.is_excluded(liar)
    desk.lies = {}
    desk.down = {first}
    desk._take(desk.session.disconnected(rack.now_ns, first))
    for _ in range(3):
        assert isinstance(desk.call("add", b"+"), Answered)


def promising(rack: WatchedRack, liar: int) -> Lie:
    """It says of each update that it has accepted it, and shows the initial history."""

    def lie(frame: bytes) -> bytes | None:
        return showing(rack, liar, {A: b""})(frame)

    return lie


def test_a_server_that_accepts_and_shows_nothing_of_it_is_suspected() -> None:
    """Its own reply proves the lie: it is struck, and soon asked last; what it says is no reason to doubt another."""
    rack = WatchedRack()
    liar = preferred(rack)[0]
    rack.liars = frozenset({liar})
    desk = Desk(rack)
    desk.lies[liar] = promising(rack, liar)
    for _ in range(limits.STRIKES_MAX + 1):
        assert isinstance(desk.call("add", b"+"), Answered)
    evidence = desk.session.standing.evidence()
    assert [(found.server, found.is_suspected) for found in evidence] == [(liar, True)]
    assert evidence[0].strikes["accepted and does not show it"] >= limits.STRIKES_MAX
    desk.sent.clear()
    assert isinstance(desk.call("add", b"+"), Answered)
    assert desk.sent == preferred(rack)[1:]


def test_what_was_accepted_and_pruned_since_is_no_contradiction() -> None:
    """A late copy of a request is answered SUCCESS, with a history that has gone on since; so is a query."""
    rack = WatchedRack()
    x, y = Desk(rack, X), Desk(rack, Y)
    x.call("add", b"1")
    y.call("get")
    for _ in range(3):
        y.call("get")
        x.call("add", b"2")
        y.call("add", b"3")
    assert x.session.standing.evidence() == y.session.standing.evidence() == []


def test_a_server_that_answers_is_not_down() -> None:
    """An exception of ours hid that its connection is up; beside it one server is excluded, and spoils its MACs."""
    rack = WatchedRack()
    liar, first, *_ = preferred(rack)
    rack.liars = frozenset({liar})
    desk = Desk(rack)
    desk.session.standing.down = {first}
    spoils = {server: spoiled(rack, server) for server in range(6)}
    served = 0

    def lie(frame: bytes) -> bytes | None:
        nonlocal served
        served += 1
        return spoils[served % 6](frame)

    desk.lies[liar] = lie
    for _ in range(6):
        assert isinstance(desk.call("add", b"+", timeout_s=1), Answered)
    assert desk.session.standing.down == set()
    desk.sent.clear()
    assert isinstance(desk.call("add", b"+", timeout_s=1), Answered)
    assert liar not in desk.sent


def test_an_excluded_server_is_asked_again_over_a_new_connection() -> None:
    """It was restarted with the right keys: it is tried, then asked as before, and nothing is held against it."""
    rack = WatchedRack()
    liar = preferred(rack)[0]
    desk = Desk(rack)
    desk.lies[liar] = spoiled(rack, *range(6))
    for _ in range(3):
        assert isinstance(desk.call("add", b"+"), Answered)
    assert desk.session.standing.is_excluded(liar)
    desk.lies = {}
    desk._take(desk.session.disconnected(rack.now_ns, liar))
    desk._take(desk.session.connected(rack.now_ns, liar))
    for _ in range(3):
        assert isinstance(desk.call("add", b"+"), Answered)
    desk.sent.clear()
    assert isinstance(desk.call("add", b"+"), Answered)
    assert desk.sent == preferred(rack)[:5]
    assert not desk.session.standing.is_doubted(liar)


def test_a_client_that_may_repair_cannot_have_an_honest_server_suspected() -> None:
    """Y sends a barrier to one server alone, again and again, before each request of X."""
    rack = WatchedRack()
    victim = preferred(rack)[0]
    desk = Desk(rack)

    def blame(server: int, frame: bytes) -> bool:
        if server == victim:
            Letter(rack, Y, {A: {victim: rack.history(victim, A)}}).to([victim])
        return True

    desk.call("add", b"+")
    desk.cuts = blame
    for _ in range(20):
        assert isinstance(desk.call("add", b"+"), Answered)
    (found,) = desk.session.standing.evidence()
    assert (found.server, found.is_suspected, found.is_excluded, found.culled_by) == (victim, False, False, ())
    assert desk.session.standing.is_avoided(victim)
    assert found.strikes["stood alone"] >= 1


def test_a_liar_with_long_histories_is_soon_left_alone() -> None:
    """Each of its histories holds a hundred inventions: three are read, then it is asked last."""
    rack = WatchedRack()
    liar = preferred(rack)[0]
    rack.liars = frozenset({liar})
    desk = Desk(rack)
    desk.lies[liar] = inventing(rack, liar, culled=(), count=120)
    for _ in range(10):
        assert isinstance(desk.call("add", b"+"), Answered)
    assert desk.session.standing.is_avoided(liar)
    assert desk.sent.count(liar) <= limits.STRIKES_MAX + 1


def test_what_was_proven_over_an_earlier_connection_stays_on_record() -> None:
    """A new connection starts afresh, but the operator still hears who lied, and who found it."""
    rack = WatchedRack()
    liar = preferred(rack)[0]
    desk = Desk(rack)
    desk.lies[liar] = spoiled(rack, *range(6))
    for _ in range(3):
        assert isinstance(desk.call("add", b"+"), Answered)
    (proven,) = [each for each in desk.session.standing.evidence() if each.server == liar]
    assert proven.is_excluded
    assert proven.proven_by == ()
    desk._take(desk.session.disconnected(rack.now_ns, liar))
    desk._take(desk.session.connected(rack.now_ns, liar))
    (on_record,) = [each for each in desk.session.standing.evidence() if each.server == liar]
    assert not on_record.is_excluded
    assert on_record.proven_by == proven.culled_by
