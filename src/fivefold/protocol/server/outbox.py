"""What a server has to hand over: writes, replies that wait until these are durable, loads (PROTOCOL §4.8, §9)."""

from __future__ import annotations

from fivefold.protocol.actions import Actions, Ask, Fault, Listing, Reply, Store, Write
from fivefold.protocol.operations import ObjectId
from fivefold.protocol.server.replica import Replica


class Outbox:
    """Collects what one input leads to, and keeps back what promises more than the disk holds.

    All writes of an input are one transaction.

    Attributes:
        has_store: whether anything is written at all.
        reached: the last transaction that the store says it has committed.
        durable: the last one whose replies have been let go.
        next_sequence: the transaction that this input's writes become.
        writes: what it consists of so far.
        send: frames that may leave.
        load: objects to read.
        lists: pages of the list of objects to read.
        faults: exceptions to be logged.
        waiting_count: replies that wait for a transaction.
        waiting_bytes: their bytes.
    """

    __slots__ = (
        "_waiting",
        "durable",
        "faults",
        "has_store",
        "lists",
        "load",
        "next_sequence",
        "reached",
        "send",
        "waiting_bytes",
        "waiting_count",
        "writes",
    )

    def __init__(self, *, has_store: bool) -> None:
        """Empty; without a store nothing is written, and nothing waits."""
        self.has_store = has_store
        self.reached = self.durable = 0
        self.next_sequence = 1
        self.waiting_count = self.waiting_bytes = 0
        self.writes: list[Write] = []
        self.send: list[Reply | Ask] = []
        self.load: list[ObjectId] = []
        self.lists: list[Listing] = []
        self.faults: list[Fault] = []
        self._waiting: dict[int, list[Reply]] = {}

    def write_of(self, replica: Replica) -> tuple[Write, ...]:
        """What was done to a replica since it was last asked, to become part of this input's transaction.

        It does once it is added to ``writes``, together with the other objects of its step.
        """
        if self.has_store:
            return (replica.written(self.next_sequence),)
        replica.forget_changes()
        return ()

    def promise(self, reply: Reply, sequence: int) -> None:
        """Send a reply once the transaction that it shows is durable (§4.8)."""
        if sequence <= self.durable:
            self.send.append(reply)
            return
        assert sequence <= self.next_sequence, "a reply promises no transaction that is not staged"
        self._waiting.setdefault(sequence, []).append(reply)
        self.waiting_count += 1
        self.waiting_bytes += len(reply.frame)

    def let_go(self) -> None:
        """The store has committed everything up to ``reached``: what waited for that may leave."""
        assert self.reached < self.next_sequence, "nothing is durable that was not handed over"
        while self.durable < self.reached:
            replies = self._waiting.get(self.durable + 1, ())
            self.send += replies
            self.durable += 1
            self._waiting.pop(self.durable, None)
            self.waiting_count -= len(replies)
            self.waiting_bytes -= sum([len(reply.frame) for reply in replies])

    def recount(self) -> None:
        """Count anew, after an exception: it may have come when replies had left and were not yet forgotten."""
        self._waiting = {sequence: each for sequence, each in self._waiting.items() if sequence > self.durable}
        self.waiting_count = sum(map(len, self._waiting.values()))
        self.waiting_bytes = sum([len(reply.frame) for replies in self._waiting.values() for reply in replies])

    def empty(self, wake_at_ns: int | None) -> Actions:
        """Everything that is to be done now; if that raises, it is still to be done."""
        store: tuple[Store, ...] = ()
        if self.writes:
            store = (Store(self.next_sequence, tuple(self.writes)),)
        actions = Actions(store, tuple(self.send), tuple(self.load), wake_at_ns, tuple(self.faults), tuple(self.lists))
        return self._hand_over(actions, self.next_sequence + len(store))

    def _hand_over(self, actions: Actions, next_sequence: int) -> Actions:
        """These actions leave, and are forgotten here. Nothing takes memory, so nothing can raise in between.

        Otherwise writes could be lost whose histories are shown later, and loads for which requests wait.
        """
        self.next_sequence = next_sequence
        self.writes.clear()
        self.send.clear()
        self.load.clear()
        self.faults.clear()
        self.lists.clear()
        return actions
