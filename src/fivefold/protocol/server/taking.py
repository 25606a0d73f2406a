"""Carries out what Python (``ordinary``) or native code has decided on an ordinary request."""

from __future__ import annotations

from collections import Counter

from fivefold.protocol.actions import Channel, Reply
from fivefold.protocol.operations import ClientId, Operation
from fivefold.protocol.records import LogicalTimestamp, ObjectHistories, Request, Version
from fivefold.protocol.server.acceptance import Acceptance
from fivefold.protocol.server.cache import Cache
from fivefold.protocol.server.ordinary import OrdinaryRequests, reply_to
from fivefold.protocol.server.outbox import Outbox
from fivefold.protocol.server.peers import Peers
from fivefold.protocol.server.replica import Replica, Shown
from fivefold.protocol.server.replies import Replies


class Taking:
    """Takes ordinary requests.

    Attributes:
        ordinary: decides them.
        replicas: their objects.
        replies: signs what they are answered.
        outbox: where replies and writes go.
        counters: of the server.
    """

    def __init__(
        self,
        ordinary: OrdinaryRequests,
        replicas: Cache,
        replies: Replies,
        peers: Peers,
        acceptance: Acceptance,
        outbox: Outbox,
    ) -> None:
        """Share what the machine has."""
        self.ordinary, self.replicas, self.replies, self.outbox = ordinary, replicas, replies, outbox
        self.counters: Counter[str] = replies.counters
        self._witness, self._acceptance = peers.witness, acceptance

    def take(
        self,
        now_ns: int,
        client: ClientId,
        channel: Channel,
        number: int,
        request: Request,
        operation: Operation,
        proof: bytes,
    ) -> bool:
        """Do what the request asks for; False if it is none that is ordinary."""
        replica = self.replicas.hot.get(request.sets[0].object_id)
        if replica is None:
            return False
        decision = self.ordinary.decide(client, request, operation, proof, replica)
        if decision is None:
            return False
        _, timestamp, _, version = decision
        try:
            self._accept(now_ns, replica, request.sets[0], timestamp, version, None)
            frame = reply_to(number, decision, replica.history, self.replies.authenticator(replica))
            self.outbox.promise(Reply(channel, frame, now_ns), replica.sequence)
        except AssertionError as error:
            self._acceptance.isolate((replica.object_id,), error)
            raise
        return True

    def carry_out(
        self,
        now_ns: int,
        reply: Reply,
        replica: Replica,
        verified: ObjectHistories,
        version: Version | None,
        shown: Shown,
    ) -> None:
        """Do what native code has decided, and reply what it has written."""
        try:
            self._accept(now_ns, replica, verified, shown.timestamp, version, shown)
            self.outbox.promise(reply, replica.sequence)
        except AssertionError as error:
            self._acceptance.isolate((replica.object_id,), error)
            raise

    def _accept(
        self,
        now_ns: int,
        replica: Replica,
        verified: ObjectHistories,
        timestamp: LogicalTimestamp,
        version: Version | None,
        shown: Shown | None,
    ) -> None:
        replica.is_recent = True
        self._witness.note(timestamp, verified)
        if version is not None:
            self.counters["accepted.METHOD"] += 1
            self._acceptance.accept_alone(replica, timestamp, version, now_ns, shown)
