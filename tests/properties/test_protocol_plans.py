"""Plans against the naive twin, and safety, on random schedules of the production servers.

Hostile clients send requests made of old and new histories, to any servers, in any order; a liar shows histories of
others, histories with forged flags and candidates of its own making. The rack checks for forks and broken atomicity
after every acceptance; every request's plan is compared with what ``deriveS`` of the C++ model derives.
"""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from fivefold.protocol.classify import plan_repair, views_of
from fivefold.protocol.history import Entry, ObjectHistories, decode_history, encode_history
from fivefold.protocol.operations import ObjectId
from fivefold.protocol.quorums import QuorumSystem
from fivefold.protocol.steps import Missing, Plan
from fivefold.simulation.rack import Letter
from tests import protocol_twins as twins
from tests.protocol_rig import A, B, C, WatchedRack, X, Y, Z, candidate, op

NAMES = (A, B, C)
KINDS: Counter[str] = Counter()


def as_twin(plan: Plan | Missing | None) -> twins.Derived | tuple[ObjectId, ...] | None:
    """A production plan in the twin's words."""
    if plan is None:
        return None
    if isinstance(plan, Missing):
        return plan.objects
    parts = tuple((part.object_id, part.conditioned_on, part.base_or_conditioned_on) for part in plan.parts)
    return plan.kind.value, parts, plan.settles


def compare(system: QuorumSystem, target: ObjectId, sets: tuple[ObjectHistories, ...]) -> None:
    """Production and twin derive the same repair from a request's history sets."""
    shown = {
        each.object_id: [
            [(entry.candidate, entry.is_settled) for entry in decode_history(each.object_id, each.of(server))]
            for server in range(system.n)
        ]
        for each in sets
    }
    plan = plan_repair(system, target, views_of(system, sets))
    expected = twins.derive(shown, target, q=system.q, r=system.r, b=system.b)
    assert as_twin(plan) == expected
    KINDS[plan.kind.value if isinstance(plan, Plan) else type(plan).__name__] += 1


class Walk:
    """One random schedule."""

    def __init__(self, seed: int, n: int, b: int) -> None:
        self.random = Random(seed)
        self.rack = WatchedRack(n=n, t=1, b=b, liars=range(n - b, n))
        self.past: dict[tuple[int, ObjectId], list[bytes]] = {}
        self.letters: list[Letter] = []

    def step(self) -> None:
        """Deliver a new request, or an old one again."""
        self._remember()
        if self.letters and self.random.random() < 0.2:
            self.random.choice(self.letters[-6:]).to(self._some())
            return
        names = [name for name in NAMES if self.random.random() < 0.45] or [self.random.choice(NAMES)]
        target = self.random.choice(names)
        servers = self.random.sample(range(self.rack.quorums.n), self.rack.quorums.q)
        view = {name: {server: self._shown(server, name) for server in servers} for name in names}
        operation = op("add", b"+", *names) if self.random.random() < 0.4 else None
        letter = Letter(
            self.rack,
            self.random.choice((X, Y, Z)),
            view,
            operation=operation,
            target=None if operation else target,
        )
        compare(self.rack.quorums, target, letter.sets)
        self.letters.append(letter)
        letter.to(self._some())

    def _some(self) -> list[int]:
        benign = self.rack.quorums.n - self.rack.quorums.b
        count = self.random.choice((benign, benign, self.rack.quorums.r, self.rack.quorums.r - 1, 1))
        return self.random.sample(range(benign), count)

    def _remember(self) -> None:
        for server in range(self.rack.quorums.n - self.rack.quorums.b):
            for name in NAMES:
                known = self.past.setdefault((server, name), [b""])
                history = self.rack.history(server, name)
                if known[-1] != history:
                    known.append(history)

    def _shown(self, server: int, name: ObjectId) -> bytes:
        if server >= self.rack.quorums.n - self.rack.quorums.b:
            return self._lie(name)
        known = self.past[(server, name)]
        return self.random.choice(known[-4:]) if self.random.random() < 0.1 else known[-1]

    def _lie(self, name: ObjectId) -> bytes:
        known = self.past[(self.random.randrange(self.rack.quorums.n - self.rack.quorums.b), name)]
        data = self.random.choice(known[-3:])
        entries = [*decode_history(name, data)] if data else []
        if self.random.random() < 0.4:
            entries = [Entry(e.candidate, e.candidate.is_multi and self.random.random() < 0.5) for e in entries]
        others = [each for (of, each) in self.rack.accepted if of == name]
        if others and self.random.random() < 0.4:
            extra = Entry(self.random.choice(others[-6:]), self.random.random() < 0.3)
            entries = [e for e in entries if e.candidate.timestamp != extra.candidate.timestamp] + [extra]
        if self.random.random() < 0.1:
            made = candidate(self.random.randrange(1, 9), name, is_barrier=self.random.random() < 0.5, salt=b"lie")
            entries = [e for e in entries if e.candidate.timestamp != made.timestamp] + [Entry(made, False)]
        if len(entries) > 2 and self.random.random() < 0.3:
            entries.pop(self.random.randrange(len(entries)))
        entries.sort(key=lambda entry: entry.candidate.timestamp)
        return encode_history(tuple(entries)) if entries else b""


@pytest.mark.parametrize(("n", "b"), [(4, 0), (6, 1)])
@pytest.mark.parametrize("seed", range(20))
def test_random_schedules_are_safe_and_planned_like_the_model(seed: int, n: int, b: int) -> None:
    """No fork, no broken atomicity, one version for each timestamp; every plan is the C++ model's."""
    walk = Walk(seed, n, b)
    for _ in range(80):
        walk.step()


@pytest.mark.long
@pytest.mark.parametrize(("n", "b"), [(4, 0), (6, 1)])
@pytest.mark.parametrize("seed", range(1000, 1200))
def test_many_random_schedules_are_safe_and_planned_like_the_model(seed: int, n: int, b: int) -> None:
    """The same, longer and more often."""
    walk = Walk(seed, n, b)
    for _ in range(120):
        walk.step()


def test_the_random_schedules_meet_every_kind() -> None:
    """The comparison is worth something: all kinds of plans, refusals and missing objects occur."""
    KINDS.clear()
    for seed in range(10):
        walk = Walk(seed, 4, 0)
        for _ in range(80):
            walk.step()
    assert {"BARRIER", "COPY", "INLINE_BARRIER", "INLINE_METHOD", "Missing", "NoneType"} <= set(KINDS)
