"""What a server has to hand over: writes, replies that wait until these are durable, loads (PROTOCOL §4.8, §9)."""

from __future__ import annotations

from fivefold.protocol.actions import Actions, Ask, Reply, Store, Write
from fivefold.protocol.operations import ObjectId
from fivefold.protocol.server.replica import Replica


class Outbox:
    """Collects what one input leads to, and keeps back what promises more than the disk holds.

    All writes of an input are one transaction.

    Attributes:
        durable: the last transaction that the store has committed.
        next_sequence: the transaction that this input's writes become.
        send: frames that may leave.
        load: objects to read.
        waiting_count: replies that wait for a transaction.
        waiting_bytes: their bytes.
    """

    __slots__ = (
        "_has_store",
        "_waiting",
        "_writes",
        "durable",
        "load",
        "next_sequence",
        "send",
        "waiting_bytes",
        "waiting_count",
    )

    def __init__(self, *, has_store: bool) -> None:
        """Empty; without a store nothing is written, and nothing waits."""
        self._has_store = has_store
        self.durable = 0
        self.next_sequence = 1
        self.waiting_count = self.waiting_bytes = 0
        self.send: list[Reply | Ask] = []
        self.load: list[ObjectId] = []
        self._waiting: dict[int, list[Reply]] = {}
        self._writes: list[Write] = []

    def stage(self, replica: Replica) -> None:
        """Make what was done to a replica part of this input's transaction."""
        if self._has_store:
            self._writes.append(replica.written(self.next_sequence))
        else:
            replica.forget_changes()

    def promise(self, reply: Reply, sequence: int) -> None:
        """Send a reply once the transaction that it shows is durable (§4.8)."""
        if sequence <= self.durable:
            self.send.append(reply)
        else:
            self._waiting.setdefault(sequence, []).append(reply)
            self.waiting_count += 1
            self.waiting_bytes += len(reply.frame)

    def committed(self, sequence: int) -> None:
        """The store has committed everything up to ``sequence``: what waited for that may leave."""
        for number in range(self.durable + 1, sequence + 1):
            kept = self._waiting.pop(number, None)
            if kept is not None:
                self.waiting_count -= len(kept)
                self.waiting_bytes -= sum([len(reply.frame) for reply in kept])
                self.send += kept
        self.durable = max(self.durable, sequence)

    def empty(self, wake_at_ns: int | None) -> Actions:
        """Everything that is to be done now."""
        store: tuple[Store, ...] = ()
        if self._writes:
            store = (Store(self.next_sequence, tuple(self._writes)),)
            self.next_sequence += 1
            self._writes = []
        actions = Actions(store, tuple(self.send), tuple(self.load), wake_at_ns)
        self.send, self.load = [], []
        return actions
