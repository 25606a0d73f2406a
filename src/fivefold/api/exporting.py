"""Single objects as JSON: out of a cluster, and into one."""

from __future__ import annotations

from enum import Enum

from fivefold.api.cluster import Cluster
from fivefold.api.states import adopt_state, show_state
from fivefold.errors import InvalidArguments, NonDeterministicObject
from fivefold.objects import state_from_json, state_to_json
from fivefold.protocol.client import Disagreed
from fivefold.protocol.operations import ObjectId


class Imported(Enum):
    """What an import did."""

    WRITTEN = "written"
    """The object has the imported state now."""
    UNCHANGED = "unchanged"
    """It had that state already."""


async def export_object(cluster: Cluster, object_id: str) -> str:
    """An object's state as JSON (see :mod:`fivefold.objects.portable`).

    Your access rule must be ``*``: this goes past the object's own methods.

    Raises:
        InvalidArguments: nobody has written it.
        NonDeterministicObject: the servers hold different states of it.
        FivefoldError: as for any call.
    """
    name = ObjectId(object_id)
    state = await _state_of(cluster, name)
    if not state:
        raise InvalidArguments(f"{name} has never been written, so there is nothing to export: check its id")
    return state_to_json(cluster.registry, name, state)


async def import_object(cluster: Cluster, text: str, *, overwrites: bool = False) -> tuple[ObjectId, Imported]:
    """Give an object the state that :func:`export_object` has made of it, or of another one under its id.

    Your access rule must be ``*``: this goes past the object's own methods.

    Args:
        cluster: to write to.
        text: JSON of one object.
        overwrites: whether an object that has been written may get another state.

    Raises:
        InvalidArguments: this is no state of its type; it has been written and ``overwrites`` is false; or it has
            changed meanwhile.
        NonDeterministicObject: the servers hold different states of it.
        FivefoldError: as for any call.
    """
    name, state = state_from_json(cluster.registry, text)
    stored = await _state_of(cluster, name)
    if stored == state:
        return name, Imported.UNCHANGED
    if stored and not overwrites:
        raise InvalidArguments(f"{name} has been written already and was left as it is: overwrite it with --overwrite")
    await adopt_state(cluster, name, state, [stored])
    return name, Imported.WRITTEN


async def _state_of(cluster: Cluster, name: ObjectId) -> bytes:
    found = await show_state(cluster, name)
    if isinstance(found, Disagreed):
        raise NonDeterministicObject(
            f"the servers hold different states of {name}: run `fivefold rescue {name}` first", is_applied=False
        )
    return found
