"""An invariant of ours that does not hold takes its object out of use; nothing is signed that rests on it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fivefold.protocol.actions import Channel, ObjectRecord, Reply
from fivefold.protocol.editions import first_edition
from fivefold.protocol.messages import FAIL, SUCCESS
from fivefold.protocol.operations import ObjectId
from fivefold.protocol.quorums import QuorumSystem
from fivefold.protocol.records import Vote
from fivefold.protocol.server import Server
from fivefold.protocol.server.membership import Membership, _encode, _Own
from fivefold.protocol.server.outbox import Outbox
from fivefold.protocol.server.replica import Replica
from tests.protocol_rig import A, B, X, op
from tests.unit.protocol.test_faults import SERVER, Scene

pytestmark = pytest.mark.patches_internals

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
