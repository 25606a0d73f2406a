"""What a scrub keeps of its repairs, and what it tells of itself."""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct

from fivefold.protocol.steps import Kind


class Deliver(Protocol):
    """Gives this server a request of its own."""

    def __call__(self, now_ns: int, *, frame: bytes) -> None:
        """The answer goes to nobody."""
        ...


class Turn:
    """A repair that this server has decided upon.

    Attributes:
        before: digests of what was read then.
        last: the kind of step that it took last; None before the first.
    """

    __slots__ = ("before", "last")

    def __init__(self, before: dict[int, bytes]) -> None:
        self.before = before
        self.last: Kind | None = None


class ScrubState(Struct, frozen=True):
    """How far the comparing has got.

    Attributes:
        position: the last object that was compared; empty between two passes.
        passes: whole passes since the start.
        last_pass_ns: when the last one ended; None before the first.
        behind: objects that differ and are not done with.
        caught_up: repairs that this server has given itself.
        repaired: repairs of what clients had left.
    """

    position: str = ""
    passes: int = 0
    last_pass_ns: int | None = None
    behind: int = 0
    caught_up: int = 0
    repaired: int = 0
