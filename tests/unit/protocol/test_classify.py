"""classify and set_up by hand: every row of the table of PROTOCOL §3, at n-1, n and n+1 of its thresholds."""

from __future__ import annotations

import pytest

from fivefold.protocol.classify import (
    View,
    carried_with,
    classify,
    is_settled,
    next_to_repair,
    plan_operation,
    plan_repair,
    set_up,
    views_of,
)
from fivefold.protocol.history import (
    INITIAL_TIMESTAMP,
    Candidate,
    Entry,
    Part,
    encode_history,
    initial_entry,
    make_histories,
    short,
    time_of,
)
from fivefold.protocol.quorums import QuorumSystem
from fivefold.protocol.records import CLIENT_AT, HISTORIES_AT, OPERATION_AT
from fivefold.protocol.steps import Kind, Missing, Plan
from tests.protocol_rig import A, B, C, X, candidate

SIX = QuorumSystem(6, 1, 1)
ZERO = initial_entry(A).candidate
E = candidate(1, A)
F = candidate(2, (A, E.timestamp))
BARRIER = candidate(3, (A, E.timestamp), is_barrier=True)
M = candidate(2, A, B)


def shown(*rows: tuple[int, tuple], name: str = A, n: int = 6) -> object:
    """A history set: so many servers show these candidates (a pair marks a flagged one); the rest show nothing."""
    histories = []
    for count, candidates in rows:
        entries = tuple(Entry(*each) if isinstance(each, tuple) else Entry(each, False) for each in candidates)
        histories += [encode_history(entries)] * count
    return make_histories(name, histories + [b""] * (n - len(histories)))


def kind(*rows: tuple[int, tuple]) -> Kind | None:
    return classify(SIX, View(SIX, shown(*rows)))


@pytest.mark.parametrize(
    ("count", "expected"),
    [(0, Kind.METHOD), (1, Kind.BARRIER), (2, Kind.BARRIER), (3, Kind.INLINE_METHOD), (4, Kind.INLINE_METHOD),
     (5, Kind.METHOD), (6, Kind.METHOD)],
)  # fmt: skip
def test_a_version_is_incomplete_repairable_or_complete(count: int, expected: Kind) -> None:
    """q=5, r=3: from order 3 it is finished inline, from 5 it can be built upon; below, a barrier is needed."""
    assert kind((count, (ZERO, E)), (6 - count, (ZERO,))) is expected


@pytest.mark.parametrize(
    ("count", "expected"),
    [(1, Kind.BARRIER), (2, Kind.BARRIER), (3, Kind.INLINE_BARRIER), (4, Kind.INLINE_BARRIER), (5, Kind.COPY),
     (6, Kind.COPY)],
)  # fmt: skip
def test_a_barrier_is_incomplete_repairable_or_complete(count: int, expected: Kind) -> None:
    """From order 3 it is finished inline, from 5 a copy follows."""
    assert kind((count, (ZERO, E, BARRIER)), (6 - count, (ZERO, E))) is expected


def test_one_newer_candidate_calls_for_a_barrier() -> None:
    """E is complete, and one server has accepted f: nobody may go on with e before a barrier."""
    assert kind((5, (ZERO, E)), (1, (E, F))) is Kind.BARRIER


def test_nothing_repairable_means_refusal() -> None:
    """Six servers with six different histories: no candidate has order 3."""
    rows = [(1, (candidate(1, A, salt=b"%d" % number),)) for number in range(6)]
    view = View(SIX, shown(*rows))
    assert view.repairable == []
    assert classify(SIX, view) is None
    assert plan_repair(SIX, A, {A: view}) is None
    assert plan_operation(SIX, {A: view}) is None


def step(target_rows: list, operation: bool = False):
    views = views_of(SIX, [shown(*target_rows)])
    plan = plan_operation(SIX, views) if operation else plan_repair(SIX, A, views)
    assert isinstance(plan, Plan)
    return set_up(plan, client=X, operation_digest=b"o" * 32, history_set_digest=b"h" * 32)


def row(found) -> tuple:
    """Kind, LT, LT_co, bound: a row of the table."""
    part = found.candidate.part(A)
    return found.kind, short(found.candidate.timestamp), short(part.conditioned_on), short(found.bounds[0])


def test_method_row() -> None:
    """METHOD: (latest + 1, false), on the object candidate, whose time bounds currency."""
    found = step([(5, (ZERO, E))], operation=True)
    assert row(found) == (Kind.METHOD, "2", "1", "1")
    assert found.candidate.timestamp[CLIENT_AT:OPERATION_AT] == X
    assert found.candidate.timestamp[OPERATION_AT:HISTORIES_AT] == b"o" * 32
    assert found.candidate.timestamp[HISTORIES_AT:] == b"h" * 32


def test_barrier_row() -> None:
    """BARRIER: (latest + 1, true), on the object candidate, bounded by itself; it names no operation."""
    found = step([(4, (ZERO, E)), (1, (E, F))])
    assert row(found) == (Kind.BARRIER, "3b", "1", "3b")
    assert found.candidate.timestamp[OPERATION_AT:HISTORIES_AT] == bytes(32)


def test_copy_row() -> None:
    """COPY: (latest + 1, false), on the object candidate, bounded by the barrier; it names no operation."""
    found = step([(5, (ZERO, E, BARRIER))])
    assert row(found) == (Kind.COPY, "4", "1", "3b")
    assert found.candidate.timestamp[OPERATION_AT:HISTORIES_AT] == bytes(32)


def test_inline_method_row() -> None:
    """INLINE_METHOD: the very candidate, bounded by itself."""
    found = step([(3, (ZERO, E)), (2, (ZERO,))])
    assert row(found) == (Kind.INLINE_METHOD, "1", "0", "1")
    assert found.candidate == E


def test_inline_barrier_row() -> None:
    """INLINE_BARRIER: the very barrier, bounded by itself."""
    found = step([(3, (ZERO, E, BARRIER)), (2, (ZERO, E))])
    assert row(found) == (Kind.INLINE_BARRIER, "3b", "1", "3b")
    assert found.candidate == BARRIER


def test_nothing_is_repaired_where_nothing_is_broken() -> None:
    """METHOD without an operation: no plan."""
    assert plan_repair(SIX, A, views_of(SIX, [shown((5, (ZERO, E)))])) is None


@pytest.mark.parametrize(
    "rows", [[(3, (ZERO, E)), (2, (ZERO,))], [(4, (ZERO, E)), (1, (E, F))], [(5, (ZERO, E, BARRIER))]]
)
def test_an_operation_is_planned_on_complete_versions_only(rows: list) -> None:
    """Where a repair is called for, an operation does nothing."""
    assert plan_operation(SIX, views_of(SIX, [shown(*rows)])) is None


@pytest.mark.parametrize(("order", "base"), [(3, "0"), (4, "0"), (5, "1")])
def test_a_copys_base_is_what_is_known_to_be_established(order: int, base: str) -> None:
    """S1: LT_co itself if the request shows it complete, otherwise what that rests on."""
    rows = [(order, (ZERO, E, BARRIER)), (5 - order, (ZERO, BARRIER))]
    assert short(step(rows).candidate.part(A).base_or_conditioned_on) == base


@pytest.mark.parametrize(
    ("times", "barrier"),
    [
        ([1, 1, 1, 1, 2**40 + 1], 2**40 + 2),
        ([1, 1, 1, 1, 2**40 + 2], 2**40 + 2),
        ([1, 1, 1, 2**40, 2**62], 2**40 + 2),
        ([1, 1, 1, 2**62, 2**62], 2**40 + 2),
        ([1, 5, 5, 5, 2**62], 2**40 + 2),
        ([1, 1, 2**60, 2**61, 2**62], 2**60 + 1),
        ([1, 2**60, 2**60, 2**61, 2**62], 2**60 + 1),
        ([1, 1, 1, 1, 1, 9, 2**50], 2**40 + 2),
    ],
)
def test_a_barrier_leaps_so_far_and_no_further(times: list[int], barrier: int) -> None:
    """It exceeds what leads q histories by at most 2^40 and what r reach; towards later times it goes just as far."""
    system = SIX if len(times) < 7 else QuorumSystem(7, 1, 1, q=6)
    rows = [
        (1, (E, candidate(time, A, salt=b"%d" % number)) if time > 1 else (E,)) for number, time in enumerate(times)
    ]
    views = views_of(system, [shown(*rows, n=system.n)])
    plan = plan_repair(system, A, views)
    assert isinstance(plan, Plan)
    found = set_up(plan, client=X, operation_digest=b"", history_set_digest=b"h" * 32)
    assert (found.kind, time_of(found.candidate.timestamp)) == (Kind.BARRIER, barrier)


def test_a_barrier_is_never_older_than_what_it_is_conditioned_on() -> None:
    """Three servers lead with a repairable version, two lag far behind: the barrier exceeds the version."""
    far = candidate(2**50, A)
    rival = candidate(2**50, A, salt=b"\xff")
    found = step([(3, (ZERO, far)), (1, (ZERO, rival)), (1, (ZERO,))])
    assert (found.kind, time_of(found.candidate.timestamp)) == (Kind.BARRIER, 2**50 + 1)
    assert found.candidate.part(A).conditioned_on == far.timestamp


# --- several objects --------------------------------------------------------------------------------------------------

ZERO_B = initial_entry(B).candidate


def pair(a_rows: list, b_rows: list) -> dict:
    return views_of(SIX, [shown(*a_rows), shown(*b_rows, name=B)])


def test_an_operation_needs_every_object_complete() -> None:
    """One LT for all: 1 + the greatest of the latest times; LT_co of each object its own."""
    views = pair([(5, (ZERO, E))], [(5, (ZERO_B,))])
    plan = plan_operation(SIX, views)
    found = set_up(plan, client=X, operation_digest=b"o" * 32, history_set_digest=b"h" * 32)
    assert time_of(found.candidate.timestamp) == 2
    assert [short(part.conditioned_on) for part in found.candidate.parts] == ["1", "0"]
    assert [short(bound) for bound in found.bounds] == ["1", "0"]
    assert plan_operation(SIX, pair([(5, (ZERO, E))], [(3, (candidate(1, B),)), (2, (ZERO_B,))])) is None


def apart(lead: int, rows: list | None = None) -> tuple:
    """A at time 1 and B so much later, both complete."""
    far = candidate(1 + lead, B)
    return shown(*(rows or [(5, (ZERO, E))])), shown((5, (ZERO_B, far)), name=B)


@pytest.mark.parametrize(("lead", "behind"), [(2**40, None), (2**40 + 1, A)])
def test_an_object_more_than_a_lead_behind_another_is_repaired_first(lead: int, behind: str | None) -> None:
    """An update of both is planned only when it has caught up; a query of both carries no time anywhere."""
    sets = apart(lead)
    assert next_to_repair(SIX, sets) == behind
    assert (plan_operation(SIX, views_of(SIX, sets)) is None) == (behind is not None)
    assert carried_with(SIX, A, sets) == ((B,) if behind else ())
    assert carried_with(SIX, B, sets) == ()
    assert next_to_repair(SIX, sets, is_query=True) is None
    assert plan_operation(SIX, views_of(SIX, sets), is_query=True) is not None


@pytest.mark.parametrize("rows", [None, [(5, (ZERO, E, candidate(2, A, is_barrier=True)))]])
def test_the_object_behind_gets_a_barrier_of_its_own_from_both_sets(rows: list | None) -> None:
    """Whether it is complete or has a complete barrier: by itself that calls for nothing, or for a copy."""
    sets = apart(2**50, rows)
    plan = plan_repair(SIX, A, views_of(SIX, sets))
    assert isinstance(plan, Plan)
    assert (plan.kind, [part.object_id for part in plan.parts]) == (Kind.BARRIER, [A])
    assert [time_of(latest) for latest in plan.latests] == [(2 if rows else 1) + 2**40]
    alone = plan_repair(SIX, A, views_of(SIX, sets[:1]))
    assert alone is None if rows is None else isinstance(alone, Plan) and alone.kind is Kind.COPY


def test_a_joint_barrier_is_one_of_the_last_object_alone_where_it_would_lead_by_more() -> None:
    """Whichever of the objects is the target."""
    sets = apart(2**50, [(1, (ZERO, E)), (4, (ZERO,))])
    plan = plan_repair(SIX, A, views_of(SIX, sets))
    assert isinstance(plan, Plan)
    assert (plan.kind, [part.object_id for part in plan.parts]) == (Kind.BARRIER, [A])
    assert [time_of(latest) for latest in plan.latests] == [2**40]


def test_an_unsettled_candidate_is_repaired_jointly_or_not_at_all() -> None:
    """S3: M repairable and newest on both objects: both at once; if B moved on: a barrier over both."""
    joint = plan_repair(SIX, A, pair([(3, (ZERO, M))], [(3, (ZERO_B, M))]))
    assert isinstance(joint, Plan)
    assert (joint.kind, [part.object_id for part in joint.parts], joint.settles) == (Kind.INLINE_METHOD, [A, B], False)
    moved = plan_repair(SIX, A, pair([(3, (ZERO, M))], [(3, (M, candidate(5, B)))]))
    assert isinstance(moved, Plan)
    assert (moved.kind, [part.object_id for part in moved.parts]) == (Kind.BARRIER, [A, B])


@pytest.mark.parametrize(
    ("a_rows", "b_rows", "expected"),
    [
        ([(3, (ZERO, M))], [(3, (ZERO_B, M))], False),
        ([(2, ((M, True),)), (1, (M,))], [], True),
        ([(1, ((M, True),)), (2, (M,))], [], False),
        ([(3, (ZERO, M))], [(5, (ZERO_B, M))], True),
        ([(5, (ZERO, M))], [], True),
        ([(3, (ZERO, M))], [(3, (candidate(4, (B, M.timestamp)),))], True),
        ([(3, (ZERO, M))], [(2, (candidate(4, (B, M.timestamp)),))], False),
    ],
    ids=["nothing", "b+1 flags", "b flags", "complete at B", "complete at A", "base at B", "base at too few"],
)  # fmt: skip
def test_a_candidate_is_settled_by_evidence_alone(a_rows: list, b_rows: list, expected: bool) -> None:
    """S2: b + 1 flags, order q at any of its objects, or something repairable elsewhere that rests on it."""
    assert is_settled(SIX, M, A, pair(a_rows, b_rows or [(6, (ZERO_B,))])) is expected


def test_single_object_candidates_are_always_settled() -> None:
    """The single-object rules are the case of one object."""
    assert is_settled(SIX, E, A, views_of(SIX, [shown((1, (E,)))]))


def test_missing_objects_are_named() -> None:
    """A repair that would judge M without B is refused, and says what is missing."""
    assert plan_repair(SIX, A, views_of(SIX, [shown((3, (ZERO, M)))])) == Missing((A, B))


def test_a_joint_barrier_is_issued_anew() -> None:
    """S4: a repairable barrier over two objects is not finished inline."""
    both = candidate(3, A, B, is_barrier=True)
    plan = plan_repair(SIX, A, pair([(3, (ZERO, both)), (2, (ZERO,))], [(3, (ZERO_B, both)), (2, (ZERO_B,))]))
    assert isinstance(plan, Plan)
    assert plan.kind is Kind.BARRIER


@pytest.mark.parametrize(("order", "expected"), [(3, Kind.BARRIER), (4, Kind.BARRIER), (5, Kind.COPY), (6, Kind.COPY)])
def test_a_joint_copy_needs_the_barrier_complete_everywhere(order: int, expected: Kind) -> None:
    """S5: A's barrier is complete on A; on B, by which M is judged, from order 5. Below, a new one is due."""
    both = candidate(4, A, B, is_barrier=True)
    on_b = [(3, (ZERO_B, M, both)), (order - 3, (ZERO_B, both)), (6 - order, (ZERO_B,))]
    plan = plan_repair(SIX, A, pair([(3, (ZERO, M, both)), (2, (ZERO, both))], on_b))
    assert isinstance(plan, Plan)
    assert (plan.kind, [part.object_id for part in plan.parts]) == (expected, [A, B])


def test_a_settled_copy_is_a_base() -> None:
    """A copy of a settled M is alone, and its base is M whatever M's order is."""
    barrier = candidate(4, A, is_barrier=True)
    plan = plan_repair(SIX, A, views_of(SIX, [shown((3, (ZERO, (M, True), barrier)), (2, (ZERO, barrier)))]))
    assert isinstance(plan, Plan)
    assert plan.parts == (Part(A, M.timestamp, None),)


def test_an_object_candidate_may_be_older_than_the_barrier_before_it() -> None:
    """Views sort by timestamp, not by position: the newest repairable version counts."""
    late = Candidate(candidate(2, A, salt=b"late").timestamp, (Part(A, INITIAL_TIMESTAMP, None),))
    view = View(SIX, shown((3, (ZERO, E, late)), (3, (ZERO, E))))
    assert view.repairable[:2] == [late, E]


def test_what_is_under_repair_stays_so_and_what_is_copied_alone_comes_last() -> None:
    """The first set is that of the object under repair; of the others one whose repair needs more comes first."""
    whole = shown((5, (initial_entry(C).candidate,)), name=C)
    alone = shown((5, (ZERO, E, BARRIER)))
    harder = shown((3, (candidate(1, B),)), (2, (ZERO_B,)), name=B)
    assert next_to_repair(SIX, [whole]) is None
    assert next_to_repair(SIX, [alone, harder]) == A
    assert next_to_repair(SIX, [harder, alone]) == B
    assert next_to_repair(SIX, [whole, alone, harder]) == B
    both = candidate(4, A, B, is_barrier=True)
    judged_by_a = shown((3, (ZERO_B, M, both)), (2, (ZERO_B, both)), name=B)
    assert next_to_repair(SIX, [whole, alone, judged_by_a]) == B
    assert next_to_repair(SIX, [whole, alone]) == A
