"""What a server was asked lately, as it tells its operator (ours)."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

SHOWN_MAX: Final = 10
"""Objects, and clients, that are named."""


class Hot(Struct, frozen=True, array_like=True):
    """An object, and what it was asked of late.

    Attributes:
        object_id: which.
        requests: how many of the remembered requests were for it.
        stale: how many of them came too late: another update was first.
    """

    object_id: str
    requests: int
    stale: int


class Loud(Struct, frozen=True, array_like=True):
    """A client, and what it asked of late.

    Attributes:
        client: its id, in hexadecimal.
        requests: how many of the remembered requests were its.
        throttled: how many requests had to wait for its rate since the server started.
        rate: requests a second that it may send; 0 for any.
    """

    client: str
    requests: int
    throttled: int = 0
    rate: int = 0


class Lately(Struct, frozen=True, array_like=True):
    """What a server was asked lately.

    Attributes:
        seconds: how far its memory reaches back.
        requests: remembered ones in that time.
        objects: the hottest and the most contended of them.
        clients: the loudest, and those that had to wait.
    """

    seconds: float
    requests: int
    objects: tuple[Hot, ...] = ()
    clients: tuple[Loud, ...] = ()
