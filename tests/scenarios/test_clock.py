"""PROTOCOL §4.1, Leads: nobody uses an object's clock up, and nobody freezes an object by leading its clock away."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from msgspec.structs import replace

from fivefold.protocol.client.outcomes import Answered
from fivefold.protocol.history import encode_history, initial_entry, time_of
from fivefold.protocol.limits import TIME_LEAD_MAX, TIME_MAX
from fivefold.protocol.messages import FAIL, REPLY, SUCCESS, decode_vote, encode, reply_frame, split
from fivefold.protocol.operations import CANCELLED, ClientId, ObjectId
from fivefold.protocol.records import INITIAL_HISTORY, Entry
from fivefold.protocol.steps import Kind, Step
from fivefold.simulation.rack import Letter
from tests.protocol_rig import A, B, Desk, WatchedRack, X, Y, Z, cancel, candidate, newest, now, op, send

LIAR = 5
HONEST = range(5)
OWN = ObjectId("Reg/z")
"""An object that the hostile client Z may do with what it likes."""


class Rights:
    """Z may do anything with its own object, and read the others."""

    def allows(self, client: ClientId, object_id: ObjectId, method: str) -> bool:
        return client != Z or object_id == OWN or method == "get"

    def knows(self, client: ClientId, object_id: ObjectId) -> bool:
        return True


def attacked(*, may_update: bool = False) -> WatchedRack:
    rack = WatchedRack(liars={LIAR}) if may_update else WatchedRack(liars={LIAR}, access=Rights())
    write(rack, A)
    return rack


def write(rack: WatchedRack, name: ObjectId) -> None:
    """All honest servers accept an update."""
    send(rack, X, now(rack, HONEST, name), HONEST, kind=Kind.METHOD, operation=op("set", name.encode(), name))


def time(rack: WatchedRack, server: int, name: ObjectId = A) -> int:
    return time_of(newest(rack, server, name).timestamp)


def leads(rack: WatchedRack, name: ObjectId = A, servers: Iterable[int] = HONEST) -> list[int]:
    return [time(rack, server, name) // TIME_LEAD_MAX for server in servers]


def invention(top: int, name: ObjectId, salt: bytes = b"") -> bytes:
    """What the liar signs: a version one lead above."""
    made = candidate(top + TIME_LEAD_MAX, name, salt=salt)
    return encode_history((initial_entry(name), Entry(made, False)))


def lead(
    rack: WatchedRack, name: ObjectId, times: int, servers: Iterable[int] = HONEST, *, split: bool = False
) -> None:
    """Z and the liar lead the clock of an object on some servers; with ``split`` each gets barriers of its own."""
    chosen = list(servers)
    for _ in range(times):
        view = now(rack, chosen, name)
        for number, to in enumerate([[server] for server in chosen] if split else [chosen]):
            view[name][LIAR] = invention(time(rack, chosen[0], name), name, b"%d" % number)
            send(rack, Z, view, to, kind=Kind.BARRIER)


def works(rack: WatchedRack, *objects: ObjectId, down: Iterable[int] = (LIAR,), messages_max: int = 100) -> None:
    """Each of several clients that know nothing updates and reads the objects, in few messages."""
    for seed, client in enumerate((X, Y)):
        desk = Desk(rack, client, seed=seed)
        desk.down = set(down)
        assert isinstance(desk.call("add", b"+", *objects), Answered)
        assert isinstance(desk.call("get", b"", *objects), Answered)
        assert len(desk.sent) <= messages_max


# --- a clock is not carried from one object to another ----------------------------------------------------------------


@pytest.mark.parametrize("down", [(), (0,), (LIAR,)])
def test_a_joint_barrier_does_not_carry_a_clock(down: tuple[int, ...]) -> None:
    """Z leads its own object away and sends two servers a barrier over it and A: A is led by one lead, and works."""
    rack = attacked()
    lead(rack, OWN, 20)
    view = {A: {0: rack.history(0, A)}, OWN: now(rack, HONEST, OWN)[OWN]}
    for _ in range(3):
        Letter(rack, Z, view, target=A).to([0, 1])
        assert max(leads(rack)) <= 1
        view[A] = {0: rack.history(0, A)}
    Letter(rack, Z, view, target=OWN).to([0, 1])
    assert max(leads(rack)) <= 1
    works(rack, A, down=down)
    assert [entry for entry in rack.entries(1, A) if entry.candidate.is_multi] == []


def test_a_joint_update_does_not_carry_a_clock() -> None:
    """Nor does an update of both, by a client that may update both: each server refuses it, with its histories."""
    rack = attacked(may_update=True)
    lead(rack, OWN, 2)
    for kind, operation in ((Kind.COPY, None), (Kind.METHOD, op("set", b"x", OWN))):
        send(rack, Z, now(rack, HONEST, OWN), HONEST, kind=kind, operation=operation)
    view = now(rack, HONEST, A, OWN)
    letter = send(rack, Z, view, HONEST, kind=None, operation=op("set", b"y", A, OWN), accepts=())
    assert {vote.status for vote in letter.to([4]).values()} == {FAIL}
    assert leads(rack) == [0] * 5
    works(rack, A)


@pytest.mark.parametrize(("ahead", "kind"), [(TIME_LEAD_MAX, Kind.METHOD), (TIME_LEAD_MAX + 1, None)])
def test_a_joint_update_leads_by_one_lead(ahead: int, kind: Kind | None) -> None:
    """What q histories of each object reach may be led by 2^40 and one; that is what one barrier does."""
    rack = WatchedRack(liars={LIAR})
    far = encode_history((initial_entry(B), Entry(candidate(ahead, B), False)))
    letter = Letter(rack, X, {A: {}, B: dict.fromkeys(HONEST, far)}, operation=op("set", b"x", A, B))
    assert letter.kind() is kind


def test_a_new_object_is_joined_with_one_that_is_often_updated_in_one_round() -> None:
    """Whatever honest updates have done to the other's clock."""
    rack = WatchedRack()
    desk = Desk(rack)
    for _ in range(30):
        assert isinstance(desk.call("add", b"+", B), Answered)
    desk.sent.clear()
    assert desk.call("set", b"x", A, B) == Answered((b"v|" + b"+" * 30,))
    assert len(desk.sent) == rack.quorums.q


@pytest.mark.parametrize("behind", [A, B])
def test_an_object_many_leads_behind_catches_up(behind: ObjectId) -> None:
    """A joint call of both takes as many rounds as leads, without back-off, and changes both or neither."""
    ahead = B if behind == A else A
    rack = WatchedRack(liars={LIAR})
    desk = Desk(rack)
    for name in (A, B):
        assert isinstance(desk.call("set", name.encode(), name), Answered)
    lead(rack, ahead, 30)
    began_ns = rack.now_ns
    desk = Desk(rack, Y)
    assert desk.call("set", b"x", A, B, timeout_s=60) == Answered((b"vReg/a|Reg/b",))
    assert len(desk.sent) < 60 * rack.quorums.q
    assert rack.now_ns - began_ns < 2_000_000_000
    assert sorted(leads(rack, behind, range(6)))[1] >= 29
    assert desk.call("get", b"", A, B) == Answered((b"vx|x",))


def test_objects_many_leads_apart_are_read_together_in_one_round() -> None:
    """A query carries no time anywhere: it writes nothing, and is not refused."""
    rack = WatchedRack(liars={LIAR})
    desk = Desk(rack)
    assert isinstance(desk.call("set", b"a", A), Answered)
    lead(rack, B, 30)
    assert isinstance(Desk(rack).call("set", b"b", B), Answered)
    reader = Desk(rack, Y)
    assert reader.call("get", b"", A, B) == Answered((b"va|b",))
    before = rack.shown(A), rack.shown(B)
    reader.sent.clear()
    assert reader.call("get", b"", A, B) == Answered((b"va|b",))
    assert len(reader.sent) <= rack.quorums.n
    assert (rack.shown(A), rack.shown(B)) == before


def test_a_joint_repair_goes_on_though_a_partner_is_led_away() -> None:
    """An update of A and B reaches two servers, then B's clock is led away: A is repaired all the same, with B."""
    rack = WatchedRack(liars={LIAR})
    for name in (A, B):
        write(rack, name)
    send(rack, Y, now(rack, HONEST, A, B), [0, 1], kind=Kind.METHOD, operation=op("set", b"joint", A, B))
    lead(rack, B, 12)
    works(rack, A, messages_max=400)
    works(rack, A, B, messages_max=400)
    rack.check()


# --- an object's own servers always catch up ------------------------------------------------------------------------


@pytest.mark.parametrize("times", [1, 2, 3, 60])
@pytest.mark.parametrize("split", [False, True])
def test_servers_led_away_one_by_one_do_not_freeze_an_object(times: int, split: bool) -> None:
    """Z and the liar lead all but one honest server away, each by barriers of its own; then the liar is silent.

    Q histories reach no more than what the slow server has. What r show is followed all the same.
    """
    rack = attacked()
    lead(rack, A, times, range(4), split=split)
    assert leads(rack) == [times] * 4 + [0]
    works(rack, A)


def barriers(rack: WatchedRack, servers: Iterable[int]) -> int:
    """How many barriers of a client alone it takes until one is accepted by all of these servers."""
    chosen = list(servers)
    for count in range(1, 10):
        letter = Letter(rack, X, now(rack, chosen))
        step = letter.step()
        assert isinstance(step, Step)
        votes = letter.to(chosen)
        if all(vote.status == SUCCESS for vote in votes.values()):
            return count
    raise AssertionError("ten barriers do not catch up")


@pytest.mark.parametrize("ahead", [[0], [0, 1], [1, 2, 3]])
def test_two_barriers_catch_up(ahead: list[int]) -> None:
    """All but one server are led away, and some of them by one more lead, which the liar's word allows."""
    rack = attacked()
    lead(rack, A, 40, range(4), split=True)
    view = now(rack, range(4))
    for number, server in enumerate(ahead):
        view[A][LIAR] = invention(time(rack, 0), A, b"last %d" % number)
        Letter(rack, Z, view).to([server])
    assert sorted(set(leads(rack))) == [0, 40, 41]
    assert barriers(rack, HONEST) <= 2


def promise(frame: bytes) -> bytes:
    """What the liar makes of a reply: it accepts everything, and shows the beginning."""
    number, body, _ = split(frame, REPLY)
    vote = decode_vote(body)
    return reply_frame(number, encode(replace(vote, histories=(INITIAL_HISTORY,) * len(vote.histories))), ())


@pytest.mark.parametrize("is_led", [False, True])
def test_a_server_that_is_not_among_the_first_shows_the_way(is_led: bool) -> None:
    """A liar accepts everything and shows the beginning; the client asks it first, and an honest server last.

    So q servers accept repairs, and never show so. Or three of five honest servers, the last among them, are a lead
    ahead of the fourth, and two ahead of the fifth. One of the repairs waits for what all servers show.
    """
    rack = attacked()
    name = next(ObjectId(f"Reg/{n}") for n in range(99) if rack.quorums.preference(ObjectId(f"Reg/{n}"))[-1] == 0)
    write(rack, name)
    if is_led:
        lead(rack, name, 1, range(4))
        view = now(rack, range(4), name)
        view[name][LIAR] = invention(time(rack, 0, name), name)
        Letter(rack, Z, view).to([0, 1, 2])
        assert leads(rack, name) == [2, 2, 2, 1, 0]
    desk = Desk(rack)
    desk.lies[LIAR] = promise
    assert isinstance(desk.call("add", b"+", name), Answered)
    assert len(desk.sent) <= 200


def test_what_r_histories_show_is_followed_without_gaining_a_lead() -> None:
    """A liar and r - b servers ahead go on by steps of one: each is a request, and none gains more."""
    rack = attacked()
    lead(rack, A, 2, range(4))
    top = time(rack, 0)
    for number in range(5):
        made = candidate(time(rack, 0), A, is_barrier=True, salt=b"%d" % number)
        view = {A: now(rack, [0, 1])[A] | {LIAR: encode_history((initial_entry(A), Entry(made, False)))}}
        Letter(rack, Z, view).to([0, 1])
    assert top < time(rack, 0) <= top + 5
    assert barriers(rack, HONEST) <= 3
    works(rack, A)


# --- the clock does not end -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", [2**62, 2**63 - 2, 2**64 - 2, TIME_MAX - 1])
def test_objects_work_beyond_any_time_that_can_be_reached(start: int) -> None:
    """Updates, lost calls, their resolution and the ring, before and after the border of eight bytes."""
    rack = WatchedRack()
    far = candidate(start, A, is_barrier=True)
    history = encode_history((initial_entry(A), Entry(far, False)))
    Letter(rack, Y, {A: dict.fromkeys(range(6), history)}).to(range(6))
    assert {time(rack, server) for server in range(6)} == {start + 1}
    desk = Desk(rack)
    for _ in range(100):
        assert isinstance(desk.call("add", b"+"), Answered)
    assert time(rack, rack.quorums.preference(A)[0]) > start + 100
    assert Desk(rack, Y).run(cancel(b"lost call id 16b", start + 50), is_fixed=True) == Answered((CANCELLED,))
    assert desk.call("get") == Answered((b"v" + b"+" * 100,))
    for server in range(6):
        rack.restart(server)
    assert desk.call("get") == Answered((b"v" + b"+" * 100,))


def test_a_time_that_r_histories_reach_is_believed() -> None:
    """However late: one of r servers at least is honest, and an honest one that is culled would be out for good."""
    rack = WatchedRack()
    far = candidate(TIME_MAX + 5, A, is_barrier=True)
    history = encode_history((initial_entry(A), Entry(far, False)))
    r = rack.quorums.r
    votes = Letter(rack, X, {A: dict.fromkeys(range(r - 1), history)}).to([4])
    assert votes[4].culled == tuple(range(r - 1))
    votes = Letter(rack, X, {A: dict.fromkeys(range(r), history)}).to([4])
    assert votes[4].culled == ()
    assert time(rack, 4) >= TIME_MAX + 5
