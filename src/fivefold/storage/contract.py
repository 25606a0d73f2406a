"""What the protocol asks of a store: load one object, stage writes, hear when they are durable."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

from fivefold.protocol.actions import Damaged, ObjectRecord, Page, Write

Loaded: TypeAlias = Callable[[ObjectRecord | Damaged | None], None]
"""Hears what a load found; None if the object was never written, Damaged if that cannot be told."""

HeardPage: TypeAlias = Callable[[Page | Damaged], None]
"""Hears a page of the list of objects; Damaged if the list itself cannot be read."""

OnDurable: TypeAlias = Callable[[int], None]
"""Hears the greatest sequence that has reached the disk."""


class Storage(Protocol):
    """A store of objects; one instance per server, used from one thread (the event loop's) only.

    The store blocks that thread on the disk in ``open``-like constructors, in ``close``, and for a commit where it has
    found the disk so quick that having another thread wait for it would cost more.
    """

    def load(self, object_id: str, done: Loaded) -> None:
        """Read one object and call ``done`` with its record, None if it was never written.

        ``done`` may be called before ``load`` returns (memory) or later from the same thread's event loop (disk).
        A load sees every write that was durable when it was called, and never half of a staged batch. The record's rows
        come in the order of their keys. An object that cannot be read is never reported as absent: it is tried again
        while the disk may be at fault, and then, or at once if it is not as it was written, ``done`` hears that this
        object is damaged. Other objects do not wait for it.
        """
        ...

    def list_objects(self, after: str, objects_max: int, bytes_max: int, done: HeardPage) -> None:
        """Read the first objects with ids greater than ``after``, in code-point order, and call ``done`` as for a load.

        The page ends with the last object of all, with number ``objects_max``, or with the one that reaches
        ``bytes_max``. Each object is as of one moment since the call, as for a load; one that was first written since
        may be missing. An object that cannot be read is in it as Damaged. Where the order of ids is not what it must
        be, so that one may be hidden, the whole page is Damaged.
        """
        ...

    def stage(self, sequence: int, writes: Sequence[Write]) -> None:
        """Hand over writes that belong to one transaction; ``sequence`` grows by every call.

        Within one write ``delete`` comes before ``put``, and a row is put only while it is not stored. Writes staged
        while a commit is under way go together into the next (group commit), in order. When a commit has reached the
        disk the store calls ``on_durable(sequence)`` with the greatest sequence it holds, from the event loop's thread.
        It may do so before ``stage`` returns (memory), but never inside another call of ``on_durable``: a caller that
        stages from within ``on_durable`` hears of it after returning. While commits fail (full disk) the store keeps
        what was staged, sets ``failure``, retries, and clears ``failure`` after the first commit that worked.
        """
        ...

    def give_way(self) -> None:
        """To be called before each batch of work on the event loop's thread: threads of the store may need a turn."""
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


def size_of(writes: Sequence[Write]) -> int:
    """Bytes that ``writes`` hold, ids and keys included: the unit of ``staged_bytes``."""
    size = 0
    for write in writes:  # plain loops: half the time of sums over generators, and every write passes here
        size += len(write.object_id) + len(write.history)
        for key, data in write.put:
            size += len(key) + len(data)
        for key in write.delete:
            size += len(key)
    return size


def page_of(
    names: Sequence[str], objects_max: int, bytes_max: int, read: Callable[[str], ObjectRecord | Damaged | None]
) -> Page:
    """A page of these objects: ordered ids, one more than ``objects_max`` if there are more."""
    objects: list[tuple[str, ObjectRecord | Damaged]] = []
    size = 0
    for name in names:
        if len(objects) == objects_max or size >= bytes_max:
            return Page(tuple(objects), is_last=False)
        record = read(name)
        if record is None:
            record = Damaged(f"{name} is in the list of objects, and was never written")
        if isinstance(record, ObjectRecord):
            size += len(record.history) + sum(len(key) + len(data) for key, data in record.rows)
        size += len(name)
        objects.append((name, record))
    return Page(tuple(objects), is_last=True)
