"""``fivefold bench`` with real processes: tiny runs that show that everything is measured and drawn."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from fivefold.bench.beds import Beds
from fivefold.bench.comparison import Comparison, Entry, Timing
from fivefold.bench.figures import draw
from fivefold.bench.load import Segment
from fivefold.bench.results import load
from fivefold.bench.rounds import Contender, Deed, Run
from fivefold.bench.workload import Workload
from fivefold.cluster import create_cluster, free_addresses
from fivefold.errors import Unavailable
from fivefold.protocol.quorums import QuorumSystem

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]


def refused(*arguments: str) -> tuple[int, str]:
    """The exit code and the last lines of a command that fails."""
    command = [sys.executable, "-m", "fivefold", "bench", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    return done.returncode, done.stderr


def fivefold(*arguments: str) -> str:
    command = [sys.executable, "-m", "fivefold", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.long
@pytest.mark.ci
def test_a_run_measures_fivefold_the_floor_and_the_baseline(tmp_path: Path) -> None:
    """One command gives rates, ratios, costs and counts of all systems, and pictures of them."""
    out = tmp_path / "run.json"
    brief = ("--seconds", "0.3", "--warm-up", "0.1", "--rounds", "1", "--in-flight", "4")
    fivefold("bench", "run", *brief, "--agreement", "--out", str(out))
    results = load(out)
    points = {point.name: point.rounds[0] for point in results.points}
    assert set(points) == {"Fivefold", "floor", "agreement, batched", "agreement"}
    assert all(point.rate > 0 and point.errors == {} for point in points.values())
    assert points["Fivefold"].per_operation["messages"] == 10.0
    assert points["agreement"].per_operation["messages"] > 20
    assert {f"server-{index}" for index in range(6)} | {"client-0"} == set(points["Fivefold"].cpu_us)
    pictures = fivefold("bench", "plot", str(out), "--out", str(tmp_path / "pictures")).split()
    assert len(pictures) == 3
    assert all(Path(picture).read_text(encoding="utf-8").startswith("<svg") for picture in pictures)


@pytest.mark.long
@pytest.mark.ci
def test_a_mixed_durable_open_loop_prints_json() -> None:
    """Queries and updates at a rate, with a payload, on disk, in clear: the result is JSON on standard output."""
    line = "--durable --no-tls --rate 60 --updates 0.5 --skew zipf --objects 10 --payload 300 --clients 2 --json"
    printed = fivefold("bench", "run", *line.split(), "--seconds", "0.5", "--warm-up", "0.2", "--rounds", "1")
    results = msgspec.json.decode(printed)
    assert results["points"][0]["setting"]["durability"] == "disk"
    assert results["points"][0]["setting"]["clients"] == 2
    assert results["points"][0]["rounds"][0]["rate"] > 20
    assert results["origin"]["command"]


@pytest.mark.long
@pytest.mark.ci
def test_an_existing_cluster_is_measured_from_outside(tmp_path: Path) -> None:
    """With --cluster nothing is started, and the servers' processor time stays unknown."""
    with Beds(tmp_path) as beds:
        cluster = beds.fivefold(QuorumSystem(6, 1, 1)).options["cluster"]
        brief = ("--seconds", "0.3", "--rounds", "1", "--in-flight", "2", "--no-floor", "--json")
        results = msgspec.json.decode(fivefold("bench", "run", "--cluster", cluster, "--identity", "admin", *brief))
    assert results["points"][0]["rounds"][0]["rate"] > 0
    assert set(results["points"][0]["rounds"][0]["cpu_us"]) == {"client-0"}


@pytest.mark.long
@pytest.mark.ci
@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("run --dir MISSING", "name an existing directory with --dir"),
        ("run --out FILE/x.json", "name another place with --out"),
        ("run --out .", "name another place with --out"),
        ("run --seconds inf", "takes a number of seconds"),
        ("run --rate nan", "a rate is a number above 0"),
        ("run --rate 5 --in-flight 5", "--rate is an open loop"),
        ("run --payload 2000000", "a payload is below"),
        ("run --identity admin", "--identity is of use with --cluster only"),
        ("run --cluster c.toml --n 6", "--cluster has its own"),
        ("plot MISSING", "No such file"),
        ("plot RESULT --out FILE", "name another place with --out"),
    ],
)
def test_mistakes_are_said_in_a_sentence_before_anything_is_measured(tmp_path: Path, line: str, why: str) -> None:
    """The caller's mistakes end at once, with exit code 1 and one line."""
    (tmp_path / "FILE").touch()
    stored = Path(__file__).parents[2] / "benchmarks" / "results" / "combining.json"
    places = {"MISSING": tmp_path / "missing", "FILE": tmp_path / "FILE", "RESULT": stored}
    for name, place in places.items():
        line = line.replace(name, str(place))
    code, said = refused(*line.split())
    assert (code, said.count("\n")) == (1, 1), said
    assert why in said


@pytest.mark.long
@pytest.mark.ci
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_ended_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    """Ctrl-C and SIGTERM end servers and client processes, and remove their files."""
    line = [sys.executable, "-m", "fivefold", "bench", "run", "--dir", str(tmp_path), "--seconds", "30"]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        while not list(tmp_path.glob("fivefold-bench-*/bed-1/logs/*")):
            time.sleep(0.05)
        run.send_signal(number)
        _, said = run.communicate(timeout=30)
    assert run.returncode == 128 + number
    assert "Traceback" not in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.long
@pytest.mark.ci
def test_what_a_client_process_cannot_do_is_said_in_a_sentence(tmp_path: Path) -> None:
    """Its error arrives as an error of its kind, without a traceback."""
    create_cluster(tmp_path, free_addresses(6), t=1, b=1)
    code, said = refused("run", "--cluster", str(tmp_path / "cluster.toml"), "--identity", "nobody")
    assert (code, said.count("\n")) == (1, 1)
    assert said.startswith("fivefold: ConfigurationError: no identity is in")


@pytest.mark.long
@pytest.mark.ci
def test_a_server_killed_meanwhile_shows_in_the_timeline(tmp_path: Path) -> None:
    """The work goes on with one server less, and the picture shows when it went."""
    workload = Workload(in_flight=2)
    with Beds(tmp_path) as beds, Comparison() as comparison:
        bed = beds.fivefold(QuorumSystem(6, 1, 1))
        assert bed.cluster is not None
        cluster = bed.cluster
        contender = Contender(key=0, name=comparison.open(bed), label="", workload=workload, pids=lambda: bed.pids)
        segment = Segment(workload=workload, seconds=1.0, slice_s=0.25)
        result = Run(comparison.workers, contender, segment).run([Deed(0.3, lambda: cluster.kill(0))])
    assert len(result.slices) == 4
    assert result.slices[-1].rate > 0
    assert result.errors == {}


@pytest.mark.long
@pytest.mark.ci
def test_a_client_process_may_be_killed_if_that_was_said(tmp_path: Path) -> None:
    """The others' figures count; otherwise a lost client process is an error."""
    workload = Workload(in_flight=2)
    with Beds(tmp_path, clients=2) as beds, Comparison(2) as comparison:
        bed = beds.fivefold(QuorumSystem(6, 1, 1))
        contender = Contender(key=0, name=comparison.open(bed), label="", workload=workload)
        segment = Segment(workload=workload, seconds=0.5)
        victim = comparison.workers[1]
        result = Run(comparison.workers, contender, segment).run([Deed(0.1, victim.kill)], may_lose=[victim])
        assert result.rate > 0
        with pytest.raises(Unavailable, match="client process 1 has ended"):
            Run(comparison.workers, contender, segment).run()


@pytest.mark.long
@pytest.mark.ci
def test_what_is_read_was_written_before(tmp_path: Path) -> None:
    """Queries alone bring the payload from each of q servers, and the MACs made when it was written there and back."""
    workload = Workload(in_flight=2, updates=0, objects=20, payload_bytes=3000)
    with Beds(tmp_path) as beds, Comparison() as comparison:
        bed = beds.fivefold(QuorumSystem(6, 1, 1), payload_bytes=3000)
        entry = Entry(name="Fivefold", x=2, bed=bed, workload=workload)
        counts = comparison.count(entry)
        (point,) = comparison.measure([entry], Timing(seconds=0.2, warm_up_s=0, rounds=1))
    assert point.rounds[0].errors == {}
    assert (counts["messages"], counts["macs_made"], counts["macs_checked"]) == (10.0, 30.0, 25.0)
    assert counts["bytes_received"] > 5 * 3000


@pytest.mark.long
@pytest.mark.ci
@pytest.mark.parametrize(("killed", "why"), [(1, "server 0 of Fivefold ended meanwhile"), (2, "server 0 and 1 of")])
def test_figures_of_a_system_that_lost_servers_are_refused(tmp_path: Path, killed: int, why: str) -> None:
    """Nobody said that servers should die: what was measured is not what was asked for, even if it went on."""
    with Beds(tmp_path) as beds, Comparison() as comparison:
        bed = beds.fivefold(QuorumSystem(6, 1, 1))
        assert bed.cluster is not None
        comparison.open(bed)
        for index in range(killed):
            bed.cluster.kill(index)
        entry = Entry(name="Fivefold", x=2, bed=bed, workload=Workload(in_flight=2))
        with pytest.raises(Unavailable, match=why):
            comparison.measure([entry], Timing(seconds=0.3, warm_up_s=0, rounds=1))


def test_systems_are_measured_by_turns(tmp_path: Path) -> None:
    """Every entry gets one measurement a round, and they come back in the order of the entries."""
    with Beds(tmp_path) as beds, Comparison() as comparison:
        floor = beds.floor(2, tls=False, request_bytes=100, answer_bytes=50)
        entries = [Entry(name="floor", x=x, bed=floor, workload=Workload(in_flight=x)) for x in (1, 8)]
        points = comparison.measure(entries, Timing(seconds=0.2, warm_up_s=0.05, rounds=2))
    assert [(point.x, len(point.rounds)) for point in points] == [(1, 2), (8, 2)]
    assert all(measured.rate > 100 for point in points for measured in point.rounds)


def test_pictures_of_every_stored_result_can_be_drawn(tmp_path: Path) -> None:
    """The result files in the repository are of the present format."""
    for file in sorted((Path(__file__).parents[2] / "benchmarks" / "results").glob("*.json")):
        results = load(file)
        assert bool(draw(file, tmp_path)) == bool(results.points or results.figure == "file-system")
