"""What an audit concludes from what servers have shown: who has broken a promise, and what cannot be told.

Pure functions. An honest server is never named: each rule rests on something that no honest server does, or on the word
of more than b servers. What could be bad luck (a server that was down) is told apart from what cannot.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from enum import StrEnum

from msgspec import Struct

from fivefold.errors import PeerViolation
from fivefold.protocol.history import read_history
from fivefold.protocol.operations import ObjectId
from fivefold.protocol.records import ObjectHistories, ReplicaHistory


class Charge(StrEnum):
    """What a server has done that no honest one does."""

    FORGOT = "forgot"
    """It shows an older history than one that it had signed."""
    ROTTEN = "rotten"
    """It cannot read an object, or has another version of it than b + 1 others."""
    TWIN = "twin"
    """Two answers under one identity that one server cannot give."""
    MACS = "macs"
    """More than b servers find its authenticators wrong."""
    ANSWERS = "answers"
    """It answers a query on a version otherwise than b + 1 others."""
    FORGED = "forged"
    """It sends what no honest server would write."""


class Finding(Struct, frozen=True):
    """A charge against one server.

    Attributes:
        server: its index.
        charge: what it has done.
        object_id: about which object; empty if about none.
        by: servers on whose word it rests; empty if the audit has seen it itself.
        says: the details, in one sentence.
        shown: histories that prove it, as the servers sent them.
    """

    server: int
    charge: Charge
    object_id: str
    by: tuple[int, ...]
    says: str
    shown: tuple[bytes, ...] = ()


def newest(object_id: ObjectId, data: bytes) -> bytes | None:
    """The greatest timestamp in a history; None if no honest server would have written it."""
    try:
        return read_history(object_id, data)[-1].candidate.timestamp
    except PeerViolation:
        return None


def contradicts(object_id: ObjectId, one: bytes, other: bytes) -> bool:
    """Whether no single server can have signed both histories, in whichever order.

    A server's newest timestamp only grows, and pruning drops what is older than everything it keeps. So the older
    history's newest version must be in the newer one, unless it is older than all of that. Barriers may be dropped.
    """
    try:
        first, second = sorted((read_history(object_id, each) for each in (one, other)), key=_newest)
    except PeerViolation:
        return False  # that is a charge of its own
    latest = first[-1].candidate
    if latest.is_barrier or latest.timestamp <= second[0].candidate.timestamp or _newest(first) == _newest(second):
        return False
    return all(entry.candidate.timestamp != latest.timestamp for entry in second)


def _newest(history: ReplicaHistory) -> bytes:
    return history[-1].candidate.timestamp


def forgetters(
    seen: Mapping[int, Iterable[ObjectHistories]], shown: Mapping[tuple[int, ObjectId], bytes], b: int
) -> tuple[list[Finding], dict[int, set[int]]]:
    """Who shows less than it has signed, by what others have seen before it was asked.

    Args:
        seen: by server what it has seen others sign.
        shown: what each server showed of an object afterwards.
        b: how many servers may lie.

    Returns:
        Findings on the word of more than b servers; and by server those, b or fewer, whose word alone is no proof.
    """
    accusers: dict[int, dict[int, tuple[ObjectId, bytes]]] = defaultdict(dict)
    for witness, sets in seen.items():
        for each in sets:
            for server, index in enumerate(each.holders):
                now = shown.get((server, each.object_id))
                if not index or now is None or server == witness:
                    continue
                before, after = newest(each.object_id, each.of(server)), newest(each.object_id, now)
                if before is not None and after is not None and after < before:
                    accusers[server][witness] = (each.object_id, each.of(server))
    findings, doubted = [], {}
    for server, by in sorted(accusers.items()):
        if len(by) > b:
            object_id, history = next(iter(by.values()))
            text = (
                f"servers {', '.join(map(str, sorted(by)))} have seen newer histories with its MACs than it shows: it "
                "was put back to an older copy, or emptied"
            )
            proof = (history, shown[server, object_id])
            findings.append(Finding(server, Charge.FORGOT, object_id, tuple(sorted(by)), text, proof))
        else:
            doubted[server] = set(by)
    return findings, doubted


def is_diverged(found: Mapping[int, bytes], b: int) -> bool:
    """Whether honest servers must differ: more than b say something else than the largest group."""
    counts = Counter(found.values())
    return bool(counts) and counts.total() - counts.most_common(1)[0][1] > b


def outvoted(found: Mapping[int, bytes], b: int) -> dict[int, tuple[int, ...]]:
    """Servers that say something else than more than b others agree on, with those others; none if most differ.

    If more than b servers differ from the largest group, honest ones do: the object has diverged, and nobody is named.
    """
    counts = Counter(found.values())
    if not counts:
        return {}
    best, count = counts.most_common(1)[0]
    if count <= b or counts.total() - count > b:
        return {}
    agreeing = tuple(sorted(server for server, each in found.items() if each == best))
    return {server: agreeing for server, each in found.items() if each != best}
