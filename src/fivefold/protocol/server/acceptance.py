"""The only place where objects change: a step is accepted for all its objects or for none (PROTOCOL §4.7, §7).

Exceptions of our own (an assertion, no memory) can come at any point. What they leave half changed is in memory only,
because the writes of a step are handed over in one piece at its end. Such an object is *set aside*: it answers BUSY,
and nothing of it is signed, until its last write is durable. Then it is read again from the disk, which has what was
accepted before, and nothing else. An object to which this happens again and again stays out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from fivefold.protocol.actions import Write
from fivefold.protocol.history import encode_entry, remember_history
from fivefold.protocol.limits import (
    HISTORY_VERSIONS_BYTES_MAX,
    SET_ASIDE_MAX,
    SET_ASIDE_TIMES_MAX,
)
from fivefold.protocol.operations import ClientId, ObjectId
from fivefold.protocol.records import Candidate, Entry, LogicalTimestamp, Part, Version
from fivefold.protocol.server.cache import Cache
from fivefold.protocol.server.outbox import Outbox
from fivefold.protocol.server.replica import Replica, Shown, first_kept, prune
from fivefold.protocol.server.unverified import Unverified
from fivefold.protocol.steps import Kind, Step


class Acceptance:
    """Changes replicas, and knows which can no longer be trusted.

    Attributes:
        aside: the objects that are set aside, and why.
        fresh: the ones that were set aside since somebody last looked.
        suspects: clients that may have to wait (:meth:`must_wait`); nearly always nobody.
    """

    def __init__(self, replicas: Cache, outbox: Outbox, unverified: Unverified | None = None) -> None:
        """Nothing is set aside; what is accepted is counted as unverified, if anybody verifies it."""
        self._replicas, self._outbox, self._unverified = replicas, outbox, unverified
        self.suspects: set[ClientId] = set() if unverified is None else unverified.suspects
        self.aside: dict[ObjectId, str] = {}
        self.fresh: list[ObjectId] = []
        self._until: dict[ObjectId, int] = {}
        self._times: Counter[ObjectId] = Counter()

    def must_wait(self, now_ns: int, client: ClientId) -> bool:
        """Whether nothing more is accepted of a client, because too much that it has left is not verified."""
        return self._unverified is not None and self._unverified.must_wait(now_ns, client)

    def set_aside(self, objects: Iterable[ObjectId], error: Exception) -> None:
        """Take objects out of use."""
        for name in objects:
            self.aside[name] = f"{name} is set aside after an error in this server: {type(error).__name__}"
            self.fresh.append(name)
            self._times[name] += 1
            self._until[name] = self._last_write(name)
            self._replicas.drop(name)

    def _last_write(self, name: ObjectId) -> int:
        """The last transaction that has a write of the object; what was half changed is in none."""
        replica = self._replicas.hot.get(name)
        if replica is None:
            return 0
        is_staged = any(write.object_id == name for write in self._outbox.writes)
        return self._outbox.next_sequence if is_staged else min(replica.sequence, self._outbox.next_sequence - 1)

    def isolate(self, objects: Iterable[ObjectId], error: AssertionError) -> None:
        """An invariant of ours does not hold for these objects: sign nothing of them until they are read again."""
        self.set_aside([name for name in objects if name not in self.aside], error)

    def why_aside(self, name: ObjectId) -> str | None:
        """Why an object cannot be used; None if it can, or can again."""
        reason = self.aside.get(name)
        if reason is None:
            return None
        if not self._outbox.has_store or self._times[name] > SET_ASIDE_TIMES_MAX:
            return f"{reason}; restart the server"
        if self._until[name] > self._outbox.durable:
            return reason
        del self.aside[name], self._until[name]
        return None

    @property
    def failure(self) -> str | None:
        """Why no object can be served any more, if that is so."""
        if len(self.aside) <= SET_ASIDE_MAX:
            return None
        return "too many objects are set aside after errors in this server: restart it"

    def has_room(self, step: Step) -> bool:
        """Whether the histories can take what a repair appends.

        A barrier always has room, and a method, which prunes. A copy takes the place of those of the same version, so
        what adds up is a handful of versions that r servers could show: far less than this, which is what no argument
        has to be right for.
        """
        candidate = step.candidate
        if candidate.is_barrier or step.kind is Kind.METHOD:
            return True
        size = len(encode_entry(Entry(candidate, False)))
        for name in step.objects:
            replica = self._replicas.hot[name]
            kept = prune(replica.entries, first_kept(name, candidate), candidate)
            if sum([len(encode_entry(entry)) for entry in kept]) + size > HISTORY_VERSIONS_BYTES_MAX:
                return False
        return True

    def accept_alone(
        self,
        replica: Replica,
        timestamp: LogicalTimestamp,
        version: Version,
        now_ns: int,
        shown: Shown | None = None,
    ) -> None:
        """METHOD by an ordinary request: on the latest version, of this object alone.

        With ``shown`` what is shown of it afterwards is known already.
        """
        try:
            assert replica.object_id not in self.aside, "nothing is accepted for an object that is set aside"
            if shown is None:
                candidate = Candidate(timestamp, (Part(replica.object_id, replica.latest, None),))
                replica.accept(candidate, version, now_ns)
            else:
                replica.follow(version, shown, now_ns)
            self._replicas.measure(replica)
            if self._outbox.has_store:
                self._outbox.writes.append(replica.written(self._outbox.next_sequence))
            else:
                replica.forget_changes()
            if self._unverified is not None:
                self._unverified.accepted_alone(replica.object_id, timestamp)
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
                assert part.object_id not in self.aside, "nothing is accepted for an object that is set aside"
                if not replica.holds(step.candidate):
                    replica.accept(step.candidate, versions[position] if versions else None, now_ns)
                    changed[part.object_id] = replica
            for candidate in settled:
                for name in candidate.objects:
                    held = self._replicas.hot.get(name)
                    if held is None:
                        continue  # a newcomer has not adopted it: it holds no history to be flagged
                    replica = touched[name] = held
                    if replica.flag_settled(candidate):
                        changed[name] = replica
            assert changed, "a candidate held everywhere is answered again, not accepted again"
            assert all(touched[name].holds(step.candidate) for name in step.objects), "accepted for all or for none"
            writes: tuple[Write, ...] = ()
            for name in sorted(changed):
                replica = changed[name]
                self._replicas.measure(replica)
                remember_history(name, replica.history, replica.entries)
                writes += self._outbox.write_of(replica)
            self._outbox.writes += writes
            if self._unverified is not None:
                self._unverified.accepted(now_ns, step)
        except Exception as error:
            self.set_aside(touched, error)
            raise
