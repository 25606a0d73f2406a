"""Servers that are replaced in a run: identities, editions, who has been told, and how one hears of a newer edition.

What a driver does about editions is done here over the simulated network: announcements come with connections, files
are asked for and handed over in frames, which may be lost, and are taken only if b + 1 servers announce them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from fivefold.cluster import macs_under
from fivefold.errors import PeerViolation
from fivefold.protocol.authenticators import AuthenticatorKeys
from fivefold.protocol.editions import FILE_REPLY, Announced, Edition, EditionName, decode_edition_frame
from fivefold.protocol.operations import ClientId, digest
from fivefold.protocol.quorums import QuorumSystem
from fivefold.simulation.chains import Violation
from fivefold.simulation.plan import MILLISECOND
from fivefold.simulation.rack import pair_key, server_keys
from fivefold.simulation.world import World

if TYPE_CHECKING:
    from fivefold.simulation.servers import ServerHost

ASK_AGAIN_NS: Final = 500 * MILLISECOND
"""How often one that waits for a newer edition looks whether another server is to be asked."""


@lru_cache(maxsize=1024)
def identity_keys(index: int, own: int, others: tuple[int, ...]) -> AuthenticatorKeys:
    """Keys of an identity with these others, each named by the edition in which it began."""
    if own == 1 and set(others) == {1}:
        return server_keys(index, len(others))
    pairs = list(enumerate(others))

    def key(sender: int, born: int, receiver: int, other_born: int) -> bytes:
        return pair_key(sender, receiver, b"" if born == other_born == 1 else b"%d %d" % (born, other_born))

    return AuthenticatorKeys(
        index,
        [key(index, own, other, born) for other, born in pairs],
        [key(other, born, index, own) for other, born in pairs],
        macs_under,
    )


class Member:
    """What a host knows of its place.

    Attributes:
        born: the edition in which its identity began.
        uses: the edition that it uses.
        number: of the identity: the slot for the first one, then counted on.
        is_ended: whether the identity is over.
    """

    __slots__ = ("born", "is_ended", "number", "uses")

    def __init__(self, number: int, born: int = 1) -> None:
        """A member of the edition in which it was born."""
        self.number, self.born, self.uses = number, born, born
        self.is_ended = False


class Book:
    """All editions, and the hosts that they name.

    Attributes:
        editions: by their numbers, from 1 on.
        files: for each edition, the number of the identity in each slot.
        count: of identities so far.
        hosts: the host of each identity, by its number.
        lies_since: the identities that lie, each with the edition from which on it does.
        is_handed_on: whether servers ask each other for a newer edition.
    """

    def __init__(self, n: int, *, is_handed_on: bool = True) -> None:
        """The first edition."""
        self.n, self.is_handed_on = n, is_handed_on
        self.editions: list[Edition] = []
        self.files: list[tuple[int, ...]] = []
        self._contents: dict[bytes, bytes] = {}
        self._note((1,) * n, tuple(range(n)))
        self.count = n
        self.hosts: dict[int, ServerHost] = {}
        self.lies_since: dict[int, int] = {}

    def _note(
        self, since: tuple[int, ...], file: tuple[int, ...], mover: bytes = b"", *, has_moved: bool = False
    ) -> None:
        number = len(self.editions) + 1
        name = self._named(number, b"edition %d" % number)
        self.editions.append(Edition(number, name.digest, since, mover, has_moved))
        self.files.append(file)

    def _named(self, number: int, contents: bytes) -> EditionName:
        self._contents[digest(contents)] = contents
        return EditionName(number, digest(contents))

    def invent(self) -> EditionName:
        """An edition that no operator has made."""
        return self._named(self.newest + 1, b"invented %d" % self.newest)

    def contents(self, name: EditionName) -> bytes:
        """What is written in an edition, an invented one, too."""
        return self._contents.get(name.digest, b"")

    def number_of(self, contents: bytes) -> int:
        """The number of an edition by what is written in it.

        Raises:
            Violation: no operator has made it.
        """
        found = digest(contents)
        for edition in self.editions:
            if edition.digest == found:
                return edition.number
        raise Violation("edition", f"an edition was taken over that no operator has made: {contents!r}")

    @property
    def newest(self) -> int:
        """The number of the newest edition."""
        return len(self.editions)

    def edition(self, number: int) -> Edition:
        """An edition by its number."""
        return self.editions[number - 1]

    def file(self, number: int) -> tuple[int, ...]:
        """Which identity an edition names for each slot."""
        return self.files[number - 1]

    def host(self, number: int, slot: int) -> ServerHost:
        """The server that an edition names for a slot."""
        return self.hosts[self.file(number)[slot]]

    def is_liar(self, identity: int) -> bool:
        """Whether an identity lies, now or later."""
        return identity in self.lies_since

    def lies(self, identity: int, number: int) -> bool:
        """Whether an identity lies to those that use an edition."""
        since = self.lies_since.get(identity)
        return since is not None and since <= number

    def replace(self, slot: int) -> Member:
        """A further edition with a new identity in the slot."""
        born = self.newest + 1
        since, file = list(self.editions[-1].since), list(self.files[-1])
        since[slot], file[slot] = born, self.count
        member = Member(self.count, born)
        self.count += 1
        self._note(tuple(since), tuple(file))
        return member

    def seal(self, mover: ClientId) -> None:
        """A further edition with the same servers, which is sealed."""
        self._note(self.editions[-1].since, self.files[-1], mover)

    def open_again(self) -> None:
        """A further edition with the same servers, which is open."""
        self._note(self.editions[-1].since, self.files[-1])

    def hand_over(self, mover: ClientId) -> None:
        """The last edition: another cluster has taken this one's place."""
        self._note(self.editions[-1].since, self.files[-1], mover, has_moved=True)

    def keys(self, index: int, member: Member) -> AuthenticatorKeys:
        """A member's keys in the edition that it uses."""
        return identity_keys(index, member.born, self.edition(member.uses).since)

    def knows(self, member: Member, other: Member, slot: int) -> bool:
        """Whether the edition that a member uses has the other's identity in the slot."""
        return self.file(member.uses)[slot] == other.number


class Follower:
    """What one server or client hears of editions, and how it gets a newer one.

    Attributes:
        announced: the production machine for it.
        is_over: whether its process has ended.
    """

    def __init__(
        self,
        world: World,
        book: Book,
        quorums: QuorumSystem,
        uses: int,
        *,
        send: Callable[[int, bytes], None],
        use: Callable[[int], None],
    ) -> None:
        """Use an edition; ``send`` sends a frame to a server, ``use`` takes a newer edition over."""
        self.announced = Announced(quorums, book.edition(uses).name)
        self.is_over = False
        self._world, self._book, self._send, self._use = world, book, send, use
        self._servers = range(quorums.n)
        self._is_set = False

    def hear(self, server: int, name: EditionName) -> None:
        """A server's connection names its edition."""
        self.announced.hear(server, name)
        self._maybe_ask()

    def receive(self, server: int, frame: bytes) -> None:
        """A frame about editions: what a server hands over.

        Raises:
            Violation: it is taken, though no operator has made it.
        """
        try:
            kind, name, contents = decode_edition_frame(frame)
        except PeerViolation:
            return
        fitting = self.announced.receive(server, name, contents) if kind == FILE_REPLY else None
        if fitting is not None and not self.is_over:
            self._use(self._book.number_of(fitting))
        self._maybe_ask()

    def use(self, number: int, before: int) -> None:
        """Another edition is in use.

        Raises:
            Violation: it is not a later one.
        """
        if number <= before:
            raise Violation("edition", f"edition {number} is used after edition {before}")
        edition = self._book.edition(number)
        self.announced.use(edition.name, edition.replaced(self._book.edition(before)))
        self._maybe_ask()

    def _maybe_ask(self) -> None:
        if self.is_over or self.announced.wanted is None:
            return
        asked = self.announced.ask(self._world.now_ns, self._servers)
        if asked is not None:
            self._send(*asked)
        if not self._is_set:
            self._is_set = True
            self._world.after(ASK_AGAIN_NS, self._ask_again)

    def _ask_again(self) -> None:
        self._is_set = False
        self._maybe_ask()
