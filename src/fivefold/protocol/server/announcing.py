"""Announcements and withdrawals as they come from clients (H1, H9 of helping; ours)."""

from __future__ import annotations

from collections.abc import Callable

from fivefold.errors import PeerViolation
from fivefold.protocol.actions import Channel
from fivefold.protocol.announcements import decode_announcement
from fivefold.protocol.history import make_histories
from fivefold.protocol.messages import ANNOUNCE, WITHDRAW
from fivefold.protocol.operations import ClientId, Operation
from fivefold.protocol.records import INITIAL_HISTORY, Request
from fivefold.protocol.server.admission import Work
from fivefold.protocol.server.loading import Loads
from fivefold.protocol.server.pool import Pool
from fivefold.protocol.server.synchronise import SyncTable

Judge = Callable[[int, Work, Operation], None]


class Announcing:
    """Turns frames into work, which goes the way of a request that shows no histories and asks for no step."""

    def __init__(
        self,
        n: int,
        numbers: dict[Channel, int],
        pool: Pool,
        judge: Judge,
        loads: Loads,
        syncs: SyncTable[Work],
    ) -> None:
        """``numbers`` are the last of each connection; requests wait for ``loads`` and ``syncs``."""
        self._n, self._numbers, self._pool, self._judge = n, numbers, pool, judge
        self._loads, self._syncs, self._counters = loads, syncs, pool.counters

    def receive(self, now_ns: int, client: ClientId, channel: Channel, frame: bytes) -> None:
        """An announcement or a withdrawal."""
        try:
            number, body, operation = decode_announcement(frame)
            if number <= self._numbers.get(channel, 0):
                raise PeerViolation("replayed")
        except PeerViolation as violation:
            self._counters[f"rejected.{violation.reason}"] += 1
            return
        self._numbers[channel] = number
        name = operation.objects[0]
        nothing = make_histories(name, [INITIAL_HISTORY] * self._n)
        work = Work(channel, client, number, Request(name, (nothing,), body), b"", len(frame), now_ns)
        work.purpose = frame[0]
        if work.purpose == ANNOUNCE:
            self._pool.opened(channel, number)
        else:
            self._withdraw_parked(client, operation)
        self._judge(now_ns, work, operation)

    def _withdraw_parked(self, client: ClientId, operation: Operation) -> None:
        """A request that waits for a load or a sync must not accept or announce any of these calls afterwards."""
        ids = {call.id for call in operation.calls}
        for work in (*self._loads.requests, *self._syncs.waiting):
            if work.client == client and work.operation is not None and work.purpose != WITHDRAW:
                work.is_withdrawn |= not ids.isdisjoint([call.id for call in work.operation.calls])
