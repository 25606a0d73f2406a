"""The optional compiled hot path: what may be compiled, and how an installation says what it runs."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

import pytest

from fivefold.protocol import classify
from fivefold.protocol.compiled import is_compiled

ROOT = Path(__file__).parents[2]
HOOK = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]["hooks"]["custom"]


def test_the_default_build_is_pure() -> None:
    """Nothing is compiled unless a build asks for it."""
    assert HOOK["enable-by-default"] is False


@pytest.mark.parametrize("name", HOOK["modules"])
def test_no_compiled_module_defines_a_struct(name: str) -> None:
    """Under mypyc a Struct loses its options (frozen, array_like): modules that define one stay pure."""
    tree = ast.parse((ROOT / "src" / "fivefold" / name).read_text(encoding="utf-8"))
    bases = [ast.unparse(base) for node in ast.walk(tree) if isinstance(node, ast.ClassDef) for base in node.bases]
    assert [base for base in bases if base.endswith("Struct")] == []


def test_an_installation_knows_whether_it_is_compiled() -> None:
    """``is_compiled`` agrees with the file that the protocol was loaded from."""
    assert is_compiled() is not str(classify.__file__).endswith(".py")
