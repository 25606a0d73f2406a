"""What a server has been asked lately: which objects are hot or contended, and which clients loud (ours).

The last few thousand requests are remembered, with one short entry each: nothing is counted by name while requests are
worked on, and no client can make the server remember more by inventing names.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from itertools import islice
from typing import Final, NamedTuple

from fivefold.protocol.activity import SHOWN_MAX, Hot, Lately, Loud
from fivefold.protocol.durations import Durations
from fivefold.protocol.operations import AccessPolicy, ClientId, ObjectId
from fivefold.protocol.server.admission import Work
from fivefold.protocol.server.cache import Cache
from fivefold.protocol.server.loading import Loads
from fivefold.protocol.server.outbox import Outbox
from fivefold.protocol.server.synchronise import SyncTable

REMEMBERED_MAX: Final = 4096
"""Requests, and as many that came too late for their object, that are remembered."""

COUNT_AGAIN_NS: Final = 500_000_000
"""How often they are counted at most: that costs a millisecond, and any client may ask for it."""

LOOKED_AT_MAX: Final = 200
"""Names whose rights are looked at for one reader."""

WINDOW_NS: Final = 60_000_000_000
"""How far back one looks."""


class Activity:
    """The last requests, and what is under way.

    Attributes:
        asked: for each, when it came, of which client, and for which object first.
        late: for each that came too late, when it was told so, and for which object.
        syncs: how long fetching a version from other servers took.
    """

    __slots__ = ("_access", "_counted", "_loads", "_outbox", "_replicas", "_table", "asked", "late", "syncs")

    def __init__(
        self, replicas: Cache, outbox: Outbox, loads: Loads, table: SyncTable[Work], access: AccessPolicy
    ) -> None:
        """None yet; what is under way is read from these, and ``access`` knows who may hear of which object."""
        self._replicas, self._outbox, self._loads, self._table = replicas, outbox, loads, table
        self._access = access
        self._counted = _Counted(-COUNT_AGAIN_NS, 0.0, 0, Counter(), Counter(), Counter())
        self.asked: deque[tuple[int, ClientId, ObjectId]] = deque(maxlen=REMEMBERED_MAX)
        self.late: deque[tuple[int, ObjectId]] = deque(maxlen=REMEMBERED_MAX)
        self.syncs = Durations()

    @property
    def queues(self) -> dict[str, int]:
        """How many requests and replies wait, and for what."""
        return {
            "replies_for_the_disk": self._outbox.waiting_count,
            "requests_for_a_load": self._loads.parked_count,
            "requests_for_a_sync": self._table.parked_count,
        }

    @property
    def cached_bytes(self) -> int:
        """About how many bytes the objects in memory take."""
        return self._replicas.size

    def lately(self, now_ns: int, reader: ClientId) -> Lately:
        """What is hot and who is loud; of the objects only those on which the reader has any right."""
        if now_ns >= self._counted.at_ns + COUNT_AGAIN_NS:
            self._counted = self._count(now_ns)
        counted = self._counted
        named = dict.fromkeys((*self._known(reader, counted.requests), *self._known(reader, counted.stale)))
        return Lately(
            counted.seconds,
            counted.total,
            tuple(Hot(name, counted.requests[name], counted.stale[name]) for name in named),
            tuple(Loud(client.hex(), count) for client, count in counted.clients.most_common(SHOWN_MAX)),
        )

    def _count(self, now_ns: int) -> _Counted:
        since_ns = now_ns - WINDOW_NS
        asked = [each for each in self.asked if each[0] >= since_ns]
        # A memory that is full reaches back to its first request only; one that is not, to where one looks.
        began_ns = asked[0][0] if len(asked) == REMEMBERED_MAX else since_ns
        return _Counted(
            now_ns,
            (now_ns - began_ns) / 1e9,
            len(asked),
            Counter(each[2] for each in asked),
            Counter(each[1] for each in self.late if each[0] >= since_ns),
            Counter(each[1] for each in asked),
        )

    def _known(self, reader: ClientId, counted: Counter[ObjectId]) -> Iterator[ObjectId]:
        """The names with the greatest counts that the reader may hear of."""
        greatest = (name for name, _ in counted.most_common(LOOKED_AT_MAX))
        return islice((name for name in greatest if self._access.knows(reader, name)), SHOWN_MAX)


class _Counted(NamedTuple):
    """The last requests, counted at a moment."""

    at_ns: int
    seconds: float
    total: int
    requests: Counter[ObjectId]
    stale: Counter[ObjectId]
    clients: Counter[ClientId]
