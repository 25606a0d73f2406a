"""What speaks for and against each server, and in which order servers are therefore asked (PROTOCOL §6)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from fivefold.protocol.client.outcomes import Evidence
from fivefold.protocol.client.returning import Returning
from fivefold.protocol.limits import ALONE_MAX, STRIKES_MAX, TRIAL_AFTER_NS
from fivefold.protocol.operations import ObjectId
from fivefold.protocol.quorums import QuorumSystem

RETURNING_RANK = 1
"""How willingly a server is asked that has come back and not proved useful yet."""


class Standing:
    """The servers as one client sees them.

    Attributes:
        down: servers without a connection.
        slow: servers that were silent when last asked, with the time of the next trial.
        returning: servers that have come back since something was known.
        is_anybody_doubted: whether anything was ever held against a server.
    """

    def __init__(self, quorums: QuorumSystem) -> None:
        """Suspect nobody."""
        self._n, self._q, self._b = quorums.n, quorums.q, quorums.b
        self.down: set[int] = set()
        self.slow: dict[int, int] = {}
        self.returning = Returning()
        self.is_anybody_doubted = False
        self._culled_by: list[set[int]] = [set() for _ in range(quorums.n)]
        self._strikes: list[Counter[str]] = [Counter() for _ in range(quorums.n)]
        self._alone = [0] * quorums.n

    # --- what is learnt ---------------------------------------------------------------------------------------

    def note_answered(self, servers: Iterable[int]) -> None:
        """These servers answered a round."""
        if self.slow:
            for server in servers:
                self.slow.pop(server, None)

    def note_silent(self, server: int, now_ns: int) -> None:
        """It was asked and has not answered for a while; it is tried again later."""
        if server not in self.slow:
            self.slow[server] = now_ns + TRIAL_AFTER_NS

    def went(self, server: int) -> None:
        """Its connection was lost."""
        self.down.add(server)
        self.returning.discard(server)

    def came(self, server: int, *, is_known: bool) -> None:
        """Its connection is up, for the first time or again; ``is_known`` if anything is cached."""
        if server in self.down and is_known:
            self.returning.add(server)
        self.down.discard(server)
        self.slow.pop(server, None)

    def strike(self, server: int, kind: str) -> None:
        """Count something that an honest server does not do, or does only by bad luck."""
        self._strikes[server][kind] += 1
        self.is_anybody_doubted = True

    def note_alone(self, server: int) -> None:
        """Its newest candidate is shown by nobody else: bad luck under contention, up to ALONE_MAX times."""
        self._alone[server] += 1
        if self._alone[server] >= ALONE_MAX:
            self._alone[server] = 0
            self.strike(server, "stood alone")

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
        """Whether it stood alone too often; suspicion is not proof, and it is still asked if others are silent."""
        return self._strikes[server].total() >= STRIKES_MAX

    def is_doubted(self, server: int) -> bool:
        """Whether anybody has culled it, or it is suspected."""
        return bool(self._culled_by[server]) or self.is_suspected(server)

    def left_out(self, told: Sequence[object]) -> set[int]:
        """Servers whose histories do not count: excluded ones always, doubted ones only while q others come first.

        Whoever is asked must be believed, or a repair that every server confirms seems never to succeed: one lying
        report of culls would have the client leave out a server it asks and count the old history of one it does not.
        ``told`` says of each server whether it has told what it holds.
        """
        if not self.is_anybody_doubted:
            return set()
        servers = range(self._n)
        found = {server for server in servers if self.is_excluded(server)}
        # One that has come back counts: it is asked before those that are doubted.
        if sum(bool(told[server]) for server in servers if self.rank(server) <= RETURNING_RANK) >= self._q:
            found.update(server for server in servers if self.is_doubted(server))
        return found

    def rank(self, server: int) -> int:
        """How willingly a server is asked: 0 at once, higher values only if others are not enough."""
        if self.is_excluded(server):
            return 5
        if server in self.down:
            return 4
        if server in self.slow:
            return 3
        if self.is_doubted(server):
            return 2
        return RETURNING_RANK if server in self.returning else 0

    def order(self, object_id: ObjectId, preference: tuple[int, ...]) -> Sequence[int]:
        """All servers in the order in which to try them: the preferred quorum first, the doubtful last."""
        if not (self.down or self.slow or self.returning or self.is_anybody_doubted):
            return preference
        if self.returning:
            return sorted(preference, key=lambda server: self._rank_for(object_id, server))
        return sorted(preference, key=self.rank)

    def first_asked(self, now_ns: int, object_id: ObjectId, preference: tuple[int, ...]) -> Sequence[int]:
        """A quorum to send a request to; now and then one more server, which was silent, to see whether it is back."""
        if self.returning:
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
            )
            for server in range(self._n)
            if self._culled_by[server] or self._strikes[server] or server in self.slow
        ]
