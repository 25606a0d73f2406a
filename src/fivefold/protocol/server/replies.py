"""What a server answers its clients: votes with histories and authenticators, and refusals without (PROTOCOL §4.8)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from fivefold.protocol.actions import Reply
from fivefold.protocol.authenticators import MAC_BYTES, AuthenticatorKeys
from fivefold.protocol.history import history_digest
from fivefold.protocol.messages import encode, reply_frame
from fivefold.protocol.operations import REFUSED, ObjectId
from fivefold.protocol.records import Vote
from fivefold.protocol.server.admission import Work
from fivefold.protocol.server.membership import Membership
from fivefold.protocol.server.outbox import Outbox
from fivefold.protocol.server.replica import Replica


class Replies:
    """Puts replies together and hands them to the outbox.

    Attributes:
        keys: what they are signed with.
        membership: which edition is used here.
        counters: of the server.
    """

    def __init__(self, keys: AuthenticatorKeys, membership: Membership, outbox: Outbox, counters: Counter[str]) -> None:
        """Sign with ``keys``; count refusals in ``counters``."""
        self.keys, self.membership, self._outbox, self.counters = keys, membership, outbox, counters
        self._authenticator_bytes = keys.n * MAC_BYTES

    def macs(self, replica: Replica) -> bytes:
        """All MACs over a replica's history, made when somebody first needs them."""
        if replica.macs is None:
            replica.macs = self.keys.macs(history_digest(replica.object_id, replica.history))
        return replica.macs

    def authenticator(self, replica: Replica) -> bytes:
        """The authenticator over a replica's history; without MACs for servers that the cut leaves out (R3)."""
        if replica.macs is None:
            replica.macs = self.keys.macs(history_digest(replica.object_id, replica.history))
        found = replica.macs[: self._authenticator_bytes]
        assert len(found) == self._authenticator_bytes, "a MAC for every server"
        return self.membership.masked(found) if self.membership.untold else found

    def expected(self, server: int, name: ObjectId, history: bytes) -> bytes:
        """The MAC that a server makes for this one over a history."""
        start = self._authenticator_bytes + server * MAC_BYTES
        return self.keys.macs(history_digest(name, history))[start : start + MAC_BYTES]

    def show(
        self,
        work: Work,
        replicas: Sequence[Replica],
        status: int,
        *,
        answers: tuple[bytes, ...] = (),
        candidate: bytes = b"",
        version_digest: bytes = b"",
    ) -> None:
        """Show the histories and their authenticators, but nothing that is not yet durable (§4.8)."""
        histories: tuple[bytes, ...] = ()
        authenticators = []
        sequence = self.membership.sequence
        for replica in replicas:
            histories += (replica.history,)
            if replica.history:
                authenticators.append(self.authenticator(replica))
            if replica.sequence > sequence:
                sequence = replica.sequence
        assert len(histories) == len(work.request.sets), "a history for every object of the request"
        vote = encode(Vote(status, candidate, answers, version_digest, histories, work.culled.servers))
        frame = reply_frame(work.number, vote, authenticators)
        self._outbox.promise(Reply(work.channel, frame, work.since_ns), sequence)

    def turn_away(self, work: Work, status: int, name: str, reason: str) -> None:
        """Answer BUSY or DECLINED, counted as ``name``; without histories, so it need not wait for the disk.

        The reason reaches the caller: a typed error, or why it is to try again later.
        """
        self.counters[f"turned-away.{name}"] += 1
        vote = encode(Vote(status, b"", (REFUSED + reason.encode(),), b"", (), ()))
        self._outbox.send.append(Reply(work.channel, reply_frame(work.number, vote, ()), work.since_ns))
