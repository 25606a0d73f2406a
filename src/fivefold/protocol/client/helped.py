"""An update of one object whose client announces it where it has to wait, and carries others' calls (helping; ours).

It is an :class:`~fivefold.protocol.client.invocation.Invocation` with three more ways to go on: to announce its calls,
to carry what others have announced, and to be done by what servers push. Until others are seen it does what any does.

When is an announced call certainly dead (H9)? Others may carry it while servers keep it in their pools. A server may
keep it if it was sent the call, and has neither refused to keep it nor confirmed its withdrawal. If these servers and b
liars are fewer than r, no version that it was carried into will ever be shown r times.
Its ``since`` stays as it is from the first announcement on: servers compare what is carried byte for byte.
"""

from __future__ import annotations

from functools import cached_property
from random import Random
from typing import Final

from msgspec.structs import replace

from fivefold.errors import PeerViolation
from fivefold.protocol import limits
from fivefold.protocol.announcements import may_be_announced
from fivefold.protocol.classify import View, classify
from fivefold.protocol.client.crowd import FOLLOW_ROUND_TRIPS, Crowd, is_crowded
from fivefold.protocol.client.following import counted
from fivefold.protocol.client.invocation import Invocation
from fivefold.protocol.client.knowledge import Knowledge
from fivefold.protocol.client.outcomes import Answered, Delay, Outcome, TimedOut
from fivefold.protocol.client.pauses import Pace
from fivefold.protocol.client.pending import Pending
from fivefold.protocol.client.rounds import Purpose, Round, read_vote
from fivefold.protocol.client.verdict import Next, Verdict, agreement, judge_announcement, result_of
from fivefold.protocol.history import make_histories, time_of
from fivefold.protocol.messages import ANNOUNCE, REPLY, SUCCESS, WITHDRAW, encode_operation, split
from fivefold.protocol.operations import FORGOTTEN, NOT_RUN, Carried, Operation
from fivefold.protocol.records import CLIENT_AT, INITIAL_HISTORY, OPERATION_AT, LogicalTimestamp, Request, Vote
from fivefold.protocol.steps import Kind

HELP_NS: Final = 2_000_000_000
"""How long an operation that carries others' calls only is gone on with."""

WAIT_ROUND_TRIPS: Final = 3
"""Round trips that a client waits for others, and up to one more, which doubles (H7) ..."""

WAIT_DOUBLINGS_MAX: Final = 4
"""... this number of times."""

WAITS_MAX: Final = 4
"""It waits this number of times for a client that gets ahead, then acts itself."""

PUSHES_PER_SERVER_MAX: Final = 4
"""Pushes of one server that are kept, the last ones."""

PUSHABLE_ROUNDS_MAX: Final = 16
"""Rounds under whose numbers answers may be pushed, the last ones."""

_PUSHABLE: Final = (Purpose.OPERATION, Purpose.ANNOUNCEMENT)
_INLINE: Final = (Kind.INLINE_METHOD, Kind.INLINE_BARRIER)


def may_help(first: Pending) -> bool:
    """Whether a call may be carried by others, and carry theirs: an update of one object."""
    return not first.is_query and len(first.objects) == 1


class HelpedInvocation(Invocation):
    """One operation from its start to its outcome, with others' help; or one that only carries others' calls.

    Attributes:
        is_pure: it has no calls of its own.
    """

    _is_pinned = False  # its ``since`` stays as it is
    _is_announced = False  # servers may keep its calls for others to carry: what they come to is recorded
    _is_polling = False  # the next that it does is to announce again
    _has_begun = False
    _is_poll = False  # what has just failed was that
    _is_withdrawing = False
    _is_done_by_others = False
    _missed = 0  # how often somebody got ahead of it while it waited
    _failures = 0
    _seen: LogicalTimestamp | None = None
    _first: Round | None = None
    _last: Round | None = None
    _has_others = False
    _has_namesakes = False
    _push_read: tuple[bytes, Vote] | None = None
    _carried: tuple[Carried, ...] = ()

    def __init__(self, knowledge: Knowledge, random: Random, calls: list[Pending], crowd: Crowd) -> None:
        """Prepare; ``send_operation`` begins."""
        super().__init__(knowledge, random, calls)
        self._crowd, self._place = crowd, crowd.at(self.objects[0])
        self.is_pure = not self.operation.calls
        self._is_attempt_alive = self._may_be_applied
        self._held: set[int] = set()  # servers that may keep its calls
        self._lost: set[int] = set()  # ... over a connection that has ended
        self._made: set[bytes] = set()  # candidates of its own
        self._pushable: list[Round] = []
        self._pushes: dict[int, dict[bytes, tuple[Vote, bytes]]] = {}
        if any(pending.is_announced for pending in calls):
            self._is_announced = self._is_pinned = True
            self._lost = self._held = set(range(knowledge.quorums.n))
        if self.is_pure:
            self.operation = self._carrying(self.operation.code)

    @cached_property
    def _may_announce(self) -> bool:
        return may_be_announced(self.operation)

    # --- sending ----------------------------------------------------------------------------------------------

    def go_on_with(self, round_: Round, since: int, *, is_pinned: bool = False) -> None:
        """The first attempt is under way already; ``is_pinned``: servers may keep its calls if they refuse it."""
        super().go_on_with(round_, since)
        self._has_begun = True
        if is_pinned:
            self._is_pinned, self._since = True, since

    def send_operation(self, now_ns: int) -> None:
        """Send the operation with what others have announced; or only announce it, where others are at it (H6)."""
        follows, self._has_begun = not self._has_begun and self._place.follows_until_ns > now_ns, True
        if (self._is_polling or follows) and self._may_announce:
            self._is_polling = False
            self._announce(now_ns)
            return
        if self._crowd.has_announced and self._may_announce:
            self._pin()
        if not self.is_pure and (self._place.listed or self._carried):
            self.operation = self._carrying(self.operation.code)
        if self._carried:
            self._crowd.counters["carried"] += len(self._carried)
        super().send_operation(now_ns)

    def _carrying(self, code: bytes) -> Operation:
        """The operation with the code of what it carries."""
        self._carried, code = self._place.take(code, len(self.operation.calls))
        self._place.listed = ()
        return replace(self.operation, code=code) if code != self.operation.code else self.operation

    def _encoded(self, since: int, attempt: int) -> bytes:
        # A refusal announces, too: where servers may keep the calls, a rejection has to be recorded like what else they
        # come to. Else others could carry them after their caller was told.
        is_plain = not (self._carried or self._is_announced or self._held)
        return encode_operation(self.operation, since, attempt, None if is_plain else self._carried)

    def _pin(self) -> None:
        """From now on each attempt at the calls names them alike, byte for byte.

        Not by a version that is merely repairable. Story: (1) X is announced, and its ``since`` is the time of U, which
        r servers show and which is passed over. (2) X is carried and applied below that time. (3) Rings forget it, and
        take what is as old as that for never applied: so does the next server that is asked for X.
        """
        if self._since is None:
            self._since = self._knowledge.established_time(self.objects[0]) or self.calls[0].floor
            self._first_since = self._since if self._first_since is None else self._first_since
        self._is_pinned = True

    def _announce(self, now_ns: int) -> None:
        """H1: let all servers know the calls, so that others can carry them."""
        self._pin()
        if not self._is_announced:  # before the deadline there is to be time to withdraw them
            self.deadline_ns -= min(self._knowledge.patience_ns, max(0, self.deadline_ns - now_ns) // 4)
        self._is_announced = self._crowd.has_announced = True
        self._crowd.counters["announced"] += 1
        self._tell_all(now_ns, Purpose.ANNOUNCEMENT, ANNOUNCE)

    def _tell_all(self, now_ns: int, purpose: Purpose, kind: int) -> Round:
        """Send the calls alone to every server."""
        knowledge, name = self._knowledge, self.objects[0]
        everybody = range(knowledge.quorums.n)
        nothing = make_histories(name, [INITIAL_HISTORY] * len(everybody))
        request = Request(name, (nothing,), b"")
        round_ = Round(now_ns, purpose, request, b"", q=knowledge.quorums.q, servers=everybody)
        round_.kind, round_.body = kind, encode_operation(self.operation, self._since or 0, 0)
        round_.era = knowledge.following.era
        self._round = round_
        self.asks += ((round_, everybody),)
        self.wake_at_ns = min(now_ns + knowledge.patience_ns, self.deadline_ns)
        return round_

    @property
    def carries_on(self) -> bool:
        """Whether it has ended as one that is to carry others' calls next (H5)."""
        return not self._is_done_by_others and bool(self._place.listed)

    # --- what servers say -------------------------------------------------------------------------------------

    def receive(self, now_ns: int, server: int, round_: Round, frame: bytes) -> bool:
        """A reply, or a push: what a server says to an announcement when somebody has carried it.

        Raises:
            PeerViolation: it cannot be read.
        """
        is_late = round_ is not self._round or server in round_.votes
        if round_.purpose not in _PUSHABLE or server not in round_.sent or not self._is_pinned:
            return super().receive(now_ns, server, round_, frame)
        if is_late or round_.purpose is Purpose.ANNOUNCEMENT:
            _, vote_bytes, tail = split(frame, REPLY)
            vote = self._read_push(round_, vote_bytes)
            if vote.status == SUCCESS:
                return self._take_push(now_ns, server, vote, tail)
        return super().receive(now_ns, server, round_, frame)

    def _read_push(self, round_: Round, vote_bytes: bytes) -> Vote:
        """Honest servers push the same vote, byte for byte: the last one is remembered."""
        if self._push_read is None or self._push_read[0] != vote_bytes:
            self._push_read = vote_bytes, read_vote(round_, vote_bytes, len(self.operation.calls))
        return self._push_read[1]

    def _take_push(self, now_ns: int, server: int, vote: Vote, tail: bytes) -> bool:
        """Q servers have accepted one candidate, of which b + 1 agree and at most b differ: the calls are done (H4)."""
        is_whole = vote.candidate and vote.version_digest and len(vote.answers) == len(self.operation.calls)
        if not is_whole or not {NOT_RUN, FORGOTTEN}.isdisjoint(vote.answers):
            raise PeerViolation("push-malformed")
        quorums, newer = self._knowledge.quorums, self._knowledge.following.newer
        found = self._pushes.setdefault(server, {})
        found[vote.candidate] = vote, tail
        if len(found) > PUSHES_PER_SERVER_MAX:
            del found[next(iter(found))]
        pushed = {s: each[vote.candidate] for s, each in self._pushes.items() if vote.candidate in each}
        if counted(pushed, newer, quorums.b) < quorums.q:
            return False
        agreed = agreement([(s, result_of(each)) for s, (each, _) in pushed.items()])[0]
        if len(agreed) <= quorums.b or len(pushed) - len(agreed) > quorums.b:
            return False
        self._absorb(pushed)
        for each in pushed.keys() - agreed:
            self._standing.strike(each, "answered differently")
        self._crowd.counters["pushed"] += 1
        self._is_done_by_others = True
        self._end(Answered(pushed[agreed[0]][0].answers))
        self._place.follows_until_ns = now_ns + FOLLOW_ROUND_TRIPS * self._round_trip_ns
        return True

    def _absorb(self, pushed: dict[int, tuple[Vote, bytes]]) -> None:
        """Take over the histories that were pushed: the next operation is conditioned on them."""
        knowledge, votes = self._knowledge, dict[Vote, dict[int, bytes]]()
        for server, (vote, tail) in pushed.items():
            votes.setdefault(vote, {})[server] = tail
        for vote, tails in votes.items():
            believed = knowledge.absorb(self.objects, vote, tails)
            if len(votes) == 1:
                knowledge.remember_fit(self.objects, believed, vote)
        self._standing.note_answered(pushed)

    @property
    def _round_trip_ns(self) -> int:
        return max(self._knowledge.round_trip_ns, limits.BACKOFF_NS)

    def disconnected(self, now_ns: int, server: int) -> None:
        """A connection was lost; what came over it does not count, nor what is confirmed over the next."""
        self._pushes.pop(server, None)
        self._lost.add(server)
        super().disconnected(now_ns, server)

    def evaluate(self, now_ns: int, *, is_patient: bool = True) -> None:
        """See whether the replies so far decide the round; of a withdrawal, whether it is certain by now."""
        round_ = self._round
        if round_ is None or round_.purpose is not Purpose.WITHDRAWAL:
            super().evaluate(now_ns, is_patient=is_patient)
            return
        self._held -= {s for s, vote in round_.votes.items() if vote.status == SUCCESS} - self._lost
        self._weigh()
        if not self._may_be_applied:
            self._crowd.counters["withdrawn"] += 1
            self._end(self._timed_out(Delay.CONTENTION))

    def _judge(self, now_ns: int, round_: Round, *, is_patient: bool) -> Verdict:
        quorums = self._knowledge.quorums
        if self._is_pinned and round_.purpose in _PUSHABLE:
            self._weigh(_keeping(round_))
        if round_.purpose is Purpose.ANNOUNCEMENT:
            newer = self._knowledge.following.newer
            return judge_announcement(round_, quorums, may_be_applied=self._may_be_applied, newer=newer)
        return super()._judge(now_ns, round_, is_patient=is_patient)

    def _follow(self, now_ns: int, round_: Round, verdict: Verdict) -> None:
        if verdict.next is Next.ANSWERED and verdict.is_by_others:
            self._is_done_by_others = True
            if self._meets_others(View(self._knowledge.quorums, self._knowledge.trusted(self.objects[0]))):
                self._place.follows_until_ns = now_ns + FOLLOW_ROUND_TRIPS * self._round_trip_ns
        super()._follow(now_ns, round_, verdict)

    def _close(self, now_ns: int, round_: Round) -> None:
        """Take over what the round showed: also what its servers list."""
        super()._close(now_ns, round_)
        self._first, self._last = self._first or round_, round_
        self._made |= {vote.candidate for vote in round_.votes.values() if vote.status == SUCCESS}
        self._crowd.learn(now_ns, self.objects[0], round_.helps)
        if self._is_pinned and round_.purpose in _PUSHABLE:  # answers may be pushed under its numbers
            self.closed = tuple([each for each in self.closed if each is not round_])
            self._pushable.append(round_)
            if len(self._pushable) > PUSHABLE_ROUNDS_MAX:
                self.closed += (self._pushable.pop(0),)

    # --- dead or alive ----------------------------------------------------------------------------------------

    def _bury(self, round_: Round) -> None:
        """Remember an attempt that is not certainly dead, and who may keep the calls for others to carry."""
        if round_.purpose is Purpose.OPERATION:
            since = self._since
            super()._bury(round_)
            self._since = since if self._is_pinned else self._since
            self._is_attempt_alive = self._is_attempt_alive or not round_.is_dead(self._knowledge.quorums)
        if self._is_pinned and round_.purpose in _PUSHABLE:
            self._held |= _keeping(round_)
        self._weigh()

    def _weigh(self, more: set[int] | None = None) -> None:
        """Whether the calls may be applied: by an attempt of their own, or carried by others (H9)."""
        quorums, held = self._knowledge.quorums, self._held | (more or set())
        self._may_be_applied = self._is_attempt_alive or (bool(held) and len(held) + quorums.b >= quorums.r)

    def _time_out(self, now_ns: int) -> None:
        """Before the deadline of announced calls they are withdrawn: then it can be said that they are not applied."""
        last_ns = max([pending.deadline_ns for pending in self.calls if pending.is_open], default=0)
        first_ns = min([pending.deadline_ns for pending in self.calls if pending.is_open], default=0)
        if now_ns >= first_ns or not self._is_announced:
            super()._time_out(now_ns)
            return
        self.deadline_ns = first_ns
        if first_ns < last_ns or self._is_withdrawing:
            self._sleep(max(self._pauses.until_ns, now_ns + limits.PROBE_AFTER_NS))
            return
        if self._round is not None:
            self._bury(self._round)
            if self._round.purpose in _PUSHABLE:
                self._pushable.append(self._round)
            else:
                self.closed += (self._round,)
        self._is_withdrawing = True
        self._pauses.pace = Pace.ACTIVE
        self._tell_all(now_ns, Purpose.WITHDRAWAL, WITHDRAW)

    def _end(self, outcome: Outcome, *, is_doubtful: bool = False) -> None:
        # Only now, with the whole operation: while it goes on, a call of it whose caller gives up may still be applied.
        is_dead = self._is_pinned and not self._may_be_applied and not self.calls[0].is_fixed
        if is_dead and isinstance(outcome, TimedOut):
            outcome = replace(outcome, since=None)
        self.closed += tuple(self._pushable)
        self._pushable = []
        is_own = isinstance(outcome, Answered) and not self._is_done_by_others
        if not is_own:
            self._place.listed = ()  # somebody else is at it
        if self.is_pure:
            self.closed += (self._round,) if self._round is not None else ()
            self._round, self.is_over = None, True
            return
        if is_own:
            self._place.follows_until_ns = 0
        super()._end(outcome, is_doubtful=is_doubtful)
        for pending in self.again if self._is_pinned else ():
            pending.is_announced, pending.since = True, self._since
        if isinstance(outcome, TimedOut) and self._held and not self._is_withdrawing:
            self._tell_all(0, Purpose.WITHDRAWAL, WITHDRAW)  # nobody waits for the answers
            self.closed += (self._round,) if self._round is not None else ()
            self._round = None

    def leave(self) -> list[Pending]:
        """The calls, to be made in another cluster."""
        calls = super().leave()
        for pending in calls:
            pending.is_announced = self._is_announced
        return calls

    # --- acting on what was learnt ----------------------------------------------------------------------------

    def _act(self, now_ns: int, *, has_failed: bool = False) -> None:
        """H7: act at once where that is certain to help; otherwise let others carry the calls first."""
        quorums, name = self._knowledge.quorums, self.objects[0]
        view = View(quorums, self._knowledge.trusted(name))
        kind, last = classify(quorums, view), self._last
        if self.is_pure and (kind is not Kind.INLINE_METHOD if has_failed else kind is Kind.METHOD):
            if not has_failed and self._place.listed:
                self.operation = self._carrying(b"")
                super()._act(now_ns)
            else:
                self._end(TimedOut(None, 0))
            return
        if not has_failed or not self._may_announce or last is None or not self._meets_others(view):
            super()._act(now_ns, has_failed=has_failed)
            return
        is_operation = last.purpose is Purpose.OPERATION
        is_party = is_operation and any(vote.status == SUCCESS for vote in last.votes.values())
        crowded = is_crowded(last.helps.values(), quorums.b)
        is_first = is_operation and not self._failures and not crowded
        if kind in _INLINE and (is_party or is_first):
            super()._act(now_ns, has_failed=True)
            return
        self._failures += 1
        is_poll, self._is_poll = self._is_poll, False
        if kind is None:
            self._wait(now_ns, 0)
            return
        goes_on = self._note_newest(view.latest)
        if kind is Kind.METHOD and is_first:
            super()._act(now_ns)
        elif self._waits(now_ns, view.latest, is_poll=is_poll, goes_on=goes_on, is_party=is_party, kind=kind):
            self._wait(now_ns, 0 if is_party else WAIT_ROUND_TRIPS)
        else:
            self._missed = 0
            super()._act(now_ns)

    def _meets_others(self, view: View) -> bool:
        """Whether other clients are at it, and no other session of the same one: that and this cannot help each other.

        Servers do not list a client its own calls, and rings protect one call of a client. Who is at it has candidates
        that are newer than what the first attempt knew, or announces calls.

        Story: (1) three programs use one identity, and update one object in a loop. (2) One gets through. (3) The
        others announce their calls, and wait for somebody to carry them: the first one never does. (4) Rings forget
        calls as old as theirs, since later ones of the same client are applied: nobody may carry them any more.
        """
        own, first, last = self._crowd.own, self._first, self._last
        if own is None or first is None or last is None:
            return True
        newer = [each.timestamp for each in view.orders if time_of(each.timestamp) > first.conditioned_time]
        clients = [each[CLIENT_AT:OPERATION_AT] for each in newer if each not in self._made]
        self._has_namesakes = self._has_namesakes or own in clients
        is_seen = any(client != own for client in clients)
        self._has_others = self._has_others or is_seen or is_crowded(last.helps.values(), self._knowledge.quorums.b)
        return self._has_others and not self._has_namesakes

    def _note_newest(self, latest: LogicalTimestamp) -> bool:
        """Whether the newest candidate is another client's, and newer than when last looked."""
        is_fresh, self._seen = self._seen != latest, latest
        return is_fresh and latest not in self._made

    def _waits(
        self, now_ns: int, latest: LogicalTimestamp, *, is_poll: bool, goes_on: bool, is_party: bool, kind: Kind
    ) -> bool:
        """Whether to wait for others; somebody who never carries what is announced is not waited for."""
        by = latest[CLIENT_AT:OPERATION_AT]
        waits_max = 0 if self._place.is_selfish(now_ns, by) else WAITS_MAX
        if not is_poll or (goes_on and self._missed < waits_max):
            self._missed += is_poll
            if not is_party or self._pauses.count:
                return True
            self._pauses.count += 1  # a collision: once it acts at once
        elif goes_on and waits_max and kind is Kind.METHOD:
            self._place.note_selfish(now_ns, by)
        return False

    def _wait(self, now_ns: int, round_trips: int) -> None:
        """Wait for pushes, then announce again."""
        pauses, round_trip_ns = self._pauses, self._round_trip_ns
        some = int(self._random.random() * (round_trip_ns << min(pauses.count, WAIT_DOUBLINGS_MAX)))
        pauses.count += 1
        pauses.pace, pauses.until_ns = Pace.LOOKING, now_ns + round_trips * round_trip_ns + some + 1
        self._is_polling = self._is_poll = True
        self._sleep(pauses.until_ns)


def _keeping(round_: Round) -> set[int]:
    """Servers that may keep the round's calls for others to carry: all but the ones that have refused each frame."""
    return {s for s, count in round_.sent.items() if s in round_.pooled or len(round_.refused.get(s, ())) < count}
