"""A stranger's directory, full of modules with well-known names: no command and no process it starts runs one."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

PYTHON = Path(sys.executable)
NAMES = (
    *("uvloop", "typer", "click", "msgspec", "rich", "structlog", "cryptography", "prometheus_client", "distributed"),
    *("re", "json", "typing", "asyncio", "__future__", "shutil", "tomllib", "sqlite3", "ssl", "multiprocessing"),
    *("sitecustomized", "bank", "cli_bank"),
)
WAYS = {
    "command": [str(PYTHON.with_name("fivefold"))],
    "module": [str(PYTHON), "-m", "fivefold"],
}


@pytest.fixture
def strange(tmp_path: Path) -> Path:
    """The directory; a module of it that runs says so in the file ``ran``."""
    for name in NAMES:
        lines = f"open({str(tmp_path / 'ran')!r}, 'a').write('{name} ')\nraise SystemExit('pwned by {name}')\n"
        (tmp_path / f"{name}.py").write_text(lines)
    cluster = tmp_path / "fivefold-cluster"
    cluster.mkdir()
    (cluster / "local.json").write_text('{"objects": ["cli_bank"], "directory": ' + f'"{tmp_path}"' + "}")
    return tmp_path


def run(directory: Path, *words: str, python_path: str | None = None) -> str:
    """What a command printed."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    if python_path is not None:
        environment["PYTHONPATH"] = python_path
    done = subprocess.run(
        words,
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert not (directory / "ran").exists(), f"{words} ran {(directory / 'ran').read_text()}"
    return done.stdout + done.stderr


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "words",
    [
        "call Counter hits get",
        "status",
        "objects",
        "client list",
        "serve",
        "check nowhere.jsonl",
        "inspect .",
        "example",
        "simulate --calm --seeds 0..1 --jobs 2",
        "bench plot nothing.json",
    ],
)
def test_commands_run_nothing_of_it(strange: Path, way: str, words: str) -> None:
    """Whatever lies in the directory, and whatever a note beside a cluster file says."""
    assert "pwned" not in run(strange, *WAYS[way], *words.split())


def test_an_empty_entry_of_pythonpath_changes_nothing_for_what_is_imported_late(strange: Path) -> None:
    """Python itself looks in the current directory then; uvloop and what commands load later do not come from it."""
    (strange / "uvloop.py").write_text(f"open({str(strange / 'ran')!r}, 'a').write('uvloop ')\n")
    for name in NAMES:
        if name != "uvloop":
            (strange / f"{name}.py").unlink()
    run(strange, *WAYS["command"], "simulate", "--calm", "--seeds", "0..1", "--jobs", "2", python_path=":")
    run(strange, *WAYS["module"], "status", python_path=":")


@pytest.mark.parametrize("way", WAYS)
def test_servers_of_up_run_nothing_of_it(strange: Path, way: str, tmp_path: Path) -> None:
    """The directory is not in front in the servers either, which inherit it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    log = strange / "up.log"
    with log.open("wb") as file:
        up = subprocess.Popen(
            [*WAYS[way], "up", "--memory", "--dir", str(tmp_path / "place")],
            cwd=strange,
            env={**environment, "PYTHONPATH": ":"} if way == "module" else environment,
            stdout=file,
            stderr=file,
            stdin=subprocess.DEVNULL,
        )
    try:
        deadline = time.monotonic() + 60
        while b"ready" not in log.read_bytes():
            assert up.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
    finally:
        up.send_signal(signal.SIGINT)
        up.wait(30)
    assert not (strange / "ran").exists()
