"""What clients of two gateways saw is strictly serializable, by a model of the name space that knows no NFS."""

from __future__ import annotations

import asyncio
import time
from random import Random
from typing import Any

import pytest

import fivefold.gateways.nfs
from fivefold.checker import Model, Observation, Outcome, Verdict, check
from fivefold.checker.model import Invocation
from fivefold.gateways.nfs import ClusterStore
from fivefold.testing import local_cluster
from tests.nfs_client import OK, Client
from tests.nfs_rig import gateway

pytestmark = [pytest.mark.integration, pytest.mark.long, pytest.mark.ci]

NOENT, EXIST = 2, 17
Space = frozenset[tuple[str, int]]
"""The model's state: which file each path leads to; files are told apart by a number."""


def step(space: Space, call: Invocation) -> tuple[object, Space]:
    """One call, as a dictionary would do it."""
    files = dict(space)
    arguments: dict[str, Any] = dict(call.arguments)
    answer: object = OK
    match call.method:
        case "create":
            if arguments["path"] in files:
                return EXIST, space
            files[arguments["path"]] = arguments["file"]
        case "remove":
            if arguments["path"] not in files:
                return NOENT, space
            del files[arguments["path"]]
        case "rename":
            if arguments["path"] not in files:
                return NOENT, space
            files[arguments["to"]] = files.pop(arguments["path"])
        case "lookup":
            answer = files.get(arguments["path"], -NOENT)
        case _:
            answer = sorted(path for path in files if path.startswith(arguments["directory"]))
    return answer, frozenset(files.items())


MODEL = Model(init=frozenset, step=step, queries=("lookup", "list"))


class Worker:
    """One process of the history."""

    def __init__(self, name: str, client: Client, directories: dict[str, bytes], random: Random) -> None:
        self.name, self.client, self.directories, self.random = name, client, directories, random
        self.history: list[Observation] = []
        self.count = 0

    async def work(self, many: int) -> None:
        for _ in range(many):
            method = self.random.choice(("create", "create", "remove", "rename", "rename", "lookup", "list"))
            arguments = {
                "create": {"path": self.path(), "file": self.number()},
                "rename": {"path": self.path(), "to": self.path()},
                "list": {"directory": self.random.choice("ab") + "/"},
            }.get(method, {"path": self.path()})
            invoked = time.monotonic_ns()
            answer = await getattr(self, method)(**arguments)
            self.history.append(
                Observation(
                    process=self.name, method=method, objects=("Space/x",), arguments=arguments, invoke_ns=invoked,
                    return_ns=time.monotonic_ns(), outcome=Outcome.OK, answer=answer,
                )
            )  # fmt: skip

    def path(self) -> str:
        return f"{self.random.choice('ab')}/{self.random.choice('pqr')}"

    def number(self) -> int:
        self.count += 1
        return (int(self.name) * 1000 + self.count) * 10**9

    def where(self, path: str) -> tuple[bytes, bytes]:
        return self.directories[path[0]], path[2:].encode()

    async def create(self, path: str, file: int) -> int:
        return (await self.client.create(*self.where(path), 1, mtime=file))[0]

    async def remove(self, path: str) -> int:
        return await self.client.remove(*self.where(path))

    async def rename(self, path: str, to: str) -> int:
        return await self.client.rename(*self.where(path), *self.where(to))

    async def lookup(self, path: str) -> int:
        status, _, found = await self.client.lookup(*self.where(path))
        return found["mtime"] if status == OK else -status

    async def list(self, directory: str) -> list[str]:
        _, found = await self.client.readdir(self.directories[directory[0]], 4000)
        return sorted(directory + name.decode() for name in found if name not in (b".", b".."))


@pytest.mark.parametrize("seed", range(3))
async def test_two_gateways_give_one_strictly_serializable_history(seed: int) -> None:
    """Six clients at two gateways race for six names, while a server crashes and comes back, and another one lies."""
    async with local_cluster(fivefold.gateways.nfs) as cluster:
        second = await cluster.client("second")
        async with gateway(ClusterStore(cluster.cluster)) as (one, _), gateway(ClusterStore(second)) as (two, _):
            clients = [
                Client(lambda record, at=at: (one, two)[at % 2].service.answer("here", record), 0, (0,))
                for at in range(6)
            ]
            root = await clients[0].mount(b"/x")
            directories = {name: (await clients[0].mkdir(root, name.encode()))[1] for name in "ab"}
            workers = [
                Worker(str(at), client, directories, Random(seed * 100 + at)) for at, client in enumerate(clients)
            ]

            async def faults() -> None:
                await cluster.crash(seed)
                await asyncio.sleep(0.3)
                await cluster.restart(seed)
                await cluster.lie(5, "macs" if seed % 2 else "answers")

            await asyncio.gather(faults(), *(worker.work(40) for worker in workers))
    history = [each for worker in workers for each in worker.history]
    result = check(history, {"Space": MODEL})
    assert result.verdict is Verdict.LINEARIZABLE, result.message


def test_the_model_finds_a_lost_name() -> None:
    """A check that could not fail would say nothing: one wrong answer in a history of three calls is found."""

    def seen(at: int, method: str, answer: object, **arguments: object) -> Observation:
        return Observation(
            process="p", method=method, objects=("Space/x",), arguments=arguments, invoke_ns=at, return_ns=at + 1,
            outcome=Outcome.OK, answer=answer,
        )  # fmt: skip

    history = [seen(0, "create", OK, path="a/p", file=7), seen(2, "rename", OK, path="a/p", to="b/q")]
    right, wrong = seen(4, "lookup", 7, path="b/q"), seen(4, "lookup", -NOENT, path="b/q")
    assert check([*history, right], {"Space": MODEL}).verdict is Verdict.LINEARIZABLE
    assert check([*history, wrong], {"Space": MODEL}).verdict is Verdict.VIOLATION
