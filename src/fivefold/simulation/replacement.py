"""Servers that are replaced in a run: identities, editions, and who has been told.

Clients are told first, and start anew. So one client's round never counts answers of two editions: what rule R7 is for
is the business of directed tests.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from fivefold.cluster import macs_under
from fivefold.protocol.authenticators import AuthenticatorKeys
from fivefold.protocol.editions import Edition
from fivefold.simulation.rack import pair_key, server_keys

if TYPE_CHECKING:
    from fivefold.simulation.servers import ServerHost


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
        editions: by their numbers, from 1 on; the first entry is none.
        files: for each edition, the number of the identity in each slot.
        count: of identities so far.
        hosts: the host of each identity, by its number.
        liars: the numbers of identities that lie.
    """

    def __init__(self, n: int) -> None:
        """The first edition."""
        self.n = n
        self.editions: list[Edition] = []
        self.files: list[tuple[int, ...]] = []
        self._note((1,) * n, tuple(range(n)))
        self.count = n
        self.hosts: dict[int, ServerHost] = {}
        self.liars: frozenset[int] = frozenset()

    def _note(self, since: tuple[int, ...], file: tuple[int, ...]) -> None:
        number = len(self.editions) + 1
        self.editions.append(Edition(number, number.to_bytes(32, "big"), since))
        self.files.append(file)

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

    def replace(self, slot: int) -> Member:
        """A further edition with a new identity in the slot."""
        born = self.newest + 1
        since, file = list(self.editions[-1].since), list(self.files[-1])
        since[slot], file[slot] = born, self.count
        member = Member(self.count, born)
        self.count += 1
        self._note(tuple(since), tuple(file))
        return member

    def keys(self, index: int, member: Member) -> AuthenticatorKeys:
        """A member's keys in the edition that it uses."""
        return identity_keys(index, member.born, self.edition(member.uses).since)

    def knows(self, member: Member, other: Member, slot: int) -> bool:
        """Whether the edition that a member uses has the other's identity in the slot."""
        return self.file(member.uses)[slot] == other.number
