"""The ordinary request in one room: what nearly every request asks for, decided at once (docs/decisions/0008).

It is an operation on one object, conditioned on one history that q servers signed and that is this server's own. So it
is current, classifies as METHOD and is not held yet: nothing has to be counted, looked up or decoded. Bytes go in and a
decision comes out, so that native code can stand behind :meth:`OrdinaryRequests.decide`. Every other request is
examined step by step (``machine``), which decides the same; tests/properties/test_protocol_shortcut.py holds the two
against each other.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from hmac import compare_digest

from fivefold.protocol.authenticators import expected_of, sets_digest
from fivefold.protocol.history import make_timestamp
from fivefold.protocol.messages import encode, reply_frame
from fivefold.protocol.operations import AccessPolicy, ClientId, Executor, ObjectId, Operation, digest
from fivefold.protocol.quorums import QuorumSystem
from fivefold.protocol.records import LogicalTimestamp, Request, Version, Vote
from fivefold.protocol.server.admission import Declined, check_operation
from fivefold.protocol.server.execution import execute_alone, status_of
from fivefold.protocol.server.replica import Replica
from fivefold.protocol.server.versions import version_digest
from fivefold.protocol.times import TIME_BYTES

Decision = tuple[int, LogicalTimestamp, tuple[bytes, ...], Version | None]
"""Status, the candidate's timestamp, the answers, and the new version; None for it if nothing is to be written."""


class OrdinaryRequests:
    """Decides ordinary requests; changes nothing."""

    def __init__(
        self,
        quorums: QuorumSystem,
        executor_for: Callable[[Operation], Executor],
        access: AccessPolicy,
        macs_of: Callable[[Replica], bytes],
        announced: Container[ObjectId] = (),
    ) -> None:
        """``executor_for`` gives what runs an operation, or raises Declined; ``macs_of`` all MACs over a history.

        ``announced`` are objects with calls that wait for others to carry them: replies list these.
        """
        self._announced = announced
        self._quorums, self._executor_for, self._access, self._macs_of = quorums, executor_for, access, macs_of

    def decide(
        self, client: ClientId, request: Request, operation: Operation, proof: bytes, replica: Replica
    ) -> Decision | None:
        """What the request comes to; None if it is not an ordinary one. ``replica`` is that of its first object."""
        each = request.sets[0]
        if (
            each.histories != (replica.history,)
            or each.holders.count(1) < self._quorums.q
            or len(request.sets) > 1
            or not replica.is_plain
        ):
            return None
        version = replica.versions.get(replica.latest)
        macs = replica.macs or self._macs_of(replica)  # nearly always made when the history was signed
        if version is None or not compare_digest(proof, expected_of(macs, each.holders)):
            return None
        prepared = self.prepare(client, operation)
        if prepared is None:
            return None
        executor, is_query = prepared
        time = int.from_bytes(replica.latest[:TIME_BYTES], "big") + 1
        timestamp = make_timestamp(
            time,
            is_barrier=False,
            client=client,
            operation_digest=digest(request.operation),
            history_set_digest=sets_digest(replica.object_id, request.sets),
        )
        answers, made = execute_alone(executor, client, operation, version, is_query=is_query, time=time)
        return status_of(answers, is_query=is_query, is_made=made is not None), timestamp, answers, made

    def prepare(self, client: ClientId, operation: Operation) -> tuple[Executor, bool] | None:
        """What runs an operation, and whether it is a query; None if it is to be declined, or more is to be done."""
        if type(operation) is not Operation or operation.objects[0] in self._announced:
            return None
        try:
            executor = self._executor_for(operation)
            return executor, check_operation(executor, self._access, client, operation)
        except Declined:
            return None


def reply_to(number: int, decision: Decision, history: bytes, authenticator: bytes) -> bytes:
    """The reply frame that tells a decision, with the history that it left."""
    status, timestamp, answers, version = decision
    made = b"" if version is None else version_digest(version)
    vote = encode(Vote(status, timestamp, answers, made, (history,), ()))
    return reply_frame(number, vote, (authenticator,))
