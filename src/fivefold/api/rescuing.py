"""Bring an object whose servers hold different states back to one of them (docs/how-to/upgrade.md).

Honest servers come to hold different states of one version if a method is not deterministic, or if an earlier version
of Fivefold let them run different code for one call. Every call on such an object then raises NonDeterministicObject.
"""

from __future__ import annotations

import os
from enum import Enum

import msgspec

from fivefold.api.cluster import Cluster
from fivefold.api.outcomes import refusal
from fivefold.errors import ObjectError, Unavailable
from fivefold.objects import Adoption
from fivefold.protocol.client import Answered, Disagreed, Outcome, Refused
from fivefold.protocol.operations import (
    ADOPT,
    CALL_ID_BYTES,
    REFUSED,
    SHOW,
    VALUE,
    Call,
    ObjectId,
    Operation,
    digest,
)


class Condition(Enum):
    """What was found, and done."""

    HEALTHY = "healthy"
    """The servers hold one state: nothing was done."""
    RESCUED = "rescued"
    """They held different ones, and hold one now."""


class Rescue(msgspec.Struct, frozen=True):
    """What became of one object.

    Attributes:
        object_id: which.
        condition: what was found, and done.
        groups: servers by equal states, the largest group first; empty for a healthy object.
        state_bytes: size of the state that all hold now; 0 for a healthy object.
    """

    object_id: str
    condition: Condition
    groups: tuple[tuple[int, ...], ...] = ()
    state_bytes: int = 0


async def rescue(cluster: Cluster, object_id: str) -> Rescue:
    """Look at an object's states at a quorum of servers; if they differ, make the one that r servers hold that of all.

    Your access rule must be ``*``: this goes past the object's own methods.

    Raises:
        ObjectError: no state is held by r servers.
        InvalidArguments: the object has changed while it was looked at.
        FivefoldError: as for any call.
    """
    name = ObjectId(object_id)
    found = await cluster.run_operation(_operation(cluster, name, SHOW, b""), is_query=True)
    if not isinstance(found, Disagreed):
        _check(object_id, found)
        return Rescue(object_id, Condition.HEALTHY)
    by_state: dict[bytes, list[int]] = {}
    for server, answer in found.shown:
        by_state.setdefault(answer, []).append(server)
    answer, holders = max(by_state.items(), key=lambda each: len(each[1]))
    groups = tuple(sorted((tuple(sorted(each)) for each in by_state.values()), key=lambda each: (-len(each), each)))
    needed = cluster.quorums.r
    if len(holders) < needed or not answer.startswith(VALUE):
        raise ObjectError(
            f"the servers hold {len(by_state)} states of {object_id}, and none of them is held by {needed}: "
            f"they cannot tell which is right; the largest group is {', '.join(map(str, groups[0]))}"
        )
    state, *others = [_state_in(each) for each in (answer, *by_state) if each.startswith(VALUE)]
    adoption = msgspec.msgpack.encode(Adoption(state, tuple(sorted({digest(each) for each in (state, *others)}))))
    outcome = await cluster.run_operation(_operation(cluster, name, ADOPT, adoption), is_query=False)
    _check(object_id, outcome)
    return Rescue(object_id, Condition.RESCUED, groups, len(state))


def _state_in(answer: bytes) -> bytes:
    """What a server showed; nothing if a liar shows what is no state."""
    try:
        return msgspec.msgpack.decode(answer[len(VALUE) :], type=bytes)
    except msgspec.MsgspecError:
        return b""


def _operation(cluster: Cluster, name: ObjectId, method: str, arguments: bytes) -> Operation:
    return Operation((name,), (Call(os.urandom(CALL_ID_BYTES), 0, method, arguments),), cluster.code_of(name))


def _check(object_id: str, outcome: Outcome) -> None:
    """Refuse everything but an answer."""
    match outcome:
        case Answered(answers=(answer, *_)) if answer.startswith(VALUE):
            return
        case Answered(answers=(answer, *_)) if answer.startswith(REFUSED):
            raise refusal(answer[len(REFUSED) :].decode(errors="replace"))
        case Refused(reason=reason):
            raise refusal(reason)
        case _:
            raise Unavailable(f"{object_id} could not be looked at or rescued in time: run the rescue again")
