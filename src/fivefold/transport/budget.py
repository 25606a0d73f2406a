"""Memory that peers can make a listener use, counted in bytes for each identity and for all together."""

from __future__ import annotations


class Budget:
    """Bytes that may be in use at once.

    Attributes:
        left_bytes: how many are not in use.
    """

    __slots__ = ("_whole", "left_bytes")

    def __init__(self, size: int, whole: Budget | None = None) -> None:
        """All of ``size`` bytes are left; what is taken is taken from the ``whole`` too."""
        self.left_bytes = size
        self._whole = whole

    def take(self, size: int) -> bool:
        """Use ``size`` bytes; False, and nothing is taken, if fewer are left here or in the whole."""
        if size > self.left_bytes or (self._whole is not None and not self._whole.take(size)):
            return False
        self.left_bytes -= size
        return True

    def give_back(self, size: int) -> None:
        """Return ``size`` bytes that were taken."""
        self.left_bytes += size
        if self._whole is not None:
            self._whole.give_back(size)


class Lease:
    """What one user of a budget holds of it.

    Attributes:
        size: bytes it holds.
    """

    __slots__ = ("_budget", "size")

    def __init__(self, budget: Budget) -> None:
        """Holds nothing yet."""
        self._budget = budget
        self.size = 0

    def extend(self, size: int) -> bool:
        """Hold ``size`` more bytes; False, and nothing changes, if the budget has fewer left."""
        if not self._budget.take(size):
            return False
        self.size += size
        return True

    def end(self) -> None:
        """Hold nothing any more."""
        if self.size:
            self._budget.give_back(self.size)
            self.size = 0
