"""A server's driver tells its operator which objects the disk has damaged."""

import logging

import pytest

from fivefold.node.server import ServerNode
from fivefold.protocol.actions import Actions, Damaged, ObjectRecord, Store, Write
from fivefold.protocol.limits import DAMAGED_SHOWN_MAX
from fivefold.simulation.rack import Rack
from fivefold.storage import Loaded, MemoryStorage
from tests.protocol_rig import Toy


class Rotten(MemoryStorage):
    """A store all of whose objects are what ``found`` says."""

    found: ObjectRecord | Damaged | None = Damaged("A/x is rotten")

    def load(self, object_id: str, done: Loaded) -> None:
        done(self.found)


@pytest.fixture
def node() -> ServerNode:
    """A server that was not started, with a store."""
    machine = Rack(Toy(), n=6, t=1, b=1).servers[0]
    node = ServerNode(machine, None, None, storage_name="rotten")  # type: ignore[arg-type]
    node.storage = Rotten()
    return node


def test_damaged_objects_are_named_until_they_can_be_read(node: ServerNode, caplog: pytest.LogCaptureFixture) -> None:
    """The status names each one with the reason, the log says it once, and an object that is read again is fine."""
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            node._perform(Actions(load=("A/x",)))
    assert node.status().damaged == {"A/x": "A/x is rotten; what it promised is lost: replace this server"}
    assert len(caplog.records) == 1
    assert node.status().storage_failure is None
    node._damaged.clear()
    node.storage.found = Damaged("A/x is rotten", bytes(24))  # type: ignore[attr-defined]
    node._perform(Actions(load=("A/x",)))
    assert node.status().damaged == {"A/x": "A/x is rotten; it is fetched from the others"}
    node.storage.found = None  # type: ignore[attr-defined]
    node._perform(Actions(load=("A/x",)))
    assert node.status().damaged == {}


def test_a_limited_number_of_damaged_objects_is_named(node: ServerNode) -> None:
    """A disk that rots as a whole does not fill the memory with names."""
    node._perform(Actions(load=tuple(f"A/{number}" for number in range(DAMAGED_SHOWN_MAX + 5))))
    assert len(node.status().damaged) == DAMAGED_SHOWN_MAX


def test_an_object_that_was_fetched_again_is_named_no_more(node: ServerNode) -> None:
    """Nobody need ask for it before the status says so."""
    node._perform(Actions(load=("A/x",)))
    node.storage.stage = lambda sequence, writes: None  # type: ignore[method-assign]
    node._perform(Actions(store=(Store(1, (Write("A/x", b"", is_whole=True),)),)))
    assert node.status().damaged == {}
