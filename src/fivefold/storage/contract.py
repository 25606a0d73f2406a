"""What the protocol asks of a store: load one object, stage writes, hear when they are durable."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from fivefold.protocol.actions import ObjectRecord, Write


class Storage(Protocol):
    """A store of objects; one instance per server, used from one thread (the event loop's) only.

    The store never blocks that thread on the disk, except in ``open``-like constructors and ``close``.
    """

    def load(self, object_id: str, done: Callable[[ObjectRecord | None], None]) -> None:
        """Read one object and call ``done`` with its record, None if it was never written.

        ``done`` may be called before ``load`` returns (memory) or later from the same thread's event loop (disk).
        A load sees every write that was durable when it was called, and never half of a staged batch.
        """
        ...

    def stage(self, sequence: int, writes: Sequence[Write]) -> None:
        """Hand over writes that belong to one transaction; ``sequence`` grows by every call.

        Writes staged while a commit is under way go together into the next (group commit), in order. When a commit
        has reached the disk the store calls ``on_durable(sequence)`` with the greatest sequence it holds, from the
        event loop's thread. While commits fail (full disk) it keeps what was staged, sets ``failure``, retries, and
        clears ``failure`` after the first commit that worked.
        """
        ...

    @property
    def failure(self) -> str | None:
        """One sentence on why commits fail at present, or None."""
        ...

    @property
    def staged_bytes(self) -> int:
        """Bytes staged and not yet durable: the server refuses requests above a limit."""
        ...

    def close(self) -> None:
        """Commit what is staged if possible, then release the files. No callback is called afterwards."""
        ...
