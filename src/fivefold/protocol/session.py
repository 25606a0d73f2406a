"""One client as a state machine: its calls, what it knows, and which reply belongs to which call (PROTOCOL §6).

Calls on one object queue up; calls on different objects run side by side.
"""

from __future__ import annotations

from collections import deque
from heapq import heappop, heappush
from random import Random

from fivefold.errors import PeerViolation
from fivefold.protocol.actions import Ask
from fivefold.protocol.client import Invocation
from fivefold.protocol.knowledge import Knowledge
from fivefold.protocol.limits import QUEUED_CALLS_MAX
from fivefold.protocol.messages import REPLY, split
from fivefold.protocol.operations import ObjectId, Operation
from fivefold.protocol.outcomes import ClientActions, Finished, Outcome
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

    def __init__(self, quorums: QuorumSystem, random: Random) -> None:
        """Start without knowing anything."""
        self.knowledge = Knowledge(quorums)
        self.random = random
        self.messages_sent = 0
        self._tickets = 0
        self._numbers = 0
        self._running: dict[int, Invocation] = {}
        self._waiting: dict[int, Invocation] = {}
        self._queues: dict[ObjectId, deque[Invocation]] = {}
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
            operation: what to do; its objects are distinct.
            is_query: whether all its calls are queries.
            deadline_ns: when to give up.
            is_fixed: whether the calls' ``since`` must stay as it is (a resolve).

        Returns:
            The call's ticket, and what to do now.

        Raises:
            QueueFull: too many calls wait already.
        """
        if len(self._waiting) >= QUEUED_CALLS_MAX:
            raise QueueFull
        self._tickets += 1
        invocation = Invocation(
            self, self._tickets, operation, is_query=is_query, deadline_ns=deadline_ns, is_fixed=is_fixed
        )
        is_free = True
        for name in invocation.objects:
            queue = self._queues.get(name)
            if queue is None:
                queue = self._queues[name] = deque()
            is_free = is_free and not queue
            queue.append(invocation)
        if is_free:
            self._run(now_ns, invocation)
        else:
            self._waiting[invocation.ticket] = invocation
            heappush(self._alarms, (deadline_ns, invocation.ticket))
        return self._tickets, self._flush()

    def receive(self, now_ns: int, server: int, frame: bytes) -> ClientActions:
        """A frame from a server, named by its connection."""
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
        return self._flush()

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
            invocation = self._running.get(ticket) or self._waiting.get(ticket)
            if invocation is not None and invocation.wake_at_ns <= now_ns:
                invocation.wake(now_ns)
                self._after(now_ns, invocation)
        return self._flush()

    def abandon(self, now_ns: int, ticket: int) -> ClientActions:
        """The caller is not interested any more: end the call as if its deadline had come."""
        invocation = self._running.get(ticket) or self._waiting.get(ticket)
        if invocation is not None:
            invocation.deadline_ns = now_ns
            invocation.wake(now_ns)
            self._after(now_ns, invocation)
        return self._flush()

    # --- what invocations ask for -----------------------------------------------------------------------------

    def next_number(self, invocation: Invocation, round_: Round) -> int:
        """A number for frames of the round; numbers only grow."""
        self._numbers += 1
        self._rounds[self._numbers] = (invocation, round_)
        round_.numbers.append(self._numbers)
        return self._numbers

    def emit(self, invocation: Invocation, round_: Round, frames: list[tuple[int, bytes]]) -> None:
        """Send frames."""
        self.messages_sent += len(frames)
        self._send.extend([Ask(server, frame) for server, frame in frames])

    def close_round(self, round_: Round) -> None:
        """Replies of the round are of no interest any more."""
        for number in round_.numbers:
            self._rounds.pop(number, None)

    def finish(self, invocation: Invocation, outcome: Outcome) -> None:
        """The call has ended."""
        self._finished.append(Finished(invocation.ticket, outcome))

    # --- queues -----------------------------------------------------------------------------------------------

    def _run(self, now_ns: int, invocation: Invocation) -> None:
        self._waiting.pop(invocation.ticket, None)
        self._running[invocation.ticket] = invocation
        invocation.start(now_ns)
        self._after(now_ns, invocation)

    def _after(self, now_ns: int, invocation: Invocation) -> None:
        """After any step of a call: set its alarm anew, or let those go on that waited for it."""
        if not invocation.is_over:
            if invocation.wake_at_ns != invocation.alarm_ns:
                invocation.alarm_ns = invocation.wake_at_ns
                heappush(self._alarms, (invocation.wake_at_ns, invocation.ticket))
            return
        self._running.pop(invocation.ticket, None)
        self._waiting.pop(invocation.ticket, None)
        ready: list[Invocation] = []
        for name in invocation.objects:
            queue = self._queues[name]
            queue.remove(invocation)
            if not queue:
                del self._queues[name]
            else:
                ready.append(queue[0])
        for waiting in ready:
            if waiting.ticket in self._waiting and all(self._queues[name][0] is waiting for name in waiting.objects):
                self._run(now_ns, waiting)

    def _flush(self) -> ClientActions:
        wake_at_ns = self._alarms[0][0] if self._alarms else None
        actions = ClientActions(tuple(self._send), tuple(self._finished), wake_at_ns)
        self._send, self._finished = [], []
        return actions
