"""Objects being read from the store, and the work that waits for each."""

from __future__ import annotations

from fivefold.protocol.operations import ObjectId
from fivefold.protocol.server.admission import SyncWork, Work


class Loads:
    """The loads under way.

    Attributes:
        parked_count: how many clients' requests wait.
    """

    __slots__ = ("_waiting", "parked_count")

    def __init__(self) -> None:
        """None under way."""
        self.parked_count = 0
        self._waiting: dict[ObjectId, list[Work | SyncWork]] = {}

    def park(self, name: ObjectId, work: Work | SyncWork) -> bool:
        """Let work wait for an object; whether it is the first, so that the load has to be asked for."""
        waiting = self._waiting.setdefault(name, [])
        waiting.append(work)
        self.parked_count += isinstance(work, Work)
        return len(waiting) == 1

    def end(self, name: ObjectId) -> list[Work | SyncWork]:
        """The load has ended: the work that waited for it."""
        waiting = self._waiting.pop(name, [])
        self.parked_count -= sum(isinstance(work, Work) for work in waiting)
        return waiting
