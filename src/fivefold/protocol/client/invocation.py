"""One call of a client as a state machine: send, count, classify, repair, again (PROTOCOL §6, §7).

A call goes through *rounds*. A round is one request, sent first to the preferred quorum, then if need be to further
servers; only its own replies can finish it. A round of an operation ends the call; a round of a repair, or one that
only asks for histories, is followed by the next.

When is an attempt certainly dead? A server works on a frame once (it refuses repeated numbers), and FAIL says that this
frame was not accepted. So only those who were sent the attempt and did not answer each frame with FAIL can hold its
candidate, and liars can claim it: if that is fewer than r servers, nobody will ever repair it. Only attempts that are
not certainly dead make an outcome unknown.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from fivefold.errors import PeerViolation
from fivefold.protocol import limits
from fivefold.protocol.classify import next_to_repair, plan_operation, plan_repair, views_of
from fivefold.protocol.client.driver import Driver
from fivefold.protocol.client.outcomes import Answered, Delay, Disagreed, Outcome, Refused, TimedOut
from fivefold.protocol.client.pending import Pending
from fivefold.protocol.client.queues import combined
from fivefold.protocol.client.rounds import (
    Purpose,
    Round,
    absent_until,
    accepted_by,
    agreed_results,
    agreement_at,
    declined_reason,
    histories_of,
    read_vote,
)
from fivefold.protocol.history import make_histories
from fivefold.protocol.messages import BUSY, FAIL, REPLY, SUCCESS, encode_operation, split, trusted_vote
from fivefold.protocol.operations import FORGOTTEN, NOT_RUN, ObjectId
from fivefold.protocol.records import INITIAL_HISTORY, Request
from fivefold.protocol.steps import Kind, Missing

INLINE_REPAIRS_AT_ONCE: Final = 3
"""Inline repairs of one call without a back-off."""


class Invocation:
    """One operation from its start to its outcome.

    Attributes:
        calls: the calls that travel together as the operation; the first one's ticket names it.
        wake_at_ns: when to call ``wake`` at the latest.
        alarm_ns: the ``wake_at_ns`` that the session has set an alarm for; 0 if it has set none yet.
        is_over: whether the outcome has been handed to the session.
    """

    # How every call starts; most end before any of these has changed.
    wake_at_ns = 0
    alarm_ns = 0
    is_over = False
    repairs = 0
    _round: Round | None = None
    _evidence: tuple[ObjectId, ...] = ()
    _attempts = 0
    _backoffs = 0
    _pause_until_ns = 0
    _repair_from_ns = 0
    _is_looking = False
    _looks = 0
    _is_rested = False
    _since: int | None = None

    def __init__(self, driver: Driver, calls: list[Pending]) -> None:
        """Prepare; ``send_operation`` sends the first request."""
        first = calls[0]
        self.calls = calls
        self.ticket = first.ticket
        self.operation = first.operation
        self.objects = first.objects
        self.is_query = first.is_query
        self.deadline_ns = first.deadline_ns
        if len(calls) > 1:
            self.operation = combined(calls)
            self.deadline_ns = min([pending.deadline_ns for pending in calls])
        self._driver = driver
        self._target = first.objects[0]
        if first.is_fixed:  # a resolve: it goes on from where the lost call was
            self._since = self.operation.calls[0].since

    # --- rounds -----------------------------------------------------------------------------------------------

    def send_operation(self, now_ns: int) -> None:
        """Send the operation, conditioned on what is cached; the first time that is nothing, in one round even then."""
        knowledge = self._driver.knowledge
        sets, authenticators = knowledge.conditions(self.objects)
        since = self._since
        if since is None:
            since = 0 if self.is_query else knowledge.conditioned_time(sets[0])
        self._attempts += 1
        request = Request(self.objects[0], sets, encode_operation(self.operation, since))
        round_ = self._open(now_ns, Purpose.OPERATION, request, authenticators)
        round_.conditioned_time = since

    def _open(self, now_ns: int, purpose: Purpose, request: Request, authenticators: bytes) -> Round:
        knowledge = self._driver.knowledge
        round_ = self._round = Round(now_ns, purpose, request, authenticators)
        servers = knowledge.first_asked(now_ns, self.objects[0])
        round_.sent = dict.fromkeys(servers, 1)
        self._driver.ask(self, round_, servers)
        self.wake_at_ns = min(now_ns + knowledge.patience_ns, self.deadline_ns)
        return round_

    def _send_again(self, round_: Round, servers: Sequence[int]) -> None:
        for server in servers:
            round_.sent[server] = round_.sent.get(server, 0) + 1
        round_.busy -= frozenset(servers)
        self._driver.ask(self, round_, servers)

    def _sleep(self, until_ns: int) -> None:
        self.wake_at_ns = min(self.deadline_ns, until_ns)

    # --- inputs -----------------------------------------------------------------------------------------------

    def receive(self, now_ns: int, server: int, round_: Round, frame: bytes) -> bool:
        """A reply to a round of this invocation; False if there was nothing to decide.

        Raises:
            PeerViolation: it cannot be read.
        """
        if round_.hold(server, frame):
            return False
        _, vote_bytes, tail = split(frame, REPLY)
        if round_ is not self._round or server not in round_.sent:
            return False  # a liar may answer what it was never asked: numbers can be guessed
        self._look_at_held(round_)
        if server in round_.votes:
            return False
        self._take(round_, server, vote_bytes, tail)
        self.evaluate(now_ns)
        return True

    def finish_alike(self, now_ns: int, round_: Round) -> None:
        """Q servers cast the same vote, SUCCESS: that ends the call, and their replies are not examined.

        At least q - b of them are honest, which is one or more by (4) of the quorum's constraints. So the bytes that
        all of them sent are those of an honest server: canonical, with an answer for each call, and with histories
        that it holds. With fewer than that, or with one server counted twice, liars could finish a call by themselves,
        and hand the next request a history that no server has written. What each server says for itself, its
        authenticators, is not made true by the others: ``absorb_alike`` sees to that. Whatever is not quite so is
        looked at reply by reply.
        """
        knowledge = self._driver.knowledge
        vote = trusted_vote(next(iter(round_.held.values())), round_.held_end)
        if knowledge.returning and vote is not None:
            knowledge.maybe_welcome(round_.objects, vote)
        if (
            vote is None
            or len(vote.answers) != len(self.calls)  # more than b lie
            or not knowledge.absorb_alike(round_.objects, vote, round_.held, round_.held_end)
        ):
            self._look_at_held(round_)
            self.evaluate(now_ns)
            return
        self._driver.close_round(round_)
        self._round, self.is_over = None, True
        knowledge.note_answered(round_.held, now_ns - round_.started_ns)
        self._driver.finish(self, Answered(vote.answers))

    def _look_at_held(self, round_: Round) -> None:
        """Another reply differs, or time has come: look at those that were held, as if they came now."""
        for server, frame in round_.release().items():
            try:
                _, vote_bytes, tail = split(frame, REPLY)
                self._take(round_, server, vote_bytes, tail)
            except PeerViolation:
                self._driver.knowledge.strike(server, "malformed")

    def _take(self, round_: Round, server: int, vote_bytes: bytes, tail: bytes) -> None:
        """Note a server's vote."""
        vote = round_.read.get(vote_bytes)
        if vote is None:
            vote = round_.read[vote_bytes] = read_vote(round_, vote_bytes, len(self.calls))
        if vote.status == BUSY:
            round_.busy |= {server}
        else:
            round_.votes[server], round_.tails[server] = vote, tail

    def connected(self, now_ns: int, server: int) -> None:
        """A connection is up again: what was sent over the old one is lost."""
        round_ = self._round
        if round_ is None:
            return
        self._look_at_held(round_)
        if server not in round_.sent or server in round_.votes:
            return
        if round_.sent[server] <= limits.RECONNECTIONS_AT_ONCE:  # a connection may come and go all the time
            self._send_again(round_, [server])

    def disconnected(self, now_ns: int, server: int) -> None:
        """A connection was lost: do not wait for that server's reply."""
        round_ = self._round
        if round_ is None:
            return
        self._look_at_held(round_)
        if server in round_.sent and server not in round_.votes:
            self._ask_further(now_ns, round_)

    def wake(self, now_ns: int) -> None:
        """Time has come: the deadline, the end of a back-off, or silence."""
        if self._round is not None:
            self._look_at_held(self._round)
        if now_ns >= self.deadline_ns:
            self._time_out(now_ns)
            return
        if self._pause_until_ns:
            if now_ns >= self._pause_until_ns:
                self._pause_until_ns = 0
                self._is_rested = True
                (self.send_operation if self._is_looking else self._act)(now_ns)
            return
        if (round_ := self._round) is None:
            return
        if len(round_.votes) >= self._driver.knowledge.quorums.q:
            self.evaluate(now_ns, is_patient=False)
            return
        for server in round_.sent:
            if server not in round_.votes and server not in self._driver.knowledge.slow:
                self._driver.knowledge.slow[server] = now_ns + limits.TRIAL_AFTER_NS
        self._ask_further(now_ns, round_)

    def _ask_further(self, now_ns: int, round_: Round) -> None:
        """Ask the servers not yet asked; if there are none, ask the silent ones again."""
        if unasked := [s for s in self._driver.knowledge.order(self.objects[0]) if s not in round_.sent]:
            self._send_again(round_, unasked)
        elif now_ns - (round_.resent_ns or round_.started_ns) >= limits.RESEND_AFTER_NS:
            # Frames are lost with their connection only. A second copy of one that is merely slow would cost the proof
            # that the attempt is dead (above), and with it the means to tell what became of the call.
            round_.resent_ns = now_ns
            self._send_again(round_, [server for server in round_.sent if server not in round_.votes])
        waited = max(now_ns - round_.started_ns, limits.PROBE_AFTER_NS)
        self._sleep(now_ns + min(waited, limits.PROBE_AFTER_NS_MAX))

    def _time_out(self, now_ns: int) -> None:
        if (round_ := self._round) is not None:
            self._bury(round_)
        goes_on = self._driver.is_awaited(self, now_ns)
        if goes_on and self._since is None and not self.is_query:
            # The operation goes on, and the calls given up here with it: they may well be applied.
            self._since = self._conditioned_time()
        outcome = TimedOut(self._since, len(round_.votes) if round_ else 0, self._delay(now_ns))
        self._driver.expire(self, now_ns, outcome)
        if goes_on:
            self._sleep(max(self._pause_until_ns, now_ns + limits.PROBE_AFTER_NS))
        else:
            self._end(outcome)

    def _delay(self, now_ns: int) -> Delay:
        """What took so long: servers that do not answer now, or other calls that got ahead again and again."""
        knowledge, round_ = self._driver.knowledge, self._round
        is_unanswered = round_ is not None and now_ns - round_.started_ns >= knowledge.patience_ns
        if is_unanswered or len(knowledge.down) > knowledge.quorums.n - knowledge.quorums.q:
            return Delay.SILENCE
        return Delay.CONTENTION if self._backoffs else Delay.SILENCE

    def _conditioned_time(self) -> int:
        """Logical time of the version that the next attempt builds upon, or a later one."""
        if self._round is not None and self._round.purpose is Purpose.OPERATION:
            return self._round.conditioned_time
        knowledge = self._driver.knowledge
        return knowledge.conditioned_time(knowledge.fitting(self.objects[0]))

    def _end(self, outcome: Outcome) -> None:
        if self._round is not None:
            self._driver.close_round(self._round)
            self._round = None
        self.is_over = True
        self._driver.finish(self, outcome)

    # --- counting a round -------------------------------------------------------------------------------------

    def evaluate(self, now_ns: int, *, is_patient: bool = True) -> None:
        """See whether the replies so far decide the round; once patience is over, with the replies there are."""
        round_ = self._round
        assert round_ is not None, "replies are counted while a round is open"
        quorums, answered = self._driver.knowledge.quorums, len(round_.votes)
        if answered < quorums.q and len(round_.read) == 1 and answered + len(round_.busy) < len(round_.sent):
            return
        reason = declined_reason(round_, quorums.b)
        if reason is not None and round_.purpose is Purpose.REFRESH and self._evidence:
            # §7, Limits: a client without rights on an object sees its histories only through a repair of another one
            # whose candidate names it. Without them that repair is at most a barrier.
            self._close(now_ns, round_)
            self._repair(now_ns)
            return
        if reason is not None:
            # An earlier attempt may have been accepted before the rules changed: then the outcome is unknown.
            is_certain = self._since is None or self.calls[0].is_fixed
            self._end(Refused(reason) if is_certain else TimedOut(self._since, len(round_.votes)))
            return
        if answered < quorums.q:
            if answered + len(round_.busy) >= len(round_.sent) and len(round_.sent) < quorums.n:
                self._ask_further(now_ns, round_)
            return
        accepted = accepted_by(round_)
        if len(accepted) >= quorums.q and self._complete(now_ns, round_, accepted):
            return
        if round_.purpose is Purpose.OPERATION and self._complete_optimistically(now_ns, round_):
            return
        unasked = quorums.n - len(round_.sent)
        silent = len(round_.sent) - len(round_.votes)
        if is_patient and accepted and (quorums.q <= len(accepted) + unasked + silent) and unasked + silent:
            # One server stood alone, by bad luck or malice: another one may complete the quorum.
            if unasked:
                self._ask_further(now_ns, round_)
            return
        if len(accepted) >= quorums.q and round_.purpose is Purpose.OPERATION:
            self._end(Disagreed(self.operation.method))
            return
        self._conclude(now_ns, round_)

    def _complete(self, now_ns: int, round_: Round, accepted: list[int]) -> bool:
        """Q servers accepted one candidate: the round is done once b + 1 of them agree on the answer as well."""
        if round_.purpose is not Purpose.OPERATION:
            self._close(now_ns, round_)
            self._note_inventors()
            # Barrier, copy, METHOD: after more repairs than that somebody keeps coming up with something newer.
            self._act(now_ns, has_failed=self.repairs > INLINE_REPAIRS_AT_ONCE)
            return True
        quorums = self._driver.knowledge.quorums
        agreed = agreed_results(round_, accepted)
        if len(agreed[0]) <= quorums.b:
            return False
        if len(agreed) > 1 and len(agreed[1]) > quorums.b:
            self._end(Disagreed(self.operation.method))
            return True
        for server in accepted:
            if server not in agreed[0]:
                self._driver.knowledge.strike(server, "answered differently")
        self._close(now_ns, round_)
        self._end(Answered(round_.votes[agreed[0][0]].answers))
        return True

    def _complete_optimistically(self, now_ns: int, round_: Round) -> bool:
        """A refused operation is done too if this round's own histories classify METHOD and b + 1 servers agree (§6).

        Servers that call a query stale answer it all the same; of an update they tell what the ring of their latest
        version says: if it was applied, these are its answers.
        """
        quorums = self._driver.knowledge.quorums
        views = views_of(quorums, histories_of(round_, quorums.n))
        plan = plan_operation(quorums, views)
        if plan is None:
            return False
        latests = [part.conditioned_on for part in plan.parts]
        counted = (SUCCESS, FAIL) if self.is_query else (FAIL,)
        agreed = agreement_at(round_, latests, counted)
        if not agreed or len(agreed[0]) <= quorums.b:
            return False
        for minority in agreed[1:]:
            for server in minority:
                self._driver.knowledge.strike(server, "answered differently")
        answers = round_.votes[agreed[0][0]].answers
        if not self.is_query and not {NOT_RUN, FORGOTTEN}.isdisjoint(answers):
            return False
        self._close(now_ns, round_)
        self._end(Answered(answers))
        return True

    def _close(self, now_ns: int, round_: Round) -> None:
        """Take over the round's histories, and learn from who stood alone and how long it took."""
        knowledge = self._driver.knowledge
        self._driver.close_round(round_)
        self._round = None
        knowledge.note_answered(round_.votes, now_ns - round_.started_ns)
        for vote in round_.read.values():
            if vote.status in (SUCCESS, FAIL):
                tails = {server: round_.tails[server] for server, each in round_.votes.items() if each is vote}
                believed = knowledge.absorb(round_.objects, vote, tails)
                if len(believed) == len(round_.votes):
                    knowledge.remember_fit(round_.objects, believed, vote)

    def _bury(self, round_: Round) -> None:
        """Remember an update attempt that is not certainly dead: it may still be applied."""
        if self.is_query or round_.purpose is not Purpose.OPERATION:
            return
        quorums = self._driver.knowledge.quorums
        # No attempt so far was applied up to this time, nor ever will be.
        certain = absent_until(round_, quorums.b)
        round_.conditioned_time = max(round_.conditioned_time, certain)
        if self._since is not None:
            self._since = max(self._since, certain)
        elif not round_.is_dead(quorums):
            self._since = round_.conditioned_time

    # --- acting on what was learnt ----------------------------------------------------------------------------

    def _conclude(self, now_ns: int, round_: Round) -> None:
        """The round did not do it: merge every reply's histories, and act on the classification."""
        self._bury(round_)
        self._close(now_ns, round_)
        if round_.purpose is not Purpose.REFRESH:
            self._note_inventors()
        self._act(now_ns, has_failed=round_.purpose is not Purpose.REFRESH)

    def _act(self, now_ns: int, *, has_failed: bool = False) -> None:
        """Classify what is known and send the next request, after a back-off where others may be at work."""
        knowledge, quorums = self._driver.knowledge, self._driver.knowledge.quorums
        if has_failed and self._is_rested:
            # What was known before the pause is old: under contention the first attempt after it only brings it up to
            # date. Pausing again for that would starve whoever pauses longer than others take between two updates.
            self._is_rested = has_failed = False
        target = self._to_repair()
        if target is None:
            self._evidence = ()
            # The first new attempt goes out at once; from then on somebody else keeps getting in between.
            self._repair_from_ns = 0
            if has_failed and self._attempts > 1:
                self._rest(now_ns, self._back_off(limits.RETRY_ROUND_TRIPS_MAX))
            else:
                self.send_operation(now_ns)
            return
        if target != self._target:
            self._target, self._evidence = target, ()
        sets = tuple([knowledge.trusted(name) for name in sorted({target, *self._evidence})])
        views = views_of(quorums, sets)
        plan = plan_repair(quorums, target, views)
        if isinstance(plan, Missing):
            self._extend(now_ns, plan)
            return
        # No back-off before an inline repair, which disturbs nobody; unless it does not help.
        is_inline = plan is not None and plan.kind in (Kind.INLINE_METHOD, Kind.INLINE_BARRIER)
        if has_failed and not (is_inline and self.repairs < INLINE_REPAIRS_AT_ONCE):
            self._repair_from_ns, self._looks = now_ns + self._back_off(limits.REPAIR_ROUND_TRIPS_MAX), 0
        if now_ns < self._repair_from_ns:
            self._rest(now_ns, self._repair_from_ns - now_ns)
        elif plan is None:
            self._refresh(now_ns, target)
        else:
            self._repair(now_ns)

    def _to_repair(self) -> ObjectId | None:
        """An object of the operation that calls for a repair: the one that is being repaired first."""
        knowledge = self._driver.knowledge
        return next_to_repair(knowledge.quorums, map(knowledge.trusted, (self._target, *self.objects)))

    def _extend(self, now_ns: int, plan: Missing) -> None:
        """A candidate to be judged names objects the request lacks: add them, and learn their histories first (S5)."""
        wanted = {*self._evidence, *plan.objects}
        if len(wanted) > limits.REPAIR_OBJECTS_MAX:
            # Under contention a long repair meets ever new partners; what it met before is not needed any more.
            wanted = set(plan.objects)
        self._evidence = tuple(sorted(wanted))
        unknown = [name for name in self._evidence if not self._driver.knowledge.is_known(name)]
        if unknown:
            self._refresh(now_ns, *unknown)
        else:
            self._act(now_ns)

    def _refresh(self, now_ns: int, *objects: ObjectId) -> None:
        """Ask for histories only: a repair conditioned on nothing is answered FAIL, with what the servers hold."""
        knowledge = self._driver.knowledge
        nothing = [INITIAL_HISTORY] * knowledge.quorums.n
        sets = tuple([make_histories(name, nothing) for name in sorted({self._target, *objects})])
        self._open(now_ns, Purpose.REFRESH, Request(self._target, sets, b""), knowledge.authenticators(sets))

    def _repair(self, now_ns: int) -> None:
        """Send the repair that the known histories of the target and of the evidence call for."""
        knowledge = self._driver.knowledge
        sets = tuple([knowledge.trusted(name) for name in sorted({self._target, *self._evidence})])
        self.repairs += 1
        self._open(now_ns, Purpose.REPAIR, Request(self._target, sets, b""), knowledge.authenticators(sets))

    def _back_off(self, round_trips_max: int) -> int:
        """How long to pause: a random, exponentially growing multiple of the round trip."""
        round_trip_ns = self._driver.knowledge.round_trip_ns
        shortest = max(round_trip_ns // 2, limits.BACKOFF_NS)
        longest = max(limits.BACKOFF_NS_MAX, round_trips_max * round_trip_ns)
        pause = min(shortest << min(self._backoffs, limits.BACKOFF_DOUBLINGS_MAX), longest)
        self._backoffs += 1
        return int(pause * (0.5 + self._driver.random.random()))

    def _rest(self, now_ns: int, pause_ns: int) -> None:
        """Pause, then act on what is known; in a long pause look now and then whether others have repaired already.

        To look is to send the operation on histories that call for a repair: no server accepts it, and all tell what
        they hold by then, and what the ring says of the call. In a pause without, more may pass than the ring holds.
        """
        look_ns = limits.LOOK_AFTER_ROUND_TRIPS * max(self._driver.knowledge.round_trip_ns, limits.BACKOFF_NS)
        look_ns <<= self._looks  # where a look shows no progress, not much can have passed
        # Not with several objects: an inventing liar would each time undo what was repaired of those not at hand.
        self._is_looking = pause_ns >= look_ns and len(self.objects) == 1
        self._looks += self._is_looking
        self._pause_until_ns = now_ns + (look_ns if self._is_looking else pause_ns)
        self._sleep(self._pause_until_ns)

    def _note_inventors(self) -> None:
        """A server whose newest candidate nobody else shows gets a strike; bad luck is forgiven up to STRIKES_MAX."""
        if self._backoffs > 1 or self.repairs > INLINE_REPAIRS_AT_ONCE:
            for name in self.objects:
                self._driver.knowledge.note_alone(name)
