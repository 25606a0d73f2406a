"""One object as JSON, for people and other programs: what `fivefold export` prints and `fivefold import` takes.

::

    {"fivefold": 1, "object": "Counter/hits", "version": 1, "state": {"value": 5}}

JSON has fewer kinds of values than states have. Where the fields would not come back as they are, the stored bytes
stand in their place: ``{"fivefold": 1, "object": "Map/a", "version": 1, "bytes": "kYGh…"}``.
"""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any, Final, Literal

import msgspec

from fivefold.errors import InvalidArguments, UnknownType
from fivefold.objects.registry import Registry
from fivefold.objects.running import ObjectType
from fivefold.objects.values import BadValue
from fivefold.protocol.limits import OBJECT_ID_BYTES_MAX
from fivefold.protocol.operations import ObjectId, type_of

_PROBLEMS: Final = (*(msgspec.MsgspecError, TypeError, ValueError, OverflowError), *(RecursionError, BadValue))


class _Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"stored": "bytes"}):
    """The shape of an exported object."""

    fivefold: Literal[1]
    object: str
    version: int
    state: dict[str, msgspec.Raw] | msgspec.UnsetType = msgspec.UNSET
    stored: bytes | msgspec.UnsetType = msgspec.UNSET


def state_to_json(registry: Registry, object_id: ObjectId, state: bytes) -> str:
    """An object as JSON, by its class here.

    Raises:
        UnknownType: its class is not registered here.
        InvalidArguments: its state does not fit that class.
    """
    known = _known(registry, object_id)
    try:
        value = known.decode(state)
        stored = known.encode(value)
    except BadValue as error:
        raise InvalidArguments(f"the state of {object_id} does not fit the class here: {error}") from None
    head: dict[str, Any] = {"fivefold": 1, "object": object_id, "version": known.version}
    try:
        plain = msgspec.to_builtins(value, str_keys=True, order="deterministic")
        fields = dict(zip(known.cls.__struct_fields__, plain, strict=True))
        text = json.dumps({**head, "state": fields}, allow_nan=False)
        if state_from_json(registry, text)[1] == stored:
            return text
    except (*_PROBLEMS, InvalidArguments):
        pass  # there is no such JSON
    return json.dumps({**head, "bytes": b64encode(stored).decode()})


def state_from_json(registry: Registry, text: str) -> tuple[ObjectId, bytes]:
    """The object's id, and its state as servers store it.

    Raises:
        UnknownType: its class is not registered here.
        InvalidArguments: this is no exported object, or not of the class as it is here.
    """
    try:
        document = msgspec.json.decode(text, type=_Document)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise InvalidArguments(
            f"this is no exported object ({error}): take what `fivefold export` has printed"
        ) from None
    name = ObjectId(document.object)
    if len(name.encode(errors="replace")) > OBJECT_ID_BYTES_MAX:
        raise InvalidArguments(f"an object id takes at most {OBJECT_ID_BYTES_MAX} bytes: shorten the one that is given")
    known = _known(registry, name)
    if document.version != known.version:
        raise InvalidArguments(
            f"{name} was exported from version {document.version} of {known.name}, and this is version "
            f"{known.version}: import it with the class of that version, and upgrade afterwards"
        )
    if isinstance(document.stored, bytes) is isinstance(document.state, dict):
        raise InvalidArguments(f'{name} needs either "state" or "bytes": take what `fivefold export` has printed')
    try:
        if isinstance(document.stored, bytes):
            return name, known.encode(known.decode(document.stored))
        return name, known.encode(_value_of(known, document.state))
    except BadValue as error:
        raise InvalidArguments(f"that is no state of {name}: {error}") from None
    except (msgspec.MsgspecError, RecursionError) as error:
        text = str(error).replace("`", "")
        raise InvalidArguments(f"that is no state of {name}: {text[:1].lower()}{text[1:]}") from None


def _value_of(known: ObjectType, fields: Any) -> Any:  # noqa: ANN401 - an instance of the class
    names = known.cls.__struct_fields__
    missing, strange = [name for name in names if name not in fields], sorted(fields.keys() - set(names))
    if strange:
        raise BadValue(f"{known.name} has no field {strange[0]!r}, it has {', '.join(names) or 'none'}")
    if missing:
        raise BadValue(f"the field {missing[0]!r} is missing")
    return msgspec.json.decode(b"[" + b",".join(bytes(fields[name]) for name in names) + b"]", type=known.cls)


def _known(registry: Registry, object_id: ObjectId) -> ObjectType:
    known = registry.types.get(type_of(object_id))
    if known is None or "/" not in object_id:
        raise UnknownType(f"no type of {object_id!r} is known here: name its module with --objects")
    return known
