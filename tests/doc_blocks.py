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
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted(path for path in (ROOT / "docs").rglob("*.md") if "_build" not in path.parts),
]

_BLOCK = re.compile(
    r"(?:^<!-- runs: (?P<how>[^\n]*?) -->\n)?^```(?P<language>[a-z]+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
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


def blocks(language: str) -> Iterator[Block]:
    """The blocks of all pages in one language."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in _BLOCK.finditer(text):
            if match["language"] == language:
                line = text.count("\n", 0, match.start("text")) + 1
                yield Block(page, line, language, match["how"] or "", match["text"])


_COMMAND = re.compile(r"(?:^\$ |^ExecStart=|&& )(?:\S*/)?fivefold (?P<rest>[^\n&|]+)", re.MULTILINE)


def command_lines() -> Iterator[str]:
    """What follows ``fivefold`` on each command line of the pages."""
    for language in ("console", "sh", "ini"):
        for block in blocks(language):
            yield from (match["rest"].strip() for match in _COMMAND.finditer(block.text))
