"""Says what recorded events mean: what each request calls for, and why (:data:`fivefold.simulation.events.Derived`).

It looks at frames from outside and asks the production code; the machines know nothing of it.
"""

from __future__ import annotations

from fivefold.errors import PeerViolation
from fivefold.protocol.authenticators import Culled as Left
from fivefold.protocol.authenticators import cull
from fivefold.protocol.classify import Views, plan_operation, plan_repair, set_up, views_of
from fivefold.protocol.messages import REQUEST, decode_operation, decode_request, split
from fivefold.protocol.operations import ClientId, digest
from fivefold.protocol.quorums import QuorumSystem
from fivefold.protocol.records import NO_OPERATION, Request
from fivefold.protocol.steps import Kind, Plan
from fivefold.simulation.events import REASONS, Accepted, Classified, Count, Culled, Delivered, Event, Repaired, Sent
from fivefold.simulation.rack import server_keys
from fivefold.simulation.world import World

UNCLEAR = "no step: no candidate is repairable, an object to judge by is missing, or an operation needs a repair first"


class Explainer:
    """Follows a run's events, and adds what they mean.

    Attributes:
        clients: ids by machine number.
    """

    def __init__(self, world: World, quorums: QuorumSystem, clients: dict[int, ClientId]) -> None:
        """Listen to the world."""
        self.clients = clients
        self._world, self._quorums = world, quorums
        self._requests: dict[int, Sent] = {}
        self._bodies: dict[int, bytes] = {}
        self._kinds: dict[tuple[int, bytes], Kind] = {}
        world.on_event = self._hear

    def _hear(self, event: Event) -> None:
        match event:
            case Sent(data=data, sender=sender) if sender in self.clients and data[:1] == bytes([REQUEST]):
                self._requests[event.frame] = event
                self._sent(event)
            case Delivered(frame=frame) if frame in self._requests:
                self._arrived(self._requests.pop(frame))
            case Accepted(server=server, timestamp=timestamp):
                kind = self._kinds.pop((server, timestamp), Kind.METHOD)
                if kind is not Kind.METHOD:
                    self._world.add(Repaired(server, kind.value, timestamp))
            case _:
                pass

    def _sent(self, sent: Sent) -> None:
        """What a client makes of what it sends; once for all servers."""
        _, body, _ = split(sent.data, REQUEST)
        if self._bodies.get(sent.sender) == body:
            return
        self._bodies[sent.sender] = body
        try:
            request = decode_request(body, self._quorums.n)
            self._classify(sent, sent.sender, request, Left(request.target, request.sets, ()))
        except PeerViolation:  # a villain's: nobody sees what is wrong before culling
            return

    def _arrived(self, sent: Sent) -> None:
        """What a server makes of what it receives, by its own keys."""
        try:
            _, body, proof = split(sent.data, REQUEST)
            request = decode_request(body, self._quorums.n)
            if request.operation:
                decode_operation(request)
            left = cull(server_keys(sent.receiver, self._quorums.n), self._quorums, request.target, request.sets, proof)
        except PeerViolation:
            return
        if left.servers:
            self._world.add(Culled(sent.receiver, sent.frame, left.servers))
        self._classify(sent, sent.receiver, request, left)

    def _classify(self, sent: Sent, machine: int, request: Request, left: Left) -> None:
        views = views_of(self._quorums, left.sets)
        if request.operation:
            plan = plan_operation(self._quorums, views)
        else:
            found = plan_repair(self._quorums, request.target, views)
            plan = found if isinstance(found, Plan) else None
        kind, timestamp, rule = "", b"", UNCLEAR
        if plan is not None:
            kind, rule = plan.kind.value, REASONS[plan.kind]
            if machine == sent.receiver:
                operation_digest = digest(request.operation) if request.operation else NO_OPERATION
                client = self.clients[sent.sender]
                made = set_up(plan, client=client, operation_digest=operation_digest, history_set_digest=left.digest)
                timestamp = made.candidate.timestamp
                self._kinds[machine, timestamp] = plan.kind
        self._world.add(Classified(machine, sent.frame, kind, request.target, _counts(views), timestamp, rule))


def _counts(views: Views) -> tuple[Count, ...]:
    return tuple(
        Count(name, candidate.timestamp, order)
        for name, view in views.items()
        for candidate, order in sorted(view.orders.items(), key=lambda item: item[0].timestamp, reverse=True)
    )
