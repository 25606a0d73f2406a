"""What happens in a run, as data: digest, trace and shrinking are made of these, and a page can step through them.

Every event is a frozen record of plain values. Those of :data:`Event` are recorded in every run, and its digest is over
them. Those of :data:`Derived` say what the recorded ones mean (:mod:`fivefold.simulation.meanings`); they are made
only where a run keeps its events, and no digest depends on them.

Machines are numbered: servers 0…n-1, then correct clients, then villains. A *frame* has a number of its own, each copy
of a repeated one as well; timestamps, histories and frames are the protocol's own bytes.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import Struct

from fivefold.simulation.meanings import (
    Classified,
    Culled,
    Judged,
    ObjectPart,
    Recorded,
    Repaired,
    Voted,
    short_of,
)
from fivefold.simulation.plan import Fault

# --- frames -------------------------------------------------------------------------------------------------------


class Sent(Recorded, frozen=True):
    """A machine sends a frame. ``channel`` is the connection's number; ``original`` the frame that this one repeats."""

    frame: int
    sender: int
    receiver: int
    channel: int
    data: bytes
    original: int | None = None

    @property
    def counted_as(self) -> str:
        """Only copies are counted."""
        return "" if self.original is None else "frame.repeated"


class Late(Recorded, frozen=True):
    """A frame may be overtaken by later ones of its connection."""

    frame: int

    @property
    def counted_as(self) -> str:
        """As reordered."""
        return "frame.reordered"


class Lost(Recorded, frozen=True):
    """A frame never arrives: ``lost`` by chance, ``partitioned``, or its connection was ``closed`` before."""

    frame: int
    why: str

    @property
    def counted_as(self) -> str:
        """By reason."""
        return f"frame.{self.why}"


class Delivered(Recorded, frozen=True):
    """A frame arrives."""

    frame: int


class Reset(Recorded, frozen=True):
    """A connection breaks when this frame has arrived: whether its answer does is another matter."""

    frame: int

    @property
    def counted_as(self) -> str:
        """As a reset."""
        return "frame.reset"


class Disconnected(Recorded, frozen=True):
    """A client notices that its connection to a server is gone."""

    client: int
    server: int


# --- servers ------------------------------------------------------------------------------------------------------


class Accepted(Recorded, frozen=True):
    """A benign server has a candidate on its disk. ``by`` names the client in it, as far as the run knows it."""

    server: int
    timestamp: bytes
    parts: tuple[ObjectPart, ...]
    by: str

    @property
    def line(self) -> str:
        """As in ``server 3 takes 8 by c3: Register/a on 7``."""
        parts = ", ".join(f"{part.object_id} on {short_of(part.conditioned_on)}" for part in self.parts)
        return f"server {self.server} takes {short_of(self.timestamp)} by {self.by}: {parts}"


class Kept(Recorded, frozen=True):
    """A benign server's history of an object, as its disk has it now."""

    server: int
    object_id: str
    history: bytes


class CommitFailed(Recorded, frozen=True):
    """A disk is full: what was staged stays staged."""

    server: int

    @property
    def counted_as(self) -> str:
        """As a commit that failed."""
        return "disk.commit-failed"


class Crashed(Recorded, frozen=True):
    """A server stops; ``lost`` transactions were not durable."""

    server: int
    lost: int

    @property
    def line(self) -> str:
        """As in ``server 3 crashes``."""
        return f"server {self.server} crashes"


class Restarted(Recorded, frozen=True):
    """A server starts again from its disk."""

    server: int

    @property
    def line(self) -> str:
        """As in ``server 3 starts again``."""
        return f"server {self.server} starts again"


class Switched(Recorded, frozen=True):
    """A server uses a newer edition of the cluster file."""

    server: int
    edition: int

    @property
    def line(self) -> str:
        """As in ``server 3 uses edition 2``."""
        return f"server {self.server} uses edition {self.edition}"


class Followed(Recorded, frozen=True):
    """A client uses a newer edition of the cluster file."""

    client: int
    edition: int

    @property
    def line(self) -> str:
        """As in ``c3 uses edition 2``."""
        return f"c{self.client} uses edition {self.edition}"


class Replaced(Recorded, frozen=True):
    """A newcomer takes a server's place; nobody has been told yet."""

    server: int
    edition: int
    how: str

    @property
    def line(self) -> str:
        """As in ``server 0 is replaced in edition 2 (crashed)``."""
        return f"server {self.server} is replaced in edition {self.edition} ({self.how})"


class Lied(Recorded, frozen=True):
    """A malevolent server alters what it sends."""

    server: int
    lie: str

    @property
    def counted_as(self) -> str:
        """By the name of the lie."""
        return f"lie.{self.lie}"

    @property
    def line(self) -> str:
        """As in ``server 2 lies: inventing``."""
        return f"server {self.server} lies: {self.lie}"


class Raised(Recorded, frozen=True):
    """An exception is injected into a server's own code, at a line of a function."""

    server: int
    where: str

    @property
    def counted_as(self) -> str:
        """By function."""
        return f"injected.{self.where.partition('+')[0]}"

    @property
    def line(self) -> str:
        """As in ``server 3 raises in _advance+12``."""
        return f"server {self.server} raises in {self.where}"


class Forgot(Recorded, frozen=True):
    """A malevolent server starts from an old disk, or from an empty one."""

    server: int

    @property
    def counted_as(self) -> str:
        """As a lie."""
        return "lie.forgetting"

    @property
    def line(self) -> str:
        """As in ``server 3 forgets``."""
        return f"server {self.server} forgets"


# --- clients ------------------------------------------------------------------------------------------------------


class Called(Recorded, frozen=True):
    """A correct client makes the call with this number."""

    client: int
    number: int
    method: str
    objects: tuple[str, ...]
    arguments: bytes
    is_query: bool

    @property
    def line(self) -> str:
        """As in ``c3 calls set('Register/a',) as 23``."""
        return f"c{self.client} calls {self.method}{self.objects} as {self.number}"


class Resolving(Recorded, frozen=True):
    """The outcome of a call is unknown, and its client asks what became of it."""

    client: int
    number: int

    @property
    def counted_as(self) -> str:
        """As an operation of its own."""
        return "operation.resolve"


class Ended(Recorded, frozen=True):
    """A call has ended: what its caller was told, as data and in words."""

    client: int
    number: int
    outcome: str
    seen: str

    @property
    def counted_as(self) -> str:
        """By outcome."""
        return f"operation.{self.outcome}"

    @property
    def line(self) -> str:
        """The observation."""
        return self.seen


class Died(Recorded, frozen=True):
    """A client's process ends; another one with its identity starts."""

    client: int

    @property
    def line(self) -> str:
        """As in ``c3 dies``."""
        return f"c{self.client} dies"


class Plotted(Recorded, frozen=True):
    """A malevolent client acts."""

    villain: int
    strategy: str

    @property
    def counted_as(self) -> str:
        """By strategy."""
        return f"villainy.{self.strategy}"


# --- the run ------------------------------------------------------------------------------------------------------


class Began(Recorded, frozen=True):
    """A planned fault begins: a crash, a pause, a partition of its targets, and so on."""

    fault: Fault

    @property
    def counted_as(self) -> str:
        """By kind."""
        return f"fault.{self.fault.kind}"

    @property
    def line(self) -> str:
        """As planned."""
        return f"FAULT {self.fault}"


class Over(Recorded, frozen=True):
    """A planned fault is over."""

    fault: Fault


class Healed(Recorded, frozen=True):
    """Everything that can heal has healed: the phase of liveness begins."""

    @property
    def line(self) -> str:
        """One word."""
        return "HEALED"


class Violated(Recorded, frozen=True):
    """Something that never happens has happened. ``rule`` names what, the same for all failures of the kind."""

    rule: str
    text: str

    @property
    def line(self) -> str:
        """The sentence."""
        return f"VIOLATION {self.text}"


Event = (
    Sent
    | Late
    | Lost
    | Delivered
    | Reset
    | Disconnected
    | Accepted
    | Kept
    | CommitFailed
    | Crashed
    | Restarted
    | Switched
    | Replaced
    | Lied
    | Raised
    | Forgot
    | Called
    | Resolving
    | Ended
    | Died
    | Followed
    | Plotted
    | Began
    | Over
    | Healed
    | Violated
)
"""What a run records."""

Derived = Classified | Culled | Repaired | Voted | Judged
"""What that means."""


class Happened(Struct, frozen=True, array_like=True):
    """An event and its virtual time."""

    at_ns: int
    event: Event | Derived


encode_event = msgspec.msgpack.Encoder().encode
"""Canonical bytes: what digests are over."""


def encode_events(events: Sequence[Happened]) -> bytes:
    """A run's events as one JSON array; bytes are in base64."""
    return msgspec.json.encode(events)


def decode_events(data: bytes) -> tuple[Happened, ...]:
    """What :func:`encode_events` wrote."""
    return msgspec.json.decode(data, type=tuple[Happened, ...])


def trace_of(events: Sequence[Happened]) -> tuple[str, ...]:
    """The run in lines for people."""
    return tuple(f"{each.at_ns / 1e6:11.3f} ms  {line}" for each in events if (line := each.event.line))
