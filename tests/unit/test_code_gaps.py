"""Code that looks the same and is not: each thing that changes what a method does changes the fingerprint."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PRINT = """
import sys
sys.path[:0] = ["{folder}"]
import thing
from fivefold.objects.code import fingerprint
found = thing.code if hasattr(thing, "code") else thing.Tally
{more}
print(fingerprint(found, 1).hex())
"""
HEAD = "from fivefold import Object, query, update\nimport functools, enum, dataclasses, msgspec, typing\n"
CLASS = """
class Tally(Object):
    n: int = 0

    @query
    def get(self) -> int:
        return {0}
"""


def source(before: str, body: str = "use()") -> str:
    return HEAD + before + CLASS.format(body)


def code_in(folder: Path, *, seed: str = "0", more: str = "", flags: tuple[str, ...] = (), **modules: str) -> str:
    """The fingerprint that a process of its own finds."""
    for name, text in modules.items():
        path = folder.joinpath(*name.split("__")).with_suffix(".py")
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(text)
    program = PRINT.format(folder=folder, more=more)
    environment = {"PYTHONHASHSEED": seed, "PATH": os.environ["PATH"]}
    command = [sys.executable, *flags, "-c", program]
    found = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=folder)
    assert found.returncode == 0, found.stderr
    return found.stdout.strip()


MANY = """
import importlib, json, sys
sys.path[:0] = ["{folder}"]
from fivefold.objects.code import fingerprint
names = json.load(open("{folder}/names.json"))
print(json.dumps([fingerprint(importlib.import_module(name).Tally, 1).hex() for name in names]))
"""


def codes_of(folder: Path, texts: list[str], seed: str) -> list[str]:
    """The fingerprints of many texts, from one process."""
    names = [f"thing{number}" for number in range(len(texts))]
    for name, text in zip(names, texts, strict=True):
        (folder / f"{name}.py").write_text(text)
    (folder / "names.json").write_text(json.dumps(names))
    environment = {"PYTHONHASHSEED": seed, "PATH": os.environ["PATH"]}
    command = [sys.executable, "-c", MANY.format(folder=folder)]
    found = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    return json.loads(found.stdout)


def gaps() -> dict[str, tuple[str, str, str]]:
    """By name: a source, what is replaced in it, and by what."""
    found = {}
    for part in Path(__file__).with_name("code_gaps.txt").read_text().split("\n=== ")[1:]:
        title, _, text = part.partition("\n")
        name, _, change = title.partition(": ")
        found[name] = (text.replace("HEAD\n", HEAD), *change.split(" -> "))
    return found


def test_what_changes_a_call_changes_the_code(tmp_path: Path) -> None:
    """By name, value or construction; and two processes agree, whatever the seed of their hashes."""
    table = gaps()
    assert len(table) > 30
    assert all(old in text for text, old, _ in table.values())
    texts = [each for text, old, new in table.values() for each in (text, text.replace(old, new, 1))]
    found = codes_of(tmp_path, texts, "0")
    again = codes_of(tmp_path, texts, "7")
    assert [name for name, *two in zip(table, found[::2], found[1::2], strict=True) if two[0] == two[1]] == []
    assert [name for name, *two in zip(table, found[::2], again[::2], strict=True) if two[0] != two[1]] == []


@pytest.mark.parametrize(
    "text",
    [
        HEAD + "import pack.sub\n" + CLASS.format("pack.sub.use()"),
        HEAD + "from pack.sub import *\n" + CLASS.format("use()"),
        HEAD + "from pack import sub as other\n" + CLASS.format("other.use()"),
        HEAD + CLASS.format("0").replace("return 0", "from pack.sub import use\n        return use()"),
        HEAD + CLASS.format("0").replace("return 0", "import pack.sub\n        return pack.sub.use()"),
        HEAD + "from pack.sub import Base\nclass Tally(Base):\n    pass\n",
    ],
)
def test_modules_of_yours_are_code(text: str, tmp_path: Path) -> None:
    """However they are imported: a module in a package, all of it, under another name, or while a method runs."""
    sub = HEAD + "def use():\n    return 1\n" + CLASS.format("use()").replace("Tally", "Base")
    before = code_in(tmp_path / "a", thing=text, pack____init__="", pack__sub=sub)
    after = code_in(tmp_path / "b", thing=text, pack____init__="", pack__sub=sub.replace("return 1", "return 2"))
    assert before != after


def test_two_helpers_that_change_places_are_other_code(tmp_path: Path) -> None:
    """They have one name, in two modules: the same texts are there, and mean something else."""
    text = HEAD + "import left, right\n" + CLASS.format("left.use() - right.use()")
    one, two = "def use():\n    return 1\n", "def use():\n    return 2\n"
    assert code_in(tmp_path / "a", thing=text, left=one, right=two) != code_in(
        tmp_path / "b", thing=text, left=two, right=one
    )


def test_every_process_finds_the_same_code_of_anything(tmp_path: Path) -> None:
    """Sets of text, functions and instances, in values and compiled constants; the folder is nothing either."""
    text = source(
        "def one():\n    return 1\ndef two():\n    return 2\n"
        "class Rate:\n    def __init__(self, by):\n        self.by = by\n        self.me = self\n"
        "ALL = {one, two, len, Rate}\nSOME = frozenset({'a', 'b', 'c', ('d', frozenset('efg'))})\n"
        "MANY = [Rate(1), object()]\n"
        'exec(\'def three(a):\\n    return a in {"a", "b", "c", "d"}\')\n',
        "len(ALL) + len(SOME) + len(MANY) + three('a')",
    )
    found = {code_in(tmp_path / seed, seed=seed, thing=text) for seed in "013"}
    assert len(found) == 1


def test_a_file_that_changed_after_its_import_is_not_what_runs(tmp_path: Path) -> None:
    """The old code runs, and must not be taken for the new; nor where only a compiled copy is old."""
    old = source("def use():\n    return 1\n")
    new = old.replace("return 1", "return 2")
    replaced = f"open(thing.__file__, 'w').write({new!r})"
    codes = [
        code_in(tmp_path / "old", thing=old),
        code_in(tmp_path / "new", thing=new),
        code_in(tmp_path / "replaced", more=replaced, thing=old),
    ]
    stale = tmp_path / "stale"
    code_in(stale, thing=old)
    as_it_was = (stale / "thing.py").stat()
    (stale / "thing.py").write_text(new)
    os.utime(stale / "thing.py", ns=(as_it_was.st_atime_ns, as_it_was.st_mtime_ns))
    assert len({*codes, code_in(stale)}) >= 3
    assert code_in(stale) != codes[1], "what runs is the old code"


def test_assertions_that_are_left_out_are_other_code(tmp_path: Path) -> None:
    """`python -O` runs a method without its assertions: that is another method, if it has any."""
    plain, checked = source("def use():\n    return 1\n"), source("def use():\n    assert 1 > 2\n    return 1\n")
    assert code_in(tmp_path / "a", thing=plain) == code_in(tmp_path / "b", flags=("-O",), thing=plain)
    assert code_in(tmp_path / "c", thing=checked) != code_in(tmp_path / "d", flags=("-O",), thing=checked)


def test_one_text_in_another_place_is_the_same_code(tmp_path: Path) -> None:
    """In a zip file, over a symbolic link, and in a module of another name."""
    text = source("from helpers import inner\ndef use():\n    return inner()\n")
    helpers = "def inner():\n    return 1\n"
    plain = code_in(tmp_path / "a", thing=text, helpers=helpers)
    linked = tmp_path / "linked"
    linked.mkdir()
    for name in ("thing.py", "helpers.py"):
        (linked / name).symlink_to(tmp_path / "a" / name)
    assert code_in(linked) == plain
    packed = tmp_path / "packed.zip"
    more = f"import zipfile; zipfile.ZipFile('{packed}', 'w').writestr('other.py', open(thing.__file__).read())\n"
    more += f"sys.path[:0] = ['{packed}']; import other; found = other.Tally; assert 'zip' in other.__file__"
    assert code_in(tmp_path / "a", more=more) == plain
