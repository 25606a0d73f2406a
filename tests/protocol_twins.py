"""Deliberately naive twins of the protocol's clever functions: explicit sets, one server after the other, no caches."""

from __future__ import annotations

from itertools import combinations

from fivefold.protocol.history import INITIAL_TIMESTAMP, Candidate, LogicalTimestamp, Part
from fivefold.protocol.operations import ObjectId

Shown = list[tuple[Candidate, bool]]
"""One server's history: candidates and their settled flags."""

Sets = dict[ObjectId, list[Shown]]
"""What a request shows: for each object, every server's history."""


def initial(name: ObjectId) -> Candidate:
    return Candidate(INITIAL_TIMESTAMP, (Part(name, INITIAL_TIMESTAMP, None),))


# --- quorums ----------------------------------------------------------------------------------------------------------


def are_quorums_sound(n: int, t: int, b: int, q: int, r: int) -> bool:
    """The constraints of PROTOCOL §1 as statements about sets, tried one by one."""
    servers = set(range(n))
    quorums = [set(each) for each in combinations(servers, q)]
    repairable = [set(each) for each in combinations(servers, r)]
    malevolent = [set(each) for each in combinations(servers, b)]
    faulty = [set(each) for each in combinations(servers, t)]
    # (2) Whoever is faulty, some quorum has none of them.
    if not all(any(not quorum & failed for quorum in quorums) for failed in faulty):
        return False
    some = quorums[0]  # by symmetry
    for liars in malevolent:
        # (3) What the benign members of one quorum accepted is shown by r members of every other one, liars or not.
        if not all(len((some & other) - liars) >= r for other in quorums):
            return False
        # (4) A repairable set and a quorum share a server that does not lie.
        if not all((some & each) - liars for each in repairable):
            return False
    return True


# --- one object -------------------------------------------------------------------------------------------------------


def order(candidate: Candidate, shown: list[Shown]) -> int:
    """In how many histories the candidate is."""
    return sum(candidate in [each for each, _ in history] for history in shown)


def flags(candidate: Candidate, shown: list[Shown]) -> int:
    """How many histories flag the candidate as settled."""
    return sum(any(flag and version_of(c) == version_of(candidate) for c, flag in history) for history in shown)


def latest(shown: list[Shown]) -> LogicalTimestamp:
    """The greatest timestamp anybody shows."""
    return max(candidate.timestamp for history in shown for candidate, _ in history)


def is_copy(candidate: Candidate) -> bool:
    """A version that no operation made, other than the initial one."""
    return not candidate.is_barrier and not candidate.is_method and candidate.timestamp != INITIAL_TIMESTAMP


def version_of(candidate: Candidate) -> LogicalTimestamp:
    """A joint copy is called after what it copied, anything else after itself."""
    is_joint_copy = is_copy(candidate) and len(candidate.parts) > 1
    return candidate.parts[0].conditioned_on if is_joint_copy else candidate.timestamp


def support(candidate: Candidate, shown: list[Shown]) -> int:
    """How many histories show the candidate, or if it is a copy a newer one that says the same."""
    count = 0
    for history in shown:
        newer = [c for c, _ in history if c.timestamp > candidate.timestamp and c.parts == candidate.parts]
        if candidate in [c for c, _ in history] or (is_copy(candidate) and any(map(is_copy, newer))):
            count += 1
    return count


def at_least(shown: list[Shown], r: int, *, barriers: bool) -> list[Candidate]:
    """Candidates with the support of r histories, newest first."""
    known = {candidate for history in shown for candidate, _ in history}
    found = [c for c in known if c.is_barrier is barriers and support(c, shown) >= r]
    return sorted(found, key=lambda candidate: candidate.timestamp, reverse=True)


def kind_of(shown: list[Shown], q: int, r: int) -> str | None:
    """The table of PROTOCOL §3, read from top to bottom."""
    objects, barriers = at_least(shown, r, barriers=False), at_least(shown, r, barriers=True)
    if not objects:
        return None
    newest = latest(shown)
    if objects[0].timestamp == newest and order(objects[0], shown) >= q:
        return "METHOD"
    if objects[0].timestamp == newest:
        return "INLINE_METHOD"
    if barriers and barriers[0].timestamp == newest and order(barriers[0], shown) >= q:
        return "COPY"
    if barriers and barriers[0].timestamp == newest:
        return "INLINE_BARRIER"
    return "BARRIER"


# --- several objects: deriveS of shared/multi-object/sim.cpp, with the evidence of PROTOCOL S2 ---------------------

Derived = tuple[str, tuple[tuple[ObjectId, LogicalTimestamp, LogicalTimestamp], ...], bool]
"""Kind; object, LT_co and base of each part; whether it repairs a settled multi-object candidate."""


def derive(sets: Sets, target: ObjectId, *, q: int, r: int, b: int) -> Derived | tuple[ObjectId, ...] | None:
    """The repair that a request calls for, or the objects it lacks, or None."""
    newest_object = {}
    for name, shown in sets.items():
        found = at_least(shown, r, barriers=False)
        if not found:
            return None
        newest_object[name] = found[0]

    def base(candidate: Candidate, name: ObjectId) -> LogicalTimestamp:
        part = next(each for each in candidate.parts if each.object_id == name)
        return part.conditioned_on if part.base is None else part.base

    def settled(candidate: Candidate, at: ObjectId) -> bool:
        if len(candidate.parts) == 1:
            return True
        if flags(candidate, sets[at]) >= b + 1:
            return True
        objects = [part.object_id for part in candidate.parts if part.object_id in sets]
        for name in objects:
            shown = {c for history in sets[name] for c, _ in history if version_of(c) == version_of(candidate)}
            if any(order(each, sets[name]) >= q for each in shown):
                return True
            found = at_least(sets[name], r, barriers=False)
            if name != at and any(base(c, name) == version_of(candidate) for c in found):
                return True
        return False

    def barrier() -> Derived:
        parts = tuple((name, newest_object[name].timestamp, newest_object[name].timestamp) for name in sorted(sets))
        return "BARRIER", parts, False

    def whole(
        candidate: Candidate, *names: ObjectId
    ) -> tuple[tuple[ObjectId, LogicalTimestamp, LogicalTimestamp], ...]:
        chosen = [part for part in candidate.parts if not names or part.object_id in names]
        return tuple((part.object_id, part.conditioned_on, base(candidate, part.object_id)) for part in chosen)

    kind = kind_of(sets[target], q, r)
    if kind == "METHOD":
        return None
    if kind == "INLINE_METHOD":
        m = newest_object[target]
        if settled(m, target):
            return "INLINE_METHOD", whole(m, target), len(m.parts) > 1
        objects = tuple(part.object_id for part in m.parts)
        if any(name not in sets for name in objects):
            return objects
        if all(latest(sets[name]) == m.timestamp and order(m, sets[name]) >= r for name in objects):
            return "INLINE_METHOD", whole(m), False
        return barrier()
    if kind == "COPY":
        (b_latest, *_) = at_least(sets[target], r, barriers=True)
        for m in at_least(sets[target], r, barriers=False):
            objects = tuple(part.object_id for part in m.parts)
            if settled(m, target):
                if len(m.parts) > 1 or order(m, sets[target]) >= q:
                    return "COPY", ((target, version_of(m), version_of(m)),), False
                copied = m.parts[0].conditioned_on if is_copy(m) else m.timestamp
                return "COPY", ((target, copied, base(m, target)),), False
            if any(name not in sets for name in objects):
                return objects
            frozen = [latest(sets[o]) == b_latest.timestamp and order(b_latest, sets[o]) >= q for o in objects]
            if not all(frozen):
                return barrier()
            agreed = True
            for name in objects:
                if name != target:
                    newest = at_least(sets[name], r, barriers=False)[0]
                    agreed = agreed and version_of(newest) == version_of(m)
            if agreed:
                return "COPY", tuple((name, version_of(m), base(m, name)) for name in objects), False
        return None
    if kind == "INLINE_BARRIER":
        (b_latest, *_) = at_least(sets[target], r, barriers=True)
        if len(b_latest.parts) == 1:
            return "INLINE_BARRIER", whole(b_latest), False
    return barrier()


# --- a round ----------------------------------------------------------------------------------------------------------

Cast = tuple[str, object, object]
"""A vote: its kind; the candidate it names; what it answers, or why it refuses."""


def verdict(
    cast: dict[int, Cast],
    *,
    asked: set[int],
    busy: set[int],
    may_hold: set[int],
    never_refused: set[int],
    n: int,
    q: int,
    r: int,
    b: int,
    is_query: bool,
    is_patient: bool,
    awaits_frames: bool,
    may_be_applied: bool,
) -> tuple[object, ...]:
    """What an operation's round comes to, read off the rules one by one; every choice of b liars is tried.

    ``may_hold``: servers that may have accepted the attempt, were they honest; ``never_refused``: those of them that
    have not refused any of the frames that they were sent.
    """
    everybody = set(range(n))
    choices = [set(liars) for count in range(b + 1) for liars in combinations(everybody, count)]

    def alike(kind: str) -> set[int]:
        named = {candidate for what, candidate, _ in cast.values() if what == kind}
        groups = [{s for s, (what, c, _) in cast.items() if (what, c) == (kind, candidate)} for candidate in named]
        return max(groups, key=len, default=set())

    def results(servers: set[int]) -> set[object]:
        return {cast[server][2] for server in servers}

    # Done: q servers said the same of one candidate. If no b of them can have lied, honest ones differ.
    for kind, is_applied in (("accepted", not is_query), ("unchanged", None if may_be_applied else False)):
        voters = alike(kind)
        if len(voters) >= q:
            fitting = [voters - liars for liars in choices if len(results(voters - liars)) == 1]
            if not fitting:
                return "diverged", is_applied
            believed = max(fitting, key=len)
            return "answered", results(believed).pop(), voters - believed, kind == "unchanged"
    groups = alike("accepted"), alike("unchanged")
    still = everybody - set(cast)
    reachable = any(len(group | still) >= q for group in groups)
    # Refused: some server is honest that says so, and no b liars make r that may show the attempt.
    declines = [text for kind, _, text in cast.values() if kind == "declined"]
    stops = [text for kind, _, text in cast.values() if kind == "unable"]
    is_declined = any(declines.count(text) > b for text in declines)
    is_stopped = len(stops) > b
    is_dead = is_query or all(len(may_hold | liars) < r for liars in choices)
    if is_dead and not may_be_applied and not reachable and (is_declined or is_stopped):
        return ("declined" if is_declined else "unable",)
    if len(cast) < q:
        return ("ask further" if set(cast) | busy >= asked and asked != everybody else "wait",)
    # Settled: q servers give this answer, and if no b of them can have lied, honest ones differ.
    said = set() if is_query else {server for server, (what, _, _) in cast.items() if what == "settled"}
    if any(len([server for server in said if results({server}) == {answer}]) >= q for answer in results(said)):
        fitting = [said - liars for liars in choices if len(results(said - liars)) == 1]
        if not fitting:
            return "diverged", True
        believed = max(fitting, key=len)
        return "answered", results(believed).pop(), said - believed, False
    if is_patient and any(groups) and still and reachable:
        return ("ask further" if asked != everybody else "wait",)
    can_be_repaired = len(groups[0]) >= r
    if is_declined or (is_stopped and not can_be_repaired):
        will_be_dead = all(len(never_refused | liars) < r for liars in choices)
        return ("wait" if awaits_frames and will_be_dead and not may_be_applied else "unknown",)
    if not can_be_repaired and all(len(group) > b for group in groups):
        return "diverged", None
    return ("conclude",)


# --- the ring ---------------------------------------------------------------------------------------------------------


class NaiveRing:
    """Recent calls as a list, and the times of the newest ones that fell out."""

    def __init__(self) -> None:
        self.calls: list[tuple[bytes, int, bytes]] = []
        self.horizon = 0
        self.orphaned = 0
        self.number = 0
        self.recent = 0

    def record(self, batch: list[tuple[bytes, int, bytes]]) -> None:
        self.calls += batch
        self.number += len(batch)
        self.recent += len(batch)
        if self.recent < 16:
            return
        self.recent = 0
        while True:
            newest = {key[:16]: time for key, time, _ in self.calls}
            old = [call for call in self.calls if call[1] < newest[call[0][:16]]]
            if len(newest) + len(old) <= 64:
                break
            if old:
                counts = [sum(key[:16] == client for key, _, _ in old) for client in newest]
                biggest = list(newest)[counts.index(max(counts))]
                leaving = [next(call for call in old if call[0][:16] == biggest)]
            else:
                first = self.calls[0][0][:16]
                leaving = [call for call in self.calls if call[0][:16] == first]
                self.orphaned = max(self.orphaned, *(time for _, time, _ in leaving))
            self.calls = [call for call in self.calls if call not in leaving]
            self.horizon = max(self.horizon, *(time for _, time, _ in leaving))

    def find(self, key: bytes) -> bytes | None:
        return next((answer for found, _, answer in self.calls if found == key), None)

    def can_tell(self, client: bytes, since: int) -> bool:
        before = self.calls[: len(self.calls) - self.recent]
        own = [time for key, time, _ in before if key[:16] == client]
        return self.horizon <= since or (own[0] if own else self.orphaned) <= since
