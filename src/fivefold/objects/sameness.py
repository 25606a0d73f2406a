"""Whether a value comes back from its encoding as it was given, and where in it something would not.

The codec writes what it is given, whatever was declared: a UUID in the place of a ``str`` becomes text, a subclass
loses the fields that its base does not have. After decoding nothing shows that. So every value is compared with what
comes back: by ``==``, which takes far less than the encoding; and where ``==`` is no proof, by the kinds of its parts.

Parts in one place of the type are looked at together, as a *column*: all the keys of a map, one field of all the items
of a list. So Python code runs once for a place in the type, not once for each part of a value.
"""

from __future__ import annotations

import datetime as dt
import decimal
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence, Set
from enum import Enum
from inspect import getattr_static
from itertools import chain
from operator import attrgetter
from types import MemberDescriptorType
from typing import Any, Final, TypeAlias

from msgspec import inspect

from fivefold.objects.plain import NOT_EQUAL, SCALARS, BadValue, check_value, is_lean_dict, is_member
from fivefold.objects.shapes import class_of, name_of

Column: TypeAlias = Sequence[Any]
Check: TypeAlias = Callable[[Column], None]
Kinds: TypeAlias = dict[type, Check | None]
"""The kinds of values that a place takes, each with what else is to be checked of those."""

UTC: Final = dt.UTC


def examination_of(info: inspect.Type) -> Check:
    """What refuses a column of values that would not come back as they are, and says where in them."""
    check = check_of(info, is_full=True)
    assert check is not None, "a full check looks at everything"
    return check


def check_of(info: inspect.Type, where: str = "", *, is_full: bool) -> Check | None:
    """Like :func:`examination_of`, of parts of a value; None if nothing has to be looked at.

    Args:
        info: the declared type.
        where: its place, for messages.
        is_full: False leaves out what ``==`` tells.
    """
    if isinstance(info, inspect.AnyType) or (
        isinstance(info, inspect.UnionType) and any(isinstance(item, inspect.AnyType) for item in info.types)
    ):
        return _check_values(where)
    infos = info.types if isinstance(info, inspect.UnionType) else (info,)
    kinds: Kinds = {}
    for item in infos:
        for kind, check in _kinds_of(item, where, is_full=is_full).items():
            kinds[kind] = check
    if any(isinstance(item, inspect.IntType) for item in infos):
        kinds[int] = None  # in `int | float` a whole number stays one
    if not is_full and not any(kinds.values()) and not kinds.keys() & _SUBCLASSED:
        return None
    return _CheckKinds(kinds, where, " or ".join(dict.fromkeys(map(_shown, infos))))


_SUBCLASSED: Final = frozenset({list, tuple, dict, set, frozenset})
"""What the codec takes subclasses of, which ``==`` may take for equal."""


def _kinds_of(info: inspect.Type, where: str, *, is_full: bool) -> Kinds:
    def inner(item: inspect.Type, place: str) -> Check | None:
        return check_of(item, place, is_full=is_full)

    match info:
        case inspect.ListType():
            return {list: _each(inner(info.item_type, f"{where}[…]"))}
        case inspect.VarTupleType():
            return {tuple: _each(inner(info.item_type, f"{where}[…]"))}
        case inspect.SetType() | inspect.FrozenSetType():
            check = _each(inner(info.item_type, f"{where}[…]"))
            return {set: check, frozenset: check}
        case inspect.TupleType():
            return {tuple: _across([inner(item, f"{where}[{at}]") for at, item in enumerate(info.item_types)])}
        case inspect.NamedTupleType():
            return {class_of(info): _across([inner(each.type, _dot(where, each.name)) for each in info.fields])}
        case inspect.DictType():
            return {dict: _items(inner(info.key_type, f"{where}[…]"), inner(info.value_type, f"{where}[…]"))}
        case inspect.TypedDictType():
            checks = {each.name: inner(each.type, _dot(where, each.name)) for each in info.fields}
            return {dict: _named_items(checks, where)}
        case inspect.StructType():
            return {class_of(info): _fields({e.name: inner(e.type, _dot(where, e.name)) for e in info.fields})}
        case inspect.DataclassType():
            checks = {each.name: inner(each.type, _dot(where, each.name)) for each in info.fields}
            return {class_of(info): _dataclass(class_of(info), checks, where)}
        case _:
            kinds = _scalar_kinds(info, where)
            return kinds if is_full else dict.fromkeys(kinds)


def _scalar_kinds(info: inspect.Type, where: str) -> Kinds:
    match info:
        case inspect.BytesType():
            return {bytes: None, bytearray: None, memoryview: None}
        case inspect.FloatType():
            return {float: _no_nan(where), int: _exact_floats(where)}
        case inspect.DecimalType():
            return {decimal.Decimal: _no_nan(where)}
        case inspect.DateTimeType():
            return {dt.datetime: _no_offset(where)}
        case inspect.TimeType():
            return {dt.time: _no_offset(where)}
        case inspect.LiteralType():
            return dict.fromkeys(map(type, info.values))
        case inspect.EnumType():
            return {info.cls: None}
        case _:
            return {_CLASSES[type(info)]: None}


_CLASSES: Final[Mapping[type[inspect.Type], type]] = {
    inspect.NoneType: type(None),
    inspect.BoolType: bool,
    inspect.IntType: int,
    inspect.StrType: str,
    inspect.DateType: dt.date,
    inspect.TimeDeltaType: dt.timedelta,
    inspect.UUIDType: uuid.UUID,
}

_NAMES: Final[Mapping[type[inspect.Type], str]] = {
    inspect.DecimalType: "Decimal",
    inspect.VarTupleType: "tuple",
    inspect.TypedDictType: "dict",
}


def _shown(info: inspect.Type) -> str:
    if isinstance(info, inspect.LiteralType):
        return "one of " + ", ".join(map(repr, info.values))
    kind = _CLASSES.get(type(info))
    if kind is not None:
        return "None" if kind is type(None) else kind.__name__
    return _NAMES.get(type(info)) or name_of(info)


def _dot(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _bad(where: str, text: str) -> BadValue:
    return BadValue(f"{where}: {text}" if where else text)


class _CheckKinds:
    """Refuses values of other kinds than these.

    Attributes:
        done: the kinds of which nothing else is to be checked.
    """

    __slots__ = ("_expected", "_kinds", "_where", "done")

    def __init__(self, kinds: Kinds, where: str, expected: str) -> None:
        self._kinds, self._where, self._expected = kinds, where, expected
        self.done = frozenset([kind for kind, check in kinds.items() if check is None])

    def __call__(self, column: Column) -> None:
        kinds = self._kinds
        if len(column) == 1 and (kind := type(column[0])) in kinds:  # as at the top of every value: without a set
            check = kinds[kind]
            if check is not None:
                check(column)
            return
        found = set(map(type, column))
        for kind in found:
            these = [value for value in column if type(value) is kind] if len(found) > 1 else column
            base = kind if kind in kinds else _base_of(kind, these, kinds.keys())
            if base is None:
                raise _bad(self._where, f"expected {self._expected}, got {kind.__name__}, which {NOT_EQUAL}")
            check = kinds[base]
            if check is not None:
                check(these)


def _base_of(kind: type, column: Column, fine: Set[type]) -> type | None:
    """The declared kind whose values equal these, which are of another; None if something of them would be lost."""
    if issubclass(kind, Enum):
        return next((base for base in (int, str) if base in fine and is_member(column[0], base)), None)
    return dict if dict in fine and all(map(is_lean_dict, column)) else None


def _check_values(where: str) -> Check:
    def run(column: Column) -> None:
        try:
            for value in column:
                if type(value) not in SCALARS:
                    check_value(value)
        except BadValue as error:
            raise _bad(where, str(error)) from None

    return run


def _each(check: Check | None) -> Check | None:
    return None if check is None else lambda column: check(list(chain.from_iterable(column)))


def _across(checks: Sequence[Check | None]) -> Check | None:
    if not any(checks):
        return None

    def run(column: Column) -> None:
        for check, items in zip(checks, zip(*column, strict=True), strict=True):
            if check is not None:
                check(items)

    return run


def _items(keys: Check | None, values: Check | None) -> Check | None:
    if keys is None and values is None:
        return None

    def run(column: Column) -> None:
        if keys is not None:
            keys(list(chain.from_iterable(column)))
        if values is not None:
            values(list(chain.from_iterable(map(dict.values, column))))

    return run


def _named_items(checks: dict[str, Check | None], where: str) -> Check:
    def run(column: Column) -> None:
        for value in column:
            _no_others(value, checks, where, "key")
        for name, check in checks.items():
            if check is not None:
                check([value[name] for value in column if name in value])

    return run


def _fields(checks: dict[str, Check | None]) -> Check | None:
    needed = [(attrgetter(name), _done_by(check), check) for name, check in checks.items() if check is not None]
    if not needed:
        return None

    def run(column: Column) -> None:
        if len(column) == 1:  # as at the top of every state: most fields need no call
            (value,) = column
            for field_of, done, check in needed:
                if type(part := field_of(value)) not in done:
                    check((part,))
            return
        for field_of, _, check in needed:
            check(list(map(field_of, column)))

    return run


def _done_by(check: Check) -> Set[type]:
    """The kinds of which the check finds that a value is fine by its kind alone."""
    return check.done if isinstance(check, _CheckKinds) else frozenset()


def _dataclass(cls: type, checks: dict[str, Check | None], where: str) -> Check:
    """Attributes of the instances are what is encoded, so there must be one for each field, and no others."""
    fields = _fields(checks)
    kept = {name for name in checks if not isinstance(getattr_static(cls, name, None), MemberDescriptorType)}

    def run(column: Column) -> None:
        for value in column:
            found = getattr(value, "__dict__", {})
            if found.keys() != kept:
                _no_others(found, checks, where, "attribute")
                raise _bad(where, f"field {', '.join(sorted(kept - found.keys()))} was deleted")
        if fields is not None:
            fields(column)

    return run


def _no_others(names: Collection[str], checks: Mapping[str, object], where: str, what: str) -> None:
    for name in names:
        if name not in checks:
            raise _bad(_dot(where, str(name)), f"the {what} is not declared as a field, so it would be lost")


def _no_nan(where: str) -> Check:
    def run(column: Column) -> None:
        for value in column:
            if value.is_nan() if isinstance(value, decimal.Decimal) else value != value:
                raise _bad(where, f"NaN {NOT_EQUAL}")

    return run


def _exact_floats(where: str) -> Check:
    def run(column: Column) -> None:
        for value in column:
            try:
                is_lost = float(value) != value
            except OverflowError:
                is_lost = True
            if is_lost:
                raise _bad(where, f"the whole number {value} is no float exactly and {NOT_EQUAL}")

    return run


def _no_offset(where: str) -> Check:
    """Times with an offset come back in UTC: equal to Python, but ``hour`` is another."""

    def run(column: Column) -> None:
        for value in column:
            if value.tzinfo is not None and value.tzinfo is not UTC:
                raise _bad(where, f"a time with a time zone must be in UTC: write .astimezone(UTC) of {value}")
            if value.fold:
                raise _bad(where, f"the fold of {value} {NOT_EQUAL}: use a time in UTC")

    return run
