"""The messages, one frozen struct each, and their frames (codec and kinds in one place).

::

    REQUEST       u8 kind | u64 number | u32 body length | body | proof
    REPLY         u8 kind | u64 number | u32 vote length | vote | authenticators
    SYNC          u8 kind | SyncRequest
    SYNC_REPLY    u8 kind | SyncReply
    LIST          u8 kind | ListRequest
    LIST_REPLY    u8 kind | ListReply
    WITNESS       u8 kind | u64 number
    WITNESS_REPLY u8 kind | WitnessReply
    HELD          u8 kind | HeldRequest
    HELD_REPLY    u8 kind | HeldReply
    ANNOUNCE      u8 kind | u64 number | u32 body length | operation
    WITHDRAW      u8 kind | u64 number | u32 body length | operation

Behind the authenticators of a reply about an object that others have announced calls for stands a Help (announcements).

A proof has 16 bytes for each history that is not initial, an authenticator 16·n. Bodies are canonical MessagePack:
what the encoder would not have written is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from operator import attrgetter
from struct import Struct
from typing import Final, TypeVar

import msgspec

from fivefold.errors import PeerViolation
from fivefold.protocol import limits
from fivefold.protocol.history import check_histories
from fivefold.protocol.limits import ARGUMENTS_BYTES_MAX, METHOD_BYTES_MAX, OBJECT_ID_BYTES_MAX
from fivefold.protocol.operations import (
    CALL_ID_BYTES,
    CANCEL,
    DIGEST_BYTES,
    Call,
    Carried,
    Carrying,
    Operation,
    carried_by,
    key_of,
)
from fivefold.protocol.records import (
    TIMESTAMP_BYTES,
    HeldReply,
    HeldRequest,
    Listed,
    ListReply,
    ListRequest,
    Request,
    SyncReply,
    SyncRequest,
    Vote,
    WitnessReply,
)
from fivefold.protocol.times import NUMBERS, Time, is_time, pack_time

REQUEST: Final = 1
REPLY: Final = 2
SYNC: Final = 3
SYNC_REPLY: Final = 4
LIST: Final = 11
LIST_REPLY: Final = 12
WITNESS: Final = 16
WITNESS_REPLY: Final = 17
HELD: Final = 21
HELD_REPLY: Final = 22
ANNOUNCE: Final = 23
WITHDRAW: Final = 24

_object_id: Final = attrgetter("object_id")
_head: Final = Struct(">BQI")
_pack_head, _unpack_head = _head.pack, _head.unpack_from
_HEAD_BYTES: Final = _head.size
_pack_key = Struct(">BQ").pack
_CARRYING: Final = b"\x95"
"""MessagePack's head of an array of five: an operation that carries has one field more than others."""


SUCCESS: Final = 0
"""An update: the candidate is accepted and durable. A query: answered on the conditioned-on version."""
FAIL: Final = 1
"""Not current, or to be repaired first; queries are answered on the latest version all the same."""
DECLINED: Final = 2
"""The call itself cannot be: not allowed, unknown, malformed. The one answer says why."""
BUSY: Final = 3
"""Not now: overloaded, the disk is full, or an object sync failed."""
UNCHANGED: Final = 4
"""An update ran on the conditioned-on version, and there was nothing to write: each of its calls was rejected, failed
or was refused by itself, or is in the ring. No candidate was accepted."""
UNABLE: Final = 5
"""This server could not run the operation to its end (the time limit, memory, its own code); the one answer says why.
That says nothing of the operation: other servers may have accepted it."""
SETTLED: Final = 6
"""Refused as with FAIL. But an established version, the ``candidate``, has recorded each call of the update: these are
its answers (server/settled.py)."""
PENDING: Final = 7
"""Refused as with FAIL. But the calls are in this server's pool: the next client to update the object may carry them
(server/pool.py). That is no refusal of the calls."""
LACKING: Final = 8
"""Refused: this server does not have what the operation carries, or may not let it be run. Its own calls are in the
pool all the same if they may be."""


_encoder = msgspec.msgpack.Encoder()
_request_decoder = msgspec.msgpack.Decoder(Request)
_operation_decoder = msgspec.msgpack.Decoder(Operation)
_carrying_decoder = msgspec.msgpack.Decoder(Carrying)
_vote_decoder = msgspec.msgpack.Decoder(Vote)
_sync_decoder = msgspec.msgpack.Decoder(SyncRequest)
_sync_reply_decoder = msgspec.msgpack.Decoder(SyncReply)
_list_decoder = msgspec.msgpack.Decoder(ListRequest)
_witness_reply_decoder = msgspec.msgpack.Decoder(WitnessReply)
_held_decoder = msgspec.msgpack.Decoder(HeldRequest)
_held_reply_decoder = msgspec.msgpack.Decoder(HeldReply)
_list_reply_decoder = msgspec.msgpack.Decoder(ListReply)

encode = _encoder.encode
"""Canonical bytes of any message struct."""

T = TypeVar("T")


def _decode(decoder: msgspec.msgpack.Decoder[T], data: bytes, name: str) -> T:
    try:
        value = decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise PeerViolation(f"{name}-malformed") from None
    if _encoder.encode(value) != data:
        raise PeerViolation(f"{name}-not-canonical")
    return value


# --- requests -------------------------------------------------------------------------------------------------


def request_head(number: int, body: bytes, kind: int = REQUEST) -> bytes:
    """What the frames of a request to all servers begin with; each server's own proof follows."""
    return _pack_head(kind, number, len(body)) + body


def request_frame(number: int, body: bytes, proof: bytes) -> bytes:
    """Frame a request to one server."""
    return request_head(number, body) + proof


def encode_operation(
    operation: Operation, since: int, attempt: int, carried: tuple[Carried, ...] | None = None
) -> bytes:
    """Canonical bytes of an attempt at an operation, each of whose calls gets this ``since`` unless it is 0.

    ``carried`` is None for one as it mostly is, that is not :class:`Carrying`.
    """
    # As arrays of their fields, which is what the structs are on the wire: nobody needs new structs.
    if not since and carried is None:
        return encode((operation.objects, operation.calls, operation.code, attempt))
    time = since if since < NUMBERS else pack_time(since)
    calls: tuple[tuple[bytes, Time, str, bytes], ...] = ()
    for call in operation.calls:
        calls += ((call.id, time if since else call.since, call.method, call.arguments),)
    if carried is not None:
        return encode((operation.objects, calls, operation.code, attempt, carried))
    return encode((operation.objects, calls, operation.code, attempt))


def split(frame: bytes, kind: int) -> tuple[int, bytes, bytes]:
    """Number, body and tail of a request or reply frame.

    Raises:
        PeerViolation: too short, of another kind, or with a wrong length.
    """
    if len(frame) < _HEAD_BYTES or frame[0] != kind:
        raise PeerViolation("frame-malformed")
    _, number, size = _unpack_head(frame)
    end = _HEAD_BYTES + size
    if end > len(frame):
        raise PeerViolation("frame-truncated")
    return number, frame[_HEAD_BYTES:end], frame[end:]


def decode_request(body: bytes, n: int) -> Request:
    """A request whose shape is right: ordered objects within the limits, canonical history sets.

    Raises:
        PeerViolation: anything else.
    """
    request = _decode(_request_decoder, body, "request")
    sets = request.sets
    if not 1 <= len(sets) <= (limits.OPERATION_OBJECTS_MAX if request.operation else limits.REPAIR_OBJECTS_MAX):
        raise PeerViolation("request-objects")
    previous = ""
    is_named = False
    for each in sets:
        name = each.object_id
        if name <= previous:
            raise PeerViolation("request-objects")
        if len(name) > OBJECT_ID_BYTES_MAX or not (name.isascii() or len(name.encode()) <= OBJECT_ID_BYTES_MAX):
            raise PeerViolation("object-id-too-long")
        if name == request.target:
            is_named = True
        previous = name
        check_histories(each, n)
    if not is_named:
        raise PeerViolation("request-objects")
    return request


read_operation = _operation_decoder.decode
"""The operation of bytes that have been found to be canonical."""


def decode_operation(request: Request) -> Operation:
    """The operation of a request.

    Raises:
        PeerViolation: not canonical, over a limit, or about other objects than the request's sets.
    """
    is_carrying = request.operation[:1] == _CARRYING
    operation: Operation
    if is_carrying:
        operation = _decode(_carrying_decoder, request.operation, "operation")
    else:
        operation = _decode(_operation_decoder, request.operation, "operation")
    target = request.sets[0].object_id
    # Exactly its objects' sets, no more. A set smuggled in would be written to without rights on its object, and the
    # operation's own object would be accepted for without being stored: an exception came in between.
    if (len(request.sets) > 1 or operation.objects != (target,)) and (
        sorted(operation.objects) != list(map(_object_id, request.sets))
    ):
        raise PeerViolation("operation-objects")
    if request.target != target:
        raise PeerViolation("operation-target")
    check_operation(operation, is_carrying=is_carrying)
    return operation


def check_operation(operation: Operation, *, is_carrying: bool = False) -> None:
    """Look at the shape of an operation.

    Raises:
        PeerViolation: over a limit, or not of the right shape.
    """
    calls = operation.calls
    if not (0 if is_carrying else 1) <= len(calls) <= limits.CALLS_MAX:
        raise PeerViolation("operation-calls")
    if operation.attempt < 0:
        raise PeerViolation("operation-attempt")
    for call in (*calls, *_others_calls(operation)) if is_carrying else calls:
        method, arguments = call.method, call.arguments
        if len(call.id) != CALL_ID_BYTES or not is_time(call.since):
            raise PeerViolation("call-malformed")
        if method == CANCEL and len(arguments) != CALL_ID_BYTES:
            raise PeerViolation("call-malformed")
        if len(arguments) > ARGUMENTS_BYTES_MAX or len(method.encode()) > METHOD_BYTES_MAX:
            raise PeerViolation("call-too-large")
    if len(operation.code) > limits.CODE_BYTES_MAX:
        raise PeerViolation("operation-code")
    if len(calls) > 1 and len({call.id for call in calls}) != len(calls):
        raise PeerViolation("call-ids-repeated")


def _others_calls(operation: Operation) -> list[Call]:
    """H3: what an operation on one object carries; no call twice, neither by its id nor by what it cancels."""
    carried = carried_by(operation)
    if len(operation.objects) != 1 or not 1 <= len(carried) + len(operation.calls) <= limits.CALLS_MAX:
        raise PeerViolation("operation-carried")
    if len({key_of(each.owner, each.call) for each in carried}) != len(carried):
        raise PeerViolation("operation-carried")
    return [each.call for each in carried]


# --- replies --------------------------------------------------------------------------------------------------

REPLY_KEY_BYTES: Final = 9
"""Replies to one number begin with the same bytes; what follows them is length, vote and authenticators."""

_ENDING_VOTES: Final = tuple([encode(Vote(status, b"", (), b"", (), ()))[:2] for status in (SUCCESS, UNCHANGED)])
"""What the votes begin with of which q that are alike end a call."""


reply_key: Final[Callable[[int], bytes]] = partial(_pack_key, REPLY)
"""What every reply to the number begins with."""


def reply_frame(number: int, vote: bytes, authenticators: Sequence[bytes]) -> bytes:
    """Frame a reply."""
    return b"".join((_pack_head(REPLY, number, len(vote)), vote, *authenticators))


def ending_vote_end(frame: bytes) -> int:
    """Where the authenticators of a reply begin, if its vote looks like SUCCESS or UNCHANGED; otherwise 0."""
    end = _HEAD_BYTES + int.from_bytes(frame[REPLY_KEY_BYTES:_HEAD_BYTES], "big")
    return end if frame.startswith(_ENDING_VOTES, _HEAD_BYTES) and end <= len(frame) else 0


def trusted_vote(frame: bytes, end: int) -> Vote | None:
    """The vote of a reply that ends there, if an honest server sent the same one; None if it cannot be read."""
    try:
        return _vote_decoder.decode(frame[_HEAD_BYTES:end])
    except msgspec.MsgspecError:
        return None


def decode_vote(data: bytes) -> Vote:
    """A vote.

    Raises:
        PeerViolation: not canonical.
    """
    vote = _decode(_vote_decoder, data, "vote")
    if len(vote.candidate) not in (0, TIMESTAMP_BYTES) or not 0 <= vote.status <= LACKING:
        raise PeerViolation("vote-malformed")
    return vote


# --- object sync ----------------------------------------------------------------------------------------------


def sync_frame(request: SyncRequest) -> bytes:
    """Frame a sync request."""
    return b"\x03" + _encoder.encode(request)


def sync_reply_frame(reply: SyncReply) -> bytes:
    """Frame a sync reply."""
    return b"\x04" + _encoder.encode(reply)


def decode_sync(frame: bytes) -> SyncRequest | SyncReply:
    """What one server sent another.

    Raises:
        PeerViolation: neither a sync request nor a sync reply.
    """
    if frame[:1] == b"\x03":
        request = _decode(_sync_decoder, frame[1:], "sync")
        if len(request.timestamp) != TIMESTAMP_BYTES or len(request.object_id.encode()) > OBJECT_ID_BYTES_MAX:
            raise PeerViolation("sync-malformed")
        return request
    if frame[:1] == b"\x04":
        return _decode(_sync_reply_decoder, frame[1:], "sync-reply")
    raise PeerViolation("frame-malformed")


# --- lists of objects -----------------------------------------------------------------------------------------


def list_frame(request: ListRequest) -> bytes:
    """Frame a request for a page of a list."""
    return b"\x0b" + _encoder.encode(request)


def list_reply_frame(reply: ListReply) -> bytes:
    """Frame a page of a list."""
    return b"\x0c" + _encoder.encode(reply)


def listed_size(entry: Listed) -> int:
    """What an entry counts towards the bytes of its page: at least what it takes on the wire."""
    return len(entry.object_id.encode()) + len(entry.history) + len(entry.version_digest) + limits.LISTED_BYTES


def decode_list(frame: bytes) -> ListRequest:
    """A request for a page.

    Raises:
        PeerViolation: anything else, or one that asks for nothing.
    """
    if frame[:1] != b"\x0b":
        raise PeerViolation("frame-malformed")
    request = _decode(_list_decoder, frame[1:], "list")
    if len(request.after.encode()) > OBJECT_ID_BYTES_MAX or request.entries_max < 1 or request.bytes_max < 1:
        raise PeerViolation("list-malformed")
    return request


def decode_list_reply(frame: bytes) -> ListReply:
    """A page whose shape is right: ordered ids, within the limits.

    Raises:
        PeerViolation: anything else.
    """
    if frame[:1] != b"\x0c":
        raise PeerViolation("frame-malformed")
    if len(frame) > limits.LIST_BYTES_MAX + limits.FRAME_BYTES_SPARE:
        raise PeerViolation("list-reply-too-large")
    reply = _decode(_list_reply_decoder, frame[1:], "list-reply")
    if len(reply.entries) > limits.LIST_ENTRIES_MAX or len(reply.refusal) > limits.REASON_CHARACTERS_MAX:
        raise PeerViolation("list-reply-malformed")
    previous = ""
    for entry in reply.entries:
        if entry.object_id <= previous or len(entry.object_id.encode()) > OBJECT_ID_BYTES_MAX:
            raise PeerViolation("list-reply-malformed")
        if len(entry.version_digest) not in (0, DIGEST_BYTES) or len(entry.history) > limits.HISTORY_BYTES_MAX:
            raise PeerViolation("list-reply-malformed")
        previous = entry.object_id
    return reply


# --- what servers hold -----------------------------------------------------------------------------------------


_HELD_BYTES_MAX: Final = limits.VERIFY_OBJECTS_MAX * (OBJECT_ID_BYTES_MAX + TIMESTAMP_BYTES + 16)


def held_frame(request: HeldRequest) -> bytes:
    """Ask a server whether these are its latest candidates."""
    return bytes((HELD,)) + _encoder.encode(request)


def held_reply_frame(reply: HeldReply) -> bytes:
    """Frame the answer."""
    return bytes((HELD_REPLY,)) + _encoder.encode(reply)


def decode_held(frame: bytes) -> HeldRequest:
    """A question about candidates.

    Raises:
        PeerViolation: it is none, or asks about too many.
    """
    if frame[:1] != bytes((HELD,)) or len(frame) > _HELD_BYTES_MAX:
        raise PeerViolation("frame-malformed")
    request = _decode(_held_decoder, frame[1:], "held")
    if len(request.items) > limits.VERIFY_OBJECTS_MAX:
        raise PeerViolation("held-malformed")
    return request


def decode_held_reply(frame: bytes) -> HeldReply:
    """What a server holds.

    Raises:
        PeerViolation: not of the right shape.
    """
    if frame[:1] != bytes((HELD_REPLY,)):
        raise PeerViolation("frame-malformed")
    reply = _decode(_held_reply_decoder, frame[1:], "held-reply")
    if len(reply.held) > limits.VERIFY_OBJECTS_MAX:
        raise PeerViolation("held-reply-malformed")
    return reply


# --- what servers have seen ------------------------------------------------------------------------------------

_WITNESS_BYTES: Final = 9


def witness_frame(number: int) -> bytes:
    """Ask a server what it has lately seen others sign."""
    return _pack_key(WITNESS, number)


def witness_reply_frame(reply: WitnessReply) -> bytes:
    """Frame what was seen."""
    return bytes((WITNESS_REPLY,)) + _encoder.encode(reply)


def decode_witness(frame: bytes) -> int:
    """The number of a question.

    Raises:
        PeerViolation: it is none.
    """
    if len(frame) != _WITNESS_BYTES or frame[0] != WITNESS:
        raise PeerViolation("frame-malformed")
    return int.from_bytes(frame[1:], "big")


def decode_witness_reply(frame: bytes, n: int) -> WitnessReply:
    """What a server says that it has seen; its histories may be anything.

    Raises:
        PeerViolation: not of the right shape, or too large.
    """
    if len(frame) > limits.WITNESSED_BYTES_MAX + limits.HISTORY_BYTES_MAX + limits.FRAME_BYTES_SPARE:
        raise PeerViolation("witness-reply-too-large")
    reply = _decode(_witness_reply_decoder, frame[1:], "witness-reply")
    if len(reply.seen) > limits.WITNESSED_SETS:
        raise PeerViolation("witness-reply-malformed")
    for each in reply.seen:
        check_histories(each, n)
    return reply
