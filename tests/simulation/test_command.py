"""What ``fivefold simulate`` says: a summary, and for a seed that fails a small run, readable, and how to repeat it."""

from __future__ import annotations

import json
import re

import pytest

from fivefold.checker import Result, Verdict
from fivefold.cli import main
from fivefold.simulation import draw, run_plan, run_seeds
from fivefold.simulation import run as run_module
from fivefold.simulation.plan import MILLISECOND, SECOND, Weather
from fivefold.simulation.run import liveness_ns
from fivefold.simulation.workload import KINDS, MODELS
from tests.planted import planted


def said(capsys: pytest.CaptureFixture[str], *arguments: str, code: int) -> str:
    with pytest.raises(SystemExit) as left:
        main(["simulate", *arguments])
    assert left.value.code == code
    return capsys.readouterr().out


@pytest.mark.long
@pytest.mark.ci
def test_the_summary_has_a_row_for_each_kind_of_thing(capsys: pytest.CaptureFixture[str]) -> None:
    """Runs, operations, time, faults, lies and repairs by kind, failures, and a digest of it all."""
    output = said(capsys, "--byzantine", "--seeds", "0..4", code=0)
    rows = {line[:15].strip() for line in output.splitlines()}
    assert {"runs", "operations", "simulated time", "faults", "repairs", "liars", "outcomes", "failures"} <= rows
    assert re.search(r"repairs +BARRIER \d+, COPY \d+", output)
    assert re.search(r"failures +0 *\n", output)
    assert run_seeds(range(5), "byzantine").digest in output


def test_a_seed_that_fails_comes_with_the_line_that_replays_it(capsys: pytest.CaptureFixture[str]) -> None:
    """With a bug planted: exit code 5, one sentence a seed, the command below it; and the same as JSON."""
    with planted("replies_before_durable"):
        output = said(capsys, "--seeds", "0..1", code=5)
        as_json = json.loads(said(capsys, "--seeds", "0..1", "--json", code=5))
    assert re.search(r"seed 0: server \d+ shows a history that is not durable", output)
    assert "  fivefold simulate --swarm --replay 0" in output
    assert list(as_json["failures"]) == ["0", "1"]


def test_a_replay_prints_a_small_run(capsys: pytest.CaptureFixture[str]) -> None:
    """Of some forty calls and a dozen faults one call is left; the trace says who took what, and what went wrong."""
    with planted("replies_before_durable"):
        output = said(capsys, "--swarm", "--replay", "0", code=5)
    assert " 1 calls, 0 faults" in output
    assert re.search(r"ms  c\d calls \w+\(", output)
    assert "VIOLATION server" in output


def test_a_replay_says_which_server_took_what() -> None:
    """Every candidate that a server has on its disk: whose it is, and what it rests on for each object."""
    trace = "\n".join(run_plan(draw(2, "swarm"), is_traced=True).trace)
    assert re.search(r"ms  server \d+ takes \d+b? by c\d: \w+/\w on \d+", trace)


def test_a_replay_that_passes_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is left out of it, and its digest is the one of the campaign."""
    output = said(capsys, "--calm", "--replay", "3", code=0)
    assert f"digest {run_plan(draw(3, 'calm')).digest}" in output
    assert "nothing wrong" in output


@pytest.mark.parametrize("seeds", ["9..3", "three", "1.."])
def test_a_range_without_seeds_is_wrong_usage(seeds: str) -> None:
    """A campaign of no runs would pass."""
    with pytest.raises(SystemExit) as left:
        main(["simulate", "--seeds", seeds])
    assert left.value.code == 2


def test_a_history_that_is_not_decided_is_reported(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no failure, and it is no success in silence either: the seed is named."""
    gives_up = Result(verdict=Verdict.UNDECIDED, objects=(), message="")
    monkeypatch.setattr(run_module, "check", lambda *arguments, **options: gives_up)
    output = said(capsys, "--calm", "--seeds", "7", code=0)
    assert "0, 1 undecided" in output
    assert "ran out of steps: seeds 7" in output


def test_the_checker_knows_the_workloads_queries() -> None:
    """Byzantine seed 795: "look" was no query for the checker, which tried its every place, and gave up."""
    for name, is_update in KINDS[""].items():
        assert MODELS[name].is_query is not is_update


def test_the_liveness_bound_is_in_rounds() -> None:
    """Byzantine seed 796: a cluster with 400 ms a round was to finish in the time of one with 1 ms."""
    assert liveness_ns(Weather()) == 120 * SECOND
    slow = Weather(delay_ns=1 * MILLISECOND, delay_spread_ns=200 * MILLISECOND, commit_ns=0)
    assert liveness_ns(slow) == 600 * 402 * MILLISECOND
