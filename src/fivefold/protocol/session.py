"""One client as a state machine: its calls, what it knows, and which reply belongs to which call (PROTOCOL §6).

Calls on one object queue up and travel together; calls on different objects run side by side.
"""

from __future__ import annotations

from heapq import heappop, heappush
from random import Random

from fivefold.errors import PeerViolation
from fivefold.protocol.actions import Ask
from fivefold.protocol.client import Invocation
from fivefold.protocol.knowledge import Knowledge
from fivefold.protocol.limits import QUEUED_CALLS_MAX
from fivefold.protocol.messages import REPLY, split
from fivefold.protocol.operations import NOT_RUN, Operation
from fivefold.protocol.outcomes import Answered, ClientActions, Disagreed, Finished, Outcome, Refused, TimedOut
from fivefold.protocol.queues import Batch, Pending, Queues
from fivefold.protocol.quorums import QuorumSystem
from fivefold.protocol.rounds import Round


class QueueFull(Exception):
    """More calls wait than QUEUED_CALLS_MAX: the caller is to slow down."""


class Session:
    """Everything one client identity does over its connections.

    Attributes:
        knowledge: cached histories and evidence, shared by all calls.
        random: source of back-offs, handed in so that a run can be repeated.
        messages_sent: requests sent so far, for benchmarks and tests.
    """

    def __init__(self, quorums: QuorumSystem, random: Random, *, is_combining: bool = True) -> None:
        """Start without knowing anything."""
        self.knowledge = Knowledge(quorums)
        self.random = random
        self.messages_sent = 0
        self._tickets = 0
        self._numbers = 0
        self._queues = Queues(is_combining=is_combining)
        self._waiting: dict[int, Pending] = {}
        self._running: dict[int, Invocation] = {}
        self._batches: dict[int, Batch] = {}
        self._rounds: dict[int, tuple[Invocation, Round]] = {}
        self._alarms: list[tuple[int, int]] = []
        self._send: list[Ask] = []
        self._finished: list[Finished] = []

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
        self._tickets += 1
        pending = Pending(self._tickets, operation, is_query=is_query, deadline_ns=deadline_ns, is_fixed=is_fixed)
        if self._queues.enter(pending):
            self._run(now_ns, Batch([pending]))
        else:
            self._waiting[pending.ticket] = pending
            heappush(self._alarms, (deadline_ns, pending.ticket))
        return pending.ticket, self._flush()

    def receive(self, now_ns: int, server: int, *frames: bytes) -> ClientActions:
        """Frames from a server, named by its connection, in the order in which they came."""
        for frame in frames:
            self._receive(now_ns, server, frame)
        return self._flush()

    def _receive(self, now_ns: int, server: int, frame: bytes) -> None:
        try:
            number, vote, tail = split(frame, REPLY)
            found = self._rounds.get(number)
            if found is None:
                self.knowledge.slow.pop(server, None)
            else:
                invocation, round_ = found
                invocation.receive(now_ns, server, round_, vote, tail)
                self._after(now_ns, invocation)
        except PeerViolation:
            self.knowledge.strike(server, "malformed")

    def connected(self, now_ns: int, server: int) -> ClientActions:
        """A connection is up (again)."""
        self.knowledge.down.discard(server)
        self.knowledge.slow.pop(server, None)
        for invocation in list(self._running.values()):
            invocation.connected(now_ns, server)
            self._after(now_ns, invocation)
        return self._flush()

    def disconnected(self, now_ns: int, server: int) -> ClientActions:
        """A connection is down: nothing is expected from that server until it is up again."""
        self.knowledge.down.add(server)
        for invocation in list(self._running.values()):
            invocation.disconnected(now_ns, server)
            self._after(now_ns, invocation)
        return self._flush()

    def wake(self, now_ns: int) -> ClientActions:
        """Time has come for whoever asked to be woken by now."""
        while self._alarms and self._alarms[0][0] <= now_ns:
            _, ticket = heappop(self._alarms)
            invocation = self._running.get(ticket)
            if invocation is not None:
                if invocation.wake_at_ns <= now_ns:
                    invocation.wake(now_ns)
                    self._after(now_ns, invocation)
            elif ticket in self._waiting and self._waiting[ticket].deadline_ns <= now_ns:
                self._give_up(now_ns, self._waiting[ticket])
        return self._flush()

    def abandon(self, now_ns: int, ticket: int) -> ClientActions:
        """The caller is not interested any more: end the call as if its deadline had come."""
        if ticket in self._waiting:
            self._give_up(now_ns, self._waiting[ticket])
            return self._flush()
        for batch in self._batches.values():
            if ticket in batch.open:
                invocation = self._running[batch.number]
                batch.calls[batch.open[ticket]].deadline_ns = invocation.deadline_ns = now_ns
                invocation.wake(now_ns)
                self._after(now_ns, invocation)
                break
        return self._flush()

    # --- what invocations ask for -----------------------------------------------------------------------------

    def next_number(self, invocation: Invocation, round_: Round) -> int:
        """A number for frames of the round; numbers only grow."""
        self._numbers += 1
        self._rounds[self._numbers] = (invocation, round_)
        round_.numbers.append(self._numbers)
        return self._numbers

    def emit(self, asks: list[Ask]) -> None:
        """Send frames."""
        self.messages_sent += len(asks)
        self._send += asks

    def close_round(self, round_: Round) -> None:
        """Replies of the round are of no interest any more."""
        for number in round_.numbers:
            self._rounds.pop(number, None)

    def is_awaited(self, invocation: Invocation, now_ns: int) -> bool:
        """Whether somebody who waits for the operation still has time."""
        return self._batches[invocation.ticket].is_awaited(now_ns)

    def expire(self, invocation: Invocation, now_ns: int, outcome: TimedOut) -> None:
        """A deadline has come: end the calls whose it was."""
        batch = self._batches[invocation.ticket]
        self._finished.extend([Finished(ticket, outcome) for ticket in batch.expire(now_ns)])
        if batch.open:
            invocation.deadline_ns = batch.deadline_ns

    def finish(self, invocation: Invocation, outcome: Outcome) -> None:
        """The operation has ended: each call that is still waited for gets its part of the outcome."""
        batch = self._batches[invocation.ticket]
        match outcome:
            case Answered(answers=answers):
                self._put_back([batch.calls[at] for at in batch.open.values() if answers[at] == NOT_RUN])
                ran = [(ticket, answers[at]) for ticket, at in batch.open.items() if answers[at] != NOT_RUN]
                parts = [Finished(ticket, Answered((answer,))) for ticket, answer in ran]
            case Disagreed():
                named = [(ticket, batch.calls[at].operation.method) for ticket, at in batch.open.items()]
                parts = [Finished(ticket, Disagreed(method)) for ticket, method in named]
            case Refused() if len(batch.calls) > 1:
                # One of them may be at fault, the others are not: each tries again by itself.
                self._put_back([batch.calls[at] for at in batch.open.values()])
                parts = []
            case _:
                parts = [Finished(ticket, outcome) for ticket in batch.open]
        self._finished.extend(parts)

    # --- queues -----------------------------------------------------------------------------------------------

    def _run(self, now_ns: int, batch: Batch) -> None:
        for pending in batch.calls:
            self._waiting.pop(pending.ticket, None)
        first = batch.calls[0]
        invocation = Invocation(
            self,
            batch.number,
            batch.operation,
            is_query=first.is_query,
            deadline_ns=first.deadline_ns if len(batch.calls) == 1 else batch.deadline_ns,
            is_fixed=first.is_fixed,
        )
        self._running[batch.number] = invocation
        self._batches[batch.number] = batch
        invocation.start(now_ns)
        self._after(now_ns, invocation)

    def _after(self, now_ns: int, invocation: Invocation) -> None:
        """After any step of a call: set its alarm anew, or let those go on that waited for it."""
        if not invocation.is_over:
            if invocation.wake_at_ns != invocation.alarm_ns:
                invocation.alarm_ns = invocation.wake_at_ns
                heappush(self._alarms, (invocation.wake_at_ns, invocation.ticket))
            return
        if self._running.pop(invocation.ticket, None) is None:
            return
        del self._batches[invocation.ticket]
        for batch in self._queues.release(invocation.objects):
            self._run(now_ns, batch)

    def _give_up(self, now_ns: int, pending: Pending) -> None:
        """A call's deadline came while it waited: nothing was sent for it, and those behind it need not wait for it."""
        self._queues.leave(pending)
        del self._waiting[pending.ticket]
        self._finished.append(Finished(pending.ticket, TimedOut(None, 0)))
        for batch in self._queues.start(pending.objects):
            self._run(now_ns, batch)

    def _put_back(self, calls: list[Pending]) -> None:
        """Calls of a combined operation go first again, each by itself."""
        if calls:
            self._queues.put_back(calls)
        for pending in calls:
            self._waiting[pending.ticket] = pending
            heappush(self._alarms, (pending.deadline_ns, pending.ticket))

    def _flush(self) -> ClientActions:
        alarms = self._alarms
        # What is over needs no alarm: a timer for each call that came back in time would cost as much as the call.
        while alarms and alarms[0][1] not in self._running and alarms[0][1] not in self._waiting:
            heappop(alarms)
        wake_at_ns = alarms[0][0] if alarms else None
        actions = ClientActions(tuple(self._send), tuple(self._finished), wake_at_ns)
        self._send, self._finished = [], []
        return actions
