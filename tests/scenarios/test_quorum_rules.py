"""PROTOCOL §1 and §3: what quorums, repairable sets and barriers are for, one short schedule each."""

from __future__ import annotations

from fivefold.protocol.client.outcomes import Answered
from fivefold.protocol.steps import Kind
from fivefold.simulation.rack import Letter
from tests import protocol_rig
from tests.protocol_rig import A, B, Desk, WatchedRack, X, Y, Z, copies, deliver, newest, now, op, send

METHOD, INLINE, COPY, BARRIER = Kind.METHOD, Kind.INLINE_METHOD, Kind.COPY, Kind.BARRIER


def says(actual: object, expected: object) -> None:
    assert protocol_rig.is_lenient or actual == expected


def test_what_a_quorum_accepted_survives_the_crash_of_one_of_them() -> None:
    """Four servers: X's update is complete, then one of those that took it is gone; Y reads it from the others."""
    rack = WatchedRack(n=4, t=1, b=0)
    assert Desk(rack, X).call("set", b"e") == Answered((b"v",))
    reader = Desk(rack, Y)
    reader.down = {rack.quorums.preference(A)[0]}
    assert reader.call("get") == Answered((b"ve",))


def test_one_server_and_the_liars_do_not_make_a_candidate_repairable() -> None:
    """Six servers: the liar s4 accepted e as well as its rival x, which else only s5 holds: x is passed over."""
    rack = WatchedRack(liars={4})
    first, second = sorted((X, Y))
    send(rack, first, now(rack, []), range(4), kind=METHOD, operation=op("set", b"e"))
    send(rack, second, now(rack, []), [4, 5], kind=METHOD, operation=op("set", b"x"))
    assert newest(rack, 5).timestamp > newest(rack, 0).timestamp, "the rival would be the object candidate"
    send(rack, Z, now(rack, [1, 2, 3, 4, 5]), [0, 1, 2, 3, 5], kind=BARRIER)


def test_a_barrier_comes_before_a_copy() -> None:
    """Four servers: x is on its way while somebody repairs; the barrier freezes it, so that it is seen, and copied."""
    rack = WatchedRack(n=4, t=1, b=0)
    x = Letter(rack, Y, now(rack, []), operation=op("set", b"x"))
    deliver(x, [0])
    seen = now(rack, [0, 2, 3])
    deliver(x, [1, 2])
    send(rack, X, seen, range(4), kind=BARRIER)
    last = send(rack, X, now(rack, [0, 1, 3]), range(4), kind=COPY)
    says(copies(last), {A: "1"})


def test_a_joint_barrier_is_not_finished_in_place() -> None:
    """Two of four servers took a barrier over a and b: a repair of a issues another one over both (S4)."""
    rack = WatchedRack(n=4, t=1, b=0)
    send(rack, Y, now(rack, []), [0], kind=METHOD, operation=op("set", b"x"))
    send(rack, X, now(rack, [0, 1, 2], A, B), [0, 1], kind=BARRIER, target=A)
    again = Letter(rack, Z, now(rack, [0, 1, 2], A, B), target=A)
    assert again.kind() is BARRIER
    assert sorted(copies(again)) == [A, B]
