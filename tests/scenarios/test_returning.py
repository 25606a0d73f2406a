"""A server that comes back, honest or lying, and what that costs a client with many objects (ours; PROTOCOL §6)."""

from __future__ import annotations

from fivefold.protocol.client.outcomes import Answered
from fivefold.protocol.limits import RETURN_EVERY_NS
from fivefold.protocol.operations import ObjectId
from fivefold.simulation.rack import MemoryDisk
from tests.protocol_rig import Desk, WatchedRack
from tests.scenarios.test_client_rules import spoiled

VICTIM = 0


def names(rack: WatchedRack) -> list[ObjectId]:
    """Twenty objects that the victim is in the preferred quorum of."""
    every = (ObjectId(f"Reg/{number}") for number in range(100))
    return [name for name in every if VICTIM in rack.quorums.preference(name)[: rack.quorums.q]][:20]


def use(desk: Desk, *objects: ObjectId) -> list[int]:
    """Update each object once; how many requests that took for each."""
    taken = []
    for name in objects:
        desk.sent.clear()
        assert isinstance(desk.call("add", b"+", name), Answered)
        taken.append(len(desk.sent))
    return taken


def away_and_back(rack: WatchedRack, desk: Desk, *objects: ObjectId) -> None:
    """The victim is down while each object is used, and comes back with nothing."""
    use(desk, *objects)
    desk.session.disconnected(rack.now_ns, VICTIM)
    desk.down.add(VICTIM)
    assert set(use(desk, *objects)) == {5}
    rack.disks[VICTIM] = MemoryDisk()
    rack.restart(VICTIM)
    desk.down.clear()
    desk.session.connected(rack.now_ns, VICTIM)


def test_a_liar_that_comes_back_spoils_one_object_not_all() -> None:
    """It is tried with one; when that is used again its MACs are found out, and no other object rests on them."""
    rack = WatchedRack(liars=[VICTIM])
    desk = Desk(rack)
    objects = names(rack)
    away_and_back(rack, desk, *objects)
    desk.lies[VICTIM] = spoiled(rack, *range(6))
    assert set(use(desk, *objects)) == {5}
    assert use(desk, objects[0])[0] > 5
    assert desk.session.standing.is_excluded(VICTIM)
    assert set(use(desk, *objects)) == {5}


def test_an_honest_server_that_comes_back_is_asked_about_everything_again() -> None:
    """Once an operation that rests on what it signed has been accepted; and no operation takes a second round."""
    rack = WatchedRack()
    desk = Desk(rack)
    objects = names(rack)
    away_and_back(rack, desk, *objects)
    use(desk, *objects)
    assert sum(rack.history(VICTIM, name) != b"" for name in objects) == 1
    assert use(desk, objects[0]) == [5]
    assert not desk.session.standing.returning
    assert set(use(desk, *objects)) == {5}
    assert all(rack.history(VICTIM, name) for name in objects)


def test_who_uses_each_object_rarely_tries_a_server_again_and_again() -> None:
    """One more object each RETURN_EVERY_NS: an object that is never used again does not keep the server away."""
    rack = WatchedRack()
    desk = Desk(rack)
    objects = names(rack)
    away_and_back(rack, desk, *objects)
    for name in objects[:10]:
        use(desk, name)
        rack.now_ns += RETURN_EVERY_NS
    assert sum(rack.history(VICTIM, name) != b"" for name in objects) == 10
