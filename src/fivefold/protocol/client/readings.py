"""What a reader that takes no part in the protocol may believe of the histories that servers show it (ours).

A reader asks each server for its history, as a newcomer does, and has to know which version is the newest that holds
everything acknowledged before it asked. An acknowledged candidate is on q − b honest servers; of the histories of any q
servers at least r show it, which is more than b. So *entries that b or fewer of them show are left out*: a liar cannot
invent a newer one. If the newest of the rest is no barrier, nothing acknowledged is above it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from msgspec import Struct

from fivefold.errors import PeerViolation
from fivefold.protocol.history import read_history
from fivefold.protocol.operations import ObjectId
from fivefold.protocol.quorums import QuorumSystem
from fivefold.protocol.records import Candidate


class Reading(Struct, frozen=True):
    """The newest candidate that more than b servers show.

    Attributes:
        candidate: it.
        holders: the servers that show it, in order.
        settled: those of them that show nothing newer.
    """

    candidate: Candidate
    holders: tuple[int, ...]
    settled: tuple[int, ...]


def read(quorums: QuorumSystem, object_id: ObjectId, histories: Mapping[int, bytes]) -> Reading | None:
    """The newest candidate that more than b of these histories show; None if there is none, or fewer than q histories.

    A history that no honest server would have written does not count.
    """
    shown: dict[int, tuple[Candidate, ...]] = {}
    for server, data in histories.items():
        try:
            shown[server] = tuple([entry.candidate for entry in read_history(object_id, data)])
        except PeerViolation:
            continue
    if len(shown) < quorums.q:
        return None
    orders = Counter(candidate for candidates in shown.values() for candidate in candidates)
    believed = [candidate for candidate, order in orders.items() if order > quorums.b]
    if not believed:
        return None
    newest = max(believed, key=lambda candidate: candidate.timestamp)
    holders = sorted(server for server, candidates in shown.items() if newest in candidates)
    settled = [server for server in holders if shown[server][-1] == newest]
    return Reading(newest, tuple(holders), tuple(settled))
