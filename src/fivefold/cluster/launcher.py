"""A cluster of server processes on this machine: for ``fivefold up``, the demo, tests and benchmarks.

The launcher's methods block; call them through ``asyncio.to_thread`` in a coroutine.

Servers must not outlive their launcher, however it dies. Each has a pipe on its standard input whose other end only the
launcher holds, and which the kernel closes with it: :func:`watch_parent` tells the server. Linux's parent-death signal
would not do: it is sent when the *thread* that started the child ends.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Final

from fivefold.cluster.files import make_log_directory, open_log
from fivefold.errors import ConfigurationError, Unavailable

PARENT_PIPE: Final = "FIVEFOLD_PARENT_PIPE"
"""Set in the environment of servers whose standard input is the launcher's pipe."""

READY: Final = "ready"
"""First word of the line ``ready INDEX ADDRESS`` that a server prints once it listens."""

START_TIMEOUT_S: Final = 30.0
"""A server that has not printed its line by then has failed."""

STOP_TIMEOUT_S: Final = 10.0
"""A server that has not ended so long after SIGTERM gets SIGKILL."""

_POLL_S: Final = 0.01

# Below the range from which the kernel takes ports for outgoing connections (32768 on, ip(7)): a server that is started
# again must find its port free, although the others' links come and go meanwhile.
_PORT_FIRST, _PORT_LAST = 20_000, 32_000


class ServerProcess:
    """One server, running or not.

    Attributes:
        index: its index in the cluster file.
        log: the file that takes its standard output and error.
    """

    def __init__(self, index: int, command: Sequence[str], log: Path, environment: Mapping[str, str]) -> None:
        """Not started yet.

        Args:
            index: its index in the cluster file.
            command: program and arguments.
            log: is appended to.
            environment: of the process, whole.
        """
        self.index = index
        self.log = log
        self._command = list(command)
        self._environment = dict(environment)
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0
        self._is_paused = False

    @property
    def is_running(self) -> bool:
        """Whether the process lives, paused or not."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        return self._process.pid if self._process is not None and self.is_running else None

    def start(self, arguments: Sequence[str] = ()) -> None:
        """Start the process, with further arguments this time only; :meth:`wait_ready` tells when it listens."""
        assert not self.is_running, "a server is started once at a time"
        self._close_pipe()
        self._is_paused = False
        with open_log(self.log) as log:
            self._log_start = log.seek(0, os.SEEK_END)
            self._process = subprocess.Popen(
                [*self._command, *arguments],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**self._environment, PARENT_PIPE: "1"},
                start_new_session=True,  # Ctrl-C at the terminal is the launcher's to handle
            )

    def is_ready(self) -> bool:
        """Whether it has printed its line since it was started.

        Raises:
            Unavailable: it has ended; the message has the end of its log.
        """
        is_running = self.is_running  # asked first: what it printed before it ended counts
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            lines = log.read().decode(errors="replace").splitlines(keepends=True)
        start = f"{READY} {self.index} "
        if any(line.startswith(start) and line.endswith("\n") for line in lines):
            return True
        if not is_running:
            said = lines[-1].strip()[-500:] if lines else "it said nothing"
            raise Unavailable(f"server {self.index} ended while starting, see {self.log}: {said}")
        return False

    def wait_ready(self, deadline: float) -> None:
        """Wait until it listens; ``deadline`` is on the clock of ``time.monotonic``.

        Raises:
            Unavailable: it has ended, or the deadline has passed.
        """
        while not self.is_ready():
            if time.monotonic() > deadline:
                raise Unavailable(f"server {self.index} was not ready in time, see {self.log}")
            time.sleep(_POLL_S)

    def kill(self) -> None:
        """SIGKILL, and wait for the end: the process has no chance to write anything."""
        self.send_kill()
        self._reap()

    def send_kill(self) -> None:
        """SIGKILL without waiting."""
        self._signal(signal.SIGKILL)

    def terminate(self) -> None:
        """SIGTERM: ask it to end; also a paused one."""
        self.resume()
        self._signal(signal.SIGTERM)

    def wait(self, deadline: float) -> None:
        """Wait for the end after :meth:`terminate`, and kill it at the deadline."""
        if self._process is not None:
            try:
                self._process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                self._signal(signal.SIGKILL)
        self._reap()

    def pause(self) -> None:
        """SIGSTOP: it neither answers nor ends its connections."""
        self._is_paused = True
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT after :meth:`pause`."""
        if self._is_paused:
            self._is_paused = False
            self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)  # does nothing once the process has ended

    def _reap(self) -> None:
        if self._process is not None:
            self._process.wait()
        self._close_pipe()

    def _close_pipe(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()


class LocalCluster:
    """The servers of one cluster, as child processes.

    A context manager: starts them, and stops them at the end.

    Attributes:
        servers: by index.
    """

    def __init__(self, n: int, command: Callable[[int], Sequence[str]], log_directory: Path) -> None:
        """Nothing is started yet.

        Args:
            n: number of servers.
            command: program and arguments of the server with an index.
            log_directory: gets ``server-INDEX.log``; made if it does not exist.
        """
        make_log_directory(log_directory)
        # Sets of strings iterate in an order that depends on the seed: a user's method may do that (PROTOCOL §6).
        # And Python looks for modules where it is started, first of all, unless it is told not to.
        fixed = {"PYTHONHASHSEED": "0", "PYTHONUNBUFFERED": "1", "PYTHONSAFEPATH": "1"}
        environment = {**os.environ, **fixed}
        self.servers = [
            ServerProcess(index, command(index), log_directory / f"server-{index}.log", environment)
            for index in range(n)
        ]

    def __enter__(self) -> LocalCluster:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Start all servers that do not run and wait until all listen; if one fails, stop all.

        Raises:
            Unavailable: a server ended, or was not ready in time.
        """
        try:
            starting = [server for server in self.servers if not server.is_running]
            for server in starting:
                server.start()
            deadline = time.monotonic() + timeout_s
            for server in starting:
                server.wait_ready(deadline)
        except BaseException:
            self.stop()
            raise

    def start_one(self, index: int, arguments: Sequence[str] = (), timeout_s: float = START_TIMEOUT_S) -> None:
        """Start one server again and wait until it listens; ``arguments`` are added this time only.

        Raises:
            Unavailable: it ended, or was not ready in time.
        """
        self.servers[index].start(arguments)
        self.servers[index].wait_ready(time.monotonic() + timeout_s)

    def restart(self, index: int, arguments: Sequence[str] = ()) -> None:
        """End one server in order and start it again; see :meth:`start_one`."""
        self.servers[index].terminate()
        self.servers[index].wait(time.monotonic() + STOP_TIMEOUT_S)
        self.start_one(index, arguments)

    def kill(self, index: int) -> None:
        """SIGKILL one server."""
        self.servers[index].kill()

    def kill_all(self) -> None:
        """SIGKILL every server, as near to one moment as signals go."""
        for server in self.servers:
            server.send_kill()
        for server in self.servers:
            server.kill()

    def pause(self, index: int) -> None:
        """SIGSTOP one server."""
        self.servers[index].pause()

    def resume(self, index: int) -> None:
        """SIGCONT one server."""
        self.servers[index].resume()

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """SIGTERM every server, and SIGKILL each one that does not end in time."""
        for server in self.servers:
            server.terminate()
        deadline = time.monotonic() + timeout_s
        for server in self.servers:
            server.wait(deadline)


def serve_command(
    cluster_file: Path, *, identity: Path, data: Path, memory: bool = False, objects: Sequence[str] = ()
) -> list[str]:
    """The command line of ``fivefold serve`` with this interpreter."""
    command = [sys.executable, "-m", "fivefold", "serve", "--cluster", str(cluster_file)]
    command += ["--identity", str(identity), "--data", str(data)]
    command += ["--memory"] if memory else []
    for module in objects:
        command += ["--objects", module]
    return command


def free_addresses(count: int) -> list[str]:
    """Addresses ``127.0.0.1:PORT`` on which nobody listens now.

    Raises:
        ConfigurationError: too few are left.
    """
    ports = list(range(_PORT_FIRST, _PORT_LAST))
    random.SystemRandom().shuffle(ports)
    found: list[str] = []
    for port in ports:
        if len(found) == count:
            return found
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(f"127.0.0.1:{port}")
    raise ConfigurationError(f"{count} free ports between {_PORT_FIRST} and {_PORT_LAST} are needed: end something")


def watch_parent(on_gone: Callable[[], None], stream: IO[bytes] | None = None) -> bool:
    """In a server: have ``on_gone`` called, from another thread, when the launcher is gone.

    Returns:
        Whether there is a launcher to watch: False, and nothing is done, if PARENT_PIPE is not in the environment.
    """
    if not os.environ.pop(PARENT_PIPE, ""):
        return False
    pipe = sys.stdin.buffer if stream is None else stream

    def wait_for_end() -> None:
        while os.read(pipe.fileno(), 4096):
            pass
        on_gone()

    threading.Thread(target=wait_for_end, name="watch-parent", daemon=True).start()
    return True
