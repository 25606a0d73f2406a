"""Who may do what in a run, server by server: rules and code reach servers one after the other.

Correct clients may do everything, until a server gets other rules. Malevolent clients may have less: then whatever they
get a server to accept beyond it is a violation.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from fivefold.protocol.history import is_barrier
from fivefold.protocol.operations import ClientId, ObjectId, type_of
from fivefold.protocol.records import Candidate

QUERIES = frozenset({"get", "look"})


class Right(Struct, frozen=True):
    """What one malevolent client may do.

    Attributes:
        own: the start of the ids of its own objects: there it may do everything.
        readable: types of which it may read every object.
    """

    own: str
    readable: frozenset[str]

    def allows(self, object_id: ObjectId, method: str) -> bool:
        """Whether it may call the method."""
        return object_id.startswith(self.own) or (method in QUERIES and self.knows(object_id))

    def knows(self, object_id: ObjectId) -> bool:
        """Whether it has any right on the object."""
        return object_id.startswith(self.own) or type_of(object_id) in self.readable

    def covers(self, candidate: Candidate, object_id: ObjectId) -> bool:
        """Whether it may bring a candidate of its own about on an object.

        A repair may reach an object that a candidate names together with one that the client knows (§7, Limits).
        """
        if candidate.is_method and not is_barrier(candidate.timestamp):
            return object_id.startswith(self.own)
        return self.knows(object_id) or any(map(self.knows, candidate.objects))


Rights = Mapping[ClientId, Right]
"""Those of malevolent clients; all others may do everything."""


class Rules:
    """One server's access policy.

    Attributes:
        denied: what correct clients may not do here at present: pairs of client and method.
    """

    def __init__(self, rights: Rights) -> None:
        """Deny correct clients nothing."""
        self._rights = rights
        self.denied: frozenset[tuple[ClientId, str]] = frozenset()

    def allows(self, client: ClientId, object_id: ObjectId, method: str) -> bool:
        """As the client's right says."""
        right = self._rights.get(client)
        return (client, method) not in self.denied if right is None else right.allows(object_id, method)

    def knows(self, client: ClientId, object_id: ObjectId) -> bool:
        """As the client's right says."""
        right = self._rights.get(client)
        return True if right is None else right.knows(object_id)
