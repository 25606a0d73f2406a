"""Object sync: fetch a version from the servers that hold it, and never trust one of them (Q/U §3.5, PROTOCOL §5).

One server is asked for the whole version, others for its digest; it is accepted at b + 1 equal digests and a copy
that matches. On silence or mismatch further servers are asked.
"""

from __future__ import annotations

from fivefold.protocol.history import LogicalTimestamp
from fivefold.protocol.limits import SYNC_RETRY_NS, SYNC_TIMEOUT_NS
from fivefold.protocol.messages import SyncReply, SyncRequest, sync_frame
from fivefold.protocol.operations import ObjectId, digest


class Sync:
    """One version being fetched.

    Attributes:
        key: the object and the timestamp.
        version: canonical bytes of the version once it is certain, else None.
        wake_at_ns: when to ask further servers.
        deadline_ns: when to give up.
    """

    __slots__ = ("_copies", "_digests", "_needed", "_number", "_queue", "deadline_ns", "key", "version", "wake_at_ns")

    def __init__(
        self,
        now_ns: int,
        number: int,
        key: tuple[ObjectId, LogicalTimestamp],
        *,
        servers: tuple[int, ...],
        needed: int,
    ) -> None:
        """Prepare to ask ``servers``, likely holders first; ``needed`` equal digests (b + 1) make it certain."""
        self.key = key
        self.version: bytes | None = None
        self.wake_at_ns = now_ns
        self.deadline_ns = now_ns + SYNC_TIMEOUT_NS
        self._number = number
        self._needed = needed
        self._queue = list(servers)
        self._digests: dict[int, bytes] = {}
        self._copies: dict[bytes, bytes] = {}

    def start(self, now_ns: int) -> list[tuple[int, bytes]]:
        """Ask the first servers: pairs of server and frame."""
        self.wake_at_ns = now_ns + SYNC_RETRY_NS
        first, self._queue = self._queue[: self._needed], self._queue[self._needed :]
        return [self._ask(server, is_whole=position == 0) for position, server in enumerate(first)]

    def _ask(self, server: int, *, is_whole: bool) -> tuple[int, bytes]:
        object_id, timestamp = self.key
        return server, sync_frame(SyncRequest(self._number, object_id, timestamp, is_whole))

    def receive(self, server: int, reply: SyncReply) -> list[tuple[int, bytes]]:
        """Count an answer; pairs of server and frame to ask next. ``version`` is set when it is certain."""
        if reply.version:
            if digest(reply.version) != reply.digest:
                return self.ask_further()
            self._copies[reply.digest] = reply.version
        if not reply.digest:
            return self.ask_further()
        self._digests[server] = reply.digest
        agreeing = [each for each, found in self._digests.items() if found == reply.digest]
        if len(agreeing) < self._needed:
            return self.ask_further() if len(set(self._digests.values())) > 1 else []
        if reply.digest in self._copies:
            self.version = self._copies[reply.digest]
            return []
        return [self._ask(agreeing[0], is_whole=True)]

    def ask_further(self) -> list[tuple[int, bytes]]:
        """Ask one server that has not been asked yet, for everything."""
        return [self._ask(self._queue.pop(0), is_whole=True)] if self._queue else []
