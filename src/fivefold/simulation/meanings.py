"""What recorded events mean, as data: classifications with their counts, culls with their reasons, votes, verdicts.

They are made by :mod:`fivefold.simulation.explain` where a run keeps its events; no digest depends on them.
"""

from __future__ import annotations

from msgspec import Struct

from fivefold.protocol.history import short
from fivefold.protocol.records import LogicalTimestamp, ObjectHistories
from fivefold.protocol.steps import Kind


class Recorded(Struct, frozen=True, array_like=True, tag=True):
    """What all events have, the derived ones too."""

    @property
    def counted_as(self) -> str:
        """The counter that counts it; empty for most."""
        return ""

    @property
    def line(self) -> str:
        """The event in a line of the trace; empty for an event that only data needs."""
        return ""


class ObjectPart(Struct, frozen=True, array_like=True):
    """One object of a candidate: what it is conditioned on there, and its base if that is another version (S1)."""

    object_id: str
    conditioned_on: bytes
    base: bytes | None


class Count(Struct, frozen=True, array_like=True):
    """In how many of the histories shown for an object a candidate stands."""

    object_id: str
    timestamp: bytes
    order: int


class Classified(Recorded, frozen=True):
    """What a machine makes of the histories that a request carries.

    Attributes:
        machine: the client that sends the request, or the server that receives it.
        frame: the request.
        kind: the step it calls for; empty if there is nothing to do.
        target: the object that a repair is about, or the least of an operation's.
        counts: candidates by how many histories show them, the newest first; against q and r they decide the kind.
        timestamp: of the candidate that a server derives; empty for clients, and without a step.
        rule: why it is that kind, in one sentence.
        sets: the object history sets that it looks at: for a server, those it culled are treated as initial.
        parts: what the step's candidate is conditioned on, object by object; empty without a step.
    """

    machine: int
    frame: int
    kind: str
    target: str
    counts: tuple[Count, ...]
    timestamp: bytes
    rule: str
    sets: tuple[ObjectHistories, ...]
    parts: tuple[ObjectPart, ...]


class Culled(Recorded, frozen=True):
    """A server leaves out the histories of these servers, ``because`` for each of them of what is said there."""

    server: int
    frame: int
    culled: tuple[int, ...]
    because: tuple[str, ...]

    @property
    def line(self) -> str:
        """As in ``server 3 culls 1, 2``."""
        return f"server {self.server} culls {', '.join(map(str, self.culled))}"


class Repaired(Recorded, frozen=True):
    """A server has accepted a barrier, a copy, or a candidate of others inline."""

    server: int
    kind: str
    timestamp: bytes


class Voted(Recorded, frozen=True):
    """What a server's reply says, which a liar makes up.

    Attributes:
        server: whose reply.
        frame: the reply.
        request: the request that it answers.
        status: ``accepted``, ``answered``, ``refused``, ``declined``, ``busy``, ``unchanged``, ``unable`` or
            ``settled``.
        why: the rule by which it refuses, in one sentence; empty if it does not.
        histories: what it shows for each object of the request, in order.
    """

    server: int
    frame: int
    request: int
    status: str
    why: str
    histories: tuple[bytes, ...]


class Judged(Recorded, frozen=True):
    """What speaks against a server in the eyes of a client has changed.

    Attributes:
        client: its index.
        server: the server.
        is_excluded: whether it is proven to lie, and left out.
        is_suspected: whether it is asked last.
        culled_by: servers that found its MACs wrong.
        strikes: what else it did, and how often.
    """

    client: int
    server: int
    is_excluded: bool
    is_suspected: bool
    culled_by: tuple[int, ...]
    strikes: dict[str, int]

    @property
    def line(self) -> str:
        """As in ``c3 leaves server 2 out: culled by 0, 1``."""
        if not self.is_excluded:
            return ""
        return f"c{self.client} leaves server {self.server} out: culled by {', '.join(map(str, self.culled_by))}"


def short_of(timestamp: bytes) -> str:
    """A timestamp as the paper writes it: ``7b`` for a barrier of time 7."""
    return short(LogicalTimestamp(timestamp))


REASONS = {
    Kind.METHOD: "the newest candidate of each object is a version that at least q histories show (§3)",
    Kind.INLINE_METHOD: "the newest candidate is a version that at least r, but fewer than q histories show (§3)",
    Kind.COPY: "the newest candidate is a barrier that at least q histories show: a version is copied over it (§3, S5)",
    Kind.INLINE_BARRIER: "the newest candidate is a barrier that at least r, but fewer than q histories show (§3)",
    Kind.BARRIER: "fewer than r histories show the newest candidate, or objects must be frozen together (§3, S4)",
}
"""Why a request calls for each kind of step."""

WRONG_MAC = "its MAC for this server is wrong (§4)"
NO_HONEST_HISTORY = "no honest server signs such a history (§4)"
"""Why histories are culled."""

NEEDS_REPAIR = "an operation does nothing while its objects need a repair: the client has to ask for that first (§4)"
STALE = "it has accepted something newer than what the request is conditioned on (currency, §4)"
NO_STEP = "the request calls for no step"
LIE = "it is a liar: what it says proves nothing"
"""Why servers refuse."""
