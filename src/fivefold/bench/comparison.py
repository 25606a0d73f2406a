"""A comparison: systems opened in the same client processes and measured by turns, then counted."""

from __future__ import annotations

import math
import os
import time
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from fivefold.bench.beds import FLOOR, QUORUM, Bed
from fivefold.bench.load import Segment
from fivefold.bench.results import Measurement, Point, errors_text
from fivefold.bench.rounds import Contender, Observer, Run, by_turns
from fivefold.bench.workers import Worker
from fivefold.bench.workload import Seat, Workload
from fivefold.errors import ConfigurationError, Unavailable

COUNTED_S: Final = 0.5
"""Length of the stretch in which messages are counted: counting costs time, so it is never timed."""

FILL_PATIENCE_S: Final = 600.0
"""How long writing every object once may take."""


class Timing(Struct, frozen=True, kw_only=True):
    """How long and how often to measure.

    Attributes:
        seconds: of one measurement.
        warm_up_s: before each.
        rounds: measurements of each system.
    """

    seconds: float = 3.0
    warm_up_s: float = 1.0
    rounds: int = 5

    def check(self) -> None:
        """Refuse what would never end, or never begin.

        Raises:
            ConfigurationError: a number is out of its range.
        """
        if not (0 < self.seconds < math.inf and 0 <= self.warm_up_s < math.inf and self.rounds >= 1):
            raise ConfigurationError(
                f"a measurement takes a number of seconds, at least once: got {self.seconds} s after "
                f"{self.warm_up_s} s, {self.rounds} times"
            )

    def segment(self, workload: Workload, slice_s: float = 0.0) -> Segment:
        """One measurement of this length."""
        return Segment(workload=workload, seconds=self.seconds, warm_up_s=self.warm_up_s, slice_s=slice_s)


class Entry(Struct, frozen=True, kw_only=True):
    """A system with a load, and where it goes in the figure."""

    name: str
    x: float
    bed: Bed
    workload: Workload


class Comparison:
    """Client processes and what they are connected to; a context manager that ends them.

    Attributes:
        workers: the client processes.
    """

    def __init__(self, clients: int = 1, *, python_path: Sequence[Path] = ()) -> None:
        """Start the client processes; ``python_path`` is where they find more modules."""
        environment = {
            "PYTHONPATH": os.pathsep.join(filter(None, [*map(str, python_path), os.environ.get("PYTHONPATH")]))
        }
        self.workers = [Worker(Seat(client, clients), environment) for client in range(clients)]
        self._names: dict[int, str] = {}

    def __enter__(self) -> Comparison:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers:
            worker.close()

    def open(self, bed: Bed, **more: Any) -> str:  # noqa: ANN401 - options are JSON
        """Connect all client processes to a system, once; returns the name to call it by."""
        key = id(bed)
        if more or key not in self._names:
            name = f"{bed.setting.system}-{len(self._names)}{'-counted' if more else ''}"
            for worker in self.workers:
                bed.open_in(worker, name, **more)
            if more:
                return name
            self._names[key] = name
        return self._names[key]

    def measure(self, entries: Sequence[Entry], timing: Timing, observer: Observer | None = None) -> list[Point]:
        """Measure all entries by turns; the points come in the order of the entries.

        Objects that are read are written first: what was never written is answered without a value, and without MACs.

        Raises:
            Unavailable: a client process or a server has ended, or none of a system's operations succeeded.
        """
        contenders = []
        for index, entry in enumerate(entries):
            opened = self.open(entry.bed)
            if entry.workload.updates < 1 and entry.bed.opener != FLOOR:
                if observer is not None:
                    observer.progress(f"writing {entry.workload.objects:,} objects", 0.0, 0)
                self._fill(opened, entry.workload)
            label = f"{entry.name} ({entry.x:g})" if entry.x else entry.name
            contenders.append(
                Contender(key=index, name=opened, label=label, workload=entry.workload, pids=partial(_pids, entry.bed))
            )
        found = by_turns(self.workers, contenders, timing.segment(Workload()), timing.rounds, observer)
        for index, entry in enumerate(entries):
            _check_servers(entry)
            if not any(each.operations for each in found[index]):
                raise _nothing_succeeded(entry.name, found[index])
        return [
            Point(name=e.name, x=e.x, setting=e.bed.setting, workload=e.workload, rounds=found[index])
            for index, e in enumerate(entries)
        ]

    def count(self, entry: Entry) -> dict[str, float]:
        """Messages, bytes and MACs per operation of Fivefold: on fresh objects, after each has been written."""
        assert entry.bed.opener == QUORUM, "the other systems count by themselves"
        name = self.open(entry.bed, is_counted=True, prefix=f"{entry.bed.options['prefix']}-counted")
        few = min(entry.workload.objects, 2 * len(self.workers) * entry.workload.in_flight)  # open loops: 64 each
        workload = replace(entry.workload, objects=few)
        self._fill(name, workload)
        contender = Contender(key=0, name=name, label="counting", workload=workload)
        segment = Timing(seconds=COUNTED_S, warm_up_s=0.0).segment(workload)
        Run(self.workers, contender, segment).run()
        counted = Run(self.workers, contender, segment).run()
        if counted.errors and not counted.operations:
            raise _nothing_succeeded(entry.name, [counted])
        return counted.per_operation

    def _fill(self, name: str, workload: Workload) -> None:
        """Write every object once."""
        segment = Segment(workload=workload, seconds=0, is_filling=True)
        for worker in self.workers:
            worker.start(name, segment)
        for worker in self.workers:
            worker.result(time.monotonic() + FILL_PATIENCE_S, lambda: None)


def frame_sizes(per_operation: dict[str, float], q: int) -> tuple[int, int]:
    """Mean bytes of a request and of an answer, to give the floor's frames the same sizes; 4 of each are the length."""
    return (
        max(8, round(per_operation["bytes_sent"] / q) - 4),
        max(8, round(per_operation["bytes_received"] / q) - 4),
    )


def with_counts(point: Point, per_operation: dict[str, float]) -> Point:
    """The point with what was counted in each of its rounds."""
    rounds: list[Measurement] = [replace(each, per_operation=per_operation) for each in point.rounds]
    return replace(point, rounds=rounds)


def _check_servers(entry: Entry) -> None:
    """Figures of a system that has lost servers are not those of the system that was asked for."""
    servers = entry.bed.cluster.servers if entry.bed.cluster else []
    ended = [str(server.index) for server in servers if not server.is_running]
    if ended:
        raise Unavailable(f"server {' and '.join(ended)} of {entry.name} ended meanwhile: measure again")


def _nothing_succeeded(name: str, rounds: list[Measurement]) -> Unavailable:
    """A rate of 0 is no result."""
    errors: Counter[str] = Counter()
    for each in rounds:
        errors.update(each.errors)
    why = errors_text(errors) or "none ended in time"
    return Unavailable(f"not one operation of {name} succeeded ({why}): ask for less, or for longer")


def _pids(bed: Bed) -> dict[str, int]:
    return bed.pids
