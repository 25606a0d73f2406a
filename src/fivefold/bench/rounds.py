"""Measuring: one segment on one system, or several systems by turns, so that a noisy moment hits all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

import msgspec
from msgspec import Struct

from fivefold.bench.load import Recording, Segment
from fivefold.bench.processes import cpu_seconds
from fivefold.bench.results import Measurement, measurement
from fivefold.bench.workers import RUN_PATIENCE_S, Worker
from fivefold.bench.workload import Workload
from fivefold.errors import Unavailable

LEAD_S: Final = 0.1
"""Between the command and the first operation: all client processes have heard by then."""

_LOOK_S: Final = 0.1


class Contender(Struct, frozen=True, kw_only=True):
    """A system in a comparison.

    Attributes:
        key: of its measurements: one system may contend with several loads.
        name: under which the client processes have opened it.
        label: for people.
        workload: its load.
        pids: its servers' process ids by name; asked for before each measurement.
    """

    key: int
    name: str
    label: str
    workload: Workload
    pids: Callable[[], Mapping[str, int]] = dict


class Observer(Protocol):
    """Watches a measurement while it runs."""

    def progress(self, label: str, elapsed_s: float, operations: int) -> None:
        """So far."""
        ...

    def measured(self, label: str, round_: int, result: Measurement) -> None:
        """One measurement is done."""
        ...


class Nobody:
    """Does not look."""

    def progress(self, label: str, elapsed_s: float, operations: int) -> None:
        """Not looked at."""

    def measured(self, label: str, round_: int, result: Measurement) -> None:
        """Not looked at."""


class Deed(Struct, frozen=True):
    """Something done to the system during a measurement, at this second of its measured part."""

    at_s: float
    action: Callable[[], object]


class Run:
    """One segment on one system, watched from the parent process."""

    def __init__(
        self, workers: Sequence[Worker], contender: Contender, segment: Segment, observer: Observer | None = None
    ) -> None:
        """Nothing has begun; ``segment`` begins when :meth:`run` is called, with the contender's workload."""
        self._workers = list(workers)
        self._contender = contender
        start_ns = time.monotonic_ns() + int(LEAD_S * 1e9)
        self._segment = msgspec.structs.replace(segment, start_ns=start_ns, workload=contender.workload)
        self._observer = observer or Nobody()
        self._pids = {**contender.pids(), **{f"client-{each.seat.client}": each.pid for each in workers}}

    def run(self, deeds: Sequence[Deed] = (), *, may_lose: Sequence[Worker] = ()) -> Measurement:
        """Do it; ``deeds`` happen meanwhile, and ``may_lose`` are client processes that these may kill.

        Raises:
            Unavailable: another client process has ended.
        """
        for worker in self._workers:
            worker.start(self._contender.name, self._segment)
        begin_ns, end_ns = self._segment.measured_ns
        self._wait(begin_ns)
        before = self._cpu()
        for deed in sorted(deeds, key=lambda deed: deed.at_s):
            self._wait(begin_ns + int(deed.at_s * 1e9))
            deed.action()
        self._wait(end_ns)
        after = self._cpu()
        spent = {name: max(0.0, after[name] - before[name]) for name in before}
        return measurement(self._segment, self._recordings(may_lose), spent)

    def _recordings(self, may_lose: Sequence[Worker]) -> list[Recording]:
        deadline = time.monotonic() + RUN_PATIENCE_S
        recordings = []
        for worker in self._workers:
            try:
                recordings.append(worker.result(deadline, lambda: None))
            except Unavailable:
                if worker not in may_lose:
                    raise
        return recordings

    def _cpu(self) -> dict[str, float]:
        return {name: cpu_seconds(pid) for name, pid in self._pids.items()}

    def _wait(self, moment_ns: int) -> None:
        """Wait, and tell the observer how it goes."""
        while (left_ns := moment_ns - time.monotonic_ns()) > 0:
            time.sleep(min(_LOOK_S, left_ns / 1e9))
            for worker in self._workers:
                worker.look()
            elapsed_s = (time.monotonic_ns() - self._segment.start_ns) / 1e9
            operations = sum(worker.operations for worker in self._workers)
            self._observer.progress(self._contender.label, elapsed_s, operations)


def by_turns(
    workers: Sequence[Worker],
    contenders: Sequence[Contender],
    segment: Segment,
    rounds: int,
    observer: Observer | None = None,
) -> dict[int, list[Measurement]]:
    """Measure every contender once a round.

    The order turns around in every second round, so that none is always the first after another. A warm-up is part of
    each segment; the first round has nothing special.
    """
    found: dict[int, list[Measurement]] = {contender.key: [] for contender in contenders}
    for round_ in range(rounds):
        for contender in contenders if round_ % 2 == 0 else reversed(contenders):
            result = Run(workers, contender, segment, observer).run()
            found[contender.key].append(result)
            if observer is not None:
                observer.measured(contender.label, round_, result)
    return found
