"""The ordinary round in native code: the first attempt at an operation, while all replies to it are alike.

In the good case that is all there is to a call: one request for q servers, q replies that are alike (``alike``), an
outcome. Native code encodes the request, compares the replies, and reads what they say. Whatever is not so goes the
long way: the round is handed over, with the replies that were kept, to an :class:`Invocation`, which goes on as if it
had been there from the beginning. A round has one owner at a time. What is known of objects stays in ``knowledge``.
With helping, updates of one object begin so where nobody else is known to be at it.

A *judge* works some rounds out both ways. Where they differ, Python's way is gone, the driver logs the difference, and
native code is asked no more: nobody knows what else it does wrong.

tests/properties/test_protocol_client.py holds the two against each other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import Random

from msgspec import Struct

from fivefold.native import Differs, Native, Shown
from fivefold.protocol.actions import Ask
from fivefold.protocol.announcements import may_be_announced
from fivefold.protocol.authenticators import columns
from fivefold.protocol.client.alike import ENOUGH, KEPT, Alike
from fivefold.protocol.client.crowd import Crowd
from fivefold.protocol.client.helped import HelpedInvocation, may_help
from fivefold.protocol.client.invocation import Invocation
from fivefold.protocol.client.knowledge import Knowledge
from fivefold.protocol.client.outcomes import Answered, Finished
from fivefold.protocol.client.pending import Pending, share
from fivefold.protocol.client.queues import combined
from fivefold.protocol.client.rounds import Purpose, Round
from fivefold.protocol.messages import REPLY_KEY_BYTES, encode, encode_operation, reply_key, request_head
from fivefold.protocol.operations import ObjectId, Operation
from fivefold.protocol.records import ObjectHistories, Request
from fivefold.protocol.times import TIME_BYTES


class Opened(Struct, eq=False):
    """An ordinary round that is under way: all that is needed to go on with it the long way, but for its replies.

    What a session asks of invocations stands under the same names.

    Attributes:
        home: what has opened it.
        number: that its replies carry.
        ticket: of the first of its calls.
        calls: the calls that travel together.
        operation: theirs.
        objects: its objects, in the order of their ids.
        sets: what it is conditioned on, object by object.
        authenticators: what proves that.
        servers: those asked.
        since: logical time of the version that it builds upon.
        era: of what is known, when it began.
        started_ns: when it began.
        deadline_ns: when the first of its callers gives up.
        wake_at_ns: when something is to be done about it at the latest.
        is_pinned: servers may keep its calls for others to carry if they refuse it (helping).
        alarm_ns: the ``wake_at_ns`` that the session has set an alarm for; 0 if it has set none yet.
        finished: calls that have ended.
    """

    home: Ordinary
    number: int
    ticket: int
    calls: list[Pending]
    operation: Operation
    objects: tuple[ObjectId, ...]
    sets: tuple[ObjectHistories, ...]
    authenticators: bytes
    servers: Sequence[int]
    since: int
    era: int
    started_ns: int
    deadline_ns: int
    wake_at_ns: int
    is_pinned: bool
    alarm_ns: int = 0
    finished: tuple[Finished, ...] = ()

    def lost_since(self) -> int | None:
        """Logical time after which a call may have been applied that went nowhere from here; None for a query."""
        return None if self.calls[0].is_query else self.since

    def request(self) -> Request:
        """The request as the long way has it."""
        operation = encode_operation(self.operation, self.since, self.calls[0].attempts)
        return Request(self.objects[0], self.sets, operation)


class Home(Struct, eq=False):
    """What a session shares with its ordinary rounds.

    Attributes:
        running: what works on each ticket.
        rounds: rounds that go the long way, by what replies to them begin with.
        faults: exceptions of our own, for the driver.
        look: looks at a reply the long way, or at all that were kept of its round.
        end: ends the calls of an ordinary round.
        fail: ends an operation after an exception of our own.
    """

    running: dict[int, Invocation | Opened]
    rounds: dict[bytes, tuple[Invocation, Round]]
    faults: list[Exception]
    look: Callable[[int, int, bytes | None, tuple[Invocation, Round] | None], bool]
    end: Callable[[int, Opened, Sequence[Finished], Sequence[Pending]], None]
    fail: Callable[[int, Invocation | Opened, Exception], None]


def long_of(running: Invocation | Opened) -> Invocation:
    """What goes on with it the long way: an ordinary round is handed over for that."""
    return running if isinstance(running, Invocation) else running.home.hand_over(running)[0]


class Ordinary:
    """Opens ordinary rounds, ends them, and hands them over.

    Attributes:
        judge_every: of every N rounds one is worked out both ways. 0: none.
        is_trusted: the two have never differed here.
    """

    def __init__(
        self, module: Native, knowledge: Knowledge, random: Random, home: Home, crowd: Crowd | None = None
    ) -> None:
        """None is open; ``crowd`` is what is known of others, where clients help each other."""
        self._knowledge, self._random, self._home, self._crowd = knowledge, random, home, crowd
        self._rounds = module.OrdinaryRounds(knowledge.quorums.n, knowledge.quorums.q)
        self.judge_every, self._judge_in, self._panics = 0, 0, 0
        self.is_trusted = True

    @classmethod
    def of(
        cls, module: Native | None, knowledge: Knowledge, random: Random, home: Home, crowd: Crowd | None
    ) -> Ordinary | None:
        """Those of a native module, if there is one."""
        return None if module is None else cls(module, knowledge, random, home, crowd)

    def open(self, now_ns: int, number: int, calls: list[Pending], send: list[Ask]) -> Opened | None:
        """Begin a first attempt at calls that travel together, and add its frames to ``send``; None if it is another.

        As ``Invocation.send_operation`` makes it.
        """
        first = calls[0]
        if first.since is not None or first.is_fixed or not self.is_trusted:
            return None
        knowledge, objects, operation, deadline_ns = self._knowledge, first.objects, first.operation, first.deadline_ns
        if len(calls) > 1:
            operation, deadline_ns = combined(calls), min([pending.deadline_ns for pending in calls])
        is_pinned = False
        if self._crowd is not None and may_help(first):
            if not self._crowd.is_quiet(now_ns, objects[0]):
                return None
            is_pinned = self._crowd.has_announced and may_be_announced(operation)
        sets, authenticators = knowledge.conditions(objects)
        since = 0 if first.is_query else knowledge.conditioned_time(sets[0]) or first.floor
        if is_pinned and since != (knowledge.established_time(objects[0]) or first.floor):
            return None  # what servers may keep names a version that is certainly established
        first.attempts += 1
        servers = knowledge.standing.first_asked(now_ns, objects[0], knowledge.preference(objects[0]))
        wake_at_ns = min(now_ns + knowledge.patience_ns, deadline_ns)
        era = knowledge.following.era
        opened = Opened(
            self, number, first.ticket, calls, operation, objects, sets, authenticators, servers, since, era,
            now_ns, deadline_ns, wake_at_ns, is_pinned,
        )  # fmt: skip
        self._home.running[opened.ticket] = opened  # first: whatever fails from here on is then closed
        frames = self._rounds.open(number, opened, sets, authenticators, operation, since, first.attempts, servers)
        if self.judge_every > 0 and self._is_due():
            frames = self._judged_frames(opened, frames)
        send += map(Ask, servers, frames)
        return opened

    def receive(self, now_ns: int, server: int, frames: tuple[bytes, ...]) -> bool:
        """Frames of a server, in their order: most are like others. Whether anything may have been done about them."""
        home, has_changed = self._home, False
        for opened, other, kept, shown in self._rounds.receive(server, frames) or ():
            if opened is None:
                has_changed |= home.look(now_ns, server, other, home.rounds.get(other[:REPLY_KEY_BYTES]))
                continue
            has_changed = True
            try:
                ended = None if shown is None else self.finish(now_ns, opened, kept, shown)
                if ended is not None:
                    home.end(now_ns, opened, *ended)
                    continue
                found = self.hand_over(opened, kept)
            except Exception as error:
                home.fail(now_ns, home.running.get(opened.ticket) or opened, error)
                continue
            home.look(now_ns, server, other, found)
        return has_changed

    def finish(
        self, now_ns: int, opened: Opened, kept: Mapping[int, bytes], shown: Shown
    ) -> tuple[Sequence[Finished], Sequence[Pending]] | None:
        """Q servers say the same: the calls that have ended, and those to be made again.

        None if that is for the long way to decide, since a server is not trusted or has just come back.
        """
        knowledge, standing = self._knowledge, self._knowledge.standing
        if (
            not self.is_trusted
            or standing.returning.trials
            or knowledge.following.newer
            or opened.era != knowledge.following.era
            or (standing.is_anybody_doubted and any(map(standing.is_doubted, kept)))
            or (self.judge_every > 0 and self._is_due() and not self._is_judged_right(opened, kept, shown))
        ):
            return None
        _, answers, time, histories, holders, rows = shown
        for name, history, row in zip(opened.objects, histories, rows, strict=True):
            knowledge.of(name).fit(ObjectHistories(name, (history,), holders), row, time)
        standing.note_answered(kept)
        knowledge.note_round_trip(now_ns - opened.started_ns)
        finished, again = share(opened.calls, Answered(answers))
        for pending in again if opened.is_pinned else ():
            pending.is_announced, pending.since = True, opened.since
        return finished, again

    def close(self, opened: Opened) -> Mapping[int, bytes]:
        """Give a round up: the replies that it has kept."""
        return self._rounds.close(opened.number) or {}

    def hand_over(self, opened: Opened, kept: Mapping[int, bytes] | None = None) -> tuple[Invocation, Round]:
        """The same round as it would be the long way, with the replies that were kept of it."""
        if self._rounds.panics != self._panics:
            self._panics = self._rounds.panics
            self._home.faults.append(RuntimeError("native code has failed over a reply: Python looks at it"))
        round_ = Round(
            opened.started_ns, Purpose.OPERATION, opened.request(), opened.authenticators,
            q=self._knowledge.quorums.q, servers=opened.servers,
        )  # fmt: skip
        round_.conditioned_time, round_.era = opened.since, opened.era
        round_.keys.append(reply_key(opened.number))
        for server, frame in (self.close(opened) if kept is None else kept).items():
            round_.alike.take(server, frame)
        invocation = self._go_on(opened, round_)
        invocation.wake_at_ns, invocation.alarm_ns = opened.wake_at_ns, opened.alarm_ns
        self._home.running[opened.ticket] = invocation
        self._home.rounds[reply_key(opened.number)] = invocation, round_
        return invocation, round_

    def _go_on(self, opened: Opened, round_: Round) -> Invocation:
        crowd, calls = self._crowd, opened.calls
        if crowd is None or not may_help(calls[0]):
            plain = Invocation(self._knowledge, self._random, calls)
            plain.go_on_with(round_, opened.since)
            return plain
        helped = HelpedInvocation(self._knowledge, self._random, calls, crowd)
        helped.go_on_with(round_, opened.since, is_pinned=opened.is_pinned)
        return helped

    # --- the judge --------------------------------------------------------------------------------------------

    def _is_due(self) -> bool:
        self._judge_in -= 1
        if self._judge_in <= 0:
            self._judge_in = self.judge_every
            return True
        return False

    def _judged_frames(self, opened: Opened, frames: list[bytes]) -> list[bytes]:
        """The frames of a request as Python makes them."""
        all_frames = columns(
            opened.authenticators, self._knowledge.quorums.n, request_head(opened.number, encode(opened.request()))
        )
        judged = [all_frames[server] for server in opened.servers]
        if judged != frames:
            self._differ(f"asks {frames} where Python asks {judged}")
        return judged

    def _is_judged_right(self, opened: Opened, kept: Mapping[int, bytes], shown: Shown) -> bool:
        """Whether the long way finds the same in the replies."""
        quorums = self._knowledge.quorums
        alike = Alike(quorums.q, opened.servers, is_open=True)
        taken = [alike.take(server, frame) for server, frame in kept.items()]
        vote = alike.vote() if taken == [KEPT] * (quorums.q - 1) + [ENOUGH] else None
        judged: Shown | None = None
        if vote is not None and len(vote.answers) == len(opened.operation.calls):
            found = alike.shown(vote, opened.objects, quorums.n)
            time = int.from_bytes(vote.candidate[:TIME_BYTES], "big") if vote.version_digest else 0
            rows = tuple([row for _, row in found])
            if found:
                judged = vote.status, vote.answers, time, vote.histories, found[0][0].holders, rows
        if judged != shown:
            self._differ(f"finds {shown} where Python finds {judged}, in {dict(kept)}")
        return judged == shown

    def _differ(self, text: str) -> None:
        self.is_trusted = False
        self._home.faults.append(Differs(f"native code {text}; it is asked no more"))
