"""What mypy --strict says about code that declares objects."""

import re
from pathlib import Path

import pytest

api = pytest.importorskip("mypy.api")

ROOT = Path(__file__).parents[2]

SAMPLE = """
from fivefold.objects import Account, Counter, Object, Value, query, transfer, update


class Shelf(Object):
    books: dict[str, int] = {}
    label: str = ""

    @query
    def count(self, prefix: str = "") -> int:
        return sum(1 for title in self.books if title.startswith(prefix))

    @update
    def add(self, title: str, *, copies: int = 1) -> list[Value]:
        self.books[title] = copies
        return [title, {"copies": [copies]}]


@update
def swap(one: Shelf, other: Shelf) -> None:
    one.books, other.books = other.books, one.books


reveal_type(Shelf().count)
reveal_type(Shelf.add)
reveal_type(swap)
reveal_type(transfer)
reveal_type(Shelf(label="x").label)
reveal_type(Counter().increment(by=2))
Shelf().count(prefix=1)
Shelf(label=1)
Shelf().add("x", 2)
swap(Shelf(), Account())
"""

VALUE = "bool | int | float | str | bytes | list[...] | dict[str, ...] | None"
EXPECTED = [
    'note: Revealed type is "def (prefix: str =) -> int"',
    f'note: Revealed type is "def (self: Shelf, title: str, *, copies: int =) -> list[{VALUE}]"',
    'note: Revealed type is "def (one: Shelf, other: Shelf)"',
    'note: Revealed type is "def (source: Account, target: Account, amount: int)"',
    'note: Revealed type is "str"',
    'note: Revealed type is "int"',
    'error: Argument "prefix" to "count" of "Shelf" has incompatible type "int"; expected "str"',
    'error: Argument "label" to "Shelf" has incompatible type "int"; expected "str"',
    'error: Too many positional arguments for "add" of "Shelf"',
    'error: Argument 2 to "swap" has incompatible type "Account"; expected "Shelf"',
]


@pytest.mark.slow
def test_decorated_functions_keep_their_signatures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Methods and functions have, decorated, the types they were written with, and wrong calls are errors."""
    sample = tmp_path / "sample.py"
    sample.write_text(SAMPLE)
    monkeypatch.setenv("MYPYPATH", str(ROOT / "src"))
    options = [
        "--strict",
        "--hide-error-codes",
        "--no-error-summary",
        "--config-file=",
        f"--cache-dir={tmp_path / 'cache'}",
    ]
    output, errors, _ = api.run([*options, "--follow-imports=silent", str(sample)])
    assert errors == ""
    found = [line.partition(": ")[2] for line in output.splitlines()]
    # mypy names a class by its module; the sample's own is no part of what is checked.
    assert [re.sub(r"\b(?:\w+\.)+(?=\w)", "", line) for line in found] == EXPECTED
