"""Bad input gets a named, counted rejection and changes nothing (PROTOCOL §4, §8)."""

from __future__ import annotations

import msgspec
import pytest

from fivefold.protocol import limits
from fivefold.protocol.actions import Channel, Damaged, Reply
from fivefold.protocol.client.outcomes import Answered
from fivefold.protocol.history import empty_histories
from fivefold.protocol.messages import (
    BUSY,
    DECLINED,
    REPLY,
    SUCCESS,
    Request,
    SyncReply,
    SyncRequest,
    decode_vote,
    encode,
    request_frame,
    split,
    sync_frame,
    sync_reply_frame,
)
from fivefold.protocol.operations import CANCEL, CANCELLED, VALUE, Call, Operation
from fivefold.protocol.records import TIMESTAMP_BYTES
from fivefold.protocol.server import acceptance, machine, synchronise
from fivefold.protocol.steps import Kind
from fivefold.simulation.rack import Letter
from tests.protocol_rig import A, B, Desk, WatchedRack, X, Y, Z, candidate, now, op, send


def blank(*names: str) -> tuple:
    return tuple(empty_histories(name, 6) for name in names)


def request(operation: Operation | None = None, *names: str, target: str | None = None) -> Request:
    names = names or (A,)
    return Request(target or names[0], blank(*names), encode(operation) if operation else b"")


GOOD = encode(request(op("add", b"+")))


def refused(rack: WatchedRack, frame: bytes, reason: str) -> None:
    """The first server rejects the frame under this name, sends nothing back, and nothing changes."""
    assert rack.deliver(0, X, frame) is None
    counted = {name: count for name, count in rack.servers[0].counters.items() if name.startswith("rejected.")}
    assert counted == {f"rejected.{reason}": 1}
    assert rack.disks[0].histories == {}


def call(**changes: object) -> Operation:
    """An operation of one call that differs from a good one."""
    good = Call(b"i" * 16, 0, "add", b"+")
    return Operation((A,), (msgspec.structs.replace(good, **changes),))


def framed(asked: Request) -> bytes:
    """The frame of a request that shows no histories."""
    return request_frame(1, encode(asked), b"")


BAD_FRAMES = {
    "empty": (b"", "frame-malformed"),
    "of another kind": (b"\x02" + request_frame(1, GOOD, b"")[1:], "frame-malformed"),
    "without a length": (request_frame(1, GOOD, b"")[:12], "frame-malformed"),
    "cut short": (request_frame(1, GOOD, b"")[:-1], "frame-truncated"),
    "with a longer length": (b"\x01" + bytes(7) + b"\x01" + b"\xff" * 4 + GOOD, "frame-truncated"),
    "body cut short": (request_frame(1, GOOD[:-1], b""), "request-malformed"),
    "body of no MessagePack": (request_frame(1, b"\xc1" * 10, b""), "request-malformed"),
    "body with more behind it": (request_frame(1, GOOD + b"\xc0", b""), "request-malformed"),
    "body with a field too many": (request_frame(1, b"\x94" + GOOD[1:] + b"\xc0", b""), "request-not-canonical"),
    "name in a longer form": (
        request_frame(1, GOOD.replace(b"\xa5Reg/a", b"\xd9\x05Reg/a", 1), b""),
        "request-not-canonical",
    ),
    "name that is no text": (request_frame(1, GOOD.replace(b"Reg/a", b"Reg/\xff", 1), b""), "request-malformed"),
    "nested without end": (request_frame(1, b"\x91" * 100_000, b""), "request-malformed"),
    "proof of nothing": (request_frame(1, GOOD, bytes(16)), "proof-length"),
    "number zero": (request_frame(0, GOOD, b""), "replayed"),
    "no objects": (framed(Request(A, (), b"")), "request-objects"),
    "same object twice": (framed(request(op("add", b"", A, A), A, A)), "request-objects"),
    "objects out of order": (framed(request(None, B, A)), "request-objects"),
    "target not among them": (framed(request(None, A, target=B)), "request-objects"),
    "object id too long": (framed(request(None, "Reg/" + "x" * 253)), "object-id-too-long"),
    "histories for too few servers": (
        framed(Request(A, (empty_histories(A, 5),), b"")),
        "histories-malformed",
    ),
    "operation cut short": (framed(Request(A, blank(A), encode(call())[:-1])), "operation-malformed"),
    "operation in another form": (
        framed(Request(A, blank(A), encode(call()).replace(b"\xa3add", b"\xd9\x03add"))),
        "operation-not-canonical",
    ),
    "operation of other objects": (framed(request(op("add", b"", B), A)), "operation-objects"),
    "operation with another object's set": (framed(request(op("add", b"+"), A, B)), "operation-objects"),
    "operation with a set before its own": (framed(request(op("add", b"+", B), A, B, target=B)), "operation-objects"),
    "operation without one of its sets": (framed(request(op("add", b"+", A, B), A)), "operation-objects"),
    "operation with another target": (
        framed(request(op("add", b"", A, B), A, B, target=B)),
        "operation-target",
    ),
    "no calls": (framed(request(Operation((A,), ()))), "operation-calls"),
    "too many calls": (
        framed(request(Operation((A,), tuple(call(id=b"%016d" % n).calls[0] for n in range(limits.CALLS_MAX + 1))))),
        "operation-calls",
    ),
    "cancels what is no id": (framed(request(op(CANCEL, bytes(15)))), "call-malformed"),
    "one call id twice": (framed(request(Operation((A,), call().calls * 2))), "call-ids-repeated"),
    "call id too short": (framed(request(call(id=b"i" * 15))), "call-malformed"),
    "call id too long": (framed(request(call(id=b"i" * 17))), "call-malformed"),
    "time before time": (framed(request(call(since=-1))), "call-malformed"),
    "arguments too large": (
        framed(request(call(arguments=bytes(limits.ARGUMENTS_BYTES_MAX + 1)))),
        "call-too-large",
    ),
    "method name too long": (framed(request(call(method="m" * 129))), "call-too-large"),
}


@pytest.mark.parametrize("name", BAD_FRAMES)
def test_a_bad_frame_is_rejected_by_name(name: str) -> None:
    """Counted under its reason, not answered, and nothing changes."""
    frame, reason = BAD_FRAMES[name]
    refused(WatchedRack(), frame, reason)


@pytest.mark.parametrize(("count", "is_accepted"), [(15, True), (16, True), (17, False)])
def test_an_operation_has_16_objects_at_most(count: int, is_accepted: bool) -> None:
    """Fifteen and sixteen objects are executed, seventeen are rejected."""
    rack = WatchedRack()
    names = [f"Reg/{number:02}" for number in range(count)]
    frame = framed(request(op("add", b"+", *names), *names))
    if is_accepted:
        assert rack.deliver(0, X, frame) is not None
        assert len(rack.disks[0].histories) == count
    else:
        refused(rack, frame, "request-objects")


@pytest.mark.parametrize(("count", "is_accepted"), [(63, True), (64, True), (65, False)])
def test_a_repair_has_64_objects_at_most(count: int, is_accepted: bool) -> None:
    """Sixty-four objects are examined, sixty-five are rejected."""
    names = [f"Reg/{number:02}" for number in range(count)]
    frame = framed(request(None, *names))
    if is_accepted:
        assert WatchedRack().deliver(0, X, frame) is not None
    else:
        refused(WatchedRack(), frame, "request-objects")


def test_limits_are_met_exactly() -> None:
    """The longest names, the largest arguments and the most calls pass."""
    rack = WatchedRack()
    longest = "Reg/" + "x" * (limits.OBJECT_ID_BYTES_MAX - 4)
    calls = tuple(call(id=b"%016d" % number).calls[0] for number in range(limits.CALLS_MAX))
    for operation in (
        Operation((longest,), calls),
        Operation((A,), call(arguments=bytes(limits.ARGUMENTS_BYTES_MAX)).calls),
    ):
        letter = Letter(rack, X, now(rack, [], operation.objects[0]), operation=operation)
        assert letter.to([0])[0].status == SUCCESS


@pytest.mark.parametrize("again", [1, 2, 3])
def test_a_frame_number_is_worked_on_once(again: int) -> None:
    """On one connection numbers only grow: the same frame again, or an older one, is rejected as replayed."""
    rack = WatchedRack()
    machine = rack.servers[0]
    for number in (1, 3):
        rack._perform(0, machine.receive_from_client(0, X, Channel(7), request_frame(number, GOOD, b"")))
    assert machine.receive_from_client(0, X, Channel(7), request_frame(again, GOOD, b"")).send == ()
    assert machine.counters["rejected.replayed"] == 1
    assert machine.receive_from_client(0, X, Channel(8), request_frame(again, GOOD, b"")).send != ()


# --- calls that cannot be ---------------------------------------------------------------------------------------------


class Rules:
    """X may do anything, but nothing to ``Reg/z``; Y may only ``get`` things; Z may do nothing."""

    def allows(self, client, object_id, method):
        return (client == X and object_id != "Reg/z") or (client == Y and method == "get")

    def knows(self, client, object_id):
        return client in (X, Y)


@pytest.mark.parametrize(
    ("client", "operation", "reason"),
    [
        (Y, op("add"), "NotAllowed: your access rules do not cover 'add' of 'Reg/a'"),
        (Z, op("get"), "NotAllowed: your access rules do not cover 'get' of 'Reg/a'"),
        (X, op("add", b"", "Reg/a", "Reg/z"), "NotAllowed: your access rules do not cover 'add' of 'Reg/z'"),
        (Z, op(CANCEL, b"i" * 16), "NotAllowed: your access rules do not cover '' of 'Reg/a'"),
        (Z, None, "NotAllowed: your access rules do not cover 'Reg/a'"),
        (X, op("add", b"", "Nix/a"), "UnknownType: the servers know no object type 'Nix'; load it with --objects"),
        (
            X,
            op(CANCEL, b"i" * 16, "Nix/a"),
            "UnknownType: the servers know no object type 'Nix'; load it with --objects",
        ),
        (
            X,
            op("add", b"", "Nix/a", "Reg/a"),
            "UnknownType: the servers know no object type 'Nix'; load it with --objects",
        ),
        (
            X,
            op("nix", b"", "Reg/a", "Reg/b"),
            "UnknownMethod: the servers know no method 'nix' of Reg, Reg; do they run another version of it?",
        ),
        (X, op("nix"), "UnknownMethod: the servers know no method 'nix' of Reg; do they run another version of it?"),
        (
            X,
            Operation((A,), (op("add").calls[0], op("get").calls[0])),
            "InvalidArguments: one operation carries either queries or updates, not both",
        ),
    ],
)
def test_a_call_that_cannot_be_is_declined_with_the_reason(client, operation, reason: str) -> None:
    """DECLINED with one sentence for the caller, and nothing changes."""
    rack = WatchedRack(access=Rules())
    names = sorted(operation.objects) if operation else [A]
    vote = Letter(rack, client, now(rack, [], *names), operation=operation).to([0])[0]
    assert (vote.status, vote.answers[0][1:].decode(), vote.histories) == (DECLINED, reason, ())
    assert rack.disks[0].histories == {}


def test_a_cancel_needs_the_right_to_update() -> None:
    """A client that may only read writes nothing, not even to the ring; one that may update resolves its calls."""
    rack = WatchedRack(access=Rules())
    vote = Letter(rack, Y, now(rack, []), operation=op(CANCEL, b"i" * 16)).to([0])[0]
    assert (vote.status, rack.disks[0].histories) == (DECLINED, {})
    vote = Letter(rack, X, now(rack, []), operation=op(CANCEL, b"i" * 16)).to([0])[0]
    assert (vote.status, vote.answers) == (SUCCESS, (CANCELLED,))


def test_a_set_smuggled_into_an_operation_is_refused() -> None:
    """The sets are those of its objects: with another one nothing is accepted, stored or answered, on either object."""
    rack = WatchedRack(n=4, t=1, b=0)
    letter = Letter(rack, X, now(rack, [], A, B), operation=op("add", b"+"))
    assert letter.to(range(4)) == {}
    assert [rack.servers[s].counters["rejected.operation-objects"] for s in range(4)] == [1] * 4
    assert [rack.disks[s].histories for s in range(4)] == [{}] * 4
    assert rack.servers[0].pending_requests == 0


def test_a_repair_needs_rights_on_what_nothing_names() -> None:
    """A client may not freeze objects it has no rights on, unless a repairable candidate of its target names them."""

    class OnlyA:
        def allows(self, client, object_id, method):
            return client == X or object_id == A

        def knows(self, client, object_id):
            return client == X or object_id == A

    rack = WatchedRack(access=OnlyA(), n=4, t=1, b=0)
    letter = Letter(rack, Y, now(rack, [0, 1, 2], A, B))
    assert {vote.status for vote in letter.to(range(4)).values()} == {DECLINED}
    send(rack, X, now(rack, [], A, B), [0, 1], kind=Kind.METHOD, operation=op("add", b"M", A, B))
    send(rack, Y, now(rack, [0, 1, 2], A, B), range(4), kind=Kind.INLINE_METHOD)
    assert Letter(rack, Y, now(rack, [0, 1, 2], B)).to([0])[0].status == DECLINED


# --- overload ---------------------------------------------------------------------------------------------------------


def test_a_full_disk_refuses_updates_and_answers_queries() -> None:
    """While nothing can be made durable nothing is promised; what needs no promise goes on."""
    rack = WatchedRack()
    rack.servers[0].storage_failure = "no space left"
    vote = Letter(rack, X, now(rack, []), operation=op("add", b"+")).to([0])[0]
    assert (vote.status, vote.answers) == (BUSY, (b"xno space left",))
    assert Letter(rack, X, now(rack, []), operation=op("get")).to([0])[0].status == SUCCESS
    rack.servers[0].storage_failure = None
    assert Letter(rack, X, now(rack, []), operation=op("add", b"+")).to([0])[0].status == SUCCESS


def test_a_damaged_object_takes_part_in_nothing() -> None:
    """Requests for it are answered BUSY, with the reason; other objects, and later itself, are answered for."""
    rack = WatchedRack()
    record, reason = rack.disks[0].record, "Reg/a is not stored as it was written"
    rack.disks[0].record = lambda name: Damaged(reason) if name == A else record(name)  # type: ignore[assignment,method-assign,return-value]
    for operation in (op("add", b"+"), op("get"), None):
        vote = Letter(rack, X, now(rack, []), operation=operation).to([0])[0]
        assert (vote.status, vote.histories) == (BUSY, ())
        assert vote.answers == (b"xdamaged on this server: " + reason.encode(),)
    joint = Letter(rack, X, now(rack, [], A, B), operation=op("add", b"+", A, B)).to([0])[0]
    assert (joint.status, joint.histories) == (BUSY, ())
    assert Letter(rack, X, now(rack, [], B), operation=op("add", b"+", B)).to([0])[0].status == SUCCESS
    assert rack.servers[0].counters["turned-away.damaged"] == 4
    assert rack.servers[0].pending_requests == 0
    rack.disks[0].record = record  # type: ignore[method-assign]
    assert Letter(rack, X, now(rack, []), operation=op("add", b"+")).to([0])[0].status == SUCCESS


def test_a_damaged_object_is_no_source_for_a_sync() -> None:
    """Who asks for one of its versions hears that this server has none."""
    server = WatchedRack().servers[0]
    frame = sync_frame(SyncRequest(7, A, candidate(1).timestamp, True))
    assert server.receive_from_server(0, 1, Channel(3), frame).load == (A,)
    actions = server.loaded(0, A, Damaged("rot"))
    assert actions.send == (Reply(Channel(3), sync_reply_frame(SyncReply(7, b"", b""))),)


def test_a_full_disk_answers_at_once() -> None:
    """BUSY shows no history, so it does not wait for the writes that the disk does not take."""
    rack = WatchedRack()
    rack.slow.add(0)
    first = Letter(rack, X, now(rack, []), operation=op("add", b"+"))
    assert first.to([0]) == {}
    rack.servers[0].storage_failure = "no space left"
    held = {A: {0: rack.servers[0]._replicas.hot[A].history}}
    vote = Letter(rack, Y, held).to([0]).get(0)
    assert vote is not None
    assert vote.status == BUSY


def test_an_overloaded_server_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """With PENDING_REQUESTS_MAX requests waiting, one more is answered BUSY; when they are done it is not."""
    monkeypatch.setattr(machine, "PENDING_REQUESTS_MAX", 3)
    rack = WatchedRack()
    rack.slow.add(0)
    for name in ("Reg/1", "Reg/2", "Reg/3"):
        assert Letter(rack, X, now(rack, [], name), operation=op("add", b"+", name)).to([0]) == {}
    more = Letter(rack, X, now(rack, []), operation=op("get"))
    assert more.to([0])[0].answers == (b"xoverloaded",)
    rack.settle(0)
    assert more.to([0])[0].status == SUCCESS


def test_an_ordinary_request_is_turned_away_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """The short way of a request that needs no examination has the same limit."""
    rack = WatchedRack()
    send(rack, X, now(rack, []), range(5), kind=Kind.METHOD, operation=op("set", b"e"))
    monkeypatch.setattr(machine, "PENDING_REQUESTS_MAX", 0)
    votes = Letter(rack, X, now(rack, range(5)), operation=op("add", b"+")).to(range(5))
    assert {(vote.status, vote.answers) for vote in votes.values()} == {(BUSY, (b"xoverloaded",))}


def test_too_many_syncs_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """With SYNCS_MAX versions being fetched, a request that needs another one is answered BUSY."""
    monkeypatch.setattr(synchronise, "SYNCS_MAX", 1)
    rack = WatchedRack()
    for name in (A, B):
        send(rack, X, now(rack, [], name), range(5), kind=Kind.METHOD, operation=op("add", b"+", name))
    rack.silent = set(range(6))
    assert Letter(rack, Y, now(rack, range(5), A), operation=op("get")).to([5]) == {}
    vote = Letter(rack, Y, now(rack, range(5), B), operation=op("get", b"", B)).to([5])[5]
    assert (vote.status, rack.servers[5].counters["turned-away.syncs-full"]) == (BUSY, 1)


def test_readers_cannot_make_an_object_unusable_by_barriers() -> None:
    """A client that may only read sends 200 barriers, some over 64 objects with long ids; a history stays small, every
    reader takes it, and the object is updated as before.
    """
    rack = WatchedRack(n=4, t=1, b=0, access=Rules())
    rack._record = lambda index, store: None  # slow, and nothing unsafe is at stake
    send(rack, X, now(rack, []), range(3), kind=Kind.METHOD, operation=op("add", b"+"))
    for number in range(200):
        names = [f"Reg/{number:04d}{place:02d}".ljust(256, "x") for place in range(63)] if number % 50 == 0 else []
        view = {A: {0: rack.history(0, A)}, **{name: {} for name in names}}
        assert {vote.status for vote in Letter(rack, Y, view, target=A).to(range(4)).values()} == {SUCCESS}
    assert [len(rack.entries(s, A)) for s in range(4)] == [3, 3, 3, 2]
    assert Desk(rack, X).call("add", b"2", timeout_s=60) == Answered((VALUE + b"+",))


def test_a_copy_that_a_history_has_no_room_for_is_turned_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is answered BUSY with the reason, and nothing is accepted; a barrier has room."""
    monkeypatch.setattr(acceptance, "HISTORY_VERSIONS_BYTES_MAX", 400)
    rack = WatchedRack(n=4, t=1, b=0)
    everyone = range(4)
    send(rack, X, now(rack, [], A, B), [0, 1], kind=Kind.METHOD, operation=op("set", b"M", A, B))
    send(rack, Y, now(rack, [0], A, B), everyone, kind=Kind.BARRIER, target=A)
    turned = Letter(rack, X, now(rack, everyone, A, B), target=A).to([1])[1]
    assert (turned.status, turned.answers[0]) == (BUSY, b"xthe history is full of candidates that are not established")
    assert rack.servers[1].counters["turned-away.history-full"] == 1
    send(rack, Y, now(rack, [0], A, B), everyone, kind=Kind.BARRIER, target=A)


# --- between servers --------------------------------------------------------------------------------------------------

GOOD_SYNC = encode(SyncRequest(1, A, candidate(1, A).timestamp, True))


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (b"", "frame-malformed"),
        (b"\x09", "frame-malformed"),
        (b"\x03" + GOOD_SYNC[:-1], "sync-malformed"),
        (b"\x03" + GOOD_SYNC + b"\xc0", "sync-malformed"),
        (b"\x03" + encode(SyncRequest(1, A, bytes(88), True)), "sync-malformed"),
        (b"\x03" + encode(SyncRequest(1, "Reg/" + "x" * 253, bytes(TIMESTAMP_BYTES), True)), "sync-malformed"),
        (b"\x04", "sync-reply-malformed"),
        (b"\x04" + b"\x91" * 100_000, "sync-reply-malformed"),
    ],
)
def test_bad_frames_between_servers_are_rejected_by_name(frame: bytes, reason: str) -> None:
    """Counted, by the server that sent it, too, if it is of a kind that servers send; and not answered."""
    machine = WatchedRack().servers[0]
    assert machine.receive_from_server(0, 1, Channel(1), frame).send == ()
    is_known = frame[:1] != b"\x09"
    assert machine.counters == {f"rejected.{reason}": 1} | ({f"seen.1 {reason}": 1} if is_known else {})


def test_an_answer_nobody_asked_for_is_ignored() -> None:
    """A sync reply without its sync changes nothing."""
    rack = WatchedRack()
    frame = b"\x04" + encode(SyncReply(1, b"d" * 32, b"version"))
    assert rack.servers[0].receive_from_server(0, 1, Channel(1), frame).send == ()


def test_a_sync_of_what_a_server_does_not_hold_says_so() -> None:
    """Both digest and version are empty then."""
    rack = WatchedRack()
    frame = b"\x03" + GOOD_SYNC
    rack._perform(0, rack.servers[0].receive_from_server(0, 1, Channel(5), frame))
    assert rack._replies.pop((0, 5)) == b"\x04" + encode(SyncReply(1, b"", b""))


def test_a_reply_shows_what_was_asked_about() -> None:
    """The histories of a reply are those of the request's objects, in their order, with an authenticator for each."""
    rack = WatchedRack()
    send(rack, X, now(rack, [], A, B), range(5), kind=Kind.METHOD, operation=op("add", b"+", A, B))
    reply = rack.deliver(0, Y, framed(request(None, A, B)))
    assert reply is not None
    number, vote, tail = split(reply, REPLY)
    assert number == 1
    assert decode_vote(vote).histories == (rack.history(0, A), rack.history(0, B))
    assert len(tail) == 2 * 6 * 16
