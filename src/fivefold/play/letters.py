"""Frames in plain words: what a request asks for, what a reply says, what servers ask each other."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from fivefold.errors import PeerViolation
from fivefold.play.names import Names, arguments_of, call_text, clipped
from fivefold.protocol.messages import (
    REPLY,
    REQUEST,
    decode_operation,
    decode_request,
    decode_sync,
    split,
)
from fivefold.protocol.operations import CANCEL
from fivefold.protocol.records import ObjectHistories, Request, SyncRequest

CALLS_SHOWN = 3
"""Calls of one operation that a label names."""


class Asked(Struct, frozen=True):
    """A request, read once for all the frames that carry it.

    Attributes:
        label: ``set(♦)``, or ``repair``.
        calls: method and arguments of each call.
        objects: in the order of their ids.
        request: as decoded; None if a malevolent client made it malformed.
        is_operation: whether it carries one.
    """

    label: str
    calls: tuple[tuple[str, Mapping[str, object] | None], ...]
    objects: tuple[str, ...]
    request: Request | None
    is_operation: bool


def read_request(body: bytes, n: int) -> Asked:
    """What a request's body asks for."""
    try:
        request = decode_request(body, n)
        operation = decode_operation(request) if request.operation else None
    except PeerViolation:
        return Asked("malformed request", (), (), None, False)
    objects = tuple(each.object_id for each in request.sets)
    if operation is None:
        return Asked("repair", (), objects, request, False)
    calls = tuple(
        (call.method, None if call.method == CANCEL else arguments_of(call.arguments)) for call in operation.calls
    )
    texts = [call_text(*call) for call in calls[:CALLS_SHOWN]]
    more = [f"{len(calls) - CALLS_SHOWN} more"] if len(calls) > CALLS_SHOWN else []
    return Asked("; ".join([*texts, *more]), calls, objects, request, True)


def kind_of(data: bytes) -> int:
    """The kind byte of a frame."""
    return data[0] if data else 0


def body_of(data: bytes) -> tuple[int, bytes]:
    """Number and body of a request or reply frame; nothing if it is malformed."""
    try:
        number, body, _ = split(data, kind_of(data))
    except PeerViolation:
        return 0, b""
    return number, body


def request_text(asked: Asked, names: Names, n: int) -> str:
    """A request in lines: the operation, and the object history sets that it shows."""
    if asked.request is None:
        return "A request that no server reads: it is malformed."
    lines = [f"REQUEST  {asked.label}", f"target   {asked.request.target}"]
    for method, arguments in asked.calls:
        lines.append(f"call     {method or 'cancel'}")
        lines += [f"           {name} = {clipped(repr(value))}" for name, value in (arguments or {}).items()]
    for each in asked.request.sets:
        lines += [f"history set of {each.object_id}", *_set_lines(each, names, n)]
    return "\n".join(lines)


def _set_lines(histories: ObjectHistories, names: Names, n: int) -> list[str]:
    return [f"  s{server}  {{{names.history(histories.object_id, histories.of(server))}}}" for server in range(n)]


def sync_text(data: bytes, names: Names) -> str:
    """What one server asks another one, or answers, in a line."""
    try:
        found = decode_sync(data)
    except PeerViolation:
        return "A message between servers that is malformed."
    if isinstance(found, SyncRequest):
        what = "the whole version" if found.is_whole else "the digest of version"
        return f"SYNC  {what} {names.of(found.object_id, found.timestamp)} of {found.object_id}"
    if not found.digest:
        return "SYNC REPLY  not held here"
    what = f"a version of {len(found.version)} bytes" if found.version else "a digest"
    return f"SYNC REPLY  {what}, {found.digest.hex()[:8]}…"


def is_request(data: bytes) -> bool:
    """Whether a frame is a client's request."""
    return kind_of(data) == REQUEST


def is_reply(data: bytes) -> bool:
    """Whether a frame is a server's reply to a client."""
    return kind_of(data) == REPLY
