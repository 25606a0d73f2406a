"""Clients that may see whole states are given versions, as other servers are; nobody else is."""

from fivefold.protocol.actions import Channel
from fivefold.protocol.history import INITIAL_TIMESTAMP
from fivefold.protocol.limits import SYNCS_PER_CLIENT_MAX
from fivefold.protocol.messages import decode_sync, sync_frame, sync_reply_frame
from fivefold.protocol.operations import ClientId, ObjectId, digest
from fivefold.protocol.records import LogicalTimestamp, SyncReply, SyncRequest
from fivefold.protocol.server import encode_version
from tests.protocol_rig import A, X, Y
from tests.unit.protocol.test_lists import filled

EIGHT = ObjectId("Reg/007")


def ask(rack, client: ClientId, name: ObjectId, timestamp: LogicalTimestamp, *, is_whole: bool = True) -> SyncReply:
    frame = sync_frame(SyncRequest(5, name, timestamp, is_whole))
    rack._perform(0, rack.servers[0].receive_from_client(0, client, Channel(77), frame))
    reply = decode_sync(rack._replies.pop((0, Channel(77))))
    assert isinstance(reply, SyncReply)
    return reply


def newest(rack, name: ObjectId) -> tuple[LogicalTimestamp, bytes]:
    versions = rack.disks[0].versions(name)
    return LogicalTimestamp(max(versions)), encode_version(versions[max(versions)])


def test_who_may_do_everything_gets_versions() -> None:
    """Whole, or the digest alone; one that is not held is an empty answer."""
    rack = filled([A])
    timestamp, data = newest(rack, A)
    assert ask(rack, X, A, timestamp) == SyncReply(5, digest(data), data)
    assert ask(rack, X, A, timestamp, is_whole=False) == SyncReply(5, digest(data), b"")
    other = LogicalTimestamp(bytes(len(INITIAL_TIMESTAMP) - 1) + b"\1")
    assert ask(rack, X, A, other) == SyncReply(5, b"", b"")


def test_a_right_on_methods_is_none_on_versions() -> None:
    """Y may call a method of the object, and does not see its whole state."""
    rack = filled([EIGHT])
    timestamp, _ = newest(rack, EIGHT)
    assert ask(rack, Y, EIGHT, timestamp) == SyncReply(5, b"", b"")
    assert rack.servers[0].counters["turned-away.client-sync"] == 1


def test_a_client_cannot_answer_a_sync() -> None:
    """Only servers' answers count; a client's is rejected and named."""
    rack = filled([A])
    actions = rack.servers[0].receive_from_client(0, X, Channel(77), sync_reply_frame(SyncReply(1, b"d" * 32, b"")))
    assert not actions.send
    assert rack.servers[0].counters["rejected.frame-malformed"] == 1


def test_a_client_has_a_bound_of_versions_that_wait() -> None:
    """Each waits for the disk; more than the bound are dropped, and other clients are still served."""
    rack = filled([A])
    rack.restart(0)
    machine = rack.servers[0]
    timestamp = newest(rack, A)[0]
    for number in range(SYNCS_PER_CLIENT_MAX + 3):
        machine.receive_from_client(0, X, Channel(77), sync_frame(SyncRequest(number, A, timestamp, is_whole=False)))
    assert machine.counters["rejected.syncs-flood"] == 3
