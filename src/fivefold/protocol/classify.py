"""Classification and set-up: what the next step of an object is (Q/U §3.3, equation (1) and Figure 3; PROTOCOL §3, §7).

The same pure code runs in clients and servers. A request's object history sets are counted into *views*; a *plan*
says which kind of step they call for and over which objects; *set_up* derives the candidate from it. One object is the
special case of several: every rule below is one of S1-S6, with the paper's rule as its case of one object.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Final

from fivefold.protocol.history import (
    INITIAL_TIMESTAMP,
    at_start_of,
    decode_history,
    initial_entry,
    make_timestamp,
    time_of,
)
from fivefold.protocol.limits import TIME_LEAD_MAX
from fivefold.protocol.operations import ClientId, ObjectId
from fivefold.protocol.quorums import QuorumSystem
from fivefold.protocol.records import (
    BARRIER_AT,
    NO_OPERATION,
    Candidate,
    LogicalTimestamp,
    ObjectHistories,
    Part,
)
from fivefold.protocol.steps import Kind, Missing, Plan, Step

# For map and sort: each loop over a comprehension costs a call of a Python function.
_timestamp: Final = attrgetter("timestamp")
_candidate: Final = attrgetter("candidate")


class View:
    """One object's history set, counted.

    Attributes:
        object_id: the object.
        latest: the greatest timestamp in any history of the set, seen even once.
        repairable: non-barrier candidates of order ≥ r, newest first; the first is the *object candidate*. Of copies
            of one version, in different histories, it is the newest that r of them show or have superseded.
        support: the object candidate's order: how many histories contain it.
        barrier: the greatest barrier candidate of order ≥ r, if any.
    """

    __slots__ = ("_counts", "_histories", "barrier", "latest", "object_id", "repairable", "support")

    def __init__(self, quorums: QuorumSystem, histories: ObjectHistories) -> None:
        """Count ``histories``, whose members decode (culling has seen to that)."""
        self.object_id = histories.object_id
        self._histories = histories
        self._counts: _Counts | None = None
        initial = histories.holders.count(0)
        support = len(histories.holders) - initial
        if len(histories.histories) == 1 and initial < quorums.r <= support:
            # The good case: one history, and whatever it contains is repairable. Counted in full if somebody asks.
            history = decode_history(self.object_id, histories.histories[0])
            self.latest = history[-1].candidate.timestamp
            found: list[Candidate] = list(map(_candidate, history))
            found.reverse()
        else:
            counts = self._counts = _Counts(histories)
            self.latest = max([timestamp for timestamp, _ in counts.newest])
            found = [candidate for candidate, order in counts.orders.items() if order >= quorums.r]
            found += [copy for copy in counts.newest_copies(quorums.r) if copy not in found]
            found.sort(key=_timestamp, reverse=True)
            support = next((counts.orders[candidate] for candidate in found if not candidate.timestamp[BARRIER_AT]), 0)
        self.support = support
        self.barrier = None
        self.repairable = found
        for candidate in found:
            if candidate.timestamp[BARRIER_AT]:
                self.repairable = [candidate for candidate in found if not candidate.timestamp[BARRIER_AT]]
                self.barrier = candidate
                break

    @property
    def orders(self) -> dict[Candidate, int]:
        """How many histories contain each candidate."""
        return self._counted.orders

    @property
    def flags(self) -> dict[LogicalTimestamp, int]:
        """How many histories show a multi-object candidate, or a joint copy of it, as settled, by its timestamp."""
        return self._counted.flags

    @property
    def _counted(self) -> _Counts:
        if self._counts is None:
            self._counts = _Counts(self._histories)
        return self._counts

    def reached_by(self, count: int) -> int:
        """The time that ``count`` histories of the set reach."""
        times: list[int] = []
        for timestamp, holders in self._counted.newest:
            times += [time_of(timestamp)] * holders
        return sorted(times, reverse=True)[count - 1]

    def followed_until(self, quorums: QuorumSystem) -> int:
        """The latest time that a barrier of this object may follow (PROTOCOL §4.1, Leads).

        One lead above what q histories reach; one liar could otherwise use the clock up. And what r reach, of whom one
        at least is honest. Story: (1) a liar and a client lead q - b honest servers on, lead by lead. (2) The liar is
        silent; q histories reach only what a slow server has. (3) Without the r, a barrier gains one lead each time,
        and is refused by all who are ahead: the object is frozen for as many barriers as they have made.
        """
        return max(self.reached_by(quorums.q) + TIME_LEAD_MAX, self.reached_by(quorums.r))

    def leap(self, quorums: QuorumSystem) -> LogicalTimestamp:
        """What a barrier has to exceed: the greatest timestamp that it may follow.

        Those too far ahead are not disbelieved, only not followed: an honest server may be among them, led there by a
        liar. The barrier brings the others on, and the next one reaches it.
        """
        bound, newest = self.followed_until(quorums), self._counted.newest
        followed = [timestamp for timestamp, _ in newest if time_of(timestamp) <= bound]
        if len(followed) < len(newest):
            followed.append(at_start_of(bound))  # as far as is allowed: single steps would never catch up
        return max(self.repairable[0].timestamp, *followed)

    def order(self, candidate: Candidate) -> int:
        """How many histories of the set contain the candidate."""
        return self.orders.get(candidate, 0)


class _Counts:
    """How often everything occurs in one history set.

    Attributes:
        orders: how many histories contain each candidate.
        flags: how many histories show a multi-object candidate as settled, or a joint copy, by its timestamp.
        newest: the greatest timestamp of each distinct history, and how many servers show that history.
    """

    __slots__ = ("_copies", "flags", "newest", "orders")

    def __init__(self, histories: ObjectHistories) -> None:
        object_id, holders = histories.object_id, histories.holders
        initial = holders.count(0)
        orders: dict[Candidate, int] = {}
        flags: dict[LogicalTimestamp, int] = {}
        newest = [(INITIAL_TIMESTAMP, initial)]
        copies: dict[tuple[Part, ...], list[tuple[Candidate, int]]] = {}
        if initial:
            orders[initial_entry(object_id).candidate] = initial
        for index, data in enumerate(histories.histories, 1):
            count = holders.count(index)
            history = decode_history(object_id, data)
            for entry in history:
                candidate = entry.candidate
                orders[candidate] = orders.get(candidate, 0) + count
            for original in {entry.candidate.original for entry in history if entry.is_settled}:
                flags[original] = flags.get(original, 0) + count
            newest.append((history[-1].candidate.timestamp, count))
            for copy in {each.candidate.parts: each.candidate for each in history if each.candidate.is_copy}.values():
                copies.setdefault(copy.parts, []).append((copy, count))
        self.orders, self.flags, self.newest, self._copies = orders, flags, newest, copies

    def newest_copies(self, r: int) -> list[Candidate]:
        """Of each version that was copied, the newest copy that r histories show or have superseded.

        Story without this: (1) copies y1 and y2 of one version are in two histories each, and y1 is established.
        (2) A history takes y2 and drops y1. (3) Neither has order r, and an older version is copied: y1 is lost.
        """
        found = []
        for copies in self._copies.values():
            copies.sort(key=lambda each: each[0].timestamp, reverse=True)
            support = 0
            for copy, count in copies:
                support += count
                if support >= r:
                    found.append(copy)
                    break
        return found


def classify(quorums: QuorumSystem, view: View) -> Kind | None:
    """What one object by itself calls for; None if no candidate is repairable (the request is refused)."""
    if not view.repairable:
        return None
    candidate, barrier = view.repairable[0], view.barrier
    if candidate.timestamp == view.latest:
        return Kind.METHOD if view.support >= quorums.q else Kind.INLINE_METHOD
    if barrier is not None and barrier.timestamp == view.latest:
        return Kind.COPY if view.orders[barrier] >= quorums.q else Kind.INLINE_BARRIER
    return Kind.BARRIER


Views = Mapping[ObjectId, View]
"""The views of a request's objects, in the order of the ids."""


def plan_operation(quorums: QuorumSystem, views: Views, *, is_query: bool = False) -> Plan | None:
    """METHOD if every object classifies as METHOD (S3), otherwise None: the client must repair first.

    So it must where an update would carry the time of one object to another that is more than a lead behind.
    """
    parts: tuple[Part, ...] = ()
    latests: tuple[LogicalTimestamp, ...] = ()
    for name, view in views.items():
        if classify(quorums, view) is not Kind.METHOD:
            return None
        candidate = view.repairable[0]
        parts += (Part(name, candidate.timestamp, None if len(candidate.parts) == 1 else _base_above(candidate)),)
        latests += (view.latest,)
    if len(latests) > 1 and not is_query and time_of(max(latests)) > time_of(min(latests)) + TIME_LEAD_MAX:
        return None
    return Plan(Kind.METHOD, parts, latests)


def plan_repair(quorums: QuorumSystem, target: ObjectId, views: Views) -> Plan | Missing | None:
    """The repair that ``target`` calls for, judged by all ``views``; None if there is nothing to repair."""
    if any(not view.repairable for view in views.values()):
        return None
    view = views[target]
    kind = classify(quorums, view)
    if (kind is Kind.METHOD or kind is Kind.COPY) and _ahead_of(quorums, view, views.values()):
        return _plan_catching_up(quorums, view)
    if kind is Kind.INLINE_METHOD:
        return _plan_inline_method(quorums, target, views)
    if kind is Kind.COPY:
        return _plan_copy(quorums, target, views)
    if kind is Kind.INLINE_BARRIER:
        barrier = view.barrier
        # S4: a joint barrier finished on one object only lets the others go on below it (schedule D7).
        if barrier is not None and not barrier.is_multi:
            return Plan(kind, barrier.parts, (view.latest,), repaired=barrier)
        return _plan_barrier(quorums, views)
    return _plan_barrier(quorums, views) if kind is Kind.BARRIER else None


def next_to_repair(
    quorums: QuorumSystem, sets: Iterable[ObjectHistories], *, is_query: bool = False
) -> ObjectId | None:
    """Which of an operation's objects to repair next; None if all classify as METHOD, and none is far behind another.

    The first of ``sets`` is that of the object under repair. Story: b needs a copy alone, c one that is judged by b
    too. (1) A joint barrier over b and c. (2) b is copied. (3) c cannot be judged, since b shows the barrier no more:
    (1) again, for ever. With c kept, c comes first. So an object that can be copied alone comes last: where each
    of sixteen objects is judged by all, every joint barrier would undo their copies, and hundreds would be needed.
    """
    easy: ObjectId | None = None
    counted: list[View] = []
    for place, each in enumerate(sets):
        name, views = each.object_id, views_of(quorums, (each,))
        kind = classify(quorums, views[name])
        counted.append(views[name])
        if kind is not Kind.METHOD:
            if place == 0 or kind is not Kind.COPY or not isinstance(plan_repair(quorums, name, views), Plan):
                return name
            easy = easy or name
    if easy is None and not is_query and len(counted) > 1:
        last = min(counted, key=lambda view: view.latest)
        return last.object_id if _ahead_of(quorums, last, counted) else None
    return easy


def carried_with(quorums: QuorumSystem, target: ObjectId, sets: Iterable[ObjectHistories]) -> tuple[ObjectId, ...]:
    """Which of an operation's objects shows, beside the target, how far the target's barriers have to go.

    A repair that carries its set is a barrier of the target alone (``plan_repair``), one after the other.
    """
    views = views_of(quorums, tuple(sets))
    view = views[target]
    if classify(quorums, view) not in (Kind.METHOD, Kind.COPY):
        return ()
    return tuple([ahead.object_id for ahead in _ahead_of(quorums, view, views.values())])


def _ahead_of(quorums: QuorumSystem, view: View, others: Collection[View]) -> list[View]:
    """The object that is furthest on, if q histories of it lead what q of this one reach by more than one lead."""
    if len(others) < 2:
        return []
    furthest = max(others, key=lambda other: other.reached_by(quorums.q))
    is_ahead = furthest.reached_by(quorums.q) > view.reached_by(quorums.q) + TIME_LEAD_MAX
    return [furthest] if is_ahead else []


def _plan_barrier(quorums: QuorumSystem, views: Views) -> Plan:
    """S4: one barrier over exactly the objects of the request.

    Unless it would lead what q histories of one of them reach by more than one lead: then that object gets a barrier of
    its own. Story: (1) a client and a liar lead the clock of the client's own object far ahead. (2) A joint barrier
    over it and another one reaches two honest servers. (3) The liar is silent: the two are needed, and nobody else can
    show why they are where they are. One lead above what q histories reach, two barriers always catch up.
    """
    leaps = tuple([view.leap(quorums) for view in views.values()])
    if len(leaps) > 1:
        last = min(views.values(), key=lambda view: view.reached_by(quorums.q))
        if time_of(max(leaps)) > last.reached_by(quorums.q) + TIME_LEAD_MAX:
            return _plan_catching_up(quorums, last)
    parts = tuple([Part(name, view.repairable[0].timestamp, None) for name, view in views.items()])
    return Plan(Kind.BARRIER, parts, leaps)


def _plan_catching_up(quorums: QuorumSystem, view: View) -> Plan:
    """A barrier of one object alone, which goes as far as it may."""
    latest = max(view.leap(quorums), at_start_of(view.followed_until(quorums)))
    part = Part(view.object_id, view.repairable[0].timestamp, None)
    return Plan(Kind.BARRIER, (part,), (latest,))


def _plan_inline_method(quorums: QuorumSystem, target: ObjectId, views: Views) -> Plan | Missing:
    """S3: alone if the candidate is settled; otherwise for all its objects, where it must be the latest."""
    candidate = views[target].repairable[0]
    if is_settled(quorums, candidate, target, views):
        part, latest = candidate.part(target), views[target].latest
        return Plan(Kind.INLINE_METHOD, (part,), (latest,), repaired=candidate, settles=candidate.is_multi)
    if any(name not in views for name in candidate.objects):
        return Missing(candidate.objects)
    for name in candidate.objects:
        view = views[name]
        # Repairing one object alone breaks atomicity (schedule D8): M must be the latest, and repairable, everywhere.
        if view.latest != candidate.timestamp or view.order(candidate) < quorums.r:
            return _plan_barrier(quorums, views)
    latests = tuple(views[name].latest for name in candidate.objects)
    return Plan(Kind.INLINE_METHOD, candidate.parts, latests, repaired=candidate)


def _plan_copy(quorums: QuorumSystem, target: ObjectId, views: Views) -> Plan | Missing | None:
    """S5: walk the target's candidates from the newest, and copy the first that is settled or agreed."""
    barrier = views[target].barrier
    assert barrier is not None, "COPY is classified by a barrier"
    for candidate in views[target].repairable:
        if is_settled(quorums, candidate, target, views):
            return _plan_copy_alone(quorums, target, candidate, views)
        if any(name not in views for name in candidate.objects):
            return Missing(candidate.objects)
        # One joint barrier freezes all the objects judged by at once; different barriers do not (schedule D5).
        if any(not _shows_barrier(quorums, views[name], barrier) for name in candidate.objects):
            return _plan_barrier(quorums, views)
        if _is_agreed(candidate, target, views):
            parts = candidate.parts
            if not candidate.is_copy:  # a joint copy of a joint copy says what that one says, like a copy alone below
                parts = tuple(_copy_part(part, candidate, part.base_or_conditioned_on) for part in parts)
            return Plan(Kind.COPY, parts, tuple(views[name].latest for name in candidate.objects))
        # Otherwise pass over it for good: an established candidate always has evidence (REPORT, keep-by-default forks).
    return None


def _plan_copy_alone(quorums: QuorumSystem, target: ObjectId, candidate: Candidate, views: Views) -> Plan:
    view, part = views[target], candidate.part(target)
    if candidate.is_multi:
        part = Part(target, candidate.original, None)
    elif view.order(candidate) >= quorums.q:
        part = _copy_part(part, candidate, candidate.timestamp)
    elif not candidate.is_copy:
        part = _copy_part(part, candidate, part.base_or_conditioned_on)
    # Otherwise a copy of a copy is a copy of the same version, on the same base: one takes the other's place.
    return Plan(Kind.COPY, (part,), (view.latest,))


def _base_above(candidate: Candidate) -> LogicalTimestamp | None:
    """What the base of a method on an established multi-object candidate is called, if not by its own timestamp.

    Its joint copies take each other's place, on some objects and not yet on others: by the update that they are copies
    of, each of them is known to be the version that was built upon.
    """
    return None if candidate.original == candidate.timestamp else candidate.original


def _copy_part(part: Part, copied: Candidate, base: LogicalTimestamp) -> Part:
    return Part(part.object_id, copied.timestamp, None if base == copied.timestamp else base)


def _shows_barrier(quorums: QuorumSystem, view: View, barrier: Candidate) -> bool:
    return view.latest == barrier.timestamp and view.order(barrier) >= quorums.q


def _is_agreed(candidate: Candidate, target: ObjectId, views: Views) -> bool:
    """Whether every other object of the candidate M has M as its newest, or a joint copy of M (schedule D6).

    If M is established, whatever is newer there descends from M; its base is M, or something whose acceptors flag M.
    """
    others = [views[name] for name in candidate.objects if name != target]
    return all(view.repairable[0].original == candidate.original for view in others)


def is_settled(quorums: QuorumSystem, candidate: Candidate, at: ObjectId, views: Views) -> bool:
    """Whether the request proves that the candidate is established (S2); true of every single-object candidate.

    One of: b + 1 histories of the object flag it; it has order ≥ q at any of its objects; another of its objects
    shows a candidate of order ≥ r whose base it is. What is said of a joint copy of it is said of its version, and
    counts as well: one of them is established then.
    """
    if not candidate.is_multi:
        return True
    original = candidate.original
    if views[at].flags.get(original, 0) >= quorums.b + 1:
        return True
    for name in candidate.objects:
        view = views.get(name)
        if view is None:
            continue
        if any(order >= quorums.q and each.original == original for each, order in view.orders.items()):
            return True
        if name != at and any(c.part(name).base_or_conditioned_on == original for c in view.repairable):
            return True
    return False


def set_up(plan: Plan, *, client: ClientId, operation_digest: bytes, history_set_digest: bytes) -> Step:
    """Derive candidate and currency bounds from a plan (the table of PROTOCOL §3)."""
    parts = plan.parts
    if plan.repaired is not None:
        bounds = (plan.repaired.timestamp,) * len(parts)
        return Step(plan.kind, plan.repaired, parts, bounds, plan.repaired if plan.settles else None)
    is_new_barrier = plan.kind is Kind.BARRIER
    timestamp = make_timestamp(
        1 + time_of(max(plan.latests)),
        is_barrier=is_new_barrier,
        client=client,
        operation_digest=operation_digest if plan.kind is Kind.METHOD else NO_OPERATION,
        history_set_digest=history_set_digest,
    )
    assert timestamp > max(plan.latests), "a new candidate is newer than all that it follows"
    for part in parts:
        assert part.conditioned_on < timestamp, "and newer than what it rests on"
    bounds = (timestamp,) * len(parts) if is_new_barrier else plan.latests
    return Step(plan.kind, Candidate(timestamp, parts), parts, bounds)


def views_of(quorums: QuorumSystem, histories: Sequence[ObjectHistories]) -> dict[ObjectId, View]:
    """Count each history set of a request."""
    views = {}
    for each in histories:
        views[each.object_id] = View(quorums, each)
    return views
