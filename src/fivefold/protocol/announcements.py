"""Announced calls, and what a reply says of others': the frames of helping (rules H1-H9; ours).

A client that has to wait *announces* its calls to the servers. The next client to update the object *carries* them in
its own operation, and the servers *push* the answers to the owners. An announcement names its calls as an operation
does, without histories: it is a wish, and nothing of it is durable.

What a reply lists of other clients' calls stands behind the authenticators. Servers hear announcements at different
times: so it is no part of the vote, in which honest servers agree byte for byte. A reply that has nothing to list ends
with the authenticators.
"""

from __future__ import annotations

from typing import Final

import msgspec

from fivefold.errors import PeerViolation
from fivefold.protocol import limits
from fivefold.protocol.authenticators import MAC_BYTES
from fivefold.protocol.messages import ANNOUNCE, WITHDRAW, check_operation, encode, split
from fivefold.protocol.operations import Call, ClientId, Operation, key_of
from fivefold.protocol.records import Vote

_OPERATION: Final = msgspec.msgpack.Decoder(Operation)

CLIENT_BYTES: Final = 16


class Announcement(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One client's announced calls, as servers list them and others count them.

    Attributes:
        owner: whose they are.
        code: what runs them.
        calls: to be carried all together, byte for byte.
    """

    owner: ClientId
    code: bytes
    calls: tuple[Call, ...]


class Help(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a reply says beside its vote.

    Attributes:
        listed: other clients' announcements that are certainly not applied, in the order in which they came.
        lacking: owners of carried calls that this server does not have.
    """

    listed: tuple[Announcement, ...]
    lacking: tuple[ClientId, ...] = ()


NO_HELP: Final = Help(())

_HELP: Final = msgspec.msgpack.Decoder(Help)


class _Shown(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A Help whose announcements are encoded already."""

    listed: tuple[msgspec.Raw, ...]
    lacking: tuple[ClientId, ...]


def encode_help(listed: tuple[bytes, ...], lacking: tuple[ClientId, ...]) -> bytes:
    """What stands behind the authenticators of a reply, of encoded announcements; nothing if nothing is to be said."""
    return encode(_Shown(tuple(map(msgspec.Raw, listed)), lacking)) if listed or lacking else b""


def decode_announcement(frame: bytes) -> tuple[int, bytes, Operation]:
    """The number, the body and the calls of an announcement or a withdrawal.

    Raises:
        PeerViolation: not canonical, over a limit, or about anything but one object.
    """
    kind = frame[0]
    if kind not in (ANNOUNCE, WITHDRAW):
        raise PeerViolation("frame-malformed")
    number, body, rest = split(frame, kind)
    if rest:
        raise PeerViolation("announcement-malformed")
    try:
        operation = _OPERATION.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise PeerViolation("announcement-malformed") from None
    if encode(operation) != body:
        raise PeerViolation("announcement-not-canonical")
    if len(operation.objects) != 1 or len(operation.objects[0].encode()) > limits.OBJECT_ID_BYTES_MAX:
        raise PeerViolation("announcement-objects")
    check_operation(operation)
    return number, body, operation


def may_be_announced(operation: Operation) -> bool:
    """Whether calls are few and short enough to be shown to others, and each is another one in the ring."""
    calls, nobody = operation.calls, ClientId(bytes(CLIENT_BYTES))
    return (
        len(operation.objects) == 1
        and 1 <= len(calls) <= limits.ANNOUNCED_CALLS_MAX
        and sum([len(call.arguments) for call in calls]) <= limits.ANNOUNCED_BYTES_MAX
        and len({key_of(nobody, call) for call in calls}) == len(calls)
    )


def decode_help(data: bytes) -> Help:
    """What stands behind the authenticators of a reply.

    What it lists is not examined: only what q - b servers list alike is carried, of whom an honest one has done so.

    Raises:
        PeerViolation: it is none, or over a limit.
    """
    if not data:
        return NO_HELP
    if len(data) > 2 * limits.LISTED_ANNOUNCEMENTS_BYTES_MAX + limits.FRAME_BYTES_SPARE:
        raise PeerViolation("help-too-large")
    try:
        found = _HELP.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise PeerViolation("help-malformed") from None
    if len(found.listed) > limits.LISTED_ANNOUNCEMENTS_MAX or len(found.lacking) > limits.CALLS_MAX:
        raise PeerViolation("help-malformed")
    return found


def split_tail(tail: bytes, vote: Vote, n: int, read: dict[bytes, Help]) -> tuple[bytes, Help]:
    """What stands behind a vote: the authenticators, and what the server says beside it.

    If the latter cannot be read, all of it is returned as authenticators, which have the wrong length then. ``read`` is
    what has been read so far: honest servers often say the same, byte for byte.
    """
    size = MAC_BYTES * n * sum(map(bool, vote.histories))
    if len(tail) <= size or not vote.histories:
        return tail, NO_HELP
    said = tail[size:]
    try:
        found = read.get(said) or decode_help(said)
    except PeerViolation:
        return tail, NO_HELP
    read[said] = found
    return tail[:size], found
