"""The command line against a cluster that ``fivefold up`` runs: calls, errors, clients, lost servers."""

import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, chdir, redirect_stderr, redirect_stdout, suppress
from pathlib import Path

import pytest

from fivefold.cli import main
from tests.integration.rig import ENVIRONMENT

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

PATIENCE_S = 60.0

MODULE = '''
from fivefold import Object, Rejected, query, update


class TooMuch(Rejected):
    """More than a hundred at once."""


class Hits(Object):
    value: int = 0

    @query
    def get(self) -> int:
        return self.value

    @update
    def increment(self, by: int = 1) -> int:
        if by > 100:
            raise TooMuch(f"{by} is more than 100")
        self.value += by
        return self.value

    @update
    def fail(self) -> int:
        return 1 // 0

    @update
    def loop(self) -> int:
        while True:
            pass

    @update
    def lie(self) -> int:
        return "not a number"


@update
def move(source: Hits, target: Hits, amount: int) -> None:
    source.increment(-amount)
    target.increment(amount)
'''


class Place:
    """A directory with a cluster in it.

    Attributes:
        directory: where commands run.
        up: the process of ``fivefold up``.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.up: subprocess.Popen[bytes] | None = None

    def popen(self, *words: str, **options) -> subprocess.Popen[bytes]:
        environment = {**os.environ, **ENVIRONMENT}
        for name in ("PYTHONHASHSEED", "FIVEFOLD_ALLOW_LIES"):
            environment.pop(name, None)
        command = [sys.executable, "-m", "fivefold", *words]
        return subprocess.Popen(command, cwd=self.directory, env=environment, stdin=subprocess.DEVNULL, **options)

    def run(self, *words: str) -> tuple[int, str, str]:
        """Exit code, standard output and standard error of a command."""
        process = self.popen(*words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        out, err = process.communicate(timeout=PATIENCE_S)
        return process.returncode, out.decode(), err.decode()

    def run_here(self, *words: str) -> tuple[int, str, str]:
        """The same within this process: no start of an interpreter."""
        out, err = io.StringIO(), io.StringIO()
        with chdir(self.directory), redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as left:
            main(words)
        return int(left.value.code or 0), out.getvalue(), err.getvalue()

    def call(self, words: str) -> tuple[int, object, str]:
        """Exit code, answer and standard error of a call."""
        code, out, err = self.run_here("call", "--json", "--objects", "cli_hits", *words.split())
        return code, json.loads(out) if out else None, err

    def start(self, *words: str) -> None:
        log = self.directory / "up.log"
        with log.open("wb") as file:
            self.up = self.popen("up", *words, stdout=file, stderr=file)
        wait_for(lambda: b"ready" in log.read_bytes() or self.up.poll() is not None)
        assert self.up.poll() is None, log.read_text()

    def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        assert self.up is not None
        self.up.send_signal(number)
        return self.up.wait(PATIENCE_S)


def wait_for(holds) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def children(process: int) -> list[int]:
    lists = [path.read_text().split() for path in Path(f"/proc/{process}/task").glob("*/children")]
    return sorted(int(word) for words in lists for word in words)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A cluster with the module's objects, for all tests here that leave it as it was."""
    place = Place(tmp_path_factory.mktemp("place"))
    (place.directory / "cli_hits.py").write_text(MODULE, encoding="utf-8")
    place.start("--objects", "cli_hits")
    yield place
    place.stop()


def test_calls(place: Place) -> None:
    """Methods of one object and functions over several, of own and of ready-made types, without naming any module."""
    assert place.call("Hits a increment 5")[:2] == (0, 5)
    assert place.call("Hits/a increment by=2")[:2] == (0, 7)
    assert place.call("move a b amount=3")[:2] == (0, None)
    assert place.call("cli_hits.move Hits/a Hits/b 1")[:2] == (0, None)
    assert [place.call(f"Hits {key} get")[1] for key in "ab"] == [3, 4]
    assert place.call('Map m put k {"x":[1,2]}')[0] == 0
    assert place.call("Map m get k")[1] == {"x": [1, 2]}


@pytest.mark.parametrize(
    ("words", "error", "says"),
    [
        ("Nope k get", "UnknownType", "name its module with --objects"),
        ("Hits k nope", "UnknownMethod", "it has fail, get, increment, lie, loop"),
        ("Hits k increment x", "InvalidArguments", "expected int, got str"),
        ("Hits k increment 1.5", "InvalidArguments", "expected int, got float"),
        ("Hits k increment 1 2", "InvalidArguments", "it takes (by: int = 1) -> int"),
        ("Hits k increment 101", "TooMuch", "101 is more than 100"),
        ("Hits k fail", "ObjectError", "ZeroDivisionError"),
        ("Hits k loop", "ObjectError", "TimeLimit: ran longer than 1000 ms"),
        ("Hits k lie", "ObjectError", "its answer does not fit its annotation"),
        ("move k k 1", "InvalidArguments", "the same object twice"),
        (f"Hits {'k' * 300} get", "InvalidArguments", "choose a shorter key"),
        ("transfer k l 5", "Overdrawn", "the account holds 0"),
    ],
)
def test_bad_calls(place: Place, words: str, error: str, says: str) -> None:
    """The caller gets exit code 1 and one sentence; nothing is changed and the servers go on."""
    code, answer, err = place.call(words)
    assert (code, answer) == (1, None)
    assert err.startswith(f"fivefold: {error}: ")
    assert says in err
    assert err.count("\n") == 1


def test_bad_calls_change_nothing(place: Place) -> None:
    """What was refused above has changed nothing."""
    assert place.call("Hits k get")[:2] == (0, 0)


def test_clients_of_a_running_cluster(place: Place) -> None:
    """A client added while the servers run may do what its rules say; removed, it may do nothing."""
    assert place.run_here("client", "add", "joe", "--allow", "Hits:@query", "--cluster", "fivefold-cluster")[0] == 0
    wait_for(lambda: place.call("--identity joe Hits r get")[0] == 0)
    code, _, err = place.call("--identity joe Hits r increment")
    assert (code, err.startswith("fivefold: NotAllowed: ")) == (1, True)
    code, _, err = place.call("--identity joe Counter r get")
    assert (code, "your access rules do not cover 'get' of 'Counter/r'" in err) == (1, True)
    again = place.run_here("client", "add", "joe", "--allow", "*", "--cluster", "fivefold-cluster")
    assert (again[0], "a client is named 'joe' already" in again[2]) == (1, True)
    assert place.run_here("client", "remove", "joe", "--cluster", "fivefold-cluster")[0] == 0
    code, _, err = place.call("--identity joe Hits r get")
    assert (code, "is not in the cluster file" in err) == (1, True)


def test_status(place: Place) -> None:
    """All six servers are shown; for scripts as JSON."""
    code, out, _ = place.run_here("status", "--json")
    status = json.loads(out)
    assert (code, status["up"], status["quorum"]) == (0, 6, 5)
    assert {server["status"]["storage"] for server in status["servers"]} == {"sqlite"}
    assert place.run_here("status")[1].count("127.0.0.1:") == 6


def test_top_once(place: Place) -> None:
    """It looks twice, and says that all is well and how many more failures the cluster takes."""
    wait_for(lambda: place.run_here("status")[0] == 0)
    code, out, _ = place.run_here("top", "--once", "--every", "0.3", "--timeout", "20")
    assert code == 0
    assert "UP    1 more of 6 servers may fail, and 1 more may lie" in out
    assert "updates" in out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("--identity fivefold-cluster/server-1", "is in use by another process"),
        ("--identity fivefold-cluster/server-1 --data elsewhere", "it must not answer with forgotten history"),
        ("--identity fivefold-cluster/server-1 --memory", "has stored data"),
        ("--identity fivefold-cluster/client-admin --memory", "is not that of a server"),
        ("--identity fivefold-cluster/server-1 --objects nowhere", "module nowhere cannot be imported"),
        ("--identity fivefold-cluster/server-1 --objects json", "holds no Object class"),
        ("--identity fivefold-cluster/server-1 --listen somewhere", "is no address"),
        ("--identity fivefold-cluster/server-1 --lie macs", "--lie is for the demo and for tests"),
        ("--identity fivefold-cluster/server-9", "server-9 is missing"),
    ],
)
def test_servers_that_must_not_start(place: Place, words: str, says: str) -> None:
    """Data in use, missing or foreign, wrong identities, modules and options: one sentence that says what to do."""
    code, out, err = place.run("serve", "--cluster", "fivefold-cluster/cluster.toml", *words.split())
    assert (code, out) == (1, "")
    assert says in err
    assert "Traceback" not in err


@pytest.mark.long
@pytest.mark.ci
def test_a_second_up_in_the_same_place(place: Place) -> None:
    """A cluster that runs already is not started again, and goes on; other numbers of faults are refused."""
    code, _, err = place.run("up")
    assert (code, "is in use by another process" in err) == (3, True)
    assert place.call("Hits again get")[0] == 0
    code, _, err = place.run("up", "--faults", "2")
    assert (code, "holds a cluster for n=6, t=1, b=1" in err) == (1, True)


@pytest.mark.long
@pytest.mark.ci
def test_lost_servers(tmp_path: Path) -> None:
    """One lost server is not noticed; two are: exit code 3, soon and with the reasons. A new start brings all back."""
    place = Place(tmp_path)
    (tmp_path / "cli_hits.py").write_text(MODULE, encoding="utf-8")
    place.start("--port", str(free_ports(6)))
    assert place.call("Counter hits increment")[:2] == (0, 1)
    servers = children(place.up.pid)
    os.kill(servers[0], signal.SIGKILL)
    assert place.call("Counter hits increment")[:2] == (0, 2)
    assert json.loads(place.run_here("status", "--json")[1])["up"] == 5
    os.kill(servers[2], signal.SIGSTOP)
    began = time.monotonic()
    code, out, _ = place.run_here("status", "--json", "--timeout", "2")
    assert (code, json.loads(out)["up"]) == (3, 4)
    assert time.monotonic() - began < 2.5, "one server is dead and one is silent: the time is kept all the same"
    os.kill(servers[2], signal.SIGCONT)
    os.kill(servers[1], signal.SIGKILL)
    code, _, err = place.call("--deadline 1 Counter hits get")
    assert (code, "only 4 of the 5 servers needed could be reached" in err) == (3, True)
    code, out, err = place.run_here("status", "--json")
    assert (code, json.loads(out)["up"]) == (3, 4)
    assert place.stop(signal.SIGTERM) == 0
    place.start()
    assert place.call("Counter hits get")[:2] == (0, 2)
    assert place.stop() == 0
    assert not any(Path(f"/proc/{pid}").exists() for pid in servers)


@pytest.mark.long
@pytest.mark.ci
def test_port_in_use(tmp_path: Path) -> None:
    """A port that somebody listens on is named, and no server is left behind."""
    place = Place(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, _, err = place.run("up", "--memory", "--port", str(port))
    assert code == 3
    assert f"127.0.0.1:{port} is in use already: stop the program that listens there" in err


def free_ports(count: int) -> int:
    """The first of ``count`` ports in a row on which nobody listens now."""
    for first in range(21_000, 31_000, 10):
        with suppress(OSError), ExitStack() as taken:  # closes also those before one that is taken
            for i in range(count):
                taken.enter_context(socket.create_server(("127.0.0.1", first + i)))
            return first
    raise AssertionError("no free ports")


def test_serve_with_metrics_and_json_logs(tmp_path: Path) -> None:
    """A server prints one line when it listens, logs JSON, serves metrics and health, and ends in order on SIGTERM."""
    place = Place(tmp_path)
    first = free_ports(7)
    servers = [word for i in range(6) for word in ("--server", f"127.0.0.1:{first + i}")]
    assert place.run("init", ".", *servers)[0] == 0
    metrics = f"127.0.0.1:{first + 6}"
    process = place.popen("serve", "--log-json", "--metrics", metrics, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        assert process.stdout.readline() == f"ready 0 127.0.0.1:{first}\n".encode()
        assert Path(f"/proc/{process.pid}/environ").read_bytes().count(b"PYTHONHASHSEED=0\0") == 1
        page = urllib.request.urlopen(f"http://{metrics}/metrics").read().decode()
        assert 'fivefold_server{index="0",storage="sqlite"' in page
        assert "fivefold_storage_failing 0.0" in page
        assert "fivefold_throttled_requests_total 0.0" in page
        for path in ("healthz", "livez", "readyz"):
            assert urllib.request.urlopen(f"http://{metrics}/{path}").read() == b"ok\n"
        with pytest.raises(urllib.error.HTTPError) as missing:
            urllib.request.urlopen(f"http://{metrics}/other")
        missing.value.close()
    finally:
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0
    events = [json.loads(line) for line in err.decode().splitlines()]
    assert {"ready", "closed"} <= {event["event"] for event in events}


@pytest.mark.long
@pytest.mark.ci
def test_demo(tmp_path: Path) -> None:
    """The demo holds what it promises, in less than a minute."""
    started = time.monotonic()
    code, out, err = Place(tmp_path).run("demo", "--seconds", "6", "--json")
    assert code == 0, out + err
    report = json.loads(out)
    assert report["held"]
    assert len(report["claims"]) == 4
    assert time.monotonic() - started < 60
