"""Puts maps and sets in order, where msgspec does not: it sorts text keys, and sets of numbers, text and bytes only."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from operator import attrgetter
from typing import Any, Final, TypeAlias, cast

from msgspec import inspect

from fivefold.objects.shapes import classes_of

Arrange: TypeAlias = Callable[[object], object]

_value_of: Final = attrgetter("value")


def arrange_of(info: inspect.Type) -> Arrange | None:
    """Turns a value of this type into one that encodes canonically in the order it is built. None: leave as it is."""
    match info:
        case inspect.AnyType():
            return _arrange_value
        case inspect.SetType() | inspect.FrozenSetType():
            return _arrange_set(info.item_type)
        case inspect.ListType() | inspect.VarTupleType():
            return _arrange_each(arrange_of(info.item_type))
        case inspect.TupleType():
            return _arrange_at([arrange_of(item) for item in info.item_types])
        case inspect.NamedTupleType():
            return _arrange_at([arrange_of(field.type) for field in info.fields])
        case inspect.DictType():
            return _arrange_map(info)
        case inspect.StructType() | inspect.DataclassType():
            return _arrange_record(info)
        case inspect.TypedDictType():
            return _arrange_typed_dict(info)
        case inspect.UnionType():
            return _arrange_union(info)
        case _:
            return None


def _arrange_value(value: object) -> object:
    if isinstance(value, list):
        return [_arrange_value(item) for item in value]
    if isinstance(value, dict):
        return {key: _arrange_value(value[key]) for key in sorted(value)}
    return value


def _rank_of(info: inspect.Type) -> Callable[[Any], Any] | None:
    """By what keys of this type are sorted; None for themselves."""
    return _value_of if isinstance(info, inspect.EnumType) else None


def _arrange_set(item_type: inspect.Type) -> Arrange:
    rank = _rank_of(item_type)
    return lambda value: sorted(cast(set[Any], value), key=rank)


def _arrange_each(arrange: Arrange | None) -> Arrange | None:
    if arrange is None:
        return None
    return lambda value: [arrange(item) for item in cast(Iterable[object], value)]


def _arrange_at(arranges: list[Arrange | None]) -> Arrange | None:
    if not any(arranges):
        return None

    def run(value: object) -> object:
        pairs = zip(cast(Iterable[object], value), arranges, strict=True)
        return [item if arrange is None else arrange(item) for item, arrange in pairs]

    return run


def _arrange_map(info: inspect.DictType) -> Arrange:
    arrange, rank = arrange_of(info.value_type), _rank_of(info.key_type)

    def run(value: object) -> object:
        items = cast(dict[Any, object], value)
        return {key: items[key] if arrange is None else arrange(items[key]) for key in sorted(items, key=rank)}

    return run


def _arrange_record(info: inspect.StructType | inspect.DataclassType) -> Arrange | None:
    arranges = [(field.name, field.encode_name, arrange_of(field.type)) for field in info.fields]
    if not any(arrange for _, _, arrange in arranges):
        return None
    tag: dict[str, object] = {}
    if isinstance(info, inspect.StructType) and info.tag_field is not None:
        tag[info.tag_field] = info.tag
    is_array = isinstance(info, inspect.StructType) and info.array_like

    def run(value: object) -> object:
        items = dict(tag)
        for name, encode_name, arrange in arranges:
            item = getattr(value, name)
            items[encode_name] = item if arrange is None else arrange(item)
        return list(items.values()) if is_array else items

    return run


def _arrange_typed_dict(info: inspect.TypedDictType) -> Arrange:
    arranges = {field.encode_name: arrange_of(field.type) for field in info.fields}

    def run(value: object) -> object:
        items = cast(dict[str, object], value)
        return {key: items[key] if (fit := arranges[key]) is None else fit(items[key]) for key in sorted(items)}

    return run


def _arrange_union(info: inspect.UnionType) -> Arrange | None:
    if any(isinstance(item, inspect.AnyType) for item in info.types):
        return _arrange_value
    arranges = [(classes_of(item), arrange) for item in info.types if (arrange := arrange_of(item)) is not None]
    if not arranges:
        return None

    def run(value: object) -> object:
        for classes, arrange in arranges:
            if isinstance(value, classes):
                return arrange(value)
        return value

    return run
