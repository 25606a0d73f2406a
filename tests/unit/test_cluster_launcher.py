"""Server processes: started, stopped, killed, paused, and gone with their launcher."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fivefold.cluster import LocalCluster, serve_command
from fivefold.errors import Unavailable

READY = "import sys, signal, os; print('ready', sys.argv[1], 'somewhere', flush=True); "
OBEDIENT = READY + "signal.pause()"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + READY + "\nwhile True: signal.pause()"


def cluster_of(program, tmp_path, n=2):
    return LocalCluster(n, lambda index: [sys.executable, "-c", program, str(index)], tmp_path / "logs")


def is_gone(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"


def state_of(pid):
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def until(holds, seconds=10):
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_servers_run_until_the_block_ends(tmp_path):
    """All servers are ready inside the block, log to their own files, and are gone after it."""
    with cluster_of(OBEDIENT, tmp_path) as cluster:
        pids = [server.pid for server in cluster.servers]
        assert all(server.is_running for server in cluster.servers)
        assert cluster.servers[1].log.read_text() == "ready 1 somewhere\n"
    assert all(map(is_gone, pids))
    assert [server.pid for server in cluster.servers] == [None, None]


def test_servers_have_a_fixed_hash_seed(tmp_path):
    """Sets of strings iterate in the same order in all servers."""
    program = "import os; print(os.environ['PYTHONHASHSEED'], hash('x'), flush=True); " + OBEDIENT
    with cluster_of(program, tmp_path) as cluster:
        first, second = (server.log.read_text().splitlines()[0] for server in cluster.servers)
        assert first == second
        assert first.startswith("0 ")


def test_a_killed_server_can_be_started_again(tmp_path):
    """The others go on; readiness is that of the new process, not a line of the old one."""
    with cluster_of(OBEDIENT, tmp_path) as cluster:
        other, pid = cluster.servers[0].pid, cluster.servers[1].pid
        cluster.kill(1)
        assert is_gone(pid)
        assert not cluster.servers[1].is_running
        cluster.start_one(1)
        assert cluster.servers[1].pid not in (None, pid)
        assert cluster.servers[0].pid == other
        assert cluster.servers[1].log.read_text() == "ready 1 somewhere\n" * 2


def test_a_restart_can_add_arguments(tmp_path):
    """The demo restarts one server with a flag; the next restart is without it."""
    program = "import sys; print(sys.argv[2:], flush=True); " + OBEDIENT
    with cluster_of(program, tmp_path, n=1) as cluster:
        cluster.restart(0, ["--lie"])
        cluster.restart(0)
        assert cluster.servers[0].log.read_text().splitlines()[::2] == ["[]", "['--lie']", "[]"]


def test_all_servers_are_killed_at_once(tmp_path):
    """After `kill_all` none is left, and `start` brings all back."""
    with cluster_of(OBEDIENT, tmp_path, n=3) as cluster:
        cluster.kill_all()
        assert [server.is_running for server in cluster.servers] == [False] * 3
        cluster.start()
        assert [server.is_running for server in cluster.servers] == [True] * 3


def test_a_paused_server_stands_still(tmp_path):
    """A paused server is stopped, not gone; it can be resumed, and stopped while paused."""
    with cluster_of(OBEDIENT, tmp_path) as cluster:
        server = cluster.servers[0]
        cluster.pause(0)
        until(lambda: state_of(server.pid) == "T")
        cluster.resume(0)
        until(lambda: state_of(server.pid) == "S")
        cluster.pause(0)
        pid = server.pid
    assert is_gone(pid)


def test_a_stubborn_server_is_killed_at_the_deadline(tmp_path):
    """Who ignores SIGTERM gets SIGKILL."""
    cluster = cluster_of(STUBBORN, tmp_path, n=1)
    cluster.start()
    pid = cluster.servers[0].pid
    cluster.stop(timeout_s=0.1)
    assert is_gone(pid)


def test_a_server_that_fails_stops_all(tmp_path):
    """The error has the last line of the server's log, and no other server is left behind."""
    program = "import sys; sys.argv[1] == '1' and sys.exit('Traceback\\nport in use'); " + OBEDIENT
    cluster = cluster_of(program, tmp_path)
    with pytest.raises(Unavailable, match=r"server 1 ended while starting, see [^:]*: port in use$"):
        cluster.start()
    assert [server.is_running for server in cluster.servers] == [False, False]


def test_a_server_that_is_never_ready(tmp_path):
    """The deadline ends the wait; half a line is not readiness."""
    program = "import sys, signal; sys.stdout.write('ready 0 some'); sys.stdout.flush(); signal.pause()"
    with pytest.raises(Unavailable, match="server 0 was not ready in time"):
        cluster_of(program, tmp_path, n=1).start(timeout_s=0.3)


LAUNCHER = """
import sys, time
from pathlib import Path
from fivefold.cluster import LocalCluster
child = '''
import os, signal, sys
from fivefold.cluster import watch_parent
assert watch_parent(lambda: os._exit(0))
assert "FIVEFOLD_PARENT_PIPE" not in os.environ
print("ready", sys.argv[1], "somewhere", flush=True)
signal.pause()
'''
cluster = LocalCluster(2, lambda index: [sys.executable, "-c", child, str(index)], Path(sys.argv[1]))
cluster.start()
print(*[server.pid for server in cluster.servers], flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_servers_do_not_outlive_their_launcher(tmp_path, number):
    """However the launcher dies, its servers notice and end."""
    with subprocess.Popen(
        [sys.executable, "-c", LAUNCHER, str(tmp_path)], stdout=subprocess.PIPE, env=os.environ | python_path()
    ) as launcher:
        pids = [int(pid) for pid in launcher.stdout.readline().split()]
        assert len(pids) == 2
        launcher.send_signal(number)
    until(lambda: all(map(is_gone, pids)))


def python_path():
    import fivefold

    return {"PYTHONPATH": str(Path(fivefold.__file__).parents[1])}


def test_without_a_launcher_there_is_nothing_to_watch(monkeypatch):
    """A server started by hand or by systemd does not care for its standard input."""
    from fivefold.cluster import watch_parent

    monkeypatch.delenv("FIVEFOLD_PARENT_PIPE", raising=False)
    assert watch_parent(lambda: None) is False


def test_the_command_line_of_a_server(tmp_path):
    """It is `fivefold serve` with this interpreter."""
    command = serve_command(
        Path("c.toml"), identity=Path("server-0"), data=Path("data"), memory=True, objects=["a", "b.c"]
    )
    assert command[0] == sys.executable
    assert " ".join(command[1:]) == (
        "-m fivefold serve --cluster c.toml --identity server-0 --data data --memory --objects a --objects b.c"
    )
