"""A client's calls that wait for their objects, and which of them travel together (ours: *combining*).

One client's calls on one object queue up (PROTOCOL §6). What has queued up for one object when it becomes free is sent
as one operation, a list of calls executed in order, each with its own id, answer and rejection. So a hot object costs
one round trip for up to CALLS_MAX calls, not one for each.
"""

from __future__ import annotations

from collections import deque

from fivefold.protocol.limits import ARGUMENTS_BYTES_MAX, CALLS_MAX
from fivefold.protocol.operations import ObjectId, Operation


class Pending:
    """One call as its caller made it.

    Attributes:
        ticket: its number.
        operation: an operation of just this call.
        objects: the operation's objects in the order of their ids.
        is_query: whether it is a query.
        deadline_ns: when its caller gives up.
        is_single: it must not be combined: a resolve, or a call of a combined operation that was refused as a whole.
        is_fixed: a resolve, whose ``since`` is that of the lost call.
    """

    __slots__ = ("deadline_ns", "is_fixed", "is_query", "is_single", "objects", "operation", "ticket")

    def __init__(self, ticket: int, operation: Operation, *, is_query: bool, deadline_ns: int, is_fixed: bool) -> None:
        """Note what was asked for."""
        self.ticket = ticket
        self.operation = operation
        self.objects = operation.objects if len(operation.objects) == 1 else tuple(sorted(operation.objects))
        self.is_query = is_query
        self.deadline_ns = deadline_ns
        self.is_single = is_fixed or len(self.objects) > 1
        self.is_fixed = is_fixed


class Batch:
    """Calls that travel as one operation.

    Attributes:
        calls: the calls in their order.
        open: the tickets whose callers still wait, with each call's position in the operation.
    """

    __slots__ = ("calls", "open")

    def __init__(self, calls: list[Pending]) -> None:
        """Everybody waits."""
        self.calls = calls
        self.open = {pending.ticket: position for position, pending in enumerate(calls)}

    @property
    def number(self) -> int:
        """The first call's ticket names the batch."""
        return self.calls[0].ticket

    @property
    def operation(self) -> Operation:
        """All calls as one operation."""
        first = self.calls[0].operation
        if len(self.calls) == 1:
            return first
        return Operation(first.objects, tuple([pending.operation.calls[0] for pending in self.calls]))

    @property
    def deadline_ns(self) -> int:
        """The earliest deadline among those who still wait."""
        return min([self.calls[position].deadline_ns for position in self.open.values()])

    def is_awaited(self, now_ns: int) -> bool:
        """Whether the deadline of one of those who wait is still to come."""
        return any(self.calls[position].deadline_ns > now_ns for position in self.open.values())

    def expire(self, now_ns: int) -> list[int]:
        """The tickets whose deadline has come; they wait no more."""
        expired = [ticket for ticket, position in self.open.items() if self.calls[position].deadline_ns <= now_ns]
        for ticket in expired:
            del self.open[ticket]
        return expired


class Queues:
    """Calls that wait, object by object, in the order in which they were made."""

    def __init__(self, *, is_combining: bool = True) -> None:
        """Nothing waits; without combining every call travels alone."""
        self._is_combining = is_combining
        self._busy: set[ObjectId] = set()
        self._queues: dict[ObjectId, deque[Pending]] = {}

    def enter(self, pending: Pending) -> bool:
        """Queue a call; True if it may start at once, and then its objects are busy."""
        names = pending.objects
        if not any(name in self._busy or name in self._queues for name in names):
            self._busy.update(names)
            return True
        for name in names:
            self._queues.setdefault(name, deque()).append(pending)
        return False

    def leave(self, pending: Pending) -> None:
        """A waiting call is given up."""
        for name in pending.objects:
            queue = self._queues[name]
            queue.remove(pending)
            if not queue:
                del self._queues[name]

    def release(self, names: tuple[ObjectId, ...]) -> list[Batch]:
        """The objects are free: the calls that may start now, combined; each batch's objects are busy again."""
        self._busy.difference_update(names)
        return self.start(names)

    def start(self, names: tuple[ObjectId, ...]) -> list[Batch]:
        """Calls at the heads of these objects' queues that may start now, as after one before them has left."""
        batches = []
        for name in names:
            queue = self._queues.get(name)
            if queue and self._can_start(queue[0]):
                calls = self._take(queue[0])
                self._busy.update(calls[0].objects)
                batches.append(Batch(calls))
        return batches

    def _can_start(self, pending: Pending) -> bool:
        return all(name not in self._busy and self._queues[name][0] is pending for name in pending.objects)

    def _take(self, first: Pending) -> list[Pending]:
        """The call and those right behind it that can travel with it."""
        self.leave(first)
        calls = [first]
        queue = self._queues.get(first.objects[0])
        if first.is_single or not self._is_combining:
            return calls
        size = len(first.operation.calls[0].arguments)
        while queue and len(calls) < CALLS_MAX:
            other = queue[0]
            size += len(other.operation.calls[0].arguments)
            if other.is_single or other.is_query != first.is_query or size > ARGUMENTS_BYTES_MAX:
                break
            self.leave(other)
            calls.append(other)
            queue = self._queues.get(first.objects[0])
        return calls

    def put_back(self, calls: list[Pending]) -> None:
        """A combined operation was refused as a whole: its calls go first again, each by itself."""
        for pending in reversed(calls):
            pending.is_single = True
            for name in pending.objects:
                self._queues.setdefault(name, deque()).appendleft(pending)
