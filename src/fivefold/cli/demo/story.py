"""The demo's story: what happens to the servers while the clients work.

At no time are more than t = 1 servers faulty: the killed one is back and has caught up before another one lies.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

from msgspec import Struct

from fivefold import Cluster, connect
from fivefold.cli.demo.display import Display, Light
from fivefold.cli.demo.recorder import Recorder
from fivefold.cli.demo.workload import RULES, TASKS_PER_CLIENT, Worker, open_accounts, read_back
from fivefold.cluster import LocalCluster, add_client
from fivefold.protocol.client import Evidence

N, T, B = 6, 1, 1
KILLED: Final = 2
"""The server that is killed."""
LIAR: Final = 4
"""The server that lies."""

CLIENTS: Final = ("ada", "grace", "edsger", "barbara")
DEADLINE_S: Final = 20.0
"""Of each call: a busy machine is no reason for the demo to fail."""
WARM_UP_S: Final = 1.0
"""Work before the first chapter: everybody meets every object for the first time, which is no measure of anything."""
_TICK_S: Final = 0.1

# Shares of the time: all well, one killed, back again, wrong answers, wrong MACs.
SHARES: Final = (0.24, 0.24, 0.16, 0.18, 0.18)


class Ending(Struct, frozen=True):
    """What the story leaves behind.

    Attributes:
        evidence: what each client held against which server, by the client's name.
        missing: what was acknowledged and is not there.
    """

    evidence: dict[str, tuple[Evidence, ...]]
    missing: list[str]


class Story:
    """Plays once."""

    def __init__(
        self, cluster_file: Path, servers: LocalCluster, recorder: Recorder, display: Display, seconds: float
    ) -> None:
        """Play with these servers for about ``seconds``."""
        self._cluster_file = cluster_file
        self._servers = servers
        self._recorder = recorder
        self._display = display
        self._seconds = seconds
        self._workers: list[Worker] = []

    async def play(self) -> Ending:
        """From the start of the servers to the last reading."""
        for name in CLIENTS:
            add_client(self._cluster_file, name, RULES)
        self._display.say(f"{N} servers start; t = b = 1: one of them may fail, or lie")
        await asyncio.to_thread(self._servers.start)
        self._display.lights[:] = [Light.UP] * N
        async with AsyncExitStack() as stack:
            clusters = {
                name: await stack.enter_async_context(
                    connect(self._cluster_file, identity=name, deadline=DEADLINE_S, connect_timeout=DEADLINE_S)
                )
                for name in CLIENTS
            }
            evidence = await self._play_with(clusters)
        return Ending(evidence, await self._last_reading())

    async def _play_with(self, clusters: dict[str, Cluster]) -> dict[str, tuple[Evidence, ...]]:
        self._workers = [
            Worker(f"{name}-{task}", cluster, self._recorder)
            for name, cluster in clusters.items()
            for task in range(TASKS_PER_CLIENT)
        ]
        self._recorder.begin("setting up")
        await open_accounts(clusters[CLIENTS[0]], self._recorder)
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            for worker in self._workers:
                tasks.create_task(worker.work(stop))
            try:
                await self._chapters()
            finally:
                stop.set()
        self._recorder.end()
        return {name: cluster.evidence() for name, cluster in clusters.items()}

    async def _chapters(self) -> None:
        self._display.say(
            f"{len(CLIENTS)} clients work, {len(self._workers)} calls at a time, some on the same objects"
        )
        await asyncio.sleep(WARM_UP_S)
        await self._chapter("all servers are well", SHARES[0], lambda: None)
        self._display.lights[KILLED] = Light.KILLED
        await self._chapter(f"server {KILLED} is killed", SHARES[1], lambda: self._servers.kill(KILLED))
        await self._chapter(f"server {KILLED} comes back", SHARES[2], self._bring_back)
        self._display.lights[LIAR] = Light.LIES
        await self._chapter(f"server {LIAR} lies: MACs", SHARES[3], lambda: self._let_lie("macs"))
        await self._chapter(f"server {LIAR} lies: answers", SHARES[4], lambda: self._let_lie("answers"))

    async def _chapter(self, title: str, share: float, begin: Callable[[], None]) -> None:
        self._display.say(_TELLS[title])
        self._recorder.begin(title)
        self._display.chapter(title)
        await asyncio.to_thread(begin)
        end_s = self._recorder.now_ns() / 1e9 + share * self._seconds
        while self._recorder.now_ns() / 1e9 < end_s:
            await asyncio.sleep(_TICK_S)
            self._display.advance(_TICK_S)

    def _bring_back(self) -> None:
        self._servers.start_one(KILLED)
        self._display.lights[KILLED] = Light.UP

    def _let_lie(self, kind: str) -> None:
        self._servers.restart(LIAR, ["--lie", kind])

    async def _last_reading(self) -> list[str]:
        """Kill all servers at one moment, start them again, and read what the clients were told."""
        self._display.say("[bold]kill -9[/] of all six servers at one moment, and a new start")
        self._display.chapter("everybody is killed")
        self._display.lights[:] = [Light.KILLED] * N
        await asyncio.to_thread(self._servers.kill_all)
        await asyncio.to_thread(self._servers.start)
        self._display.lights[:] = [Light.UP] * N
        self._recorder.begin("after the new start")
        async with connect(self._cluster_file, identity="admin") as cluster:
            missing = await read_back(cluster, self._recorder, self._workers)
        self._recorder.end()
        return missing


_TELLS: Final = {
    "all servers are well": "all servers are well",
    f"server {KILLED} is killed": f"[bold]kill -9[/] of server {KILLED}",
    f"server {KILLED} comes back": f"server {KILLED} comes back and fetches what it has missed from the others",
    f"server {LIAR} lies: MACs": f"server {LIAR} is taken over: it proves its histories with [bold]wrong MACs[/]",
    f"server {LIAR} lies: answers": f"server {LIAR} tries otherwise: it gives [bold]wrong answers[/]",
}
