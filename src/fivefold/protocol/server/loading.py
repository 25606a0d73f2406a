"""Objects being read from the store, and the work that waits for each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from fivefold.protocol.actions import Damaged, ObjectRecord
from fivefold.protocol.operations import ObjectId
from fivefold.protocol.records import Candidate, ObjectHistories, ReplicaHistory
from fivefold.protocol.server.admission import SyncWork, VersionKey, Work
from fivefold.protocol.server.replica import needs_version


class Owner(Protocol):
    """Who takes objects over."""

    def loaded(self, now_ns: int, work: AdoptionWork, name: ObjectId, record: ObjectRecord | Damaged | None) -> None:
        """The store's answer."""
        ...


class AdoptionWork:
    """Objects that a newcomer takes over together (:mod:`catchup`).

    Attributes:
        owner: hears of loads.
        names: the objects.
        histories: what their histories become.
        settled: candidates over several objects that this proves established.
        shown: what the others have shown of each: who is likely to hold its versions.
        absent: objects of which the store has nothing.
        asked: versions that are being fetched, or were.
        fetched: versions that have come.
        is_ready: whether nothing is missing any more.
        sequence: the transaction that it became; 0 before.
    """

    __slots__ = (
        "absent",
        "asked",
        "fetched",
        "histories",
        "is_ready",
        "names",
        "owner",
        "sequence",
        "settled",
        "shown",
    )

    def __init__(
        self,
        owner: Owner,
        histories: tuple[tuple[ObjectId, ReplicaHistory], ...],
        settled: tuple[Candidate, ...],
        shown: Mapping[ObjectId, ObjectHistories],
    ) -> None:
        """Nothing is known of the store, and nothing fetched."""
        self.owner = owner
        self.histories, self.settled, self.shown = histories, settled, shown
        self.names = [name for name, _ in histories]
        self.absent: set[ObjectId] = set()
        self.asked: set[VersionKey] = set()
        self.fetched: dict[VersionKey, bytes] = {}
        self.is_ready = False
        self.sequence = 0

    @property
    def size(self) -> int:
        """Bytes of the versions that have come."""
        return sum(map(len, self.fetched.values()))

    @property
    def needed(self) -> list[VersionKey]:
        """The versions that the histories need."""
        return [
            (name, entry.candidate.timestamp)
            for name, history in self.histories
            for entry in history
            if needs_version(entry.candidate.timestamp)
        ]

    @property
    def flagged(self) -> list[ObjectId]:
        """Other objects whose histories may hold what this proves settled."""
        return [name for candidate in self.settled for name in candidate.objects if name not in self.names]


Waiting = Work | SyncWork | AdoptionWork


class Loads:
    """The loads under way.

    Attributes:
        waiting: the work that waits, by object.
        parked_count: how many clients' requests wait.
    """

    __slots__ = ("parked_count", "waiting")

    def __init__(self) -> None:
        """None under way."""
        self.parked_count = 0
        self.waiting: dict[ObjectId, list[Waiting]] = {}

    def park(self, name: ObjectId, work: Waiting) -> None:
        """Let work wait for an object."""
        self.waiting.setdefault(name, []).append(work)
        self.parked_count += isinstance(work, Work)

    @property
    def requests(self) -> list[Work]:
        """The clients' requests that wait."""
        return [work for works in self.waiting.values() for work in works if isinstance(work, Work)]

    def take_requests(self) -> list[Work]:
        """Take out the clients' requests that wait; what else waits stays."""
        taken: list[Work] = []
        for name, waiting in self.waiting.items():
            taken += [work for work in waiting if isinstance(work, Work)]
            self.waiting[name] = [work for work in waiting if not isinstance(work, Work)]
        self.recount()
        return taken

    def recount(self) -> None:
        """Count anew: some have been taken out, or there was an exception in between."""
        self.parked_count = sum([isinstance(work, Work) for works in self.waiting.values() for work in works])
