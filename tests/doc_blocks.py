"""The code blocks of the README and of the documentation's pages.

A Python block says in an HTML comment on the line before it how it is tested:

``<!-- runs: alone -->``
    by itself, as a program
``<!-- runs: pytest -->``
    as a test module
``<!-- runs: up objects=NAME -->``
    saved as NAME.py, against the cluster that ``fivefold up`` starts
``<!-- runs: compile -->``
    it is only compiled: a fragment of the reader's own program
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from textwrap import dedent
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted(path for path in (ROOT / "docs").rglob("*.md") if "_build" not in path.parts),
]

_BLOCK = re.compile(
    r"(?:^ *<!-- runs: (?P<how>[^\n]*?) -->\n)?^(?P<indent> *)```(?P<language>[a-z]+)\n(?P<text>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)


class Block(NamedTuple):
    """One fenced block.

    Attributes:
        page: where it stands.
        line: the number of its first line.
        language: what stands after the fence.
        how: what its comment says; empty without one.
        text: what stands between the fences.
    """

    page: Path
    line: int
    language: str
    how: str
    text: str

    @property
    def name(self) -> str:
        """Page and line, for people."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(*languages: str, pages: Sequence[Path] = PAGES) -> Iterator[Block]:
    """The blocks of pages in some languages."""
    for page in pages:
        text = page.read_text(encoding="utf-8")
        for match in _BLOCK.finditer(text):
            if match["language"] in languages:
                line = text.count("\n", 0, match.start("text")) + 1
                yield Block(page, line, match["language"], match["how"] or "", dedent(match["text"]))


FENCED = re.compile(r"^( *)```.*?^\1```$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`\n]+)`")


def spans(page: Path) -> list[str]:
    """What stands between single back ticks on a page, outside its blocks."""
    return _SPAN.findall(FENCED.sub("", page.read_text(encoding="utf-8")))
