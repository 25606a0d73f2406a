"""Records: what histories, versions and messages consist of, as frozen structs (PROTOCOL §2).

Data only. What is done with it stands in :mod:`~fivefold.protocol.history`, :mod:`~fivefold.protocol.server.versions`,
:mod:`~fivefold.protocol.messages` and :mod:`~fivefold.protocol.server.execution`.
"""

from __future__ import annotations

from operator import attrgetter
from typing import Final, NewType

from msgspec import Struct

from fivefold.protocol.operations import ObjectId
from fivefold.protocol.times import TIME_BYTES

_object_id: Final = attrgetter("object_id")

# --- histories ------------------------------------------------------------------------------------------------

LogicalTimestamp = NewType("LogicalTimestamp", bytes)
"""time (16 bytes, big endian) ‖ is_barrier (1) ‖ client id (16) ‖ operation digest (32) ‖ history-set digest (32)."""

BARRIER_AT: Final = TIME_BYTES
"""Where the byte is that tells barriers (1) from versions (0)."""
CLIENT_AT: Final = BARRIER_AT + 1
OPERATION_AT: Final = CLIENT_AT + 16
HISTORIES_AT: Final = OPERATION_AT + 32
TIMESTAMP_BYTES: Final = HISTORIES_AT + 32
NO_OPERATION: Final = bytes(32)
"""The operation digest of barriers and copies."""


class Part(Struct, frozen=True, array_like=True, gc=False):
    """What a candidate says about one of its objects.

    Attributes:
        object_id: the object.
        conditioned_on: LT_co, the version it follows.
        base: a copy's base (S1): the established version it is known to rest on; None where that is ``conditioned_on``.
    """

    object_id: ObjectId
    conditioned_on: LogicalTimestamp
    base: LogicalTimestamp | None

    @property
    def base_or_conditioned_on(self) -> LogicalTimestamp:
        """The base in the sense of S1."""
        return self.conditioned_on if self.base is None else self.base


class Candidate(Struct, frozen=True, array_like=True, gc=False):
    """An entry of a replica history: ⟨LT, LT_co⟩ for each of its objects (S1).

    Candidates are equal when all of this is; the *settled* flag stands beside them, in :class:`Entry`.

    Attributes:
        timestamp: LT, the same for all its objects.
        parts: one for each object, in the order of the object ids.
    """

    timestamp: LogicalTimestamp
    parts: tuple[Part, ...]

    @property
    def is_barrier(self) -> bool:
        """Whether it is a barrier, which has no version."""
        return self.timestamp[BARRIER_AT] == 1

    @property
    def is_multi(self) -> bool:
        """Whether it covers more than one object."""
        return len(self.parts) > 1

    def part(self, object_id: ObjectId) -> Part:
        """Its part for one of its objects."""
        for part in self.parts:
            if part.object_id == object_id:
                return part
        raise KeyError(object_id)

    def covers(self, object_id: ObjectId) -> bool:
        """Whether the object is one of its objects."""
        return any(part.object_id == object_id for part in self.parts)

    @property
    def objects(self) -> tuple[ObjectId, ...]:
        """Its objects in order."""
        return tuple(map(_object_id, self.parts))

    @property
    def is_method(self) -> bool:
        """Whether it was made by METHOD, not by COPY (§4 Pruning, S6): only a method's LT has an operation digest.

        Not "LT.time = 1 + the greatest LT_co.time": a barrier derived without x can have x's time, and then the copy
        of x has it too. tests/scenarios/test_pruning.py loses a completed update that way.
        """
        return self.timestamp[OPERATION_AT:HISTORIES_AT] != NO_OPERATION

    @property
    def is_copy(self) -> bool:
        """Whether it was made by COPY: its version is the one that it is conditioned on, byte for byte."""
        timestamp = self.timestamp
        if timestamp[OPERATION_AT:HISTORIES_AT] != NO_OPERATION:
            return False
        return not timestamp[BARRIER_AT] and any(timestamp)  # the initial version is nobody's copy

    @property
    def original(self) -> LogicalTimestamp:
        """The update over several objects that this is, if it is that or a copy of it over all of them; else itself.

        What proves one of them established proves it of their version (S2).
        """
        if len(self.parts) > 1 and self.is_copy:
            return self.parts[0].conditioned_on
        return self.timestamp

    def supersedes(self, older: Candidate) -> bool:
        """Whether both are copies of one version on one base, and ``older`` is what it is called.

        A history that shows this one need not show the other (§4, Copies of one version).
        """
        return older.timestamp < self.timestamp and older.parts == self.parts and self.is_copy and older.is_copy


class Entry(Struct, frozen=True, array_like=True, gc=False):
    """A candidate as one server's history shows it, with that server's *settled* flag (S2)."""

    candidate: Candidate
    is_settled: bool


ReplicaHistory = tuple[Entry, ...]
"""RH: the candidates one server has accepted for one object, in the order of their timestamps."""

INITIAL_HISTORY: Final = b""
"""On the wire, the history {⟨0, 0⟩} of a server that never accepted anything; it needs no authenticator."""


class ObjectHistories(Struct, frozen=True, array_like=True, gc=False):
    """An OHS: the latest history of every server for one object, each distinct one written once.

    Attributes:
        object_id: the object.
        histories: the distinct histories that are not initial.
        holders: n bytes; ``holders[s]`` is 0 if server s's history is initial (or unknown, or culled), else 1 + the
            index of its history.
    """

    object_id: ObjectId
    histories: tuple[bytes, ...]
    holders: bytes

    def of(self, server: int) -> bytes:
        """The history that the set has for a server."""
        index = self.holders[server]
        return self.histories[index - 1] if index else INITIAL_HISTORY


# --- versions -------------------------------------------------------------------------------------------------


class Recorded(Struct, frozen=True, array_like=True, gc=False):
    """A call of the operation that made a version: its ring key and its whole answer."""

    key: bytes
    answer: bytes


class Ring(Struct, frozen=True, array_like=True, gc=False):
    """Calls that versions remember: made anew once in a while, and shared by the versions that come after it.

    Attributes:
        name: digest of the rest, under which a store keeps it; nothing if it is empty.
        entries: the calls, oldest first: for each 32 bytes of key, 16 of logical time, 2 of the answer's length.
        answers: their answers, or digests of long ones, one after the other.
    """

    name: bytes
    entries: bytes
    answers: bytes


class Version(Struct, frozen=True, array_like=True, gc=False):
    """An object at one logical timestamp. Equal on all honest servers, byte for byte.

    Attributes:
        number: calls recorded so far.
        horizon: logical time of the newest call that is remembered no more: what was recorded later still is.
        state: canonical bytes of the state.
        outcomes: what the operation that made this version answered, call by call.
        ring: calls that are remembered, at most RING_ENTRIES.
        recent: those since the ring was made, as in its entries; fewer than RING_RECENT.
        recent_answers: their answers, as in the ring.
        orphaned: logical time of the newest call that is remembered no more and was its client's last.
    """

    number: int
    horizon: int
    state: bytes
    outcomes: tuple[Recorded, ...]
    ring: Ring
    recent: bytes
    recent_answers: bytes
    orphaned: int


class Result(Struct, frozen=True, gc=False):
    """What an operation did.

    Attributes:
        answers: one for each call; of an operation that was stopped, a single one.
        versions: the new versions in the order in which the old ones were given; None if nothing is written: for
            queries, for calls found in the ring, where every call was rejected, and where one was stopped.
        status: what the server says of it: SUCCESS, UNCHANGED or UNABLE (:mod:`messages`).
    """

    answers: tuple[bytes, ...]
    versions: tuple[Version, ...] | None
    status: int


# --- messages -------------------------------------------------------------------------------------------------


class Request(Struct, frozen=True, array_like=True, gc=False):
    """What a client asks of a server; the client itself is named by its connection, never here.

    Attributes:
        target: the object a repair is about; of an operation, the least of its objects.
        sets: one history set for each object, in the order of the ids: those of the operation, or the target of a
            repair and the objects it is judged by.
        operation: canonical bytes of an Operation, or nothing for a repair.
    """

    target: ObjectId
    sets: tuple[ObjectHistories, ...]
    operation: bytes


class Vote(Struct, frozen=True, array_like=True, gc=False):
    """The part of a reply that honest servers in the same situation write alike, byte for byte.

    Attributes:
        status: SUCCESS, FAIL, DECLINED, BUSY, UNCHANGED, UNABLE or SETTLED (:mod:`messages`).
        candidate: timestamp of what was accepted or queried, or by which all is settled; empty otherwise.
        answers: one for each call.
        version_digest: digest of the versions that the candidate produced; empty if none.
        histories: this server's history of each object of the request, in order.
        culled: servers whose MACs were wrong.
    """

    status: int
    candidate: bytes
    answers: tuple[bytes, ...]
    version_digest: bytes
    histories: tuple[bytes, ...]
    culled: tuple[int, ...]


class SyncRequest(Struct, frozen=True, array_like=True, gc=False):
    """One server asks another for a version: whole, or its digest."""

    number: int
    object_id: ObjectId
    timestamp: LogicalTimestamp
    is_whole: bool


class SyncReply(Struct, frozen=True, array_like=True, gc=False):
    """The version asked for: its digest, and its bytes if they were asked for; both empty if it is not held."""

    number: int
    digest: bytes
    version: bytes


class WitnessReply(Struct, frozen=True, array_like=True, gc=False):
    """What a server has lately seen others sign.

    Attributes:
        number: of the question.
        seen: history sets of which it has verified every MAC.
    """

    number: int
    seen: tuple[ObjectHistories, ...]


class HeldRequest(Struct, frozen=True, array_like=True, gc=False):
    """Which of these are your latest candidates?

    Attributes:
        number: that the answer carries.
        items: objects, and the timestamp of the latest candidate here.
    """

    number: int
    items: tuple[tuple[ObjectId, LogicalTimestamp], ...]


class HeldReply(Struct, frozen=True, array_like=True, gc=False):
    """The answer.

    Attributes:
        number: of the question.
        held: a byte for each item: 1 if the server's latest candidate has that timestamp, and is durable.
    """

    number: int
    held: bytes


class ListRequest(Struct, frozen=True, array_like=True, gc=False):
    """A page of a server's list of objects is asked for, by another server or by a client.

    Attributes:
        number: that the answer carries.
        after: the page begins with the first id greater than this; nothing for the first page.
        entries_max: entries at most.
        bytes_max: bytes of entries at most; one entry always has room.
        is_whole: whether the histories are wanted, and not only their digests.
    """

    number: int
    after: ObjectId
    entries_max: int
    bytes_max: int
    is_whole: bool


class Listed(Struct, frozen=True, array_like=True, gc=False):
    """One object in a server's list, as it was at one moment, all of it durable.

    Attributes:
        object_id: the object.
        history: canonical bytes of its replica history, or their digest (``history_digest``).
        version_digest: of the version of its newest candidate that is no barrier, as in a sync reply; empty for the
            initial one, where the server does not hold it, and for a client without the right to see whole states.
        is_held: False if the server says nothing of this object: damaged, or not adopted yet. The rest is empty then.
    """

    object_id: ObjectId
    history: bytes
    version_digest: bytes
    is_held: bool


class ListReply(Struct, frozen=True, array_like=True, gc=False):
    """A page of a server's list of objects.

    Attributes:
        number: of the request.
        entries: in the order of the ids.
        is_last: whether the list ends here. A page that does not end it may have few entries or none if a client asked,
            who has no right on others: the same request again goes on from where this server stopped.
        refusal: why there is no list now; empty where there is one.
    """

    number: int
    entries: tuple[Listed, ...]
    is_last: bool
    refusal: str
