"""The scenarios by name: what each shows, and how it is recorded."""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType
from typing import Final

from msgspec import Struct

from fivefold.errors import ConfigurationError
from fivefold.play import paper
from fivefold.play.recording import Recording


class Scenario(Struct, frozen=True):
    """A run worth looking at.

    Attributes:
        group: the heading under which it is offered.
        record: runs it.
    """

    group: str
    record: Callable[[], Recording]


SCENARIOS: Final = MappingProxyType(
    {
        "paper": Scenario("The paper", paper.whole),
        **{name: Scenario("The paper", record) for name, record in paper.SEQUENCES.items()},
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
