"""What the requests that wait at a server use, so that one peer's do not turn everybody else's away."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from fivefold.protocol.limits import (
    LOADS_PER_REQUEST_MAX,
    SYNCS_MAX,
    SYNCS_PER_CLIENT_MAX,
    WAITING_BYTES_PER_CLIENT_MAX,
    WAITING_REQUESTS_PER_CLIENT_MAX,
)
from fivefold.protocol.operations import ClientId
from fivefold.protocol.server.admission import SyncWork, Work


class Shares:
    """Who waits, with how many requests and bytes. Other servers' requests are apart from those of clients.

    Attributes:
        requests: how many of each client wait; those of whom none waits are not in it.
        size: bytes of all clients' requests that wait.
    """

    __slots__ = ("_bytes", "_count", "_syncs", "requests", "size")

    def __init__(self) -> None:
        """Nobody waits."""
        self._count = 0  # how often it was counted anew: what was counted before has left
        self._reset()

    def _reset(self) -> None:
        self._count += 1
        self.size = 0
        self.requests: Counter[ClientId] = Counter()
        self._bytes: Counter[ClientId] = Counter()
        self._syncs: Counter[int | ClientId] = Counter()

    def enter(self, work: Work | SyncWork) -> bool:
        """Let work wait; False, and nothing changes, if its client or server has too much waiting already."""
        if isinstance(work, SyncWork):
            # No honest server has more syncs under way, and no client of ours.
            if self._syncs[work.peer] >= (SYNCS_MAX if isinstance(work.peer, int) else SYNCS_PER_CLIENT_MAX):
                return False
            self._syncs[work.peer] += 1
            work.share = self._count
            return True
        client, size = work.client, self._bytes[work.client] + work.size
        work.waits += 1
        if (
            work.waits > LOADS_PER_REQUEST_MAX
            or self.requests[client] >= WAITING_REQUESTS_PER_CLIENT_MAX
            or size > max(WAITING_BYTES_PER_CLIENT_MAX, work.size)
        ):
            return False
        self.requests[client] += 1
        self._bytes[client] = size
        self.size += work.size
        work.share = self._count
        return True

    def recount(self, waiting: Iterable[Work | SyncWork]) -> None:
        """Count anew after an exception in between; this is what waits."""
        self._reset()
        for work in waiting:
            work.share = self._count
            if isinstance(work, SyncWork):
                self._syncs[work.peer] += 1
            else:
                self.requests[work.client] += 1
                self._bytes[work.client] += work.size
                self.size += work.size

    def leave(self, work: Work | SyncWork) -> None:
        """What work waited for has come, or never will."""
        if work.share != self._count:
            return
        work.share = 0
        if isinstance(work, SyncWork):
            self._syncs[work.peer] -= 1
            if not self._syncs[work.peer]:
                del self._syncs[work.peer]
            return
        client = work.client
        self.requests[client] -= 1
        self._bytes[client] -= work.size
        self.size -= work.size
        if not self.requests[client]:
            del self.requests[client], self._bytes[client]
