"""Scenarios with a liar: what it tries, who notices, and what becomes of it."""

from __future__ import annotations

from typing import Final

from fivefold.play.ordinary import CARD, suit
from fivefold.play.recording import Note
from fivefold.play.staging import Cue, Line, Staged
from fivefold.simulation import Card, Culled, Derived, Event, Fault, Judged, Lied

_SUITS: Final = "♣♦♠♥"


def _is_proof(event: Event | Derived) -> bool:
    return isinstance(event, Judged) and event.is_excluded


WRONG_MACS: Final = Staged(
    name="liar",
    title="A liar that spoils MACs",
    summary="s4 signs its histories so that some servers find the MAC wrong. They leave its histories out and say "
    "so; when more than b servers have said it, it is proven, and the client never asks s4 again.",
    things=(Card,),
    script=tuple(Line(0, 1 + 12 * turn, CARD, "set", {"suit": _SUITS[turn % 4]}) for turn in range(6)),
    clients=("X",),
    seed=3,
    liars=((4, "breaking MACs"),),
    value_of=suit,
    until_ms=90,
    cues=(
        Cue(
            lambda event: isinstance(event, Lied),
            "s4 lies",
            "It answers like everybody else, but the authenticator that goes with its history is wrong for some "
            "servers. X cannot know: a MAC can be checked by its addressee alone.",
        ),
        Cue(
            lambda event: isinstance(event, Culled),
            "Culled",
            "The next request shows s4’s history. A server finds its MAC wrong, treats the history as empty, and "
            "reports that. It then derives another timestamp than the others, so X may have to ask further "
            "servers.",
        ),
        Cue(
            _is_proof,
            "Proven and left out",
            "More than b = 1 servers found s4’s MACs wrong. At most one of them can lie, so one speaks the truth: "
            "s4 is malevolent. X asks it no more, and drops what it showed.",
        ),
    ),
)

LYING_SYNC: Final = Staged(
    name="liar-in-sync",
    title="A liar in object sync",
    summary="s2 lacks a version and asks its peers for it. One of those that it asks first lies. It believes b + "
    "1 equal digests and a copy that matches them, so the lie costs a message and changes nothing.",
    things=(Card,),
    script=(
        Line(0, 1, CARD, "set", {"suit": "♣"}),
        Line(0, 10, CARD, "set", {"suit": "♦"}),
        Line(1, 40, CARD, "get"),
    ),
    seed=1,
    liars=((3, "lying in sync"),),
    faults=(Fault("camp", 30_000_000, 100_000_000, (1, 1)),),
    value_of=suit,
    until_ms=120,
    rows=(
        Note(
            0,
            "Before",
            "X writes ♣ and ♦ to its preferred quorum. s2 is not in it, and has nothing. s3 is the liar: to "
            "clients it tells the truth, so that nobody suspects it.",
        ),
        Note(2, "Y cannot reach s1", "Y asks the same quorum, but s1 does not hear it. After a while Y asks s2 too."),
        Note(
            3,
            "s2 asks around",
            "Y offers ⟨2⟩ to s2, which needs the version and asks s3 and s4: one for the whole of it, the other "
            "for its digest. Open the messages: what s3 sends does not match. s2 waits for b + 1 = 2 equal "
            "digests, and asks further.",
        ),
    ),
)
