"""Bring an object whose servers hold different states back to one of them (docs/how-to/upgrade.md).

Honest servers come to hold different states of one version if a method is not deterministic, or if an earlier version
of Fivefold let them run different code for one call. Every call on such an object then raises NonDeterministicObject.
"""

from __future__ import annotations

from enum import Enum

import msgspec

from fivefold.api.cluster import Cluster
from fivefold.api.states import adopt_state, show_state, state_in
from fivefold.errors import ObjectError
from fivefold.protocol.client import Disagreed
from fivefold.protocol.operations import VALUE, ObjectId


class Condition(Enum):
    """What was found, and done."""

    HEALTHY = "healthy"
    """Of the quorum that answered, all but b servers at most hold one state: calls work, and nothing was done."""
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
    found = await show_state(cluster, name)
    if not isinstance(found, Disagreed):
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
    state = state_in(answer)
    await adopt_state(cluster, name, state, [state_in(each) for each in by_state if each.startswith(VALUE)])
    return Rescue(object_id, Condition.RESCUED, groups, len(state))
