"""What a function or class of yours says: its source without comments and layout, and the names in it (ours).

A file may have changed since it was imported, and a compiled copy of it may be older than it looks. So the source
counts for a function only if it compiles to what runs; the compiled code stands in otherwise.
"""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import textwrap
from types import CodeType, FunctionType
from typing import Final

FILES_MAX: Final = 64
"""Files whose compiled code is remembered."""


class Text:
    """What was found of one function or class.

    Attributes:
        text: the same for the same code, in every process.
        names: global names and attributes in it.
        imports: module and name (or nothing) of what it imports when it runs.
    """

    def __init__(self, text: str, names: set[str], imports: set[tuple[str, str]]) -> None:
        self.text, self.names, self.imports = text, names, imports


def text_of_function(function: FunctionType) -> Text:
    """The source, or the compiled code where the source is not at hand or not what runs."""
    code = function.__code__
    tree = _parse(code) if _is_what_runs(code) else None
    return _compiled(function) if tree is None else _written(tree, function.__module__)


def text_of_class(cls: type) -> Text:
    """The source; nothing where it is not at hand: its members and fields say the rest."""
    tree = _parse(cls)
    return Text("", set(), set()) if tree is None else _written(tree, cls.__module__)


def _parse(thing: type | CodeType) -> ast.Module | None:
    try:
        return ast.parse(textwrap.dedent(inspect.getsource(thing)))
    except (OSError, TypeError, SyntaxError, ValueError):
        return None


def _is_what_runs(code: CodeType) -> bool:
    try:
        return code in _codes_in(code.co_filename, "".join(inspect.findsource(code)[0]))
    except (OSError, TypeError, SyntaxError, ValueError, IndexError):
        return False


@functools.lru_cache(FILES_MAX)
def _codes_in(file: str, source: str) -> frozenset[CodeType]:
    """The code of everything in a file, as this interpreter with its options compiles it."""
    return frozenset(_inner(compile(source, file, "exec", dont_inherit=True)))


def _inner(code: CodeType) -> list[CodeType]:
    """A code and all codes in it."""
    found = [code]
    for each in found:
        found += [inner for inner in each.co_consts if isinstance(inner, CodeType)]
    return found


def _written(tree: ast.Module, module: str) -> Text:
    names, imports, is_checked = set[str](), set[tuple[str, str]](), False
    for node in ast.walk(tree):
        match node:
            case ast.ClassDef(body=body) | ast.FunctionDef(body=body) | ast.AsyncFunctionDef(body=body):
                is_docstring = isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant)
                if is_docstring and len(body) > 1:
                    del body[0]
            case ast.Name(id=name) | ast.Attribute(attr=name):
                names.add(name)
                is_checked = is_checked or name == "__debug__"
            case ast.Assert():
                is_checked = True
            case ast.Import(names=aliases):
                imports.update((alias.name, "") for alias in aliases)
            case ast.ImportFrom(module=source, names=aliases, level=level):
                imports.update((_absolute(source or "", level, module), alias.name) for alias in aliases)
            case _:
                pass
    # `python -O` leaves out assertions: with it the same source is other code.
    return Text(ast.unparse(tree) + ("\n# -O" if is_checked and not __debug__ else ""), names, imports)


def _absolute(source: str, level: int, module: str) -> str:
    """The module that ``from ...source import`` in ``module`` means."""
    if not level:
        return source
    package = module if hasattr(importlib.import_module(module), "__path__") else module.rpartition(".")[0]
    for _ in range(level - 1):
        package = package.rpartition(".")[0]
    return f"{package}.{source}".rstrip(".")


def _compiled(function: FunctionType) -> Text:
    """What the interpreter runs; it differs from one Python version to the next."""
    text, names = "", set[str]()
    for code in _inner(function.__code__):
        constants = [each for each in code.co_consts if not isinstance(each, CodeType) and each != function.__doc__]
        shown = [_constant(each) for each in constants]
        rest = (code.co_exceptiontable, code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
        text += repr((code.co_code, shown, rest, code.co_argcount, code.co_kwonlyargcount, code.co_flags))
        names.update(code.co_names)
    return Text(text, names, set())


def _constant(value: object) -> str:
    """A compiled constant; the order of a set of text differs from one process to the next."""
    if isinstance(value, (tuple, frozenset)):
        shown = [_constant(each) for each in value]
        return f"{type(value).__name__}({', '.join(sorted(shown) if isinstance(value, frozenset) else shown)})"
    return repr(value)
