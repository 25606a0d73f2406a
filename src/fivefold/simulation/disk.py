"""A simulated disk: transactions become durable a while after they were staged, together (group commit).

A crash loses what was not durable; a transaction that was being written is there afterwards wholly or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from fivefold.protocol.actions import ObjectRecord, Write
from fivefold.protocol.server import OWN_RECORD
from fivefold.simulation.world import World
from fivefold.storage import HeardPage, Loaded, OnDurable, page_of, size_of

RETRY_NS = 20_000_000
"""Pause after a commit that failed."""

OnCommit = Callable[[Sequence[Write]], None]


class Disk:
    """One server's disk; implements the contract of stores (:mod:`fivefold.storage.contract`).

    Attributes:
        commit_ns: how long a commit takes.
        load_ns: how long a load takes.
        slowness: factor on both.
        is_full: whether commits fail.
        on_durable: hears the greatest durable sequence.
        on_failure: hears of a commit that failed.
        on_commit: hears the writes of each commit before ``on_durable`` does; the invariants listen here.
        records: what is durable: history and rows of every object.
    """

    def __init__(self, world: World, random: Random, *, commit_ns: int, load_ns: int) -> None:
        """Empty."""
        self.commit_ns, self.load_ns, self.slowness = commit_ns, load_ns, 1
        self.is_full = False
        self.on_durable: OnDurable = lambda sequence: None
        self.on_commit: OnCommit = lambda writes: None
        self.on_failure: Callable[[], None] = lambda: None
        self.records: dict[str, tuple[bytes, dict[bytes, bytes]]] = {}
        self._world, self._random = world, random
        self._staged: list[tuple[int, Sequence[Write]]] = []
        self._writing: list[tuple[int, Sequence[Write]]] = []
        self._is_busy = False
        self._boots = 0
        self._failure: str | None = None

    # --- the contract -----------------------------------------------------------------------------------------

    def load(self, object_id: str, done: Loaded) -> None:
        """Read one object; the answer comes a while later."""
        boot = self._boots

        def read() -> None:
            if boot == self._boots:
                done(self._record(object_id))

        self._world.after(self.load_ns * self.slowness, read)

    def list_objects(self, after: str, objects_max: int, bytes_max: int, done: HeardPage) -> None:
        """Read a page of the list of objects; the answer comes a while later."""
        boot = self._boots

        def read() -> None:
            if boot == self._boots:
                names = sorted(name for name in self.records if name > after)
                done(page_of(names, objects_max, bytes_max, self._record))

        self._world.after(self.load_ns * self.slowness, read)

    def stage(self, sequence: int, writes: Sequence[Write]) -> None:
        """Take a transaction; it is durable once ``on_durable`` has said so."""
        self._staged.append((sequence, writes))
        if not self._is_busy:
            self._begin()

    @property
    def failure(self) -> str | None:
        """Why commits fail at present, or None."""
        return self._failure

    @property
    def staged_bytes(self) -> int:
        """Bytes that are not durable yet."""
        return sum(size_of(writes) for _, writes in [*self._writing, *self._staged])

    def close(self) -> None:
        """Commit what is staged."""
        self._apply([*self._writing, *self._staged])
        self._forget()

    def own_record(self) -> ObjectRecord | None:
        """What the server has promised of itself: read at the start."""
        return self._record(OWN_RECORD)

    def put(self, write: Write) -> None:
        """Hold this since before the run."""
        self._apply([(0, [write])])

    # --- faults -----------------------------------------------------------------------------------------------

    def crash(self) -> int:
        """Lose what is not durable; what is being written survives by chance, wholly or not at all.

        Returns:
            How many transactions are lost.
        """
        if self._writing and not self.is_full and self._random.random() < 0.5:
            self._apply(self._writing)
            self._writing = []
        lost = len(self._writing) + len(self._staged)
        self._world.counters["disk.unsynced-lost"] += lost
        self._forget()
        return lost

    def forget(self) -> None:
        """Hold nothing any more: only malevolent servers do that."""
        self.records = {}
        self._forget()

    def _forget(self) -> None:
        self._boots += 1
        self._writing, self._staged = [], []
        self._is_busy = False
        self._failure = None

    # --- commits ----------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        self._is_busy = True
        self._writing, self._staged = self._staged, []
        boot = self._boots

        def end() -> None:
            if boot == self._boots:
                self._end()

        self._world.after(self.commit_ns * self.slowness, end)

    def _end(self) -> None:
        if self.is_full:
            self._failure = "the disk is full"
            self.on_failure()
            self._writing, self._staged = [], [*self._writing, *self._staged]
            boot = self._boots
            self._world.after(RETRY_NS, lambda: self._begin() if boot == self._boots else None)
            return
        self._failure = None
        written, self._writing, self._is_busy = self._writing, [], False
        self._apply(written)
        if self._staged:
            self._begin()
        self.on_durable(written[-1][0])

    def _apply(self, transactions: Sequence[tuple[int, Sequence[Write]]]) -> None:
        for _, writes in transactions:
            for write in writes:
                _, rows = self.records.get(write.object_id, (b"", {}))
                for key in write.delete:
                    rows.pop(key, None)
                rows.update(write.put)
                self.records[write.object_id] = (write.history, rows)
            self.on_commit(writes)

    def _record(self, object_id: str) -> ObjectRecord | None:
        found = self.records.get(object_id)
        return None if found is None else ObjectRecord(found[0], tuple(sorted(found[1].items())))
