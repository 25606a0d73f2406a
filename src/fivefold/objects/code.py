"""Which code a class or function is: a fingerprint of everything of yours that its methods can reach (ours).

An operation names the code that its caller means, and a server with other code for it declines. So a candidate means
one thing on every server, whatever is restarted with new code in the meantime (docs/how-to/upgrade.md).

The fingerprint covers the source of the class and of your base classes, and of the functions, classes and constants of
yours that they use by name, at any depth. It leaves out comments, docstrings and layout, and whatever is installed from
elsewhere: the standard library, Fivefold itself, other packages. Where there is no source, the compiled code stands in.
"""

from __future__ import annotations

import ast
import enum
import inspect
import sys
import sysconfig
import textwrap
import typing
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any, Final

from fivefold.protocol.operations import CODE_BYTES, digest

_CONSTANTS: Final = (type(None), bool, int, float, str, bytes, tuple, frozenset, enum.Enum)
_INSTALLED: Final = tuple(
    str(Path(path).resolve())
    for path in {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
)
_OWN_PACKAGE: Final = "fivefold"


def fingerprint(thing: type | FunctionType, version: int) -> bytes:
    """CODE_BYTES that name the code of a class or function, in this version.

    Equal sources give equal fingerprints in every process and on every machine.
    """
    found: dict[str, str] = {}
    waiting: list[object] = [thing]
    while waiting:
        each = waiting.pop()
        name = _name_of(each)
        if name not in found:
            found[name] = _text_of(each)
            waiting += [other for other in _used_by(each) if _is_followed(other, thing.__module__)]
    # The module's name is left out: new code may lie in a module of another name until the old one is gone.
    lines = sorted(f"{name.rpartition(':')[2]}\n{text}" for name, text in found.items())
    return digest("\0".join([str(version), *lines]).encode())[:CODE_BYTES]


def _name_of(thing: object) -> str:
    """Module and qualified name of a function or class, or a constant as its owner names it."""
    if isinstance(thing, _Named):
        return f"{thing.owner}:{thing.name}"
    return f"{getattr(thing, '__module__', '')}:{getattr(thing, '__qualname__', repr(thing))}"


class _Named:
    """A constant by the name under which code finds it."""

    def __init__(self, owner: str, name: str, value: object) -> None:
        self.owner, self.name, self.value = owner, name, value


def _text_of(thing: object) -> str:
    if isinstance(thing, _Named):
        return repr(sorted(thing.value, key=repr) if isinstance(thing.value, frozenset) else thing.value)
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(thing)))  # type: ignore[arg-type]
    except (OSError, TypeError, SyntaxError):
        return "".join(_compiled(each) for each in _functions_of(thing))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            is_docstring = isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant)
            if is_docstring and len(body) > 1:
                del body[0]
    return ast.unparse(tree)


def _compiled(function: FunctionType) -> str:
    """What the interpreter runs, for code without source; it differs from one Python version to the next."""
    codes, text = [function.__code__], repr((function.__defaults__, function.__kwdefaults__))
    while codes:
        code = codes.pop()
        inner = [each for each in code.co_consts if isinstance(each, CodeType)]
        constants = [each for each in code.co_consts if not isinstance(each, CodeType) and each != function.__doc__]
        text += repr((code.co_code, constants, code.co_names, code.co_varnames))
        codes += inner
    return text


def _functions_of(thing: object) -> list[FunctionType]:
    """The functions of a class, in the order of their names, or the function itself."""
    if isinstance(thing, FunctionType):
        return [thing]
    if not isinstance(thing, type):
        return []
    found = []
    for _, member in sorted(vars(thing).items()):
        inner = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
        if isinstance(inner, FunctionType):
            found.append(inner)
    return found


def _used_by(thing: object) -> Iterator[object]:
    """What a class or function of yours uses by name."""
    if isinstance(thing, type):
        yield from thing.__bases__
        yield from _types_in(_hints(thing))
    for function in _functions_of(thing):
        yield from _types_in(_hints(function))
        yield from _globals_of(function)


def _hints(thing: object) -> list[Any]:
    try:
        return list(typing.get_type_hints(thing, include_extras=True).values())
    except (NameError, TypeError, AttributeError):
        return list(getattr(thing, "__annotations__", {}).values())


def _types_in(hints: list[Any]) -> Iterator[object]:
    waiting, seen = list(hints), 0
    while waiting and seen < 1000:  # recursive annotations are rare, and end here
        seen += 1
        hint = waiting.pop()
        if isinstance(hint, type):
            yield hint
        waiting += typing.get_args(hint)


def _globals_of(function: FunctionType) -> Iterator[object]:
    """Values of the global names, closures and modules' attributes in a function's code."""
    codes, names = [function.__code__], set[str]()
    while codes:
        code = codes.pop()
        names.update(code.co_names)
        codes += [each for each in code.co_consts if isinstance(each, CodeType)]
    closed = inspect.getclosurevars(function).nonlocals
    for name in sorted(names | closed.keys()):
        value = closed.get(name, function.__globals__.get(name))
        if isinstance(value, ModuleType):
            for attribute in sorted(names & vars(value).keys()):
                yield _as_used(value.__name__, attribute, vars(value)[attribute])
        elif name in closed or name in function.__globals__:
            yield _as_used(function.__module__, name, value)


def _as_used(owner: str, name: str, value: object) -> object:
    return _Named(owner, name, value) if isinstance(value, _CONSTANTS) else value


def _is_followed(thing: object, home: str) -> bool:
    """Whether it is yours: of the same package as the class, which stands in module ``home``, or not installed."""
    module = thing.owner if isinstance(thing, _Named) else getattr(thing, "__module__", None)
    if not isinstance(thing, (type, FunctionType, _Named)) or not isinstance(module, str):
        return False
    top = module.partition(".")[0]
    if top == _OWN_PACKAGE:  # a ready-made type is its own module; Fivefold may change around it
        return module == home
    if top == home.partition(".")[0]:
        return True
    if top == "builtins":
        return False
    file = _file_of(top)
    return bool(file) and not file.startswith(_INSTALLED)


def _file_of(package: str) -> str:
    found = getattr(sys.modules.get(package), "__file__", None) or next(
        iter(getattr(sys.modules.get(package), "__path__", ())), ""
    )
    return str(Path(found).resolve()) if found else ""
