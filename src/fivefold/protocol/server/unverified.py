"""What clients have had accepted here and nobody has shown to be established yet (PROTOCOL §8, lazy verification).

A client may send an update to a few servers only, or a barrier and nothing after it. Nothing is lost by that, but
whoever uses the object next has to repair it. So each server counts, for each client, the candidates that it has
accepted and that are not known to be established. A client with too many of them has to wait, here, until
``verification`` has looked at them. What has turned out to be left by its client costs it time of its own, like a
request over its rate: at most so many a second, however fast others repair them.

What is known comes for nothing where objects are in use: a method is accepted only upon what its request proves
established.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from fivefold.protocol.history import client_of, is_barrier
from fivefold.protocol.limits import LEFT_BURST_NS, LEFT_DEBT_NS_MAX, LEFT_NS, UNVERIFIED_MAX
from fivefold.protocol.operations import ClientId, ObjectId
from fivefold.protocol.records import CLIENT_AT, OPERATION_AT, LogicalTimestamp
from fivefold.protocol.server.admission import is_server
from fivefold.protocol.steps import Kind, Step

INLINE: Final = (Kind.INLINE_METHOD, Kind.INLINE_BARRIER)
"""Steps that bring a server what r others show: nobody is made to wait for these."""


class Unverified:
    """Candidates that nobody has shown to be established, by object and by client.

    Attributes:
        open: of each object that has such candidates: a version, and a barrier above it, the latest last.
        counts: how many of each client.
        fresh: objects that came in since somebody last took this list.
        open_max: how many one client may have.
        left: candidates that were found to be left, so far.
        on_established: told of each candidate that was found to be established, for who watches.
        suspects: clients that have reached a limit since :meth:`must_wait` was last asked about them.
        pressing: clients that are near the limit: what is open is to be looked at soon.
        has_begun_to_press: there is one of them, and nobody has taken note of that yet.
    """

    __slots__ = (
        "_debts_ns",
        "counts",
        "fresh",
        "has_begun_to_press",
        "left",
        "on_established",
        "open",
        "open_max",
        "pressing",
        "suspects",
    )

    def __init__(self) -> None:
        """Nothing was accepted yet."""
        self.open_max = UNVERIFIED_MAX
        self.on_established: Callable[[ObjectId, LogicalTimestamp], None] | None = None
        self.open: dict[ObjectId, tuple[LogicalTimestamp, ...]] = {}
        self.counts: dict[ClientId, int] = {}
        self.fresh: list[ObjectId] = []
        self.left = 0
        self._debts_ns: dict[ClientId, int] = {}  # until when what it has left keeps it busy
        self.suspects: set[ClientId] = set()
        self.pressing: set[ClientId] = set()
        self.has_begun_to_press = False

    def must_wait(self, now_ns: int, client: ClientId) -> bool:
        """Whether nothing more is accepted of a client for now."""
        if client not in self.suspects:
            return False
        if self.counts.get(client, 0) >= self.open_max or self._debts_ns.get(client, 0) > now_ns + LEFT_BURST_NS:
            return True
        self.suspects.discard(client)
        return False

    # --- what was accepted ------------------------------------------------------------------------------------

    def accepted_alone(self, name: ObjectId, timestamp: LogicalTimestamp) -> None:
        """METHOD by an ordinary request, which has proved that the candidate before is established."""
        client = timestamp[CLIENT_AT:OPERATION_AT]
        before = self.open.get(name)
        self.open[name] = (timestamp,)
        if before is None:
            self.fresh.append(name)
            self._count(ClientId(client))
        elif len(before) > 1 or before[0][CLIENT_AT:OPERATION_AT] != client:
            for each in before:
                self._uncount(client_of(each))
            self._count(ClientId(client))

    def accepted(self, now_ns: int, step: Step) -> None:
        """Any other step was accepted. What servers repair is looked at, too, but they do not wait."""
        timestamp = step.candidate.timestamp
        if step.kind is Kind.INLINE_BARRIER:
            return
        is_kept = step.kind is not Kind.INLINE_METHOD
        for part in step.parts:
            kept = self._kept(now_ns, step, part.object_id, part.conditioned_on)
            if is_kept:
                kept += (timestamp,)
                self._count(client_of(timestamp))
            if kept:
                if part.object_id not in self.open:
                    self.fresh.append(part.object_id)
                self.open[part.object_id] = kept
            else:
                self.open.pop(part.object_id, None)

    def _kept(
        self, now_ns: int, step: Step, name: ObjectId, conditioned_on: LogicalTimestamp
    ) -> tuple[LogicalTimestamp, ...]:
        """What is still open of an object after a step; the rest was right, or is left by its client.

        A barrier is left if anybody's barrier takes its place, or if another client than its own goes on from it. A
        version is left if another one is copied. A method proves more than what it is conditioned on: of what was here
        beside that nothing is known, and nobody is blamed.
        """
        kept: tuple[LogicalTimestamp, ...] = ()
        client = client_of(step.candidate.timestamp)
        for each in self.open.get(name, ()):
            if step.kind is Kind.BARRIER and not is_barrier(each):
                kept += (each,)
                continue
            self._uncount(client_of(each))
            is_own = is_barrier(each) and client_of(each) == client
            if step.kind is Kind.BARRIER or (step.kind is Kind.COPY and each != conditioned_on and not is_own):
                self._blame(now_ns, client_of(each))
        return kept

    # --- what was found out -----------------------------------------------------------------------------------

    def establish(self, name: ObjectId, timestamp: LogicalTimestamp) -> bool:
        """The candidate is established; True if it is the latest here, and nothing is open of its object any more."""
        found = self.open.get(name, ())
        if not found or found[-1] != timestamp or is_barrier(timestamp):
            return False
        if self.on_established is not None:
            self.on_established(name, timestamp)
        self.forget(name)
        return True

    def forget(self, name: ObjectId) -> None:
        """Nothing is open of the object any more, and nobody is blamed."""
        for each in self.open.pop(name, ()):
            self._uncount(client_of(each))

    def _count(self, client: ClientId) -> None:
        count = self.counts[client] = self.counts.get(client, 0) + 1
        if self._is_near(count) and not is_server(client):
            self.has_begun_to_press = self.has_begun_to_press or not self.pressing
            self.pressing.add(client)
            if count >= self.open_max:
                self.suspects.add(client)

    def _is_near(self, count: int) -> bool:
        return 4 * count >= 3 * self.open_max

    def _uncount(self, client: ClientId) -> None:
        count = self.counts[client] = self.counts[client] - 1
        if not self._is_near(count):
            self.pressing.discard(client)
        if not count:
            del self.counts[client]

    def _blame(self, now_ns: int, client: ClientId) -> None:
        if is_server(client):
            return
        self.left += 1
        until_ns = max(self._debts_ns.get(client, 0), now_ns) + LEFT_NS
        self._debts_ns[client] = min(until_ns, now_ns + LEFT_DEBT_NS_MAX)
        if until_ns > now_ns + LEFT_BURST_NS:
            self.suspects.add(client)
