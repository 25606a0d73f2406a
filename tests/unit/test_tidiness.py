"""The code's own tidiness: sizes, left-over markers, docstrings and what the pure packages may import."""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "src" / "fivefold"
MODULES = sorted(SOURCES.rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("test_*.py"))

MODULE_LINES_MAX = 500
FUNCTION_LINES_MAX = 60
LEFT_OVER = re.compile(r"\b(TODO|FIXME|XXX|NotImplementedError)\b")

PROTOCOL_MAY_IMPORT = {
    *(
        "__future__",
        "abc",
        "base64",
        "bisect",
        "collections",
        "copy",
        "dataclasses",
        "enum",
        "functools",
        "hashlib",
        "heapq",
    ),
    *("hmac", "itertools", "math", "operator", "random", "re", "string", "struct", "types", "typing", "zlib"),
    *("fivefold", "msgspec", "typing_extensions"),
}
"""Top-level names; everything else in the standard library has a clock, an ear or a hand in the world."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


def name_of(path: Path) -> str:
    return str(path.relative_to(SOURCES if SOURCES in path.parents else ROOT))


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def functions(tree: ast.Module) -> Iterator[Function]:
    return (node for node in ast.walk(tree) if isinstance(node, Function))


def length(node: Function) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def imported(tree: ast.Module) -> Iterator[tuple[str, list[str]]]:
    """Every import as (module, names taken from it); a plain ``import x`` takes the name ``*``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, ["*"]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or "", [alias.name for alias in node.names]


def public_without_docstring(tree: ast.Module) -> Iterator[str]:
    if ast.get_docstring(tree) is None:
        yield "the module itself"
    for node in tree.body:
        if not isinstance(node, Function | ast.ClassDef) or node.name.startswith("_"):
            continue
        if ast.get_docstring(node) is None:
            yield node.name


def test_there_is_something_to_check() -> None:
    """The list of modules is not empty: a moved tree would make every other check here pass."""
    assert SOURCES / "errors.py" in MODULES


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_no_left_over_markers(path: Path) -> None:
    """Unfinished work is an issue, not a comment."""
    lines = path.read_text(encoding="utf-8").splitlines()
    assert [f"{number}: {line}" for number, line in enumerate(lines, 1) if LEFT_OVER.search(line)] == []


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_modules_are_short(path: Path) -> None:
    """A module holds one idea, in 500 lines at most."""
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MODULE_LINES_MAX


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_functions_fit_on_a_screen(path: Path) -> None:
    """A function has 60 lines at most."""
    too_long = [f"{node.name}: {length(node)}" for node in functions(parsed(path)) if length(node) > FUNCTION_LINES_MAX]
    assert too_long == []


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_public_names_have_docstrings(path: Path) -> None:
    """Every module and every public class and function in it says what it is."""
    assert list(public_without_docstring(parsed(path))) == []


@pytest.mark.parametrize("path", TESTS, ids=name_of)
def test_every_test_states_its_fact(path: Path) -> None:
    """A test's docstring is one sentence that says what is true if it passes."""
    tests = [node for node in functions(parsed(path)) if node.name.startswith("test_")]
    assert [node.name for node in tests if ast.get_docstring(node) is None] == []


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_no_exception_is_swallowed_whole(path: Path) -> None:
    """`except Exception: pass` hides the bugs of whoever is called."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.ExceptHandler):
            broad = node.type is None or ast.unparse(node.type) in {"Exception", "BaseException"}
            assert not (broad and isinstance(node.body[0], ast.Pass)), f"line {node.lineno}"


@pytest.mark.parametrize("path", [path for path in MODULES if SOURCES / "protocol" in path.parents], ids=name_of)
def test_the_protocol_imports_only_pure_modules(path: Path) -> None:
    """A module of the protocol package imports pure standard modules, msgspec, errors, native and its siblings."""
    for module, _ in imported(parsed(path)):
        assert module.partition(".")[0] in PROTOCOL_MAY_IMPORT, module
        if module.startswith("fivefold"):
            assert module in ("fivefold.errors", "fivefold.native") or module.startswith("fivefold.protocol"), module


@pytest.mark.parametrize("path", [path for path in MODULES if SOURCES / "protocol" in path.parents], ids=name_of)
def test_the_protocol_never_draws_its_own_randomness(path: Path) -> None:
    """Of the module random only the type is used, or the module for its type: no call goes to it."""
    tree = parsed(path)
    assert [names for module, names in imported(tree) if module == "random" and names not in (["Random"], ["*"])] == []
    calls = [ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)]
    assert [call for call in calls if call == "Random" or call.startswith("random.")] == []


def test_the_pure_list_names_real_modules() -> None:
    """Each allowed name is in the standard library or is one of our three exceptions."""
    assert PROTOCOL_MAY_IMPORT - sys.stdlib_module_names == {"fivefold", "msgspec", "typing_extensions"}
