"""What every checker and editor knows of remote objects without a plugin: what `fivefold stubs` prints."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fivefold.api import stubs_of
from fivefold.errors import ConfigurationError

ROOT = Path(__file__).parents[2]
PYRIGHT = shutil.which("basedpyright", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
HAS_MYPY = importlib.util.find_spec("mypy") is not None

MODULE = """
from fivefold import Object, query, update


class Hits(Object):
    value: int = 0

    @query
    def get(self) -> int:
        return self.value

    @update
    def increment(self, by: int = 1, *, label: str = "") -> int:
        self.value += by
        return self.value

    def helper(self) -> None: ...
"""

HEAD = """
from fivefold import Cluster
from shop import Hits
from shop_remote import RemoteHits


async def main(cluster: Cluster) -> None:
    hits = cluster.object(RemoteHits, "x")
"""

RIGHT = """
    one: int = await hits.increment(by=2)
    two: int = await hits.with_deadline(1).increment(2, label="x")
    three: int = await hits.increment.with_id(hits.increment.new_id(), 3)
    four: int = await hits.do(Hits.increment, by=2)
    print(one, two, three, four, hits)
"""

MISTAKES = {
    "an argument of another type": "await hits.increment('two')",
    "an argument that does not exist": "await hits.increment(bye=1)",
    "an argument too many": "await hits.increment(1, 'x')",
    "a method that does not exist": "await hits.incremnt()",
    "a field, which is on the servers": "print(hits.value)",
    "an assignment to a field": "hits.value = 5",
    "an answer of another type": "name: str = await hits.get()",
    "an answer without await": "total: int = hits.get()",
    "a plain method": "await hits.helper()",
    "an argument of another type under an id": "await hits.increment.with_id('call-1', 'two')",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Holds a module and what `fivefold stubs` prints for it."""
    (tmp_path / "shop.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "shop", raising=False)
    (tmp_path / "shop_remote.py").write_text(stubs_of("shop"))
    monkeypatch.delitem(sys.modules, "shop", raising=False)
    return tmp_path


def with_programs(folder: Path) -> None:
    """One program that is right, and one for each mistake."""
    (folder / "right.py").write_text(HEAD + RIGHT)
    for number, mistake in enumerate(MISTAKES.values()):
        (folder / f"wrong{number}.py").write_text(f"{HEAD}    {mistake}\n")


def numbers_of_wrong(names: list[str]) -> set[int]:
    """Which programs an error was found in; none of the others may have one."""
    wrong = [re.fullmatch(r"wrong(\d+)\.py", Path(name).name) for name in names]
    assert all(wrong), names
    return {int(each[1]) for each in wrong if each}


@pytest.mark.slow
@pytest.mark.skipif(not HAS_MYPY, reason="mypy is not installed")
def test_mypy_finds_the_mistakes(folder: Path) -> None:
    """Mypy accepts the right program and finds each planted mistake, without the plugin."""
    with_programs(folder)
    environment = {**os.environ, "MYPYPATH": f"{ROOT / 'src'}{os.pathsep}{folder}"}
    options = ["--strict", "--config-file=", "--follow-imports=silent", f"--cache-dir={folder / 'cache'}"]
    programs = sorted(map(str, folder.glob("[rw]*.py")))
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *options, "--no-error-summary", *programs],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        cwd=folder,
        timeout=300,
    )
    errors = [line for line in done.stdout.splitlines() if ": error: " in line]
    assert numbers_of_wrong([line.partition(":")[0] for line in errors]) == set(range(len(MISTAKES))), done.stdout


@pytest.mark.slow
@pytest.mark.skipif(PYRIGHT is None, reason="basedpyright, which is pyright with its own Node.js, is not installed")
def test_pyright_finds_the_mistakes(folder: Path) -> None:
    """Pyright, and so the editors that use it, accepts the right program and finds each planted mistake."""
    with_programs(folder)
    settings = {"typeCheckingMode": "standard", "extraPaths": [str(ROOT / "src")], "include": ["right.py", "wrong*.py"]}
    (folder / "pyrightconfig.json").write_text(json.dumps(settings))
    done = subprocess.run(
        [str(PYRIGHT), "--outputjson", "--pythonpath", sys.executable, "--project", str(folder)],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        timeout=300,
    )
    found = [each for each in json.loads(done.stdout)["generalDiagnostics"] if each["severity"] == "error"]
    assert numbers_of_wrong([each["file"] for each in found]) == set(range(len(MISTAKES))), found


def test_the_ready_made_types_have_theirs() -> None:
    """fivefold.remotes is what `fivefold stubs fivefold` prints."""
    assert (ROOT / "src/fivefold/remotes.py").read_text(encoding="utf-8") == stubs_of("fivefold")


@pytest.mark.parametrize(
    ("module", "problem"),
    [("no.such", "cannot be imported"), ("json", "holds no Object class"), ("a/b.py", "is a file")],
)
def test_stubs_of_nothing(module: str, problem: str) -> None:
    """A module that is missing, or has no Object class, is refused in a sentence."""
    with pytest.raises(ConfigurationError, match=problem):
        stubs_of(module)
