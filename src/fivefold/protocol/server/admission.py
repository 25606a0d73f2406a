"""What a request means before any state is looked at: rights, names, and the step it derives to (PROTOCOL §4.1-2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from fivefold.protocol.actions import Channel
from fivefold.protocol.authenticators import AuthenticatorKeys, Culled, cull
from fivefold.protocol.classify import Views, plan_operation, plan_repair, set_up, views_of
from fivefold.protocol.messages import REQUEST
from fivefold.protocol.operations import (
    CANCEL,
    AccessPolicy,
    Call,
    ClientId,
    Codes,
    Executor,
    ObjectId,
    Operation,
    carried_by,
    digest,
    type_of,
)
from fivefold.protocol.quorums import QuorumSystem
from fivefold.protocol.records import NO_OPERATION, LogicalTimestamp, Request, SyncRequest
from fivefold.protocol.steps import Kind, Plan, Step

SERVER: Final = b"fivefold-server"
"""What the ids of servers begin with, where one acts as a client."""


def server_client(index: int) -> ClientId:
    """As which client a server's repairs are judged; no client has such an id, which is the digest of a certificate."""
    return ClientId(SERVER + bytes((index,)))


def is_server(client: ClientId) -> bool:
    """Whether the client is another server."""
    return client.startswith(SERVER)


VersionKey = tuple[ObjectId, LogicalTimestamp]
"""A version's object and timestamp."""


class Work:
    """A request on its way through the server.

    Attributes:
        names: its objects, in the order of the ids.
        executor: what runs its calls: the code that the operation names.
        proof: the MACs that came with it, to be judged again if the keys change.
        absent: objects that a newcomer has not adopted; the request does not name them, but proves something of them.
        step: what it derives to; None if there is nothing to do but to show the histories.
        is_query: an operation all of whose calls are queries.
        fetched: versions that an object sync brought for it.
        size: bytes of its frame.
        purpose: REQUEST; or ANNOUNCE or WITHDRAW, whose calls are not to be run (pool.py).
        is_withdrawn: its client has withdrawn its calls meanwhile: nothing is done any more.
        since_ns: when it came.
        share: used by Shares, to know whether it counts it.
        waits: how often it has waited.
    """

    __slots__ = (
        "absent",
        "channel",
        "client",
        "culled",
        "executor",
        "fetched",
        "is_query",
        "is_withdrawn",
        "names",
        "number",
        "operation",
        "proof",
        "purpose",
        "request",
        "share",
        "since_ns",
        "size",
        "step",
        "views",
        "waits",
    )

    def __init__(
        self,
        channel: Channel,
        client: ClientId,
        number: int,
        request: Request,
        proof: bytes,
        size: int,
        since_ns: int = 0,
    ) -> None:
        """Start with what the request itself says; :meth:`judge` and :func:`admit` fill in the rest."""
        self.channel, self.client, self.number = channel, client, number
        self.request, self.proof, self.size = request, proof, size
        self.names = [each.object_id for each in request.sets]
        self.operation: Operation | None = None
        self.executor: Executor | None = None
        self.step: Step | None = None
        self.is_query = self.is_withdrawn = False
        self.purpose = REQUEST
        self.fetched: dict[VersionKey, bytes] = {}
        self.absent: set[ObjectId] = set()
        self.waits = self.share = 0
        self.since_ns = since_ns

    def judge(self, keys: AuthenticatorKeys, quorums: QuorumSystem) -> None:
        """Cull its histories under these keys, and count what is left; announced calls show none, and ask for no step.

        Raises:
            PeerViolation: the proof has not the length that the sets ask for.
        """
        is_request = self.purpose == REQUEST
        self.culled: Culled = (
            cull(keys, quorums, self.request.target, self.request.sets, self.proof) if is_request else _NOTHING
        )
        self.views: Views = views_of(quorums, self.culled.sets)


_NOTHING: Final = Culled(ObjectId(""), (), ())


class SyncWork:
    """A sync request, waiting for its object; its peer is another server's index, or a client that may see states."""

    __slots__ = ("channel", "peer", "request", "share")

    def __init__(self, peer: int | ClientId, channel: Channel, request: SyncRequest) -> None:
        """Remember where the answer goes."""
        self.peer, self.channel, self.request = peer, channel, request
        self.share = 0


class Declined(Exception):
    """The call itself cannot be; the text goes to the client. Raised here, caught by the server."""


def admit(
    quorums: QuorumSystem,
    executor: Executor,
    executor_for: Callable[[Operation], Executor],
    access: AccessPolicy,
    work: Work,
    operation: Operation | None,
) -> None:
    """Check rights and names, classify, set up.

    Raises:
        Declined: ``ErrorName: text`` for the caller.
    """
    if operation is None:
        _check_repair(executor, access, work)
        plan = plan_repair(quorums, work.request.target, work.views)
    else:
        work.operation = operation
        work.executor = executor = executor_for(operation)
        work.is_query = check_operation(executor, access, work.client, operation)
        if work.purpose != REQUEST:
            return  # nothing is run for it
        plan = plan_operation(quorums, work.views, is_query=work.is_query)
    if isinstance(plan, Plan):
        assert _is_proven(quorums, plan, work.views), "a step rests on what enough servers hold"
        operation_digest = digest(work.request.operation) if operation else NO_OPERATION
        work.step = set_up(
            plan, client=work.client, operation_digest=operation_digest, history_set_digest=work.culled.digest
        )


def _is_proven(quorums: QuorumSystem, plan: Plan, views: Views) -> bool:
    """Whether q servers hold what an operation is run on, and r what is repaired."""
    if plan.repaired is not None:
        return all(views[part.object_id].order(plan.repaired) >= quorums.r for part in plan.parts)
    if plan.kind is Kind.METHOD:
        for part in plan.parts:  # noqa: SIM110 (each request over several objects: a generator costs more)
            if views[part.object_id].support < quorums.q:
                return False
        return True
    return all(view.repairable for view in views.values())


def choose_executor(executor: Executor, codes: Codes | None, operation: Operation) -> Executor:
    """What runs the operation's calls: the code that it names, or ``executor`` where there is only one.

    Raises:
        Declined: this server has other code. It accepts nothing, so no candidate can mean two things (ours).
    """
    if codes is None or not (operation.code or any(call.method != CANCEL for call in _all_calls(operation))):
        return executor
    found = codes.running(operation.objects, operation.code)
    if isinstance(found, str):
        raise Declined(found)
    return found


def _all_calls(operation: Operation) -> list[Call]:
    return [*operation.calls, *[each.call for each in carried_by(operation)]]


def check_operation(executor: Executor, access: AccessPolicy, client: ClientId, operation: Operation) -> bool:
    """Whether the calls are queries (all or none).

    Raises:
        Declined: a method that is unknown or not allowed, or queries and updates in one operation.
    """
    objects = operation.objects
    has_updates: bool | None = None
    if type(operation) is not Operation:  # an operation that carries others' calls writes
        has_updates = True
        _check_carried(executor, client, operation)
    for call in operation.calls:
        is_cancel = call.method == CANCEL
        if is_cancel and any(executor.initial(name) is None for name in objects):
            raise Declined(_unknown(executor, objects, call.method))
        is_update = is_cancel or executor.is_update(objects, call.method)
        if is_update is None:
            raise Declined(_unknown(executor, objects, call.method))
        if has_updates is None:
            has_updates = is_update
        elif has_updates != is_update:
            raise Declined("InvalidArguments: one operation carries either queries or updates, not both")
        for name in objects:
            # CANCEL writes to the ring: the access rules give it along with the right to update, not with that to read.
            if not access.allows(client, name, call.method):
                raise Declined(f"NotAllowed: your access rules do not cover {call.method!r} of {name!r}")
    return not has_updates


def _check_carried(executor: Executor, client: ClientId, operation: Operation) -> None:
    """H3: what is carried are others' calls. Rights, the owner's and the carrier's, are checked when they run."""
    if executor.initial(operation.objects[0]) is None:
        raise Declined(_unknown(executor, operation.objects, ""))
    if any(each.owner == client for each in carried_by(operation)):
        raise Declined("InvalidArguments: an operation carries calls of other clients, not of its own")


def _unknown(executor: Executor, objects: tuple[ObjectId, ...], method: str) -> str:
    for name in objects:
        if executor.initial(name) is None:
            return f"UnknownType: the servers know no object type {type_of(name)!r}; load it with --objects"
    named = ", ".join(map(type_of, objects))
    return f"UnknownMethod: the servers know no method {method!r} of {named}; do they run another version of it?"


def _check_repair(executor: Executor, access: AccessPolicy, work: Work) -> None:
    """A client may repair what it has any right on, and what a candidate it must judge names (§7, Limits).

    Another server may repair anything: it catches up, or ends what a client has left (R6, R10).
    """
    target = work.request.target
    may_all = is_server(work.client)
    if not may_all and not access.knows(work.client, target):
        raise Declined(f"NotAllowed: your access rules do not cover {target!r}")
    for name in work.names:
        is_named = any(candidate.covers(name) for candidate in work.views[target].repairable)
        if not is_named and not may_all and not access.knows(work.client, name):
            raise Declined(f"NotAllowed: your access rules do not cover {name!r}")
        if executor.initial(name) is None:
            raise Declined(f"UnknownType: the servers know no object type {type_of(name)!r}")
