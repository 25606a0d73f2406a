"""Lies told in every reply, each with one harm in mind; those of :mod:`fivefold.simulation.lies` are mixed."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from fivefold.protocol.history import decode_history, initial_entry, is_barrier, make_timestamp
from fivefold.protocol.messages import FAIL, SUCCESS
from fivefold.protocol.operations import ObjectId
from fivefold.protocol.records import INITIAL_HISTORY, Candidate, Entry, Part
from fivefold.simulation.lies import Draft, Liar, Lie, forged, with_entry
from fivefold.simulation.rack import client_id

FAT_ENTRIES: Final = 150
"""Candidates that a fat history has: two dozen kilobytes of them."""


REPENTING: Final = ("spoiling",)
"""Liars that turn honest in the second phase: whatever was held against them must not stop anybody for good."""


def promise(liar: Liar, draft: Draft) -> None:
    """Vote for everything, and show nothing of it later: the server has accepted nothing."""
    if draft.status == SUCCESS and draft.version_digest:
        return
    for position in range(len(draft.histories)):
        draft.histories[position] = INITIAL_HISTORY
    if draft.status == SUCCESS and not draft.answers:
        draft.status, draft.candidate = FAIL, b""


def _above(liar: Liar, draft: Draft, *, as_barrier: bool) -> None:
    """Show a candidate above everything that anybody has, another one each time."""
    for position, name in enumerate(draft.names[: len(draft.histories)]):
        latest = liar.latest_time(name)
        entries = {entry.candidate.timestamp: entry for entry in decode_history(name, draft.histories[position])}
        made = _barrier(liar, name, latest + 1) if as_barrier else _version(liar, name, latest + 1)
        entries[made.timestamp] = Entry(made, False)
        draft.histories[position] = forged(tuple(entries[timestamp] for timestamp in sorted(entries)))


def _version(liar: Liar, name: ObjectId, time: int) -> Candidate:
    on = max((each.timestamp for each in liar.candidates(name) if not is_barrier(each.timestamp)), default=None)
    timestamp = make_timestamp(
        time,
        is_barrier=False,
        client=client_id("zz"),
        operation_digest=liar.random.randbytes(32),
        history_set_digest=liar.random.randbytes(32),
    )
    if on is None or on >= timestamp:
        on = initial_entry(name).candidate.timestamp
    return Candidate(timestamp, (Part(name, on, None),))


def _barrier(liar: Liar, name: ObjectId, time: int) -> Candidate:
    timestamp = make_timestamp(
        time,
        is_barrier=True,
        client=client_id("zz"),
        operation_digest=bytes(32),
        history_set_digest=liar.random.randbytes(32),
    )
    return Candidate(timestamp, (Part(name, initial_entry(name).candidate.timestamp, None),))


def denounce(liar: Liar, draft: Draft) -> None:
    """Say that all others were culled, and show something above what they have."""
    draft.culled = tuple(server for server in range(liar.n) if server != liar.index)
    draft.status, draft.candidate, draft.answers, draft.version_digest = FAIL, b"", (), b""
    _above(liar, draft, as_barrier=liar.random.random() < 0.3)


def outbid(liar: Liar, draft: Draft) -> None:
    """Show something above what the others have, with a MAC that one server finds wrong, another one each time.

    Some do so at versions alone: who is honest about barriers stands alone in every other round of a repair.
    """
    shown = [decode_history(*each)[-1].candidate for each in zip(draft.names, draft.histories, strict=False)]
    if liar.index % 2 and any(newest.is_barrier for newest in shown):
        return
    draft.status, draft.candidate, draft.answers, draft.version_digest = FAIL, b"", (), b""
    _above(liar, draft, as_barrier=False)
    if liar.random.random() < 0.7:
        draft.broken = {liar.random.randrange(liar.n)}


def fatten(liar: Liar, draft: Draft) -> None:
    """Show a history as long as readers take it, the true one at its end."""
    for position, name in enumerate(draft.names[: len(draft.histories)]):
        true = decode_history(name, draft.histories[position])
        first = true[0].candidate.timestamp
        made = [initial_entry(name)]
        for number in range(FAT_ENTRIES):
            candidate = _barrier(liar, name, number + 1)
            if candidate.timestamp >= first and len(true) > 1:
                break
            made.append(Entry(candidate, False))
        entries = {entry.candidate.timestamp: entry for entry in (*made, *true)}
        draft.histories[position] = forged(tuple(entries[timestamp] for timestamp in sorted(entries)))


def spoil(liar: Liar, draft: Draft) -> None:
    """Sign wrongly for everybody, so that everybody culls it: a server whose keys are not those that others know."""
    draft.broken = set(range(liar.n))


def split(liar: Liar, draft: Draft) -> None:
    """Have one server after the other take what others refuse; later say that one has taken it oneself."""
    for position, name in enumerate(draft.names[: len(draft.histories)]):
        chain = liar.watch.chains.of(name)
        rare = [
            each
            for timestamp, each in chain.candidates.items()
            if timestamp > chain.tip and each.is_method and chain.acceptors[timestamp].bit_count() > 1
        ]
        if rare and liar.random.random() < 0.5:
            draft.status, draft.candidate, draft.answers, draft.version_digest = FAIL, b"", (), b""
            draft.histories[position] = with_entry(
                name, draft.histories[position], rare[-1], is_settled=False, keeps_later=False
            )
            return
    outbid(liar, draft)


CUNNING: Final[Mapping[str, Lie]] = MappingProxyType(
    {
        "promising": promise,
        "denouncing": denounce,
        "outbidding": outbid,
        "fattening": fatten,
        "spoiling": spoil,
        "splitting": split,
    }
)
"""By name."""
