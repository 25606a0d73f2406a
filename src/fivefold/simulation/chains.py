"""The established candidates of every object as chains, and what they must never do (PROTOCOL §2, §7).

A naive twin of the protocol's own reasoning: it counts who durably accepted what, knowing who lies, and follows LT_co.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from fivefold.protocol.history import INITIAL_TIMESTAMP, is_barrier, short
from fivefold.protocol.operations import ObjectId
from fivefold.protocol.quorums import QuorumSystem
from fivefold.protocol.records import Candidate, LogicalTimestamp

if TYPE_CHECKING:
    from fivefold.simulation.replacement import Book


class Violation(Exception):
    """An invariant of the protocol does not hold.

    Attributes:
        rule: its name, the same for every way to break it: by that a smaller run is seen to fail alike.
        text: the sentence for people.
    """

    def __init__(self, rule: str, text: str) -> None:
        """Name the invariant, and say what happened."""
        super().__init__(text)
        self.rule, self.text = rule, text


class Chain:
    """One object's established history.

    Attributes:
        object_id: the object.
        tip: the newest established version.
        members: every version from the initial one to the tip, with its place.
        acceptors: for each candidate that a benign server accepted, which identities did, as a bit mask.
        later: for each of these who used a later edition than the first then: which one.
        candidates: each candidate by its timestamp.
        open: multi-object candidates above the tip, of which the chain has not decided.
        latest: the greatest timestamp of them all.
    """

    __slots__ = ("acceptors", "candidates", "later", "latest", "members", "object_id", "open", "tip")

    def __init__(self, object_id: ObjectId) -> None:
        """Only the initial version."""
        self.object_id = object_id
        self.tip = self.latest = INITIAL_TIMESTAMP
        self.members: dict[LogicalTimestamp, int] = {INITIAL_TIMESTAMP: 0}
        self.acceptors: dict[LogicalTimestamp, int] = {}
        self.later: dict[tuple[LogicalTimestamp, int], int] = {}
        self.candidates: dict[LogicalTimestamp, Candidate] = {}
        self.open: dict[bytes, Candidate] = {}

    def origin(self, timestamp: LogicalTimestamp) -> LogicalTimestamp:
        """The version that a copy is, itself for any other: copies of one version are one."""
        while (found := self.candidates.get(timestamp)) is not None and found.is_copy:
            timestamp = found.part(self.object_id).conditioned_on
        return timestamp

    def holders(self, timestamp: LogicalTimestamp) -> int:
        """Which servers accepted a candidate, or a newer copy of the same version, as a bit mask."""
        found = self.acceptors.get(timestamp, 0)
        older = self.candidates[timestamp]
        for each, candidate in self.candidates.items():
            if candidate.supersedes(older):
                found |= self.acceptors.get(each, 0)
        return found

    def holds(self, timestamp: LogicalTimestamp) -> bool:
        """Whether a version is a member, or a copy or the original of one."""
        return self.origin(timestamp) in map(self.origin, self.members)

    def extend(self, established: Candidate) -> list[LogicalTimestamp]:
        """Take an established version in; the chain's new members, oldest first.

        Raises:
            Violation: it is not on one line with those established before.
        """
        timestamp = established.timestamp
        path: list[LogicalTimestamp] = []
        while timestamp > self.tip:
            path.append(timestamp)
            if timestamp not in self.candidates:
                raise Violation(
                    "fork", f"{short(timestamp)} of {self.object_id} is built upon, and no benign server accepted it"
                )
            timestamp = self.candidates[timestamp].part(self.object_id).conditioned_on
        is_known = timestamp in self.members or self.holds(timestamp)
        if not is_known or (path and self.origin(timestamp) != self.origin(self.tip)):
            raise Violation(
                "fork",
                f"fork of {self.object_id}: {short(established.timestamp)} is established, but does not descend from "
                f"the established {short(self.tip)}",
            )
        path.reverse()
        for place, member in enumerate(path, len(self.members)):
            self.members[member] = place
        if path:
            self.tip = path[-1]
        return path


class Decision(Struct):
    """What became of a multi-object candidate: the objects whose chains hold it, and the ones that passed it by."""

    taken: set[ObjectId]
    passed: set[ObjectId]


class Chains:
    """All objects' chains, and the all-or-nothing of candidates over several objects.

    Attributes:
        by_object: the chains.
        quorums: thresholds.
        liars: how many servers of this run lie: they may claim to have accepted anything.
    """

    def __init__(self, quorums: QuorumSystem, liars: int, book: Book | None = None) -> None:
        """Nothing but initial versions; ``book`` has the editions where servers are replaced."""
        self.quorums, self.liars, self.book = quorums, liars, book
        self.by_object: dict[ObjectId, Chain] = {}
        self._decisions: dict[bytes, Decision] = {}

    def of(self, object_id: ObjectId) -> Chain:
        """One object's chain."""
        chain = self.by_object.get(object_id)
        if chain is None:
            chain = self.by_object[object_id] = Chain(object_id)
        return chain

    def accept(self, server: int, object_id: ObjectId, candidate: Candidate, edition: int = 1) -> None:
        """A benign server, which uses an edition, has durably accepted a candidate.

        Raises:
            Violation: a fork, a split multi-object candidate, one timestamp for two candidates, or a method on what is
                not established (what such a version has recorded, servers call settled).
        """
        chain, timestamp = self.of(object_id), candidate.timestamp
        known = chain.candidates.setdefault(timestamp, candidate)
        chain.latest = max(chain.latest, timestamp)
        if known != candidate:
            raise Violation("two candidates", f"{short(timestamp)} of {object_id} names two candidates")
        is_version = not is_barrier(timestamp)
        if timestamp not in chain.acceptors and candidate.is_multi and is_version:
            if timestamp > chain.tip:
                chain.open[timestamp] = candidate
            else:
                self._decide(chain, candidate)
        acceptors = chain.acceptors[timestamp] = chain.acceptors.get(timestamp, 0) | 1 << server
        if edition > 1:
            chain.later[timestamp, server] = edition
        if is_version and self._is_complete(chain, timestamp, acceptors):
            self._establish(chain, candidate)
        if candidate.is_method and (self.book is None or self.book.newest == 1):
            # A server that has not heard of a newer edition may know that something is established which no client of
            # either edition may call complete yet (R7); a newcomer adopts it all the same (R6).
            base = candidate.part(object_id).conditioned_on
            if base not in chain.members and not chain.holds(base):
                text = f"{short(timestamp)} of {object_id} is built upon {short(base)}, which is not established"
                raise Violation("base", text)

    def _is_complete(self, chain: Chain, timestamp: LogicalTimestamp, acceptors: int) -> bool:
        """Whether clients of some edition may have seen it complete; b servers with a later one count, too (R7)."""
        if self.book is None or self.book.newest == 1:
            return acceptors.bit_count() + self.liars >= self.quorums.q
        for number in range(1, self.book.newest + 1):
            counted = late = 0
            for identity in self.book.file(number):
                if self.book.lies(identity, number):
                    counted += 1
                elif acceptors >> identity & 1:
                    is_late = chain.later.get((timestamp, identity), 1) > number
                    late += is_late
                    counted += not is_late
            if counted + min(late, self.quorums.b) >= self.quorums.q:
                return True
        return False

    def reconsider(self) -> None:
        """Another server lies from now on: it may claim to have accepted what it has not.

        Raises:
            Violation: what is established therefore is a fork.
        """
        for chain in self.by_object.values():
            for timestamp, acceptors in sorted(chain.acceptors.items()):
                is_above = timestamp > chain.tip and not is_barrier(timestamp)
                if is_above and self._is_complete(chain, timestamp, acceptors):
                    self._establish(chain, chain.candidates[timestamp])

    def _establish(self, chain: Chain, candidate: Candidate) -> None:
        if not chain.extend(candidate):
            return
        for timestamp in [each for each in chain.open if each <= chain.tip]:
            self._decide(chain, chain.open.pop(timestamp))

    def _decide(self, chain: Chain, candidate: Candidate) -> None:
        """The chain has grown past a multi-object candidate: all its objects must decide alike."""
        decision = self._decisions.setdefault(candidate.timestamp, Decision(set(), set()))
        (decision.taken if chain.holds(candidate.timestamp) else decision.passed).add(chain.object_id)
        if decision.taken and decision.passed:
            raise Violation(
                "split",
                f"{short(candidate.timestamp)} over {', '.join(candidate.objects)} is split: "
                f"{', '.join(sorted(decision.taken))} took it, {', '.join(sorted(decision.passed))} passed it by",
            )
