"""Cycles of dependencies: a history whose operations must come before themselves has no correct order.

Real-time edges would be quadratic in number, so time is a row of nodes, one per return: an operation leads to the node
of its return, each node to the next, and the last node before an invocation to that operation. A way through time is
one real-time edge.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Sequence
from math import inf

from fivefold.checker.dependencies import Edge, Kind, returned_ns
from fivefold.checker.history import Observation

STARTS_COUNT_MAX = 100
"""Operations from which a shortest cycle is sought, besides those of the first cycle met."""

_TIME = Edge(-1, -1, Kind.REAL_TIME)
_GOAL = -1


def shortest_cycle(history: Sequence[Observation], edges: Sequence[Edge]) -> tuple[Edge, ...]:
    """A shortest cycle of version ``edges``, or else of those and time; empty if there is none at all.

    A cycle of versions alone is preferred: it is wrong even for clients that do not look at the clock. Where very many
    operations are entangled, not all are tried as starts, and the cycle may not be the very shortest.
    """
    versions = [edge for edge in edges if edge.kind is not Kind.PROCESS]
    return _Graph(len(history), versions).shortest_cycle() or _Graph(len(history), edges, history).shortest_cycle()


class _Graph:
    """Operations are nodes 0 … n−1; nodes from n on are the row of time."""

    def __init__(self, operations: int, edges: Iterable[Edge], timed: Sequence[Observation] = ()) -> None:
        self._operations = operations
        self._steps: defaultdict[int, list[tuple[int, Edge]]] = defaultdict(list)
        for edge in edges:
            self._steps[edge.source].append((edge.target, edge))
        self._add_time(timed)

    def _add_time(self, timed: Sequence[Observation]) -> None:
        ends = sorted((returned_ns(seen), at) for at, seen in enumerate(timed) if returned_ns(seen) != inf)
        moments = [moment for moment, _ in ends]
        for row, (_, at) in enumerate(ends):
            self._steps[at].append((self._operations + row, _TIME))
            if row + 1 < len(ends):
                self._steps[self._operations + row].append((self._operations + row + 1, _TIME))
        for at, seen in enumerate(timed):
            row = bisect_left(moments, seen.invoke_ns) - 1
            if row >= 0:
                self._steps[self._operations + row].append((at, _TIME))

    def shortest_cycle(self) -> tuple[Edge, ...]:
        entangled = self._entangled()
        if not entangled:
            return ()
        on_cycle = self._some_cycle(entangled)
        others = sorted(node for node in entangled if node < self._operations)[:STARTS_COUNT_MAX]
        best: tuple[Edge, ...] = ()
        for start in dict.fromkeys([*on_cycle, *others]):
            best = self._cycle_from(start, entangled, len(best) or len(entangled) + 1) or best
        return best

    def _entangled(self) -> set[int]:
        """What is left when nodes that nothing leads to are taken away, again and again: empty without a cycle."""
        incoming = Counter(target for steps in self._steps.values() for target, _ in steps)
        nodes = set(self._steps) | set(incoming)
        line = [node for node in nodes if not incoming[node]]
        while line:
            node = line.pop()
            nodes.discard(node)
            for target, _ in self._steps.get(node, ()):
                incoming[target] -= 1
                if not incoming[target]:
                    line.append(target)
        return nodes

    def _some_cycle(self, entangled: set[int]) -> list[int]:
        """Operations of one cycle: going backwards among nodes that all have something before them meets one."""
        before = {target: node for node in sorted(entangled) for target, _ in self._steps[node]}
        node = min(entangled)
        passed: dict[int, int] = {}
        while node not in passed:
            passed[node] = len(passed)
            node = before[node]
        cycle = [other for other, place in passed.items() if place >= passed[node]]
        return [other for other in cycle if other < self._operations][:STARTS_COUNT_MAX]

    def _cycle_from(self, start: int, entangled: set[int], length_limit: int) -> tuple[Edge, ...]:
        """A shortest way from ``start`` back to it, of fewer edges than the limit. Only ways out of operations cost."""
        length = {start: 0}
        came: dict[int, tuple[int, Edge]] = {}
        line = deque([start])
        while line:
            node = line.popleft()
            if node == _GOAL:
                return self._edges_back(start, came)
            is_free = node >= self._operations
            for target, edge in self._steps.get(node, ()):
                goal = _GOAL if target == start else target
                longer = length[node] + (not is_free)
                if longer < min(length.get(goal, inf), length_limit) and (target in entangled):
                    length[goal] = longer
                    came[goal] = (node, edge)
                    line.appendleft(goal) if is_free else line.append(goal)
        return ()

    def _edges_back(self, start: int, came: dict[int, tuple[int, Edge]]) -> tuple[Edge, ...]:
        """The edges of the cycle in order; a way through time becomes one edge."""
        edges: list[Edge] = []
        node, target = _GOAL, start
        while node != start:
            node, edge = came[node]
            if node < self._operations:
                edges.append(Edge(node, target, Kind.REAL_TIME) if edge is _TIME else edge)
                target = node
        return tuple(reversed(edges))


def name_of_cycle(cycle: Sequence[Edge]) -> str:
    """What the literature calls such a cycle: lost update, write skew, long fork and others."""
    kinds = [edge.kind for edge in cycle]
    reads_before = kinds.count(Kind.READ_WRITE)
    objects = {edge.object_id for edge in cycle if edge.object_id}
    if Kind.REAL_TIME in kinds or Kind.PROCESS in kinds:
        return "stale read" if reads_before == 1 and len(kinds) == 2 else "real-time violation"
    if reads_before == 0:
        return "circular information flow" if Kind.WRITE_READ in kinds else "write cycle"
    if reads_before == 1:
        return "lost update" if Kind.WRITE_WRITE in kinds and len(objects) == 1 else "read skew"
    is_adjacent = any(kinds[at] is kinds[at - 1] is Kind.READ_WRITE for at in range(len(kinds)))
    if len(objects) == 1 and len(kinds) == 2:
        return "lost update"
    return "write skew" if is_adjacent else "long fork"
