"""What speaks for and against each server, and in which order servers are therefore asked (PROTOCOL §6).

Three things are told apart:

* *Excluded*: more than b servers found its MACs wrong. One of them is honest, so it lies. That ends with its
  connection: another process may answer over the next one. It does not count while fewer than q others answer: five of
  six honest servers must be enough, and what an excluded server spoils the others cull.
* *Suspected*: it did what no honest server does, such as answering otherwise than b + 1 others. The operator sees it.
* *Avoided*: its newest candidate kept standing alone, or its histories were much longer than the others'. Either it
  invents them, or a client with the right to repair sends them to it alone. So it is asked last, and its histories are
  left out while q others come first; but it is not called suspected, or any such client could put the blame on it.

A server's word against others counts only while nothing speaks against it, and against at most b of them. Story:
(1) a liar reports in each reply that it culled all the others, so that everybody is doubted and nobody can be left out;
(2) it shows an invention above everything, so that each repair is followed by the next; (3) the client sends barriers
until the history has no room for its candidates, and the next client does the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import Final

from fivefold.protocol.client.outcomes import Evidence
from fivefold.protocol.client.returning import Returning
from fivefold.protocol.limits import ALONE_MAX, LONG_HISTORY_TIMES, STRIKES_MAX, TRIAL_AFTER_NS
from fivefold.protocol.operations import ObjectId
from fivefold.protocol.quorums import QuorumSystem

RETURNING_RANK: Final = 1
"""How willingly a server is asked that has come back and not proved useful yet (Standing.rank)."""
DOUBTED_RANK: Final = 2
"""... and one that is doubted."""

ALONE: Final = "stood alone"
LONG: Final = "long history"
BAD_LUCK: Final = (ALONE, LONG)
"""What may be bad luck, or another's doing."""


class Standing:
    """The servers as one client sees them.

    Attributes:
        down: servers without a connection.
        slow: servers that were silent when last asked, with the time of the next trial.
        outdated: servers that do not use the client's edition yet: they count as silent, and have nothing to prove.
        returning: servers that have come back since something was known.
        is_anybody_doubted: whether anything was ever held against a server.
    """

    def __init__(self, quorums: QuorumSystem) -> None:
        """Suspect nobody."""
        self._n, self._q, self._b = quorums.n, quorums.q, quorums.b
        self.down: set[int] = set()
        self.slow: dict[int, int] = {}
        self.outdated: frozenset[int] = frozenset()
        self.returning = Returning()
        self.is_anybody_doubted = False
        self._culled_by: list[set[int]] = [set() for _ in range(quorums.n)]
        self._proven_by: dict[int, tuple[int, ...]] = {}  # over an earlier connection: for the operator alone
        self._strikes: list[Counter[str]] = [Counter() for _ in range(quorums.n)]
        self._alone = [0] * quorums.n  # how often it stood alone lately, in parts
        self._weight = 2 * quorums.b + 1  # what one time counts; another server's time takes one away

    # --- what is learnt ---------------------------------------------------------------------------------------

    def note_answered(self, servers: Iterable[int]) -> None:
        """These servers answered a round over connections that are up: so they are neither slow nor down.

        Story: (1) an exception of ours comes between a new connection and this record of it. (2) The server counts as
        down for good. (3) With one that is excluded it makes two: a client asks the liar before it, and believes it.
        """
        if self.slow or self.down:
            for server in servers:
                self.slow.pop(server, None)
                self.down.discard(server)

    def note_silent(self, server: int, now_ns: int) -> None:
        """It was asked and has not answered for a while; it is tried again later."""
        if server not in self.slow:
            self.slow[server] = now_ns + TRIAL_AFTER_NS

    def went(self, server: int) -> None:
        """Its connection was lost: what was said against it and what it said against others was of that connection."""
        self.down.add(server)
        self.returning.discard(server)
        if self.is_excluded(server):
            self._proven_by[server] = tuple(sorted(self._culled_by[server]))
        self._withdraw(server)

    def _withdraw(self, server: int) -> None:
        """What was said against it, and what it said against others."""
        self._culled_by[server].clear()
        for reporters in self._culled_by:
            reporters.discard(server)

    def forget(self, server: int) -> None:
        """Another identity is in its place: nothing speaks against that one, and it has said nothing."""
        self._withdraw(server)
        self.returning.discard(server)
        self._proven_by.pop(server, None)
        self._strikes[server].clear()
        self._alone[server] = 0
        self.slow.pop(server, None)

    def came(self, server: int, *, is_known: bool) -> None:
        """Its connection is up, for the first time or again; ``is_known`` if anything is cached."""
        if server in self.down and is_known:
            self.returning.add(server)
        self.down.discard(server)
        self.slow.pop(server, None)

    def strike(self, server: int, kind: str) -> None:
        """Count something that an honest server does not do; ALONE and LONG may be bad luck or another's doing."""
        self._strikes[server][kind] += 1
        self.is_anybody_doubted = True

    def note_contradicting(self, servers: Iterable[int]) -> None:
        """They have accepted a candidate by their own words, and show nothing of it.

        Story: (1) a liar votes for all there is, and accepts nothing. (2) Each update that it is asked for is one
        server short of established, and the next client has to repair it.
        """
        for server in servers:
            self.strike(server, "accepted and does not show it")

    def note_alone(self, servers: Collection[int], answered: Iterable[int]) -> None:
        """Only ``servers`` show the newest candidate of an object, of those that ``answered`` and those known before.

        Under contention that is bad luck, which others soon have instead: that another one stands alone makes up for a
        part of it, more than what each of n servers has of such luck, and less than what each of b liars has that take
        turns. That nobody does makes up for nothing, until a call is done (``note_done``).

        Story: (1) a liar is honest about barriers, and shows an invention above each copy. (2) So it stands alone in
        every other round. (3) If the rounds between made up for that, no client would get from a copy to its operation.

        One that stands alone counts also if it was not asked: what a liar has once shown may be so far above
        everything that no barrier ever reaches it.
        """
        for server in sorted({*servers, *answered} if servers else ()):
            if server in servers:
                self._count_alone(server, 1, ALONE)
            elif self._alone[server]:
                self._alone[server] -= 1

    def note_done(self, answered: Iterable[int], odd: Collection[int]) -> None:
        """A call is done, with the answers of these servers: some answered otherwise, and the others were of use."""
        for server in answered:
            if server in odd:
                self.strike(server, "answered differently")
            elif self._alone[server]:
                self._alone[server] -= 1

    def _count_alone(self, server: int, times: int, kind: str) -> None:
        """Not without end: however long it lied, it is to be trusted again soon when it is honest."""
        was_avoided = self.is_avoided(server)
        self._alone[server] = min(self._alone[server] + times * self._weight, 2 * ALONE_MAX * self._weight)
        if kind == LONG or (self.is_avoided(server) and not was_avoided):
            self.strike(server, kind)

    def note_long(self, server: int) -> None:
        """Its history is much longer than those of the others: to read such histories slows every client."""
        self._count_alone(server, LONG_HISTORY_TIMES, LONG)

    def note_cull(self, culled: int, by: int) -> None:
        """A server says that another one's MACs are wrong."""
        if 0 <= culled < self._n and culled != by:
            self._culled_by[culled].add(by)
            self.is_anybody_doubted = True

    # --- what follows from it ---------------------------------------------------------------------------------

    def is_excluded(self, server: int) -> bool:
        """More than b servers culled it: at least one of them is honest, so it is malevolent (§6)."""
        return len(self._culled_by[server]) > self._b

    def is_suspected(self, server: int) -> bool:
        """Whether it did too often what no honest server does; it is still asked if others are silent."""
        strikes = self._strikes[server]
        return strikes.total() - strikes[ALONE] - strikes[LONG] >= STRIKES_MAX

    def is_avoided(self, server: int) -> bool:
        """Whether its histories kept standing alone, by its own doing or another's."""
        return self._alone[server] >= ALONE_MAX * self._weight

    def is_doubted(self, server: int) -> bool:
        """Whether it is suspected or avoided, or a server that is not has culled it."""
        if self.is_suspected(server) or self.is_avoided(server):
            return True
        return any(map(self._is_heard, self._culled_by[server]))

    def _is_heard(self, reporter: int) -> bool:
        """Whether a server's word against others counts: at most b of them can lie, or it lies itself."""
        if sum(reporter in reporters for reporters in self._culled_by) > self._b:
            return False
        return not (self.is_suspected(reporter) or self.is_avoided(reporter) or self.is_excluded(reporter))

    def left_out(self, told: Sequence[object]) -> set[int]:
        """Servers whose histories do not count: excluded ones while q others answer, doubted ones while q others tell.

        A server that is asked must be believed. Else a repair that every server confirms seems never to succeed:
        by one lying report of culls the client would leave out a server it asks, and count an old history instead.
        ``told`` says of each server whether it has told what it holds.
        """
        if not (self.is_anybody_doubted or self.outdated):
            return set()
        telling = [server for server in range(self._n) if told[server]]
        # One that has come back counts: it is asked before the doubted ones.
        if sum(self.rank(server) <= RETURNING_RANK for server in telling) >= self._q:
            doubted = {server for server in range(self._n) if self.is_excluded(server) or self.is_doubted(server)}
            return doubted | self.outdated
        if sum(self.rank(server) <= DOUBTED_RANK for server in range(self._n)) >= self._q:
            return {server for server in range(self._n) if self.is_excluded(server)}
        return set()

    def rank(self, server: int) -> int:
        """How willingly a server is asked: 0 at once, higher values only if others are not enough."""
        if server in self.down:
            return 5
        if self.is_anybody_doubted and self.is_excluded(server):
            return 4
        if server in self.slow or server in self.outdated:
            return 3
        if self.is_anybody_doubted and self.is_doubted(server):
            return DOUBTED_RANK
        return RETURNING_RANK if server in self.returning else 0

    def order(self, object_id: ObjectId, preference: tuple[int, ...]) -> Sequence[int]:
        """All servers in the order in which to try them: the preferred quorum first, the doubtful last."""
        if not (self.down or self.slow or self.returning.trials or self.is_anybody_doubted or self.outdated):
            return preference
        if self.returning.trials:
            return sorted(preference, key=lambda server: self._rank_for(object_id, server))
        return sorted(preference, key=self.rank)

    def first_asked(self, now_ns: int, object_id: ObjectId, preference: tuple[int, ...]) -> Sequence[int]:
        """A quorum to send a request to; now and then one more server, which was silent, to see whether it is back."""
        if self.returning.trials:
            self.returning.maybe_try(now_ns, object_id)
        order, q = self.order(object_id, preference), self._q
        if self.slow:
            for server in order[q:]:
                if self.slow.get(server, now_ns + 1) <= now_ns:
                    self.slow[server] = now_ns + TRIAL_AFTER_NS
                    return [*order[:q], server]
        return order[:q]

    def _rank_for(self, object_id: ObjectId, server: int) -> int:
        rank = self.rank(server)
        return 0 if rank == RETURNING_RANK and self.returning.is_tried_with(server, object_id) else rank

    def evidence(self) -> list[Evidence]:
        """What speaks against whom, for the operator."""
        return [
            Evidence(
                server,
                self.is_excluded(server),
                self.is_suspected(server),
                tuple(sorted(self._culled_by[server])),
                dict(self._strikes[server]),
                server in self.slow,
                self._proven_by.get(server, ()),
            )
            for server in range(self._n)
            if self._culled_by[server] or self._strikes[server] or server in self.slow or server in self._proven_by
        ]
