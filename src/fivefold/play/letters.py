"""Frames in plain words: what a request asks for, what a reply says, what servers ask each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct

from fivefold.errors import PeerViolation
from fivefold.play.names import Names, arguments_of, call_text, clipped
from fivefold.play.words import joined
from fivefold.protocol.announcements import Announcement, decode_announcement, split_tail
from fivefold.protocol.messages import (
    ANNOUNCE,
    REPLY,
    REQUEST,
    WITHDRAW,
    decode_operation,
    decode_request,
    decode_sync,
    decode_vote,
    split,
)
from fivefold.protocol.operations import CANCEL, Call, ClientId, carried_by
from fivefold.protocol.records import ObjectHistories, Request, SyncRequest

CALLS_SHOWN = 3
"""Calls of one operation that a label names."""


class Asked(Struct, frozen=True):
    """A request or an announcement, read once for all the frames that carry it.

    Attributes:
        label: ``set(♦)``, or ``repair``; of an announcement what comes after its client's name.
        calls: method and arguments of each call in the order in which they run: those of others come first.
        objects: in the order of their ids.
        request: as decoded; None if a malevolent client made it malformed.
        is_operation: whether it carries one.
    """

    label: str
    calls: tuple[tuple[str, Mapping[str, object] | None], ...]
    objects: tuple[str, ...]
    request: Request | None
    is_operation: bool

    @property
    def thing(self) -> str:
        """What is sent, in a sentence."""
        return f"request {self.label}" if self.label.startswith("carrying ") else self.label


def read_request(body: bytes, n: int, clients: Mapping[ClientId, str]) -> Asked:
    """What a request's body asks for; calls that it carries have their owners' names."""
    try:
        request = decode_request(body, n)
        operation = decode_operation(request) if request.operation else None
    except PeerViolation:
        return Asked("malformed request", (), (), None, False)
    objects = tuple(each.object_id for each in request.sets)
    if operation is None:
        return Asked("repair", (), objects, request, False)
    carried = carried_by(operation)
    whose = [f"{clients.get(each.owner, 'nobody')}’s {call_text(*_call(each.call))}" for each in carried]
    labels = [_label([_call(call) for call in operation.calls])] if operation.calls else []
    labels += [f"carrying {joined(whose)}"] if whose else []
    calls = tuple(_call(call) for call in (*(each.call for each in carried), *operation.calls))
    return Asked(", ".join(labels), calls, objects, request, True)


def _call(call: Call) -> tuple[str, Mapping[str, object] | None]:
    return call.method, None if call.method == CANCEL else arguments_of(call.arguments)


def _label(calls: Sequence[tuple[str, Mapping[str, object] | None]]) -> str:
    texts = [call_text(*call) for call in calls[:CALLS_SHOWN]]
    more = [f"{len(calls) - CALLS_SHOWN} more"] if len(calls) > CALLS_SHOWN else []
    return "; ".join([*texts, *more])


def read_announcement(data: bytes) -> Asked:
    """What a client asks servers to keep for others to carry, or to keep no longer."""
    try:
        _, _, operation = decode_announcement(data)
    except PeerViolation:
        return Asked("malformed announcement", (), (), None, False)
    calls = tuple(map(_call, operation.calls))
    verb = "announces" if kind_of(data) == ANNOUNCE else "withdraws"
    return Asked(f"{verb} {_label(calls)}", calls, operation.objects, None, False)


def announcement_text(asked: Asked) -> str:
    """An announcement in lines."""
    lines = [f"ANNOUNCEMENT  {asked.label}"]
    for method, arguments in asked.calls:
        lines.append(f"call     {method or 'cancel'}")
        lines += [f"           {name} = {clipped(repr(value))}" for name, value in (arguments or {}).items()]
    return "\n".join(lines)


def listed_in(data: bytes, n: int) -> Sequence[Announcement]:
    """The announced calls of others that a reply tells of."""
    try:
        _, body, tail = split(data, REPLY)
        return split_tail(tail, decode_vote(body), n, {})[1].listed
    except PeerViolation:
        return ()


def listed_text(announcement: Announcement, owner: str) -> str:
    """An announcement that a reply tells of, in a line."""
    return f"announced by {owner}  {_label([_call(call) for call in announcement.calls])}"


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


def is_announcement(data: bytes) -> bool:
    """Whether a frame is a client's announcement of calls, or withdraws them."""
    return kind_of(data) in (ANNOUNCE, WITHDRAW)


def is_reply(data: bytes) -> bool:
    """Whether a frame is a server's reply to a client."""
    return kind_of(data) == REPLY
