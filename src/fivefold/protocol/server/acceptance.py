"""The only place where objects change: a step is accepted for all its objects or for none (PROTOCOL §4.7, §7).

Exceptions of our own (an assertion, no memory) can come at any point. What they leave half changed is in memory only,
because the writes of a step are handed over in one piece at its end. Such an object is *set aside*: it answers BUSY,
and nothing of it is signed any more, until the server starts again from what is on its disk.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fivefold.protocol.actions import Write
from fivefold.protocol.limits import SET_ASIDE_MAX
from fivefold.protocol.operations import ObjectId
from fivefold.protocol.records import Candidate, LogicalTimestamp, Part, Version
from fivefold.protocol.server.cache import Cache
from fivefold.protocol.server.outbox import Outbox
from fivefold.protocol.server.replica import Replica
from fivefold.protocol.steps import Kind, Step


class Acceptance:
    """Changes replicas, and knows which can no longer be trusted.

    Attributes:
        aside: the objects that are set aside, and why.
    """

    def __init__(self, replicas: Cache, outbox: Outbox) -> None:
        """Nothing is set aside."""
        self._replicas, self._outbox = replicas, outbox
        self.aside: dict[ObjectId, str] = {}

    def set_aside(self, objects: Iterable[ObjectId], error: Exception) -> None:
        """Take objects out of use."""
        for name in objects:
            self.aside[name] = f"{name} is set aside after an error in this server ({type(error).__name__}): restart it"
            self._replicas.drop(name)

    @property
    def failure(self) -> str | None:
        """Why no object can be served any more, if that is so."""
        if len(self.aside) <= SET_ASIDE_MAX:
            return None
        return "too many objects are set aside after errors in this server: restart it"

    def accept_alone(self, replica: Replica, timestamp: LogicalTimestamp, version: Version, now_ns: int) -> None:
        """METHOD by an ordinary request: on the latest version, of this object alone."""
        candidate = Candidate(timestamp, (Part(replica.object_id, replica.latest, None),))
        try:
            replica.accept(Kind.METHOD, candidate, version, now_ns)
            self._replicas.measure(replica)
            self._outbox.writes += self._outbox.write_of(replica)
        except Exception as error:
            self.set_aside((replica.object_id,), error)
            raise

    def accept(self, now_ns: int, step: Step, versions: Sequence[Version], settled: Sequence[Candidate]) -> None:
        """Append the candidate everywhere, flag what became settled, and stage it all as one transaction."""
        assert not versions or len(versions) == len(step.parts), "a version for each object, or none"
        touched: dict[ObjectId, Replica] = {}
        changed: dict[ObjectId, Replica] = {}
        try:
            for position, part in enumerate(step.parts):
                replica = touched[part.object_id] = self._replicas.hot[part.object_id]
                if not replica.holds(step.candidate):
                    replica.accept(step.kind, step.candidate, versions[position] if versions else None, now_ns)
                    changed[part.object_id] = replica
            for candidate in settled:
                for name in candidate.objects:
                    replica = touched[name] = self._replicas.hot[name]
                    if replica.flag_settled(candidate):
                        changed[name] = replica
            assert changed, "a candidate held everywhere is answered again, not accepted again"
            writes: tuple[Write, ...] = ()
            for name in sorted(changed):
                self._replicas.measure(changed[name])
                writes += self._outbox.write_of(changed[name])
            self._outbox.writes += writes
        except Exception as error:
            self.set_aside(touched, error)
            raise
