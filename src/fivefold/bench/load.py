"""Puts load on a system and notes how long every operation took: closed loops, and an open loop at a rate."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from typing import Final, Protocol

from msgspec import Struct

from fivefold.bench.histogram import Latencies
from fivefold.bench.workload import Seat, Workload, chooser, update_chooser
from fivefold.errors import FivefoldError

OPEN_LOOP_MAX: Final = 8192
"""Operations that an open loop has under way at most; further ones that fall due count as the error ``overload``."""

_FULL_S: Final = 0.001
"""An open loop with that many operations under way waits this long before it looks again."""

_TIMER_NS: Final = 2_000_000
"""The event loop's timers come up to so late; the system measured is not to blame for that."""

_FILLING_LOOPS: Final = 64

_DRAIN_S: Final = 30.0


class Operations(Protocol):
    """A system under test, as the load sees it."""

    async def update(self, key: int) -> None:
        """Run one update of the object with this number."""
        ...

    async def query(self, key: int) -> None:
        """Run one query of the object with this number."""
        ...


class Segment(Struct, frozen=True, kw_only=True):
    """One stretch of load.

    Attributes:
        workload: what load.
        seconds: how long it is measured.
        warm_up_s: how long it runs before that.
        slice_s: length of the slices of its timeline; 0 for none.
        start_ns: when it begins, on the machine's monotonic clock, so that processes begin together.
        is_filling: instead of all this, every object is written once, however long that takes.
    """

    workload: Workload
    seconds: float
    warm_up_s: float = 0.0
    slice_s: float = 0.0
    start_ns: int = 0
    is_filling: bool = False

    @property
    def measured_ns(self) -> tuple[int, int]:
        """When the measured part begins and ends."""
        begin = self.start_ns + int(self.warm_up_s * 1e9)
        return begin, begin + int(self.seconds * 1e9)


class Recording(Struct, kw_only=True):
    """What one client process saw in a segment.

    Attributes:
        latencies: of the operations that ended in the measured part, packed.
        errors: operations of the measured part that failed, by the error's name.
        slices: the same latencies slice by slice, packed.
        counters: messages, bytes and MACs, where they are counted ...
        counted: ... and the operations they were counted for, warm-up and end included.
    """

    latencies: list[int]
    errors: dict[str, int]
    slices: list[list[int]]
    counters: dict[str, int] = {}
    counted: int = 0


class Log:
    """Collects what loops see, at the cost of two appends an operation.

    Attributes:
        ends_ns: when each operation ended that ended well ...
        took_ns: ... and how long it took.
        failures: when the others ended, and the error's name.
        overload: operations that fell due in the measured part and were not started: too many were under way.
    """

    def __init__(self) -> None:
        """Empty."""
        self.ends_ns: list[int] = []
        self.took_ns: list[int] = []
        self.failures: list[tuple[int, str]] = []
        self.overload = 0

    def done(self, begin_ns: int, end_ns: int) -> None:
        """An operation has ended well."""
        self.ends_ns.append(end_ns)
        self.took_ns.append(end_ns - begin_ns)

    def failed(self, end_ns: int, error: str) -> None:
        """An operation has failed."""
        self.failures.append((end_ns, error))

    def recording(self, segment: Segment) -> Recording:
        """What ended in the measured part."""
        begin, end = segment.measured_ns
        slice_ns = int(segment.slice_s * 1e9)
        slices = [Latencies() for _ in range(-(-(end - begin) // slice_ns) if slice_ns else 0)]
        whole = Latencies()
        for ended, took in zip(self.ends_ns, self.took_ns, strict=True):
            if begin <= ended < end:
                whole.add((took,))
                if slice_ns:
                    slices[(ended - begin) // slice_ns].add((took,))
        errors = Counter(error for ended, error in self.failures if begin <= ended < end)
        if self.overload:
            errors["overload"] = self.overload
        return Recording(
            latencies=whole.packed(),
            errors=dict(sorted(errors.items())),
            slices=[each.packed() for each in slices],
            counted=len(self.ends_ns),
        )


async def drive(operations: Operations, segment: Segment, seat: Seat, log: Log) -> None:
    """Run one segment; what happens goes to ``log`` as it happens."""
    delay_ns = segment.start_ns - time.monotonic_ns()
    await asyncio.sleep(max(0, delay_ns) / 1e9)
    if segment.is_filling:
        await _fill(operations, segment.workload, seat, log)
    elif segment.workload.rate is None:
        loops = [_closed(operations, segment, seat, loop, log) for loop in range(segment.workload.in_flight)]
        await asyncio.gather(*loops)
    else:
        await _open(operations, segment, seat, segment.workload.rate / seat.clients, log)


async def _fill(operations: Operations, workload: Workload, seat: Seat, log: Log) -> None:
    """Write each object of this client's share."""
    keys = iter(range(seat.client, workload.objects, seat.clients))

    async def loop() -> None:
        for key in keys:
            await _one(operations, key, time.monotonic_ns(), log, is_update=True)

    await asyncio.gather(*(loop() for _ in range(_FILLING_LOOPS)))


async def _closed(operations: Operations, segment: Segment, seat: Seat, loop: int, log: Log) -> None:
    next_key = chooser(segment.workload, seat, loop)
    is_next_update = update_chooser(segment.workload, seat, loop)
    end_ns = segment.measured_ns[1]
    clock = time.monotonic_ns
    while (begin := clock()) < end_ns:
        await _one(operations, next_key(), begin, log, is_update=is_next_update())


async def _one(operations: Operations, key: int, begin_ns: int, log: Log, *, is_update: bool) -> None:
    try:
        await (operations.update(key) if is_update else operations.query(key))
    except FivefoldError as error:
        log.failed(time.monotonic_ns(), type(error).__name__)
    else:
        log.done(begin_ns, time.monotonic_ns())


async def _open(operations: Operations, segment: Segment, seat: Seat, rate: float, log: Log) -> None:
    """Start operations when they are due, whether or not earlier ones have ended; latency counts from then."""
    next_key = chooser(segment.workload, seat, 0)
    is_next_update = update_chooser(segment.workload, seat, 0)
    begin_ns, end_ns = segment.measured_ns
    first, last = (math.ceil((moment - segment.start_ns) * rate / 1e9) for moment in (begin_ns, end_ns))
    under_way: set[asyncio.Task[None]] = set()
    number = 0
    while number < last:
        due = segment.start_ns + int(number / rate * 1e9)
        now = time.monotonic_ns()
        if now < due:
            await asyncio.sleep((due - now) / 1e9)
            now = time.monotonic_ns()
        if len(under_way) >= OPEN_LOOP_MAX:
            due_by_now = min(last, max(number, int((now - segment.start_ns) * rate / 1e9)) + 1)
            log.overload += max(0, due_by_now - max(number, first))
            number = due_by_now
            await asyncio.sleep(_FULL_S)
            continue
        number += 1
        begin = due if now - due > _TIMER_NS else now
        task = asyncio.create_task(_one(operations, next_key(), begin, log, is_update=is_next_update()))
        under_way.add(task)
        task.add_done_callback(under_way.discard)
    await _drain(under_way)


async def _drain(under_way: set[asyncio.Task[None]]) -> None:
    """Let operations end, and give up the others, so that the next segment has the system to itself."""
    if not under_way:
        return
    _, late = await asyncio.wait(under_way, timeout=_DRAIN_S)
    for task in late:
        task.cancel()
    await asyncio.gather(*late, return_exceptions=True)
