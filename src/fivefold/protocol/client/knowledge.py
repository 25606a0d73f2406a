"""What a client knows: cached histories of objects, and what speaks against which server (PROTOCOL §6).

Cached histories help to classify, never to finish: whatever a client returns rests on replies of the round at hand.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import compress
from typing import Final

from fivefold.protocol.authenticators import MAC_BYTES
from fivefold.protocol.classify import View
from fivefold.protocol.client.outcomes import Evidence
from fivefold.protocol.client.returning import Returning
from fivefold.protocol.history import decode_history, make_histories, time_of, trusted_history
from fivefold.protocol.limits import (
    ALONE_MAX,
    KNOWN_OBJECTS_MAX,
    PROBE_AFTER_NS,
    PROBE_AFTER_NS_MAX,
    STRIKES_MAX,
    TRIAL_AFTER_NS,
)
from fivefold.protocol.messages import SUCCESS
from fivefold.protocol.operations import ObjectId
from fivefold.protocol.quorums import QuorumSystem
from fivefold.protocol.records import INITIAL_HISTORY, LogicalTimestamp, ObjectHistories, Vote

_RETURNING: Final = 1
"""How willingly a server is asked that has come back and not proved useful yet (Knowledge.rank)."""


class Known:
    """The latest history and authenticator of every server for one object.

    What a quorum showed alike is kept as it came. The next operation is conditioned on it, and what its quorum shows
    mostly replaces it: so it is spread over the servers only if somebody asks.

    Attributes:
        preference: all servers in the order in which to try them.
        fitted: the history set that the last round ended with, as long as nothing else was learnt.
        time: logical time of a version that its holders have accepted, the latest if all is well; 0 if not known.
        is_recent: whether the object was used since some were last forgotten.
    """

    __slots__ = ("_authenticators", "_histories", "_rows", "fitted", "is_recent", "preference", "time")

    def __init__(self, preference: tuple[int, ...]) -> None:
        """All initial."""
        self.preference = preference
        self.fitted: ObjectHistories | None = None
        self.time = 0
        self.is_recent = True
        self._rows = b""  # the authenticators of the holders of ``fitted`` one after the other, while not spread
        self._histories = [INITIAL_HISTORY] * len(preference)
        self._authenticators = [b""] * len(preference)

    @property
    def histories(self) -> list[bytes]:
        """Each server's history."""
        self._spread()
        return self._histories

    @property
    def authenticators(self) -> list[bytes]:
        """Each server's authenticator."""
        self._spread()
        return self._authenticators

    def fit(self, fitted: ObjectHistories, rows: bytes, time: int) -> None:
        """All holders of ``fitted`` have shown its history, with these authenticators, in the order of the servers.

        ``rows`` may be empty: then each server's has been taken over already. ``time`` is 0 if it is not known.
        """
        if self.fitted is not None and self.fitted.holders != fitted.holders:
            self._spread()
        self.fitted, self._rows, self.time = fitted, rows, time

    def unfit(self) -> None:
        """Something else is learnt."""
        self._spread()
        self.fitted = None

    def rows(self, holders: bytes) -> bytes:
        """The holders' authenticators one after the other, in the order of the servers."""
        if self._rows and self.fitted is not None and self.fitted.holders == holders:
            return self._rows
        return b"".join(compress(self.authenticators, holders))

    def _spread(self) -> None:
        if self._rows and self.fitted is not None:
            size, start = MAC_BYTES * len(self.preference), 0
            for server in compress(range(len(self.preference)), self.fitted.holders):
                self._histories[server] = self.fitted.histories[0]
                self._authenticators[server] = self._rows[start : start + size]
                start += size
            self._rows = b""


class Knowledge:
    """Shared by all calls of one client.

    Attributes:
        down: servers without a connection.
        slow: servers that were silent when last asked, with the time of the next trial.
        returning: servers that have come back since something was known.
        round_trip_ns: smoothed time from a request to its quorum of replies.
    """

    def __init__(self, quorums: QuorumSystem) -> None:
        """Know nothing, suspect nobody."""
        self.quorums = quorums
        self.down: set[int] = set()
        self.slow: dict[int, int] = {}
        self.returning = Returning()
        self.round_trip_ns = 0
        self._known: dict[ObjectId, Known] = {}
        self._culled_by: list[set[int]] = [set() for _ in range(quorums.n)]
        self._strikes: list[Counter[str]] = [Counter() for _ in range(quorums.n)]
        self._alone = [0] * quorums.n
        self._is_anybody_doubted = False

    @property
    def patience_ns(self) -> int:
        """How long the servers asked may stay silent before others are asked."""
        patience_ns = 4 * self.round_trip_ns
        if patience_ns < PROBE_AFTER_NS:  # nearly always
            return PROBE_AFTER_NS
        return min(patience_ns, PROBE_AFTER_NS_MAX)

    # --- histories --------------------------------------------------------------------------------------------

    def of(self, object_id: ObjectId) -> Known:
        """What is known of an object; beyond KNOWN_OBJECTS_MAX, those not used lately are forgotten."""
        known = self._known.get(object_id)
        if known is None:
            if len(self._known) >= KNOWN_OBJECTS_MAX:
                self._forget()
            known = self._known[object_id] = Known(self.quorums.preference(object_id))
        known.is_recent = True
        return known

    def _forget(self) -> None:
        """Forget a quarter, first what was not used lately: to note the order of all uses would cost each of them.

        What is new counts as used. Forgetting half would leave as many again when next it is full, all of them new, and
        among the other half whatever is used all the time would go as well.
        """
        for recent in (True, False):
            for object_id in list(self._known):
                if len(self._known) <= KNOWN_OBJECTS_MAX * 3 // 4:
                    return
                known = self._known[object_id]
                if recent and known.is_recent:
                    known.is_recent = False
                else:
                    del self._known[object_id]

    def is_known(self, object_id: ObjectId) -> bool:
        """Whether any server ever told this client about the object."""
        return object_id in self._known

    def absorb(self, objects: Sequence[ObjectId], vote: Vote, tails: Mapping[int, bytes]) -> list[int]:
        """Take over what servers that cast the same vote show: its histories, and each one's own authenticators.

        Returns:
            The servers whose authenticators have the right length; the others get a strike.
        """
        size = MAC_BYTES * self.quorums.n
        expected = size * sum(map(bool, vote.histories))
        for server, tail in tails.items():
            if len(tail) != expected:
                self.strike(server, "malformed")
                tails = {s: t for s, t in tails.items() if len(t) == expected}
        start = 0
        for object_id, history in zip(objects, vote.histories, strict=True):
            known = self.of(object_id)
            known.unfit()
            histories, authenticators = known.histories, known.authenticators
            end = start + size if history else start
            for server, tail in tails.items():
                histories[server] = history
                authenticators[server] = tail[start:end]
            start = end
        for culled in vote.culled:
            for server in tails:
                self._note_cull(culled, server)
        return list(tails)

    def absorb_alike(self, objects: Sequence[ObjectId], vote: Vote, replies: Mapping[int, bytes], end: int) -> bool:
        """Take over what exactly q servers show alike, as ``absorb`` and ``remember_fit`` would.

        Args:
            objects: those of the request.
            vote: the vote that all cast.
            replies: each server's reply, all of one length ...
            end: ... and where its authenticators begin.

        Returns:
            False, and nothing is taken over, unless it is the good case: one history for each object, authenticators of
            the right length, and nothing that speaks against any of the servers.
        """
        n, histories = self.quorums.n, vote.histories
        size = MAC_BYTES * n
        if vote.culled or INITIAL_HISTORY in histories or len(histories) != len(objects):
            return False
        if self._is_anybody_doubted and any(map(self._is_doubted, replies)):
            return False
        if len(next(iter(replies.values()))) - end != size * len(histories):
            return False
        # Only who made a version has accepted the candidate: to queries and rejected updates it is a name, no more. One
        # who answers again may have accepted others since: then the time is earlier than it need be, which is safe.
        time = time_of(LogicalTimestamp(vote.candidate)) if vote.version_digest else 0
        holders = bytes(map(replies.__contains__, range(n)))
        in_order = [replies[server][end:] for server in compress(range(n), holders)]
        if len(histories) == 1:
            self.of(objects[0]).fit(ObjectHistories(objects[0], histories, holders), b"".join(in_order), time)
            return True
        for position, object_id in enumerate(objects):
            rows = b"".join([tail[size * position : size * (position + 1)] for tail in in_order])
            self.of(object_id).fit(ObjectHistories(object_id, (histories[position],), holders), rows, time)
        return True

    def remember_fit(self, objects: Sequence[ObjectId], servers: Sequence[int], vote: Vote) -> None:
        """All servers of the last round cast one vote: if q are trusted, condition the next operation on just that."""
        chosen = [server for server in servers if not self._is_doubted(server)] if self._is_anybody_doubted else servers
        if len(chosen) < self.quorums.q:
            return
        holders = bytearray(self.quorums.n)
        for server in chosen[: self.quorums.q]:
            holders[server] = 1
        for object_id, history in zip(objects, vote.histories, strict=True):
            if history:
                self.of(object_id).fit(ObjectHistories(object_id, (history,), bytes(holders)), b"", 0)

    def trusted(self, object_id: ObjectId) -> ObjectHistories:
        """The history set to classify: all but those of the excluded and, where enough remain, of the suspected."""
        return self._without(object_id, self._doubtful(self.of(object_id)))

    def fitting(self, object_id: ObjectId) -> ObjectHistories:
        """The history set to condition an operation on: q equal histories, if q servers have the newest one.

        Leaving out what the other servers showed last saves them MACs to check; a server that knows better refuses.
        """
        known = self.of(object_id)
        return known.fitted or self._fitting(object_id, known)

    def _fitting(self, object_id: ObjectId, known: Known) -> ObjectHistories:
        q = self.quorums.q
        doubtful = self._doubtful(known)
        histories = [INITIAL_HISTORY if s in doubtful else each for s, each in enumerate(known.histories)]
        best = max(set(histories), key=histories.count) if histories.count(histories[0]) < q else histories[0]
        if not best or histories.count(best) < q:
            return self.trusted(object_id)
        newest = decode_history(object_id, best)[-1].candidate.timestamp
        if any(
            decode_history(object_id, other)[-1].candidate.timestamp > newest
            for other in histories
            if other and other is not best and other != best
        ):
            return self.trusted(object_id)
        holders = [server for server, history in enumerate(histories) if history == best]
        if len(holders) > q:
            chosen = set(sorted(holders, key=self.rank)[:q])
            return make_histories(object_id, [best if s in chosen else INITIAL_HISTORY for s in range(len(histories))])
        return make_histories(object_id, [history if history == best else INITIAL_HISTORY for history in histories])

    def conditioned_time(self, histories: ObjectHistories) -> int:
        """Logical time of the version that an operation conditioned on the set builds upon; 0 if there is none."""
        known = self._known.get(histories.object_id)
        if known is not None and known.time and known.fitted is histories:
            return known.time
        # With fewer than r holders it may be an invention; then the attempt is not accepted, but later ones may be.
        if len(histories.histories) == 1 and self.quorums.n - histories.holders.count(0) >= self.quorums.r:
            return time_of(trusted_history(histories.histories[0])[-1].candidate.timestamp)
        repairable = View(self.quorums, histories).repairable
        return time_of(repairable[0].timestamp) if repairable else 0

    def conditions(self, objects: Iterable[ObjectId]) -> tuple[tuple[ObjectHistories, ...], bytes]:
        """The fitting sets of an operation's objects, and the authenticators that prove them."""
        sets: tuple[ObjectHistories, ...] = ()
        found = b""
        for object_id in objects:
            known = self.of(object_id)
            fitted = known.fitted or self._fitting(object_id, known)
            sets += (fitted,)
            found += known.rows(fitted.holders)
        return sets, found

    def authenticators(self, sets: Iterable[ObjectHistories]) -> bytes:
        """The authenticators that prove the sets one after the other, in the order of a request's proof."""
        return b"".join([self.of(each.object_id).rows(each.holders) for each in sets])

    def _doubtful(self, known: Known) -> set[int]:
        """Servers whose histories are left out: excluded ones always, doubted ones only while q others come first.

        Whoever is asked must be believed, or a repair that every server confirms seems never to succeed: one lying
        report of culls would have the client leave out a server it asks and count the old history of one it does not.
        """
        if not self._is_anybody_doubted:
            return set()
        servers = range(self.quorums.n)
        doubtful = {server for server in servers if self.is_excluded(server)}
        # One that has come back counts: it is asked before those that are doubted.
        told = sum(bool(known.histories[server]) for server in servers if self.rank(server) <= _RETURNING)
        if told >= self.quorums.q:
            doubtful.update(server for server in servers if self._is_doubted(server))
        return doubtful

    def _without(self, object_id: ObjectId, servers: set[int]) -> ObjectHistories:
        histories = self.of(object_id).histories
        return make_histories(object_id, [b"" if s in servers else history for s, history in enumerate(histories)])

    # --- servers ----------------------------------------------------------------------------------------------

    def note_answered(self, servers: Iterable[int], took_ns: int) -> None:
        """A round is over, in which these servers answered."""
        if self.slow:
            for server in servers:
                self.slow.pop(server, None)
        self.round_trip_ns = (7 * self.round_trip_ns + took_ns) // 8 if self.round_trip_ns else took_ns

    def rank(self, server: int) -> int:
        """How willingly a server is asked: 0 at once, higher values only if others are not enough."""
        if self.is_excluded(server):
            return 5
        if server in self.down:
            return 4
        if server in self.slow:
            return 3
        if self._is_doubted(server):
            return 2
        return _RETURNING if server in self.returning else 0

    def order(self, object_id: ObjectId) -> list[int]:
        """All servers in the order in which to try them: the preferred quorum first, the doubtful last."""
        known = self._known.get(object_id)
        preference = self.quorums.preference(object_id) if known is None else known.preference
        if not (self.down or self.slow or self.returning or self._is_anybody_doubted):
            return list(preference)
        if self.returning:
            return sorted(preference, key=lambda server: self._rank_for(object_id, server))
        return sorted(preference, key=self.rank)

    def first_asked(self, now_ns: int, object_id: ObjectId) -> list[int]:
        """A quorum to send a request to; now and then one more server, which was silent, to see whether it is back."""
        if self.returning:
            self.returning.maybe_try(now_ns, object_id)
        order, q = self.order(object_id), self.quorums.q
        if self.slow:
            for server in order[q:]:
                if self.slow.get(server, now_ns + 1) <= now_ns:
                    self.slow[server] = now_ns + TRIAL_AFTER_NS
                    return [*order[:q], server]
        return order[:q]

    def _rank_for(self, object_id: ObjectId, server: int) -> int:
        rank = self.rank(server)
        return 0 if rank == _RETURNING and self.returning.is_tried_with(server, object_id) else rank

    def went(self, server: int) -> None:
        """Its connection was lost."""
        self.down.add(server)
        self.returning.discard(server)

    def came(self, server: int) -> None:
        """Its connection is up, for the first time or again."""
        if server in self.down and self._known:
            self.returning.add(server)
        self.down.discard(server)
        self.slow.pop(server, None)

    def maybe_welcome(self, objects: Sequence[ObjectId], vote: Vote) -> None:
        """A quorum cast this vote on an operation: if it accepted, those whose histories it rests on are of use again.

        To be called before what the vote shows is taken over.
        """
        if vote.status != SUCCESS or vote.culled:
            return
        for object_id in objects:
            self.returning.accepted(object_id, self.fitting(object_id).holders)

    def strike(self, server: int, kind: str) -> None:
        """Count something that an honest server does not do, or does only by bad luck."""
        self._strikes[server][kind] += 1
        self._is_anybody_doubted = True

    def is_excluded(self, server: int) -> bool:
        """More than b servers culled it: at least one of them is honest, so it is malevolent (§6)."""
        return len(self._culled_by[server]) > self.quorums.b

    def _is_doubted(self, server: int) -> bool:
        return bool(self._culled_by[server]) or self.is_suspected(server)

    def is_suspected(self, server: int) -> bool:
        """Whether it stood alone too often; suspicion is not proof, and it is still asked if others are silent."""
        return self._strikes[server].total() >= STRIKES_MAX

    def note_alone(self, object_id: ObjectId) -> None:
        """Note the server whose newest candidate nobody else shows: bad luck under contention, unless it goes on."""
        newest = [decode_history(object_id, history)[-1].candidate for history in self.of(object_id).histories]
        latest = max(newest, key=lambda candidate: candidate.timestamp)
        holders = [server for server, candidate in enumerate(newest) if candidate == latest]
        if len(holders) > 1:
            return
        self._alone[holders[0]] += 1
        if self._alone[holders[0]] >= ALONE_MAX:
            self._alone[holders[0]] = 0
            self.strike(holders[0], "stood alone")

    def _note_cull(self, culled: int, by: int) -> None:
        if 0 <= culled < self.quorums.n and culled != by:
            self._culled_by[culled].add(by)
            self._is_anybody_doubted = True

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
            for server in range(self.quorums.n)
            if self._culled_by[server] or self._strikes[server] or server in self.slow
        ]
