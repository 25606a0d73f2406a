"""How long a server takes: from a request to its reply, and for a commit."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from fivefold.protocol.actions import Ask, Reply
from fivefold.protocol.durations import Durations


class Timings:
    """Two histograms, and the transactions that are not durable yet.

    Attributes:
        replies: from a request's frame to the frame that answers it.
        commits: from the moment at which a transaction is staged until it is durable.
    """

    def __init__(self, clock: Callable[[], int]) -> None:
        """Nothing yet; the clock is in ns."""
        self.replies, self.commits = Durations(), Durations()
        self._clock = clock
        self._staged: deque[tuple[int, int]] = deque()

    def staged(self, sequence: int) -> None:
        """A transaction goes to the store."""
        self._staged.append((sequence, self._clock()))

    def durable(self, sequence: int) -> None:
        """All transactions up to this one have reached the disk."""
        now_ns, staged = self._clock(), self._staged
        while staged and staged[0][0] <= sequence:
            self.commits.add(now_ns - staged.popleft()[1])

    def sent(self, messages: Sequence[Reply | Ask]) -> None:
        """These frames have left."""
        if not messages:
            return
        now_ns, add = self._clock(), self.replies.add
        for message in messages:
            if isinstance(message, Reply) and message.since_ns:
                add(now_ns - message.since_ns)
