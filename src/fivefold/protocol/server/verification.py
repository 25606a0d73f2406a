"""In the background a server asks the others whether what clients have left here is established (PROTOCOL §8; ours).

One frame asks about hundreds of objects: whether a server's latest candidate is this one, and durable. Where q servers
say so, this one among them, the candidate is established, by the same count as in any request. A server that lies can
say so, too: as many as b are allowed for in q. What is not confirmed is asked again, and then read and repaired by the
scrub, which shows histories with their MACs: nothing is repaired upon a word.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Final

from msgspec import Struct

from fivefold.protocol.actions import Ask, Channel, Reply
from fivefold.protocol.history import is_barrier
from fivefold.protocol.limits import (
    VERIFY_AFTER_NS,
    VERIFY_AGAIN_NS,
    VERIFY_CALM_NS,
    VERIFY_DOUBLINGS_MAX,
    VERIFY_GRACE_NS,
    VERIFY_OBJECTS_MAX,
    VERIFY_PATIENCE_NS,
    VERIFY_STEP_NS,
    VERIFY_TIMES,
)
from fivefold.protocol.messages import decode_held, decode_held_reply, held_frame, held_reply_frame
from fivefold.protocol.operations import ObjectId
from fivefold.protocol.quorums import QuorumSystem
from fivefold.protocol.records import HeldReply, HeldRequest, LogicalTimestamp
from fivefold.protocol.server.cache import Cache
from fivefold.protocol.server.membership import Membership
from fivefold.protocol.server.outbox import Outbox
from fivefold.protocol.server.unverified import Unverified

_HELD: Final = 1


class _Due(Struct, frozen=True, order=True):
    """An object to be looked at.

    Attributes:
        at_ns: not before; of one that was not asked about yet, since when it is the latest.
        number: orders what is due at the same time.
        name: the object.
        timestamp: its latest candidate when it was put here: if there is another one by then, it waits again.
        times: how often nobody could confirm it.
    """

    at_ns: int
    number: int
    name: ObjectId
    timestamp: LogicalTimestamp
    times: int


class _Batch:
    """Objects that the others are asked about."""

    __slots__ = ("answered", "asked", "confirmed", "items", "number", "wake_at_ns")

    def __init__(self, now_ns: int, number: int, items: list[_Due], asked: set[int]) -> None:
        self.number, self.items, self.asked = number, items, asked
        self.answered: set[int] = set()
        self.confirmed = [0] * len(items)
        self.wake_at_ns = now_ns + VERIFY_PATIENCE_NS


class Verification:
    """Asks about what is open. Its owner hands it answers and the time, and calls :meth:`advance`."""

    def __init__(
        self,
        quorums: QuorumSystem,
        own_index: int,
        unverified: Unverified,
        send: Callable[[list[Ask]], None],
        look_at: Callable[[ObjectId], None],
    ) -> None:
        """Nothing is asked yet; ``look_at`` has an object read, and repaired if its client has left it."""
        self._quorums, self._own_index, self._unverified = quorums, own_index, unverified
        self._send, self._look_at = send, look_at
        self._new: deque[_Due] = deque()  # in the order in which they came: each waits for the same time
        self._again: list[_Due] = []  # what nobody could confirm, by when it is due
        self._queued: set[ObjectId] = set()
        self._batch: _Batch | None = None
        self._numbers = 0
        self._next_ns = 0

    @property
    def wake_at_ns(self) -> int | None:
        """When there is something to do."""
        if self._batch is not None:
            return self._batch.wake_at_ns
        times = [each[0].at_ns + pause_ns for each, pause_ns in ((self._new, self._pause_ns), (self._again, 0)) if each]
        return max(min(times), self._next_ns) if times else None

    @property
    def _pause_ns(self) -> int:
        return VERIFY_AFTER_NS if self._unverified.pressing else VERIFY_CALM_NS

    @property
    def is_idle(self) -> bool:
        """Whether it has to be told of what is fresh: else it comes by itself."""
        return self._batch is None and not (self._new or self._again)

    def forget(self, now_ns: int) -> None:
        """Servers were replaced: what they have said counts no more."""
        batch, self._batch = self._batch, None
        for item in () if batch is None else batch.items:
            self._put(now_ns + VERIFY_AFTER_NS, item.name, item.timestamp, item.times)

    def receive(self, now_ns: int, server: int, frame: bytes) -> None:
        """Another server's answer.

        Raises:
            PeerViolation: no honest server sends that.
        """
        batch = self._batch
        reply = decode_held_reply(frame)
        if batch is None or reply.number != batch.number or server not in batch.asked - batch.answered:
            return
        batch.answered.add(server)
        for position, held in enumerate(reply.held[: len(batch.items)]):
            batch.confirmed[position] += held == _HELD
        if batch.answered == batch.asked or min(batch.confirmed) >= self._needed:
            batch.wake_at_ns = now_ns
        elif len(batch.answered) >= self._needed:
            batch.wake_at_ns = min(batch.wake_at_ns, now_ns + VERIFY_GRACE_NS)

    @property
    def _needed(self) -> int:
        """Others that have to hold a candidate: with this server they are a quorum."""
        return self._quorums.q - 1

    def advance(self, now_ns: int) -> None:
        """Do what is due."""
        fresh, self._unverified.fresh = self._unverified.fresh, []
        self._unverified.has_begun_to_press = False
        for name in fresh:
            if name not in self._queued and (found := self._unverified.open.get(name)):
                self._queued.add(name)
                self._put_new(now_ns, name, found[-1])
        if self._batch is not None and self._batch.wake_at_ns <= now_ns:
            self._judge(now_ns, self._batch)
        if self._batch is None and self._next_ns <= now_ns:
            self._begin(now_ns)

    def _put_new(self, now_ns: int, name: ObjectId, timestamp: LogicalTimestamp) -> None:
        self._numbers += 1
        self._new.append(_Due(now_ns, self._numbers, name, timestamp, 0))

    def _put(self, at_ns: int, name: ObjectId, timestamp: LogicalTimestamp, times: int) -> None:
        self._numbers += 1
        heappush(self._again, _Due(at_ns, self._numbers, name, timestamp, times))

    def _take(self, now_ns: int) -> list[_Due]:
        """What is due, as much of it as one step takes; what was asked about before comes first."""
        taken: list[_Due] = []
        while self._again and self._again[0].at_ns <= now_ns and len(taken) < VERIFY_OBJECTS_MAX:
            taken.append(heappop(self._again))
        since_ns = now_ns - self._pause_ns
        while self._new and self._new[0].at_ns <= since_ns and len(taken) < VERIFY_OBJECTS_MAX:
            taken.append(self._new.popleft())
        return taken

    def _begin(self, now_ns: int) -> None:
        """Ask about what has not changed for a while; have read what nobody could confirm, and ask on about that, too.

        Story: (1) a client makes thousands of objects. (2) Servers are busy and answer late, twice. (3) All that was
        only read from now on, ten objects a second, kept an honest client waiting for minutes.
        """
        items: list[_Due] = []
        taken = self._take(now_ns)
        for item in taken:
            found = self._unverified.open.get(item.name)
            if found is None:
                self._queued.discard(item.name)
                continue
            if found[-1] != item.timestamp:
                self._put_new(now_ns, item.name, found[-1])
                continue
            if item.times >= VERIFY_TIMES:
                self._look_at(item.name)
            if is_barrier(item.timestamp):  # however many hold it
                self._put_again(now_ns, item)
            else:  # again, too, what is to be read: its client may only have been faster than a server
                items.append(item)
        if not taken:
            return
        self._next_ns = now_ns + VERIFY_STEP_NS
        if items:
            self._ask(now_ns, items)

    def _ask(self, now_ns: int, items: list[_Due]) -> None:
        self._numbers += 1
        others = [server for server in range(self._quorums.n) if server != self._own_index]
        self._batch = _Batch(now_ns, self._numbers, items, set(others))
        frame = held_frame(HeldRequest(self._numbers, tuple([(item.name, item.timestamp) for item in items])))
        self._send([Ask(server, frame) for server in others])

    def _put_again(self, now_ns: int, item: _Due) -> None:
        pause_ns = VERIFY_AGAIN_NS << min(max(0, item.times - VERIFY_TIMES), VERIFY_DOUBLINGS_MAX)
        self._put(now_ns + pause_ns, item.name, item.timestamp, item.times + 1)

    def _judge(self, now_ns: int, batch: _Batch) -> None:
        self._batch = None
        for item, confirmed in zip(batch.items, batch.confirmed, strict=True):
            if confirmed < self._needed:
                self._put_again(now_ns, item)
            elif self._unverified.establish(item.name, item.timestamp):
                self._queued.discard(item.name)
            else:
                self._put_new(now_ns, item.name, item.timestamp)


def answer_held(channel: Channel, frame: bytes, replicas: Cache, membership: Membership, outbox: Outbox) -> None:
    """Say which of the candidates are this server's latest ones, and durable.

    Raises:
        PeerViolation: that is no such question.
    """
    request = decode_held(frame)
    held = bytearray(len(request.items))
    for position, (name, timestamp) in enumerate(request.items):
        held[position] = replicas.has_durable(name, timestamp, outbox.durable)
    outbox.promise(Reply(channel, held_reply_frame(HeldReply(request.number, bytes(held)))), membership.sequence)
