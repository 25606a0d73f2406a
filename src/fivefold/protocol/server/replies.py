"""What a server answers its clients: votes with histories and authenticators, and refusals without (PROTOCOL §4.8)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from fivefold.protocol.actions import Channel, Reply
from fivefold.protocol.authenticators import MAC_BYTES, AuthenticatorKeys
from fivefold.protocol.history import history_digest
from fivefold.protocol.messages import BUSY, SUCCESS, encode, reply_frame
from fivefold.protocol.operations import REFUSED, ClientId, Executor, ObjectId
from fivefold.protocol.records import LogicalTimestamp, Version, Vote
from fivefold.protocol.server.admission import SyncWork, Work, is_server
from fivefold.protocol.server.membership import Membership
from fivefold.protocol.server.outbox import Outbox
from fivefold.protocol.server.pool import Announced, Pool
from fivefold.protocol.server.replica import Replica, newest_version
from fivefold.protocol.server.versions import version_digest


class Replies:
    """Puts replies together and hands them to the outbox.

    Attributes:
        keys: what they are signed with.
        membership: which edition is used here.
        counters: of the server.
        pool: announced calls.
    """

    def __init__(
        self,
        keys: AuthenticatorKeys,
        membership: Membership,
        outbox: Outbox,
        counters: Counter[str],
        executor: Executor,
        pool: Pool,
    ) -> None:
        """Sign with ``keys``; count refusals in ``counters``; list what is in the ``pool``."""
        self.keys, self.membership, self._outbox, self.counters = keys, membership, outbox, counters
        self._executor, self.pool = executor, pool
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
        lacking: tuple[ClientId, ...] = (),
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
        if (self.pool.objects or lacking) and len(replicas) == 1:
            authenticators.append(self._help_for(replicas[0], work.client, lacking))
        frame = reply_frame(work.number, vote, authenticators)
        self._outbox.promise(Reply(work.channel, frame, work.since_ns), sequence)

    def _help_for(self, replica: Replica, reader: ClientId, lacking: tuple[ClientId, ...] = ()) -> bytes:
        if is_server(reader):
            return b""
        return self.pool.help_for(replica.object_id, reader, newest_version(self._executor, replica), lacking)

    def push(self, replica: Replica, candidate: LogicalTimestamp, version: Version, proposer: Channel) -> None:
        """H4: tell the owners of announced calls that a version just accepted has recorded them, once it is durable."""
        for channel, entry, answers in self.pool.answered(replica.object_id, version, proposer):
            self._push(replica, candidate, version, (channel, entry, answers))

    def _push(
        self,
        replica: Replica,
        candidate: LogicalTimestamp,
        version: Version,
        told: tuple[Channel, Announced, tuple[bytes, ...]],
    ) -> None:
        channel, entry, answers = told
        vote = encode(Vote(SUCCESS, candidate, answers, version_digest(version), (replica.history,), ()))
        # Nothing is listed: who was helped carries nobody, somebody else is at it (H5).
        frame = reply_frame(entry.number, vote, (self.authenticator(replica),))
        self._outbox.promise(Reply(channel, frame), max(replica.sequence, self.membership.sequence))
        self.counters["helping.pushed"] += 1

    def refuse_to_wait(self, work: Work | SyncWork) -> None:
        """Too much of its client's, or its server's, waits already."""
        if isinstance(work, SyncWork):
            self.counters["rejected.syncs-flood"] += 1  # it asks others, and has too much under way here already
        else:
            self.turn_away(work, BUSY, "waiting-full", "too many of your requests wait for objects")

    def turn_away(self, work: Work, status: int, name: str, reason: str) -> None:
        """Answer BUSY or DECLINED, counted as ``name``; without histories, so it need not wait for the disk.

        The reason reaches the caller: a typed error, or why it is to try again later.
        """
        self.counters[f"turned-away.{name}"] += 1
        vote = encode(Vote(status, b"", (REFUSED + reason.encode(),), b"", (), ()))
        self._outbox.send.append(Reply(work.channel, reply_frame(work.number, vote, ()), work.since_ns))
