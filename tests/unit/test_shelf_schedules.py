"""Servers that crash and come back with other code, in any order: a call means one thing wherever it is run."""

from __future__ import annotations

import random

import pytest

from fivefold import Object, migrate, update
from fivefold.objects import Registry
from fivefold.protocol.operations import Call, Executed, ObjectId

ONE = (ObjectId("Names/a"),)
CALL = Call(b"i" * 16, 0, "add", b"\x80")


def codes() -> list[type[Object]]:
    """One class in four: as it was, edited, and two later versions."""
    made: list[type[Object]] = []
    for version, by in ((1, 1), (1, 10), (2, 100), (3, 1000)):
        source = f"class Names(Object, version={version}):\n    n: int = 0\n"
        source += f"    @update\n    def add(self) -> int:\n        self.n += {by}\n        return self.n\n"
        if version > 1:
            source += "    @migrate(from_version=1)\n    def old(self, old: tuple[int]) -> None:\n"
            source += f"        self.n = old[0] * {by}\n"
        names: dict[str, object] = {"Object": Object, "update": update, "migrate": migrate, "__name__": "names"}
        exec(source, names)
        made.append(names["Names"])
    return made


def start(chance: random.Random, classes: list[type[Object]]) -> Registry:
    """A server with one of the first two, some later versions beside it, and any of them active."""
    held = [chance.choice(classes[:2]), *[each for each in classes[2:] if chance.random() < 0.5]]
    registry = Registry(*held)
    registry.shelf.active = {"Names": chance.randrange(1, 4)}
    return registry


@pytest.mark.long
@pytest.mark.ci
@pytest.mark.parametrize("seed", range(20))
def test_one_code_gives_one_result_on_every_server(seed: int) -> None:
    """Of all servers, at all times: whoever runs a call by a code on a state comes to the same answer and state."""
    chance, classes = random.Random(seed), codes()
    servers = [start(chance, classes) for _ in range(6)]
    seen: dict[tuple[bytes, bytes], Executed] = {}
    states, ran = [b""], 0
    for _ in range(100):
        servers[chance.randrange(6)] = start(chance, classes)
        code = chance.choice(chance.choice(servers).shelf.types()).code
        state = chance.choice(states[-8:])
        for server in servers:
            found = server.shelf.running(ONE, code)
            if isinstance(found, str):
                assert found.startswith("Upgrading: ")
                continue
            executed = found.execute(ONE, CALL, (state,))
            assert seen.setdefault((code, state), executed) == executed
            ran += 1
            states += executed.states or ()
    assert ran > 50
    assert len({code for code, _ in seen}) == 4
