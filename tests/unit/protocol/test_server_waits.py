"""Requests that wait at a server: whose they are, and what becomes of those that nobody waits for any more."""

from fivefold.protocol.actions import Channel, Reply
from fivefold.protocol.history import make_histories
from fivefold.protocol.messages import encode, request_frame
from fivefold.protocol.operations import ObjectId
from fivefold.protocol.quorums import QuorumSystem
from fivefold.protocol.records import Request
from fivefold.protocol.server.machine import Server
from fivefold.simulation.rack import Everyone, rack_keys
from tests.protocol_rig import A, B, Toy, X, Y, op

ONE, TWO = Channel(1), Channel(2)


def server() -> Server:
    return Server(QuorumSystem(6, 1, 1), rack_keys(0, 6), Toy(), Everyone())


def query(number: int, name: ObjectId = A) -> bytes:
    """A query of an object that nobody has written."""
    request = Request(name, (make_histories(name, [b""] * 6),), encode(op("get", b"", name)))
    return request_frame(number, encode(request), b"")


def test_a_server_says_whose_requests_it_has_resumed():
    """Once for each request that a load let go on, and for none that never waited."""
    machine = server()
    machine.receive_from_client(0, X, ONE, query(1), query(2))
    machine.receive_from_client(0, Y, TWO, query(1))
    assert machine.take_resumed() == []
    machine.loaded(0, A, None)
    assert machine.take_resumed() == [X, X, Y]
    assert machine.take_resumed() == []
    machine.receive_from_client(0, X, ONE, query(3))
    assert machine.take_resumed() == []


def test_nothing_is_done_for_a_connection_that_has_ended():
    """What it waited for comes, and it is dropped: its time would be nobody's, and its answer would go nowhere."""
    machine = server()
    machine.receive_from_client(0, X, ONE, query(1), query(2, B))
    machine.receive_from_client(0, Y, TWO, query(1))
    machine.closed(ONE)
    actions = machine.loaded(0, A, None)
    assert [message.channel for message in actions.send if isinstance(message, Reply)] == [TWO]
    assert machine.loaded(0, B, None).send == ()
    assert machine.take_resumed() == [Y]
    assert machine.pending_requests == 0
