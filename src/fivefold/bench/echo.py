"""The floor: bare echoes to q processes over Fivefold's own transport, without any protocol.

A *quorum echo* sends one frame to each of q processes and waits for all q answers. A fault-free operation would cost
as much if servers and clients had nothing to compute. The client does not even wake a task for each echo, so no ratio
to this floor flatters us.

``python -m fivefold.bench.echo DIRECTORY INDEX TLS`` is one of its servers; each answers with as many bytes as the
first four of a frame say.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import time
from collections import deque
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from fivefold.bench.load import Log, Recording, Segment
from fivefold.bench.system import Opened, until
from fivefold.bench.workload import Seat
from fivefold.cluster import (
    CLUSTER_FILE,
    READY,
    Credentials,
    find_identity,
    load_configuration,
    load_identity,
    server_directory,
    watch_parent,
)
from fivefold.transport import Connection, Link, StreamTransport

_SIZE_BYTES: Final = 4


def request_of(size: int, answer_bytes: int) -> bytes:
    """A frame of ``size`` bytes that asks for an answer of ``answer_bytes``."""
    return answer_bytes.to_bytes(_SIZE_BYTES, "big") + os.urandom(max(0, size - _SIZE_BYTES))


def answer_to(frame: bytes) -> bytes:
    """The answer a frame asks for: its own bytes, cut or filled up."""
    size = int.from_bytes(frame[:_SIZE_BYTES], "big")
    return frame[:size] if size <= len(frame) else frame.ljust(size, b"\0")


def _echo(connection: Connection, frames: list[bytes]) -> None:
    for frame in frames:
        connection.send(answer_to(frame))


async def serve(directory: Path, index: int, tls: bool) -> None:
    """One server, until the launcher is gone or ends it."""
    credentials = Credentials(
        load_configuration(directory / CLUSTER_FILE), load_identity(server_directory(directory, index))
    )
    await StreamTransport(credentials, tls=tls).listen(on_open=_ignore, on_frames=_echo, on_close=_ignore)
    print(READY, index, "echo", flush=True)
    gc.collect()
    gc.freeze()
    await serve_until_stopped()


async def serve_until_stopped() -> None:
    """Wait until the launcher is gone; a SIGTERM ends the process at once."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()

    def parent_gone() -> None:
        loop.call_soon_threadsafe(stop.set)

    watch_parent(parent_gone)
    await stop.wait()


def _ignore(connection: Connection) -> None:
    """Nothing to do."""


class Floor:
    """Keeps quorum echoes in flight and notes how long each took."""

    def __init__(self, frame: bytes) -> None:
        """``links`` are filled in by the owner."""
        self.links: list[Link] = []
        self.frame = frame
        self._sent: deque[int] = deque()  # every link answers in order, so the oldest echo is complete first
        self._answers: list[int] = []
        self._lacking = 0
        self._log = Log()
        self._end_ns = 0
        self._drained = asyncio.Event()

    async def run(self, segment: Segment, seat: Seat, log: Log) -> Recording:
        """One segment; of the workload only the number in flight counts."""
        await until(segment.start_ns)
        self._answers = [0] * len(self.links)
        self._lacking = len(self.links)
        self._log, self._end_ns = log, segment.measured_ns[1]
        self._drained.clear()
        for _ in range(segment.workload.in_flight):
            self._send()
        await self._drained.wait()
        return log.recording(segment)

    def answered(self, index: int, count: int) -> None:
        """Frames came back from one server."""
        had = self._answers[index]
        self._answers[index] = had + count
        if not had:
            self._lacking -= 1
            while not self._lacking:
                self._complete()

    def _complete(self) -> None:
        for index, count in enumerate(self._answers):
            self._answers[index] = count - 1
            if count == 1:
                self._lacking += 1
        now = time.monotonic_ns()
        self._log.done(self._sent.popleft(), now)
        if now < self._end_ns:
            self._send()
        elif not self._sent:
            self._drained.set()

    def _send(self) -> None:
        self._sent.append(time.monotonic_ns())
        for link in self.links:
            link.send(self.frame)


@asynccontextmanager
async def open_floor(options: dict[str, Any]) -> Opened:
    """Connect to echo servers.

    Options: ``directory`` of the cluster, ``tls``, ``request_bytes`` and ``answer_bytes`` of one frame.
    """
    file = Path(options["directory"]) / CLUSTER_FILE
    configuration = load_configuration(file)
    credentials = Credentials(configuration, load_identity(find_identity(file, options.get("identity"))))
    transport = StreamTransport(credentials, tls=options["tls"])
    floor = Floor(request_of(options["request_bytes"], options["answer_bytes"]))
    up = asyncio.Semaphore(0)
    for index in range(configuration.quorums.n):
        floor.links.append(_link(transport, floor, index, up))
        floor.links[-1].start()
    try:
        for _ in floor.links:
            await up.acquire()
        yield floor
    finally:
        for link in floor.links:
            await link.close()


def _link(transport: StreamTransport, floor: Floor, index: int, up: asyncio.Semaphore) -> Link:
    return transport.link(
        index, on_frames=lambda frames: floor.answered(index, len(frames)), on_up=up.release, on_down=lambda: None
    )


def main() -> None:
    """Run one server."""
    from fivefold.bench.loop import run

    directory, index, tls = sys.argv[1:]
    run(serve(Path(directory), int(index), tls == "tls"))


if __name__ == "__main__":
    main()
