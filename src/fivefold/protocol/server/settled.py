"""Which calls of a refused update are applied for good, as far as one server can tell (H8 of helping; ours).

Story: (1) a far client's update reaches r servers. (2) A near one, which updates the object all the time, completes it
by an inline repair and builds upon it at once. (3) Each time the far client hears from the servers they have moved on:
no q of them show one version, so it never learns that its update was applied long ago.

A server knows more than what its latest version has recorded. Be *C* the newest of its candidates that a method made.
Somebody honest accepted C by METHOD, on q histories that showed LT_co: so the version LT_co is established, and every
later one rests on it. What that has recorded is settled. C itself may be passed over by a barrier.

Not "the first entry of the history": a server that has accepted C on a version fetched for the purpose holds C alone.

A client believes q servers that say the same (client/verdict.py). Updates of several objects are left out: the model
that these rules were checked with has none.
"""

from __future__ import annotations

from fivefold.protocol.history import time_of
from fivefold.protocol.operations import ClientId, Operation, key_of, remembered
from fivefold.protocol.records import Candidate, LogicalTimestamp
from fivefold.protocol.server.replica import Replica
from fivefold.protocol.server.versions import find_answer, recorded_by


def settled_answers(
    replica: Replica, client: ClientId, operation: Operation
) -> tuple[LogicalTimestamp, tuple[bytes, ...]] | None:
    """The established version that has recorded every call of the operation, and their answers; None if not all are.

    An answer that was too long for the ring is given whole where the version is held that it belongs to.
    """
    method = newest_method(replica)
    version = None if method is None else replica.version_at(method.timestamp)
    is_alone = operation.objects == (replica.object_id,)
    if method is None or version is None or not is_alone or not operation.calls:
        return None
    base = method.part(replica.object_id).conditioned_on
    held = replica.version_at(base)
    answers: tuple[bytes, ...] = ()
    for call in operation.calls:
        key = key_of(client, call)
        answer = recorded_by(version, key, time_of(base))
        if answer is None:
            return None
        whole = None if held is None else find_answer(held, key)
        answers += (answer if whole is None or remembered(whole) != answer else whole,)
    return base, answers


def newest_method(replica: Replica) -> Candidate | None:
    """The newest candidate of a history that is neither a barrier nor a copy."""
    return next((each.candidate for each in reversed(replica.entries) if each.candidate.is_method), None)
