"""What a server does of its own accord: to catch up as a newcomer, and to take damaged objects over again (ours)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from fivefold.protocol.actions import Channel, Damaged, ObjectRecord, Page
from fivefold.protocol.editions import Edition
from fivefold.protocol.operations import ClientId, ObjectId
from fivefold.protocol.quorums import QuorumSystem
from fivefold.protocol.records import SyncReply
from fivefold.protocol.server.cache import Cache
from fivefold.protocol.server.catchup import CatchUp, Progress
from fivefold.protocol.server.loading import Loads
from fivefold.protocol.server.membership import Membership
from fivefold.protocol.server.outbox import Outbox
from fivefold.protocol.server.replica import Replica
from fivefold.protocol.server.scrub import OWN_LISTING, Scrub
from fivefold.protocol.server.turns import Deliver, ScrubState
from fivefold.protocol.server.unverified import Unverified
from fivefold.protocol.server.verification import answer_held


class Own(NamedTuple):
    """What a scrub needs of its server.

    Attributes:
        deliver: gives it a repair of its own.
        sign: makes authenticators.
        expected: the MAC that another server makes for it over a history.
    """

    deliver: Deliver
    sign: Callable[[Replica], bytes]
    expected: Callable[[int, ObjectId, bytes], bytes]


class Upkeep:
    """Runs beside the requests, on the same objects.

    Attributes:
        catch_up: takes objects over: all of them for a newcomer, and damaged ones.
        unverified: what clients have had accepted and nobody has shown to be established; None without a scrub.
        rest_until_ns: nothing new begins before; work that has begun continues. The driver sets it: it sees the load.
    """

    def __init__(
        self,
        quorums: QuorumSystem,
        membership: Membership,
        outbox: Outbox,
        replicas: Cache,
        loads: Loads,
        counters: Counter[str],
        own: Own | None,
    ) -> None:
        """``own`` is what a scrub needs; None for no scrub.

        What there is to do is known after :meth:`start`; until then it is as if nothing had ever been stored.
        """
        self._quorums, self._membership, self._outbox, self._replicas = quorums, membership, outbox, replicas
        self._loads, self._counters = loads, counters
        self._scrub: Scrub | None = None
        self.unverified: Unverified | None = None
        if own is not None:
            self.unverified = Unverified()
            self._scrub = Scrub(
                quorums,
                membership,
                outbox,
                replicas,
                loads,
                self.unverified,
                counters,
                own.deliver,
                own.sign,
                own.expected,
            )
        self.rest_until_ns = 0
        self._doubtful: set[ObjectId] = set()
        self._is_newcomer = False
        self.start(None)

    def start(self, record: ObjectRecord | None) -> None:
        """The store's own record is at hand: whether there is something to catch up with is known now."""
        self._membership.start(record)
        self._is_newcomer = not self._membership.is_standing
        self.catch_up = CatchUp(
            self._quorums, self._membership, self._outbox, self._replicas, self._loads, self._counters
        )
        self.catch_up.is_touched = self._is_newcomer

    def announced(self) -> None:
        """Somebody else has followed, maybe."""
        if self._is_newcomer:
            self.catch_up.is_touched = True

    def use(self, now_ns: int, edition: Edition) -> None:
        """Another edition is in use."""
        replaced = self._membership.use(edition)
        self.catch_up.forget(now_ns, replaced)
        if self._scrub is not None:
            self._scrub.forget(now_ns, replaced)

    def receive(self, now_ns: int, server: int, frame: bytes) -> None:
        """An answer to what was asked here.

        Raises:
            PeerViolation: no honest server sends that.
        """
        self.catch_up.receive(now_ns, server, frame)
        if self._scrub is not None:
            self._scrub.receive(now_ns, server, frame)

    def answer_held(self, channel: Channel, frame: bytes) -> None:
        """Another server asks which candidates are the latest here.

        Raises:
            PeerViolation: that is no such question.
        """
        answer_held(channel, frame, self._replicas, self._membership, self._outbox)

    def must_wait(self, now_ns: int, client: ClientId) -> bool:
        """Whether a client has to wait until what it has left is verified."""
        return self.unverified is not None and self.unverified.must_wait(now_ns, client)

    def listed(self, number: int, page: Page | Damaged) -> None:
        """A page of the own list, if it has this number."""
        if self._scrub is not None and number == OWN_LISTING:
            self._scrub.listed(page)

    def receive_sync(self, now_ns: int, server: int, reply: SyncReply) -> None:
        """A version that was asked for here."""
        self.catch_up.receive_sync(now_ns, server, reply)

    def is_unknown(self, name: ObjectId) -> bool:
        """Whether an object that the store does not have is one that was not adopted, and not an initial one (R4)."""
        return name in self._doubtful or not self._membership.is_standing

    def loaded(self, name: ObjectId, record: ObjectRecord | Damaged | None) -> None:
        """A load is over: what is damaged is to be taken over again."""
        self._doubtful.discard(name)
        if isinstance(record, Damaged):
            self.catch_up.mend(name, record.floor)

    def want(self, name: ObjectId) -> None:
        """A request names an object that is not adopted."""
        self.catch_up.want(name)

    def advance(self, now_ns: int, storage_failure: str | None) -> int | None:
        """Do what is due; once a newcomer's standing is durable it is one no more (R8).

        Returns:
            When something is due here next.
        """
        catch_up, scrub = self.catch_up, self._scrub
        if catch_up.is_due(now_ns):
            catch_up.advance(now_ns, storage_failure, self.rest_until_ns)
        if scrub is not None and scrub.is_due(now_ns):
            scrub.advance(now_ns, self.rest_until_ns)
        if self._is_newcomer and self._membership.is_standing:
            # A load that was begun before may still say "nothing there" of what was adopted meanwhile.
            self._doubtful = set(self._loads.waiting)
            self._is_newcomer = False
        due_ns = catch_up.wake_at_ns
        if scrub is None or scrub.wake_at_ns is None or (due_ns is not None and due_ns < scrub.wake_at_ns):
            return due_ns
        return scrub.wake_at_ns

    @property
    def scrub(self) -> ScrubState | None:
        """How far the comparing with the others has got; None if there is none."""
        return None if self._scrub is None else self._scrub.state

    @property
    def progress(self) -> Progress:
        """How far a newcomer is."""
        return self.catch_up.progress
