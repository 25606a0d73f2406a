"""Which Python types may be state, arguments and answers, and their one canonical encoding.

Canonical means: equal values have equal bytes on every server, whatever order they were built in. MessagePack with maps
and sets in sorted order gives that for the types allowed here; everything else is refused when a class is created, so
that no value can surprise a running server. Refused, and why:

* NaN, because it differs from itself and its bits are not portable;
* sets of anything but whole numbers, text, bytes, booleans and tuples of these, because they cannot be put in order;
* types that contain themselves, because how deep Python may nest depends on how deep the stack already is;
* dates, decimals, UUIDs: pass whole numbers or text, with the unit in the name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

import msgspec
from msgspec import inspect

if TYPE_CHECKING:
    Value: TypeAlias = "bool | int | float | str | bytes | list[Value] | dict[str, Value] | None"
else:
    Value = Any
"""A JSON-like value (and bytes), nested at most :data:`VALUE_DEPTH_MAX` deep."""

VALUE_DEPTH_MAX: Final = 64
"""Lists and maps inside each other in a Value: far below Python's own limit, which is not the same everywhere."""

TOO_DEEP: Final = f"a value is nested deeper than {VALUE_DEPTH_MAX} levels"
NOT_EQUAL: Final = "a value would not come back equal: no NaN, and a tuple, list or set only where that is declared"

Check: TypeAlias = Callable[[object], None]
Arrange: TypeAlias = Callable[[object], object]

_SCALARS: Final = (
    inspect.NoneType,
    inspect.BoolType,
    inspect.IntType,
    inspect.FloatType,
    inspect.StrType,
    inspect.BytesType,
)
_SORTABLE: Final = (inspect.BoolType, inspect.IntType, inspect.StrType, inspect.BytesType)
_JSON_SCALARS: Final = frozenset({type(None), bool, int, str, bytes})


class BadValue(Exception):
    """A value or encoding that does not fit its declared type; the text is a sentence without its subject."""


class BadType(Exception):
    """A declared type that cannot be encoded canonically; the text says which and what to use."""


class Codec:
    """Encodes and decodes one declared type, canonically and without coercion.

    Args:
        declared: the type; ``Any`` and ``object`` stand for :data:`Value`.
        names: the field names if the type is encoded as an array, so that messages can name a field.
        is_state: the type is an Object; only states are encoded so, an Object is no value.

    Raises:
        BadType: the type is not supported.
        NameError: an annotation refers to a name that does not exist (yet).
    """

    __slots__ = ("_arrange", "_careful", "_check", "_decode", "_encode", "_has_float", "_names")

    def __init__(self, declared: object, *, names: tuple[str, ...] = (), is_state: bool = False) -> None:
        declared = Any if declared is object else declared
        info = inspect.type_info(declared)
        traits = _Traits()
        if is_state:
            for field in msgspec.structs.fields(cast(type[msgspec.Struct], declared)):
                traits.visit(inspect.type_info(field.type), ())
        else:
            traits.visit(info, ())
        self._names = names
        self._check = _check_of(info)
        self._arrange = _arrange_of(info) if traits.has_unsorted_maps else None
        self._has_float = traits.has_float
        self._careful = traits.has_float or traits.has_set or self._check is not None or self._arrange is not None
        # "deterministic" sorts sets and maps with text keys; the other maps are put in order by _arrange beforehand.
        self._encode = msgspec.msgpack.Encoder(order=None if self._arrange else "deterministic").encode
        self._decode: Callable[[bytes], Any] = msgspec.msgpack.Decoder(declared, strict=True).decode

    def encode(self, value: object) -> bytes:
        """Canonical bytes of ``value``.

        Raises:
            BadValue: it is not of the declared type, or cannot be encoded.
        """
        try:
            data = self._encode(value)
            fresh = self._decode(data)  # msgspec does not look at types when it encodes
        except (msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError) as error:
            raise BadValue(self._explain(error)) from None
        if self._careful:
            self._examine(fresh, value)
            if self._arrange is not None:
                return self._encode(self._arrange(fresh))
            if self._has_float:
                return self._encode(fresh)  # a whole number in a float's place has become a float
        return data

    def decode(self, data: bytes) -> Any:  # noqa: ANN401 - as declared, which mypy cannot see here
        """The value that ``data`` encodes, freshly made.

        Raises:
            BadValue: the bytes are not MessagePack, or hold another type than the declared one.
        """
        try:
            value = self._decode(data)
            if self._careful:
                self._examine(self._decode(self._encode_any(value)), value)
        except (msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError) as error:
            raise BadValue(self._explain(error)) from None
        return value

    def decode_trusted(self, data: bytes) -> Any:  # noqa: ANN401 - see decode
        """Like :meth:`decode` for bytes that :meth:`encode` wrote: only the types are checked again."""
        try:
            return self._decode(data)
        except (msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError) as error:
            raise BadValue(self._explain(error)) from None

    def _encode_any(self, value: object) -> bytes:
        if self._check is not None:
            self._check(value)
        return self._encode(value if self._arrange is None else self._arrange(value))

    def _examine(self, fresh: object, value: object) -> None:
        if self._check is not None:
            self._check(fresh)
        try:
            is_equal = bool(fresh == value)
        except RecursionError:
            raise BadValue(TOO_DEEP) from None
        if not is_equal:
            raise BadValue(NOT_EQUAL)

    def _explain(self, error: Exception) -> str:
        if isinstance(error, RecursionError):
            return TOO_DEEP
        text, _, path = str(error).partition(" - at `$")
        text = text.replace("`", "")
        path = path.rstrip("`")
        if not path:
            return text[:1].lower() + text[1:]
        if self._names and path.startswith("["):
            index, _, rest = path[1:].partition("]")
            path = "." + self._names[int(index)] + rest
        return f"{path.removeprefix('.')}: {text[:1].lower()}{text[1:]}"


class _Traits:
    """Walks a type once: refuses what is not supported, and notes what needs care."""

    def __init__(self) -> None:
        self.has_float = False
        self.has_set = False
        self.has_unsorted_maps = False

    def visit(self, info: inspect.Type, inside: tuple[type, ...]) -> None:
        self.has_float |= isinstance(info, inspect.FloatType)
        match info:
            case inspect.ListType() | inspect.VarTupleType():
                self.visit(info.item_type, inside)
            case inspect.TupleType(item_types=items) | inspect.UnionType(types=items):
                for item in items:
                    self.visit(item, inside)
            case inspect.SetType() | inspect.FrozenSetType():
                self.has_set = True
                self._require_sortable(info.item_type, "a set of")
            case inspect.DictType():
                self._require_sortable(info.key_type, "a map with keys of")
                self.has_unsorted_maps |= not isinstance(info.key_type, inspect.StrType)
                self.visit(info.value_type, inside)
            case inspect.StructType():
                self._visit_struct(info, inside)
            case inspect.EnumType() if "_missing_" in vars(info.cls):
                raise BadType(f"{info.cls.__name__} has a _missing_, which would run outside of methods: remove it")
            case _ if not isinstance(info, (*_SCALARS, inspect.AnyType, inspect.LiteralType, inspect.EnumType)):
                name = _name_of(info)
                raise BadType(f"{name} is not supported: use int, str, bytes, bool, float, list, dict, set or a Struct")
            case _:
                pass

    def _visit_struct(self, info: inspect.StructType, inside: tuple[type, ...]) -> None:
        name = info.cls.__name__
        if info.cls in inside:
            raise BadType(f"{name} contains itself: refer to the inner ones by a key instead")
        if hasattr(info.cls, "__fivefold_methods__"):
            raise BadType(f"{name} is an Object, which cannot be a value: store its key instead")
        config = info.cls.__struct_config__
        if not config.eq or config.omit_defaults or info.cls.__eq__ is not msgspec.Struct.__eq__:
            raise BadType(f"{name} must be a Struct with eq=True, omit_defaults=False and no __eq__ of its own")
        if hasattr(info.cls, "__post_init__"):
            raise BadType(f"{name} has a __post_init__, which would run outside of methods: check values there")
        for field in info.fields:
            self.visit(field.type, (*inside, info.cls))

    def _require_sortable(self, info: inspect.Type, what: str) -> None:
        items: tuple[inspect.Type, ...] = ()
        if isinstance(info, inspect.TupleType):
            items = info.item_types
        elif isinstance(info, inspect.VarTupleType):
            items = (info.item_type,)
        elif isinstance(info, _SORTABLE) or _is_uniform_literal(info):
            return
        if not items:
            raise BadType(f"{what} {_name_of(info)} cannot be put in order: use int, str or bytes")
        for item in items:
            self._require_sortable(item, what)


def _name_of(info: inspect.Type) -> str:
    cls = getattr(info, "cls", None)
    return cls.__name__ if isinstance(cls, type) else type(info).__name__.removesuffix("Type").lower()


def _is_uniform_literal(info: inspect.Type) -> bool:
    return isinstance(info, inspect.LiteralType) and len({type(value) for value in info.values}) == 1


# --- Value: what Any may hold ----------------------------------------------------------------------------------------


def check_value(value: object, depth: int = 0) -> None:
    """Refuse what is not a :data:`Value`.

    Raises:
        BadValue: something else is in it, a NaN, or it is nested too deep.
    """
    kind = type(value)
    if kind in _JSON_SCALARS:
        return
    if depth >= VALUE_DEPTH_MAX:
        raise BadValue(TOO_DEEP)
    if isinstance(value, list):
        for item in value:
            check_value(item, depth + 1)
    elif isinstance(value, dict):
        for key, item in value.items():
            if type(key) is not str:
                raise BadValue("the keys of a map must be str")
            check_value(item, depth + 1)
    elif kind is not float:
        raise BadValue(f"{kind.__name__} is not a plain value: use None, bool, int, float, str, bytes, list or dict")
    elif value != value:
        raise BadValue("NaN is not allowed")


_encode_sorted: Final = msgspec.msgpack.Encoder(order="deterministic").encode


def is_same_value(one: Value, other: Value) -> bool:
    """Whether two values are the same to the last type: ``1 == True`` in Python, but they are different values."""
    return one == other and _encode_sorted(one) == _encode_sorted(other)


def _check_of(info: inspect.Type) -> Check | None:
    """What must be checked beyond msgspec's own validation: the places declared as Value. None if there is none."""
    match info:
        case inspect.AnyType():
            return check_value
        case inspect.ListType() | inspect.VarTupleType():
            return _check_each(_check_of(info.item_type))
        case inspect.TupleType():
            return _check_at([_check_of(item) for item in info.item_types])
        case inspect.DictType():
            return _check_values(_check_of(info.value_type))
        case inspect.StructType():
            return _check_fields([(field.name, _check_of(field.type)) for field in info.fields])
        case inspect.UnionType():
            return _check_union(info)
        case _:
            return None


def _check_each(check: Check | None) -> Check | None:
    if check is None:
        return None

    def run(value: object) -> None:
        for item in cast(Iterable[object], value):
            check(item)

    return run


def _check_values(check: Check | None) -> Check | None:
    if check is None:
        return None

    def run(value: object) -> None:
        for item in cast(dict[object, object], value).values():
            check(item)

    return run


def _check_at(checks: list[Check | None]) -> Check | None:
    if not any(checks):
        return None

    def run(value: object) -> None:
        for item, check in zip(cast(Iterable[object], value), checks, strict=True):
            if check is not None:
                check(item)

    return run


def _check_fields(checks: list[tuple[str, Check | None]]) -> Check | None:
    needed = [(name, check) for name, check in checks if check is not None]
    if not needed:
        return None

    def run(value: object) -> None:
        for name, check in needed:
            check(getattr(value, name))

    return run


def _check_union(info: inspect.UnionType) -> Check | None:
    if any(isinstance(item, inspect.AnyType) for item in info.types):
        return check_value
    checks = [(_classes_of(item), check) for item in info.types if (check := _check_of(item)) is not None]
    if not checks:
        return None

    def run(value: object) -> None:
        for classes, check in checks:
            if isinstance(value, classes):
                check(value)

    return run


# --- maps whose keys are not text: put in order here, because msgspec only sorts text keys ----------------------------


def _arrange_of(info: inspect.Type) -> Arrange | None:
    """Turns a value of this type into one that encodes canonically in the order it is built. None: leave as it is."""
    match info:
        case inspect.AnyType():
            return _arrange_value
        case inspect.SetType() | inspect.FrozenSetType():
            return _arrange_set
        case inspect.ListType() | inspect.VarTupleType():
            return _arrange_each(_arrange_of(info.item_type))
        case inspect.TupleType():
            return _arrange_at([_arrange_of(item) for item in info.item_types])
        case inspect.DictType():
            return _arrange_map(_arrange_of(info.value_type))
        case inspect.StructType():
            return _arrange_struct(info)
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


def _arrange_set(value: object) -> object:
    return sorted(cast(set[Any], value))


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


def _arrange_map(arrange: Arrange | None) -> Arrange:
    def run(value: object) -> object:
        items = cast(dict[Any, object], value)
        return {key: items[key] if arrange is None else arrange(items[key]) for key in sorted(items)}

    return run


def _arrange_struct(info: inspect.StructType) -> Arrange | None:
    arranges = [(field.name, field.encode_name, _arrange_of(field.type)) for field in info.fields]
    if not any(arrange for _, _, arrange in arranges):
        return None

    def run(value: object) -> object:
        items: dict[str, object] = {} if info.tag_field is None else {info.tag_field: info.tag}
        for name, encode_name, arrange in arranges:
            item = getattr(value, name)
            items[encode_name] = item if arrange is None else arrange(item)
        return list(items.values()) if info.array_like else items

    return run


def _arrange_union(info: inspect.UnionType) -> Arrange | None:
    if any(isinstance(item, inspect.AnyType) for item in info.types):
        return _arrange_value
    arranges = [(_classes_of(item), arrange) for item in info.types if (arrange := _arrange_of(item)) is not None]
    if not arranges:
        return None

    def run(value: object) -> object:
        for classes, arrange in arranges:
            if isinstance(value, classes):
                return arrange(value)
        return value

    return run


def _classes_of(info: inspect.Type) -> type:
    """The Python class of decoded values of this container type; a union holds at most one type of a class."""
    match info:
        case inspect.StructType():
            return info.cls
        case inspect.ListType():
            return list
        case inspect.TupleType() | inspect.VarTupleType():
            return tuple
        case inspect.SetType():
            return set
        case inspect.FrozenSetType():
            return frozenset
        case inspect.DictType():
            return dict
        case _:
            raise AssertionError(f"not a container: {info}")
