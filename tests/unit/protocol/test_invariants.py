"""An invariant of ours that does not hold takes its object out of use; nothing is signed that rests on it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fivefold.protocol import classify
from fivefold.protocol.actions import Channel, ObjectRecord, Reply
from fivefold.protocol.client.rounds import Purpose, Round
from fivefold.protocol.client.verdict import _judge_results
from fivefold.protocol.editions import first_edition
from fivefold.protocol.history import INITIAL_TIMESTAMP, empty_histories
from fivefold.protocol.messages import FAIL, SUCCESS
from fivefold.protocol.operations import ObjectId
from fivefold.protocol.quorums import QuorumSystem
from fivefold.protocol.records import (
    BARRIER_AT,
    TIMESTAMP_BYTES,
    Candidate,
    LogicalTimestamp,
    Part,
    Request,
    Version,
    Vote,
)
from fivefold.protocol.server import Server, admission, execution
from fivefold.protocol.server import replica as replica_module
from fivefold.protocol.server.membership import Membership, _encode, _Own
from fivefold.protocol.server.outbox import Outbox
from fivefold.protocol.server.replica import Replica
from fivefold.protocol.steps import Kind, Plan, Step
from tests.protocol_rig import A, B, X, op
from tests.unit.protocol.test_faults import SERVER, Scene

EVERYONE = list(range(5))


def corrupt_pruned(machine: Server, replica: Replica) -> None:
    """More versions are counted as pruned than there are."""
    replica._pruned = 99


def corrupt_sequence(machine: Server, replica: Replica) -> None:
    """Written by a transaction that there has never been."""
    replica.sequence = 10**6


CORRUPTIONS = (corrupt_pruned, corrupt_sequence)


def call(scene: Scene, name: str, method: str, on: ObjectId, number: int) -> list[Vote]:
    """A client's call on one object, and what the server says to it."""
    scene.ask(name, X, EVERYONE, on, operation=op(method, b"7", on, call_id=bytes([number]) * 16))
    scene.load()
    scene.commit(f"committed {name}")
    return scene.replies.get(name, [])


@pytest.mark.parametrize("corrupt", CORRUPTIONS)
def test_an_object_whose_invariant_is_broken_is_set_aside_and_others_are_served(
    corrupt: Callable[[Server, Replica], None],
) -> None:
    """A is corrupt in memory: its update gets no signature, it is named, B is served; then A is read again."""
    scene = Scene()
    (first,) = call(scene, "first A", "get", A, 1)
    assert first.status == SUCCESS
    corrupt(scene.machine, scene.machine._replicas.hot[A])
    stored = scene.rack.history(SERVER, A)
    told = call(scene, "second A", "add", A, 2)
    assert all(vote.status != SUCCESS for vote in told)
    assert list(scene.machine.set_aside) == [A]
    assert "AssertionError" in scene.machine.set_aside[A]
    assert scene.faults == 1
    (other,) = call(scene, "other B", "add", B, 3)
    assert other.status == SUCCESS
    (again,) = call(scene, "third A", "get", A, 4)
    assert again.status in (SUCCESS, FAIL)
    assert again.histories[0] == stored == scene.rack.history(SERVER, A)
    assert not scene.machine.set_aside


def test_a_transaction_that_was_never_handed_over_lets_no_reply_go() -> None:
    """A store that reports too much makes nothing durable: the reply stays, and the error is told."""
    outbox = Outbox(has_store=True)
    outbox.promise(Reply(Channel(1), b"reply"), 1)
    outbox.reached = 1
    with pytest.raises(AssertionError, match="not handed over"):
        outbox.let_go()
    assert outbox.send == []


def test_the_cut_never_falls() -> None:
    """A promise below an earlier one is not written."""
    outbox = Outbox(has_store=True)
    membership = Membership(QuorumSystem(6, 1, 1), 0, first_edition(6), outbox)
    membership.start(ObjectRecord(_encode(_Own(3, 1)), ()))
    membership.cut = 2
    with pytest.raises(AssertionError, match="the cut never falls"):
        membership._promise()
    assert outbox.writes == []


# --- one violation for each assertion -------------------------------------------------------------------------------


Break = Callable[[Server, Replica, pytest.MonkeyPatch], object]
"""Makes an invariant wrong; what it returns, if anything, takes the place of the candidate's timestamp."""

LATE = LogicalTimestamp(b"\x01" * BARRIER_AT + b"\x00" + b"\x01" * (TIMESTAMP_BYTES - BARRIER_AT - 1))
"""A version's timestamp, later than what the object has."""

BARRIER = LogicalTimestamp(LATE[:BARRIER_AT] + b"\x01" + LATE[BARRIER_AT + 1 :])


def patched(where: object, name: str, instead: object) -> Break:
    return lambda machine, replica, patch: patch.setattr(where, name, instead)


def set_first_kept_and_lose_it(machine: Server, replica: Replica, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(replica_module, "first_kept", lambda name, candidate: INITIAL_TIMESTAMP)
    patch.setattr(Replica, "_has_kept", lambda self, first, kept: False)


def accept_nothing_yet(machine: Server, replica: Replica, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Replica, "accept", lambda *given: None)
    replica.latest = INITIAL_TIMESTAMP


def put_aside(machine: Server, replica: Replica, patch: pytest.MonkeyPatch) -> None:
    machine._acceptance.aside[A] = "it is"


ALONE: dict[str, Break] = {
    "a candidate is newer than all accepted before": lambda machine, replica, patch: INITIAL_TIMESTAMP,
    "every candidate but a barrier has a version": lambda machine, replica, patch: BARRIER,
    "a candidate rests on something older": patched(replica_module, "first_kept", lambda *given: b"\xff" * 99),
    "the base stays": set_first_kept_and_lose_it,
    "every reader takes what is signed here": patched(replica_module, "HISTORY_BYTES_MAX", 9),
    "what is pruned stays so": lambda machine, replica, patch: setattr(replica, "_pruned", 99),
    "transactions count up": lambda machine, replica, patch: setattr(replica, "sequence", 10**6),
    "only what was accepted is written": accept_nothing_yet,
    "nothing is accepted for an object that is set aside": put_aside,
}
"""By what is asserted: on the way of an ordinary request."""


def hot() -> tuple[Scene, Replica, Version]:
    """A server that has A in memory, and A's latest version."""
    scene = Scene()
    call(scene, "first A", "get", A, 1)
    replica = scene.machine._replicas.hot[A]
    return scene, replica, replica.versions[replica.latest]


@pytest.mark.parametrize("claim", ALONE)
def test_a_broken_invariant_of_an_ordinary_request_sets_its_object_aside(
    claim: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each assertion fires on its own violation; nothing is handed over to the store."""
    scene, replica, version = hot()
    instead = ALONE[claim](scene.machine, replica, monkeypatch)
    timestamp = instead if isinstance(instead, bytes) else LATE
    with pytest.raises(AssertionError, match=claim):
        scene.machine._acceptance.accept_alone(replica, LogicalTimestamp(timestamp), version, 0)
    assert list(scene.machine.set_aside) == [A]
    assert not scene.machine._outbox.writes
    assert A not in scene.machine._replicas.hot, "it is read again before it is used again"


def accept_and_hold_nothing(machine: Server, replica: Replica, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Replica, "accept", lambda *given: None)


STEPS: dict[str, Break] = {
    "nothing is accepted for an object that is set aside": put_aside,
    "a candidate held everywhere is answered again": lambda machine, replica, patch: replica.latest,
    "accepted for all or for none": accept_and_hold_nothing,
}
"""By what is asserted: on the way of any other request."""


@pytest.mark.parametrize("claim", STEPS)
def test_a_broken_invariant_of_a_step_sets_its_object_aside(claim: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same where a step may have several objects."""
    scene, replica, version = hot()
    held = STEPS[claim](scene.machine, replica, monkeypatch)
    part = Part(A, INITIAL_TIMESTAMP, None)
    entry = replica.entry_at(LogicalTimestamp(held)) if isinstance(held, bytes) else None
    candidate = Candidate(LATE, (part,)) if entry is None else entry.candidate
    step = Step(Kind.METHOD, candidate, (part,), (LATE,))
    with pytest.raises(AssertionError, match=claim):
        scene.machine._acceptance.accept(0, step, [version], [])
    assert list(scene.machine.set_aside) == [A]
    assert not scene.machine._outbox.writes


REQUESTS: dict[str, Break] = {
    "a new candidate is newer than all that it follows": patched(
        classify, "make_timestamp", lambda *given, **named: INITIAL_TIMESTAMP
    ),
    "a step rests on what enough servers hold": patched(admission, "_is_proven", lambda *given: False),
}


@pytest.mark.parametrize("claim", REQUESTS)
def test_a_broken_invariant_before_anything_is_changed_ends_the_request(
    claim: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is accepted or signed, the error is told, and the next request is served."""
    scene, _, _ = hot()
    stored = scene.rack.history(SERVER, A)
    with monkeypatch.context() as patch:
        patch.setattr(Server, "_take_natively", lambda self, *request: False)
        patch.setattr(Server, "_take_ordinary", lambda self, *request: False)
        REQUESTS[claim](scene.machine, scene.machine._replicas.hot[A], patch)
        told = call(scene, "second A", "add", A, 2)
    assert scene.faults == 1
    assert all(vote.status != SUCCESS for vote in told)
    assert scene.rack.history(SERVER, A) == stored
    (again,) = call(scene, "third A", "add", A, 3)
    assert again.status == SUCCESS


def test_a_version_for_each_object_or_none() -> None:
    """Before anything is touched: nothing has to be set aside."""
    scene, _, version = hot()
    part = Part(A, INITIAL_TIMESTAMP, None)
    with pytest.raises(AssertionError, match="a version for each object, or none"):
        scene.machine._acceptance.accept(
            0, Step(Kind.METHOD, Candidate(LATE, (part,)), (part,), (LATE,)), [version] * 2, []
        )
    assert not scene.machine.set_aside


def test_the_standing_never_falls() -> None:
    """As the cut."""
    membership = Membership(QuorumSystem(6, 1, 1), 0, first_edition(6), Outbox(has_store=True))
    membership.start(ObjectRecord(_encode(_Own(1, 3)), ()))
    membership._standing = 2
    with pytest.raises(AssertionError, match="nor does the standing"):
        membership._promise()


def test_a_reply_promises_no_transaction_that_is_not_staged() -> None:
    """One that will never be durable would wait for ever."""
    with pytest.raises(AssertionError, match="not staged"):
        Outbox(has_store=True).promise(Reply(Channel(1), b"reply"), 2)


def test_a_query_writes_nothing() -> None:
    """Whatever a method did: a query's versions are dropped, and a result that has some is ours."""
    with pytest.raises(AssertionError, match="a query writes nothing"):
        execution.status_of((b"v",), is_query=True, is_made=True)


def test_a_mac_is_made_for_every_server() -> None:
    """An authenticator that is cut short is not signed with."""
    scene, replica, _ = hot()
    replica.macs = b"short"
    with pytest.raises(AssertionError, match="a MAC for every server"):
        scene.machine._replies.authenticator(replica)


def test_a_set_up_step_is_newer_than_what_it_rests_on() -> None:
    """However a plan came about."""
    plan = Plan(Kind.METHOD, (Part(A, LogicalTimestamp(b"\xff" * TIMESTAMP_BYTES), None),), (INITIAL_TIMESTAMP,))
    with pytest.raises(AssertionError, match="and newer than what it rests on"):
        classify.set_up(plan, client=X, operation_digest=bytes(32), history_set_digest=bytes(32))


def test_a_client_takes_no_answer_for_done_that_fewer_than_q_gave() -> None:
    """Nor one that no honest server may have given."""
    quorums = QuorumSystem(6, 1, 1)
    round_ = Round(0, Purpose.OPERATION, Request(A, (empty_histories(A, 6),), b"o"), b"", q=5, servers=range(5))
    with pytest.raises(AssertionError, match="done by q servers"):
        _judge_results(round_, quorums, [0, 1], is_applied=True, is_unchanged=False)
