"""Which code commands run: what the user names, never what happens to lie in the current directory."""

import os
import sys
from pathlib import Path

import pytest

from fivefold import program
from fivefold.cli.code import load_objects, make_importable
from fivefold.errors import ConfigurationError

MODULE = """
from fivefold import Object, query


class Stray(Object):
    value: int = 0

    @query
    def get(self) -> int:
        return self.value
"""


@pytest.mark.parametrize(
    ("words", "is_ours"),
    [
        (["python3", "-m", "fivefold", "status"], True),
        (["python3", "-m", "fivefold.bench.worker"], True),
        (["python3", "-mfivefold"], True),
        (["python3", "-X", "importtime", "-Bm", "fivefold"], True),
        (["python3", "-Wignore::Warning", "-m", "fivefold"], True),
        (["python3", "-m", "fivefolded"], False),
        (["python3", "-m", "shop", "-m", "fivefold"], False),
        (["python3", "-m", "pytest", "fivefold"], False),
        (["python3", "-m"], False),
    ],
)
def test_python_m_fivefold_is_told_from_other_programs(words: list[str], is_ours: bool) -> None:
    """While the interpreter looks for the module to run, the program's name is -m and its command line says which."""
    assert program.is_fivefold("-m", words) is is_ours


@pytest.mark.parametrize(
    ("name", "is_ours"), [("/usr/bin/fivefold", True), ("fivefold", True), ("/home/me/shop.py", False), ("-c", False)]
)
def test_the_command_is_told_from_programs_that_import_fivefold(name: str, is_ours: bool) -> None:
    """A program of the user's keeps its module path."""
    assert program.is_fivefold(name, ["python3", name]) is is_ours


@pytest.fixture
def path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """The module path and the environment as the interpreter would have made them here; both are put back."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONSAFEPATH", "")

    def make(python_path: str, *entries: str, name: str = "fivefold") -> list[str]:
        monkeypatch.setenv("PYTHONPATH", python_path)
        monkeypatch.setattr(sys, "argv", [name])
        monkeypatch.setattr(sys, "path", [entry.replace("HERE", str(tmp_path)) for entry in entries])
        program.leave_current_directory_out()
        return [entry.replace(str(tmp_path), "HERE") for entry in sys.path]

    return make


def test_what_m_puts_in_front_is_taken_off(path) -> None:
    """The directory in which `python -m fivefold` is started is no place for modules."""
    assert path("/opt/a", "HERE", "/opt/a", "/lib", name="-m") == ["/opt/a", "/lib"]
    assert os.environ["PYTHONSAFEPATH"] == "1"


@pytest.mark.parametrize("entry", ["", ".", "./"])
def test_an_entry_that_means_wherever_one_is_is_taken_off(path, entry: str) -> None:
    """PYTHONPATH=$PYTHONPATH:/opt/a with nothing before it is a habit; processes started from here do not get it."""
    assert path(f"{entry}:/opt/a", "HERE", "/opt/a", "/lib") == ["/opt/a", "/lib"]
    assert os.environ["PYTHONPATH"] == "/opt/a"


def test_a_directory_that_is_named_stays(path) -> None:
    """Somebody has put this very directory into PYTHONPATH."""
    assert path(f"{os.getcwd()}:", "HERE", "/lib") == ["HERE", "/lib"]


def test_pythons_own_library_stays(path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Story: you are in Python's library, and an empty entry has it listed once, in front: without it nothing works."""
    library = os.path.dirname(os.__file__)
    monkeypatch.chdir(library)
    assert path(":", library, "/site") == [library, "/site"]


# --- modules that are named --------------------------------------------------------------------------------------
@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A directory with the module `stray_objects`; the module path and what was imported are put back."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "stray_objects.py").write_text(MODULE)
    yield tmp_path
    sys.modules.pop("stray_objects", None)


def test_a_named_module_is_found_in_the_current_directory_last_of_all(here: Path) -> None:
    """The directory comes after all others, so it replaces no module of Python's or of an installed package."""
    assert "Stray" in load_objects(["stray_objects"]).types
    assert sys.path[-1] == str(here)
    assert sys.path.count(str(here)) == 1


def test_without_a_name_the_module_path_stays(here: Path) -> None:
    """Ready-made types need no directory."""
    load_objects([])
    assert str(here) not in sys.path


@pytest.mark.parametrize("mode", [0o757, 0o777, 0o1777])
def test_a_directory_where_everybody_writes_is_not_looked_in(here: Path, mode: int) -> None:
    """In /tmp anybody can have put the module there, sticky bit or not."""
    here.chmod(mode)
    with pytest.raises(ConfigurationError, match="where everybody can write: copy it into a directory of your own"):
        load_objects(["stray_objects"])
    assert str(here) not in sys.path


def test_a_strangers_directory_is_not_looked_in(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Code of another user runs only when it is copied or installed by the one who runs it."""
    owner = here.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    if owner == 0:
        os.chown(here, 12345, -1)
    with pytest.raises(ConfigurationError, match="which belongs to another user"):
        load_objects(["stray_objects"])
    assert str(here) not in sys.path


def test_a_strangers_directory_does_not_matter_for_installed_modules(here: Path) -> None:
    """What is found elsewhere is taken from there, wherever one is."""
    here.chmod(0o777)
    (here / "fractions.py").write_text("raise SystemExit('the wrong one')")
    make_importable("fractions")
    make_importable("no_such_module_anywhere")
    assert str(here) not in sys.path


def test_the_systems_directories_are_trusted(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root can change everything anyway."""
    if here.stat().st_uid != 0:
        pytest.skip("only root makes directories of root's")
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert "Stray" in load_objects(["stray_objects"]).types
