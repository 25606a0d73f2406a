"""README and documentation show only code that a test runs, and their links lead somewhere."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.doc_blocks import PAGES, ROOT, Block, blocks

PYTHON = list(blocks("python"))
WAYS = {"alone", "pytest", "up", "compile"}
LINK = re.compile(r"\]\((?!https?:)([^)#\s]+)(?:#[^)]*)?\)")


def way(block: Block) -> str:
    return block.how.partition(" ")[0]


def run(arguments: list[str], directory: Path) -> None:
    done = subprocess.run(
        [sys.executable, *arguments], cwd=directory, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_there_are_blocks() -> None:
    """The pages hold Python blocks: a changed way of writing them would make the checks below pass by finding none."""
    assert len(PYTHON) >= 5


@pytest.mark.parametrize("block", PYTHON, ids=lambda block: block.name)
def test_every_block_says_how_it_is_tested(block: Block) -> None:
    """A Python block has a comment before it that says how it runs."""
    assert way(block) in WAYS


@pytest.mark.parametrize("block", PYTHON, ids=lambda block: block.name)
def test_blocks_compile(block: Block) -> None:
    """Every Python block is Python."""
    ast.parse(block.text)


@pytest.mark.parametrize("block", PYTHON, ids=lambda block: block.name)
def test_names_taken_from_fivefold_exist(block: Block) -> None:
    """What a block imports from fivefold is there."""
    imports = [node for node in ast.parse(block.text).body if isinstance(node, ast.Import | ast.ImportFrom)]
    ours = [node for node in imports if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("fivefold")]
    exec(compile(ast.Module(ours, type_ignores=[]), block.name, "exec"), {})


@pytest.mark.parametrize("block", [each for each in PYTHON if way(each) == "alone"], ids=lambda block: block.name)
def test_blocks_run(block: Block, tmp_path: Path) -> None:
    """A block that stands alone runs as a program."""
    (tmp_path / "block.py").write_text(block.text, encoding="utf-8")
    run(["block.py"], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("block", [each for each in PYTHON if way(each) == "pytest"], ids=lambda block: block.name)
def test_test_modules_pass(block: Block, tmp_path: Path) -> None:
    """A block that shows a test module passes under pytest."""
    (tmp_path / "test_block.py").write_text(block.text, encoding="utf-8")
    run(["-m", "pytest", "-q", "-p", "no:cacheprovider", "test_block.py"], tmp_path)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Every link to a file of the repository leads to one."""
    targets = LINK.findall(page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_the_test_line_of_the_readme_is_one_line() -> None:
    """CI runs what stands between the README's markers: one line, wheels only, from nothing to passing tests."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    between = text[text.index("<!-- test-line -->") : text.index("<!-- /test-line -->")]
    lines = [line for line in between.splitlines() if line and not line.startswith(("<!--", "```"))]
    assert len(lines) == 1
    assert lines[0].startswith("python3 -m venv .venv && ")
    assert "--only-binary :all:" in lines[0]
    assert lines[0].endswith(".venv/bin/pytest -q -n auto")
