"""PROTOCOL §4, Pruning: what a server may drop from a history, and the completed updates lost if it drops more."""

from __future__ import annotations

from fivefold.protocol.history import Entry, encode_history, initial_entry, short
from fivefold.protocol.steps import Kind
from tests import protocol_rig
from tests.protocol_rig import (
    A,
    WatchedRack,
    X,
    Y,
    Z,
    candidate,
    claims,
    copies,
    newest,
    now,
    op,
    send,
)

METHOD, INLINE, COPY, BARRIER = Kind.METHOD, Kind.INLINE_METHOD, Kind.COPY, Kind.BARRIER


def shown(rack: WatchedRack, server: int) -> list[str]:
    return [short(entry.candidate.timestamp) for entry in rack.entries(server, A)]


def says(actual: object, expected: object) -> None:
    assert protocol_rig.is_lenient or actual == expected


def test_a_method_leaves_two_candidates() -> None:
    """METHOD keeps what it is conditioned on and itself: two candidates in the good case (compact histories)."""
    rack = WatchedRack()
    for _ in range(3):
        send(rack, X, now(rack, range(5)), range(5), kind=METHOD, operation=op("add", b"+"))
    assert shown(rack, 0) == ["2", "3"]


def test_barriers_and_copies_keep_everything() -> None:
    """BARRIER and COPY append, here where nothing is proved established; the next METHOD makes the history short."""
    rack = WatchedRack(n=4, t=1, b=0)
    send(rack, X, now(rack, []), range(3), kind=METHOD, operation=op("set", b"e"))
    send(rack, Y, now(rack, range(3)), [0], kind=METHOD, operation=op("set", b"x"))
    everyone = range(4)
    send(rack, X, now(rack, [0, 1, 3]), everyone, kind=BARRIER)
    send(rack, X, now(rack, [0, 1, 3]), everyone, kind=COPY)
    assert [shown(rack, s) for s in everyone] == [
        ["1", "2", "4"], ["0", "1", "4"], ["0", "1", "4"], ["0", "4"]
    ]  # fmt: skip
    send(rack, X, now(rack, everyone), everyone, kind=METHOD, operation=op("set", b"y"))
    assert shown(rack, 0) == ["4", "5"]


def test_a_copy_of_what_is_proved_prunes_what_is_older() -> None:
    """E is in q histories of the request that copies it: what is older goes, by the copy and by its inline repair."""
    rack = WatchedRack(n=4, t=1, b=0)
    for _ in range(2):
        send(rack, X, now(rack, range(3)), range(3), kind=METHOD, operation=op("set", b"e"))
    send(rack, Y, now(rack, [0]), range(3), kind=BARRIER)
    send(rack, Y, now(rack, range(3)), range(2), kind=COPY)
    assert [shown(rack, s) for s in range(3)] == [["2", "4"], ["2", "4"], ["1", "2", "3b"]]
    send(rack, Y, now(rack, range(3)), [2], kind=INLINE)
    assert shown(rack, 2) == ["2", "4"]


def test_a_method_repaired_inline_prunes() -> None:
    """INLINE_METHOD of a method candidate proves that what it is conditioned on was established."""
    rack = WatchedRack(n=4, t=1, b=0)
    for servers in (range(3), range(3), range(2)):
        send(rack, X, now(rack, range(3)), servers, kind=METHOD, operation=op("add", b"+"))
    send(rack, Y, now(rack, range(3)), [2], kind=INLINE)
    assert shown(rack, 2) == ["2", "3"]


def test_what_a_method_is_conditioned_on_stays() -> None:
    """E is established on s0-s2; x on e reaches s0 alone: s0 still shows e, or a view of three would copy version 0."""
    rack = WatchedRack(n=4, t=1, b=0)
    send(rack, X, now(rack, []), range(3), kind=METHOD, operation=op("set", b"e"))
    send(rack, Y, now(rack, range(3)), [0], kind=METHOD, operation=op("set", b"x"))
    view = [0, 1, 3]
    send(rack, X, now(rack, view), view, kind=BARRIER)
    last = send(rack, X, now(rack, view), view, kind=COPY)
    says(copies(last), {A: "1"})


def lost_by_pruning(*, barrier_time_of_x: bool) -> None:
    """The schedule of PROTOCOL §4: n=6, s5 lies, s3 crashes; a completed update e is lost if s0 prunes it."""
    rack = WatchedRack(liars={5})
    send(rack, X, now(rack, []), range(4), kind=METHOD, operation=op("set", b"e"))
    e = newest(rack, 0)
    everyone = range(5)
    on_e = now(rack, range(4))
    on_e[A][5] = claims(rack, 5, A, e)
    send(rack, X, on_e, [3, 4], kind=METHOD, operation=op("set", b"x"))
    x = newest(rack, 3)
    # The barrier's view shows a candidate the liar invents: beside x, or instead of it with a time below.
    seen = now(rack, [0, 1, 2, 4])
    if barrier_time_of_x:
        seen = now(rack, [0, 1, 2])
        seen[A][5] = claims(rack, 5, A, e, candidate(1, A, client=Z, salt=b"\xff"))
    send(rack, Y, seen, everyone, kind=BARRIER)
    barrier = newest(rack, 0)
    says(short(barrier.timestamp), "2b" if barrier_time_of_x else "3b")
    view = now(rack, [0, 1, 3, 4])
    view[A][5] = claims(rack, 5, A, x, barrier)
    copy = send(rack, Y, view, [3, 4], kind=COPY)
    says(copies(copy), {A: "2"})
    c = newest(rack, 3)
    inline = now(rack, [0, 1, 3, 4])
    inline[A][5] = claims(rack, 5, A, x, barrier, c)
    send(rack, Z, inline, [0], kind=INLINE)
    # s3 has crashed; the liar hides e and x behind something new.
    final = now(rack, [0, 1, 2, 4])
    final[A][5] = encode_history((initial_entry(A), Entry(candidate(9, A), False)))
    send(rack, Z, final, [0, 1, 2, 4], kind=BARRIER)
    again = newest(rack, 0)
    final = now(rack, [0, 1, 2, 4])
    final[A][5] = encode_history((initial_entry(A), Entry(again, False)))
    last = send(rack, Z, final, [0, 1, 2, 4], kind=COPY)
    says(copies(last), {A: "1"})


def test_a_copy_taken_inline_does_not_prune() -> None:
    """§4's schedule: e is on s0-s3, a copy of x is taken by INLINE_METHOD at s0, and e is still found afterwards."""
    lost_by_pruning(barrier_time_of_x=False)


def test_a_copy_with_a_methods_time_does_not_prune() -> None:
    """The same with a barrier that has x's time field: then the copy's is x's plus 1, as if it were a method."""
    lost_by_pruning(barrier_time_of_x=True)


def test_a_copy_does_not_prune() -> None:
    """COPY proves nothing about what it copies: s0 and s1 take a copy of x, and s1 still shows e beside s2."""
    rack = WatchedRack(n=4, t=1, b=0)
    send(rack, X, now(rack, []), range(3), kind=METHOD, operation=op("set", b"e"))
    send(rack, Y, now(rack, range(3)), [0, 3], kind=METHOD, operation=op("set", b"x"))
    send(rack, X, now(rack, [1, 2, 3]), range(4), kind=BARRIER)
    first = send(rack, X, now(rack, [0, 1, 3]), [0, 1], kind=COPY)
    says(copies(first), {A: "2"})
    view = [1, 2, 3]
    send(rack, X, now(rack, view), view, kind=BARRIER)
    last = send(rack, X, now(rack, view), view, kind=COPY)
    says(copies(last), {A: "1"})
