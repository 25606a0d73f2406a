"""Which declared types are supported, and what encoding a type must take care of: found by walking it once."""

from __future__ import annotations

import dataclasses
import typing
from enum import Enum
from inspect import getattr_static, isdatadescriptor
from types import MemberDescriptorType
from typing import Any, Final, TypeAlias, cast

import msgspec
from msgspec import inspect

from fivefold.objects.plain import BadType

Record: TypeAlias = inspect.StructType | inspect.DataclassType
"""A type with named fields whose names are stored (unless it is ``array_like``)."""

DATES: Final = (inspect.DateType, inspect.DateTimeType, inspect.TimeType, inspect.TimeDeltaType)
_SCALARS: Final = (
    inspect.NoneType,
    inspect.BoolType,
    inspect.IntType,
    inspect.FloatType,
    inspect.StrType,
    inspect.BytesType,
    inspect.DecimalType,
    inspect.UUIDType,
    inspect.LiteralType,
    inspect.AnyType,
    *DATES,
)
_SORTED_BY_CODEC: Final = (inspect.BoolType, inspect.IntType, inspect.StrType, inspect.BytesType, inspect.LiteralType)
_SORTABLE: Final = (*_SORTED_BY_CODEC[:-1], inspect.DateType, inspect.UUIDType)
_LOOSE: Final = (
    inspect.AnyType,
    inspect.DataclassType,
    inspect.DecimalType,
    inspect.NamedTupleType,
    inspect.DateTimeType,
    inspect.TimeType,
)
"""Where ``==`` is no proof that nothing was lost: 3 == Decimal(3), 12:00 UTC == 14:00 +02:00, …."""

USE: Final = (
    "use int, str, bytes, bool, float, Decimal, UUID, a date, list, tuple, dict, set, an Enum, a Struct or a dataclass"
)


class Traits:
    """Walks a type once: refuses what is not supported, and notes what needs care.

    Attributes:
        has_float: whole numbers become floats in it.
        has_equality: ``==`` tells any two different values of it apart.
        has_records: field names are stored in it.
        is_unsorted: it holds maps or sets that the codec does not sort.
    """

    def __init__(self) -> None:
        self.has_float = False
        self.has_equality = True
        self.has_records = False
        self.is_unsorted = False

    def visit(self, info: inspect.Type, inside: tuple[type, ...] = ()) -> None:
        """Walk on.

        Raises:
            BadType: it is not supported; the text says what to use.
        """
        self.has_float |= isinstance(info, inspect.FloatType)
        self.has_equality &= not isinstance(info, _LOOSE)
        match info:
            case inspect.ListType() | inspect.VarTupleType():
                self.visit(info.item_type, inside)
            case inspect.TupleType(item_types=items) | inspect.UnionType(types=items):
                for item in items:
                    self.visit(item, inside)
            case inspect.SetType() | inspect.FrozenSetType():
                self._require_sortable(info.item_type, "a set of")
                self.is_unsorted |= not _is_sorted_by_codec(info.item_type)
            case inspect.DictType():
                self._require_sortable(info.key_type, "a map with keys of")
                self.is_unsorted |= not isinstance(info.key_type, inspect.StrType)
                self.visit(info.value_type, inside)
            case inspect.StructType() | inspect.DataclassType() | inspect.NamedTupleType() | inspect.TypedDictType():
                self._visit_fields(info, inside)
            case inspect.EnumType():
                _check_enum(info.cls)
            case _ if not isinstance(info, _SCALARS):
                raise BadType(f"{name_of(info)} is not supported: {USE}")
            case _:
                pass

    def _visit_fields(
        self, info: Record | inspect.NamedTupleType | inspect.TypedDictType, inside: tuple[type, ...]
    ) -> None:
        cls, name = class_of(info), name_of(info)
        if cls in inside:
            raise BadType(f"{name} contains itself: refer to the inner ones by a key instead")
        if isinstance(info, inspect.StructType):
            _check_struct(cls)
        elif isinstance(info, inspect.DataclassType):
            _check_dataclass(cls)
        elif isinstance(info, inspect.NamedTupleType) and cls.__dictoffset__:
            raise BadType(f"{name} is a subclass of a NamedTuple: use the NamedTuple, or a Struct")
        if _may_be_unset(cls):
            raise BadType(f"{name} has a field that may be UNSET, which is not stored: use None")
        if hasattr(cls, "__post_init__"):
            raise BadType(f"{name} has a __post_init__, which would run outside of methods: check values there")
        self.has_records = True
        for field in info.fields:
            self.visit(field.type, (*inside, cls))

    def _require_sortable(self, info: inspect.Type, what: str) -> None:
        items: tuple[inspect.Type, ...] = ()
        if isinstance(info, inspect.TupleType):
            items = info.item_types
        elif isinstance(info, inspect.VarTupleType):
            items = (info.item_type,)
        elif isinstance(info, _SORTABLE) or _is_uniform(info):
            return
        if not items:
            raise BadType(f"{what} {name_of(info)} cannot be put in order: use int, str, bytes, a date or a UUID")
        for item in items:
            if isinstance(item, inspect.EnumType):
                raise BadType(f"{what} tuples with {name_of(item)} cannot be put in order: use its values")
            self._require_sortable(item, what)


def class_of(info: Any) -> type:  # noqa: ANN401 - any info that has a class
    """The class of values of this type: ``Page`` for ``Page[int]``."""
    return cast(type, typing.get_origin(info.cls) or info.cls)


def name_of(info: inspect.Type) -> str:
    """The type's name, for people."""
    if getattr(info, "cls", None) is not None:
        return class_of(info).__name__
    return type(info).__name__.removesuffix("Type").lower()


def classes_of(info: inspect.Type) -> type:
    """The Python class of decoded values of this container type; a union holds at most one type of a class."""
    match info:
        case inspect.StructType() | inspect.DataclassType() | inspect.NamedTupleType():
            return class_of(info)
        case inspect.ListType():
            return list
        case inspect.TupleType() | inspect.VarTupleType():
            return tuple
        case inspect.SetType():
            return set
        case inspect.FrozenSetType():
            return frozenset
        case inspect.DictType() | inspect.TypedDictType():
            return dict
        case _:
            raise AssertionError(f"not a container: {info}")


def hidden_field(cls: type, names: typing.Iterable[str]) -> str | None:
    """A field that something else of its name hides, so that reading it would not give what is stored; None if none.

    The hazard: a subclass says ``sound = "woof"`` over the field ``sound``. Every object then shows "woof", whatever is
    stored, and no method can change it.
    """
    for name in names:
        found = getattr_static(cls, name, None)
        if isinstance(found, MemberDescriptorType):
            continue
        if not dataclasses.is_dataclass(cls) or isdatadescriptor(found):
            return name
    return None


def homeless_base(cls: type) -> type | None:
    """The base because of which instances may have attributes that are no fields; None if they may not."""
    if not cls.__dictoffset__:
        return None
    return next((base for base in reversed(cls.__mro__[:-1]) if base.__dictoffset__), cls)


def _may_be_unset(cls: type) -> bool:
    hints = typing.get_type_hints(cls).values()
    return any(hint is msgspec.UnsetType or msgspec.UnsetType in typing.get_args(hint) for hint in hints)


def _is_uniform(info: inspect.Type) -> bool:
    values: typing.Iterable[object] = ()
    if isinstance(info, inspect.LiteralType):
        values = info.values
    elif isinstance(info, inspect.EnumType):
        _check_enum(info.cls)
        values = [member.value for member in info.cls]
    return len({type(value) for value in values}) == 1


def _is_sorted_by_codec(info: inspect.Type) -> bool:
    if isinstance(info, inspect.TupleType):
        return all(map(_is_sorted_by_codec, info.item_types))
    if isinstance(info, inspect.VarTupleType):
        return _is_sorted_by_codec(info.item_type)
    return isinstance(info, _SORTED_BY_CODEC)


def _check_enum(cls: type[Enum]) -> None:
    if any("_missing_" in vars(base) for base in cls.__mro__ if base.__module__ != "enum"):
        raise BadType(f"{cls.__name__} has a _missing_, which would run outside of methods: remove it")
    if any("__eq__" in vars(base) for base in cls.__mro__ if base.__module__ != "enum" and issubclass(base, Enum)):
        raise BadType(f"{cls.__name__} has an __eq__ of its own: remove it")


def _check_struct(cls: type[Any]) -> None:
    name = cls.__name__
    if hasattr(cls, "__fivefold_methods__"):
        raise BadType(f"{name} is an Object, which cannot be a value: store its key instead")
    config = cls.__struct_config__
    if (
        not config.eq
        or config.omit_defaults
        or getattr_static(cls, "__eq__") is not getattr_static(msgspec.Struct, "__eq__")
    ):
        raise BadType(f"{name} must be a Struct with eq=True, omit_defaults=False and no __eq__ of its own")
    base = homeless_base(cls)
    if base is not None:
        remedy = "remove dict=True" if issubclass(base, msgspec.Struct) else f"give {base.__name__} `__slots__ = ()`"
        raise BadType(f"{name} may have attributes that are no fields and would be lost: {remedy}")
    _check_hidden(cls, cls.__struct_fields__)


def _check_dataclass(cls: type[Any]) -> None:
    if not dataclasses.is_dataclass(cls):
        raise BadType(f"{cls.__name__} is not supported: make it a dataclass or a Struct")
    for field in dataclasses.fields(cls):
        if not field.init:  # its default is the class's, and nothing of it in the instance is encoded
            raise BadType(f"{cls.__name__}.{field.name} is a field with init=False, which is not stored: drop that")
    _check_hidden(cls, [field.name for field in dataclasses.fields(cls)])


def _check_hidden(cls: type, names: typing.Iterable[str]) -> None:
    name = hidden_field(cls, names)
    if name is not None:
        raise BadType(f"{cls.__name__}.{name} is a field that another {name} hides: give it a type, or rename it")
