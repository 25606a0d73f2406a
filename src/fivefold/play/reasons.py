"""Why: a classification in plain sentences with its counts, and the section of the documentation that has the rule.

The counts and the kind are those of the recorded event (:class:`fivefold.simulation.Classified`); here they are only
put into words.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType
from typing import Final

from msgspec import Struct

from fivefold.play.names import Names
from fivefold.protocol.history import is_barrier
from fivefold.protocol.quorums import QuorumSystem
from fivefold.protocol.records import LogicalTimestamp
from fivefold.simulation import Classified


class Rule(Struct, frozen=True):
    """A rule that pages refer to.

    Attributes:
        title: its section, as the documentation counts.
        page: the page below ``docs/``.
        anchor: of the section on that page.
        text: what it says, in a few sentences.
    """

    title: str
    page: str
    anchor: str
    text: str


RULES: Final = MappingProxyType(
    {
        "classify": Rule(
            "§3 classify and set_up",
            "concepts/protocol.html",
            "classify-and-set-up",
            "Client and server look at the same histories and derive the same step. The newest version that at least r "
            "histories show is the object candidate. If it is the newest thing of all, it is complete at q histories "
            "(METHOD) and repairable at r (INLINE_METHOD). If a barrier is the newest, it is finished first "
            "(INLINE_BARRIER), and then a version is copied over it (COPY). Everything else calls for a BARRIER.",
        ),
        "server": Rule(
            "§4 The server",
            "concepts/protocol.html",
            "the-server",
            "A server culls histories whose MAC for it is wrong, derives the step, and checks that it has accepted "
            "nothing newer than what the request is conditioned on (currency). Then it accepts the candidate, makes "
            "that durable, and only then answers.",
        ),
        "sync": Rule(
            "§5 Object sync",
            "concepts/protocol.html",
            "object-sync",
            "A server that lacks a version asks the servers that show it: one for the whole version, others for its "
            "digest. It believes b + 1 equal digests and a copy that matches them, never the first answer.",
        ),
        "client": Rule(
            "§6 The client",
            "concepts/protocol.html",
            "the-client",
            "An update is done when q servers accepted one candidate. Otherwise the client merges all histories it was "
            "shown, and repairs what they call for: inline at once, behind a barrier after a random pause.",
        ),
        "helping": Rule(
            "Helping",
            "concepts/helping.html",
            "the-rules",
            "A client that has to wait announces its calls. Replies list what others have announced. A client that has "
            "just got through carries what q - b servers list alike, before its own calls. A server accepts only what "
            "it was told by the owner itself, byte for byte, and tells the owner once the version is durable.",
        ),
        "joint": Rule(
            "§7 Several objects",
            "concepts/protocol.html",
            "several-objects",
            "A server accepts a candidate over several objects for all of them or for none. To finish or to copy one "
            "that is not known to be established is done for all its objects, behind one joint barrier.",
        ),
    }
)
"""By the word that a page's data use."""


def sentence(seen: Classified, names: Names, quorums: QuorumSystem) -> str:
    """A classification with its counts, in a sentence or two."""
    counts = [each for each in seen.counts if each.object_id == seen.target]
    if not counts:
        return f"{seen.rule}."
    newest = counts[0]
    name = f"⟨{names.of(seen.target, newest.timestamp)}⟩"
    shown = _shown_by(newest.order, quorums)
    q, r = quorums.q, quorums.r
    match seen.kind:
        case "METHOD":
            text = f"{shown} {name}, the newest candidate: that is a quorum (q = {q}), so {name} is complete."
            return text + " The operation runs on it."
        case "INLINE_METHOD":
            text = f"{shown} {name}, the newest candidate: at least r = {r}, but fewer than q = {q}. "
            return text + f"{name} may be complete, so it is offered to the servers that lack it."
        case "INLINE_BARRIER":
            text = f"{shown} the barrier {name}: at least r = {r}, but fewer than q = {q}. "
            return text + "It is offered to the servers that lack it."
        case "COPY":
            text = f"{shown} the barrier {name}: a quorum (q = {q}) accepts nothing older any more. "
            return text + _copied(seen, names)
        case "BARRIER":
            return _barrier(seen, name, newest.order, quorums)
        case _:
            return f"No step: {_no_step(seen, name, newest.order, quorums)}"


def _shown_by(order: int, quorums: QuorumSystem) -> str:
    return f"{order} of {quorums.n} histories {'shows' if order == 1 else 'show'}"


def _copied(seen: Classified, names: Names) -> str:
    orders = {(each.object_id, each.timestamp): each.order for each in seen.counts}
    copied = []
    for part in seen.parts:
        order = orders.get((part.object_id, part.conditioned_on), 0)
        of = f" of {part.object_id}" if len(seen.parts) > 1 else ""
        copied.append(f"⟨{names.of(part.object_id, part.conditioned_on)}⟩{of}, which {order} show")
    return f"The newest version below it that must not be lost is copied forward: {_joined(copied)}."


def _barrier(seen: Classified, name: str, order: int, quorums: QuorumSystem) -> str:
    if order < quorums.r:
        text = f"Only {_shown_by(order, quorums)} {name}, the newest candidate: fewer than r = {quorums.r}. "
        return text + "So it cannot be complete, and nothing older may become so any more: a barrier closes the past."
    objects = _joined([part.object_id for part in seen.parts])
    return f"{_shown_by(order, quorums)} {name}, but {objects} must be frozen together: a joint barrier."


def _no_step(seen: Classified, name: str, order: int, quorums: QuorumSystem) -> str:
    if all(each.order < quorums.r for each in seen.counts if not is_barrier(LogicalTimestamp(each.timestamp))):
        return f"no version is shown by r = {quorums.r} histories."
    if order >= quorums.q and not is_barrier(LogicalTimestamp(seen.counts[0].timestamp)):
        return f"{name} is complete, so there is nothing to repair; or another object needs a repair first."
    return (
        f"{_shown_by(order, quorums)} {name}, the newest candidate, so the operation has to wait for a repair; "
        "or an object to judge by is missing."
    )


def rule_of(seen: Classified) -> str:
    """Which of the rules it rests on."""
    return "joint" if len(seen.parts) > 1 and seen.kind != "METHOD" else "classify"


def _joined(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else "the objects"
