"""The codes that a server holds, several of one type side by side while it is upgraded: ``protocol.operations.Codes``.

An operation names its code: CODE_BYTES of a type for a method, and for a function those of the function and then of
each type among its objects, in the order in which they first occur. A server runs an operation by exactly that code, or
declines it. It also declines versions of a type beyond the *active* one: until `fivefold upgrade` says so, new code
lies ready and runs nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from fivefold.errors import UnknownMethod, UnknownType
from fivefold.objects.methods import Method
from fivefold.objects.running import ObjectType, Running
from fivefold.objects.watchdog import TimeLimit
from fivefold.protocol.operations import CODE_BYTES, Executor, ObjectId, type_of

READY_MADE: Final = "fivefold.objects."
"""Module prefix of the ready-made types."""

RUNNINGS_MAX: Final = 1024
"""Codes of operations whose executors are kept; what is not held is never kept, since clients choose what they name."""


class TypeCode(msgspec.Struct, frozen=True, array_like=True):
    """One version of a type that a server holds.

    Attributes:
        name: the type's.
        version: of the class.
        code: CODE_BYTES.
    """

    name: str
    version: int
    code: bytes


class FunctionCode(msgspec.Struct, frozen=True, array_like=True):
    """One code of a function over several objects that a server holds.

    Attributes:
        name: the function's, dotted.
        code: CODE_BYTES.
        types: name and version of each type that its parameters name.
    """

    name: str
    code: bytes
    types: tuple[tuple[str, int], ...]


class Shelf:
    """All codes that a registry holds, by what names them.

    Args:
        limit: interrupts methods that run too long; None for no limit.

    Attributes:
        active: for a type the greatest version that may run; a type that is not in it runs its lowest version only.
    """

    def __init__(self, limit: TimeLimit | None) -> None:
        """Empty."""
        self._limit = limit
        self._types: dict[str, dict[int, ObjectType]] = {}
        self._functions: dict[str, list[Method]] = {}
        self._by_code: dict[bytes, ObjectType | Method] = {}
        self._runnings: dict[tuple[bytes, str | tuple[str, ...]], Running] = {}
        self._active: Mapping[str, int] = {}

    def put_type(self, known: ObjectType) -> None:
        """Add a version of a type, beside the others of its name."""
        self._types.setdefault(known.name, {})[known.version] = known
        self._changed()

    def replace_type(self, known: ObjectType) -> None:
        """Hold this type of its name, and no other."""
        self._types[known.name] = {known.version: known}
        self._changed()

    def put_function(self, method: Method) -> None:
        """Add a function; one of the same name over the same versions of types gives way."""
        kept = [each for each in self._functions.get(method.name, []) if versions_of(each) != versions_of(method)]
        self._functions[method.name] = [*kept, method]
        self._changed()

    def _changed(self) -> None:
        self._by_code.clear()
        self._runnings.clear()

    @property
    def active(self) -> Mapping[str, int]:
        """For each type the greatest version that runs here."""
        return {name: self._active.get(name, min(versions)) for name, versions in self._types.items()}

    @active.setter
    def active(self, versions: Mapping[str, int]) -> None:
        self._active = dict(versions)
        self._runnings.clear()

    def held(self) -> list[ObjectType]:
        """Every version of every type, in the order of names and versions."""
        return [versions[number] for _, versions in sorted(self._types.items()) for number in sorted(versions)]

    # --- what a server says that it holds ----------------------------------------------------------------------

    def types(self) -> tuple[TypeCode, ...]:
        """Every version of every type, in the order of their names."""
        return tuple(TypeCode(each.name, each.version, each.code) for each in self.held())

    def functions(self) -> tuple[FunctionCode, ...]:
        """Every code of every function, in the order of their names."""
        found = [
            FunctionCode(name, method.code, versions_of(method))
            for name, methods in self._functions.items()
            for method in methods
        ]
        return tuple(sorted(found, key=lambda each: (each.name, each.types)))

    def code_of(self, objects: tuple[ObjectId, ...], method: str) -> bytes:
        """What an operation names that means the newest code held here.

        Raises:
            UnknownType, UnknownMethod: that is not held here.
        """
        code = b""
        for name in dict.fromkeys(map(type_of, objects)):
            if name not in self._types:
                raise UnknownType(f"there is no object type {name}: register it first")
            code += self._types[name][max(self._types[name])].code
        if "." not in method:
            return code
        if method not in self._functions:
            raise UnknownMethod(f"there is no function {method}: register its module first")
        return max(self._functions[method], key=versions_of).code + code

    # --- protocol.operations.Codes -----------------------------------------------------------------------------

    def running(self, objects: tuple[ObjectId, ...], code: bytes) -> Executor | str:
        """What runs calls on these objects by this code; or why this server does not, as ``ErrorName: text``."""
        first = objects[0]
        # Nearly every call is on one object: the head of its id is at hand for less than the names in a row.
        head = first[: first.find("/")] if len(objects) == 1 else tuple(map(type_of, objects))
        found = self._runnings.get((code, head))
        return self._look_up(objects, code, head) if found is None else found

    def _look_up(self, objects: tuple[ObjectId, ...], code: bytes, head: str | tuple[str, ...]) -> Executor | str:
        names = tuple(dict.fromkeys(map(type_of, objects)))
        for name in names:
            if name not in self._types:
                return f"UnknownType: the servers know no object type {name!r}; load it with --objects"
        held = self._held(code) if code else self._ready_made(names)
        types = {each.name: each for each in held if isinstance(each, ObjectType)}
        if not held or len(code) not in (0, CODE_BYTES * len(held)) or types.keys() != set(names):
            return self._other_code(names)
        for each in types.values():
            if each.version > self.active[each.name]:
                return (
                    f"Upgrading: {each.name} {each.version} is not active here yet: try again when the upgrade is done"
                )
        functions = {each.name: each for each in held if isinstance(each, Method)}
        made = Running(types, functions, self._limit)
        if len(self._runnings) >= RUNNINGS_MAX:
            self._runnings.clear()
        self._runnings[(code, head)] = made
        return made

    def _held(self, code: bytes) -> list[ObjectType | Method]:
        """The types and the function whose codes these are; codes that are not held are left out."""
        if not self._by_code:
            self._by_code = {each.code: each for each in self._everything()}
        starts = range(0, len(code), CODE_BYTES)
        return [each for start in starts if (each := self._by_code.get(code[start : start + CODE_BYTES])) is not None]

    def _ready_made(self, names: tuple[str, ...]) -> list[ObjectType | Method]:
        """What an operation means that names no code: methods of ready-made types in version 1, or nothing.

        Fivefold itself answers for their code: it never changes without a new version (tests/unit/test_objects_code.py
        has it written down). So they mean one thing on every server, whatever releases these are of.
        """
        types = [self._types[name].get(1) for name in names]
        if any(each is None or not each.cls.__module__.startswith(READY_MADE) for each in types):
            return []
        return [each for each in types if each is not None]

    def _everything(self) -> Iterable[ObjectType | Method]:
        for versions in self._types.values():
            yield from versions.values()
        for methods in self._functions.values():
            yield from methods

    def _other_code(self, names: tuple[str, ...]) -> str:
        here = ", ".join(f"{name} {version}" for name in names for version in sorted(self._types[name]))
        return f"Upgrading: this server has other code for the call, {here}: try again when the upgrade is done"


def versions_of(method: Method) -> tuple[tuple[str, int], ...]:
    """Name and version of each type that a function's parameters name."""
    classes = {*method.objects, *([method.variadic] if method.variadic is not None else [])}
    return tuple(sorted((each.__name__, each.__fivefold_version__) for each in classes))
