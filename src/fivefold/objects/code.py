"""Which code a class or function is: a fingerprint of everything of yours that its methods can reach (ours).

An operation names the code that its caller means, and a server with other code for it declines. So a candidate means
one thing on every server, whatever is restarted with new code in the meantime (docs/how-to/upgrade.md).

The fingerprint covers the source of the class and of your base classes, and of the functions, classes and values of
yours that they use by name, at any depth: decorators, defaults, closures, tables of functions, modules of yours, and
what a method imports while it runs. It leaves out comments, docstrings and layout, and whatever is installed from
elsewhere: the standard library, Fivefold itself, other packages.
"""

from __future__ import annotations

import enum
import importlib
import os
import sys
import sysconfig
import typing
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, Final, TypeAlias

from fivefold.objects.codetext import Text, text_of_class, text_of_function
from fivefold.objects.codevalues import parts_of, state_of
from fivefold.protocol.operations import CODE_BYTES, digest

_SCALARS: Final = (type(None), bool, int, float, complex, str, bytes, type(Ellipsis), range, slice)
_VALUE_MODULES: Final = frozenset(
    {"_decimal", "datetime", "decimal", "fractions", "ipaddress", "msgspec", "pathlib", "re", "uuid", "zoneinfo"}
)
"""Modules whose values say in their repr all that they are."""
_FIELDS: Final = ("__struct_fields__", "__struct_defaults__")
_DEPTH_MAX: Final = 50
"""Values within values; what lies deeper is left out."""
_INSTALLED: Final = tuple(
    str(Path(path).resolve()) + os.sep
    for path in {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
)
_OWN_PACKAGE: Final = "fivefold"

_Code: TypeAlias = type | FunctionType


def fingerprint(thing: type | FunctionType, version: int) -> bytes:
    """CODE_BYTES that name the code of a class or function, in this version.

    Equal sources give equal fingerprints in every process and on every machine.
    """
    return digest("\0".join([str(version), *_Walk(thing).lines()]).encode(errors="surrogatepass"))[:CODE_BYTES]


class _Walk:
    """From a class or function to all that it reaches; each is numbered when it is first met.

    A text names what it uses by these numbers, not by modules: new code may lie in a module of another name until the
    old one is gone.
    """

    def __init__(self, thing: _Code) -> None:
        self._home = thing.__module__
        self._found: list[_Code] = []
        self._numbers: dict[int, int] = {}
        self._shown: dict[int, tuple[int, object]] = {}
        self._show_code(thing)

    def lines(self) -> Iterator[str]:
        """What each of them is."""
        for each in self._found:  # grows while we go
            yield from self._class(each) if isinstance(each, type) else self._function(each)

    def _function(self, function: FunctionType) -> Iterator[str]:
        text = text_of_function(function)
        yield f"def {function.__qualname__}\n{text.text}"
        # Attributes, too: functools.singledispatch has its functions there.
        yield self.show((function.__defaults__, function.__kwdefaults__, sorted(vars(function).items())))
        # By the names as the function has them: `closed` shadows globals.
        cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
        yield from self._used(text, function.__globals__, {name: _contents(cell) for name, cell in cells})
        yield self.show(_hints(function))

    def _class(self, cls: type) -> Iterator[str]:
        text = text_of_class(cls)
        yield f"class {cls.__qualname__}\n{text.text}"
        versions = tuple(getattr(each, "__fivefold_version__", 0) for each in cls.__bases__)
        yield self.show((cls.__bases__, versions, type(cls), _hints(cls)))
        yield self.show([getattr(cls, name, None) for name in _FIELDS])
        members = vars(cls)
        is_written = bool(text.text)
        for name in sorted(members):
            member = members[name]
            made = isinstance(member, FunctionType) and member.__code__.co_filename.startswith("<") and is_written
            if not made and _is_shown(name, member):
                yield f"{name} {self.show(member)}"
        functions = [each for each in members.values() if isinstance(each, FunctionType)]
        home = sys.modules.get(cls.__module__)
        names = vars(home) if home is not None else functions[0].__globals__ if functions else {}
        yield from self._used(text, names, {})

    def _used(self, text: Text, outer: Mapping[str, Any], closed: Mapping[str, Any]) -> Iterator[str]:
        """What the names in a text stand for."""
        for name in sorted(text.names | closed.keys()):
            if name in closed or name in outer:
                yield from self._named(name, closed.get(name, outer.get(name)), text.names)
        for module, name in sorted(text.imports):
            found = _imported(module, name)
            yield from self._named(name or module, found, text.names)
            if not name and isinstance(found, ModuleType) and "." in module:
                yield from self._named(module.partition(".")[0], sys.modules.get(module.partition(".")[0]), text.names)

    def _named(self, label: str, value: object, names: set[str], path: tuple[object, ...] = ()) -> Iterator[str]:
        if not isinstance(value, ModuleType):
            yield f"{label} {self.show(value)}"
        elif value not in path and self._is_followed(value.__name__):
            for name in sorted(names & vars(value).keys()):
                yield from self._named(f"{label}.{name}", vars(value)[name], names, (*path, value))

    # --- values ------------------------------------------------------------------------------------------------

    def show(self, value: object, depth: int = 0, show_code: Callable[[_Code], str] | None = None) -> str:
        """A value as text that is the same in every process: no addresses, no order of sets.

        Args:
            value: whatever a name of yours stands for.
            depth: how many values it lies in.
            show_code: what a function or class is shown as; by default its number.
        """
        show_code, kind = show_code or self._show_code, type(value)
        if depth > _DEPTH_MAX:
            return "..."
        if kind in _SCALARS:
            return f"{kind.__name__} {value!r}"
        if isinstance(value, (type, FunctionType)) and not typing.get_args(value):
            return show_code(value)
        if id(value) in self._shown:
            return f"@{self._shown[id(value)][0]}"
        parts = self._parts(value)
        if parts is None:
            is_plain = kind.__module__.partition(".")[0] in _VALUE_MODULES and " at 0x" not in repr(value)
            return repr(value) if is_plain else show_code(kind)
        if show_code == self._show_code and not isinstance(value, (tuple, frozenset)) and self._has_identity(value):
            self._shown[id(value)] = (len(self._shown), value)  # kept, so that nothing else gets its id
        if isinstance(value, (set, frozenset)):  # numbers are given in an order that every process finds
            parts.sort(key=lambda each: self.show(each, depth + 1, _name_of))
        return f"{show_code(kind)}({', '.join([self.show(each, depth + 1, show_code) for each in parts])})"

    def _has_identity(self, value: object) -> bool:
        """Whether it may hold itself: a list, a map, or an instance of your class."""
        return isinstance(value, (list, deque, Mapping)) or (self._is_yours(type(value)) and not _is_flat(value))

    def _parts(self, value: Any) -> list[object] | None:  # noqa: ANN401 - any value
        """What a value consists of; None if that cannot be told, or is not yours."""
        kind = type(value)
        if kind.__module__ in ("builtins", "collections", "functools", "typing", "types") or not self._is_yours(kind):
            return parts_of(value)
        # Of your class, which may be one of names, numbers or values with more to it.
        inner = parts_of(value)
        return [*(inner or []), *[part for item in sorted(state_of(value).items()) for part in item]]

    # --- what is yours -----------------------------------------------------------------------------------------

    def _show_code(self, thing: _Code) -> str:
        """The number of what is yours, the name of what is not."""
        if not self._is_yours(thing):
            return _name_of(thing)
        if id(thing) not in self._numbers:
            self._numbers[id(thing)] = len(self._found)
            self._found.append(thing)
        return f"#{self._numbers[id(thing)]}"

    def _is_yours(self, thing: object) -> bool:
        module = getattr(thing, "__module__", None)
        return isinstance(module, str) and self._is_followed(module)

    def _is_followed(self, module: str) -> bool:
        """Whether a module is yours: of the same package as where we started, or not installed."""
        top = module.partition(".")[0]
        if top == _OWN_PACKAGE:  # a ready-made type is its own module; Fivefold may change around it
            return module == self._home
        if top == self._home.partition(".")[0]:
            return True
        file = _file_of(top)
        return bool(file) and not file.startswith(_INSTALLED)


def _is_flat(value: object) -> bool:
    return isinstance(value, (enum.Enum, str, bytes, int, float))


def _is_shown(name: str, member: object) -> bool:
    """Whether a class's member is of its author's making."""
    return not name.startswith("__") or isinstance(member, (FunctionType, property, staticmethod, classmethod))


def _hints(thing: _Code) -> dict[str, Any]:
    """Annotations by name; the text of one whose names are not there when the program runs."""
    written = dict(vars(thing).get("__annotations__", {}) if isinstance(thing, type) else thing.__annotations__)
    try:
        found = typing.get_type_hints(thing, include_extras=True)
    except Exception:  # names that only a type checker has, or whatever evaluating them raises
        return written
    return {name: found.get(name) for name in written}


def _contents(cell: Any) -> object:  # noqa: ANN401 - types.CellType is not generic
    try:
        return cell.cell_contents
    except ValueError:
        return None


def _imported(module: str, name: str) -> object:
    """What an import in a function's body finds; None if it fails, as it then does for the function."""
    try:
        found = importlib.import_module(module)
        if not name:
            return found
        return vars(found)[name] if name in vars(found) else importlib.import_module(f"{module}.{name}")
    except Exception:  # whatever the module's own code raises
        return None


def _name_of(thing: object) -> str:
    return f"{getattr(thing, '__qualname__', '')}:{getattr(thing, '__module__', '')}"


def _file_of(package: str) -> str:
    found = getattr(sys.modules.get(package), "__file__", None) or next(
        iter(getattr(sys.modules.get(package), "__path__", ())), ""
    )
    return str(Path(found).resolve()) if found else ""
