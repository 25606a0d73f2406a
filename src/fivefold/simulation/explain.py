"""Says what recorded events mean: what each request calls for, and why (:mod:`fivefold.simulation.meanings`).

It looks at frames from outside and asks the production code; the machines know nothing of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec import Struct

from fivefold.errors import PeerViolation
from fivefold.protocol.actions import Channel
from fivefold.protocol.authenticators import Culled as Left
from fivefold.protocol.authenticators import cull
from fivefold.protocol.classify import Views, plan_operation, plan_repair, set_up, views_of
from fivefold.protocol.client import Evidence
from fivefold.protocol.history import remembered_digest
from fivefold.protocol.messages import (
    ANNOUNCE,
    BUSY,
    DECLINED,
    FAIL,
    LACKING,
    PENDING,
    REPLY,
    REQUEST,
    SETTLED,
    SUCCESS,
    UNABLE,
    UNCHANGED,
    WITHDRAW,
    decode_operation,
    decode_request,
    decode_vote,
    split,
)
from fivefold.protocol.operations import ClientId, Executor, digest
from fivefold.protocol.quorums import QuorumSystem
from fivefold.protocol.records import NO_OPERATION, Request
from fivefold.protocol.steps import Kind, Plan
from fivefold.simulation.events import Accepted, Delivered, Ended, Event, Sent
from fivefold.simulation.meanings import (
    LIE,
    NEEDS_REPAIR,
    NO_HONEST_HISTORY,
    NO_STEP,
    REASONS,
    STALE,
    WRONG_MAC,
    Classified,
    Count,
    Culled,
    Judged,
    ObjectPart,
    Repaired,
    Voted,
)
from fivefold.simulation.rack import is_query, server_keys
from fivefold.simulation.world import World

UNCLEAR = "no step: no candidate is repairable, an object to judge by is missing, or an operation needs a repair first"

STATUSES = {
    SUCCESS: "accepted",
    FAIL: "refused",
    DECLINED: "declined",
    BUSY: "busy",
    UNCHANGED: "unchanged",
    UNABLE: "unable",
    SETTLED: "settled",
    PENDING: "pending",
    LACKING: "lacking",
}
"""What votes say; a SUCCESS with answers and without a version is *answered*."""

REMEMBERED_REQUESTS = 4096
"""Requests whose replies are still explained."""


_ANNOUNCING = (bytes([ANNOUNCE]), bytes([WITHDRAW]))


class _Asked(Struct, frozen=True):
    """A request that a server has received: its frame's number, whether it carries an operation, and its kind.

    An announcement has none of the two.
    """

    frame: int
    is_operation: bool
    kind: str
    is_announcement: bool = False


class Explainer:
    """Follows a run's events, and adds what they mean.

    Attributes:
        clients: ids by machine number.
        liars: servers that lie.
        evidence: for the machine number of each correct client, what speaks against servers in its eyes.
    """

    def __init__(self, world: World, quorums: QuorumSystem, clients: dict[int, ClientId], executor: Executor) -> None:
        """Listen to the world; ``executor`` knows which methods are queries."""
        self.clients = clients
        self.liars: frozenset[int] = frozenset()
        self.evidence: dict[int, Callable[[], Sequence[Evidence]]] = {}
        self._world, self._quorums, self._executor = world, quorums, executor
        self._requests: dict[int, Sent] = {}
        self._bodies: dict[int, bytes] = {}
        self._kinds: dict[tuple[int, bytes], Kind] = {}
        self._asked: dict[tuple[Channel, int], _Asked] = {}
        self._judged: dict[tuple[int, int], Judged] = {}
        world.on_event = self._hear

    def _hear(self, event: Event) -> None:
        match event:
            case Sent(data=data, sender=sender) if sender in self.clients and data[:1] == bytes([REQUEST]):
                self._requests[event.frame] = event
                self._judge(sender)
                self._sent(event)
            case Sent(data=data, sender=sender) if sender in self.clients and data[:1] in _ANNOUNCING:
                self._requests[event.frame] = event
            case Sent(data=data, receiver=receiver) if receiver in self.clients and data[:1] == bytes([REPLY]):
                self._replied(event)
            case Delivered(frame=frame) if frame in self._requests:
                self._arrived(self._requests.pop(frame))
            case Accepted(server=server, timestamp=timestamp):
                kind = self._kinds.pop((server, timestamp), Kind.METHOD)
                if kind is not Kind.METHOD:
                    self._world.add(Repaired(server, kind.value, timestamp))
            case Ended(client=client):
                self._judge(self._quorums.n + client)
            case _:
                pass

    # --- clients ----------------------------------------------------------------------------------------------

    def _judge(self, machine: int) -> None:
        """What a client thinks of servers, where that has changed."""
        if machine not in self.evidence:
            return
        client = machine - self._quorums.n
        for each in self.evidence[machine]():
            if not (each.culled_by or each.strikes or each.is_excluded):
                continue
            strikes = dict(sorted(each.strikes.items()))
            judged = Judged(client, each.server, each.is_excluded, each.is_suspected, each.culled_by, strikes)
            if self._judged.get((client, each.server)) != judged:
                self._judged[client, each.server] = judged
                self._world.add(judged)

    def _sent(self, sent: Sent) -> None:
        """What a client makes of what it sends; once for all servers."""
        try:  # a villain's may be malformed, and nobody sees what is wrong before culling
            _, body, _ = split(sent.data, REQUEST)
            if self._bodies.get(sent.sender) == body:
                return
            self._bodies[sent.sender] = body
            request = decode_request(body, self._quorums.n)
            self._classify(sent, sent.sender, request, Left(request.target, request.sets, ()))
        except PeerViolation:
            return

    # --- servers ----------------------------------------------------------------------------------------------

    def _arrived(self, sent: Sent) -> None:
        """What a server makes of what it receives, by its own keys."""
        if sent.data[:1] in _ANNOUNCING:
            self._note(sent, _Asked(sent.frame, False, "", is_announcement=True))
            return
        try:
            _, body, proof = split(sent.data, REQUEST)
            request = decode_request(body, self._quorums.n)
            if request.operation:
                decode_operation(request)
            left = cull(server_keys(sent.receiver, self._quorums.n), self._quorums, request.target, request.sets, proof)
        except PeerViolation:
            return
        if left.servers:
            self._world.add(Culled(sent.receiver, sent.frame, left.servers, self._because(sent, request, left)))
        kind = self._classify(sent, sent.receiver, request, left)
        self._note(sent, _Asked(sent.frame, bool(request.operation), kind))

    def _note(self, sent: Sent, asked: _Asked) -> None:
        """Replies under the request's number are to it.

        The machine works on a number once: what comes later under the same number is not answered.
        """
        number = int.from_bytes(sent.data[1:9], "big")
        self._asked.setdefault((Channel(sent.channel), number), asked)
        if len(self._asked) > REMEMBERED_REQUESTS:
            del self._asked[next(iter(self._asked))]

    def _because(self, sent: Sent, request: Request, left: Left) -> tuple[str, ...]:
        """Why each history was culled. One that has the right MACs and is culled is one that nobody signs."""
        keys, proof = server_keys(sent.receiver, self._quorums.n), b""
        for each in request.sets:
            digests = [b"", *[remembered_digest(each.object_id, history) for history in each.histories]]
            proof += keys.expected(each.holders, digests)
        absurd = cull(keys, self._quorums, request.target, request.sets, proof).servers
        return tuple(NO_HONEST_HISTORY if server in absurd else WRONG_MAC for server in left.servers)

    def _replied(self, sent: Sent) -> None:
        """What a reply says, and why it refuses if it does."""
        number, body, _ = split(sent.data, REPLY)
        asked = self._asked.get((Channel(sent.channel), number))
        if asked is None:
            return
        try:
            vote = decode_vote(body)
        except PeerViolation:  # a liar's
            return
        status = STATUSES[vote.status]
        if vote.status == SUCCESS and not vote.version_digest and vote.answers:
            status = "answered"
        why = self._why(sent.sender, asked) if vote.status == FAIL else ""
        self._world.add(Voted(sent.sender, sent.frame, asked.frame, status, why, vote.histories))

    def _why(self, server: int, asked: _Asked) -> str:
        if server in self.liars:
            return LIE
        if asked.is_announcement:
            return ""
        if asked.is_operation and not asked.kind:
            return NEEDS_REPAIR
        return STALE if asked.kind else NO_STEP

    def _classify(self, sent: Sent, machine: int, request: Request, left: Left) -> str:
        views = views_of(self._quorums, left.sets)
        if request.operation:
            reads = is_query(self._executor, decode_operation(request))
            plan = plan_operation(self._quorums, views, is_query=reads)
        else:
            found = plan_repair(self._quorums, request.target, views)
            plan = found if isinstance(found, Plan) else None
        kind, timestamp, rule = "", b"", UNCLEAR
        parts: tuple[ObjectPart, ...] = ()
        if plan is not None:
            kind, rule = plan.kind.value, REASONS[plan.kind]
            parts = tuple(ObjectPart(part.object_id, part.conditioned_on, part.base) for part in plan.parts)
            if machine == sent.receiver:
                operation_digest = digest(request.operation) if request.operation else NO_OPERATION
                client = self.clients[sent.sender]
                made = set_up(plan, client=client, operation_digest=operation_digest, history_set_digest=left.digest)
                timestamp = made.candidate.timestamp
                self._kinds[machine, timestamp] = plan.kind
        counts = _counts(views)
        self._world.add(
            Classified(machine, sent.frame, kind, request.target, counts, timestamp, rule, left.sets, parts)
        )
        return kind


def _counts(views: Views) -> tuple[Count, ...]:
    return tuple(
        Count(name, candidate.timestamp, order)
        for name, view in views.items()
        for candidate, order in sorted(view.orders.items(), key=lambda item: item[0].timestamp, reverse=True)
    )
