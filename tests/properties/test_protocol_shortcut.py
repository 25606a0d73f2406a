"""The shortcuts for ordinary requests against the examination step by step: the same actions, byte for byte."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from fivefold.native import native
from fivefold.protocol.actions import Actions
from fivefold.protocol.server.machine import Server
from fivefold.simulation import servers
from fivefold.simulation.draw import draw
from fivefold.simulation.run import run_plan

taken: Counter[str] = Counter()
"""How often native code did a request, how often Python's shortcut, and how often it was left to the examination."""


class Careful(Server):
    """The naive twin: every request is examined step by step."""

    def _take_natively(self, *request: Any) -> bool:
        return False

    def _take_ordinary(self, *request: Any) -> bool:
        return False


class Both(Server):
    """Does everything both ways and compares."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.twin = Careful(*arguments, **named)

    def _take_natively(self, *request: Any) -> bool:
        is_done = super()._take_natively(*request)
        taken["natively"] += is_done
        return is_done

    def _take_ordinary(self, *request: Any) -> bool:
        is_done = super()._take_ordinary(*request)
        taken["ordinary" if is_done else "examined"] += 1
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


class InPython(Both):
    """Nothing is done by native code."""

    def _take_natively(self, *request: Any) -> bool:
        return False


def run_seeds(profile: str) -> None:
    taken.clear()
    for seed in range(12):
        assert run_plan(draw(seed, profile)).failure is None
    assert taken["examined"] > 100


@pytest.mark.slow
@pytest.mark.parametrize("profile", ["swarm", "byzantine", "joint"])
def test_the_shortcut_decides_what_the_examination_would(profile: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In random runs with faults, lies, loads, syncs and full disks, no action differs; and the shortcut is taken."""
    monkeypatch.setattr(servers, "Server", InPython)
    run_seeds(profile)
    assert taken["ordinary"] > 100


@pytest.mark.slow
@pytest.mark.skipif(native is None, reason="fivefold-native is not installed")
@pytest.mark.parametrize("profile", ["swarm", "byzantine", "joint"])
def test_native_code_decides_what_the_examination_would(profile: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same of native code; what it leaves to Python is hardly ever an ordinary request."""
    monkeypatch.setattr(servers, "Server", Both)
    run_seeds(profile)
    assert taken["natively"] > 100
    assert taken["ordinary"] < taken["natively"] / 10
