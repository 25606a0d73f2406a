"""Words and lists that sentences are made of."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType
from typing import Final

from fivefold.simulation import Ended, Voted

ENDINGS: Final = MappingProxyType(
    {
        "ok": "is done",
        "rejected": "was rejected by its method",
        "failed": "was not applied",
        "cancelled": "was cancelled",
        "unknown": "has no known outcome",
    }
)
"""How a call ends, by its outcome."""

_ANSWERS: Final = MappingProxyType(
    {
        "accepted": "it accepted",
        "answered": "an answer",
        "refused": "it refuses",
        "declined": "it declines the call",
        "busy": "it is busy",
        "unchanged": "nothing was to be written",
        "unable": "it could not run the operation",
        "settled": "an established version has recorded the call",
        "pending": "it keeps the call for others to carry",
        "lacking": "it lacks a call that the operation carries",
    }
)


def answers(vote: Voted | None) -> str:
    """What a reply says, in a few words."""
    return "an answer to something earlier" if vote is None else _ANSWERS[vote.status]


def result_of(ended: Ended) -> str:
    """What a caller was told, without the call: the answer, or what the record says of it."""
    _, arrow, answer = ended.seen.rpartition(" → ")
    if not arrow:
        return "" if ended.seen.startswith("c") and "." in ended.seen else ended.seen
    return "" if answer in ("None", "?") else f"returns {answer}"


def joined(words: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else "nobody"


def servers_text(servers: Sequence[int]) -> str:
    """``s0–s4`` for neighbours, ``s1, s3 and s5`` otherwise."""
    found = sorted(set(servers))
    if len(found) > 2 and found[-1] - found[0] == len(found) - 1:
        return f"s{found[0]}–s{found[-1]}"
    return joined([f"s{server}" for server in found])
