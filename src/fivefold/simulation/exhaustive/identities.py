"""What identities hold while one of them is replaced, and what travels between them: for :mod:`replacing`."""

from __future__ import annotations

from typing import NamedTuple

from msgspec import Struct

from fivefold.protocol.operations import ClientId
from fivefold.protocol.records import INITIAL_HISTORY, LogicalTimestamp


class Node(Struct, frozen=True):
    """What one identity holds.

    Attributes:
        history: of the object.
        accepted: the versions that it ever accepted ...
        early: ... and those of them that it accepted while it used the first edition.
        uses: the edition that it uses.
        own: the record of its promises; empty if there is none.
    """

    history: bytes = INITIAL_HISTORY
    accepted: frozenset[LogicalTimestamp] = frozenset()
    early: frozenset[LogicalTimestamp] = frozenset()
    uses: int = 1
    own: bytes = b""


class State(NamedTuple):
    """Nodes, histories and requests by number.

    Attributes:
        nodes: of each identity; the newcomer is last, NOBODY before it is born.
        read: for each of the others the history that the newcomer has read, or UNREAD.
        pending: requests on their way.
    """

    nodes: tuple[int, ...]
    read: tuple[int, ...]
    pending: tuple[int, ...]


class Shown(NamedTuple):
    """A history with the authenticator that one identity has made for it."""

    slot: int
    history: bytes
    macs: bytes


class Asking(Struct, frozen=True):
    """A request on its way.

    Attributes:
        client: who has sent it.
        what: in words.
        shown: what it shows.
        frames: it, for each slot.
    """

    client: ClientId
    what: str
    shown: tuple[Shown, ...]
    frames: tuple[bytes, ...]
