"""What a server does of its own accord: to catch up as a newcomer (ours)."""

from __future__ import annotations

from collections import Counter

from fivefold.errors import PeerViolation
from fivefold.protocol.actions import ObjectRecord
from fivefold.protocol.editions import Edition
from fivefold.protocol.operations import ObjectId
from fivefold.protocol.quorums import QuorumSystem
from fivefold.protocol.records import SyncReply
from fivefold.protocol.server.cache import Cache
from fivefold.protocol.server.catchup import CatchUp, Progress
from fivefold.protocol.server.loading import Loads
from fivefold.protocol.server.membership import Membership
from fivefold.protocol.server.outbox import Outbox


class Upkeep:
    """Runs beside the requests, on the same objects.

    Attributes:
        catch_up: what a newcomer does; None for a server in standing.
    """

    def __init__(
        self,
        quorums: QuorumSystem,
        membership: Membership,
        outbox: Outbox,
        replicas: Cache,
        loads: Loads,
        counters: Counter[str],
    ) -> None:
        """What there is to do is known after :meth:`start`; until then it is as if nothing had ever been stored."""
        self._quorums, self._membership, self._outbox, self._replicas = quorums, membership, outbox, replicas
        self._loads, self._counters = loads, counters
        self._doubtful: set[ObjectId] = set()
        self.catch_up: CatchUp | None = None
        self.start(None)

    def start(self, record: ObjectRecord | None) -> None:
        """The store's own record is at hand: whether there is something to catch up with is known now."""
        self._membership.start(record)
        self.catch_up = None if self._membership.is_standing else self._new_catch_up()

    def _new_catch_up(self) -> CatchUp:
        return CatchUp(self._quorums, self._membership, self._outbox, self._replicas, self._loads, self._counters)

    def announced(self) -> None:
        """Somebody else has followed, maybe."""
        if self.catch_up is not None:
            self.catch_up.is_touched = True

    def use(self, now_ns: int, edition: Edition) -> None:
        """Another edition is in use."""
        replaced = self._membership.use(edition)
        if self.catch_up is not None:
            self.catch_up.forget(now_ns, replaced)

    def receive(self, now_ns: int, server: int, frame: bytes) -> None:
        """An answer to what was asked here.

        Raises:
            PeerViolation: no honest server sends that.
        """
        if self.catch_up is None:
            raise PeerViolation("not-asked")
        self.catch_up.receive(now_ns, server, frame)

    def receive_sync(self, now_ns: int, server: int, reply: SyncReply) -> None:
        """A version that was asked for here."""
        if self.catch_up is not None:
            self.catch_up.receive_sync(now_ns, server, reply)

    def is_unknown(self, name: ObjectId) -> bool:
        """Whether an object that the store does not have is one that was not adopted, and not an initial one (R4)."""
        return name in self._doubtful or not self._membership.is_standing

    def loaded(self, name: ObjectId) -> None:
        """A load is over."""
        self._doubtful.discard(name)

    def want(self, name: ObjectId) -> None:
        """A request names an object that is not adopted."""
        if self.catch_up is not None:
            self.catch_up.want(name)

    def advance(self, now_ns: int, storage_failure: str | None) -> None:
        """Do what is due; once a newcomer's standing is durable it is one no more (R8)."""
        if self.catch_up is None:
            return
        if self.catch_up.is_due(now_ns):
            self.catch_up.advance(now_ns, storage_failure)
        if self._membership.is_standing:
            # A load that was begun before may still say "nothing there" of what was adopted meanwhile.
            self._doubtful = set(self._loads.waiting)
            self.catch_up = None

    def earlier(self, wake_at_ns: int | None) -> int | None:
        """The earlier of this time and the one at which something is due here."""
        own = None if self.catch_up is None else self.catch_up.wake_at_ns
        if own is None or wake_at_ns is None:
            return wake_at_ns if own is None else own
        return min(own, wake_at_ns)

    @property
    def progress(self) -> Progress:
        """How far a newcomer is."""
        if self.catch_up is None:
            return Progress(self._membership.born, True, (), self._quorums.q)
        return self.catch_up.progress
