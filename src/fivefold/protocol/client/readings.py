"""What a reader that takes no part in the protocol may believe of the histories that servers show it (ours).

A reader asks each server for its history, as a newcomer does, and has to know which version is the newest that holds
everything acknowledged before it asked. An acknowledged candidate is on q − b honest servers; of the histories of any q
servers at least r show it, which is more than b. So *entries that b or fewer of them show are left out*: a liar cannot
invent a newer one. If the newest of the rest is no barrier, nothing acknowledged is above it.

An object that is written all the time is never at rest: its newest candidate is on its way to q servers. What that one
is built on, its *base*, is established, as an honest server has checked it (S1). So it can be read meanwhile.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from msgspec import Struct

from fivefold.errors import PeerViolation
from fivefold.protocol.history import read_history
from fivefold.protocol.operations import ObjectId
from fivefold.protocol.quorums import QuorumSystem
from fivefold.protocol.records import Candidate, LogicalTimestamp


class Reading(Struct, frozen=True):
    """The newest candidate that more than b servers show.

    Attributes:
        candidate: it.
        holders: the servers that show it, in order.
        settled: those of them that show nothing newer.
        established: timestamp of a version that holds everything acknowledged before; None if it cannot be told.
    """

    candidate: Candidate
    holders: tuple[int, ...]
    settled: tuple[int, ...]
    established: LogicalTimestamp | None


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
    established = _established(quorums, object_id, newest, {each: orders[each] for each in believed})
    return Reading(newest, tuple(holders), tuple(settled), established)


def _established(
    quorums: QuorumSystem, object_id: ObjectId, newest: Candidate, orders: Mapping[Candidate, int]
) -> LogicalTimestamp | None:
    """The newest version if r servers show it; or else the newest base, if nothing above it can have been acknowledged.

    What was acknowledged is shown by r servers. A candidate above the base that r show may lose against the newest one:
    which of the two stays is for a repair to say.
    """
    if newest.is_barrier:
        return None
    if orders[newest] >= quorums.r:
        return newest.timestamp
    base = max(each.part(object_id).base_or_conditioned_on for each in orders if not each.is_barrier)
    has_rival = any(order >= quorums.r and each.timestamp > base for each, order in orders.items())
    return None if has_rival else base
