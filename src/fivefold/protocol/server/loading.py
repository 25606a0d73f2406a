"""Objects being read from the store, and the work that waits for each."""

from __future__ import annotations

from fivefold.protocol.operations import ObjectId
from fivefold.protocol.server.admission import SyncWork, Work


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
        self.waiting: dict[ObjectId, list[Work | SyncWork]] = {}

    def park(self, name: ObjectId, work: Work | SyncWork) -> None:
        """Let work wait for an object."""
        self.waiting.setdefault(name, []).append(work)
        self.parked_count += isinstance(work, Work)

    def recount(self) -> None:
        """Count anew: some have been taken out, or there was an exception in between."""
        self.parked_count = sum([isinstance(work, Work) for works in self.waiting.values() for work in works])
