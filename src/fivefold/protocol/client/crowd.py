"""What one client knows of others that want to update the same objects (H5-H7 of helping; ours).

A client whose own operation or repair was just completed carries what others have announced meanwhile; only its view of
the object is fresh when it finishes. All others wait for somebody like it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Final

from fivefold.protocol.announcements import Announcement, Help
from fivefold.protocol.limits import CALLS_MAX, KNOWN_OBJECTS_MAX
from fivefold.protocol.operations import CANCEL, Carried, ClientId, ObjectId, key_of
from fivefold.protocol.quorums import QuorumSystem

LEFT_OUT_NS: Final = 100_000_000
"""How long an owner is left out after more than b servers of a round lacked its calls; it doubles each time ..."""

LEFT_OUT_NS_MAX: Final = 60_000_000_000
"""... up to this ..."""

PEACE_NS: Final = 10_000_000_000
"""... and starts over after this time of peace. This is also how long nobody waits for a client that kept getting ahead
without carrying announced calls."""

FOLLOW_ROUND_TRIPS: Final = 4
"""A client whose call others completed announces its next calls for this time, and does not try them itself (H6)."""

OWNERS_MAX: Final = 256
"""Owners, and clients that carry nothing, that are remembered for one object."""


class Place:
    """One object and those around it.

    Attributes:
        listed: others' announcements to be carried next, oldest first.
        follows_until_ns: until when the next calls are only announced.
    """

    __slots__ = ("_left_out", "_selfish", "follows_until_ns", "listed")

    def __init__(self) -> None:
        """Nobody else is there."""
        self.listed: tuple[Announcement, ...] = ()
        self.follows_until_ns = 0
        self._left_out: dict[ClientId, tuple[int, int]] = {}
        self._selfish: dict[bytes, int] = {}

    def note_lacking(self, now_ns: int, owner: ClientId) -> None:
        """More than b servers of a round did not have this owner's call."""
        until_ns, span_ns = self._left_out.get(owner, (0, 0))
        span_ns = 0 if now_ns > until_ns + PEACE_NS else span_ns
        span_ns = min(max(LEFT_OUT_NS, 2 * span_ns), LEFT_OUT_NS_MAX)
        if len(self._left_out) >= OWNERS_MAX:
            del self._left_out[next(iter(self._left_out))]
        self._left_out[owner] = now_ns + span_ns, span_ns

    def is_left_out(self, now_ns: int, owner: ClientId) -> bool:
        """Whether its calls are not to be carried for a while."""
        return bool(self._left_out) and self._left_out.get(owner, (0, 0))[0] > now_ns

    def note_selfish(self, now_ns: int, client: bytes) -> None:
        """This client got ahead again and again, and has not carried what was announced."""
        if len(self._selfish) >= OWNERS_MAX:
            del self._selfish[next(iter(self._selfish))]
        self._selfish[client] = now_ns + PEACE_NS

    def is_selfish(self, now_ns: int, client: bytes) -> bool:
        """Whether it is not worth waiting for."""
        return self._selfish.get(client, 0) > now_ns

    def take(self, code: bytes, own_count: int) -> tuple[tuple[Carried, ...], bytes]:
        """What to carry beside ``own_count`` own calls, each announcement whole; and the code that runs it all.

        One operation runs by one code; cancellations need none. Own ones do not take on another's code, which servers
        may no longer run.

        A client may announce a call twice, over two connections and each time with another one beside it. Servers throw
        away an operation that names a call twice, without an answer: so the second announcement is not carried.
        """
        found: tuple[Carried, ...] = ()
        taken: set[bytes] = set()
        for each in self.listed:
            keys = {key_of(each.owner, call) for call in each.calls}
            is_alike = each.code == code or not (code or own_count) or all(call.method == CANCEL for call in each.calls)
            is_fitting = own_count + len(found) + len(each.calls) <= CALLS_MAX
            if is_alike and is_fitting and taken.isdisjoint(keys):
                code = code or (b"" if own_count else each.code)
                taken |= keys
                found += tuple([Carried(each.owner, call) for call in each.calls])
        return found, code


class Crowd:
    """All objects that others are interested in, as one client sees it.

    Attributes:
        own: whose session it is, if that is known.
        has_announced: whether this client has announced anything yet: from then on, refused operations are announced.
        counters: what was announced, carried, pushed, lacking and withdrawn, for benchmarks and tests.
    """

    def __init__(self, quorums: QuorumSystem, own: ClientId | None = None) -> None:
        """Nobody is seen yet."""
        self._quorums, self.own = quorums, own
        self._places: dict[ObjectId, Place] = {}
        self.has_announced = False
        self.counters: Counter[str] = Counter()

    def at(self, object_id: ObjectId) -> Place:
        """What is known of an object's others."""
        place = self._places.get(object_id)
        if place is None:
            if len(self._places) >= KNOWN_OBJECTS_MAX:
                del self._places[next(iter(self._places))]
            place = self._places[object_id] = Place()
        return place

    def is_quiet(self, now_ns: int, object_id: ObjectId) -> bool:
        """Whether an update there is tried at once, and carries nothing: as far as is known, nobody else is at it."""
        place = self._places.get(object_id)
        return place is None or not (place.listed or place.follows_until_ns > now_ns)

    def is_busy(self, object_id: ObjectId) -> bool:
        """Whether others wait for their calls there."""
        place = self._places.get(object_id)
        return place is not None and bool(place.listed)

    def learn(self, now_ns: int, object_id: ObjectId, helps: Mapping[int, Help]) -> None:
        """A round is over: what its servers list is what may be carried next, in the place of what was known."""
        if not helps and object_id not in self._places:
            return
        place = self.at(object_id)
        place.listed = tuple(
            [each for each in agreed(helps, self._quorums) if not place.is_left_out(now_ns, each.owner)]
        )
        lacking = Counter(owner for found in helps.values() for owner in set(found.lacking))
        for owner, count in lacking.items():
            if count > self._quorums.b:
                place.note_lacking(now_ns, owner)
                self.counters["lacking"] += 1


def agreed(helps: Mapping[int, Help], quorums: QuorumSystem) -> list[Announcement]:
    """What q - b servers list with equal bytes, the oldest first by the mean of their places.

    Honest servers reach q - b without the liars; and it means that r of them or more have it (H5): so announcer and
    liars together cost the others one inline repair, no barrier.
    """
    places: dict[Announcement, list[int]] = {}
    for found in helps.values():
        for place, each in enumerate(dict.fromkeys(found.listed)):
            places.setdefault(each, []).append(place)
    enough = [each for each, found in places.items() if len(found) >= quorums.q - quorums.b]
    return sorted(enough, key=lambda each: (sum(places[each]) / len(places[each]), each.owner, each.calls[0].id))


def is_crowded(helps: Collection[Help], b: int) -> bool:
    """Whether more than b servers list calls of one and the same other client."""
    owners = Counter(owner for found in helps for owner in {each.owner for each in found.listed})
    return bool(owners) and max(owners.values()) > b
