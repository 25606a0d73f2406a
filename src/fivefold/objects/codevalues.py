"""What values consist of, as far as it can be told: for the fingerprint of code that uses them (ours)."""

from __future__ import annotations

import enum
import functools
import inspect
import typing
from collections import deque
from collections.abc import Callable, Mapping
from types import MethodType
from typing import Any, Final

_BASES: Final = (str, bytes, int, float)

_PARTS: Final[tuple[tuple[type | tuple[type, ...], Callable[[Any], list[object]]], ...]] = (
    (enum.Enum, lambda each: [each.name, each.value]),
    (_BASES, lambda each: [next(base.__repr__(each) for base in _BASES if isinstance(each, base))]),
    ((list, tuple, deque, set, frozenset), list),
    ((functools.partial, functools.partialmethod), lambda each: [each.func, each.args, each.keywords]),
    (property, lambda each: [each.fget, each.fset, each.fdel]),
    (functools.cached_property, lambda each: [each.func]),
    ((staticmethod, classmethod, MethodType), lambda each: [each.__func__]),
    (typing.NewType, lambda each: [each.__supertype__]),
    (typing.TypeVar, lambda each: [each.__name__, each.__bound__, each.__constraints__]),
    (typing.ForwardRef, lambda each: [each.__forward_arg__]),
)
"""For a kind of value, what it consists of; the first that fits."""


def parts_of(value: Any) -> list[object] | None:  # noqa: ANN401 - any value
    """What a value of a kind that Python brings along consists of; None if that cannot be told."""
    for kinds, parts in _PARTS:
        if isinstance(value, kinds):
            return parts(value)
    if isinstance(value, Mapping) and _is_built_in(value):
        return [part for item in value.items() for part in item]
    if arguments := typing.get_args(value):
        return [typing.get_origin(value), *arguments]
    if (wrapped := inspect.getattr_static(value, "__wrapped__", None)) is not None:  # what functools.cache makes
        return [wrapped]
    if type(value).__module__ == "msgspec._core" and hasattr(value, "factory"):  # of a Struct's default
        return [value.factory]
    return None


def _is_built_in(value: Mapping[Any, Any]) -> bool:
    """Whether it is a dict, or shows one; the environment, for instance, is a map that every machine has its own of."""
    return isinstance(value, dict) or type(value).__module__ == "builtins"


def state_of(value: object) -> dict[str, object]:
    """Attributes of an instance."""
    slots = [name for kind in type(value).__mro__ for name in _slots(kind)]
    return {name: getattr(value, name) for name in slots if hasattr(value, name)} | dict(getattr(value, "__dict__", {}))


def _slots(kind: type) -> tuple[str, ...]:
    found = getattr(kind, "__struct_fields__", None)
    if not isinstance(found, tuple):  # msgspec's own base class has a descriptor there
        found = vars(kind).get("__slots__", ())
    return (found,) if isinstance(found, str) else tuple(found)
