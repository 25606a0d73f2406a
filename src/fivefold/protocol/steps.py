"""Kinds of steps, plans and derived steps: what classification and set-up give back (PROTOCOL §3)."""

from __future__ import annotations

from enum import Enum

from msgspec import Struct

from fivefold.protocol.operations import ObjectId
from fivefold.protocol.records import Candidate, LogicalTimestamp, Part


class Kind(Enum):
    """The five kinds of step."""

    __hash__ = object.__hash__  # Enum's own is a call of a Python function

    METHOD = "METHOD"
    INLINE_METHOD = "INLINE_METHOD"
    COPY = "COPY"
    INLINE_BARRIER = "INLINE_BARRIER"
    BARRIER = "BARRIER"


class Plan(Struct, frozen=True, gc=False):
    """A step before its timestamp is made.

    Attributes:
        kind: which kind of step.
        parts: what the candidate will say of each object it covers, in the order of the ids.
        latests: for each part, the greatest timestamp of that object's view.
        repaired: the existing candidate that an inline kind repairs; None for the others.
        settles: whether ``repaired`` is repaired as settled, so that the server flags it (S2).
    """

    kind: Kind
    parts: tuple[Part, ...]
    latests: tuple[LogicalTimestamp, ...]
    repaired: Candidate | None = None
    settles: bool = False


class Missing(Struct, frozen=True, gc=False):
    """The request lacks history sets of these objects: it is refused, and the client adds them (S5)."""

    objects: tuple[ObjectId, ...]


class Step(Struct, frozen=True, gc=False):
    """What a server does, derived from a request: nobody can ask for it by name (PROTOCOL §4).

    Attributes:
        kind: which kind of step.
        candidate: the candidate to accept; for a query the one that an update would have made.
        parts: the candidate's parts of the objects in whose histories it is accepted: all of its own, but for the
            repair of a settled one.
        bounds: for each of them, the currency bound: a server whose latest is greater refuses.
        settled: a multi-object candidate that is repaired as settled, to be flagged (S2).
    """

    kind: Kind
    candidate: Candidate
    parts: tuple[Part, ...]
    bounds: tuple[LogicalTimestamp, ...]
    settled: Candidate | None = None

    @property
    def objects(self) -> tuple[ObjectId, ...]:
        """The objects in whose histories it is accepted."""
        return tuple([part.object_id for part in self.parts])
