"""Whatever an operator's file holds, every command that reads it ends in a sentence, and in no traceback."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fivefold.checker import Observation, Outcome, write_history
from fivefold.cli import main
from fivefold.cli.exits import Exit
from fivefold.storage import SqliteStorage

pytestmark = pytest.mark.slow

SIX = [word for port in range(7000, 7006) for word in ("--server", f"127.0.0.1:{port}")]

PATIENCE = ("--deadline", "0.2")


def _overwrite(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _foreign(path: Path) -> None:
    """What another of the operator's files holds."""
    other = Path("client-admin/certificate.pem" if path.suffix != ".pem" else "cluster.toml")
    path.write_bytes(other.read_bytes())


def _directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES: dict[str, Callable[[Path], None]] = {
    "empty": lambda path: _overwrite(path, b""),
    "a word": lambda path: _overwrite(path, b"x"),
    "no text": lambda path: _overwrite(path, random.Random(1).randbytes(3000)),
    "zeros": lambda path: _overwrite(path, bytes(4096)),
    "a number": lambda path: _overwrite(path, b"7"),
    "null": lambda path: _overwrite(path, b"null"),
    "lists": lambda path: _overwrite(path, b"[" * 20_000),
    "an escape": lambda path: _overwrite(path, b"\x1b[31m = '\x1b]0;x\x07'\n"),
    "cut": _cut,
    "foreign": _foreign,
    "a directory": _directory,
}

READERS: list[tuple[str, tuple[str, ...]]] = [
    *(
        ("cluster.toml", words)
        for words in [
            ("call", "Counter", "hits", "get", *PATIENCE),
            ("status", "--timeout", "0.2"),
            ("client", "list"),
            ("client", "add", "bob", "--allow", "*"),
            ("audit",),
            ("backup", "copy"),
        ]
    ),
    *((f"client-admin/{name}.pem", ("status", "--timeout", "0.2")) for name in ("certificate", "exchange-key")),
    ("client-admin/signing-key.pem", ("call", "Counter", "hits", "get", *PATIENCE)),
    ("history.json", ("check", "history.json")),
    ("objects.jsonl", ("import", "objects.jsonl")),
    ("own/objects.sqlite", ("inspect", "own")),
    ("code.py", ("objects", "--objects", "code.py")),
    ("local.json", ("call", "Counter", "hits", "get", *PATIENCE)),
]


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A directory with one of each file."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        main(["init", ".", *SIX])
    seen = Observation(
        process="a", method="get", objects=("Counter/x",), arguments={}, invoke_ns=1, return_ns=2, outcome=Outcome.OK
    )
    write_history(Path("history.json"), [seen])
    Path("objects.jsonl").write_text('{"object": "Counter/x", "state": {"value": 1}}\n')
    Path("own").mkdir()
    SqliteStorage.create(Path("own/objects.sqlite"), "cluster", "fingerprint")
    Path("code.py").write_text("from fivefold import Counter\n")
    Path("local.json").write_text("{}")
    return tmp_path


@pytest.mark.parametrize(("name", "words"), READERS, ids=[f"{words[0]} {name}" for name, words in READERS])
def test_a_damaged_file_ends_in_a_sentence(
    place: Path, capsys: pytest.CaptureFixture[str], name: str, words: tuple[str, ...]
) -> None:
    """Emptied, cut, of another program, of another of these files, or a directory in its place."""
    path = place / name
    whole = path.read_bytes()
    for what, damage in DAMAGES.items():
        damage(path)
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main(words)
        err = capsys.readouterr().err
        assert left.value.code in (Exit.OK, Exit.MISTAKE, Exit.UNAVAILABLE), what
        assert "Traceback" not in err, what
        assert "\x1b" not in err, what
        assert len(err.splitlines()) <= 12, (what, err)
        if left.value.code:
            assert err.strip(), what
        if path.is_dir():
            shutil.rmtree(path)
        path.write_bytes(whole)
        shutil.rmtree(place / "copy", ignore_errors=True)


@pytest.mark.long
@pytest.mark.ci
@pytest.mark.parametrize(
    "damage", [DAMAGES["empty"], _foreign, DAMAGES["no text"]], ids=["empty", "foreign", "no text"]
)
@pytest.mark.parametrize("name", ["cluster.toml", "server-0/certificate.pem", "server-0/signing-key.pem"])
def test_a_server_with_a_damaged_file_ends_in_a_sentence(
    place: Path, name: str, damage: Callable[[Path], None]
) -> None:
    """It ends before it listens, and has made no data directory."""
    damage(place / name)
    words = ["serve", "--identity", "server-0", "--data", "data"]
    ended = subprocess.run(
        [sys.executable, "-m", "fivefold", *words], cwd=place, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == Exit.MISTAKE
    assert "Traceback" not in ended.stderr
    assert ended.stderr.startswith("fivefold: ConfigurationError: ")
    assert not (place / "data").exists()
