"""Executors that differ from server to server: older code, methods that are stopped, results that are not the same."""

from __future__ import annotations

from random import Random
from typing import Final

from fivefold.protocol.operations import STOPPED, Call, Executed, Executor, ObjectId

OUT_OF_TIME: Final = STOPPED + b"the method ran for more than 1000 ms and was stopped"
"""What the registry of real objects answers for a method that is out of time."""


class TroubledExecutor:
    """Runs another executor's methods, unless something is wrong with this server.

    Attributes:
        unknown: methods that this server's older code does not have.
        stopped: share of the updates that are stopped before they have done anything.
        is_noisy: whether updates add this server's number to what they write: its code is not everybody's.
    """

    def __init__(self, executor: Executor, random: Random, index: int) -> None:
        """Nothing is wrong yet."""
        self._executor, self._random, self._index = executor, random, index
        self.unknown: frozenset[str] = frozenset()
        self.stopped = 0.0
        self.is_noisy = False

    def initial(self, object_id: ObjectId) -> bytes | None:
        """As ever."""
        return self._executor.initial(object_id)

    def is_update(self, objects: tuple[ObjectId, ...], method: str) -> bool | None:
        """None for a method that the code does not have."""
        return None if method in self.unknown else self._executor.is_update(objects, method)

    def begin(self) -> None:
        """As ever."""
        self._executor.begin()

    def execute(self, objects: tuple[ObjectId, ...], call: Call, states: tuple[bytes, ...]) -> Executed:
        """Run one call, or stop it."""
        if self.stopped and self._random.random() < self.stopped:
            return Executed(OUT_OF_TIME, None)
        done = self._executor.execute(objects, call, states)
        if not self.is_noisy or done.states is None:
            return done
        return Executed(done.answer, tuple(_noisy(state, self._index) for state in done.states))


def _noisy(state: bytes, index: int) -> bytes:
    """A state that only this server writes: small numbers of the simulator's objects, one of them per server."""
    return bytes([100 + index]) if state != bytes([100 + index]) else bytes([101 + index])
