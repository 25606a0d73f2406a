"""Which Python types may be state, arguments and answers, and their one canonical encoding.

Canonical means: equal values have equal bytes on every server, whatever order they were built in. MessagePack with maps
and sets in sorted order gives that for the types allowed here; everything else is refused when a class is created, so
that no value can surprise a running server. A value is accepted only if it comes back equal (see ``sameness``), and
bytes only if they hold the fields of the class, all of them and no others (see ``strictness``). Refused, and why:

* NaN, because it differs from itself and its bits are not portable;
* sets and keys that cannot be put in order;
* types that contain themselves, because how deep Python may nest depends on how deep the stack already is;
* values of a subclass of what is declared, because they would come back without what the subclass adds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal, cast

import msgspec
from msgspec import inspect

from fivefold.objects.arranging import arrange_of
from fivefold.objects.plain import (
    NOT_EQUAL,
    TOO_DEEP,
    VALUE_DEPTH_MAX,
    BadType,
    BadValue,
    Value,
    check_value,
    is_same_value,
)
from fivefold.objects.sameness import check_of, examination_of
from fivefold.objects.shapes import Traits
from fivefold.objects.strictness import strict_type

__all__ = ["VALUE_DEPTH_MAX", "BadType", "BadValue", "Codec", "Value", "check_value", "is_same_value"]

_PROBLEMS: Final = (
    *(msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError),
    *(AttributeError, ArithmeticError),  # a field was deleted; a Decimal that cannot be
)


HALF_CHARACTER: Final = (
    "a text in it has half of a surrogate pair, which is no character: use bytes for it, or "
    "text.encode('utf-8', 'replace').decode()"
)
TOO_GREAT: Final = "a whole number in it is below -2**63 or above 2**64 - 1: use a Decimal or a text for it"


class Codec:
    """Encodes and decodes one declared type, canonically and without coercion.

    Args:
        declared: the type; ``Any`` and ``object`` stand for :data:`Value`.
        role: what is encoded. A *state* is an Object, whose later versions may add fields; only states are encoded so,
            an Object is no value. *Arguments* are a Struct of which any may be missing.

    Raises:
        BadType: the type is not supported.
        NameError: an annotation refers to a name that does not exist (yet).
    """

    __slots__ = (
        "_arrange",
        "_check",
        "_decode",
        "_encode",
        "_examine",
        "_has_equality",
        "_has_float",
        "_is_told_by_bytes",
        "_names",
        "_strict",
    )

    def __init__(self, declared: object, *, role: Literal["value", "state", "arguments"] = "value") -> None:
        declared = Any if declared is object else declared
        info = inspect.type_info(declared)
        traits = Traits()
        if isinstance(info, inspect.StructType) and role != "value":
            for field in info.fields:
                traits.visit(field.type)
        else:
            traits.visit(info)
        self._names = cast(type[msgspec.Struct], declared).__struct_fields__ if role == "state" else ()
        self._arrange = arrange_of(info) if traits.is_unsorted else None
        self._has_float = traits.has_float
        self._examine = examination_of(info)
        self._check = check_of(info, is_full=False) if traits.has_equality else self._examine
        self._has_equality = traits.has_equality
        # "deterministic" sorts sets and maps with text keys; the others are put in order by _arrange beforehand.
        self._encode = msgspec.msgpack.Encoder(order=None if self._arrange else "deterministic").encode
        self._decode: Callable[[bytes], Any] = msgspec.msgpack.Decoder(declared, strict=True).decode
        self._strict: Callable[[bytes], Any] | None = None
        if traits.has_records:
            strict = strict_type(info, is_optional=role != "value")
            self._strict = msgspec.msgpack.Decoder(strict, strict=True).decode
        # Of Structs, those written with these very fields have these very bytes: told in less time than strictly.
        self._is_told_by_bytes = traits.has_equality and not traits.is_unsorted

    def encode(self, value: object) -> bytes:
        """Canonical bytes of ``value``.

        Raises:
            BadValue: it is not of the declared type, cannot be encoded, or would not come back equal.
        """
        try:
            data = self._encode(value)
            fresh = self._decode(data)  # msgspec does not look at types when it encodes
            if self._check is not None:
                self._check((value,))
            is_same = not self._has_equality or fresh == value
            if not is_same:
                self._examine((value,))  # which knows the place
                raise BadValue(f"it {NOT_EQUAL}")
            if self._arrange is not None:
                return self._encode(self._arrange(fresh))
            # In a float's place a whole number has become a float.
            return self._encode(fresh) if self._has_float else data
        except _PROBLEMS as error:
            raise BadValue(self._explain(error)) from None

    def decode(self, data: bytes) -> Any:  # noqa: ANN401 - as declared, which mypy cannot see here
        """The value that ``data`` encodes, freshly made.

        Raises:
            BadValue: the bytes are not MessagePack, hold another type than the declared one, or other fields.
        """
        try:  # as in decode_trusted
            value = self._decode(data)
            if self._strict is not None and not (self._is_told_by_bytes and self._encode(value) == data):
                self._strict(data)
            if self._has_float or not self._has_equality:
                self._examine((value,))
        except _PROBLEMS as error:
            raise BadValue(self._explain(error)) from None
        return value

    def decode_trusted(self, data: bytes) -> Any:  # noqa: ANN401 - see decode
        """Like :meth:`decode` for bytes that :meth:`encode` wrote: only types and fields are checked again."""
        try:
            value = self._decode(data)
            if self._strict is not None and not (self._is_told_by_bytes and self._encode(value) == data):
                self._strict(data)
        except _PROBLEMS as error:
            raise BadValue(self._explain(error)) from None
        return value

    def _explain(self, error: Exception) -> str:
        if isinstance(error, RecursionError):
            return TOO_DEEP
        if isinstance(error, UnicodeEncodeError):
            return HALF_CHARACTER
        if isinstance(error, OverflowError) and "serialize ints" in str(error):
            return TOO_GREAT
        text, _, path = str(error).partition(" - at `$")
        text = text.replace("`", "")
        path = path.rstrip("`")
        if not path:
            return text[:1].lower() + text[1:]
        if self._names and path.startswith("["):
            index, _, rest = path[1:].partition("]")
            path = "." + self._names[int(index)] + rest
        return f"{path.removeprefix('.')}: {text[:1].lower()}{text[1:]}"
