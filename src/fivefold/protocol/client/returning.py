"""Servers whose connection has come back: tried with a few objects before they are asked about all again (ours).

Story: (1) a server goes down, and each object moves to a quorum without it, one object sync each. (2) It comes back
having forgotten everything, and with MACs that nobody accepts. (3) A client that trusts it at once asks it about each
object again: one more sync each. (4) When the first of them is used again, its MACs are found out. By then all the
others are conditioned on them, and each needs a repair.

So it is tried with one more object every ``RETURN_EVERY_NS``, until an operation conditioned on a history that it
signed since has been accepted. That is no proof of its honesty: a liar loses by it what it could have spoiled at once.
"""

from __future__ import annotations

from collections import deque

from fivefold.protocol.limits import RETURN_EVERY_NS, RETURN_OBJECTS_MAX
from fivefold.protocol.operations import ObjectId


class _Trial:
    """What one server is tried with."""

    __slots__ = ("next_ns", "objects")

    def __init__(self) -> None:
        self.next_ns = 0
        self.objects: deque[ObjectId] = deque(maxlen=RETURN_OBJECTS_MAX)


class Returning:
    """The servers of one client that have come back and not yet proved useful.

    Attributes:
        trials: what each is tried with. Every request looks whether it is empty, without a call.
    """

    __slots__ = ("trials",)

    def __init__(self) -> None:
        """None of them."""
        self.trials: dict[int, _Trial] = {}

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self.trials)

    def __contains__(self, server: int) -> bool:
        """Whether the server is one of them."""
        return server in self.trials

    def add(self, server: int) -> None:
        """It has come back; what was learnt of it before counts no more."""
        self.trials[server] = _Trial()

    def discard(self, server: int) -> None:
        """It has gone again."""
        self.trials.pop(server, None)

    def maybe_try(self, now_ns: int, object_id: ObjectId) -> None:
        """An operation on the object begins: it may be the next to be tried with."""
        for trial in self.trials.values():
            if trial.next_ns <= now_ns and object_id not in trial.objects:
                trial.next_ns = now_ns + RETURN_EVERY_NS
                trial.objects.append(object_id)

    def is_tried_with(self, server: int, object_id: ObjectId) -> bool:
        """Whether the server is to be asked about the object all the same."""
        return object_id in self.trials[server].objects

    def accepted(self, object_id: ObjectId, holders: bytes) -> None:
        """A quorum accepted an operation on the object that was conditioned on what ``holders`` signed."""
        for server in list(self.trials):
            if holders[server] and self.is_tried_with(server, object_id):
                del self.trials[server]
