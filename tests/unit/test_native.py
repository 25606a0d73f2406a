"""The native path: when it is used, and what becomes of one that must not be."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from fivefold import native
from fivefold.native import check, load, variant
from fivefold.program import VERSION
from fivefold.protocol.authenticators import columns
from fivefold.protocol.client.alike import ENOUGH, KEPT, Alike
from fivefold.protocol.messages import encode, encode_operation, request_head
from fivefold.protocol.operations import Call, ObjectId, Operation
from fivefold.protocol.records import ObjectHistories, Request

NAME = ObjectId("R/a")
ROOT = Path(__file__).parents[2]


class Recorded:
    """Rounds that know one by heart."""

    event: Any = native.SAMPLE_EVENT

    def __init__(self, n: int, q: int) -> None:
        assert (n, q) == (2, 2)

    def open(self, *request: object) -> list[bytes]:
        return native.SAMPLE_FRAMES

    def receive(self, server: int, frames: tuple[bytes, ...]) -> list[Any] | None:
        return [self.event] if server else None


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module in the place of the native one, which would pass if its version were right."""
    fake = ModuleType("fivefold_native")
    fake.VERSION = VERSION
    fake.digest = lambda data: bytes.fromhex(native._DIGEST_OF_ABC)
    fake.Macs = lambda secrets: lambda digest: bytes.fromhex(native._MAC_OF_ZEROS)
    fake.OrdinaryRounds = Recorded
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


def test_a_round_is_tested_too(installed: Any) -> None:
    """One that takes a reply wrongly is refused."""
    assert check(installed) is None
    tag, other, kept, shown = native.SAMPLE_EVENT
    installed.OrdinaryRounds = type("Wrong", (Recorded,), {"event": (tag, other, kept, (*shown[:2], 0, *shown[3:]))})
    assert check(installed) == "makes a client's round wrongly"


def test_the_recorded_round_is_python_s() -> None:
    """What a native module is tested with is what a client sends, and makes of the replies."""
    operation = Operation((NAME,), (Call(b"i" * 16, 0, "m", b"1"),), b"c" * 16)
    sets = (ObjectHistories(NAME, (b"h",), b"\1\1"),)
    body = encode(Request(NAME, sets, encode_operation(operation, 5, 1)))
    macs = b"".join(letter * 16 for letter in (b"A", b"B", b"C", b"D"))
    assert columns(macs, 2, request_head(7, body)) == native.SAMPLE_FRAMES
    alike = Alike(2, (0, 1), is_open=True)
    assert [alike.take(server, frame) for server, frame in enumerate(native.SAMPLE_REPLIES)] == [KEPT, ENOUGH]
    vote = alike.vote()
    assert vote is not None
    ((shown, rows),) = alike.shown(vote, (NAME,), 2)
    time = int.from_bytes(vote.candidate[:16], "big")
    told = vote.status, vote.answers, time, vote.histories, shown.holders, (rows,)
    assert ("tag", None, dict(enumerate(native.SAMPLE_REPLIES)), told) == native.SAMPLE_EVENT


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
