"""Decoders that refuse a stored state with a field that the class lacks, or without a field that it has.

A Struct is stored with its field names, so that a later version of its class may read it. msgspec reads a field that is
gone as nothing and a field that is new as its default: a renamed field would read as its default, and the next update
would make the loss permanent. So a type with fields is decoded once more, into a type of the same shape all of whose
fields are required and which takes no others.
"""

from __future__ import annotations

import datetime as dt
import decimal
import functools
import operator
import uuid
from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec
from msgspec import inspect

from fivefold.objects.shapes import Record, name_of

_LEAVES: Final[Mapping[type[inspect.Type], Any]] = {
    inspect.AnyType: Any,
    inspect.NoneType: None,
    inspect.BoolType: bool,
    inspect.IntType: int,
    inspect.FloatType: float,
    inspect.StrType: str,
    inspect.BytesType: bytes,
    inspect.DecimalType: decimal.Decimal,
    inspect.UUIDType: uuid.UUID,
    inspect.DateType: dt.date,
    inspect.DateTimeType: dt.datetime,
    inspect.TimeType: dt.time,
    inspect.TimeDeltaType: dt.timedelta,
}


def strict_type(info: inspect.Type, *, is_optional: bool = False) -> Any:  # noqa: ANN401 - a type annotation
    """A type that decodes what this one does, if all its fields are there and no others.

    Args:
        info: a supported type.
        is_optional: its own fields (not those of its parts) may be missing.
    """
    match info:
        case inspect.ListType() | inspect.VarTupleType() | inspect.SetType() | inspect.FrozenSetType():
            return list[strict_type(info.item_type)]  # type: ignore[misc]
        case inspect.TupleType():
            return tuple[tuple(map(strict_type, info.item_types))]  # type: ignore[misc]
        case inspect.NamedTupleType():
            return tuple[tuple(strict_type(field.type) for field in info.fields)]  # type: ignore[misc]
        case inspect.DictType():
            return dict[strict_type(info.key_type), strict_type(info.value_type)]  # type: ignore[misc]
        case inspect.UnionType():
            return functools.reduce(operator.or_, map(strict_type, info.types))
        case inspect.StructType():
            return _record(info, is_optional=is_optional)
        case inspect.DataclassType() | inspect.TypedDictType():
            return _record(info)
        case inspect.LiteralType():
            return Literal[info.values]
        case inspect.EnumType():
            return info.cls
        case _:
            return _LEAVES[type(info)]


def _record(info: Record | inspect.TypedDictType, *, is_optional: bool = False) -> type[msgspec.Struct]:
    declared: list[Any] = []
    for field in info.fields:
        may_lack = is_optional or (isinstance(info, inspect.TypedDictType) and not field.required)
        inner = strict_type(field.type)
        declared.append((field.name, inner, None) if may_lack else (field.name, inner))
    options: dict[str, Any] = {"kw_only": True}
    if isinstance(info, inspect.StructType):
        options = {"tag": info.tag, "tag_field": info.tag_field, "array_like": info.array_like}
    names = {field.name: field.encode_name for field in info.fields}
    return msgspec.defstruct(name_of(info), declared, rename=names, forbid_unknown_fields=True, gc=False, **options)
