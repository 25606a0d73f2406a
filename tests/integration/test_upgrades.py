"""New code for a class, rolled out server by server under load: nothing is lost, and every error is typed."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import signal
import subprocess
import sys
from collections import Counter as Tally
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from fivefold import Cluster, FivefoldError, ObjectError, Upgrading, connect
from fivefold.cluster import activate_version, create_cluster, free_addresses, load_configuration, server_directory
from tests.integration.rig import ENVIRONMENT, PATIENCE_S, until

pytestmark = [pytest.mark.integration, pytest.mark.long, pytest.mark.ci, pytest.mark.timeout(240)]

OLD = """
from fivefold import Object, query, update

class Tally(Object):
    n: int = 0

    @query
    def get(self) -> int:
        return self.n

    @update
    def add(self, by: int = 1) -> int:
        self.n += by
        return self.n
"""
EDITED = OLD.replace("    n: int = 0\n", "    n: int = 0\n    log: list[int] = []\n").replace(
    "self.n += by\n", "self.n += by\n        self.log.append(by)\n"
)
SECOND = """
from fivefold import Object, migrate, query, update

class Tally(Object, version=2):
    steps: list[int] = []

    @query
    def get(self) -> int:
        return sum(self.steps)

    @update
    def add(self, by: int = 1) -> int:
        self.steps.append(by)
        return sum(self.steps)

    @migrate(from_version=1)
    def split(self, old: tuple[int]) -> None:
        self.steps = [old[0]]
"""


def module(folder: Path, text: str, name: str = "tally") -> ModuleType:
    """The text as a module of that name, for the client."""
    path = folder / f"{name}.py"
    path.write_text(text)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    made = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


class Rollout:
    """Six servers, each with a folder of its own for its code."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "cluster.toml"
        create_cluster(folder, free_addresses(6), t=1, b=1)
        self.processes: dict[int, subprocess.Popen[bytes]] = {}

    def write(self, index: int, **modules: str) -> None:
        """The modules that a server finds."""
        home = self.folder / f"code-{index}"
        home.mkdir(exist_ok=True)
        for name, text in modules.items():
            (home / f"{name}.py").write_text(text)

    def start(self, index: int, *objects: str) -> None:
        """Run a server and wait until it listens."""
        home = self.folder / f"code-{index}"
        command = [sys.executable, "-m", "fivefold", "serve", "--cluster", str(self.file)]
        command += ["--identity", str(server_directory(self.folder, index))]
        for name in objects:
            command += ["--objects", name]
        paths = os.pathsep.join([str(home), ENVIRONMENT["PYTHONPATH"]])
        variables = {**os.environ, **ENVIRONMENT, "PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1"}
        with (self.folder / f"server-{index}.log").open("ab") as log:
            process = subprocess.Popen(command, cwd=home, env=variables, stdout=subprocess.PIPE, stderr=log)
        self.processes[index] = process
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b"ready"), (self.folder / f"server-{index}.log").read_text()

    def stop(self, index: int) -> None:
        """Stop a server in order."""
        process = self.processes.pop(index)
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE_S)
        assert process.stdout is not None
        process.stdout.close()


@contextmanager
def rollout(folder: Path, text: str) -> Iterator[Rollout]:
    site = Rollout(folder)
    try:
        for index in range(6):
            site.write(index, tally=text)
            site.start(index, "tally")
        yield site
    finally:
        for index in list(site.processes):
            site.stop(index)


class Work:
    """Clients that add to some objects without a pause, and what they were told."""

    def __init__(self, cluster: Cluster, cls: type[Any], objects: int = 4) -> None:
        self.objects = [cluster.object(cls, f"t{index}", deadline=20) for index in range(objects)]
        self.acknowledged = [0] * objects
        self.unknown = [0] * objects
        self.errors: Tally[str] = Tally()
        self._tasks = [asyncio.create_task(self._add(index)) for index in range(objects)]
        self._is_over = False

    async def _add(self, index: int) -> None:
        while not self._is_over:
            try:
                await self.objects[index].add()
                self.acknowledged[index] += 1
            except FivefoldError as error:
                self.errors[type(error).__name__] += 1
                if type(error).__name__ == "OutcomeUnknown":
                    self.unknown[index] += 1
                await asyncio.sleep(0.05)

    async def end(self) -> None:
        self._is_over = True
        await asyncio.gather(*self._tasks)  # an error that is not ours is one of the test's

    async def check(self) -> None:
        """Everything that was acknowledged is there, and nothing that was not."""
        for each, acknowledged, unknown in zip(self.objects, self.acknowledged, self.unknown, strict=True):
            assert acknowledged <= await each.get() <= acknowledged + unknown

    def progress(self) -> list[int]:
        return list(self.acknowledged)


async def has_gone_on(work: Work) -> None:
    """Every object is updated once more."""
    before = work.progress()
    await until(lambda: all(now > then for now, then in zip(work.progress(), before, strict=True)), "updates")


async def test_an_edited_class_rolled_out_one_by_one_loses_nothing(tmp_path: Path) -> None:
    """Forwards and back: in the middle callers get Upgrading, and old and new code never share a timestamp."""
    with rollout(tmp_path, OLD) as site:
        tally = module(tmp_path, OLD)
        async with connect(site.file) as cluster:
            work = Work(cluster, tally.Tally)
            await has_gone_on(work)
            for text in (EDITED, OLD):
                for index in range(6):
                    await asyncio.to_thread(site.stop, index)
                    site.write(index, tally=text)
                    await asyncio.to_thread(site.start, index, "tally")
                if text == EDITED:
                    await has_gone_on(work)
            await work.end()
            assert work.errors["Upgrading"] > 0
            assert set(work.errors) <= {"Upgrading", "OutcomeUnknown", "Unavailable", "ObjectError"}
        # The old code cannot read what the edited one has stored: it says so, and leaves the state as it is.
        async with connect(site.file) as cluster:
            with pytest.raises(ObjectError, match=r"Tally\.get: the stored state"):
                await cluster.object(tally.Tally, "t0").get()


async def test_two_versions_side_by_side_leave_no_gap(tmp_path: Path) -> None:
    """Every server holds both, then the new one becomes active: no call gets Upgrading, and old states migrate."""
    with rollout(tmp_path, OLD) as site:
        tally = module(tmp_path, OLD)
        async with connect(site.file) as cluster:
            work = Work(cluster, tally.Tally)
            await has_gone_on(work)
            for index in range(6):
                await asyncio.to_thread(site.stop, index)
                site.write(index, new_tally=SECOND)
                await asyncio.to_thread(site.start, index, "tally", "tally=new_tally")
            await has_gone_on(work)
            activate_version(site.file, "Tally", 2)
            await until(lambda: is_active(cluster, 2), "version 2 is active everywhere")
            await has_gone_on(work)
            await work.end()
            await work.check()
            assert set(work.errors) <= {"OutcomeUnknown"}, work.errors
            # Back again: what version 2 has stored is refused by name, and an object of its own is not disturbed.
            activate_version(site.file, "Tally", 1)
            await until(lambda: is_active(cluster, 1), "version 1 is active everywhere")
            with pytest.raises(ObjectError, match="version 2 of Tally has stored it, and this is version 1"):
                await work.objects[0].add()
            assert await cluster.object(tally.Tally, "fresh").add() == 1
        assert load_configuration(site.file).versions == {"Tally": 1}


async def is_active(cluster: Cluster, version: int) -> bool:
    """Whether all six servers run this version of Tally, and none above it."""
    status = await cluster.status(timeout=5)
    held = [
        {each.version: each.is_active for each in server.types if each.name == "Tally"}
        for server in status.servers
        if server
    ]
    return len(held) == 6 and all(each[version] and (version == 2 or not each[2]) for each in held)


async def test_fewer_than_a_quorum_with_one_code_is_a_typed_error(tmp_path: Path) -> None:
    """It names who runs what; nothing is half done, other classes are not disturbed, and queries wait too."""
    with rollout(tmp_path, OLD) as site:
        tally = module(tmp_path, OLD)
        async with connect(site.file) as cluster:
            counter, other = cluster.object(tally.Tally, "a"), cluster.object(__import__("fivefold").Counter, "a")
            assert await counter.add() == 1
            for index in (0, 1):
                await asyncio.to_thread(site.stop, index)
                site.write(index, tally=EDITED)
                await asyncio.to_thread(site.start, index, "tally")

            async def is_upgrading() -> bool:
                try:
                    await counter.get()
                except Upgrading as error:
                    return "servers 0, 1 run Tally 1 (" in str(error)
                return False

            await until(is_upgrading, "Upgrading")
            with pytest.raises(Upgrading, match=r"servers 2, 3, 4, 5 run Tally 1 \("):
                await counter.add()
            assert await other.increment() == 1
            await asyncio.to_thread(site.stop, 0)
            site.write(0, tally=OLD)
            await asyncio.to_thread(site.start, 0, "tally")

            async def has_added() -> bool:
                try:
                    return await counter.add() == 2
                except Upgrading:
                    return False

            await until(has_added, "an update after the upgrade was taken back")
