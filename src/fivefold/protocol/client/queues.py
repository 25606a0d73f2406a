"""A client's calls that wait for their objects, and which of them travel together (ours: *combining*).

One client's calls on one object queue up (PROTOCOL §6). What has queued up for one object when it becomes free is sent
as one operation, a list of calls executed in order, each with its own id, answer and rejection. So a hot object costs
one round trip for up to CALLS_MAX calls, not one for each.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from fivefold.protocol.client.pending import Pending
from fivefold.protocol.limits import ARGUMENTS_BYTES_MAX, CALLS_MAX
from fivefold.protocol.operations import ObjectId, Operation


class QueueFull(Exception):
    """More calls wait than QUEUED_CALLS_MAX: the caller is to slow down."""


def combined(calls: list[Pending]) -> Operation:
    """Calls that travel together as one operation."""
    first = calls[0].operation
    if len(calls) == 1:
        return first
    return Operation(first.objects, tuple([pending.operation.calls[0] for pending in calls]), first.code)


class Queues:
    """Calls that wait, object by object, in the order in which they were made.

    Attributes:
        calls_max_of: how many calls on an object may travel together.
    """

    def __init__(self, *, is_combining: bool = True) -> None:
        """Nothing waits; without combining every call travels alone."""
        self._is_combining = is_combining
        self.calls_max_of: Callable[[ObjectId], int] = lambda name: CALLS_MAX
        self._busy: set[ObjectId] = set()
        self._queues: dict[ObjectId, deque[Pending]] = {}

    def emptied(self) -> Queues:
        """The same without any call."""
        found = Queues(is_combining=self._is_combining)
        found.calls_max_of = self.calls_max_of
        return found

    def enter(self, pending: Pending, *, waits: bool = True) -> bool:
        """Queue a call, unless it does not wait; True if it may start at once, and then its objects are busy."""
        busy, queues, names = self._busy, self._queues, pending.objects
        for name in names:
            if name in busy or name in queues:
                break
        else:
            busy.update(names)
            return True
        for name in names if waits else ():
            queues.setdefault(name, deque()).append(pending)
        return False

    def leave(self, pending: Pending) -> None:
        """A waiting call is given up."""
        for name in pending.objects:
            queue = self._queues[name]
            queue.remove(pending)
            if not queue:
                del self._queues[name]

    def forget(self, pending: Pending) -> None:
        """A call is not to be started any more, wherever it stands."""
        for name in pending.objects:
            queue = self._queues.get(name)
            if queue is not None and pending in queue:
                queue.remove(pending)
                if not queue:
                    del self._queues[name]

    def free(self, names: tuple[ObjectId, ...]) -> list[list[Pending]]:
        """The objects are free: the calls that may start now, combined; each batch's objects are busy again."""
        self._busy.difference_update(names)
        return self.start(names) if self._queues else []

    def start(self, names: tuple[ObjectId, ...]) -> list[list[Pending]]:
        """Calls at the heads of these objects' queues that may start now, as after one before them has left."""
        batches = []
        for name in names:
            queue = self._queues.get(name)
            if queue and self._can_start(queue[0]):
                calls = self._take(queue[0])
                self._busy.update(calls[0].objects)
                batches.append(calls)
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
        calls_max = self.calls_max_of(first.objects[0]) if queue else 1
        while queue and len(calls) < calls_max:
            other = queue[0]
            size += len(other.operation.calls[0].arguments)
            is_alike = other.is_query == first.is_query and other.operation.code == first.operation.code
            if other.is_single or not is_alike or size > ARGUMENTS_BYTES_MAX:
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
