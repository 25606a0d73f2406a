"""The floor: bare echoes to five server processes over Fivefold's own transport, without any protocol.

A *quorum echo* sends one frame to each of five processes and waits for all five answers: what a fault-free update
would cost if servers and clients had nothing to compute. Everything runs on this one machine.

Run it with ``python benchmarks/echo.py``; ``--help`` names the options.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import statistics
import tempfile
import time
from collections import deque
from multiprocessing import Process
from pathlib import Path

import uvloop

from fivefold.cluster import (
    Credentials,
    create_cluster,
    find_identity,
    free_addresses,
    load_configuration,
    load_identity,
)
from fivefold.transport import Connection, Link, StreamTransport

QUORUM = 5


def echo(connection: Connection, frame: bytes) -> None:
    """Send a frame back."""
    connection.send(frame)


def serve(directory: Path, index: int, tls: bool) -> None:
    """One server process: every frame goes back as it came."""

    async def run() -> None:
        configuration = load_configuration(directory / "cluster.toml")
        credentials = Credentials(configuration, load_identity(directory / f"server-{index}"))
        await StreamTransport(credentials, tls=tls).listen(
            on_open=lambda connection: None, on_frame=echo, on_close=lambda connection: None
        )
        await asyncio.get_running_loop().create_future()

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    uvloop.run(run())


class Echoes:
    """Keeps a number of quorum echoes in flight and notes how long each took."""

    def __init__(self, links: list[Link], frame: bytes) -> None:
        self.links = links
        self.frame = frame
        self.took: list[int] = []
        self._sent: deque[int] = deque()  # the links answer in order, so the oldest is complete first
        self._answers = [0] * QUORUM
        self._until = 0
        self._done: asyncio.Future[None] | None = None

    async def run(self, in_flight: int, seconds: float) -> float:
        """Run for some time; returns quorum echoes per second."""
        self.took.clear()
        self._done = asyncio.get_running_loop().create_future()
        started = time.perf_counter_ns()
        self._until = started + int(seconds * 1e9)
        for _ in range(in_flight):
            self._send()
        async with asyncio.timeout(2 * seconds + 10):
            await self._done
        return len(self.took) / (time.perf_counter_ns() - started) * 1e9

    def answered(self, index: int) -> None:
        """One frame came back from one server."""
        answers = self._answers
        answers[index] += 1
        if answers[index] == 1 and min(answers) == 1:
            self._complete()

    def _complete(self) -> None:
        while min(self._answers):
            for index in range(len(self._answers)):
                self._answers[index] -= 1
            now = time.perf_counter_ns()
            self.took.append(now - self._sent.popleft())
            if now < self._until:
                self._send()
            elif not self._sent and self._done is not None:
                self._done.set_result(None)

    def _send(self) -> None:
        self._sent.append(time.perf_counter_ns())
        for link in self.links:
            link.send(self.frame)


async def measure(directory: Path, tls: bool, size: int, seconds: float) -> None:
    """Connect to the servers and print one line for each number in flight."""
    configuration = load_configuration(directory / "cluster.toml")
    identity = load_identity(find_identity(directory / "cluster.toml"))
    transport = StreamTransport(Credentials(configuration, identity), tls=tls)
    up = asyncio.Semaphore(0)
    links: list[Link] = []
    echoes = Echoes(links, os.urandom(size))
    for index in range(QUORUM):
        links.append(
            transport.link(
                index,
                on_frame=lambda frame, index=index: echoes.answered(index),
                on_up=up.release,
                on_down=lambda: None,
            )
        )
        links[-1].start()
    for _ in links:
        await up.acquire()
    for in_flight in (1, 64):
        await echoes.run(in_flight, seconds / 4)  # warm up
        rate = await echoes.run(in_flight, seconds)
        took = statistics.quantiles(echoes.took, n=100)
        print(
            f"TLS {'on ' if tls else 'off'}  in flight {in_flight:>2}  {rate:>9,.0f} quorum echoes/s"
            f"  p50 {took[49] / 1e6:.3f} ms  p99 {took[98] / 1e6:.3f} ms",
            flush=True,
        )
    for link in links:
        await link.close()


def main() -> None:
    """Start the servers, measure, stop them; with TLS and without."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=600, help="bytes of a frame (default 600)")
    parser.add_argument("--seconds", type=float, default=4, help="of each measurement (default 4)")
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    for tls in (True, False) * options.rounds:
        with tempfile.TemporaryDirectory() as name:
            directory = Path(name)
            create_cluster(directory, free_addresses(QUORUM), t=1, b=0)
            servers = [Process(target=serve, args=(directory, index, tls), daemon=True) for index in range(QUORUM)]
            for server in servers:
                server.start()
            try:
                uvloop.run(measure(directory, tls, options.size, options.seconds))
            finally:
                for server in servers:
                    server.terminate()


if __name__ == "__main__":
    main()
