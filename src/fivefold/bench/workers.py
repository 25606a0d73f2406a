"""The parent's side of client processes: start them, tell them what to do, hear what they saw."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import IO, Any, Final

import msgspec

from fivefold.bench.load import Recording, Segment
from fivefold.bench.worker import Answer, Close, Command, Failed, Open, Opened, Progress, Ran, Run
from fivefold.bench.workload import Seat
from fivefold.errors import ConfigurationError, Unavailable

OPEN_TIMEOUT_S: Final = 60.0
RUN_PATIENCE_S: Final = 60.0
"""How much longer than planned a segment may take."""

_answers: Final = msgspec.json.Decoder(Answer)


class Worker:
    """One client process.

    Attributes:
        seat: which of them it is.
        operations: how many have ended in the segment under way.
    """

    def __init__(self, seat: Seat, environment: Mapping[str, str] | None = None) -> None:
        """Start it; ``environment`` is added to the own."""
        self.seat = seat
        self.operations = 0
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "fivefold.bench.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )
        self._answers: queue.Queue[Answer | None] = queue.Queue()
        threading.Thread(target=self._listen, name=f"worker-{seat.client}", daemon=True).start()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def open(self, name: str, opener: str, options: dict[str, Any]) -> None:
        """Have it connect to a system.

        Raises:
            ConfigurationError: it never will.
            Unavailable: it could not now.
        """
        self._tell(Open(name=name, opener=opener, options=options))
        answer = self._next(time.monotonic() + OPEN_TIMEOUT_S)
        assert isinstance(answer, Opened)

    def start(self, name: str, segment: Segment) -> None:
        """Have it run a segment; :meth:`result` waits for the end."""
        self.operations = 0
        self._tell(Run(name=name, segment=segment, seat=self.seat))

    def look(self) -> None:
        """Take in what it has reported so far."""
        while not self._answers.empty():
            answer = self._answers.queue[0]
            if not isinstance(answer, Progress):
                return
            self.operations = answer.operations
            self._answers.get()

    def result(self, deadline: float, on_wait: Callable[[], None]) -> Recording:
        """What it saw; ``deadline`` is on the clock of ``time.monotonic``.

        Raises:
            Unavailable: it has ended, or not answered in time.
        """
        while True:
            answer = self._next(deadline)
            if isinstance(answer, Ran):
                return answer.recording
            if isinstance(answer, Progress):
                self.operations = answer.operations
                on_wait()

    def kill(self) -> None:
        """SIGKILL it, and wait for its end."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """Have it disconnect and end; kill it if it does not."""
        try:
            self._tell(Close())
            self._process.wait(10)
        except (Unavailable, subprocess.TimeoutExpired):
            self.kill()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            if stream is not None:
                with suppress(BrokenPipeError):  # what it was told last may still be in the buffer
                    stream.close()

    def _tell(self, command: Command) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(msgspec.json.encode(command) + b"\n")
            self._process.stdin.flush()
        except (BrokenPipeError, ValueError):
            raise self._gone() from None

    def _next(self, deadline: float) -> Answer:
        try:
            answer = self._answers.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            raise Unavailable(
                f"client process {self.seat.client} does not answer: the system under test hangs"
            ) from None
        if answer is None:
            raise self._gone()
        if isinstance(answer, Failed):
            raise ConfigurationError(answer.reason) if answer.is_mistake else Unavailable(answer.reason)
        return answer

    def _gone(self) -> Unavailable:
        code = self._process.wait()
        self._errors.seek(0)
        reason = self._errors.read().decode(errors="replace").strip()[-800:]
        return Unavailable(f"client process {self.seat.client} has ended: {reason or f'with exit code {code}'}")

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._answers.put(_answers.decode(line))
        self._answers.put(None)
