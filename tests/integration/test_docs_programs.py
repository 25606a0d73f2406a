"""The programs that README and tutorial show run against the cluster that their command line starts."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.doc_blocks import Block, blocks

PROGRAMS = [block for block in blocks("python") if block.how.startswith("up objects=")]
# One page's program at once, the README's; the others take as long each.
PARAMETERS = [
    block if block.name.startswith("README") else pytest.param(block, marks=[pytest.mark.long, pytest.mark.ci])
    for block in PROGRAMS
]
START_S_MAX = 60.0

# The console script, as the pages have it.
FIVEFOLD = str(Path(sys.executable).with_name("fivefold"))

pytestmark = pytest.mark.integration


@contextmanager
def local_cluster(directory: Path, module: str) -> Iterator[subprocess.Popen[bytes]]:
    """The cluster of the page's ``fivefold up``, until the end of the block."""
    with (directory / "up.log").open("wb") as log:
        up = subprocess.Popen(
            [FIVEFOLD, "up", "--objects", module],
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            yield up
        finally:
            up.send_signal(signal.SIGINT)
            try:
                up.wait(30)
            except subprocess.TimeoutExpired:
                up.kill()
                up.wait()


def run_until_it_works(program: Path) -> list[int]:
    """The numbers that the program prints, once the cluster answers."""
    deadline = time.monotonic() + START_S_MAX
    while True:
        done = subprocess.run(
            [sys.executable, str(program)],
            cwd=program.parent,
            capture_output=True,
            text=True,
            timeout=START_S_MAX,
            check=False,
        )
        if done.returncode == 0:
            return [int(word) for word in done.stdout.split()]
        assert time.monotonic() < deadline, done.stderr + (program.parent / "up.log").read_text()


def children(process: int) -> list[int]:
    """Process ids; the kernel lists them by the thread that started them."""
    lists = [path.read_text().split() for path in Path(f"/proc/{process}/task").glob("*/children")]
    return sorted(int(word) for words in lists for word in words)


@pytest.mark.parametrize("block", PARAMETERS, ids=lambda block: block.name)
def test_program_runs_and_goes_on_without_a_server(block: Block, tmp_path: Path) -> None:
    """The page's program runs against `fivefold up`, and its count goes on after a kill -9 of one server."""
    module = block.how.removeprefix("up objects=")
    program = tmp_path / f"{module}.py"
    program.write_text(block.text, encoding="utf-8")
    with local_cluster(tmp_path, module) as up:
        before = run_until_it_works(program)
        servers = children(up.pid)
        assert len(servers) == 6
        os.kill(servers[0], signal.SIGKILL)
        after = run_until_it_works(program)
        called = subprocess.run(
            [FIVEFOLD, "call", "--objects", module, "Hits", "front-page", "get"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
    assert before[0] == 1
    assert after[0] == before[-1] + 1
    assert int(called.stdout) == after[-1]
