"""Results: what was measured, in a file that says everything needed to repeat it; medians and their spread."""

from __future__ import annotations

import errno
import os
import statistics
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import msgspec
from msgspec import Struct

from fivefold.bench.histogram import Latencies
from fivefold.bench.load import Recording, Segment
from fivefold.bench.machine import Origin
from fivefold.bench.workload import Workload
from fivefold.errors import ConfigurationError

FORMAT: Final = 1
"""Of result files; another one is refused."""

PERCENTILES: Final = (10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.9, 99.99, 100.0)

Durability: TypeAlias = Literal["memory", "disk", "none", "unknown"]
"""``disk``: an operation is acknowledged once a synced write holds it; ``none``: there is nothing to store;
``unknown``: somebody else has started the servers."""


class Setting(Struct, frozen=True, kw_only=True):
    """The system that was measured.

    Attributes:
        system: its name.
        n: servers.
        t: faulty servers it tolerates.
        b: malevolent ones among these.
        tls: whether its connections are encrypted.
        durability: what an acknowledgement promises.
        clients: client processes.
        detail: anything else worth knowing: versions, options.
    """

    system: str
    n: int
    t: int
    b: int
    tls: bool
    durability: Durability
    clients: int = 1
    detail: dict[str, str] = {}


class Slice(Struct, frozen=True, kw_only=True):
    """A part of a timeline.

    Attributes:
        at_s: when it begins, after the measured part began.
        rate: operations a second in it.
        p50_ms: their median latency.
        p99_ms: and their 99th percentile.
    """

    at_s: float
    rate: float
    p50_ms: float
    p99_ms: float


class Measurement(Struct, frozen=True, kw_only=True):
    """One run of one system under one load.

    Attributes:
        rate: operations a second.
        operations: how many ended in the measured part.
        errors: failed operations by the error's name.
        latency_ms: latency by percentile ("50" is the median), and "mean".
        cpu_us: processor microseconds per operation of every process: server-0 …, client-0 ….
        per_operation: messages, bytes and MACs per operation, where they were counted.
        slices: the timeline, if one was asked for.
        served: how many of the operations were each client process's.
    """

    rate: float
    operations: int
    errors: dict[str, int]
    latency_ms: dict[str, float]
    cpu_us: dict[str, float] = {}
    per_operation: dict[str, float] = {}
    slices: list[Slice] = []
    served: list[int] = []

    @property
    def p50_ms(self) -> float:
        """Median latency."""
        return self.latency_ms["50"]

    @property
    def p99_ms(self) -> float:
        """99th percentile."""
        return self.latency_ms["99"]

    @property
    def busiest_server_us(self) -> float:
        """Processor microseconds per operation of the busiest server; 0 if there are none."""
        return max((us for name, us in self.cpu_us.items() if name.startswith("server")), default=0.0)

    @property
    def capacity(self) -> float:
        """Operations a second that the busiest server could carry alone on its machine; 0 if unknown."""
        busiest = self.busiest_server_us
        return 1e6 / busiest if busiest else 0.0


class Point(Struct, frozen=True, kw_only=True):
    """One place in a figure: a system under a load, measured several times.

    Attributes:
        name: of the curve or bar it belongs to.
        x: where on the horizontal axis.
        setting: the system.
        workload: the load.
        rounds: the measurements, interleaved in time with those of the other points.
        extra: further numbers, such as shares of time.
    """

    name: str
    x: float
    setting: Setting
    workload: Workload
    rounds: list[Measurement]
    extra: dict[str, float] = {}


class Results(Struct, frozen=True, kw_only=True):
    """A result file.

    Attributes:
        format: of the file.
        figure: what kind of picture it makes.
        title: of the picture.
        x_label: of the horizontal axis.
        origin: where, when and with what it was taken.
        seconds: length of one measurement, and of the warm-up before it.
        points: what was measured.
        numbers: single numbers that are no points, by name.
        events: what was done to the system when, for timelines: (seconds, ``POINT: what``).
        notes: anything else worth knowing.
    """

    figure: str
    title: str
    x_label: str
    origin: Origin
    seconds: tuple[float, float]
    points: list[Point]
    numbers: dict[str, float] = {}
    events: list[tuple[float, str]] = []
    notes: dict[str, str] = {}
    format: int = FORMAT


class Spread(Struct, frozen=True):
    """A number measured several times."""

    median: float
    least: float
    greatest: float

    @property
    def percent(self) -> float:
        """Half the range, in per cent of the median."""
        return 50 * (self.greatest - self.least) / self.median if self.median else 0.0


def spread(values: Iterable[float]) -> Spread:
    """Median and range; zeros of nothing."""
    numbers = list(values) or [0.0]
    return Spread(statistics.median(numbers), min(numbers), max(numbers))


def over_rounds(point: Point, number: Callable[[Measurement], float]) -> Spread:
    """One number of every round of a point."""
    return spread(number(each) for each in point.rounds)


def errors_text(errors: Mapping[str, int]) -> str:
    """``12 × Unavailable, 3 × overload``."""
    return ", ".join(f"{count:,} × {name}" for name, count in sorted(errors.items()))


def ratio(point: Point, base: Point, number: Callable[[Measurement], float]) -> Spread:
    """One number of a point divided by that of another, round by round: those of a round were taken side by side."""
    pairs = zip(point.rounds, base.rounds, strict=True)
    return spread(number(each) / number(other) for each, other in pairs if number(other))


def measurement(segment: Segment, recordings: list[Recording], cpu_s: dict[str, float]) -> Measurement:
    """What all client processes saw in a segment, as one measurement."""
    whole = Latencies()
    errors: dict[str, int] = {}
    counters: dict[str, int] = {}
    served = []
    for recording in recordings:
        before = whole.count
        whole.merge(recording.latencies)
        served.append(whole.count - before)
        for name, count in recording.errors.items():
            errors[name] = errors.get(name, 0) + count
        for name, count in recording.counters.items():
            counters[name] = counters.get(name, 0) + count
    counted = sum(recording.counted for recording in recordings) or 1
    latency_ms = {f"{percent:g}": round(whole.percentile(percent) / 1e6, 4) for percent in PERCENTILES}
    return Measurement(
        rate=round(whole.count / segment.seconds, 2),
        operations=whole.count,
        errors=errors,
        latency_ms={**latency_ms, "mean": round(whole.mean / 1e6, 4)},
        cpu_us={name: round(spent * 1e6 / (whole.count or 1), 2) for name, spent in cpu_s.items()},
        per_operation={name: round(count / counted, 2) for name, count in counters.items()},
        slices=_slices(segment, recordings),
        served=served,
    )


def _slices(segment: Segment, recordings: list[Recording]) -> list[Slice]:
    slices = []
    for index, packed in enumerate(zip(*(recording.slices for recording in recordings), strict=True)):
        merged = Latencies()
        for each in packed:
            merged.merge(each)
        slices.append(
            Slice(
                at_s=round(index * segment.slice_s, 3),
                rate=round(merged.count / segment.slice_s, 1),
                p50_ms=round(merged.percentile(50) / 1e6, 4),
                p99_ms=round(merged.percentile(99) / 1e6, 4),
            )
        )
    return slices


def save(results: Results, path: Path) -> None:
    """Write a result file that people can read and git can compare.

    Raises:
        ConfigurationError: it cannot be written there.
    """
    with written(path):
        path.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=1) + b"\n")


def check_writable(path: Path) -> None:
    """Refuse a place for a result file before anything is measured.

    Raises:
        ConfigurationError: it cannot be written there.
    """
    with written(path), tempfile.TemporaryFile(dir=path.parent):
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))


@contextmanager
def written(path: Path) -> Iterator[None]:
    """Make the directory of a file that is then written.

    Raises:
        ConfigurationError: one or the other is not possible.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        reason = error.strerror
        raise ConfigurationError(f"{path} cannot be written ({reason}): name another place with --out") from error


def load(path: Path) -> Results:
    """Read a result file.

    Raises:
        ConfigurationError: it is none, or of another format.
    """
    try:
        found: dict[str, Any] = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
        if found.get("format") != FORMAT:
            raise ConfigurationError(f"{path} has format {found.get('format')!r}, not {FORMAT}: take the result again")
        return msgspec.convert(found, Results)
    except (OSError, msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise ConfigurationError(f"{path} is not a result of `fivefold bench run`: {error}") from error
