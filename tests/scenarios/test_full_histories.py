"""Copies of one version take each other's place, so that no number of them fills a history (PROTOCOL §4)."""

from __future__ import annotations

from fivefold.protocol.client.outcomes import Answered
from fivefold.protocol.history import short
from fivefold.protocol.messages import SUCCESS, SyncReply
from fivefold.protocol.operations import ObjectId
from fivefold.protocol.records import Candidate
from fivefold.protocol.steps import Kind
from fivefold.simulation.rack import Letter, client_id
from tests import protocol_rig
from tests.protocol_rig import A, B, C, Desk, WatchedRack, X, Y, Z, claims, copies, deliver, newest, now, op, send

METHOD, COPY, BARRIER = Kind.METHOD, Kind.COPY, Kind.BARRIER


def says(actual: object, expected: object) -> None:
    assert protocol_rig.is_lenient or actual == expected


def shown(rack: WatchedRack) -> list[list[str]]:
    return [[short(entry.candidate.timestamp) for entry in rack.entries(s, A)] for s in range(rack.quorums.n)]


class ReadersAndX:
    """X may do anything, everybody else only ``get``."""

    def allows(self, client, object_id, method):
        return client == X or method == "get"

    def knows(self, client, object_id):
        return True


def attacked(rack: WatchedRack, victims: range, *names: ObjectId, copies_count: int) -> None:
    """Readers in turn repair the objects by barriers that reach everybody, and copies that reach only ``victims``."""
    everyone = range(rack.quorums.n)
    for count in range(copies_count):
        villain = client_id(f"V{count % 20}")
        Letter(rack, villain, now(rack, [0], *names), target=A).to(everyone)
        copy = Letter(rack, villain, now(rack, everyone, *names), target=A)
        assert copy.step().kind is COPY
        assert {vote.status for vote in copy.to(victims).values()} == {SUCCESS}


def got_through(rack: WatchedRack, *, is_half_done: bool, copies_count: int) -> None:
    """What X leaves is copied again and again by others; then X is alone, and its update is done."""
    rack._record = lambda index, store: None  # slow, and judged elsewhere
    q, r = rack.quorums.q, rack.quorums.r
    send(rack, X, now(rack, []), range(q), kind=METHOD, operation=op("add", b"+"))
    if is_half_done:
        send(rack, X, now(rack, range(q)), range(r), kind=METHOD, operation=op("add", b"-"))
    for victims in (range(r), range(q - 1), range(1, q)):
        attacked(rack, victims, copies_count=copies_count)
    assert max(len(rack.entries(s, A)) for s in range(rack.quorums.n)) <= 4
    assert isinstance(Desk(rack, X).call("add", b"2", timeout_s=60), Answered)


def test_no_number_of_readers_keeps_a_repair_from_finishing() -> None:
    """Twenty clients copy the last update to r and to q - 1 servers, 1,500 times: no history grows by it."""
    got_through(WatchedRack(n=4, t=1, b=0, access=ReadersAndX()), is_half_done=False, copies_count=500)


def test_nor_do_they_where_an_update_was_left_half_done() -> None:
    """The same with an update that reached r servers, which is neither established nor to be passed over."""
    got_through(WatchedRack(access=ReadersAndX()), is_half_done=True, copies_count=150)


def test_nor_do_they_where_an_update_over_three_objects_was_left_half_done() -> None:
    """Joint copies take each other's place, too: no history of the three grows, and each object is updated again."""
    rack = WatchedRack(access=ReadersAndX())
    rack._record = lambda index, store: None  # slow, and judged elsewhere
    q, r, names = rack.quorums.q, rack.quorums.r, (A, B, C)
    send(rack, X, now(rack, [], *names), range(r), kind=METHOD, operation=op("set", b"M", *names))
    for victims in (range(r - 1), range(r), range(q - 1), range(1, q)):
        attacked(rack, victims, *names, copies_count=30)
    assert max(len(rack.entries(s, name)) for s in range(rack.quorums.n) for name in names) <= 4
    for name in names:
        assert isinstance(Desk(rack, X).call("add", b"2", name, timeout_s=60), Answered)
        assert sum(rack.state(server, name) == b"M2" for server in range(rack.quorums.n)) >= q


def half_copied() -> WatchedRack:
    """An update is on s0 and s1; its first copy, 3, is established on s1 to s3; its second, 5, is on s1, s2."""
    rack = WatchedRack(n=4, t=1, b=0)
    everyone = range(4)
    send(rack, X, now(rack, []), [0, 1], kind=METHOD, operation=op("set", b"x"))
    send(rack, Y, now(rack, [0]), everyone, kind=BARRIER)
    send(rack, Y, now(rack, everyone), [1, 2, 3], kind=COPY)
    send(rack, Z, now(rack, [0, 1]), everyone, kind=BARRIER)
    again = send(rack, Z, now(rack, [0, 1, 2]), [1, 2], kind=COPY)
    says(copies(again), {A: "1"})
    return rack


def test_a_newer_copy_stands_for_those_whose_place_it_took() -> None:
    """A view shows x, its first copy and its second copy once each: x is copied, and not the version before it."""
    rack = half_copied()
    says(shown(rack), [["0", "1", "4b"], ["0", "1", "5"], ["0", "5"], ["0", "3", "4b"]])
    view = [0, 2, 3]
    send(rack, X, now(rack, view), view, kind=BARRIER)
    last = send(rack, X, now(rack, view), view, kind=COPY)
    says(copies(last), {A: "1"})


def half_copied_jointly() -> WatchedRack:
    """The same over A and B: M is on s0 and s1; its first copy is established on s1 to s3; its second is on s1, s2."""
    rack = WatchedRack(n=4, t=1, b=0)
    everyone = range(4)
    send(rack, X, now(rack, [], A, B), [0, 1], kind=METHOD, operation=op("set", b"M", A, B))
    send(rack, Y, now(rack, [0], A, B), everyone, kind=BARRIER)
    send(rack, Y, now(rack, everyone, A, B), [1, 2, 3], kind=COPY)
    send(rack, Z, now(rack, [0, 1], A, B), everyone, kind=BARRIER)
    again = send(rack, Z, now(rack, [0, 1, 2], A, B), [1, 2], kind=COPY)
    says(copies(again), {A: "1", B: "1"})
    return rack


def test_a_newer_joint_copy_stands_for_those_whose_place_it_took() -> None:
    """A view shows M and each of its joint copies once: M is copied on both objects, and nothing older."""
    rack = half_copied_jointly()
    says(shown(rack), [["0", "1", "4b"], ["0", "1", "5"], ["0", "5"], ["0", "3", "4b"]])
    view = [0, 2, 3]
    send(rack, X, now(rack, view, A, B), view, kind=BARRIER)
    last = send(rack, X, now(rack, view, A, B), view, kind=COPY, target=B)
    says(copies(last), {A: "1", B: "1"})


def built_on_one_of_two_copies() -> WatchedRack:
    """Six servers, 5 lies: the joint copy 3 of M is established; K on it is on s1, s2; a second joint copy, 5, on
    s1, s3, s4 has taken the place of 3 there; a joint barrier, 6, is everywhere.
    """
    rack = WatchedRack(liars={5})
    honest, view = range(5), [0, 1, 3, 4]
    send(rack, X, now(rack, [], A, B), [0, 1, 2], kind=METHOD, operation=op("set", b"M", A, B))
    send(rack, Y, now(rack, []), [3], kind=METHOD, operation=op("set", b"y"))
    send(rack, X, now(rack, honest, A, B), honest, kind=BARRIER)
    send(rack, X, now(rack, honest, A, B), honest, kind=COPY)
    send(rack, X, now(rack, honest), [1, 2], kind=METHOD, operation=op("set", b"K"))
    send(rack, X, now(rack, view, A, B), honest, kind=BARRIER)
    send(rack, X, lied(rack, now(rack, view, A, B), newest(rack, 0)), [1, 3, 4], kind=COPY)
    send(rack, X, now(rack, [0, 1, 2], A, B), honest, kind=BARRIER)
    return rack


def lied(rack: WatchedRack, view: dict, *candidates: Candidate) -> dict:
    """The view, to which the liar adds that it shows nothing but these."""
    for name, histories in view.items():
        histories[5] = claims(rack, 5, name, *[each for each in candidates if each.covers(name)])
    return view


def test_what_was_built_on_one_joint_copy_proves_the_others() -> None:
    """S2 (n=6, b=1): A shows K three times, B the second joint copy three times, no flag, and M twice.

    K rests on the first copy, so M is established, and B is not put on version 0.
    """
    rack = built_on_one_of_two_copies()
    barrier, k = newest(rack, 0), next(e.candidate for e in rack.entries(2, A) if short(e.candidate.timestamp) == "4")
    view = lied(rack, now(rack, [0, 1, 2, 3]), barrier, k) | lied(rack, now(rack, [0, 1, 3, 4], B), barrier)
    last = send(rack, Z, view, [0, 1, 3, 4], kind=COPY, target=B)
    says(copies(last), {B: "1"})
    assert last.step() is not None


def test_who_has_a_copy_has_the_version() -> None:
    """s3 is told to copy x, which only s0 and s1 ever held as x, and they have it no more: s2's copy will do."""
    rack = WatchedRack(n=4, t=1, b=0)
    everyone = range(4)
    send(rack, X, now(rack, []), [0, 1], kind=METHOD, operation=op("set", b"x"))
    send(rack, Y, now(rack, [0]), everyone, kind=BARRIER)
    send(rack, Y, now(rack, everyone), [1, 2], kind=COPY)
    send(rack, Z, now(rack, [0, 1]), everyone, kind=BARRIER)
    rack.sync_lies = dict.fromkeys((0, 1), lambda request: SyncReply(request.number, b"", b""))
    letter = Letter(rack, Z, now(rack, [1, 2, 3]), target=A)
    assert (letter.step().kind, copies(letter)) == (COPY, {A: "1"})
    deliver(letter, [3])
    assert rack.state(3, A) == b"x"
