"""Histograms, spreads, result files, the floor's frames, samples: the arithmetic of benchmarks."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fivefold.bench.comparison import frame_sizes
from fivefold.bench.echo import answer_to, request_of
from fivefold.bench.histogram import Latencies, bucket_of, bucket_top
from fivefold.bench.load import Log, Segment
from fivefold.bench.machine import file_system, origin
from fivefold.bench.processes import cpu_seconds, resident_bytes
from fivefold.bench.results import (
    Measurement,
    Point,
    Results,
    Setting,
    Spread,
    load,
    measurement,
    over_rounds,
    ratio,
    save,
    spread,
)
from fivefold.bench.sampling import part_of, samples_by_part
from fivefold.bench.workload import Workload
from fivefold.errors import ConfigurationError

SETTING = Setting(system="Fivefold", n=6, t=1, b=1, tls=True, durability="memory")


def measured(rate: float, **cpu_us: float) -> Measurement:
    named = {name.replace("_", "-"): us for name, us in cpu_us.items()}
    return Measurement(rate=rate, operations=1, errors={}, latency_ms={"50": 1.0, "99": 2.0}, cpu_us=named)


def point(*rates: float, name: str = "Fivefold") -> Point:
    return Point(name=name, x=1, setting=SETTING, workload=Workload(), rounds=[measured(rate) for rate in rates])


# --- histograms -------------------------------------------------------------------------------------------------
def test_small_values_have_buckets_of_their_own() -> None:
    """Below 256 a bucket is one value."""
    assert [bucket_top(bucket_of(value)) for value in (0, 1, 127, 128, 255)] == [0, 1, 127, 128, 255]


@given(st.integers(0, 2**45))
def test_a_bucket_is_narrow(value: int) -> None:
    """A bucket's top is at or above its values, by less than 1/128."""
    top = bucket_top(bucket_of(value))
    assert value <= top <= value + value / 128


@given(st.integers(0, 2**45))
def test_buckets_are_in_order_and_leave_no_gap(value: int) -> None:
    """The value after a bucket's top is in the next bucket."""
    bucket = bucket_of(value)
    assert bucket_of(bucket_top(bucket) + 1) == bucket + 1


@given(st.lists(st.integers(0, 10**10), min_size=1, max_size=200), st.sampled_from([1, 10, 50, 90, 99, 100]))
def test_percentiles_are_those_of_the_sorted_values(values: list[int], percent: int) -> None:
    """A percentile is within one bucket of the naive one: the value at that place of the sorted list."""
    naive = sorted(values)[max(0, -(-len(values) * percent // 100) - 1)]
    assert naive <= Latencies(values).percentile(percent) <= naive + naive / 128


@given(st.lists(st.integers(0, 10**10)), st.lists(st.integers(0, 10**10)))
def test_merging_is_the_same_as_counting_together(left: list[int], right: list[int]) -> None:
    """What two processes saw and packed adds up to what one would have seen."""
    merged = Latencies(left)
    merged.merge(Latencies(right).packed())
    assert merged.packed() == Latencies(left + right).packed()
    assert merged.count == len(left) + len(right)


def test_nothing_has_percentiles_of_zero() -> None:
    """An empty histogram answers 0, it does not fail."""
    assert (Latencies().percentile(50), Latencies().mean) == (0, 0.0)


# --- recordings and measurements -----------------------------------------------------------------------------------
def test_only_the_measured_part_counts() -> None:
    """Operations that end in the warm-up or after the end are left out; errors too."""
    segment = Segment(workload=Workload(), seconds=1, warm_up_s=1, start_ns=0)
    log = Log()
    for end_ns in (999_999_999, 1_000_000_000, 1_999_999_999, 2_000_000_000):
        log.done(end_ns - 100, end_ns)
        log.failed(end_ns, "Unavailable")
    recording = log.recording(segment)
    assert Latencies([100, 100]).packed() == recording.latencies
    assert recording.errors == {"Unavailable": 2}
    assert recording.counted == 4


def test_a_timeline_has_a_slice_for_each_stretch() -> None:
    """Operations go to the slice in which they end."""
    segment = Segment(workload=Workload(), seconds=1, slice_s=0.5, start_ns=0)
    log = Log()
    log.done(0, 499_999_999)
    log.done(0, 500_000_000)
    log.done(0, 600_000_000)
    slices = measurement(segment, [log.recording(segment)], {}).slices
    assert [(each.at_s, each.rate) for each in slices] == [(0.0, 2.0), (0.5, 4.0)]


def test_clients_are_added_up() -> None:
    """Rates and counters of all client processes are summed, processor time is divided by all operations."""
    segment = Segment(workload=Workload(), seconds=2, start_ns=0)
    log = Log()
    log.done(0, 1000)
    recording = log.recording(segment)
    recording.counters = {"messages": 10}
    found = measurement(segment, [recording, recording], {"server-0": 0.004})
    assert (found.rate, found.operations) == (1.0, 2)
    assert found.cpu_us == {"server-0": 2000.0}
    assert found.per_operation == {"messages": 10.0}


def test_capacity_is_that_of_the_busiest_server() -> None:
    """1 / processor seconds per operation; clients do not count."""
    found = measured(10, server_0=50.0, server_1=100.0, client_0=900.0)
    assert (found.busiest_server_us, found.capacity) == (100.0, 10_000.0)
    assert measured(10).capacity == 0.0


# --- spreads ----------------------------------------------------------------------------------------------------
def test_the_spread_of_three_rounds() -> None:
    """Median, least, greatest; half the range in per cent of the median."""
    found = over_rounds(point(90, 100, 120), lambda each: each.rate)
    assert found == Spread(100, 90, 120)
    assert found.percent == 15.0
    assert spread([]) == Spread(0, 0, 0)


def test_ratios_are_taken_round_by_round() -> None:
    """A round in which the whole machine was slow does not shift the ratio."""
    assert ratio(point(10, 5, 20), point(100, 50, 100), lambda each: each.rate) == Spread(0.1, 0.1, 0.2)


# --- files ------------------------------------------------------------------------------------------------------
def test_a_result_file_comes_back_as_it_was(tmp_path: Path) -> None:
    """Saving and loading lose nothing."""
    results = Results(
        figure="run", title="a", x_label="in flight", origin=origin(), seconds=(1, 0.5), points=[point(1, 2)]
    )
    save(results, tmp_path / "deep" / "a.json")
    assert load(tmp_path / "deep" / "a.json") == results


@pytest.mark.parametrize("text", ["", "{}", '{"format": 99}', '{"format": 1}', "[1]"])
def test_other_files_are_refused(tmp_path: Path, text: str) -> None:
    """What is no result file, or of another format, is the caller's mistake."""
    file = tmp_path / "x.json"
    file.write_text(text)
    with pytest.raises(ConfigurationError, match=r"x\.json"):
        load(file)


def test_a_result_says_where_it_comes_from() -> None:
    """Processor, kernel, versions and command line are there."""
    found = origin()
    assert found.machine["processor"]
    assert {"fivefold", "python", "msgspec", "openssl"} <= set(found.versions)
    assert found.command


# --- the rest ---------------------------------------------------------------------------------------------------
def test_floor_frames_have_the_sizes_asked_for() -> None:
    """A request says how long its answer is to be, shorter or longer than itself."""
    assert len(request_of(100, 40)) == 100
    assert len(answer_to(request_of(100, 40))) == 40
    assert len(answer_to(request_of(100, 400))) == 400


def test_floor_frames_are_as_long_as_the_protocols() -> None:
    """The mean bytes of a message, its length prefix taken off."""
    assert frame_sizes({"bytes_sent": 3000.0, "bytes_received": 5000.0}, 5) == (596, 996)


def test_processes_are_asked_of_the_kernel() -> None:
    """This process has memory; a process that is gone has used nothing."""
    import os

    assert resident_bytes(os.getpid()) > 1_000_000
    assert cpu_seconds(os.getpid()) > 0
    assert (resident_bytes(2**30), cpu_seconds(2**30)) == (0, 0.0)


def test_the_file_system_is_named() -> None:
    """/proc is a file system of kind proc."""
    assert file_system(Path("/proc/self")) == "proc"


def test_a_sample_belongs_to_its_innermost_known_frame() -> None:
    """BLAKE2 below the authenticators is MACs, MessagePack anywhere is codec, unknown frames are their caller's."""
    caller = "uv_run (uvloop/loop.c:1);receive_from_client (src/fivefold/protocol/server.py:9)"
    assert part_of(f"{caller};make (src/fivefold/protocol/authenticators.py:3);update (_blake2/impl.c:1)") == "MACs"
    assert part_of(f"{caller};_reply (src/fivefold/protocol/server.py:3);encode (msgspec/_core.so)") == "codec"
    assert part_of(f"{caller};malloc (libc.so.6)") == "protocol, other"
    assert part_of("main (python)") == "other"


def test_waiting_threads_take_no_time() -> None:
    """Samples of threads that wait are left out."""
    raw = ["a;epoll_pwait (libc) 70", "x (uvloop/loop.c:1) 3", "y (fivefold/storage/memory.py:1) 1", ""]
    found = samples_by_part(raw)
    assert (found["transport"], found["storage"], found.total()) == (3, 1, 4)
