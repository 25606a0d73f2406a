"""Which edition of the cluster file a server uses, and what it has promised about that for good (R1-R4, R8; ours).

Replacing a server rests on two promises that outlive a crash. They stand in a record of the object store, under an id
that no object has: so they are written in one transaction with what they are about, and read with the same checksums.

The *cut* (R3). Story: (1) a server that still uses the old edition, u, takes the old identity of slot 0 for valid.
(2) A newcomer in slot 0 reads s, and takes over what it finds. (3) s accepts something newer, and signs that for u,
which counts it together with old histories of slot 0, judges an older version established, and prunes. (4) What the
newcomer took over is nowhere any more. So a server that has answered a newcomer born in edition g makes no more MACs
for those that have not announced an edition >= g to it. They are like crashed servers, until they are told.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct

from fivefold.protocol.actions import ObjectRecord, Write
from fivefold.protocol.authenticators import MAC_BYTES
from fivefold.protocol.editions import Edition, EditionName
from fivefold.protocol.operations import ClientId, ObjectId
from fivefold.protocol.quorums import QuorumSystem
from fivefold.protocol.server.outbox import Outbox

OWN_RECORD: Final = ObjectId("!server")
"""Under this id a store keeps what the server says of itself. No type's name begins so, and no list shows it."""


class _Own(Struct, frozen=True, array_like=True):
    """What is kept.

    Attributes:
        cut: the greatest edition in which a newcomer was born that this server has answered; 0 if none.
        standing: the edition in which the identity began that is in standing; 0 for a newcomer.
    """

    cut: int
    standing: int


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(_Own).decode


class Membership:
    """A server's place among the others.

    Attributes:
        own_index: of this server.
        edition: in use.
        announced: for each server the edition that its newest connection has named; None if none has.
        cut: see R3.
        is_standing: whether it may answer for every object; a newcomer only for those it has adopted (R4).
        sequence: the transaction that has the last promise made here.
        untold: the servers that the cut leaves out.
        sealed_at: the last transaction from before the seal of a cluster that moves.
    """

    def __init__(self, quorums: QuorumSystem, own_index: int, edition: Edition, outbox: Outbox) -> None:
        """Nothing was promised yet: a server whose identity is not the slot's first one is a newcomer."""
        self._quorums, self.own_index, self._outbox = quorums, own_index, outbox
        self.edition = edition
        self.announced: list[EditionName | None] = [None] * quorums.n
        self.cut = self.sequence = self._stands_at = self.sealed_at = 0
        self._standing = 1 if self.born == 1 else 0
        self._promised = _Own(0, 0)
        self.untold: tuple[int, ...] = ()

    def start(self, record: ObjectRecord | None) -> None:
        """Take up what was promised before the last restart."""
        if record is not None:
            own = self._promised = _decode(record.history)
            self.cut = own.cut
            self._standing = own.standing or self._standing
        self._note_untold()

    @property
    def born(self) -> int:
        """The edition in which this server's identity began."""
        return self.edition.since[self.own_index]

    @property
    def is_standing(self) -> bool:
        """Whether every object without a record is initial here, and not just unknown (R8)."""
        return self._standing >= self.born and self._stands_at <= self._outbox.durable

    def stand(self) -> None:
        """Everything is adopted: make it durable, and be in standing from then on."""
        self._standing = self.born
        self._promise()
        self._stands_at = self.sequence

    @property
    def will_stand(self) -> bool:
        """Whether it is, or will be once that is durable."""
        return self._standing >= self.born

    def answer_to(self, server: int) -> int:
        """R3: before a newcomer is answered, the cut. Returns the transaction that the answer has to wait for."""
        since = self.edition.since[server]
        if since > max(self.cut, 1):
            self.cut = since
            self._promise()
            self._note_untold()
        return self.sequence

    def _promise(self) -> None:
        own = _Own(self.cut, self._standing)
        assert own.cut >= self._promised.cut, "the cut never falls"
        assert own.standing >= self._promised.standing, "nor does the standing"
        self._promised = own
        if self._outbox.has_store:
            self._outbox.writes.append(Write(OWN_RECORD, _encode(own)))
            self.sequence = self._outbox.next_sequence

    def hear(self, server: int, name: EditionName) -> None:
        """A server's newest connection says which edition it uses."""
        self.announced[server] = name
        self._note_untold()

    def use(self, edition: Edition) -> tuple[int, ...]:
        """Another edition; returns the servers that it replaces, whose word counts no more."""
        replaced = edition.replaced(self.edition)
        self.edition = edition
        if edition.mover and self._outbox.has_store:
            # M1: what is answered from now on shows all that was accepted before the seal. Otherwise the mover could
            # read a list without an update that is staged, and whose SUCCESS leaves a moment later.
            self.sequence = max(self.sequence, self._outbox.next_sequence - (not self._outbox.writes))
            self.sealed_at = self.sequence
        for server in replaced:
            self.announced[server] = None
        self._note_untold()
        return replaced

    @property
    def has_moved(self) -> bool:
        """M4: whether another cluster has taken this one's place."""
        return self.edition.has_moved

    def is_sealed_for(self, client: ClientId, *, is_repair: bool) -> bool:
        """M1: whether nothing may be accepted from a client, since the cluster moves: only its mover may repair."""
        return bool(self.edition.mover) and not (is_repair and client == self.edition.mover)

    def has_followed(self, server: int) -> bool:
        """Whether a server uses this edition, or a newer one: a newcomer may read it (R5)."""
        name = self.announced[server]
        own = self.edition
        return name is not None and (name.number > own.number or name == own.name)

    def _note_untold(self) -> None:
        others = [server for server in range(self._quorums.n) if server != self.own_index]
        numbers = {server: name.number if (name := self.announced[server]) else 0 for server in others}
        self.untold = tuple([server for server in others if numbers[server] < self.cut])

    def masked(self, authenticator: bytes) -> bytes:
        """An authenticator without MACs for the servers that the cut leaves out."""
        macs = bytearray(authenticator)
        for server in self.untold:
            macs[server * MAC_BYTES : (server + 1) * MAC_BYTES] = bytes(MAC_BYTES)
        return bytes(macs)
