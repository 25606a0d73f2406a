"""What a registry holds, in words: for the command line, and to review an object before it is deployed."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from fivefold.objects.methods import Method, readable
from fivefold.objects.model import Kind
from fivefold.objects.registry import Registry
from fivefold.objects.running import ObjectType

_SUSPECT_MODULES: Final = frozenset(
    {
        *("asyncio", "datetime", "io", "multiprocessing", "os", "pathlib", "platform", "random", "secrets", "socket"),
        *("subprocess", "sys", "tempfile", "threading", "time", "urllib", "uuid"),
    }
)
_SUSPECT_BUILTINS: Final = frozenset({"globals", "hash", "id", "input", "open"})


class MethodDescription(msgspec.Struct, frozen=True):
    """One query, update or function.

    Attributes:
        name: as it is called.
        kind: query or update.
        signature: parameters and answer.
        summary: first line of its docstring.
        suspects: names it uses that may differ from server to server, such as ``time``; for review.
    """

    name: str
    kind: Kind
    signature: str
    summary: str
    suspects: tuple[str, ...]


class TypeDescription(msgspec.Struct, frozen=True):
    """One object type.

    Attributes:
        name: as in an object id.
        summary: first line of its docstring.
        fields: name and type of the fields, in the order in which they are stored.
        methods: sorted by name.
        version: of the class.
        code: what names it in operations, in hexadecimal.
        migrates: versions whose states it reads by a migration.
        is_active: whether calls run by it, where it is one of several that a server holds.
    """

    name: str
    summary: str
    fields: tuple[tuple[str, str], ...]
    methods: tuple[MethodDescription, ...]
    version: int = 1
    code: str = ""
    migrates: tuple[int, ...] = ()
    is_active: bool = True


class Description(msgspec.Struct, frozen=True):
    """Everything a registry holds, sorted by name."""

    types: tuple[TypeDescription, ...]
    functions: tuple[MethodDescription, ...]


def describe(registry: Registry) -> Description:
    """Describe what ``registry`` holds."""
    kinds = tuple(describe_type(known) for _, known in sorted(registry.types.items()))
    functions = tuple(describe_method(method) for _, method in sorted(registry.functions.items()))
    return Description(kinds, functions)


def describe_method(method: Method) -> MethodDescription:
    """Describe one method or function."""
    return MethodDescription(
        method.name,
        method.kind,
        method.shown,
        _summary(method.function),
        tuple(sorted(set(_suspects(method.function)))),
    )


def describe_type(known: ObjectType, *, is_active: bool = True) -> TypeDescription:
    """Describe one version of a type."""
    fields = tuple(
        (field.name, readable(inspect.formatannotation(field.type))) for field in msgspec.structs.fields(known.cls)
    )
    methods = tuple(describe_method(method) for _, method in sorted(known.methods.items()))
    migrates = tuple(sorted(known.cls.__fivefold_migrations__))
    return TypeDescription(
        known.name, _summary(known.cls), fields, methods, known.version, known.code.hex(), migrates, is_active
    )


def _summary(thing: Callable[..., object] | type) -> str:
    return (thing.__doc__ or "").strip().partition("\n")[0]


def _suspects(function: types.FunctionType) -> Iterator[str]:
    """Global names in the function's code, inner functions included, that lead to a clock, chance or the outside."""
    codes = [function.__code__]
    while codes:
        code = codes.pop()
        codes += [constant for constant in code.co_consts if isinstance(constant, types.CodeType)]
        for name in code.co_names:
            value = function.__globals__.get(name)
            module = value.__name__ if isinstance(value, types.ModuleType) else getattr(value, "__module__", None)
            is_suspect = isinstance(module, str) and module.partition(".")[0] in _SUSPECT_MODULES
            if is_suspect or (name not in function.__globals__ and name in _SUSPECT_BUILTINS):
                yield name
