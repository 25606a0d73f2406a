"""What a machine asks its driver to do, and in which order.

The driver carries out an :class:`Actions` from its first field to its last: stage ``store``, then deliver ``send``,
then fetch ``load``, then arm the one timer. A machine puts a frame into ``send`` only when everything it promises is
already durable: it hears of that through its ``durable`` input.
"""

from __future__ import annotations

from typing import Final, NewType

from msgspec import Struct

Channel = NewType("Channel", int)
"""Number of an incoming connection, given by the driver and never used twice."""


NOBODY: Final = Channel(-1)
"""Where a server's answers to requests of its own go."""

OWN_LINK: Final = Channel(0)
"""What comes over a connection that this server has made: answers to what it asked, and nothing else."""


class Write(Struct, frozen=True, array_like=True, gc=False):
    """Changes to one object that belong together.

    Attributes:
        object_id: which object.
        history: canonical bytes of its replica history from now on.
        put: rows to store, none of which is stored yet, as pairs of key and data: a version under its logical
            timestamp, a ring under its name (see :mod:`fivefold.protocol.server.versions`).
        delete: keys of rows to forget.
        is_whole: whether this is all of the object from now on: whatever else is stored of it goes, damaged or not.
    """

    object_id: str
    history: bytes
    put: tuple[tuple[bytes, bytes], ...] = ()
    delete: tuple[bytes, ...] = ()
    is_whole: bool = False


class ObjectRecord(Struct, frozen=True, array_like=True, gc=False):
    """One object as a store gives it back: its history and its other rows, as pairs of key and data."""

    history: bytes
    rows: tuple[tuple[bytes, bytes], ...]


class Damaged(Struct, frozen=True, array_like=True, gc=False):
    """What a store says of an object that is not as it was written: it promises nothing, and never says "not there".

    Attributes:
        reason: one sentence for the operator.
        floor: how far the object had got here (history.floor_of); empty if that cannot be told either.
    """

    reason: str
    floor: bytes = b""


class Listing(Struct, frozen=True, array_like=True, gc=False):
    """A page of the store's objects that a machine asks for; answered by its ``listed`` input.

    Attributes:
        number: that the answer carries.
        after: the page begins with the first id greater than this.
        objects_max: objects at most.
        bytes_max: the page ends with the object that reaches this many bytes.
    """

    number: int
    after: str
    objects_max: int
    bytes_max: int


class Page(Struct, frozen=True, array_like=True, gc=False):
    """A part of a store's list of objects, in the order of their ids.

    Attributes:
        objects: ids and records, each as of one moment; Damaged for one that cannot be read.
        is_last: whether no object comes after these.
    """

    objects: tuple[tuple[str, ObjectRecord | Damaged], ...]
    is_last: bool


class Store(Struct, frozen=True, array_like=True, gc=False):
    """One transaction: all of ``writes`` or none; ``sequence`` counts up by one."""

    sequence: int
    writes: tuple[Write, ...]


class Reply(Struct, frozen=True, array_like=True, gc=False):
    """A frame back over the connection a message came on.

    Attributes:
        channel: the connection.
        frame: the answer.
        since_ns: when the request came that it answers; 0 for what is no request of a client.
    """

    channel: Channel
    frame: bytes
    since_ns: int = 0


class Ask(Struct, frozen=True, array_like=True, gc=False):
    """A frame to a server, by its index in the cluster file."""

    server: int
    frame: bytes


class Fault(Struct, frozen=True):
    """An exception of our own, which ended one input and no other. The driver logs it and closes the connection.

    Attributes:
        what: what was being done, in words.
        error: the exception, with its stack.
        channel: the connection whose input it was; None if it was nobody's.
        objects: what it left half changed, and is set aside.
    """

    what: str
    error: Exception
    channel: Channel | None
    objects: tuple[str, ...] = ()


class Actions(Struct, frozen=True, array_like=True):
    """What to do now, in the order of the fields.

    Attributes:
        store: transactions to stage, in order.
        send: frames to deliver; loss is allowed, order per destination is kept.
        load: objects to read; each answered by the machine's ``loaded`` input.
        wake_at_ns: when to call ``wake`` at the latest, on the clock of ``now_ns``; None for never.
        faults: exceptions of our own, to be logged with their stacks.
        lists: pages of the list of objects to read; each answered by the machine's ``listed`` input.
    """

    store: tuple[Store, ...] = ()
    send: tuple[Reply | Ask, ...] = ()
    load: tuple[str, ...] = ()
    wake_at_ns: int | None = None
    faults: tuple[Fault, ...] = ()
    lists: tuple[Listing, ...] = ()
