"""The native path: when it is used, and what becomes of one that must not be."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from fivefold import native
from fivefold.native import check, load, variant
from fivefold.program import VERSION

ROOT = Path(__file__).parents[2]


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module in the place of the native one, which would pass if its version were right."""
    fake = ModuleType("fivefold_native")
    fake.VERSION = VERSION
    fake.digest = lambda data: bytes.fromhex(native._DIGEST_OF_ABC)
    fake.Macs = lambda secrets: lambda digest: bytes.fromhex(native._MAC_OF_ZEROS)
    monkeypatch.setitem(sys.modules, "fivefold_native", fake)
    monkeypatch.delenv("FIVEFOLD_NATIVE", raising=False)
    return fake


def test_all_say_the_same_version() -> None:
    """Package, program, crate and extra are released together: another version is not loaded."""
    package = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    crate = tomllib.loads((ROOT / "native" / "Cargo.toml").read_text(encoding="utf-8"))["package"]
    assert package["version"] == crate["version"] == VERSION
    assert package["optional-dependencies"]["native"] == [f"fivefold-native=={VERSION}"]


def test_one_of_the_same_version_is_loaded(installed: ModuleType) -> None:
    """What passes its test is used."""
    assert load() is installed


def test_it_can_be_turned_off(installed: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """FIVEFOLD_NATIVE=0 leaves all to Python, without a word."""
    monkeypatch.setenv("FIVEFOLD_NATIVE", "0")
    assert load() is None


def test_one_of_another_version_is_refused(installed: ModuleType) -> None:
    """It may know another wire format: Python does the work, and says why."""
    installed.VERSION = "0.0.9"
    with pytest.warns(RuntimeWarning, match=r"is of version 0\.0\.9, and Fivefold of 0\.1\.0"):
        assert load("0.1.0") is None


def test_one_that_computes_wrongly_is_refused(installed: ModuleType) -> None:
    """The published vectors are computed before anything is signed."""
    installed.digest = lambda data: bytes(32)
    with pytest.warns(RuntimeWarning, match="computes wrong digests"):
        assert load() is None


def test_the_macs_are_tested_too() -> None:
    """A digest that is right does not vouch for the MACs."""
    good = SimpleNamespace(digest=lambda data: bytes.fromhex(native._DIGEST_OF_ABC))
    good.Macs = lambda secrets: lambda digest: bytes(16)
    assert check(good) == "computes wrong MACs"


def test_one_that_fails_is_refused() -> None:
    """An exception in its test is no reason to fail."""
    assert check(SimpleNamespace()) == (  # type: ignore[arg-type]
        "fails its test (AttributeError: 'types.SimpleNamespace' object has no attribute 'digest')"
    )


def test_the_version_says_what_does_the_work() -> None:
    """`fivefold --version` names the variant, so that a report of a fault can say it."""
    said = subprocess.run([sys.executable, "-m", "fivefold", "--version"], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == f"{VERSION} ({variant()})"


@pytest.mark.skipif(native.native is None, reason="fivefold-native is not installed")
def test_the_installed_one_passes_its_test() -> None:
    """What runs here was tested."""
    assert native.native is not None
    assert check(native.native) is None
