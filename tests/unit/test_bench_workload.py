"""Workloads: which object is next; closed and open loops."""

import asyncio
import math
import time
from collections import Counter
from itertools import islice

import pytest

from fivefold.bench.load import Log, Segment, drive
from fivefold.bench.workload import Seat, Skew, Workload, chooser, update_chooser
from fivefold.errors import ConfigurationError, Unavailable


class Instant:
    """A system that answers after a while, and counts."""

    def __init__(self, seconds: float = 0.001, *, fails: bool = False) -> None:
        self.calls: Counter[tuple[str, int]] = Counter()
        self.under_way: Counter[int] = Counter()
        self.met = 0
        self._seconds = seconds
        self._fails = fails

    async def update(self, key: int) -> None:
        await self._call("update", key)

    async def query(self, key: int) -> None:
        await self._call("query", key)

    async def _call(self, kind: str, key: int) -> None:
        self.calls[kind, key] += 1
        self.under_way[key] += 1
        self.met += self.under_way[key] > 1
        await asyncio.sleep(self._seconds)
        self.under_way[key] -= 1
        if self._fails:
            raise Unavailable("nobody is there: start the servers")


def keys(workload: Workload, seat: Seat, loop: int, count: int) -> list[int]:
    choose = chooser(workload, seat, loop)
    return [choose() for _ in range(count)]


async def run(system: Instant, workload: Workload, seconds: float = 0.2) -> Log:
    log = Log()
    segment = Segment(workload=workload, seconds=seconds, start_ns=time.monotonic_ns())
    await drive(system, segment, Seat(), log)
    return log


def test_spread_loops_share_nothing() -> None:
    """Every loop of every client has its own objects, and all objects are somebody's."""
    workload = Workload(in_flight=2, objects=10, skew="spread")
    shares = [set(keys(workload, Seat(client, 2), loop, 20)) for client in range(2) for loop in range(2)]
    assert sorted(key for share in shares for key in share) == list(range(10))


def test_a_hot_object_is_always_the_same() -> None:
    """Every loop of every client means object 0."""
    assert keys(Workload(skew="hot"), Seat(3, 4), 7, 3) == [0, 0, 0]


def test_zipf_prefers_few() -> None:
    """Of a hundred objects the first is drawn about twice as often as the second, and the last is drawn, too."""
    counts = Counter(keys(Workload(objects=100, skew="zipf"), Seat(), 0, 20_000))
    assert 1.8 < counts[0] / counts[1] < 2.2
    assert set(counts) == set(range(100))


@pytest.mark.parametrize("skew", ["spread", "uniform", "zipf", "hot"])
def test_choices_are_repeatable(skew: Skew) -> None:
    """The same loop draws the same objects in every run, and stays within them."""
    workload = Workload(in_flight=1, objects=5, skew=skew)
    assert keys(workload, Seat(), 0, 50) == keys(workload, Seat(), 0, 50)
    assert set(keys(workload, Seat(), 0, 50)) <= set(range(5))


def test_the_mix_is_as_asked() -> None:
    """A share of 0.25 makes about a quarter of the operations updates; 0 and 1 none and all."""
    drawn = [is_update() for is_update in [update_chooser(Workload(updates=0.25), Seat(), 0)] * 4000]
    assert 0.2 < sum(drawn) / len(drawn) < 0.3
    assert not update_chooser(Workload(updates=0), Seat(), 0)()
    assert update_chooser(Workload(updates=1), Seat(), 0)()


@pytest.mark.parametrize(
    "workload",
    [
        Workload(objects=63),
        Workload(updates=1.5),
        Workload(rate=0),
        Workload(rate=math.inf),
        Workload(rate=math.nan),
        Workload(in_flight=0),
        Workload(payload_bytes=-1),
        Workload(payload_bytes=2**20),
    ],
)
def test_impossible_workloads_are_refused(workload: Workload) -> None:
    """64 in flight cannot be spread over 63 objects; shares, rates and sizes have their ranges."""
    with pytest.raises(ConfigurationError):
        workload.check(clients=1)


async def test_a_closed_loop_keeps_its_number_in_flight() -> None:
    """Four loops have four operations under way, on different objects."""
    system = Instant(0.01)
    log = await run(system, Workload(in_flight=4, objects=4))
    assert len(system.calls) == 4
    assert system.met == 0
    assert 20 <= len(log.took_ns) <= 80


async def test_an_open_loop_keeps_its_rate() -> None:
    """However slow the system is, operations start at the rate; their latencies say so."""
    system = Instant(0.1)
    log = await run(system, Workload(rate=200, objects=10, skew="uniform"), seconds=0.5)
    assert 95 <= len(log.took_ns) <= 101
    assert min(log.took_ns) >= 90_000_000


async def test_failures_are_counted_not_timed() -> None:
    """An operation that raises is an error of that name, and no latency."""
    log = await run(Instant(fails=True), Workload(in_flight=1, updates=0), seconds=0.05)
    assert log.took_ns == []
    assert {error for _, error in islice(log.failures, 5)} == {"Unavailable"}


async def test_an_open_loop_goes_through_all_objects() -> None:
    """Spread over ten objects, an open loop takes each in turn, whatever number a closed loop would have in flight."""
    system = Instant(0.0)
    await run(system, Workload(rate=200, objects=10, skew="spread"), seconds=0.2)
    assert {key for _, key in system.calls} == set(range(10))


async def test_overload_counts_what_fell_due_in_the_measured_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """With all places taken, every operation that falls due is counted once, those of the warm-up not, at any rate."""
    monkeypatch.setattr("fivefold.bench.load.OPEN_LOOP_MAX", 5)
    log = Log()
    segment = Segment(
        workload=Workload(rate=1e8, skew="uniform"), seconds=0.1, warm_up_s=0.1, start_ns=time.monotonic_ns()
    )
    await drive(Instant(0.5), segment, Seat(), log)
    assert log.recording(segment).errors == {"overload": 10_000_000}


async def test_operations_that_never_end_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are cancelled after a while: the next segment does not share the system with them."""
    monkeypatch.setattr("fivefold.bench.load._DRAIN_S", 0.05)
    system = Instant(60)
    await run(system, Workload(rate=50, objects=10, skew="uniform"), seconds=0.1)
    assert len(asyncio.all_tasks()) == 1


async def test_filling_writes_every_object_once() -> None:
    """The clients' shares are apart, and together they are all objects; no time ends it."""
    system = Instant(0.0)
    segment = Segment(workload=Workload(objects=201, updates=0), seconds=0, is_filling=True)
    for client in range(2):
        await drive(system, segment, Seat(client, 2), Log())
    assert system.calls == {("update", key): 1 for key in range(201)}
