"""The commands of docs/how-to/runbook.md, run against real servers."""

import asyncio
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from fivefold import Counter, FivefoldError, connect
from fivefold.cli.exits import Exit
from fivefold.cluster import add_client, create_cluster, free_addresses
from tests.integration.rig import ROOT

pytestmark = [pytest.mark.integration, pytest.mark.long, pytest.mark.ci, pytest.mark.timeout(400)]

PATIENCE_S = 90.0

MOVES = ("More servers, or others", "A move is to be given up")
"""Sections with a story of their own."""


def sections() -> dict[str, list[str]]:
    """The commands of each section of the page."""
    text = (ROOT / "docs" / "how-to" / "runbook.md").read_text(encoding="utf-8")
    found: dict[str, list[str]] = {}
    for part in text.split("\n## ")[1:]:
        title, _, rest = part.partition("\n")
        found[title] = re.findall(r"^\$ fivefold (.*)$", rest, re.MULTILINE)
    return found


class Hosts:
    """A directory with a cluster, and the servers that run."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.servers: dict[str, subprocess.Popen[bytes]] = {}
        self._places = dict(zip("abcdefghijkl", free_addresses(12), strict=True))

    def words(self, line: str) -> list[str]:
        """A command of the page with this test's places."""
        line = re.sub(r"\b([a-l])\.example:\d+", lambda found: self._places[found[1]], line)
        return shlex.split(line.replace("/srv/backup", str(self.directory / "backup")))

    def run(self, line: str, code: int = Exit.OK) -> str:
        words = self.words(line)
        if words[0] == "serve":
            self.serve(words)
            return ""
        done = subprocess.run(
            [sys.executable, "-m", "fivefold", *words],
            cwd=self.directory,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == code, f"{line}: {done.stdout}{done.stderr}"
        return done.stdout

    def serve(self, words: list[str]) -> None:
        command = [sys.executable, "-m", "fivefold", *words]
        name = words[words.index("--identity") + 1]
        environment = {**os.environ, "PYTHONHASHSEED": "0"}
        with (self.directory / "servers.log").open("ab") as log:
            self.servers[name] = subprocess.Popen(command, cwd=self.directory, stdout=log, stderr=log, env=environment)

    def begin(self, line: str) -> subprocess.Popen[str]:
        """Start a command that waits for what is done meanwhile."""
        command = [sys.executable, "-m", "fivefold", *self.words(line)]
        return subprocess.Popen(
            command, cwd=self.directory, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )

    def until_there(self, name: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not (self.directory / name).exists():
            assert time.monotonic() < deadline, f"{name} is not made"
            time.sleep(0.1)

    def stop(self, name: str) -> None:
        server = self.servers.pop(name)
        server.kill()
        server.wait(30)

    def until(self, line: str, says: str) -> None:
        """Repeat a command until its output matches."""
        deadline = time.monotonic() + PATIENCE_S
        while not re.search(says, said := self.run_any(line)):
            assert time.monotonic() < deadline, f"waited in vain for {says!r}: {said}"
            time.sleep(0.3)

    def run_any(self, line: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "fivefold", *self.words(line)],
            cwd=self.directory,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.stdout

    def total(self, cluster: str) -> int:
        """The sum of the counters."""

        async def read() -> int:
            file, identity = self.directory / cluster, self.directory / "prod" / "client-admin"
            async with connect(file, identity=identity, deadline=60, connect_timeout=60) as found:
                return sum(await asyncio.gather(*(found.object(Counter, f"c{n}").get() for n in range(12))))

        return asyncio.run(read())

    def count_as(self, identity: str) -> bool:
        """Whether that identity is let in within a while, once the servers have read the file."""

        async def count() -> None:
            file = self.directory / "prod" / "cluster.toml"
            async with connect(file, identity=file.with_name(identity), deadline=10, connect_timeout=10) as found:
                await found.object(Counter, f"by-{identity}").increment()

        time.sleep(3)
        with suppress(FivefoldError):
            asyncio.run(count())
            return True
        return False

    def write(self) -> None:
        async def write() -> None:
            file, identity = self.directory / "prod" / "cluster.toml", self.directory / "prod" / "client-admin"
            async with connect(file, identity=identity, deadline=60, connect_timeout=60) as found:
                await asyncio.gather(*(found.object(Counter, f"c{n}").increment() for n in range(12)))

        asyncio.run(write())


@pytest.fixture
def hosts(tmp_path: Path):
    """Six servers and some counters."""
    create_cluster(tmp_path / "prod", free_addresses(6), t=1, b=1)
    add_client(tmp_path / "prod" / "cluster.toml", "shop", ["Counter"])
    made = Hosts(tmp_path)
    for index in range(6):
        made.run(f"serve --cluster prod/cluster.toml --identity prod/server-{index}")
    made.write()
    yield made
    for name in list(made.servers):
        made.stop(name)


def test_the_runbook_runs(hosts: Hosts) -> None:
    """Each command of the page does what it says; after each section the counters hold what was acknowledged."""
    page = {title: lines for title, lines in sections().items() if title not in MOVES}
    for line in page.pop("Every night"):
        hosts.run(line)

    hosts.stop("prod/server-3")
    shutil.rmtree(hosts.directory / "prod" / "server-3.data")
    for line in page.pop("A host is lost"):
        hosts.run(line)
    hosts.write()
    status = "status --cluster prod/cluster.toml --json"
    hosts.until(status, r'"is_standing": ?true')
    _until_all_stand(hosts, status)
    assert hosts.total("prod/cluster.toml") == 24

    hosts.stop("prod/server-1")
    *others, last = page.pop("A host was broken into")
    for line in others:
        hosts.run(line)
    _until_all_stand(hosts, status)
    hosts.run(last)
    hosts.write()
    _change_keys(hosts, page, status)
    for line in page.pop("A client's identity was stolen"):
        hosts.run(line)
    for line in page.pop("A disk is full"):
        hosts.run(line)
    hosts.stop("prod/server-5")
    for line in page.pop("A new release, or new code"):
        hosts.run(line)
    _until_all_stand(hosts, status)
    assert hosts.total("prod/cluster.toml") == 36

    for name in list(hosts.servers):
        hosts.stop(name)
    for line in page.pop("More than t servers are lost"):
        hosts.run(line)
    for index in range(6):
        hosts.run(f"serve --cluster prod2/cluster.toml --identity prod2/server-{index}")
    assert hosts.total("prod2/cluster.toml") == 12
    assert not any(page.values()), "these sections have commands that no story runs"


def _change_keys(hosts: Hosts, page: dict[str, list[str]], status: str) -> None:
    """Those of server 4, and of a client, which may write by both meanwhile and by the new one afterwards."""
    *others, last = page.pop("A server's certificate was stolen")
    for line in others:
        hosts.run(line)
    hosts.stop("prod/server-4")
    hosts.run(last)
    _until_all_stand(hosts, status)
    before, after = page.pop("A client's key is to be changed")
    hosts.run(before)
    for identity in ("client-shop", "client-shop.new"):
        assert hosts.count_as(identity)
    hosts.run(after)
    assert hosts.count_as("client-shop.new")
    assert not hosts.count_as("client-shop")


def _until_all_stand(hosts: Hosts, status: str) -> None:
    """All six servers answer, and none is catching up."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        said = hosts.run_any(status)
        if '"up":6' in said.replace(" ", "") and '"is_standing":false' not in said.replace(" ", ""):
            return
        assert time.monotonic() < deadline, said
        time.sleep(0.3)


def test_the_runbook_moves_a_cluster(hosts: Hosts) -> None:
    """A move is killed when the new servers' files are there, and given up; calls go on. Then it is made once more."""
    (try_it, make_it, serve, *look), [give_up] = (sections()[title] for title in MOVES)
    mover = hosts.begin(make_it)
    try:
        hosts.until_there("prod3")
    finally:
        mover.kill()
        mover.communicate(timeout=60)
    hosts.run(give_up)
    assert hosts.count_as("client-admin")
    shutil.rmtree(hosts.directory / "prod3")

    hosts.run(try_it)
    mover = hosts.begin(make_it)
    try:
        hosts.until_there("prod3")
        for index in range(6):
            hosts.run(serve.replace("server-0", f"server-{index}"))
        _, said = mover.communicate(timeout=PATIENCE_S)
    finally:
        mover.kill()
        mover.wait(60)
    assert mover.returncode == 0, said
    for line, says in zip(look, ("the cluster has moved", "server 5 compares"), strict=True):
        hosts.until(line, says)
    assert hosts.total("prod3/cluster.toml") == 12
