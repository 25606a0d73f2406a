"""One client as a state machine: its calls, what it knows, and which reply belongs to which call (PROTOCOL §6).

Calls on one object queue up and travel together; calls on different objects run side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from random import Random
from typing import Final

from fivefold.errors import PeerViolation
from fivefold.native import native
from fivefold.protocol.actions import Ask
from fivefold.protocol.authenticators import columns
from fivefold.protocol.client.alike import ENOUGH, KEPT
from fivefold.protocol.client.crowd import Crowd
from fivefold.protocol.client.helped import HELP_NS, HelpedInvocation, may_help
from fivefold.protocol.client.invocation import Invocation
from fivefold.protocol.client.knowledge import Knowledge
from fivefold.protocol.client.ordinary import Home, Opened, Ordinary, long_of
from fivefold.protocol.client.outcomes import ClientActions, Delay, Finished, TimedOut
from fivefold.protocol.client.pending import Pending
from fivefold.protocol.client.queues import QueueFull, Queues
from fivefold.protocol.client.rounds import Round
from fivefold.protocol.editions import Edition, EditionName
from fivefold.protocol.limits import ANNOUNCED_CALLS_MAX, CALLS_MAX, QUEUED_CALLS_MAX
from fivefold.protocol.messages import REPLY, REPLY_KEY_BYTES, reply_key, request_head, split
from fivefold.protocol.operations import ClientId, ObjectId, Operation
from fivefold.protocol.quorums import QuorumSystem

NEVER_NS: Final = 1 << 63
"""Later than any alarm."""


class Session:
    """Everything one client identity does over its connections.

    Attributes:
        knowledge: cached histories, shared by all calls.
        standing: what speaks against which server, shared by all calls.
        random: source of back-offs, handed in so that a run can be repeated.
        messages_sent: requests sent so far, for benchmarks and tests.
        natively: the rounds of those that are Opened, where there is native code; otherwise None.
        crowd: others that want to update the same objects; None for a session that takes no part in helping.
    """

    def __init__(
        self,
        quorums: QuorumSystem,
        random: Random,
        *,
        is_combining: bool = True,
        edition: Edition | None = None,
        is_helping: bool = False,
        own: ClientId | None = None,
    ) -> None:
        """Start without knowing anything, with an edition of the cluster file, by default a new cluster's.

        ``own`` is whose session it is: others of the same client do not carry its calls.
        """
        self.crowd = Crowd(quorums, own) if is_helping else None
        self.knowledge = Knowledge(quorums, edition)
        self.standing = self.knowledge.standing
        self.random = random
        self.messages_sent = 0
        self._tickets = 0
        self._numbers = 0
        self._queues = Queues(is_combining=is_combining)
        if self.crowd is not None:
            is_busy = self.crowd.is_busy
            self._queues.calls_max_of = lambda name: ANNOUNCED_CALLS_MAX if is_busy(name) else CALLS_MAX
        self._waiting: dict[int, Pending] = {}
        self._running: dict[int, Invocation | Opened] = {}
        self._rounds: dict[bytes, tuple[Invocation, Round]] = {}  # by what replies to it begin with
        self._up: set[int] = set()  # servers whose connection has come, and not gone as far as all here have heard
        self._alarms: list[tuple[int, int]] = []
        self._look_at_ns = NEVER_NS  # when a call that has no alarm yet must have one
        self._send: list[Ask] = []
        self._finished: list[Finished] = []
        self._faults: list[Exception] = []
        self._wake_at_ns: int | None = None
        home = Home(self._running, self._rounds, self._faults, self._look, self._end, self._fail)
        self.natively = Ordinary.of(native, self.knowledge, random, home, self.crowd)

    # --- inputs -----------------------------------------------------------------------------------------------

    def call(
        self, now_ns: int, operation: Operation, *, is_query: bool, deadline_ns: int, is_fixed: bool = False
    ) -> tuple[int, ClientActions]:
        """Start a call, or queue it behind earlier ones on the same objects.

        Args:
            now_ns: the time.
            operation: one call on distinct objects.
            is_query: whether it is a query.
            deadline_ns: when to give up.
            is_fixed: whether the call's ``since`` must stay as it is (a resolve).

        Returns:
            The call's ticket, and what to do now.

        Raises:
            QueueFull: too many calls wait already.
        """
        if len(self._waiting) >= QUEUED_CALLS_MAX:
            raise QueueFull
        self._tickets = ticket = self._tickets + 1
        objects = operation.objects
        if is_single := is_fixed or len(objects) > 1:
            objects = tuple(sorted(objects))
        pending = Pending(ticket, operation, objects, is_query, deadline_ns, is_fixed, is_single)
        if self._queues.enter(pending):
            try:
                self._run(now_ns, [pending])
            except Exception as error:
                self._fail_at_start(now_ns, [pending], error)
        else:
            self._wait(pending)
        return ticket, self._flush()

    def _wait(self, pending: Pending) -> None:
        self._waiting[pending.ticket] = pending
        heappush(self._alarms, (pending.deadline_ns, pending.ticket))

    def receive(self, now_ns: int, server: int, *frames: bytes) -> ClientActions:
        """Frames from a server, named by its connection, in the order in which they came."""
        rounds, has_changed = self._rounds, False
        self.knowledge.heard_ns[server] = now_ns
        if self.natively is not None:  # which has everything looked at that is not like other replies
            has_changed, frames = self.natively.receive(now_ns, server, frames), ()
        for frame in frames:
            found = rounds.get(frame[:REPLY_KEY_BYTES])
            if found is None:
                self._receive_late(server, frame)
                continue
            invocation, round_ = found
            try:
                alike = round_.alike
                if (
                    len(frame) == alike.size
                    and frame.startswith(alike.vote_bytes, REPLY_KEY_BYTES)
                    and server not in (kept := alike.frames)
                    and server in round_.sent
                ):
                    kept[server] = frame
                    if len(kept) < alike.needed:
                        continue
                    invocation.finish_alike(now_ns, round_)
                elif alike.take(server, frame) == KEPT or not self._receive(now_ns, server, frame, found):
                    continue
                self._after(now_ns, invocation)
            except Exception as error:
                self._fail(now_ns, invocation, error)
            has_changed = True
        return self._flush() if has_changed or self._faults else ClientActions((), (), self._wake_at_ns)

    def _look(self, now_ns: int, server: int, frame: bytes | None, found: tuple[Invocation, Round] | None) -> bool:
        """A reply to a round that goes the long way, or all that were kept of it; whether anything may have changed."""
        if found is None:
            self._receive_late(server, frame or b"")
            return False
        invocation, round_ = found
        try:
            taken = ENOUGH if frame is None else round_.alike.take(server, frame)
            if taken == ENOUGH:
                invocation.finish_alike(now_ns, round_)
            elif frame is None or taken == KEPT or not self._receive(now_ns, server, frame, found):
                return False
            self._after(now_ns, invocation)
        except Exception as error:
            self._fail(now_ns, invocation, error)
        return True

    def _end(self, now_ns: int, opened: Opened, finished: Sequence[Finished], again: Sequence[Pending]) -> None:
        """An ordinary round ends its calls, but for those that are to be made again."""
        self._finished += finished
        if again:
            self._put_back(list(again))
        del self._running[opened.ticket]
        self._start_waiting(now_ns, self._queues.free, opened.objects)

    def _receive(self, now_ns: int, server: int, frame: bytes, found: tuple[Invocation, Round]) -> bool:
        """A reply that its round has to look at; whether the invocation may have done something about it."""
        try:
            return found[0].receive(now_ns, server, found[1], frame)
        except PeerViolation:
            self.standing.strike(server, "malformed")
            return False

    def _receive_late(self, server: int, frame: bytes) -> None:
        """A reply that nobody waits for any more; or something else."""
        try:
            try:
                split(frame, REPLY)
            except PeerViolation:
                self.standing.strike(server, "malformed")
            else:
                self.standing.note_answered((server,))
        except Exception as error:  # the frames behind it answer other calls
            self._faults.append(error)

    def connected(self, now_ns: int, server: int) -> ClientActions:
        """A connection is up (again).

        Story: (1) more than b servers have culled server 0, and it is excluded. (2) Its connection is lost, and an
        exception of ours comes between that and its record here. (3) Server 0 is started again with the right keys, and
        stays excluded for good. So the end that was missed is made up for.
        """
        if server in self._up:
            self._lose(now_ns, server)
        self._up.add(server)
        self.knowledge.came(server)
        for invocation in list(self._running.values()):
            self._step(now_ns, invocation, lambda each: each.connected(now_ns, server))
        return self._flush()

    def disconnected(self, now_ns: int, server: int) -> ClientActions:
        """A connection is down: nothing is expected from that server until it is up again."""
        self._lose(now_ns, server)
        return self._flush()

    def _lose(self, now_ns: int, server: int) -> None:
        self.knowledge.went(server)
        for invocation in list(self._running.values()):
            self._step(now_ns, invocation, lambda each: each.disconnected(now_ns, server))
        self._up.discard(server)  # last: what an exception kept from being done is done when it comes again

    def announced(self, now_ns: int, server: int, number: int, digest: bytes) -> ClientActions:
        """A server says, before anything else over its connection, which edition it uses."""
        self.knowledge.hear(server, EditionName(number, digest))
        return self._flush()

    def switch(self, now_ns: int, edition: Edition) -> ClientActions:
        """Use a later edition: every round begins anew, with nothing known (R7).

        The driver takes it over once b + 1 servers have announced it; connections to the identities that it replaces
        are gone before. If an exception of ours comes out of this, the driver calls it again.
        """
        self.knowledge.use(edition)
        for invocation in list(self._running.values()):
            self._step(now_ns, invocation, lambda each: each.start_again(now_ns))
        return self._flush()

    def leave(self) -> list[Pending]:
        """Give all open calls away, because the cluster has moved: a session with the new one takes them (M4).

        Nothing is accepted here any more, and all that was accepted is there, with the ids of the calls. So they are
        made again there, under the same ids: what was applied here is answered as it was.
        """
        calls = [pending for each in list(self._running.values()) for pending in long_of(each).leave()]
        calls += self._waiting.values()
        self._running.clear()
        self._waiting.clear()
        self._rounds.clear()
        self._alarms.clear()
        self._queues = self._queues.emptied()
        return [pending for pending in calls if pending.is_open]

    def take(self, now_ns: int, calls: Sequence[Pending]) -> tuple[list[int], ClientActions]:
        """Go on with calls that another session has given away: their tickets here, and what to do now."""
        tickets = []
        for pending in calls:
            self._tickets = pending.ticket = self._tickets + 1
            tickets.append(pending.ticket)
            if not self._queues.enter(pending):
                self._wait(pending)
                continue
            try:
                self._run(now_ns, [pending])
            except Exception as error:
                self._fail_at_start(now_ns, [pending], error)
        return tickets, self._flush()

    def wake(self, now_ns: int) -> ClientActions:
        """Time has come for the calls that asked to be woken by now."""
        if self._look_at_ns <= now_ns:
            for each in self._running.values():
                if not each.alarm_ns:
                    self._set_alarm(each)
            self._look_at_ns = NEVER_NS  # last: after an error some calls would have no alarm, and never end
        while self._alarms and self._alarms[0][0] <= now_ns:
            alarm = heappop(self._alarms)
            try:
                self._ring(now_ns, *alarm)
            except Exception as error:  # or the call would never end
                heappush(self._alarms, alarm)
                self._faults.append(error)
                break
        return self._flush()

    def _ring(self, now_ns: int, at_ns: int, ticket: int) -> None:
        invocation = self._running.get(ticket)
        if invocation is not None:
            if at_ns == invocation.alarm_ns:  # or it has put its alarm off since
                self._step(now_ns, invocation, lambda each: each.wake(now_ns))
        elif ticket in self._waiting and self._waiting[ticket].deadline_ns <= now_ns:
            self._give_up(now_ns, self._waiting[ticket])

    def abandon(self, now_ns: int, ticket: int) -> ClientActions:
        """The caller is not interested any more: end the call as if its deadline had come."""
        if ticket in self._waiting:
            self._give_up(now_ns, self._waiting[ticket])
            return self._flush()
        for invocation in self._running.values():
            for pending in invocation.calls:
                if pending.ticket == ticket and pending.is_open:
                    pending.deadline_ns = invocation.deadline_ns = now_ns
                    self._step(now_ns, invocation, lambda each: each.wake(now_ns))
                    return self._flush()
        return self._flush()

    def time_of(self, objects: tuple[ObjectId, ...]) -> int:
        """Logical time of the version that an update of these objects would build upon, as far as is known here."""
        sets, _ = self.knowledge.conditions(sorted(objects))
        return self.knowledge.conditioned_time(sets[0])

    # --- exceptions of our own --------------------------------------------------------------------------------

    # An exception of our own (no memory, an assertion) while one operation is worked on ends that operation, whose
    # outcome is then unknown, and no other. What was learnt of its objects is learnt anew.

    def _step(self, now_ns: int, running: Invocation | Opened, act: Callable[[Invocation], None]) -> None:
        try:
            invocation = long_of(running)
            act(invocation)
            self._after(now_ns, invocation)
        except Exception as error:
            self._fail(now_ns, self._running.get(running.ticket, running), error)

    def _fail(self, now_ns: int, invocation: Invocation | Opened, error: Exception) -> None:
        """An operation cannot go on: whatever of it has not ended yet may or may not be applied."""
        self._running.pop(invocation.ticket, None)
        if isinstance(invocation, Opened):
            invocation.home.close(invocation)
        for key in [key for key, (each, _) in self._rounds.items() if each is invocation]:
            del self._rounds[key]
        ended = {each.ticket for each in self._finished}
        self._finished += [each for each in invocation.finished if each.ticket not in ended]
        self._give_calls_up(now_ns, invocation.calls, invocation.lost_since(), error)

    def _fail_at_start(self, now_ns: int, calls: list[Pending], error: Exception) -> None:
        """An operation cannot be started; if it was not, nothing of it has been sent."""
        invocation = self._running.get(calls[0].ticket)
        if invocation is None:
            self._give_calls_up(now_ns, calls, calls[0].since, error)
        else:
            self._fail(now_ns, invocation, error)

    def _give_calls_up(self, now_ns: int, calls: list[Pending], since: int | None, error: Exception) -> None:
        self._faults.append(error)
        ended = {each.ticket for each in self._finished}
        for pending in calls:
            self._queues.forget(pending)
            self._waiting.pop(pending.ticket, None)
            if pending.is_open and pending.ticket not in ended:
                outcome = TimedOut(since, 0, Delay.ERROR, type(error).__name__)
                self._finished.append(Finished(pending.ticket, outcome))
            pending.is_open = False
        self.knowledge.forget(calls[0].objects)
        self._start_waiting(now_ns, self._queues.free, calls[0].objects)

    # --- what invocations want done ---------------------------------------------------------------------------

    def _take_over(self, invocation: Invocation) -> None:
        """Take over what an input has left: requests to send, rounds that are closed, calls that have ended."""
        if invocation.asks:
            for round_, servers in invocation.asks:
                self._ask(invocation, round_, servers)
            invocation.asks = ()
        if invocation.closed:
            for round_ in invocation.closed:
                for key in round_.keys:
                    self._rounds.pop(key, None)
            invocation.closed = ()
        if invocation.finished:
            self._finished += invocation.finished
            invocation.finished = ()
        if invocation.again:
            self._put_back(list(invocation.again))
            invocation.again = ()

    def _ask(self, invocation: Invocation, round_: Round, servers: Sequence[int]) -> None:
        """Send the round's request to servers, under a number of its own: numbers only grow."""
        self._numbers = number = self._numbers + 1
        key = reply_key(number)
        self._rounds[key] = (invocation, round_)
        round_.keys.append(key)
        # The body is the same for all, the column of MACs is each one's own.
        head = request_head(number, round_.body, round_.kind)
        frames = columns(round_.authenticators, self.knowledge.quorums.n, head)
        self._send += map(Ask, servers, map(frames.__getitem__, servers))
        self.messages_sent += len(servers)

    # --- queues -----------------------------------------------------------------------------------------------

    def _start_waiting(
        self,
        now_ns: int,
        take: Callable[[tuple[ObjectId, ...]], list[list[Pending]]],
        objects: tuple[ObjectId, ...],
    ) -> None:
        """Start the calls that may start now; ``take`` takes them out of their queues."""
        for calls in take(objects):
            try:
                self._run(now_ns, calls)
            except Exception as error:
                self._fail_at_start(now_ns, calls, error)

    def _run(self, now_ns: int, calls: list[Pending]) -> None:
        """Start calls that travel together."""
        for pending in calls if self._waiting else ():
            self._waiting.pop(pending.ticket, None)
        first, crowd, natively = calls[0], self.crowd, self.natively
        if natively is not None and (opened := natively.open(now_ns, self._numbers + 1, calls, self._send)):
            self._numbers = opened.number
            self.messages_sent += len(opened.servers)
            self._look_at_ns = min(self._look_at_ns, opened.wake_at_ns)
            return
        if crowd is not None and may_help(first):
            invocation: Invocation = HelpedInvocation(self.knowledge, self.random, calls, crowd)
        else:
            invocation = Invocation(self.knowledge, self.random, calls)
        self._running[invocation.ticket] = invocation
        invocation.send_operation(now_ns)
        for round_, servers in invocation.asks:
            self._ask(invocation, round_, servers)
        invocation.asks = ()
        # Most calls are over long before they need an alarm: it is set for what is there when the first would ring.
        if invocation.wake_at_ns < self._look_at_ns:
            self._look_at_ns = invocation.wake_at_ns

    def _set_alarm(self, invocation: Invocation | Opened) -> None:
        heappush(self._alarms, (invocation.wake_at_ns, invocation.ticket))
        invocation.alarm_ns = invocation.wake_at_ns

    def _after(self, now_ns: int, invocation: Invocation) -> None:
        """After any step of a call: do what it wants done, then set its alarm anew, or start what waited for it."""
        self._take_over(invocation)
        if not invocation.is_over:
            if invocation.wake_at_ns != invocation.alarm_ns:
                self._set_alarm(invocation)
            return
        if self._running.pop(invocation.ticket, None) is None:
            return
        self._start_waiting(now_ns, self._queues.free, invocation.objects)
        if isinstance(invocation, HelpedInvocation) and invocation.carries_on:
            self._help(now_ns, invocation.objects)

    def _help(self, now_ns: int, objects: tuple[ObjectId, ...]) -> None:
        """H5: nothing of our own is to be done, and others wait: carry their calls all the same."""
        self._tickets = ticket = self._tickets + 1
        help_ = Pending(ticket, Operation(objects, ()), objects, False, now_ns + HELP_NS, False, True, is_open=False)
        if self._queues.enter(help_, waits=False):
            try:
                self._run(now_ns, [help_])
            except Exception as error:
                self._fail_at_start(now_ns, [help_], error)

    def _give_up(self, now_ns: int, pending: Pending) -> None:
        """A call's deadline came while it waited: those behind it need not wait for it.

        Nothing was sent for it, unless it travelled in an operation that servers refused.
        """
        self._queues.forget(pending)
        self._finished.append(Finished(pending.ticket, TimedOut(pending.since, 0, Delay.QUEUE)))
        self._start_waiting(now_ns, self._queues.start, pending.objects)
        del self._waiting[pending.ticket]  # last: after an error before this its alarm rings again

    def _put_back(self, calls: list[Pending]) -> None:
        """Calls of a combined operation go first again, each by itself; those whose callers have gone do not."""
        calls = [pending for pending in calls if pending.is_open]
        if calls:
            self._queues.put_back(calls)
        for pending in calls:
            self._wait(pending)

    def _flush(self) -> ClientActions:
        alarms, running, waiting = self._alarms, self._running, self._waiting
        # What is over needs no alarm: a timer for each call that came back in time would cost as much as the call.
        while alarms and (ticket := alarms[0][1]) not in running and ticket not in waiting:
            heappop(alarms)
        if not running:
            self._look_at_ns = NEVER_NS
        at_ns = self._look_at_ns
        if alarms and alarms[0][0] < at_ns:
            at_ns = alarms[0][0]
        self._wake_at_ns = at_ns if at_ns < NEVER_NS else None
        actions = ClientActions(tuple(self._send), tuple(self._finished), self._wake_at_ns, tuple(self._faults))
        self._hand_over()
        return actions

    def _hand_over(self) -> None:
        """What leaves is forgotten here. Nothing takes memory, so nothing can raise in between."""
        self._send.clear()
        self._finished.clear()
        self._faults.clear()
