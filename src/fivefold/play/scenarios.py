"""The scenarios by name: what each shows, and how it is recorded."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import MappingProxyType
from typing import Final

from msgspec import Struct

from fivefold.errors import ConfigurationError
from fivefold.play import joint, lying, ordinary, paper
from fivefold.play.recording import Recording
from fivefold.play.staging import Staged, stage


class Scenario(Struct, frozen=True):
    """A run worth looking at.

    Attributes:
        group: the heading under which it is offered.
        record: runs it.
    """

    group: str
    record: Callable[[], Recording]


def _staged(group: str, *all_staged: Staged) -> dict[str, Scenario]:
    return {staged.name: Scenario(group, partial(stage, staged)) for staged in all_staged}


SCENARIOS: Final = MappingProxyType(
    {
        "paper": Scenario("The paper", paper.whole),
        **{name: Scenario("The paper", record) for name, record in paper.SEQUENCES.items()},
        **_staged("Ordinary days", ordinary.UPDATE, ordinary.QUERY, ordinary.CONTENTION, ordinary.HELPING),
        **_staged("Crashes", ordinary.CRASHED_CLIENT, ordinary.RETURNING),
        **_staged("Liars", lying.WRONG_MACS, lying.LYING_SYNC),
        **_staged("Several objects", joint.DYING_TRANSFER),
        "alone": Scenario("Several objects", joint.alone),
        "together": Scenario("Several objects", joint.together),
    }
)
"""By name, in the order in which they are offered."""


def record(name: str) -> Recording:
    """Run a scenario.

    Raises:
        ConfigurationError: there is no scenario of that name.
    """
    if name not in SCENARIOS:
        raise ConfigurationError(f"there is no scenario {name!r}: choose one of {', '.join(SCENARIOS)}")
    return SCENARIOS[name].record()
