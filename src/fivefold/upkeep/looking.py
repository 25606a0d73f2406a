"""One object as all servers hold it: their replica histories side by side, and what these call for."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from fivefold.errors import PeerViolation
from fivefold.node import Inquiry
from fivefold.protocol.classify import View, classify
from fivefold.protocol.history import INITIAL_TIMESTAMP, decode_history, make_histories, read_history, short
from fivefold.protocol.messages import BUSY, DECLINED
from fivefold.protocol.operations import REFUSED, ObjectId
from fivefold.protocol.records import INITIAL_HISTORY, Candidate, LogicalTimestamp

CANDIDATES_MAX: Final = 64
"""Of a history that are shown; the newest of them."""

DIGEST_CHARACTERS: Final = 12
"""Of a version's digest that are shown."""

TEXT_MAX: Final = 200
"""Characters of a server's reason that are shown."""


class CandidateView(Struct, frozen=True):
    """A candidate of a history.

    Attributes:
        name: its time; a barrier's ends in ``b``.
        on: the time of the version that it is conditioned on.
        order: how many histories contain it.
        is_barrier: whether it has no version.
        is_copy: whether it repeats an earlier version.
        objects: how many objects it covers.
    """

    name: str
    on: str
    order: int
    is_barrier: bool
    is_copy: bool
    objects: int


class HistoryView(Struct, frozen=True):
    """What one server shows of the object.

    Attributes:
        server: its index.
        candidates: its history, oldest first; empty if it shows none.
        left_out: older candidates that are not in it.
        version: beginning of the digest of its newest version, in hexadecimal; empty if it does not tell.
        silence: why it shows nothing; empty if it does.
        is_odd: whether more than b others give another digest for the same version.
    """

    server: int
    candidates: tuple[CandidateView, ...]
    left_out: int
    version: str
    silence: str
    is_odd: bool = False


class ObjectView(Struct, frozen=True):
    """An object as all servers hold it.

    Attributes:
        object_id: which.
        kind: what its histories together call for: METHOD if all is well; None if too few servers show any.
        newest: the newest candidate that can be repaired or is complete, and ...
        support: ... how many histories contain it.
        needed: how many make it complete (q), ...
        repairable: ... and how many make it repairable (r).
        servers: one after the other.
    """

    object_id: str
    kind: str | None
    newest: str
    support: int
    needed: int
    repairable: int
    servers: tuple[HistoryView, ...]


async def look_at(inquiry: Inquiry, name: ObjectId) -> ObjectView:
    """Ask each server for its history of an object and for the digest of its newest version; nothing is changed."""
    n, quorums = inquiry.quorums.n, inquiry.quorums
    shown = await asyncio.gather(*(_history(inquiry, server, name) for server in range(n)))
    histories = make_histories(name, [INITIAL_HISTORY if isinstance(each, str) else each for each in shown])
    view = View(quorums, histories)
    kind = classify(quorums, view) if sum(not isinstance(each, str) for each in shown) >= quorums.q else None
    digests = await asyncio.gather(
        *(_version(inquiry, server, name, "" if isinstance(each, str) else each) for server, each in enumerate(shown))
    )
    newest = view.repairable[0] if view.repairable else None
    odd = _odd(quorums.b, name, shown, digests)
    return ObjectView(
        name,
        None if kind is None else kind.value,
        "" if newest is None else short(newest.timestamp),
        view.support,
        quorums.q,
        quorums.r,
        tuple(
            HistoryView(server, (), 0, "", each)
            if isinstance(each, str)
            else _history_view(server, name, each, view, digests[server], is_odd=server in odd)
            for server, each in enumerate(shown)
        ),
    )


async def _history(inquiry: Inquiry, server: int, name: ObjectId) -> bytes | str:
    """The bytes of a history that decodes, or why there is none."""
    if server not in inquiry.up:
        return "not connected"
    answer = await inquiry.histories(server, [name])
    if answer is None:
        return "no answer"
    vote = answer[0]
    if vote.status in (BUSY, DECLINED) or len(vote.histories) != 1:
        reason = vote.answers[0].removeprefix(REFUSED).decode(errors="replace") if vote.answers else "no history"
        return reason[:TEXT_MAX]
    try:
        read_history(name, vote.histories[0])
    except PeerViolation:
        return "shows what is no history"
    return vote.histories[0]


async def _version(inquiry: Inquiry, server: int, name: ObjectId, history: bytes | str) -> str:
    """The digest of the newest version in a history; empty if it is the initial one, or the server does not tell."""
    if isinstance(history, str) or history == INITIAL_HISTORY:
        return ""
    newest = _newest_version(name, history)
    if newest == INITIAL_TIMESTAMP:
        return ""
    reply = await inquiry.version(server, name, newest, is_whole=False)
    return "" if reply is None else reply.digest.hex()[:DIGEST_CHARACTERS]


def _newest_version(name: ObjectId, history: bytes) -> LogicalTimestamp:
    candidates = [entry.candidate for entry in decode_history(name, history)]
    return next((each.timestamp for each in reversed(candidates) if not each.is_barrier), INITIAL_TIMESTAMP)


def _odd(b: int, name: ObjectId, shown: Sequence[bytes | str], digests: Sequence[str]) -> set[int]:
    """The servers that give another digest for a version than more than b others give for the same one."""
    told = {
        server: (_newest_version(name, history), version)
        for server, (history, version) in enumerate(zip(shown, digests, strict=True))
        if not isinstance(history, str) and version
    }
    counts = Counter(told.values())
    agreed = [each for each, count in counts.items() if count > b]
    return {
        server
        for server, (timestamp, version) in told.items()
        if any(each[0] == timestamp and each[1] != version for each in agreed)
    }


def _history_view(
    server: int, name: ObjectId, history: bytes, view: View, version: str, *, is_odd: bool
) -> HistoryView:
    candidates = [entry.candidate for entry in decode_history(name, history)]
    kept = candidates[-CANDIDATES_MAX:]
    return HistoryView(server, _views(kept, name, view), len(candidates) - len(kept), version, "", is_odd)


def _views(candidates: Sequence[Candidate], name: ObjectId, view: View) -> tuple[CandidateView, ...]:
    return tuple(
        CandidateView(
            short(each.timestamp),
            short(each.part(name).conditioned_on),
            view.order(each),
            each.is_barrier,
            each.is_copy,
            len(each.parts),
        )
        for each in candidates
    )
