"""The shortcut for ordinary requests against the examination step by step: the same actions, byte for byte."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from fivefold.protocol.actions import Actions
from fivefold.protocol.server.machine import Server
from fivefold.simulation import servers
from fivefold.simulation.draw import draw
from fivefold.simulation.run import run_plan

pytestmark = pytest.mark.patches_internals

taken: Counter[bool] = Counter()
"""How often the shortcut did a request, and how often it left one to the examination."""


class Careful(Server):
    """The naive twin: every request is examined step by step."""

    def _take_ordinary(self, *request: Any) -> bool:
        return False


class Both(Server):
    """Does everything both ways and compares."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.twin = Careful(*arguments, **named)

    def _take_ordinary(self, *request: Any) -> bool:
        is_done = super()._take_ordinary(*request)
        taken[is_done] += 1
        return is_done

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name not in ("receive_from_client", "receive_from_server", "closed", "loaded", "durable", "wake"):
            return found

        def give_to_both(*arguments: Any) -> Actions:
            self.twin.storage_failure = self.storage_failure
            actions, twins = found(*arguments), getattr(self.twin, name)(*arguments)
            assert actions == twins, f"{name} differs"
            return actions

        return give_to_both


@pytest.mark.slow
@pytest.mark.parametrize("profile", ["swarm", "byzantine", "joint"])
def test_the_shortcut_decides_what_the_examination_would(profile: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In random runs with faults, lies, loads, syncs and full disks, no action differs; and the shortcut is taken."""
    monkeypatch.setattr(servers, "Server", Both)
    taken.clear()
    for seed in range(12):
        assert run_plan(draw(seed, profile)).failure is None
    assert taken[True] > 100
    assert taken[False] > 100
