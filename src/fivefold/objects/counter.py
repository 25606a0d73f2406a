"""A whole number that many clients add to."""

from __future__ import annotations

from fivefold.objects.model import Object, query, update


class Counter(Object):
    """Counts; the value may be negative."""

    value: int = 0

    @query
    def get(self) -> int:
        """The current value."""
        return self.value

    @update
    def increment(self, by: int = 1) -> int:
        """Add ``by`` and return the new value."""
        self.value += by
        return self.value

    @update
    def decrement(self, by: int = 1) -> int:
        """Subtract ``by`` and return the new value."""
        self.value -= by
        return self.value

    @update
    def add(self, amount: int) -> None:
        """Add ``amount`` (which may be negative) and return nothing: the smallest possible update."""
        self.value += amount
