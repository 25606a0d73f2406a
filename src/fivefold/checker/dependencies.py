"""Which operation must come before which: what version numbers say of any correct order (Adya; elle).

For one object, with its versions in the order of their numbers:

- *ww*: who wrote a version comes before who wrote the next;
- *wr*: who wrote a version comes before who ran on it;
- *rw*: who ran on a version comes before who wrote the next.

Versions of which nobody recorded the writing (of unknown outcomes) may lie between two that are recorded; all three
hold across such gaps.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from math import inf

from fivefold.checker.history import Observation, Outcome


class Kind(StrEnum):
    """Why one operation must come before another."""

    WRITE_WRITE = "ww"
    WRITE_READ = "wr"
    READ_WRITE = "rw"
    PROCESS = "process"
    """One process did one at the very nanosecond at which it had done the other."""
    REAL_TIME = "real time"
    """One returned before the other was invoked."""


@dataclass(frozen=True)
class Edge:
    """``source`` must come before ``target`` (positions in a history), because of ``object_id`` or of time."""

    source: int
    target: int
    kind: Kind
    object_id: str = ""


@dataclass(frozen=True)
class Anomaly:
    """Versions that contradict each other without any cycle: what is wrong, where, and whose (positions)."""

    name: str
    object_id: str
    operations: tuple[int, ...]


def version_edges(history: Sequence[Observation]) -> list[Edge]:
    """The ww, wr and rw edges between neighbouring versions of every object; their number is linear in the history."""
    edges = []
    for object_id, (readers, writers) in sorted(_by_object(history).items()):
        numbers = [number for number, _ in writers]
        edges += [Edge(source, target, Kind.WRITE_WRITE, object_id) for (_, source), (_, target) in pairwise(writers)]
        for number, reader in readers:
            next_one = bisect_right(numbers, number)
            if next_one > 0:
                edges.append(Edge(writers[next_one - 1][1], reader, Kind.WRITE_READ, object_id))
            if next_one < len(writers):
                edges.append(Edge(reader, writers[next_one][1], Kind.READ_WRITE, object_id))
    return [edge for edge in edges if edge.source != edge.target]


def _by_object(history: Sequence[Observation]) -> dict[str, tuple[list[tuple[int, int]], list[tuple[int, int]]]]:
    """For each object (version number, position) of its readers and of its writers, in order of numbers."""
    found: dict[str, tuple[list[tuple[int, int]], list[tuple[int, int]]]] = defaultdict(lambda: ([], []))
    for position, observation in enumerate(history):
        for object_id, number in observation.read.items():
            found[object_id][0].append((number, position))
        for object_id, number in observation.written.items():
            found[object_id][1].append((number, position))
    for readers, writers in found.values():
        readers.sort()
        writers.sort()
    return found


def process_edges(history: Sequence[Observation]) -> Iterator[Edge]:
    """The order of a process's operations where one is invoked in the nanosecond in which the one before returned.

    Between processes equal times say nothing; a process does one thing at a time, so there they do. Virtual time
    makes this common.
    """
    latest: dict[str, int] = {}
    for position in sorted(range(len(history)), key=lambda at: (history[at].invoke_ns, returned_ns(history[at]), at)):
        observation = history[position]
        before = latest.get(observation.process)
        if before is not None and returned_ns(history[before]) == observation.invoke_ns:
            yield Edge(before, position, Kind.PROCESS)
        latest[observation.process] = position


def returned_ns(observation: Observation) -> float:
    """When the operation had taken effect if it ever did; ``inf`` if its outcome is unknown."""
    if observation.return_ns is None or observation.outcome == Outcome.UNKNOWN:
        return inf
    return observation.return_ns


def anomalies(history: Sequence[Observation]) -> Iterator[Anomaly]:
    """What versions show to be wrong by themselves, before any order is sought."""
    writer_of: dict[tuple[str, int], int] = {}
    for position, observation in enumerate(history):
        for object_id, number in sorted(observation.written.items()):
            first = writer_of.setdefault((object_id, number), position)
            if first != position:
                yield Anomaly("split brain: two operations wrote one version", object_id, (first, position))
            if observation.outcome in (Outcome.REJECTED, Outcome.FAILED, Outcome.CANCELLED):
                yield Anomaly(f"effect of a {observation.outcome} operation", object_id, (position,))
            if number <= observation.read.get(object_id, -1):
                yield Anomaly("version written that is not newer than the one read", object_id, (position,))
    yield from _aborted_reads(history, writer_of)


def _aborted_reads(history: Sequence[Observation], writer_of: dict[tuple[str, int], int]) -> Iterator[Anomaly]:
    for position, observation in enumerate(history):
        for object_id, number in sorted(observation.read.items()):
            writer = writer_of.get((object_id, number), position)
            if history[writer].outcome in (Outcome.FAILED, Outcome.CANCELLED) and writer != position:
                name = f"dirty read of a {history[writer].outcome} operation"
                yield Anomaly(name, object_id, (writer, position))
