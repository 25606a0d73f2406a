"""The id of an update as text: with it, any program can learn at any time what became of the update.

It says which call is meant and of which objects, and the logical time it may have been applied after. Only the client
that made the call may ask: what objects remember is by client, so another one would be told that it was not applied.
"""

from __future__ import annotations

import os
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from fivefold.errors import InvalidArguments
from fivefold.protocol.limits import METHOD_BYTES_MAX, OBJECT_ID_BYTES_MAX, OPERATION_OBJECTS_MAX
from fivefold.protocol.operations import CALL_ID_BYTES, ClientId, ObjectId
from fivefold.protocol.times import Time, is_time, pack_time

PREFIX: Final = "call-"
_CHARACTERS_MAX: Final = 2 * (OPERATION_OBJECTS_MAX * OBJECT_ID_BYTES_MAX + METHOD_BYTES_MAX + 100)


class CallId(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What a call's id says.

    Attributes:
        client: whose call it is.
        objects: ids of the objects, in parameter order.
        method: name of the update.
        id: the call's random bytes.
        since: logical time after which it may have been applied.
    """

    client: ClientId
    objects: Annotated[tuple[ObjectId, ...], Meta(min_length=1, max_length=OPERATION_OBJECTS_MAX)]
    method: str
    id: Annotated[bytes, Meta(min_length=CALL_ID_BYTES, max_length=CALL_ID_BYTES)]
    since: Time

    def __str__(self) -> str:
        """As text."""
        return PREFIX + urlsafe_b64encode(msgspec.msgpack.encode(self)).decode().rstrip("=")


def new_id(client: ClientId, objects: tuple[ObjectId, ...], method: str, since: int) -> CallId:
    """The id of a call that has not been made yet."""
    return CallId(client, objects, method, os.urandom(CALL_ID_BYTES), pack_time(since))


def parse(text: object) -> CallId:
    """What an id says.

    Raises:
        InvalidArguments: it is no call's id.
    """
    if isinstance(text, str) and text.startswith(PREFIX) and len(text) <= _CHARACTERS_MAX:
        content = text.removeprefix(PREFIX)
        try:
            found = msgspec.msgpack.decode(urlsafe_b64decode(content + "=" * (-len(content) % 4)), type=CallId)
            if is_time(found.since):
                return found
        except (ValueError, msgspec.MsgspecError):
            pass
    raise InvalidArguments(f"this is no call's id: pass what new_id() gave, got {str(text)[:40]!r}")
