"""What a client knows of objects: cached histories, to classify by (PROTOCOL §6).

Cached histories help to classify, never to finish: whatever a client returns rests on replies of the round at hand.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import compress

from fivefold.protocol.authenticators import MAC_BYTES
from fivefold.protocol.classify import View, carried_with, next_to_repair
from fivefold.protocol.client.following import Following
from fivefold.protocol.client.outcomes import Evidence
from fivefold.protocol.client.rounds import Round
from fivefold.protocol.client.standing import Standing
from fivefold.protocol.editions import Edition, EditionName, first_edition
from fivefold.protocol.history import decode_history, make_histories, time_of, trusted_history, without
from fivefold.protocol.limits import (
    KNOWN_OBJECTS_MAX,
    LONG_HISTORY_BYTES,
    LONG_HISTORY_FACTOR,
    PROBE_AFTER_NS,
    PROBE_AFTER_NS_MAX,
    REPAIR_BYTES_MAX,
)
from fivefold.protocol.messages import SUCCESS
from fivefold.protocol.operations import ObjectId
from fivefold.protocol.quorums import QuorumSystem
from fivefold.protocol.records import INITIAL_HISTORY, ObjectHistories, Vote
from fivefold.protocol.times import TIME_BYTES


def _shortened(sets: Sequence[ObjectHistories], quorums: QuorumSystem) -> tuple[ObjectHistories, ...]:
    """The sets without the servers that show most, so many that they fit, or that a quorum is left."""
    shown = {server: [each.of(server) for each in sets] for server in range(quorums.n)}
    kept = sorted([server for server in shown if any(shown[server])], key=lambda server: sum(map(len, shown[server])))
    while len(kept) > quorums.q:
        of_each = zip(*[shown[server] for server in kept], strict=True)
        if sum([sum(map(len, set(histories))) for histories in of_each]) <= REPAIR_BYTES_MAX:
            break
        kept.pop()
    return tuple([without(each, shown.keys() - kept) for each in sets])


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

    def forget(self, server: int) -> None:
        """What a server showed is of no use any more."""
        self._spread()
        self._histories[server], self._authenticators[server] = INITIAL_HISTORY, b""
        if self.fitted is not None and self.fitted.holders[server]:
            self.fitted = None

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
        standing: what speaks against which server.
        following: which edition each server uses.
        round_trip_ns: smoothed time from a request to its quorum of replies.
        heard_ns: when each server last sent anything.
    """

    def __init__(self, quorums: QuorumSystem, edition: Edition | None = None) -> None:
        """Know nothing, suspect nobody."""
        self.quorums = quorums
        self.following = Following(quorums, edition or first_edition(quorums.n))
        self.standing = Standing(quorums)
        self.round_trip_ns = 0
        self.heard_ns: dict[int, int] = {}
        self._known: dict[ObjectId, Known] = {}

    @property
    def patience_ns(self) -> int:
        """How long the servers asked may stay silent before others are asked."""
        patience_ns = 4 * self.round_trip_ns
        if patience_ns < PROBE_AFTER_NS:  # nearly always
            return PROBE_AFTER_NS
        return min(patience_ns, PROBE_AFTER_NS_MAX)

    def patient_until_ns(self, round_: Round) -> int:
        """Until when servers may leave a round unanswered, by what rounds take now; 0 if it is as when it began.

        Story: (1) a program begins 4,000 calls at once, and the last of them are answered after most of a second. (2)
        Rounds that began when none had been answered yet take that for silence after 50 ms, and ask a further server.
        (3) That is as much work again, and those that are asked in vain take longer still. So who has answered other
        calls meanwhile is busy, and not silent; up to what is called patience, since a liar can do that, too.
        """
        answered = round_.votes.keys() | round_.alike.frames.keys()
        if len(answered) >= self.quorums.q:
            return 0
        for server in round_.sent:
            if server not in answered and self.heard_ns.get(server, 0) <= round_.started_ns:
                return 0
        return round_.started_ns + self.patience_ns

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

    def forget(self, objects: Iterable[ObjectId]) -> None:
        """Know nothing of these objects any more."""
        for object_id in objects:
            self._known.pop(object_id, None)

    def is_known(self, object_id: ObjectId) -> bool:
        """Whether any server ever told this client about the object."""
        return object_id in self._known

    def learn(self, now_ns: int, round_: Round) -> None:
        """Take over what a round showed: its histories, how long it took, and who contradicts itself."""
        self.standing.note_answered(round_.votes.keys() - round_.lost)
        self.standing.note_contradicting(round_.contradicting())
        self.note_round_trip(now_ns - round_.started_ns)
        self.note_long({s: max(map(len, vote.histories)) for s, vote in round_.votes.items() if vote.histories})
        for vote in round_.read.values():
            if vote.histories and round_.era == self.following.era:
                believed = self.absorb(round_.objects, round_.heard(vote), round_.tails_of(vote))
                if len(believed) == len(round_.votes):
                    self.remember_fit(round_.objects, believed, vote)

    def absorb(self, objects: Sequence[ObjectId], vote: Vote, tails: Mapping[int, bytes]) -> list[int]:
        """Take over what servers that cast the same vote show: its histories, and each one's own authenticators.

        Returns:
            The servers whose authenticators have the right length; the others get a strike.
        """
        size = MAC_BYTES * self.quorums.n
        expected = size * sum(map(bool, vote.histories))
        for server, tail in tails.items():
            if len(tail) != expected:
                self.standing.strike(server, "malformed")
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
                if self.following.may_testify(culled, server):
                    self.standing.note_cull(culled, server)
        return list(tails)

    def absorb_alike(self, shown: list[tuple[ObjectHistories, bytes]], vote: Vote) -> None:
        """Take over what exactly q servers show alike (Alike.shown), as ``absorb`` and ``remember_fit`` would."""
        # Only who made a version has accepted the candidate: to queries and rejected updates it is a name, no more. One
        # who answers again may have accepted others since: then the time is earlier than it need be, which is safe.
        time = int.from_bytes(vote.candidate[:TIME_BYTES], "big") if vote.version_digest else 0
        for fitted, rows in shown:
            self.of(fitted.object_id).fit(fitted, rows, time)

    def remember_fit(self, objects: Sequence[ObjectId], servers: Sequence[int], vote: Vote) -> None:
        """All servers of the last round cast one vote: if q are trusted, condition the next operation on just that."""
        standing = self.standing
        chosen = [s for s in servers if not standing.is_doubted(s)] if standing.is_anybody_doubted else servers
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
        return self._without(object_id, self.standing.left_out(self.of(object_id).histories))

    def fitting(self, object_id: ObjectId) -> ObjectHistories:
        """The history set to condition an operation on: q equal histories, if q servers have the newest one.

        Leaving out what the other servers showed last saves them MACs to check; a server that knows better refuses.
        """
        known = self.of(object_id)
        return known.fitted or self._fitting(object_id, known)

    def _fitting(self, object_id: ObjectId, known: Known) -> ObjectHistories:
        q = self.quorums.q
        left_out = self.standing.left_out(known.histories)
        histories = [INITIAL_HISTORY if s in left_out else each for s, each in enumerate(known.histories)]
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
            chosen = set(sorted(holders, key=self.standing.rank)[:q])
            return make_histories(object_id, [best if s in chosen else INITIAL_HISTORY for s in range(len(histories))])
        return make_histories(object_id, [history if history == best else INITIAL_HISTORY for history in histories])

    def next_to_repair(self, first: ObjectId, objects: Sequence[ObjectId], *, is_query: bool) -> ObjectId | None:
        """An object of the operation that calls for a repair: the one that is being repaired first."""
        return next_to_repair(self.quorums, map(self.trusted, (first, *objects)), is_query=is_query)

    def carried_with(self, target: ObjectId, objects: Sequence[ObjectId]) -> tuple[ObjectId, ...]:
        """Of an update's objects the one whose set a repair of the target carries: its clock is far ahead."""
        if len(objects) == 1:
            return ()
        return carried_with(self.quorums, target, map(self.trusted, {target: None} | dict.fromkeys(objects)))

    def repair_sets(self, target: ObjectId, evidence: Sequence[ObjectId]) -> tuple[ObjectHistories, ...]:
        """The sets of a repair, in the order of the ids.

        They must fit into one request. Where liars show long histories of many objects, those that show most are left
        out first, down to a quorum: to a server that is as if they had not answered.
        """
        names = sorted({target, *evidence})
        sets = tuple([self.trusted(name) for name in names])
        if sum([len(history) for each in sets for history in each.histories]) <= REPAIR_BYTES_MAX:
            return sets
        return _shortened(sets, self.quorums)

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

    def established_time(self, object_id: ObjectId) -> int:
        """Logical time of a version that is certainly established, the newest that is known; 0 if none is."""
        known = self._known.get(object_id)
        if known is None:
            return 0
        if known.time and known.fitted is not None:
            return known.time
        view = View(self.quorums, self.trusted(object_id))
        if not view.repairable:
            return 0
        newest = view.repairable[0]
        if view.order(newest) >= self.quorums.q:
            return time_of(newest.timestamp)
        return time_of(newest.part(object_id).base_or_conditioned_on)

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

    def _without(self, object_id: ObjectId, servers: set[int]) -> ObjectHistories:
        histories = self.of(object_id).histories
        return make_histories(object_id, [b"" if s in servers else history for s, history in enumerate(histories)])

    # --- editions ---------------------------------------------------------------------------------------------

    def hear(self, server: int, name: EditionName) -> None:
        """A server announces which edition it uses."""
        if self.following.hear(server, name):
            self._known.clear()
        self.standing.outdated = self.following.outdated

    def use(self, edition: Edition) -> None:
        """Another edition is in use: forget every history, and what was held against servers that it replaces (R7).

        After an exception of ours in here it may be called again.
        """
        for server in edition.replaced(self.following.edition):
            self.standing.forget(server)
        self._known.clear()
        self.following.use(edition)
        self.standing.outdated = self.following.outdated

    # --- servers ----------------------------------------------------------------------------------------------

    def preference(self, object_id: ObjectId) -> tuple[int, ...]:
        """All servers in the order in which the object's clients try them if nothing speaks against any."""
        known = self._known.get(object_id)
        return self.quorums.preference(object_id) if known is None else known.preference

    def note_round_trip(self, took_ns: int) -> None:
        """A round is over."""
        self.round_trip_ns = (7 * self.round_trip_ns + took_ns) // 8 if self.round_trip_ns else took_ns

    def came(self, server: int) -> None:
        """A server's connection is up, for the first time or again."""
        self.standing.came(server, is_known=bool(self._known))

    def maybe_welcome(self, objects: Sequence[ObjectId], vote: Vote) -> None:
        """A quorum cast this vote on an operation: if it accepted, servers whose histories it used are useful again.

        To be called before what the vote shows is taken over.
        """
        if vote.status != SUCCESS or vote.culled:
            return
        for object_id in objects:
            self.standing.returning.accepted(object_id, self.fitting(object_id).holders)

    def went(self, server: int) -> None:
        """A server's connection was lost; the MACs of one that was excluded are not shown to others again."""
        if self.standing.is_excluded(server):
            for known in self._known.values():
                known.forget(server)
        self.standing.went(server)

    def note_alone(self, objects: Iterable[ObjectId], answered: Collection[int]) -> None:
        """Note who stands alone after a round over ``objects``, of the servers that have ``answered`` it.

        Only the round's objects count. Story: (1) an operation moves from a to b, and two liars show an invention above
        everything in each reply. (2) The repairs are of a; of b the last thing known is the first liar's invention, and
        stays so. (3) After each round the second liar stands alone on a, and the first on b: the second one seems to be
        one of many, as often as not, and nobody ever avoids it.
        """
        alone: set[int] = set()
        for object_id in objects:
            alone.update(self._standing_alone(object_id))
        self.standing.note_alone(alone, answered)

    def _standing_alone(self, object_id: ObjectId) -> set[int]:
        """The servers, at most b, that show the newest candidate; below what avoided ones show, the next ones, too.

        Otherwise one liar, avoided already, could hide all others by showing something newer than they do.
        """
        newest = [decode_history(object_id, history)[-1].candidate for history in self.of(object_id).histories]
        found: set[int] = set()
        for latest in sorted(dict.fromkeys(newest), key=lambda candidate: candidate.timestamp, reverse=True):
            holders = {server for server, candidate in enumerate(newest) if candidate == latest}
            if len(holders) > max(1, self.quorums.b):
                break
            found |= holders
            if not all(map(self.standing.is_avoided, holders)):
                break
        return found

    def note_long(self, round_sizes: Mapping[int, int]) -> None:
        """Note servers whose histories are far longer than those of all but b others, by the sizes in one round."""
        usual = sorted(round_sizes.values(), reverse=True)[self.quorums.b :]
        for server, size in round_sizes.items():
            if usual and size > LONG_HISTORY_BYTES and size > LONG_HISTORY_FACTOR * usual[0]:
                self.standing.note_long(server)

    def evidence(self) -> list[Evidence]:
        """What speaks against whom, for the operator."""
        return self.standing.evidence()
