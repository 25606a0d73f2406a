"""Editions of the cluster file: who the servers are, and how one learns that this has changed (ours).

::

    ANNOUNCE      u8 13 | u32 number | digest          which edition the sender uses
    FILE          u8 14 | u32 number | digest          asks for an edition
    FILE_REPLY    u8 15 | u32 number | digest | what the edition says of the servers; nothing if it is not at hand

A new edition changes the identity of one server, or its address. Each has a number, one higher than the last. A server
announces its own as the first frame of every connection, and again when it has switched.

Two kinds of editions change no server. A *sealed* one names a mover, a client: nothing is written any more but the
mover's repairs, while it copies all objects into another cluster. One that *has moved* names that cluster (M1, M4).

An edition is taken over from servers only if b + 1 of them announce it: one of these is honest, so it is one that an
operator has made. They announce its digest, so one copy that fits is as good as b + 1 equal ones.
"""

from __future__ import annotations

from collections.abc import Iterable
from struct import Struct
from typing import Final, NamedTuple

from fivefold.errors import PeerViolation
from fivefold.protocol.limits import EDITION_AGAIN_NS, EDITION_BYTES_MAX, EDITION_NUMBER_MAX, EDITION_PATIENCE_NS
from fivefold.protocol.operations import digest
from fivefold.protocol.quorums import QuorumSystem

ANNOUNCE: Final = 13
FILE: Final = 14
FILE_REPLY: Final = 15

_head: Final = Struct(">BI32s")


class EditionName(NamedTuple):
    """What tells one edition from all others: its number, and the digest of what it says of the servers."""

    number: int
    digest: bytes


class Edition(NamedTuple):
    """What the protocol needs to know of an edition.

    Attributes:
        number: 1 for a new cluster.
        digest: of what it says of the servers.
        since: for each server the edition in which its identity began; another identity has a greater one.
        mover: id of the client that moves a sealed cluster; empty for one that is not sealed.
        has_moved: whether another cluster has taken this one's place.
    """

    number: int
    digest: bytes
    since: tuple[int, ...]
    mover: bytes = b""
    has_moved: bool = False

    @property
    def name(self) -> EditionName:
        """Number and digest."""
        return EditionName(self.number, self.digest)

    def replaced(self, older: Edition) -> tuple[int, ...]:
        """The servers whose identity is another one than in ``older``."""
        pairs = zip(self.since, older.since, strict=True)
        return tuple([server for server, (now, before) in enumerate(pairs) if now != before])


def first_edition(n: int) -> Edition:
    """That of a cluster without a file: in a simulation, or in one process."""
    return Edition(1, bytes(32), (1,) * n)


# --- frames -----------------------------------------------------------------------------------------------------


def announce_frame(name: EditionName) -> bytes:
    """Say which edition the sender uses."""
    return _head.pack(ANNOUNCE, *name)


def file_frame(name: EditionName) -> bytes:
    """Ask for an edition."""
    return _head.pack(FILE, *name)


def file_reply_frame(name: EditionName, contents: bytes) -> bytes:
    """Hand an edition over."""
    return _head.pack(FILE_REPLY, *name) + contents


def is_about_editions(frame: bytes) -> bool:
    """Whether a frame is one of these three."""
    return ANNOUNCE <= frame[0] <= FILE_REPLY


def decode_edition_frame(frame: bytes) -> tuple[int, EditionName, bytes]:
    """Kind, edition and contents of one of these three frames.

    Raises:
        PeerViolation: it is none, or too long.
    """
    size = _head.size
    if len(frame) < size or len(frame) > size + (EDITION_BYTES_MAX if frame[0] == FILE_REPLY else 0):
        raise PeerViolation("edition-malformed")
    kind, number, found = _head.unpack_from(frame)
    if not 1 <= number <= EDITION_NUMBER_MAX:
        raise PeerViolation("edition-malformed")
    return kind, EditionName(number, found), frame[size:]


# --- what others announce, and asking for it ----------------------------------------------------------------------


class Announced:
    """What the servers announce, as one of them or a client hears it, and whom to ask for what is newer.

    At most one server is asked at a time, for what b + 1 announce. So b liars can make nobody take over what no
    operator has made; what they cost is one frame each, now and then, and a wait.

    Attributes:
        own: the edition in use here.
        by: for each server what it has announced last; None if it has announced nothing yet.
    """

    def __init__(self, quorums: QuorumSystem, own: EditionName) -> None:
        """Nothing is heard yet."""
        self.own = own
        self.by: list[EditionName | None] = [None] * quorums.n
        self._b, self._q = quorums.b, quorums.q
        self._asked: int | None = None
        self._asked_for = own
        self._until_ns = 0
        self._again_ns: dict[int, int] = {}

    def hear(self, server: int, name: EditionName) -> None:
        """A server announces its edition."""
        self.by[server] = name

    def use(self, own: EditionName, replaced: Iterable[int]) -> None:
        """Another edition is in use here; what replaced servers said counts no more."""
        self.own = own
        self._asked = None
        self._again_ns.clear()
        for server in replaced:
            self.by[server] = None

    @property
    def wanted(self) -> EditionName | None:
        """The newest edition that b + 1 servers announce, if it is newer than our own."""
        names = {name for name in self.by if name is not None and name.number > self.own.number}
        convincing = [name for name in names if self.by.count(name) > self._b]
        return max(convincing, default=None)

    @property
    def is_agreed(self) -> bool:
        """Whether q servers announce the edition in use: so many have to, before a client leaves for another cluster.

        Story (n = 4, b = 0): (1) one server is told first that the cluster has moved; b + 1 is one. (2) A client takes
        that over, and updates an object in the new cluster. (3) Three servers that were not told yet answer another
        client's query with the old state, after the update was acknowledged. Once q servers have been told, no query
        finds q that were not. And if the cluster was opened again in another file of the same number, fewer than q use
        one of the two: so it is not written to in both clusters.
        """
        return self.by.count(self.own) >= self._q

    def ask(self, now_ns: int, reachable: Iterable[int]) -> tuple[int, bytes] | None:
        """A server to ask now, and the frame for it; to be called after news, and now and then while one is wanted."""
        wanted = self.wanted
        if wanted is None or (self._asked is not None and self._asked_for == wanted and now_ns < self._until_ns):
            return None
        self._asked = None
        for server in reachable:
            if self.by[server] == wanted and self._again_ns.get(server, 0) <= now_ns:
                self._asked, self._asked_for = server, wanted
                self._until_ns, self._again_ns[server] = now_ns + EDITION_PATIENCE_NS, now_ns + EDITION_AGAIN_NS
                return server, file_frame(wanted)
        return None

    def receive(self, server: int, name: EditionName, contents: bytes) -> bytes | None:
        """What a server hands over: the edition that it was asked for, or None, and then another one is to be asked.

        A server that was not asked is not listened to: digesting what it sends costs time.
        """
        if server != self._asked or name != self._asked_for:
            return None
        self._asked = None
        return contents if digest(contents) == name.digest else None
