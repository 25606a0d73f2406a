"""The example execution of the paper, as a whole and in its four sequences (Q/U §3.5, PROTOCOL §10)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from fivefold.play.recording import Note, Recording, part_of
from fivefold.protocol.quorums import QuorumSystem
from fivefold.simulation import CLIENTS, SERVERS, Called, client_id, record_example

ROWS_AND_TEXTS: Final = (
    Note(
        0,
        "Nothing has happened yet",
        "All six servers hold only ⟨0⟩, the initial candidate. X knows nothing, and that is enough: an object "
        "history set of six initial histories classifies as METHOD. X asks its preferred quorum, s0 to s4, "
        "and five equal answers are the answer.",
    ),
    Note(
        1,
        "An update in one round trip",
        "X sends set(♣) with what it knows. Every server derives the same candidate from it, ⟨1⟩ conditioned "
        "on ⟨0⟩, and accepts. Five of six accepted: a quorum. No leader, no second round, no message between "
        "servers.",
    ),
    Note(
        2,
        "A client that knows less",
        "Y has never heard of ♣. It prefers s1 to s5, and conditions its get on ⟨0⟩. Four of them hold "
        "something newer, and say so; only s5 is as ignorant as Y.",
    ),
    Note(
        3,
        "Inline repair",
        "Four histories show ⟨1⟩. That is at least r = 3, so ⟨1⟩ may be complete: Y offers it to the servers "
        "that lack it. s5 fetches the version from its peers, and believes b + 1 = 2 of them, never one.",
    ),
    Note(4, "The past is complete", "Now five histories show ⟨1⟩. Y asks again, and gets ♣."),
    Note(
        5,
        "Two updates at once",
        "X sets ♦ and Y sets ♥, both on ⟨1⟩. ♦ comes first to s0–s3, ♥ to s4 and s5. Each server accepts what "
        "comes first and refuses what comes late. Neither update has a quorum.",
    ),
    Note(
        7,
        "A barrier",
        "The newest candidate, ⟨2′⟩, shows too seldom to be complete. X puts a barrier over the past: a "
        "server that has ⟨3b⟩ accepts nothing older any more.",
    ),
    Note(
        8,
        "A copy",
        "Behind the barrier X looks for the newest version that may be complete: ♦ shows four times, at least "
        "r. It is copied forward as ⟨4⟩. X’s update is done after all; Y’s ♥ on ⟨1⟩ will never be.",
    ),
    Note(
        9,
        "A client dies",
        "X sets ♠, reaches three servers, and dies. Nobody knows whether ♠ is complete: three servers have "
        "accepted it, and they pruned what came before.",
    ),
    Note(
        10,
        "Y sees ♠ twice",
        "Y asks s1–s5. ♠ shows twice there, less than r = 3: it cannot be complete. Y puts up the barrier ⟨6b⟩.",
    ),
    Note(
        11,
        "Z sees ♠ three times",
        "At the same time Z asks s0–s4 and sees ♠ three times: it may be complete, so Z tries to finish it "
        "inline. But s3 and s4 have the barrier by now and refuse. Z backs off.",
    ),
    Note(
        12,
        "♠ is gone for good",
        "Y copies ♦ behind its barrier. ♠ was never complete, and now it never will be: nobody was told that it was.",
    ),
    Note(13, "Everybody agrees", "Y’s get returns ♦."),
)
"""What to say with each request of the example."""


class Sequence(Struct, frozen=True):
    """One of the four: its requests, from one to another one, and what to call it."""

    first: int
    last: int
    title: str
    summary: str


_SEQUENCES: Final = MappingProxyType(
    {
        "paper-1": Sequence(
            0,
            2,
            "One round trip",
            "X reads and writes with nobody in its way: each call is one round trip to a quorum.",
        ),
        "paper-2": Sequence(
            2, 5, "Inline repair", "Y finds ⟨1⟩ on four servers: it finishes it on the fifth, and reads ♣."
        ),
        "paper-3": Sequence(
            5,
            9,
            "Barrier and copy",
            "X and Y write at once and neither gets a quorum: a barrier, and ♦ is copied over it.",
        ),
        "paper-4": Sequence(
            9, 14, "A client dies in the middle", "X reaches three servers with ♠ and dies. Y and Z clean up after it."
        ),
    }
)


def _value_of(method: str, arguments: Mapping[str, object]) -> str:
    return str(arguments.get("suit", "♥"))


def whole() -> Recording:
    """The whole example."""
    _, events = record_example()
    return Recording(
        name="paper",
        title="The paper’s example",
        summary="One object that holds a suit, six servers of which one may lie, and the clients X, Y and Z: the "
        "example execution of the Query/Update paper, on the production servers.",
        command="fivefold play paper",
        quorums=QuorumSystem(SERVERS, 1, 1),
        clients=tuple((name, client_id(name)) for name in CLIENTS),
        events=events,
        notes=ROWS_AND_TEXTS,
        value_of=_value_of,
    )


def sequence(name: str) -> Recording:
    """One of its four sequences: the requests from one to another, with what servers kept before."""
    recording, wanted = whole(), _SEQUENCES[name]
    starts = _starts(recording)
    first, last = starts[wanted.first], starts[wanted.last] if wanted.last in starts else len(recording.events)
    notes = tuple(
        replace(note, at=note.at - wanted.first) for note in recording.notes if wanted.first <= note.at < wanted.last
    )
    part = part_of(recording, first, last)
    return replace(
        part, name=name, title=wanted.title, summary=wanted.summary, command=f"fivefold play {name}", notes=notes
    )


SEQUENCES: Final[Mapping[str, Callable[[], Recording]]] = MappingProxyType(
    {name: partial(sequence, name) for name in _SEQUENCES}
)
"""The four, by name."""


def _starts(recording: Recording) -> dict[int, int]:
    """Where sequences begin: the event at which a client makes the call of a row."""
    found: dict[int, int] = {}
    for index, each in enumerate(recording.events):
        if isinstance(each.event, Called):
            found.setdefault(each.event.number - 1, index)
    return found
