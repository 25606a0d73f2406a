"""Plain values: what ``Value`` stands for, and the two errors of the encoding.

A plain value is JSON-like: None, bool, int, float, str, bytes, and lists and maps of these.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import msgspec

if TYPE_CHECKING:
    Value: TypeAlias = "bool | int | float | str | bytes | list[Value] | dict[str, Value] | None"
else:
    Value = Any
"""A JSON-like value (and bytes), nested at most :data:`VALUE_DEPTH_MAX` deep."""

VALUE_DEPTH_MAX: Final = 64
"""Lists and maps inside each other in a Value: far below Python's own limit, which is not the same everywhere."""

TOO_DEEP: Final = f"a value is nested deeper than {VALUE_DEPTH_MAX} levels"
NOT_EQUAL: Final = "would not come back equal"

SCALARS: Final = frozenset({type(None), bool, int, str, bytes, bytearray, memoryview})
"""Of these nothing has to be looked at."""

_DICTS: Final = frozenset({OrderedDict, defaultdict, Counter})
_encode_sorted: Final = msgspec.msgpack.Encoder(order="deterministic").encode


class BadValue(Exception):
    """A value or encoding that does not fit its declared type; the text is a sentence without its subject."""


class BadType(Exception):
    """A declared type that cannot be encoded canonically; the text says which and what to use."""


def check_value(value: object, depth: int = 0) -> None:
    """Refuse what is not a :data:`Value`.

    Raises:
        BadValue: something else is in it, a NaN, or it is nested too deep.
    """
    kind = type(value)
    if kind in SCALARS:
        return
    if depth >= VALUE_DEPTH_MAX:
        raise BadValue(TOO_DEEP)
    if isinstance(value, list) and kind is list:
        for item in value:
            check_value(item, depth + 1)
    elif isinstance(value, dict) and (kind is dict or is_lean_dict(value)):
        for key, item in value.items():
            if type(key) is not str and not is_member(key, str):
                raise BadValue("the keys of a map must be str")
            check_value(item, depth + 1)
    elif kind is float:
        if value != value:
            raise BadValue(f"NaN is not allowed: it {NOT_EQUAL}")
    elif not is_member(value, int) and not is_member(value, str):
        use = "use None, bool, int, float, str, bytes, list or dict"
        raise BadValue(f"{kind.__name__} is not a plain value and {NOT_EQUAL}: {use}")


def is_member(value: object, base: type) -> bool:
    """Whether this is a member of an IntEnum or StrEnum: equal to the number or text that it comes back as."""
    return isinstance(value, base) and isinstance(value, Enum)


def is_lean_dict(value: object) -> bool:
    """Whether this is one of the standard library's dictionaries without attributes of its own: equal to a dict."""
    return type(value) in _DICTS and not getattr(value, "__dict__", None)


def is_same_value(one: Value, other: Value) -> bool:
    """Whether two values are the same to the last type: ``1 == True`` in Python, but they are different values."""
    return one == other and _encode_sorted(one) == _encode_sorted(other)
