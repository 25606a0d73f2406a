"""One call of a client as a state machine: send, count, classify, repair, again (PROTOCOL §6, §7).

A call goes through *rounds*. A round is one request, sent first to the preferred quorum, then if need be to further
servers; only its own replies can finish it. A round of an operation ends the call; a round of a repair, or one that
only asks for histories, is followed by the next.

When an attempt is certainly dead is said in :mod:`rounds`.
A call is told that nothing was changed only if each of its attempts is certainly dead, those of operations that it
travelled in before too. Otherwise the outcome is unknown.
A rejection needs no such proof from earlier attempts at the same operation. It is told by q servers on an established
version V. An attempt conditioned on an older established version can no longer be accepted by them, and what accepted
it before is fewer than r. One conditioned on V itself gives the same rejection on every honest server. But an operation
of several calls, of which this call was one, need not: see ``_answer``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from types import MappingProxyType
from typing import Final, assert_never

from fivefold.errors import PeerViolation
from fivefold.protocol import limits
from fivefold.protocol.announcements import split_tail
from fivefold.protocol.classify import plan_repair, views_of
from fivefold.protocol.client.knowledge import Knowledge
from fivefold.protocol.client.outcomes import Answered, Delay, Finished, Outcome, Refused, TimedOut
from fivefold.protocol.client.pauses import INLINE_REPAIRS_AT_ONCE, Pauses
from fivefold.protocol.client.pending import Pending, expire, share
from fivefold.protocol.client.queues import combined
from fivefold.protocol.client.rounds import Purpose, Round, absent_until, disagreement, read_vote, text_of
from fivefold.protocol.client.verdict import Next, Verdict, judge
from fivefold.protocol.history import empty_histories
from fivefold.protocol.messages import BUSY, REPLY, UNCHANGED, encode_operation, split
from fivefold.protocol.operations import FAILED, REFUSED, REJECTED, ObjectId
from fivefold.protocol.records import Request, Vote
from fivefold.protocol.steps import Kind, Missing
from fivefold.protocol.times import unpack_time

_FAILS_ALONE: Final = "it fails by itself, but may be applied with the calls it was sent with"


class Invocation:
    """One operation from its start to its outcome.

    Every input may leave something in ``asks``, ``closed``, ``finished`` and ``again``: the session takes it from there
    after each.

    Attributes:
        calls: the calls that travel together as the operation; the first one's ticket names it.
        wake_at_ns: when to call ``wake`` at the latest.
        alarm_ns: the ``wake_at_ns`` that the session has set an alarm for; 0 if it has set none yet.
        is_over: whether the operation has ended.
        asks: rounds whose request is to be sent, each with the servers it goes to.
        closed: rounds whose replies are of no interest any more.
        finished: calls that have ended.
        again: calls that are to be made again, each by itself.
    """

    # How every call starts; most end before any of these has changed.
    wake_at_ns = 0
    alarm_ns = 0
    is_over = False
    repairs = 0
    _round: Round | None = None
    _evidence: tuple[ObjectId, ...] = ()
    _attempts = 0
    _may_be_applied = False
    _since: int | None = None
    _first_since: int | None = None
    asks: tuple[tuple[Round, Sequence[int]], ...] = ()
    closed: tuple[Round, ...] = ()
    finished: tuple[Finished, ...] = ()
    again: tuple[Pending, ...] = ()
    _refusals: Mapping[int, str] = MappingProxyType({})  # why servers were busy that have not answered since

    def __init__(self, knowledge: Knowledge, random: Random, calls: list[Pending]) -> None:
        """Prepare; ``send_operation`` sends the first request."""
        first = calls[0]
        self.calls, self.ticket, self.operation = calls, first.ticket, first.operation
        self.objects, self.is_query, self.deadline_ns = first.objects, first.is_query, first.deadline_ns
        if len(calls) > 1:
            self.operation = combined(calls)
            self.deadline_ns = min([pending.deadline_ns for pending in calls])
        self._knowledge, self._standing, self._random = knowledge, knowledge.standing, random
        self._pauses, self._target = Pauses(), first.objects[0]
        if first.since is not None:
            self._since, self._may_be_applied = first.since, True
        if first.is_fixed:  # a resolve starts where the lost call was
            self._since = unpack_time(self.operation.calls[0].since)

    # --- rounds -----------------------------------------------------------------------------------------------

    def send_operation(self, now_ns: int) -> None:
        """Send the operation, conditioned on what is cached; the first time that is nothing, in one round even then."""
        knowledge, since = self._knowledge, self._since
        sets, authenticators = knowledge.conditions(self.objects)
        if since is None:
            since = 0 if self.is_query else knowledge.conditioned_time(sets[0]) or self.calls[0].floor
        self._first_since = since if self._first_since is None else self._first_since
        self._attempts += 1
        first = self.calls[0]
        first.attempts += 1
        request = Request(self.objects[0], sets, self._encoded(since, first.attempts))
        round_ = self._open(now_ns, Purpose.OPERATION, request, authenticators)
        round_.conditioned_time = since

    def go_on_with(self, round_: Round, since: int) -> None:
        """The first attempt is under way already."""
        self._round, self._first_since, self._attempts = round_, since, 1

    def _encoded(self, since: int, attempt: int) -> bytes:
        return encode_operation(self.operation, since, attempt)

    def _open(self, now_ns: int, purpose: Purpose, request: Request, authenticators: bytes) -> Round:
        knowledge, first = self._knowledge, self.objects[0]
        servers = self._standing.first_asked(now_ns, first, knowledge.preference(first))
        round_ = Round(now_ns, purpose, request, authenticators, q=knowledge.quorums.q, servers=servers)
        round_.era = knowledge.following.era
        self._round = round_
        self.asks += ((round_, servers),)
        self.wake_at_ns = min(now_ns + knowledge.patience_ns, self.deadline_ns)
        return round_

    def _send_again(self, round_: Round, servers: Sequence[int]) -> None:
        for server in servers:
            round_.sent[server] = round_.sent.get(server, 0) + 1
            round_.busy.discard(server)
        self.asks += ((round_, servers),)

    def _sleep(self, until_ns: int) -> None:
        self.wake_at_ns = min(self.deadline_ns, until_ns)

    # --- inputs -----------------------------------------------------------------------------------------------

    def receive(self, now_ns: int, server: int, round_: Round, frame: bytes) -> bool:
        """A reply to a round of this invocation; False if there was nothing to decide.

        Raises:
            PeerViolation: it cannot be read.
        """
        _, vote_bytes, tail = split(frame, REPLY)
        if round_ is not self._round or server not in round_.sent:
            return False  # a liar may answer what it was never asked: numbers can be guessed
        self._look_at_held(round_)
        if server in round_.votes:  # it answers another of the frames that it was sent
            round_.note_refusal(server, frame, self._read(round_, vote_bytes))
        else:
            self._take(round_, server, frame, vote_bytes, tail)
        self.evaluate(now_ns)
        return True

    def finish_alike(self, now_ns: int, round_: Round) -> None:
        """Q servers cast the same vote: that ends the call, and their replies are not examined (alike.py).

        Whatever is not quite so is looked at reply by reply.
        """
        knowledge, standing, alike = self._knowledge, self._standing, round_.alike
        vote = alike.vote()
        if vote is not None:
            if standing.returning.trials:
                knowledge.maybe_welcome(round_.objects, vote)
            is_plain = not (standing.is_anybody_doubted and any(map(standing.is_doubted, alike.frames)))
            is_plain = is_plain and not knowledge.following.newer and round_.lost.isdisjoint(alike.frames)
            if is_plain and len(vote.answers) == len(self.operation.calls):  # otherwise more than b lie
                shown = alike.shown(vote, round_.objects, knowledge.quorums.n)
                if shown:
                    if round_.era == knowledge.following.era:
                        knowledge.absorb_alike(shown, vote)
                    standing.note_answered(alike.frames)
                    knowledge.note_round_trip(now_ns - round_.started_ns)
                    if vote.status == UNCHANGED:
                        self._answer(vote.answers, is_unchanged=True)
                    else:
                        self._end(Answered(vote.answers))
                    return
        self._look_at_held(round_)
        self.evaluate(now_ns)

    def _look_at_held(self, round_: Round) -> None:
        """Another reply differs, or time has come: look at those that were held, as if they came now."""
        for server, frame in round_.alike.hand_over().items():
            try:
                _, vote_bytes, tail = split(frame, REPLY)
                self._take(round_, server, frame, vote_bytes, tail)
            except PeerViolation:
                self._standing.strike(server, "malformed")

    def _read(self, round_: Round, vote_bytes: bytes) -> Vote:
        vote = round_.read.get(vote_bytes)
        if vote is None:
            vote = round_.read[vote_bytes] = read_vote(round_, vote_bytes, len(self.operation.calls))
        return vote

    def _take(self, round_: Round, server: int, frame: bytes, vote_bytes: bytes, tail: bytes) -> None:
        """Note a server's vote."""
        vote = self._read(round_, vote_bytes)
        round_.note(server, frame, vote, *split_tail(tail, vote, self._knowledge.quorums.n, round_.said))
        if vote.status == BUSY:
            self._refusals = {**self._refusals, server: text_of(vote)}
        elif server in self._refusals:
            self._refusals = {s: text for s, text in self._refusals.items() if s != server}

    def connected(self, now_ns: int, server: int) -> None:
        """A connection is up again: what was sent over the old one is lost."""
        round_ = self._round
        if round_ is None:
            return
        self._look_at_held(round_)
        is_awaited = server in round_.sent and server not in round_.votes
        if is_awaited and round_.sent[server] <= limits.RECONNECTIONS_AT_ONCE:  # it may come and go all the time
            self._send_again(round_, [server])

    def disconnected(self, now_ns: int, server: int) -> None:
        """A connection was lost: do not wait for that server's reply."""
        round_ = self._round
        if round_ is None:
            return
        self._look_at_held(round_)
        round_.lost |= {server}
        if server in round_.sent and server not in round_.votes:
            self._ask_further(now_ns, round_)

    def start_again(self, now_ns: int) -> None:
        """Another edition is in use, and nothing is known any more: what the open round has brought does not count."""
        if self._round is not None:
            self._look_at_held(self._round)
            self._bury(self._round)
            self.closed += (self._round,)
            self._round, self._evidence = None, ()
            self._act(now_ns)

    def leave(self) -> list[Pending]:
        """The calls, to be made in another cluster: each remembers whether it may have been applied in this one."""
        if self._round is not None:
            self._bury(self._round)
        for pending in self.calls:
            pending.since, pending.floor = (self._since if self._may_be_applied else None), self._first_since or 0
        return self.calls

    def wake(self, now_ns: int) -> None:
        """Time has come: the deadline, the end of a back-off, or silence."""
        round_, pauses = self._round, self._pauses
        if round_ is not None:
            until_ns = min(self._knowledge.patient_until_ns(round_), self.deadline_ns)
            if now_ns < until_ns and not pauses.is_pausing:
                self._sleep(until_ns)
                return
            self._look_at_held(round_)
        if now_ns >= self.deadline_ns:
            self._time_out(now_ns)
        elif pauses.is_pausing:
            if now_ns >= pauses.until_ns:
                (self.send_operation if pauses.wake() else self._act)(now_ns)
        elif round_ is not None and len(round_.votes) >= self._knowledge.quorums.q:
            self.evaluate(now_ns, is_patient=False)
            if self._round is round_:
                # Slow servers were sent it again: without these answers, too, the outcome is unknown. They may be lost.
                round_.awaited_until_ns = 2 * now_ns - round_.started_ns + self._knowledge.patience_ns
                self._sleep(round_.awaited_until_ns)
        elif round_ is not None:
            for server in [each for each in round_.sent if each not in round_.votes]:
                self._standing.note_silent(server, now_ns)
            self._ask_further(now_ns, round_)

    def _ask_further(self, now_ns: int, round_: Round) -> None:
        """Ask the servers not yet asked; if there are none, ask the silent ones again."""
        first = self.objects[0]
        order = self._standing.order(first, self._knowledge.preference(first))
        if unasked := [server for server in order if server not in round_.sent]:
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
        goes_on = any(pending.is_open and pending.deadline_ns > now_ns for pending in self.calls)
        if goes_on and self._since is None and not self.is_query:
            # The operation continues, and calls given up here are part of it: they may well be applied.
            self._since = self._conditioned_time()
        outcome = self._timed_out(self._delay(now_ns))
        if not goes_on:
            self._end(outcome)
            return
        self.finished += tuple(expire(self.calls, now_ns, outcome))
        self.deadline_ns = min([pending.deadline_ns for pending in self.calls if pending.is_open])
        self._sleep(max(self._pauses.until_ns, now_ns + limits.PROBE_AFTER_NS))

    def _timed_out(self, delay: Delay, reason: str = "") -> TimedOut:
        answered = len(self._round.votes) if self._round else 0
        if delay is Delay.REFUSAL and not reason:
            reasons = list(self._refusals.values())
            reason = max(reasons, key=reasons.count)
        return TimedOut(self._since, answered, delay, reason)

    def _delay(self, now_ns: int) -> Delay:
        """What took so long: servers that refuse or do not answer, or other calls that got ahead again and again."""
        quorums, round_ = self._knowledge.quorums, self._round
        is_unanswered = round_ is not None and now_ns - round_.started_ns >= self._knowledge.patience_ns
        if is_unanswered or len(self._standing.down) > quorums.n - quorums.q:
            return Delay.REFUSAL if self._refusals else Delay.SILENCE
        return Delay.CONTENTION if self._pauses.count else Delay.SILENCE

    def _conditioned_time(self) -> int:
        """Logical time of the version that the next attempt builds upon, or a later one."""
        if self._round is not None and self._round.purpose is Purpose.OPERATION:
            return self._round.conditioned_time
        return self._knowledge.conditioned_time(self._knowledge.fitting(self.objects[0]))

    def lost_since(self) -> int | None:
        """Logical time after which a call may have been applied that went nowhere from here; None for a query."""
        return None if self.is_query else (self._first_since if self._since is None else self._since)

    def _end(self, outcome: Outcome, *, is_doubtful: bool = False) -> None:
        if self._round is not None:
            self.closed += (self._round,)
            self._round = None
        self.is_over = True
        finished, self.again = share(self.calls, outcome, is_doubtful=is_doubtful)
        self.finished += finished

    def _answer(self, answers: tuple[bytes, ...], *, is_unchanged: bool) -> None:
        """The operation is done.

        Story: (1) a deposit and a withdrawal travel together; some servers accept both, others refuse. (2) Each is made
        again by itself, the withdrawal first: rejected, the account is empty. (3) The first operation, still under way,
        is applied to that very version: both are. So such a rejection is not yet the outcome.
        """
        is_open = is_unchanged and self.calls[0].since is not None and answers[0][:1] in (REJECTED, FAILED, REFUSED)
        self._end(self._timed_out(Delay.REFUSAL, _FAILS_ALONE) if is_open else Answered(answers))

    # --- counting a round -------------------------------------------------------------------------------------

    def evaluate(self, now_ns: int, *, is_patient: bool = True) -> None:
        """See whether the replies so far decide the round, and do what follows."""
        round_ = self._round
        assert round_ is not None, "replies are counted while a round is open"
        self._follow(now_ns, round_, self._judge(now_ns, round_, is_patient=is_patient))

    def _judge(self, now_ns: int, round_: Round, *, is_patient: bool) -> Verdict:
        return judge(
            round_,
            self._knowledge.quorums,
            is_query=self.is_query,
            is_patient=is_patient,
            awaits_frames=not 0 < round_.awaited_until_ns <= now_ns,
            may_be_applied=self._may_be_applied,
            newer=self._knowledge.following.newer,
            is_thorough=self.repairs % limits.REPAIRS_UNTIL_ALL_ASKED == limits.REPAIRS_UNTIL_ALL_ASKED - 1,
        )

    def _follow(self, now_ns: int, round_: Round, verdict: Verdict) -> None:
        match verdict.next:
            case Next.WAIT:
                pass
            case Next.ASK_FURTHER:
                self._ask_further(now_ns, round_)
            case Next.ANSWERED:
                self._standing.note_done(round_.votes, verdict.odd)
                self._close(now_ns, round_)
                self._answer(verdict.answers, is_unchanged=verdict.is_unchanged)
            case Next.DONE:
                self._close(now_ns, round_)
                self._note_inventors(round_)
                # Barrier, copy, METHOD: after more repairs than that somebody keeps coming up with something newer.
                self._act(now_ns, has_failed=self.repairs > INLINE_REPAIRS_AT_ONCE)
            case Next.DECLINED | Next.UNABLE | Next.UNKNOWN:
                self._be_refused(now_ns, round_, verdict)
            case Next.DIVERGED:
                self._end(disagreement(round_, self.operation, verdict.is_applied, is_fixed=self.calls[0].is_fixed))
            case Next.CONCLUDE:
                self._conclude(now_ns, round_)
            case _:
                assert_never(verdict.next)

    def _be_refused(self, now_ns: int, round_: Round, verdict: Verdict) -> None:
        if round_.purpose is Purpose.REFRESH and self._evidence:
            # §7, Limits: a client without rights on an object sees its histories only through a repair of another one
            # whose candidate names it. Without them that repair is at most a barrier.
            self._close(now_ns, round_)
            self.repairs += 1
            self._repair(now_ns, self._evidence)
        elif verdict.next is Next.DECLINED:
            self._end(Refused(verdict.reason))
        elif verdict.next is Next.UNABLE:
            text = f"the servers could not run {self.operation.method} to its end, nothing was changed"
            self._end(Refused(f"ObjectError: {text}: {verdict.reason}"))
        else:
            self._bury(round_)
            self._end(self._timed_out(Delay.REFUSAL, verdict.reason), is_doubtful=True)

    def _close(self, now_ns: int, round_: Round) -> None:
        self.closed += (round_,)
        self._round = None
        self._knowledge.learn(now_ns, round_)

    def _bury(self, round_: Round) -> None:
        """Remember an update attempt that is not certainly dead: it may still be applied."""
        if self.is_query or round_.purpose is not Purpose.OPERATION:
            return
        quorums = self._knowledge.quorums
        # No attempt so far was applied up to this time, nor ever will be.
        certain = absent_until(round_, quorums.b)
        round_.conditioned_time = max(round_.conditioned_time, certain)
        is_dead = round_.is_dead(quorums)
        self._may_be_applied = self._may_be_applied or not is_dead
        if self._since is not None:
            self._since = max(self._since, certain)
        elif not is_dead:
            self._since = round_.conditioned_time

    # --- acting on what was learnt ----------------------------------------------------------------------------

    def _conclude(self, now_ns: int, round_: Round) -> None:
        """The round did not do it: merge every reply's histories, and act on the classification."""
        self._bury(round_)
        self._close(now_ns, round_)
        if round_.purpose is not Purpose.REFRESH:
            self._note_inventors(round_)
        self._act(now_ns, has_failed=round_.purpose is not Purpose.REFRESH)

    def _act(self, now_ns: int, *, has_failed: bool = False) -> None:
        """Classify what is known and send the next request, after a back-off where others may be at work."""
        knowledge, quorums, pauses = self._knowledge, self._knowledge.quorums, self._pauses
        has_failed = has_failed and pauses.has_failed()
        target = knowledge.next_to_repair(self._target, self.objects, is_query=self.is_query)
        if target is None:
            self._evidence = ()
            # The first new attempt goes out at once; from then on somebody else keeps getting in between.
            pauses.repair_from_ns = 0
            if has_failed and self._attempts > 1:
                self._rest(now_ns, self._back_off(limits.RETRY_ROUND_TRIPS_MAX))
            else:
                self.send_operation(now_ns)
            return
        if target != self._target:
            self._target, self._evidence = target, ()
        carried = () if self.is_query else knowledge.carried_with(target, self.objects)
        evidence = (*self._evidence, *carried)
        plan = plan_repair(quorums, target, views_of(quorums, knowledge.repair_sets(target, evidence)))
        if isinstance(plan, Missing):
            self._extend(now_ns, plan)
            return
        # No back-off before an inline repair, which disturbs nobody; unless it does not help.
        is_inline = plan is not None and plan.kind in (Kind.INLINE_METHOD, Kind.INLINE_BARRIER)
        if has_failed and not (is_inline and self.repairs < INLINE_REPAIRS_AT_ONCE):
            pauses.put_repair_off(now_ns + self._back_off(limits.REPAIR_ROUND_TRIPS_MAX))
        if now_ns < pauses.repair_from_ns:
            self._rest(now_ns, pauses.repair_from_ns - now_ns)
        elif plan is None:
            self._refresh(now_ns, target)
        else:
            self.repairs += not carried  # many leads behind, as many barriers: that is nobody else's doing
            self._repair(now_ns, evidence)

    def _extend(self, now_ns: int, plan: Missing) -> None:
        """A candidate to be judged names objects the request lacks: add them, and learn their histories first (S5)."""
        wanted = {*self._evidence, *plan.objects}
        if len(wanted) > limits.REPAIR_OBJECTS_MAX:
            # Under contention a long repair meets ever new partners; what it met before is not needed any more.
            wanted = set(plan.objects)
        self._evidence = tuple(sorted(wanted))
        unknown = [name for name in self._evidence if not self._knowledge.is_known(name)]
        self._refresh(now_ns, *unknown) if unknown else self._act(now_ns)

    def _refresh(self, now_ns: int, *objects: ObjectId) -> None:
        """Ask for histories only: a repair conditioned on nothing is answered FAIL, with what the servers hold."""
        sets = tuple([empty_histories(name, self._knowledge.quorums.n) for name in sorted({self._target, *objects})])
        self._open(now_ns, Purpose.REFRESH, Request(self._target, sets, b""), self._knowledge.authenticators(sets))

    def _repair(self, now_ns: int, evidence: Sequence[ObjectId]) -> None:
        """Send the repair that the known histories of the target and of the evidence call for."""
        sets = self._knowledge.repair_sets(self._target, evidence)
        self._open(now_ns, Purpose.REPAIR, Request(self._target, sets, b""), self._knowledge.authenticators(sets))

    def _back_off(self, round_trips_max: int) -> int:
        return self._pauses.draw(self._random, self._knowledge.round_trip_ns, round_trips_max)

    def _rest(self, now_ns: int, pause_ns: int) -> None:
        # With several objects it does not look: an inventing liar would each time undo what was repaired of those not
        # at hand.
        self._pauses.rest(now_ns, pause_ns, self._knowledge.round_trip_ns, may_look=len(self.objects) == 1)
        self._sleep(self._pauses.until_ns)

    def _note_inventors(self, round_: Round) -> None:
        """Note who shows what nobody else does; not before several back-offs or repairs have been in vain."""
        if self._pauses.count > 1 or self.repairs > INLINE_REPAIRS_AT_ONCE:
            self._knowledge.note_alone(round_.objects, round_.votes)
