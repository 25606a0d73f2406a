"""Requests that wait at a server: whose they are, and what becomes of those that nobody waits for any more."""

from fivefold.protocol.actions import OWN_LINK, Actions, Channel, Reply
from fivefold.protocol.history import make_histories
from fivefold.protocol.limits import SYNCS_MAX, WAITING_BYTES_PER_CLIENT_MAX, WAITING_REQUESTS_PER_CLIENT_MAX
from fivefold.protocol.messages import BUSY, REPLY, decode_sync, decode_vote, encode, request_frame, split, sync_frame
from fivefold.protocol.operations import ObjectId
from fivefold.protocol.quorums import QuorumSystem
from fivefold.protocol.records import Request, SyncReply, SyncRequest
from fivefold.protocol.server.machine import Server
from fivefold.simulation.rack import Everyone, rack_keys
from tests.protocol_rig import A, B, Toy, X, Y, candidate, op

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


# --- shares --------------------------------------------------------------------------------------------------------
def large_query(number: int, name: ObjectId, size: int) -> bytes:
    request = Request(name, (make_histories(name, [b""] * 6),), encode(op("get", bytes(size), name)))
    return request_frame(number, encode(request), b"")


def statuses(actions: Actions) -> list[int]:
    return [decode_vote(split(message.frame, REPLY)[1]).status for message in actions.send]


def test_a_client_whose_requests_wait_leaves_room_for_others():
    """More than its share is answered BUSY at once, counted by name; another client's request waits like any other."""
    machine = server()
    frames = [query(number, ObjectId(f"Reg/{number}")) for number in range(1, WAITING_REQUESTS_PER_CLIENT_MAX + 3)]
    assert statuses(machine.receive_from_client(0, X, ONE, *frames)) == [BUSY, BUSY]
    assert machine.counters["turned-away.waiting-full"] == 2
    assert machine.receive_from_client(0, Y, TWO, query(1)).send == ()
    machine.loaded(0, ObjectId("Reg/1"), None)
    assert machine.receive_from_client(0, X, ONE, query(9_000, B)).send == ()


def test_what_a_client_lets_wait_is_bounded_in_bytes():
    """A few large requests are as much as many small ones; what another lets wait does not count."""
    machine = server()
    size = WAITING_BYTES_PER_CLIENT_MAX // 40
    frames = [large_query(number, ObjectId(f"Reg/{number}"), size) for number in range(1, 51)]
    assert len(machine.receive_from_client(0, X, ONE, *frames).send) == 11
    assert machine.receive_from_client(0, Y, TWO, *frames[:30]).send == ()
    for number in range(1, 51):
        machine.loaded(0, ObjectId(f"Reg/{number}"), None)
    assert machine._shares.size == 0
    assert machine.pending_requests == 0


def sync_request(number: int, name: str) -> bytes:
    return sync_frame(SyncRequest(number, ObjectId(name), candidate(1, A).timestamp, True))


def test_a_server_that_floods_object_sync_turns_no_client_away():
    """Its questions wait apart from clients' requests, SYNCS_MAX at a time; the others are dropped and counted."""
    machine = server()
    for number in range(SYNCS_MAX + 5):
        machine.receive_from_server(0, 3, ONE, sync_request(number + 1, f"Reg/{number}"))
    assert machine.counters["rejected.syncs-flood"] == 5
    assert machine.pending_requests == 0
    assert len(machine.receive_from_server(0, 4, TWO, sync_request(1, "Reg/other")).load) == 1
    for number in range(SYNCS_MAX):
        machine.loaded(0, ObjectId(f"Reg/{number}"), None)
    assert len(machine.receive_from_server(0, 3, ONE, sync_request(9_999, "Reg/again")).load) == 1


def test_questions_about_objects_that_nobody_wrote_do_not_fill_the_cache():
    """They are answered with nothing; and of a type that the server does not know, without a look at the disk."""
    machine = server()
    machine.receive_from_server(0, 3, ONE, sync_request(1, A))
    reply = machine.loaded(0, A, None).send[0]
    assert decode_sync(reply.frame) == SyncReply(1, b"", b"")
    assert machine.cached_objects == 0
    actions = machine.receive_from_server(0, 3, ONE, sync_request(2, "Unknown/x"))
    assert actions.load == ()
    assert decode_sync(actions.send[0].frame) == SyncReply(2, b"", b"")


def test_a_client_that_waits_for_what_another_server_asked_for_gets_it():
    """The load is one; a request that waits for it takes the object up."""
    machine = server()
    machine.receive_from_server(0, 3, ONE, sync_request(1, A))
    assert machine.receive_from_client(0, X, TWO, query(1)).load == ()
    assert len(machine.loaded(0, A, None).send) == 2
    assert machine.cached_objects == 1


def test_over_its_own_link_a_server_takes_answers_only():
    """A question there has no connection for its answer: it is refused by name and nothing is loaded for it."""
    machine = server()
    assert machine.receive_from_server(0, 3, OWN_LINK, sync_request(1, A)).load == ()
    assert machine.counters == {"rejected.sync-over-own-link": 1, "seen.3 sync-over-own-link": 1}


def test_replies_that_wait_for_the_disk_are_bounded_in_bytes(monkeypatch):
    """When they take too much, further requests are turned away until the disk has caught up."""
    monkeypatch.setattr("fivefold.protocol.server.machine.PENDING_BYTES_MAX", 2_000)
    machine = server()
    machine.receive_from_client(0, X, ONE, query(1))
    machine.loaded(0, A, None)
    request = Request(A, (make_histories(A, [b""] * 6),), encode(op("set", bytes(1_500), A)))
    assert machine.receive_from_client(0, X, ONE, request_frame(2, encode(request), b"")).send == ()
    assert machine.receive_from_client(0, X, ONE, query(3)).send == ()
    assert BUSY in statuses(machine.receive_from_client(0, Y, TWO, query(1), query(2)))
    machine.durable(0, 1)
    assert BUSY not in statuses(machine.receive_from_client(0, Y, TWO, query(3)))
    assert machine._outbox.waiting_bytes == 0


def test_a_request_does_not_load_its_objects_for_ever(monkeypatch):
    """When others drive its objects out of the cache again and again, it is turned away in the end."""
    monkeypatch.setattr("fivefold.protocol.server.shares.LOADS_PER_REQUEST_MAX", 1)
    machine = server()
    request = Request(
        A, tuple(make_histories(name, [b""] * 6) for name in (A, B)), encode(op("get", b"", A, B, call_id=bytes(16)))
    )
    assert machine.receive_from_client(0, X, ONE, request_frame(1, encode(request), b"")).load == (A,)
    assert statuses(machine.loaded(0, A, None)) == [BUSY]
    assert machine.pending_requests == 0
