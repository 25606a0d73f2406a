"""Which edition of the cluster file each server uses, and what its word is worth therefore (R7 of replacement; ours).

A client counts answers only of the servers in its own file, and it may be the last to hear that one was replaced.
Story: (1) an update reaches the old identity of server 0, whose SUCCESS is under way, and nobody else. (2) Server 0 is
replaced; the new one reads the others and takes over what they hold, without the update. (3) The update reaches servers
1 and 2, which have switched. (4) The client counts 0, 1, 2 and tells its user: done. But of the servers that count now
two hold it, and the next repair copies over it. So of the servers that have announced a newer edition at most b count:
one more proves that the edition exists, and nothing is finished before the client has it.

The other way round, a server that was not told yet finds wrong MACs in all that a newcomer signs, and a newcomer in all
that was signed for its predecessor. That proves nothing against anybody. A report of culling is evidence only if both
servers had announced the client's edition before the histories of the request were fetched.
"""

from __future__ import annotations

from collections.abc import Collection

from fivefold.protocol.editions import Edition, EditionName
from fivefold.protocol.quorums import QuorumSystem


class Following:
    """The editions that the servers use, as one client hears it.

    Attributes:
        edition: the client's own.
        newer: servers that have announced a later one.
        outdated: servers that have announced an earlier one, or another file of the same number. They are asked last.
        era: counts up whenever one more server is known to use the client's edition: what was fetched before may carry
            no MAC for that server.
    """

    def __init__(self, quorums: QuorumSystem, edition: Edition) -> None:
        """Nothing is heard yet."""
        self._b = quorums.b
        self._said: list[EditionName | None] = [None] * quorums.n
        self.edition = edition
        self.newer: frozenset[int] = frozenset()
        self.outdated: frozenset[int] = frozenset()
        self.era = 0
        self._alike: set[int] = set()

    def hear(self, server: int, name: EditionName) -> bool:
        """A server announces its edition; whether that begins another era.

        Each server begins one at most while the client uses one edition: a liar cannot have everything forgotten again
        and again. A cluster none of whose servers was ever replaced has one era.
        """
        self._said[server] = name
        self._note()
        if name != self.edition.name or server in self._alike:
            return False
        self._alike.add(server)
        if max(self.edition.since) == 1:
            return False
        self.era += 1
        return True

    def use(self, edition: Edition) -> None:
        """Use another edition: another era begins. The servers whose identity it replaces have said nothing yet."""
        for server in edition.replaced(self.edition):
            self._said[server] = None
        self._alike = {server for server, name in enumerate(self._said) if name == edition.name}
        self.edition = edition
        self.era += 1
        self._note()

    def _note(self) -> None:
        own = self.edition.name
        said = [(server, name) for server, name in enumerate(self._said) if name is not None and name != own]
        self.newer = frozenset([server for server, name in said if name.number > own.number])
        self.outdated = frozenset([server for server, name in said if name.number <= own.number])

    def may_testify(self, culled: int, by: int) -> bool:
        """Whether it says something against a server that another one culled what was fetched in this era."""
        if max(self.edition.since) == 1:  # a server that has said nothing uses this one: there was no other
            return not {culled, by} & (self.newer | self.outdated)
        return culled in self._alike and by in self._alike and not {culled, by} & (self.newer | self.outdated)


def counted(servers: Collection[int], newer: Collection[int], b: int) -> int:
    """How many of the servers count towards a quorum: of those that use a later edition b at most."""
    return len(servers) - max(0, sum([server in newer for server in servers]) - b) if newer else len(servers)
