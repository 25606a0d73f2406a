"""Calls that clients have announced, in memory, until they are applied (H1-H4 of helping; ours).

Nothing of it is durable, and nothing is elected: after a restart the owners announce again. What is carried must be in
the pool of every server that accepts it, byte for byte: so nobody can have a call applied that its owner did not make.

An entry leaves when an *established* version has recorded its calls, when its owner withdraws it, announces something
newer, or its connection ends. Not when a version with them is accepted: a barrier may pass over that one, and then the
calls are pending again.

Pending calls are shown to other clients before they are applied. So they are shown to those alone who may make the same
call and may read the object; a type may keep all of them to itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from msgspec import Struct

from fivefold.protocol import limits
from fivefold.protocol.actions import Channel
from fivefold.protocol.announcements import Announcement, encode_help, may_be_announced
from fivefold.protocol.messages import encode
from fivefold.protocol.operations import (
    CANCEL,
    FORGOTTEN,
    AccessPolicy,
    Call,
    Carrying,
    ClientId,
    ObjectId,
    Operation,
    key_of,
)
from fivefold.protocol.records import LogicalTimestamp, Version
from fivefold.protocol.server.replica import Newest
from fivefold.protocol.server.versions import find_answer, recall
from fivefold.protocol.times import unpack_time

Queries = Callable[[ObjectId], tuple[str, ...]]
"""The queries of an object, to one of which a client needs a right that is shown pending calls of the object; none of a
type that keeps them to itself."""


class Announced(Struct):
    """One announcement.

    Attributes:
        owner: whose it is.
        number: of the frame that it came with last; the answers are pushed under it.
        code: what runs the calls.
        calls: the calls.
        methods: what they call, each once.
        shown: the announcement as it is listed.
        size: bytes that it takes here.
    """

    owner: ClientId
    number: int
    code: bytes
    calls: tuple[Call, ...]
    methods: tuple[str, ...]
    shown: bytes
    size: int


class Pending(Struct):
    """An object's announcements that are certainly not applied up to one version.

    Every reply about the object asks for them, and of these there are several between two versions.

    Attributes:
        timestamp: of the version.
        entries: the announcements, in the order in which they came.
    """

    timestamp: LogicalTimestamp
    entries: dict[Channel, Announced]


class Pool:
    """All announcements, by object and by the connection they came over.

    Attributes:
        is_open: whether any are taken; set by the driver. A closed pool has no room for anybody's.
        objects: the announcements on each object, in the order in which they came.
    """

    __slots__ = (
        *("_access", "_begun", "_bytes", "_channels", "_pending", "_queries", "_size"),
        *("counters", "is_open", "objects"),
    )

    def __init__(self, access: AccessPolicy, queries: Queries | None, counters: Counter[str]) -> None:
        """Empty; without ``queries`` everybody is shown what calls he may make himself."""
        self._access, self._queries, self.counters = access, queries, counters
        self.is_open = False
        self.objects: dict[ObjectId, dict[Channel, Announced]] = {}
        self._pending: dict[ObjectId, Pending] = {}
        self._channels: dict[Channel, set[ObjectId]] = {}
        self._begun: dict[Channel, int] = {}
        self._bytes: Counter[ClientId] = Counter()
        self._size = 0

    @property
    def count(self) -> int:
        """Announcements there are."""
        return sum(map(len, self.objects.values()))

    @property
    def size(self) -> int:
        """Bytes that they take."""
        return self._size

    # --- what comes and goes ----------------------------------------------------------------------------------

    def is_used_by(self, channel: Channel, number: int) -> bool:
        """Whether anything was announced over the connection before this frame: it is announced, too, if refused.

        Not what was sent earlier and has waited since: its client does not know that it may be kept, and so carried.
        """
        return self._begun.get(channel, number) < number

    def announce(
        self, channel: Channel, owner: ClientId, number: int, operation: Operation, newest: Newest | None
    ) -> bool:
        """H1: take calls up, in the place of what was announced before over the connection; whether they are here.

        What the ring of the newest version knows, or has forgotten, is not taken up.
        """
        name = operation.objects[0]
        if not self.is_open or newest is None or not may_be_announced(operation) or not self._may_be_shown(name):
            return False
        if not knows_nothing_of(newest.version, owner, operation.calls):
            return False
        known = self.objects.get(name, {}).get(channel)
        if known is not None:
            if known.number > number:
                return known.calls == operation.calls
            if known.calls == operation.calls and known.code == operation.code:
                known.number = number
                return True
        entry = _entry_of(owner, number, operation)
        if not self._has_room(name, channel, owner, entry.size - (known.size if known else 0), is_new=known is None):
            self.counters["helping.no-room"] += 1
            return False
        self._drop(name, channel)
        self.objects.setdefault(name, {})[channel] = entry
        if name in self._pending and self._pending[name].timestamp == newest.timestamp:
            self._pending[name].entries[channel] = entry
        self._channels.setdefault(channel, set()).add(name)
        self._bytes[owner] += entry.size
        self._size += entry.size
        self.counters["helping.announced"] += 1
        return True

    def opened(self, channel: Channel, number: int) -> None:
        """Its client has announced something by this frame, whether there was room for it or not."""
        self._channels.setdefault(channel, set())
        self._begun.setdefault(channel, number)

    def _has_room(self, name: ObjectId, channel: Channel, owner: ClientId, more: int, *, is_new: bool) -> bool:
        entries = self.objects.get(name, {})
        if is_new:
            own = sum([each.owner == owner for each in entries.values()])
            if len(entries) >= limits.POOL_PER_OBJECT_MAX or own >= limits.POOL_PER_CLIENT_MAX:
                return False
        is_within = self._bytes[owner] + more <= limits.POOL_CLIENT_BYTES_MAX
        return is_within and self._size + more <= limits.POOL_BYTES_MAX

    def _drop(self, name: ObjectId, channel: Channel) -> None:
        entries = self.objects.get(name, {})
        entry = entries.pop(channel, None)
        if entry is None:
            return
        if name in self._pending:
            self._pending[name].entries.pop(channel, None)
        self._size -= entry.size
        self._bytes[entry.owner] -= entry.size
        if not self._bytes[entry.owner]:
            del self._bytes[entry.owner]
        self._channels[channel].discard(name)
        if not entries:
            del self.objects[name]
            self._pending.pop(name, None)

    def withdraw(self, owner: ClientId, operation: Operation) -> None:
        """H9: forget these calls, and whatever was announced together with one of them."""
        name, ids = operation.objects[0], {call.id for call in operation.calls}
        for channel, entry in list(self.objects.get(name, {}).items()):
            if entry.owner == owner and not ids.isdisjoint([call.id for call in entry.calls]):
                self._drop(name, channel)
                self.counters["helping.withdrawn"] += 1

    def closed(self, channel: Channel) -> None:
        """A connection has ended, and its announcements with it."""
        for name in list(self._channels.get(channel, ())):
            self._drop(name, channel)
        self._channels.pop(channel, None)
        self._begun.pop(channel, None)

    def settle(self, name: ObjectId, established: Version) -> None:
        """H4: this version is established, and what it has recorded is no wish any more."""
        for channel, entry in list(self.objects.get(name, {}).items()):
            if all(_is_known(established, entry.owner, call) for call in entry.calls):
                self._drop(name, channel)

    def drop_stopped(self, name: ObjectId, owner: ClientId) -> None:
        """A call of this owner could not be run to its end here: nobody is to carry it again before it is announced."""
        for channel, entry in list(self.objects.get(name, {}).items()):
            if entry.owner == owner:
                self._drop(name, channel)

    # --- what is made of it -----------------------------------------------------------------------------------

    def lacking(
        self, carrier: ClientId, operation: Carrying, base: Version, is_update: Callable[[str], bool | None]
    ) -> list[ClientId]:
        """H3: the owners of carried calls that are not here with equal bytes, or are not allowed; mostly nobody.

        Both must have the right to the call: its owner, and the carrier, who was shown it. If the carrier has lost it
        since, that is no fault of its own calls: so they are not declined, it tries again without this owner's.

        A call that the ring of the version built upon knows is answered from there.
        """
        name, found = operation.objects[0], dict[ClientId, None]()
        entries = self.objects.get(name, {}).values()
        for each in operation.carried:
            owner, call = each.owner, each.call
            if _is_known(base, owner, call):
                continue
            is_here = any(
                entry.owner == owner and call in entry.calls and (call.method == CANCEL or entry.code == operation.code)
                for entry in entries
            )
            is_allowed = all(self._access.allows(client, name, call.method) for client in (owner, carrier))
            if not (is_here and is_allowed and (call.method == CANCEL or is_update(call.method))):
                found[owner] = None
        return list(found)

    def help_for(
        self, name: ObjectId, reader: ClientId, newest: Newest | None, lacking: tuple[ClientId, ...] = ()
    ) -> bytes:
        """H2: what stands behind a reply's authenticators; nothing if there is nothing to say."""
        listed = () if newest is None or name not in self.objects else tuple(self._listed(name, reader, newest))
        return encode_help(listed, lacking)

    def _listed(self, name: ObjectId, reader: ClientId, newest: Newest) -> Iterator[bytes]:
        """Others' announcements that are certainly not applied, oldest first."""
        count = size = 0
        if not self._may_read(name, reader):
            return
        for entry in self._certainly_pending(name, newest).values():
            if entry.owner == reader or not self._is_visible(name, reader, entry):
                continue
            count, size = count + 1, size + entry.size
            if count > limits.LISTED_ANNOUNCEMENTS_MAX or (count > 1 and size > limits.LISTED_ANNOUNCEMENTS_BYTES_MAX):
                return
            yield entry.shown

    def _certainly_pending(self, name: ObjectId, newest: Newest) -> dict[Channel, Announced]:
        """Not what the ring may have forgotten: a call that can never run would be carried for ever."""
        pending = self._pending.get(name)
        if pending is None or pending.timestamp != newest.timestamp:
            found = self.objects[name].items()
            pending = self._pending[name] = Pending(
                newest.timestamp,
                {c: each for c, each in found if knows_nothing_of(newest.version, each.owner, each.calls)},
            )
        return pending.entries

    def _may_be_shown(self, name: ObjectId) -> bool:
        return self._queries is None or bool(self._queries(name))

    def _may_read(self, name: ObjectId, reader: ClientId) -> bool:
        if self._queries is None:
            return True
        return any(self._access.allows(reader, name, query) for query in self._queries(name))

    def _is_visible(self, name: ObjectId, reader: ClientId, entry: Announced) -> bool:
        return all(self._access.allows(reader, name, method) for method in entry.methods)

    def answered(
        self, name: ObjectId, version: Version, proposer: Channel
    ) -> list[tuple[Channel, Announced, tuple[bytes, ...]]]:
        """H4: who is to be told, because a version just accepted has recorded all its calls; and their answers.

        The proposer's own reply answers his calls.
        """
        if name not in self.objects:
            return []
        made = {outcome.key: outcome.answer for outcome in version.outcomes}
        found = []
        for channel, entry in self.objects[name].items():
            keys = [key_of(entry.owner, call) for call in entry.calls]
            if channel != proposer and all(key in made for key in keys):
                found.append((channel, entry, tuple([made[key] for key in keys])))
        return found


def knows_nothing_of(version: Version, owner: ClientId, calls: Sequence[Call]) -> bool:
    """Whether a version certainly holds none of the calls."""
    return all(recall(version, key_of(owner, call), unpack_time(call.since)) is None for call in calls)


def _is_known(version: Version, owner: ClientId, call: Call) -> bool:
    answer = find_answer(version, key_of(owner, call))
    return answer is not None and answer != FORGOTTEN


def _entry_of(owner: ClientId, number: int, operation: Operation) -> Announced:
    calls, code = operation.calls, operation.code
    shown = encode(Announcement(owner, code, calls))
    size = limits.POOLED_BYTES + len(code) + len(shown)
    for call in calls:
        size += limits.POOLED_BYTES + len(call.arguments) + len(call.method)
    return Announced(owner, number, code, calls, tuple(dict.fromkeys([call.method for call in calls])), shown, size)
