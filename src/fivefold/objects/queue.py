"""First in, first out, with a bound."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from fivefold.errors import Rejected
from fivefold.objects.model import Object, query, update
from fivefold.objects.values import Value


class Empty(Rejected):
    """There is nothing to take."""


class Full(Rejected):
    """The queue holds as many values as it may: take some first, or raise its capacity."""


class Queue(Object):
    """A queue of JSON-like values. A taken value is gone: if its taker crashes, the value is lost."""

    values: list[Value] = []  # noqa: RUF012 - a field: every object has its own
    capacity: int = 1000

    @query
    def size(self) -> int:
        """Number of values waiting."""
        return len(self.values)

    @query
    def peek(self) -> Value:
        """The value that would be taken next.

        Raises:
            Empty: there is none.
        """
        if not self.values:
            raise Empty("the queue is empty")
        return self.values[0]

    @update
    def put(self, value: Value) -> int:
        """Append a value; returns how many are waiting now.

        Raises:
            Full: the queue is at its capacity.
        """
        if len(self.values) >= self.capacity:
            raise Full(f"the queue holds {len(self.values)} values, its capacity is {self.capacity}")
        self.values.append(value)
        return len(self.values)

    @update
    def take(self) -> Value:
        """Remove the oldest value and return it.

        Raises:
            Empty: there is none.
        """
        if not self.values:
            raise Empty("the queue is empty")
        return self.values.pop(0)

    @update
    def set_capacity(self, capacity: Annotated[int, Meta(ge=0)]) -> None:
        """Change how many values may wait; values that wait already stay."""
        self.capacity = capacity
