"""The answer of one call as bytes (the tags are those of ``protocol.operations``), and back.

Every server must write the same bytes, so texts are cleaned of what differs between processes.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from fivefold import errors
from fivefold.errors import CallerError, ObjectError, Rejected, attributes_of, remade
from fivefold.objects.values import BadValue, Codec
from fivefold.protocol.limits import ANSWER_BYTES_MAX
from fivefold.protocol.operations import FAILED, REFUSED, REJECTED, STOPPED

TEXT_CHARACTERS_MAX: Final = 500
"""A failure's text is cut after this many characters."""

WIRE_NAME: Final = "__fivefold_name__"
"""In a module that was loaded in another's place: that one's name."""

_ADDRESS: Final = re.compile(r"0x[0-9a-fA-F]{4,}")
_UNKNOWN_FIELD: Final = re.compile(r"'\w+' object has no attribute '\w+'")
_REFUSALS: Final = ("InvalidArguments", "UnknownType", "UnknownMethod", "TooLarge")
_rejection: Final = Codec(tuple[str, list[Any], dict[str, Any]])


def module_of(thing: object) -> str:
    """Name of the module that ``thing`` was defined in.

    A script's own module is called ``__main__`` only in that one process: here it has the name others import it by.
    """
    name: str = getattr(thing, "__module__", None) or "unknown"
    wire_name: str | None = getattr(sys.modules.get(name), WIRE_NAME, None)
    if wire_name is not None:
        return wire_name
    if name == "__main__":
        main = sys.modules["__main__"]
        spec, file = getattr(main, "__spec__", None), getattr(main, "__file__", None)
        if spec is not None:
            name = spec.name.removesuffix(".__main__")
        elif file is not None:
            name = Path(file).stem
    return name


def dotted_name(thing: Any) -> str:  # noqa: ANN401 - a class or a function
    """``module.name``, of the module's name the last part: how functions are named on the wire."""
    return f"{module_of(thing).rpartition('.')[2]}.{thing.__name__}"


def full_name(thing: Any) -> str:  # noqa: ANN401 - a class or a function
    """``package.module:name``: how Rejected classes are named on the wire, and what tells two of one name apart."""
    return f"{module_of(thing)}:{thing.__qualname__}"


def encode_rejection(error: Rejected) -> bytes:
    """REJECTED: class, arguments and attributes; FAILED if these are no plain values."""
    content = (full_name(type(error)), list(error.args), attributes_of(error))
    try:
        data = _rejection.encode(content)
    except BadValue as problem:
        return encode_failure(f"{type(error).__name__} cannot be sent to the caller: {problem}")
    if len(data) > ANSWER_BYTES_MAX:
        text = f"{type(error).__name__} takes {len(data)} bytes, at most {ANSWER_BYTES_MAX} are allowed"
        return encode_refusal("TooLarge", text)
    return REJECTED + data


def decode_rejection(data: bytes, find: Callable[[str], type[Rejected] | None]) -> Rejected:
    """The exception the method raised, of its own class if ``find`` knows it by its full name.

    The class's ``__init__`` does not run: it ran at the servers, and what it left is what travels.

    Raises:
        BadValue: the bytes are no rejection.
    """
    name, args, attributes = _rejection.decode_trusted(data)
    cls = find(name)
    if cls is not None:
        return remade(cls, args, attributes)
    name = name.replace(":", ".")
    return remade(Rejected, [f"{name}: {', '.join(map(str, args))}" if args else name], attributes)


def describe_failure(error: BaseException) -> str:
    """``TypeName: message`` without memory addresses."""
    name = type(error).__name__
    if isinstance(error, RecursionError):
        return f"{name}: the method calls itself too deep"  # Python's own text says where it stopped
    try:
        message = str(error)
    except Exception:  # a __str__ that fails: the name must do
        message = ""
    if isinstance(error, AttributeError) and _UNKNOWN_FIELD.fullmatch(message):
        message += ": state is only what the class declares, as a field with a type and a default"
    return f"{name}: {message}" if message else name


def encode_failure(text: str) -> bytes:
    """FAILED with a text that is the same in every process."""
    return FAILED + _clean(text)


def encode_stopped(text: str) -> bytes:
    """STOPPED with a text, which need not be the same everywhere."""
    return STOPPED + _clean(text)


def encode_refusal(name: str, text: str) -> bytes:
    """REFUSED with the name of the error the caller shall get."""
    assert name in _REFUSALS, name
    return REFUSED + _clean(f"{name}: {text}")


def decode_refusal(data: bytes) -> CallerError:
    """The typed error of a REFUSED answer."""
    name, _, text = data.decode(errors="replace").partition(": ")
    if name not in _REFUSALS:
        return ObjectError(f"the servers refused the call: {name}: {text}")
    error: CallerError = getattr(errors, name)(text)
    return error


def _clean(text: str) -> bytes:
    return _ADDRESS.sub("0x…", text)[:TEXT_CHARACTERS_MAX].encode(errors="backslashreplace")
