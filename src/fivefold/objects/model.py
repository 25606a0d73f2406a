"""How a developer writes a replicated object: ``Object``, ``@query`` and ``@update``.

A class's annotated fields are its whole state. Its methods run on every server on a freshly decoded copy, so they must
be *deterministic*: equal state and arguments give an equal new state and an equal answer, on any machine. The rules:

1. No clock, random numbers, files, network, environment, threads: pass what is needed as an argument.
2. No ``id()``, no ``hash()`` of text, no addresses in messages.
3. Do not let the iteration order of a set decide anything: use ``sorted(...)``. (Stored sets and maps are sorted by the
   codec; maps come back in key order, not in the order of insertion.)
4. No module or class variables that change; no caches.
5. Sums, products and square roots of floats are the same everywhere; ``sin``, ``exp`` or ``sum`` over floats need not
   be (they follow the C library and the Python version). Prefer whole numbers of the smallest unit.
6. No recursion without a bound: how deep Python may go depends on how deep it already is.
7. All servers run the same Python minor version, the same msgspec and the same version of the object's module.

An update method works on a copy: if it raises, nothing changes.
"""

from __future__ import annotations

import abc
import copy
import dataclasses
import functools
import inspect
import typing
from collections.abc import Callable, Iterator, Mapping
from types import FunctionType
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, Protocol, TypeAlias, TypeVar

import msgspec

from fivefold.errors import ConfigurationError
from fivefold.objects.shapes import hidden_field, homeless_base
from fivefold.objects.values import BadType, BadValue, Codec

Kind: TypeAlias = Literal["query", "update"]
F = TypeVar("F", bound=Callable[..., object])

KIND_ATTRIBUTE: Final = "__fivefold_kind__"
MIGRATES_ATTRIBUTE: Final = "__fivefold_migrates__"
VERSION_MAX: Final = 2**31 - 1
"""The greatest version of a class: it is stored in four bytes."""
_RESERVED: Final = (
    *("__init__", "__new__", "__post_init__", "__del__", "__eq__"),
    *("__setattr__", "__getattribute__", "__getattr__"),
)
_TAKEN: Final = ("do", "with_deadline")
"""What a client's remote object offers beside the methods of its class."""
_CONSTANTS: Final = (type(None), bool, int, float, str, bytes, tuple, frozenset)
_DESCRIPTORS: Final = (FunctionType, property, staticmethod, classmethod, type)


def query(function: F) -> F:
    """Mark a method, or a function over several objects, as one that only reads.

    What it does to the state is thrown away. Its signature stays as it is.

    Raises:
        ConfigurationError: it cannot run on a server (a coroutine, a generator, a class or static method).
    """
    return _mark(function, "query")


def update(function: F) -> F:
    """Mark a method, or a function over several objects, as one that changes state.

    It is applied exactly once, and wholly or not at all. Its signature stays as it is.

    Raises:
        ConfigurationError: it cannot run on a server (a coroutine, a generator, a class or static method).
    """
    return _mark(function, "update")


def migrate(*, from_version: int) -> Callable[[F], F]:
    """Mark a method that fills a new object's fields from a state that an older version of the class has stored.

    The method takes the old state as its one parameter, whose annotation says what that is: a tuple of the old fields'
    types in their order, or the old class under another name. It runs before the first method that sees such a state,
    and like every method it must be deterministic. A field that was added at the end with a default needs none.

    Args:
        from_version: the version of the class that stored the state.

    Raises:
        ConfigurationError: that is no version.

    Example:
        >>> class Person(Object, version=2):
        ...     given: str = ""
        ...     family: str = ""
        ...
        ...     @migrate(from_version=1)
        ...     def split(self, old: tuple[str]) -> None:
        ...         self.given, _, self.family = old[0].partition(" ")
    """
    if type(from_version) is not int or not 1 <= from_version <= VERSION_MAX:
        raise ConfigurationError(f"from_version is a whole number from 1 on: got {from_version!r}")

    def mark(function: F) -> F:
        if not isinstance(function, FunctionType) or kind_of(function) is not None:
            raise ConfigurationError("@migrate marks a plain method that is neither a query nor an update")
        setattr(function, MIGRATES_ATTRIBUTE, from_version)
        return function

    return mark


def kind_of(function: object) -> Kind | None:
    """``"query"`` or ``"update"`` as the function was marked; None if it was not."""
    kind: Kind | None = getattr(function, KIND_ATTRIBUTE, None)
    return kind


def _mark(function: F, kind: Kind) -> F:
    if not isinstance(function, FunctionType):
        raise ConfigurationError(f"@{kind} must be put directly on a function, not on a {type(function).__name__}")
    name = function.__qualname__
    a_kind = "an update" if kind == "update" else "a query"
    is_lazy = inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function)
    if is_lazy or inspect.isasyncgenfunction(function):
        raise ConfigurationError(f"{name} must be a plain function: a server cannot wait in the middle of {a_kind}")
    if function.__name__.startswith("_") or function.__name__ == "<lambda>":
        raise ConfigurationError(f"{name} cannot be {a_kind}: give it a name that does not start with an underscore")
    if kind_of(function) is not None:
        raise ConfigurationError(f"{name} is marked twice: choose one of @query and @update")
    setattr(function, KIND_ATTRIBUTE, kind)
    return function


def _is_changeable(default: object) -> bool:
    """Whether this may hold what a method can change, so that no two objects may share it."""
    if isinstance(default, (list, dict, set, tuple, msgspec.Struct)):
        return True
    return dataclasses.is_dataclass(default) and not isinstance(default, type)


def _is_dunder(name: str) -> bool:
    return name.startswith("__") and name.endswith("__")


if TYPE_CHECKING:
    _Meta = msgspec.StructMeta
else:

    class _Meta(msgspec.StructMeta, type(Protocol)):
        """Of a kind with the metaclass of abc.ABC and Protocol, so that Python asks us before it finds a conflict."""

        __instancecheck__ = type.__instancecheck__
        __subclasscheck__ = type.__subclasscheck__


class ObjectMeta(_Meta):
    """Makes a class's annotated fields its state, and refuses what could not be replicated."""

    def __new__(
        mcs, name: str, bases: tuple[type, ...], namespace: dict[str, Any], *, version: int = 1, **options: object
    ) -> ObjectMeta:
        """Create the class; ``class Names(Object, version=2)`` says which version of the type it is.

        Raises:
            ConfigurationError: a field, method or option that cannot be replicated; the text says what to do.
        """
        if options:
            raise ConfigurationError(
                f"{name}: an Object takes no class options but version, remove {', '.join(sorted(options))}"
            )
        if type(version) is not int or not 1 <= version <= VERSION_MAX:
            raise ConfigurationError(f"{name}: its version is a whole number from 1 on: got {version!r}")
        is_root = bases == (msgspec.Struct,)
        if not is_root:
            _check_bases(name, bases)
            _check_reserved(name, namespace)
        given = dict(namespace)
        for field, default in given.items():
            if _is_changeable(default) and not _is_dunder(field):
                # Each object gets its own copy, of the default as it is now.
                factory = functools.partial(copy.deepcopy, copy.deepcopy(default))
                namespace[field] = msgspec.field(default_factory=factory)
        try:
            cls = super().__new__(mcs, name, bases, namespace, array_like=True, forbid_unknown_fields=True)
        except (TypeError, ValueError) as error:
            raise ConfigurationError(f"{name}: give every field a type and a default ({error})") from None
        if not is_root:
            _check_names(cls, given)
            _check_attributes(cls)
            _check_defaults(cls)
            type.__setattr__(cls, "__fivefold_methods__", _methods_of(cls))
            type.__setattr__(cls, "__fivefold_migrations__", _migrations_of(cls, version))
            type.__setattr__(cls, "__fivefold_version__", version)
        return cls

    def __setattr__(cls, name: str, value: object) -> None:
        """Refuse what would be state that is shared by all objects of a server, and by no two servers."""
        if not _is_dunder(name) and name != "_abc_impl":  # set by msgspec, once, for the sake of _Meta
            raise AttributeError(
                f"{cls.__name__}.{name} cannot be set on the class: state belongs to one object, use self"
            )
        super().__setattr__(name, value)

    __fivefold_methods__: dict[str, FunctionType]
    __fivefold_migrations__: dict[int, FunctionType]
    __fivefold_version__: int


class Object(msgspec.Struct, metaclass=ObjectMeta):
    """Base class of replicated objects: typed fields with defaults are the state, and nothing else is.

    Example:
        >>> class Counter(Object):
        ...     value: int = 0
        ...
        ...     @update
        ...     def increment(self, by: int = 1) -> int:
        ...         self.value += by
        ...         return self.value
        >>> Counter().increment(by=2)
        2

    The state is stored as the fields in their order: a later version of the class may add fields at the end, and must
    not remove, reorder or retype any.
    """

    __fivefold_methods__: ClassVar[dict[str, FunctionType]] = {}
    __fivefold_migrations__: ClassVar[dict[int, FunctionType]] = {}
    __fivefold_version__: ClassVar[int] = 1


def state_codec(cls: type[Object]) -> Codec:
    """The codec of the class's state.

    Raises:
        ConfigurationError: a field's type is not supported, or a default is not of the field's type.
    """
    for field in msgspec.structs.fields(cls):
        default = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
        try:
            Codec(field.type).encode(default)
        except BadType as error:
            raise ConfigurationError(f"{cls.__name__}.{field.name}: {error}") from None
        except BadValue as error:
            text = f"{cls.__name__}.{field.name}: its default does not fit its type: {error}"
            raise ConfigurationError(text) from None
    try:
        return Codec(cls, role="state")
    except BadType as error:
        raise ConfigurationError(f"{cls.__name__}: {error}") from None


def _check_bases(name: str, bases: tuple[type, ...]) -> None:
    for base in bases:
        if base is typing.Generic:
            text = "an Object cannot be generic: declare the types of its fields, which may be generic Structs"
            raise ConfigurationError(f"{name}: {text}")
        if isinstance(base, abc.ABCMeta) and not isinstance(base, ObjectMeta):
            text = f"an abc.ABC or Protocol cannot be a base of an Object: make {base.__name__} a plain class"
            raise ConfigurationError(f"{name}: {text} with `__slots__ = ()`")
        for each in _mixins(base):
            _check_reserved(each.__name__, vars(each))
            if vars(each).get("__slots__"):
                text = f"{each.__name__} has attributes that are not stored: declare them as fields of an Object"
                raise ConfigurationError(f"{name}: {text}")
            for field, annotation in inspect.get_annotations(each).items():
                if not any(word in str(annotation) for word in ("ClassVar", "Final")):
                    text = f"{each.__name__}.{field} would not be stored: derive {each.__name__} from Object"
                    raise ConfigurationError(f"{name}: {text}, or write 'ClassVar'")


def _mixins(cls: type) -> Iterator[type]:
    """The class and those of its bases that are no Structs."""
    for base in cls.__mro__:
        is_ours = issubclass(base, msgspec.Struct) or base in (object, typing.Generic)
        if not is_ours and not base.__module__.startswith("msgspec."):
            yield base


def _check_reserved(name: str, namespace: Mapping[str, object]) -> None:
    for reserved in _RESERVED:
        if reserved in namespace:
            raise ConfigurationError(f"{name}.{reserved} cannot be replaced: states are made by decoding")


def _check_attributes(cls: type) -> None:
    """What a base or the class itself may have put in the way of the fields."""
    name = cls.__name__
    base = homeless_base(cls)
    if base is not None:
        text = "gives objects attributes that are no fields and would be lost: write `__slots__ = ()` in it"
        raise ConfigurationError(f"{name}: {base.__name__} {text}")
    hidden = hidden_field(cls, cls.__struct_fields__)  # type: ignore[attr-defined]
    if hidden is not None:
        text = f"is a field that another {hidden} hides: write '{hidden}: … = …' for another default, or rename it"
        raise ConfigurationError(f"{name}.{hidden} {text}")


def _check_names(cls: type, given: dict[str, Any]) -> None:
    annotations = inspect.get_annotations(cls)
    fields = cls.__struct_fields__  # type: ignore[attr-defined]
    for name in (*given, *annotations):
        where = f"{cls.__name__}.{name}"
        if _is_dunder(name):
            continue
        if name in fields:
            if isinstance(given.get(name), FunctionType):
                raise ConfigurationError(f"{where} is both a field and a method: rename one of them")
            if name.startswith("_"):
                raise ConfigurationError(f"{where}: a field's name cannot start with an underscore, rename it")
            continue
        value = given.get(name)
        if name not in annotations and not isinstance(value, _DESCRIPTORS):
            raise ConfigurationError(f"{where} has no type: write '{name}: {type(value).__name__} = …' (or ClassVar)")
        if name in annotations and not isinstance(value, _CONSTANTS):
            raise ConfigurationError(f"{where}: a ClassVar is shared by all objects and must be a constant")


def _check_defaults(cls: type) -> None:
    try:
        fields = msgspec.structs.fields(cls)
        for field in fields:
            if field.required:
                raise ConfigurationError(f"{cls.__name__}.{field.name} has no default: write '{field.name}: … = …'")
        state_codec(cls)
    except NameError:
        return  # a forward reference: looked at again when the type is registered
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigurationError(f"{cls.__name__}: a field's type is not supported: {error}") from None


def _methods_of(cls: type) -> dict[str, FunctionType]:
    """Queries and updates by name, inherited ones included, as Python would find them."""
    methods: dict[str, FunctionType] = {}
    for base in reversed(cls.__mro__):
        for name, value in vars(base).items():
            if isinstance(value, (staticmethod, classmethod)) and kind_of(value.__func__) is not None:
                raise ConfigurationError(f"{cls.__name__}.{name} needs the object: a query or update is a plain method")
            if name in methods and kind_of(value) != kind_of(methods[name]):
                kind = kind_of(methods[name])
                raise ConfigurationError(f"{cls.__name__}.{name} replaces a {kind}: mark it with @{kind} too")
            if isinstance(value, FunctionType) and kind_of(value) is not None:
                if name in _TAKEN:
                    raise ConfigurationError(f"{cls.__name__}.{name}: remote objects have a {name}(), rename yours")
                methods[name] = value
    return methods


def _migrations_of(cls: type, version: int) -> dict[int, FunctionType]:
    """The class's own methods that migrate, by the version that they start from."""
    found: dict[int, FunctionType] = {}
    for name, value in vars(cls).items():
        start = getattr(value, MIGRATES_ATTRIBUTE, None)
        if start is None:
            continue
        if start == version:
            raise ConfigurationError(f"{cls.__name__}.{name} migrates from version {start}, which the class itself is")
        if start in found:
            raise ConfigurationError(f"{cls.__name__} migrates twice from version {start}: remove one of the two")
        if len(inspect.signature(value).parameters) != 2:
            raise ConfigurationError(f"{cls.__name__}.{name} takes self and one parameter, the old state")
        found[start] = value
    return found


def hints_of(function: Callable[..., object]) -> dict[str, Any]:
    """The function's annotations, resolved.

    Raises:
        ConfigurationError: one of them names something that does not exist.
    """
    try:
        return typing.get_type_hints(function, include_extras=True)
    except NameError as error:
        raise ConfigurationError(f"{function.__qualname__}: an annotation cannot be resolved: {error}") from None
