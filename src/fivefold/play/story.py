"""The data of a page: what its script shows, step by step, and nothing that it would have to work out.

All of it is text and numbers; places refer to each other by index. Steps are numbered from 0, lanes from 0: clients
come first, then servers.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

ACCEPTS: Final = 1
FAILS: Final = 2
REPAIRS: Final = 4
ENDS: Final = 8
"""What a step is, added up: a candidate is accepted, something fails, a repair is asked for, a call ends."""

NOBODY: Final = -1
"""For a step: no machine acts. For an arrow: it never arrives. For a step's reason or row: it has none."""

REQUEST: Final = "request"
REPLY: Final = "reply"
REFUSAL: Final = "refusal"
SYNC: Final = "sync"
ANNOUNCEMENT: Final = "announcement"
"""What an arrow carries."""

ARRIVED: Final = "arrived"
LOST: Final = "lost"
LATE: Final = "late"
REPEATED: Final = "repeated"
"""How it fares. A message is lost if it is never delivered, for any reason."""


class Lane(Struct, frozen=True, array_like=True):
    """A machine: its name, and its role: *client*, *villain*, *server* or *liar*."""

    name: str
    role: str


class Step(Struct, frozen=True, array_like=True):
    """One input of one machine, and all that it did at once.

    Attributes:
        x: where it stands on the time line; time is stretched where much happens.
        at_ms: virtual time.
        lane: who acts.
        flags: see :data:`ACCEPTS`.
        text: what happens, in a sentence.
        why: its reason.
        row: the request that it is about.
        content: the message that arrives.
        rule: the section of the documentation that it rests on, by its word; empty if that is its reason's.
    """

    x: float
    at_ms: float
    lane: int
    flags: int
    text: str
    why: int
    row: int
    content: int
    rule: str


class Arrow(Struct, frozen=True, array_like=True):
    """A message on its way: from a step and lane to a step and lane; ``end`` is where it is lost, too."""

    start: int
    sender: int
    end: int
    receiver: int
    what: str
    fate: str
    content: int


class Mark(Struct, frozen=True, array_like=True):
    """A sign on a lane: what it is, and a few characters beside it."""

    step: int
    lane: int
    what: str
    text: str


class Span(Struct, frozen=True, array_like=True):
    """A stretch of a lane: *down*, *cut off*, *paused*, *at work* on a call, or another fault."""

    first: int
    last: int
    lane: int
    what: str


class Row(Struct, frozen=True, array_like=True):
    """A request: a row of the table.

    Attributes:
        label: as ``X set(♦)`` or ``X repair``.
        kind: what it derives to, as the client sees it.
        lane: whose it is.
        first: the step at which it is sent ...
        last: ... and at which it last reaches a server.
        objects: of the operation, or those that a repair is judged by.
        accepted: pairs of server and step: who says that it accepted or answered it.
        result: what became of the call, in words; empty if it goes on in another row.
        ended: at which step.
    """

    label: str
    kind: str
    lane: int
    first: int
    last: int
    objects: tuple[int, ...]
    accepted: tuple[tuple[int, int], ...]
    result: str
    ended: int


class Change(Struct, frozen=True, array_like=True):
    """From this step on a server's history of an object is another one; a liar only claims so."""

    step: int
    server: int
    object: int
    history: int
    is_claim: bool


class Made(Struct, frozen=True, array_like=True):
    """A candidate: its object and name, what made it, whose it is, what it is conditioned on, what it is worth."""

    object: int
    name: str
    kind: str
    client: str
    conditioned_on: str
    value: str


class Shown(Struct, frozen=True, array_like=True):
    """An object history set: the history of each server (none where it is initial or left out), who is left out."""

    object: int
    histories: tuple[int, ...]


class Counted(Struct, frozen=True, array_like=True):
    """A candidate and in how many of the histories it stands."""

    object: int
    name: str
    order: int


class Why(Struct, frozen=True, array_like=True):
    """A classification.

    Attributes:
        lane: who classifies.
        kind: what comes out.
        target: the object that decides.
        text: the sentence.
        rule: the section that it rests on, by its word.
        sets: what is looked at.
        counts: what stands in it how often.
        candidate: the name of what a server derives.
        culled: pairs of a server that was culled, and why.
    """

    lane: int
    kind: str
    target: int
    text: str
    rule: str
    sets: tuple[Shown, ...]
    counts: tuple[Counted, ...]
    candidate: str
    culled: tuple[tuple[int, str], ...]


class Told(Struct, frozen=True, array_like=True):
    """A text that goes along from this step on."""

    step: int
    heading: str
    text: str


class Story(Struct, frozen=True):
    """Everything that a page shows of a recording."""

    name: str
    title: str
    summary: str
    command: str
    cut: str
    n: int
    t: int
    b: int
    q: int
    r: int
    lanes: tuple[Lane, ...]
    objects: tuple[str, ...]
    histories: tuple[str, ...]
    steps: tuple[Step, ...]
    arrows: tuple[Arrow, ...]
    marks: tuple[Mark, ...]
    spans: tuple[Span, ...]
    rows: tuple[Row, ...]
    changes: tuple[Change, ...]
    made: tuple[Made, ...]
    whys: tuple[Why, ...]
    contents: tuple[str, ...]
    notes: tuple[Told, ...]
