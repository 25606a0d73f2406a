"""PROTOCOL §7: the directed schedules D1-D8 of shared/multi-object, on the production servers (n=4, q=3, r=2, no liar).

Each is the schedule that forks, or breaks atomicity, if one part of the rules S1-S5 is left out; test_mutations.py
leaves it out and sees that happen. Servers, requests and order are those of ``directed.cpp``.
"""

from __future__ import annotations

import pytest

from fivefold.protocol.history import INITIAL_TIMESTAMP, short
from fivefold.protocol.steps import Kind, Missing
from tests import protocol_rig
from tests.protocol_rig import A, B, C, WatchedRack, X, Y, Z, claims, copies, deliver, newest, now, op, send

METHOD, INLINE, COPY, BARRIER = Kind.METHOD, Kind.INLINE_METHOD, Kind.COPY, Kind.BARRIER


def four() -> WatchedRack:
    return WatchedRack(n=4, t=1, b=0)


def says(actual: object, expected: object) -> None:
    """An assertion that a planted bug may break before its damage shows."""
    assert protocol_rig.is_lenient or actual == expected


def test_d1_a_skip_two_steps_back_is_seen() -> None:
    """D1: B passes over M although A's newest copy names only what M was passed over for, two steps back."""
    rack = four()
    everyone = range(4)
    send(rack, Y, now(rack, everyone), [1, 2], kind=METHOD, operation=op("set", b"x"))
    send(rack, X, now(rack, [], A, B), [0, 3], kind=METHOD, operation=op("set", b"M", A, B))
    send(rack, X, now(rack, [0, 2, 3], A, B), everyone, kind=BARRIER, target=B)
    alone = send(rack, X, now(rack, [1, 2, 3]), [1, 2], kind=COPY)
    says(copies(alone), {A: "1"})
    send(rack, X, now(rack, everyone, A, B), everyone, kind=BARRIER, target=B)
    last = send(rack, X, now(rack, everyone, A, B), [0, 1, 2], kind=COPY, target=B)
    says(copies(last), {B: "0"})
    # A goes the way it went: its newest candidate is the copy of x, in whose past there is no M; x is copied again.
    sole = send(rack, X, now(rack, everyone), everyone, kind=COPY)
    says(copies(sole), {A: "1"})


def d2(moves: int) -> None:
    """M is established, A has moved on so often, a rival stands on B; then both are repaired, B first."""
    rack = four()
    send(rack, X, now(rack, range(4), A, B), [0, 1, 2], kind=METHOD, operation=op("set", b"M", A, B))
    quorum = [0, 1, 2]
    for _ in range(moves):
        send(rack, X, now(rack, quorum), range(4), kind=METHOD, operation=op("add", b"+"))
    send(rack, X, now(rack, quorum, B), [0], kind=METHOD, operation=op("set", b"y", B))
    view = [0, 1, 3]
    send(rack, X, now(rack, view, A, B), view, kind=BARRIER, target=B)
    last = send(rack, X, now(rack, view, A, B), view, kind=COPY, target=B)
    says(copies(last), {B: "1"})


def test_d2_an_established_candidate_survives_its_own_pruning() -> None:
    """D2: M is established, A has moved on and pruned it; B is not put on version 0 for that."""
    d2(moves=2)


def test_d2_the_flag_outlives_everything_that_rests_on_the_candidate() -> None:
    """D2, one method further: A shows nothing any more whose base is M; the flag on B alone proves M."""
    d2(moves=3)


def test_d4_copies_of_copies_still_name_what_they_rest_on() -> None:
    """D4: M is proven by the base of a second copy of K1 on B, where no history of the request flags it on A."""
    rack = four()
    send(rack, X, now(rack, range(4), A, B), [0, 1, 2], kind=METHOD, operation=op("set", b"M", A, B))
    quorum = [0, 1, 2]
    send(rack, X, now(rack, quorum, B), [2, 3], kind=METHOD, operation=op("set", b"K1", B))
    send(rack, X, now(rack, quorum, B), [0, 2, 3], kind=BARRIER)
    k2 = send(rack, X, now(rack, [0, 2, 3], B), [0, 3], kind=COPY)
    says(copies(k2), {B: "2"})
    send(rack, X, now(rack, quorum, B), [0, 1, 3], kind=BARRIER)
    k3 = send(rack, X, now(rack, [0, 1, 3], B), [1, 3], kind=COPY)
    says(copies(k3), {B: "2"})
    view = [0, 1, 3]
    send(rack, X, now(rack, view, A, B), view, kind=INLINE)
    send(rack, X, now(rack, view, A, B), view, kind=None, accepts=[])
    says([short(newest(rack, s).timestamp) for s in view], ["1", "1", "1"])


def d5(moves: int) -> tuple[WatchedRack, dict]:
    """A's barrier and view are taken early; then B moves on so often, and gets a barrier of its own."""
    rack = four()
    send(rack, X, now(rack, range(4), A, B), [0, 1, 2], kind=METHOD, operation=op("set", b"M", A, B))
    quorum = [0, 1, 2]
    send(rack, Y, now(rack, []), [3], kind=METHOD, operation=op("set", b"late"))
    send(rack, X, now(rack, [0, 1, 3]), [0, 1, 3], kind=BARRIER)
    old = now(rack, [0, 1, 3])
    for _ in range(moves):
        send(rack, X, now(rack, quorum, B), range(4), kind=METHOD, operation=op("add", b"+", B))
    send(rack, X, now(rack, quorum, B), [0], kind=METHOD, operation=op("set", b"y", B))
    send(rack, X, now(rack, quorum, B), range(4), kind=BARRIER)
    return rack, old | now(rack, quorum, B)


def test_d5_what_rests_on_the_candidate_proves_it() -> None:
    """D5 as in directed.cpp: B shows a candidate whose base is M, so M is settled at A, whatever the barriers."""
    rack, view = d5(moves=2)
    last = send(rack, X, view, [0, 1, 3], kind=COPY)
    says(copies(last), {A: "1"})


def test_d5_objects_are_judged_by_one_barrier() -> None:
    """D5, one method further: B shows nothing that names M any more, and A's old view no flag: a new barrier is due."""
    rack, view = d5(moves=3)
    send(rack, X, view, [0, 1, 3], kind=BARRIER)


def test_d6_later_joint_copies_do_not_hide_the_candidate() -> None:
    """D6: a joint copy N of M, seen twice on B and once on A, covers A: leaving it out, M is still agreed."""
    rack = four()
    send(rack, X, now(rack, range(4), A, B), [0, 1, 2], kind=METHOD, operation=op("set", b"M", A, B))
    view = [0, 1, 3]
    send(rack, Y, now(rack, []), [3], kind=METHOD, operation=op("set", b"late"))
    send(rack, X, now(rack, view, A, B), range(4), kind=BARRIER)
    n = send(rack, X, now(rack, view, A, B), [2, 3], kind=COPY)
    says(copies(n), {A: "1", B: "1"})
    send(rack, X, now(rack, view) | now(rack, [1, 2, 3], B), range(4), kind=BARRIER)
    last = send(rack, X, now(rack, view) | now(rack, [1, 2, 3], B), range(4), kind=COPY)
    says(copies(last), {A: "1", B: "1"})


def test_d7_a_joint_barrier_is_never_finished_on_one_object() -> None:
    """D7: finishing it on A alone lets B go on below it; so a new barrier is issued, and the old view is worthless."""
    rack = four()
    send(rack, X, now(rack, range(4), A, B), [0, 1, 2], kind=METHOD, operation=op("set", b"M", A, B))
    quorum = [0, 1, 2]
    k1 = send(rack, X, now(rack, quorum, B), [0, 3], kind=METHOD, operation=op("set", b"K1", B))
    old_b0 = rack.history(0, B)
    send(rack, X, now(rack, quorum, A, B), [0, 3], kind=BARRIER, target=B)
    send(rack, X, now(rack, [0, 1, 3]), [1, 2], kind=BARRIER)
    old = now(rack, [1, 2, 3])
    deliver(k1, [1, 2])
    on_b = {B: {0: old_b0, 1: rack.history(1, B), 2: rack.history(2, B)}}
    send(rack, X, on_b, [1, 2], kind=METHOD, operation=op("set", b"K2", B))
    send(rack, X, now(rack, [0, 1, 3], B), [1, 2], kind=BARRIER)
    send(rack, X, old | now(rack, [1, 2, 3], B), [1, 2, 3], kind=Kind.INLINE_BARRIER)


def test_d8_inline_repair_covers_all_objects() -> None:
    """D8: M on two servers is finished on A and B together, so that no copy can put B on version 0."""
    rack = four()
    send(rack, X, now(rack, range(4), A, B), [0, 1], kind=METHOD, operation=op("set", b"M", A, B))
    view = [0, 1, 2]
    send(rack, X, now(rack, view, A, B), range(4), kind=INLINE)
    says([newest(rack, s, B).objects for s in range(4)], [(A, B)] * 4)
    behind = [1, 2, 3]
    for _ in range(2):
        send(rack, X, now(rack, behind, B), behind, kind=None if not protocol_rig.is_lenient else BARRIER, accepts=[])
    send(rack, X, now(rack, view), view, kind=METHOD, operation=op("set", b"after"))


def test_a_copy_of_an_unproven_candidate_is_joint() -> None:
    """All or none: M reached two servers, y on B the others; whatever the copy takes, it takes M on both or on none."""
    rack = four()
    send(rack, X, now(rack, [], A, B), [1, 3], kind=METHOD, operation=op("set", b"M", A, B))
    send(rack, Y, now(rack, [], B), [0, 2], kind=METHOD, operation=op("set", b"y", B))
    view = [0, 1, 3]
    send(rack, X, now(rack, view, A, B), view, kind=BARRIER)
    last = send(rack, X, now(rack, view, A, B), view, kind=COPY)
    says(copies(last), {A: "1", B: "1"})
    assert {rack.state(s, name) for s in view for name in (A, B)} == {b"M"}


def test_a_candidate_without_evidence_is_passed_over() -> None:
    """S5: M shows on A twice, on B the newer y stands on version 0: M is passed over on A, or B would lack it."""
    rack = four()
    send(rack, X, now(rack, [], A, B), [1, 3], kind=METHOD, operation=op("set", b"M", A, B))
    y = send(rack, Y, now(rack, [], B), [0, 2], kind=METHOD, operation=op("set", b"y", B))
    # y is repaired on s3, where M comes first (X < Y), and is then established on B.
    send(rack, Y, now(rack, [0, 2], B), [3], kind=INLINE)
    says(rack.established(B)[-1], newest(rack, 0, B))
    view = [0, 1, 3]
    send(rack, X, now(rack, view, A, B), view, kind=BARRIER)
    last = send(rack, X, now(rack, view, A, B), view, kind=COPY)
    says(copies(last), {A: "0"})
    assert y.step() is not None


def test_one_flag_is_no_proof_where_one_server_may_lie() -> None:
    """S2 (n=6, b=1): the liar's flag does not make M settled, which only two servers hold: A is not finished alone."""
    rack = WatchedRack(liars={5})
    send(rack, X, now(rack, [], A, B), [3, 4], kind=METHOD, operation=op("set", b"M", A, B))
    view = now(rack, [1, 2, 3, 4], A, B)
    view[A][5] = claims(rack, 5, A, flagged=[newest(rack, 3)])
    send(rack, Y, view, range(5), kind=BARRIER)
    for kind, accepts in ((COPY, range(5)), (None, [])):
        send(rack, Z, now(rack, range(5), B), range(5), kind=kind, accepts=accepts)
    assert rack.established(A) == rack.established(A)[:1]


def test_two_flags_are_proof_where_one_server_may_lie() -> None:
    """S2 (n=6, b=1): with an honest flag beside the liar's, M is settled and A is finished alone."""
    rack = WatchedRack(liars={5})
    send(rack, X, now(rack, [], A, B), range(4), kind=METHOD, operation=op("set", b"M", A, B))
    view = {B: {s: rack.history(s, B) for s in range(4)} | {5: claims(rack, 5, B, newest(rack, 0))}}
    send(rack, X, view, [0], kind=METHOD, operation=op("set", b"next", B))
    seen = now(rack, [0, 1, 2, 4])
    seen[A][5] = claims(rack, 5, A, flagged=[newest(rack, 1)])
    send(rack, Y, seen, [4], kind=INLINE)


def test_a_repair_without_the_other_object_is_refused() -> None:
    """S5, S3: a request that would have to judge M by an object it lacks is answered FAIL, and the client adds it."""
    rack = four()
    send(rack, X, now(rack, [], A, B), [0, 1], kind=METHOD, operation=op("set", b"M", A, B))
    letter = send(rack, Y, now(rack, [0, 1, 2]), range(4), kind=None, accepts=[])
    assert letter.step() == Missing((A, B))


def test_a_settled_candidate_is_repaired_alone() -> None:
    """S3: once b + 1 servers flag M on B, B needs no look at A."""
    rack = four()
    send(rack, X, now(rack, [], A, B), [0, 1, 2], kind=METHOD, operation=op("set", b"M", A, B))
    send(rack, X, now(rack, [0, 1, 2]), [0, 1], kind=METHOD, operation=op("set", b"1"))
    assert [entry.is_settled for entry in rack.entries(0, B)][-1]
    send(rack, Y, now(rack, [0, 1, 3], B), [3], kind=INLINE)
    assert rack.entries(3, B)[-1].is_settled
    assert newest(rack, 3).timestamp == INITIAL_TIMESTAMP


def test_acceptance_is_all_or_nothing() -> None:
    """A server that is not current on one object accepts on none."""
    rack = four()
    send(rack, Y, now(rack, [], B), [3], kind=METHOD, operation=op("set", b"y", B))
    send(rack, X, now(rack, [], A, B), range(4), kind=METHOD, operation=op("set", b"M", A, B), accepts=[0, 1, 2])
    assert newest(rack, 3).timestamp == INITIAL_TIMESTAMP


def test_a_joint_candidate_is_synced_object_by_object() -> None:
    """§5: a server that repairs M jointly fetches the version of every object of it from the others."""
    rack = four()
    send(rack, X, now(rack, [], A, B, C), [0, 1], kind=METHOD, operation=op("add", b"M", A, B, C))
    send(rack, Y, now(rack, [0, 1, 2], A, B, C), [2, 3], kind=INLINE)
    assert len(rack.asked) == 6
    assert {rack.state(3, name) for name in (A, B, C)} == {b"M"}


def test_a_barrier_over_two_objects_freezes_both_at_once() -> None:
    """S4: the joint barrier is one candidate in both histories, and its parts name both objects."""
    rack = four()
    send(rack, X, now(rack, [], A, B), [0], kind=METHOD, operation=op("set", b"M", A, B))
    send(rack, Y, now(rack, [0, 1, 2], A, B), range(4), kind=BARRIER)
    assert {newest(rack, s, name) for s in range(4) for name in (A, B)} == {newest(rack, 0)}
    assert newest(rack, 0).objects == (A, B)


@pytest.mark.parametrize("order", [(A, B), (B, A)])
def test_parameters_may_come_in_any_order(order: tuple) -> None:
    """An operation's objects are in parameter order, its history sets in the order of the ids."""
    rack = four()
    send(rack, X, now(rack, [], A), range(4), kind=METHOD, operation=op("set", b"a"))
    letter = send(rack, X, now(rack, range(4), A, B), range(4), kind=METHOD, operation=op("add", b"!", *order))
    vote = letter.to([0])[0]
    assert vote.answers == (b"va|",) if order == (A, B) else (b"v|a",)


def test_a_settled_flag_survives_a_crash() -> None:
    """S2: the flag is in the transaction that set it, so a server that crashes then still shows it."""
    rack = four()
    send(rack, X, now(rack, [], A, B), [0, 1, 2], kind=METHOD, operation=op("set", b"M", A, B))
    send(rack, X, now(rack, [0, 1, 2]), [0], kind=METHOD, operation=op("set", b"1"))
    rack.restart(0)
    vote = send(rack, Y, now(rack, [], B), [0], kind=None, accepts=[]).to([0])[0]
    assert vote.histories == (rack.history(0, B),)
    assert rack.entries(0, B)[-1].is_settled


def test_a_flag_that_was_not_durable_is_not_shown() -> None:
    """S2, §4.8: flag and successor reach the disk together; before that, no reply shows either."""
    rack = four()
    send(rack, X, now(rack, [], A, B), [0, 1, 2], kind=METHOD, operation=op("set", b"M", A, B))
    rack.slow.add(0)
    assert send(rack, X, now(rack, [0, 1, 2]), [0], kind=METHOD, operation=op("set", b"1"), accepts=[])
    assert send(rack, Y, now(rack, [], B), [], kind=None).to([0]) == {}
    rack.slow.clear()
    rack.restart(0)
    assert [e.is_settled for e in rack.entries(0, B)] == [False, False]
    assert short(newest(rack, 0).timestamp) == "1"


def test_one_timestamp_names_one_version_whoever_culls() -> None:
    """S1: s3 culls a history of B that the others believe, judges M otherwise, and derives another timestamp."""
    rack = four()
    send(rack, X, now(rack, [], B), [2, 3], kind=METHOD, operation=op("set", b"y", B))
    send(rack, Y, now(rack, [], A, B), [0, 1], kind=METHOD, operation=op("set", b"M", A, B))
    everyone = range(4)
    send(rack, Z, now(rack, [0, 2, 3], A, B), everyone, kind=BARRIER)
    letter = send(rack, Z, now(rack, everyone, A, B), [0, 1, 2], kind=COPY)
    assert copies(letter) == {A: "1", B: "1"}
    letter.proofs[4] = bytes(len(letter.proofs[4]))
    vote = letter.to([3])[3]
    assert (vote.status, vote.culled) == (0, (0,))
    assert [short(newest(rack, 3).part(A).conditioned_on), newest(rack, 3).objects] == ["0", (A,)]
    assert newest(rack, 3).timestamp != newest(rack, 0).timestamp


def test_one_timestamp_names_one_version_whatever_the_target() -> None:
    """S1: two repairs that differ in their target alone make candidates with different timestamps."""
    rack = four()
    send(rack, X, now(rack, [], A, B), [0], kind=METHOD, operation=op("set", b"M", A, B))
    send(rack, Z, now(rack, [0, 1, 2], A, B), range(4), kind=BARRIER)
    view = now(rack, [0, 1, 2], A, B)
    on_a = send(rack, Z, view, range(4), kind=COPY, target=A)
    on_b = send(rack, Z, view, range(4), kind=COPY, target=B)
    assert [copies(on_a), copies(on_b)] == [{A: "0"}, {B: "0"}]
