"""Campaigns on a Dask cluster find what campaigns on one machine find."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from fivefold.cli import main
from fivefold.errors import ConfigurationError, Unavailable
from fivefold.simulation import run_seeds, spread

pytestmark = [
    pytest.mark.timeout(180),
    # Dask's own threads and loops, not ours.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning"),
]


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    """A scheduler with two workers, each a process of its own with one thread."""
    distributed = pytest.importorskip("distributed", reason="the extra dask is not installed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address="127.0.0.1:0"
    ) as cluster:
        cluster.wait_for_workers(2, timeout=60)
        yield cluster.scheduler_address


@pytest.mark.long
@pytest.mark.ci
def test_two_workers_find_what_one_process_finds(scheduler: str) -> None:
    """Digests, counters and operations of every seed are the same; the order of the seeds as well."""
    seen: list[int] = []
    far = run_seeds(range(18), "swarm", scheduler=scheduler, on_result=lambda result: seen.append(result.seed))
    near = run_seeds(range(18), "swarm")
    assert seen == list(range(18))
    assert (far.digests, far.counters, far.operations) == (near.digests, near.counters, near.operations)
    assert far.digest == near.digest


def test_the_command_runs_on_a_scheduler(scheduler: str, capsys: pytest.CaptureFixture[str]) -> None:
    """``fivefold simulate --scheduler`` prints the summary that it prints without."""
    summaries = []
    for where in (["--scheduler", scheduler], []):
        with pytest.raises(SystemExit) as left:
            main(["simulate", "--calm", "--seeds", "0..5", "--json", *where])
        assert left.value.code == 0
        summaries.append(json.loads(capsys.readouterr().out))
    for summary in summaries:
        del summary["elapsed_s"], summary["processor_s"]
    assert summaries[0] == summaries[1]


def test_workers_with_another_fivefold_are_refused(scheduler: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other sources may make other runs of a seed: nobody is told that they are the same."""
    monkeypatch.setattr(spread, "fingerprint", lambda: "elsewhere")
    with pytest.raises(ConfigurationError, match=r"workers of .* run another Fivefold"):
        run_seeds(range(2), "calm", scheduler=scheduler)


def test_what_a_worker_cannot_run_ends_the_campaign(scheduler: str) -> None:
    """Killed workers, and workers without Fivefold, come as the same error; here the function fails."""
    with pytest.raises(Unavailable, match=f"the cluster of {scheduler} lost seeds: TypeError"):
        list(spread.spread(scheduler, len, [1]))


def test_no_scheduler_is_an_error_before_the_deadline() -> None:
    """Nobody listens: the error comes when the time is up, and says what to do."""
    pytest.importorskip("distributed", reason="the extra dask is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(Unavailable, match=r"no Dask scheduler answers at .* within 1 s"):
            list(spread.spread(address, abs, [1], connect_s=1.0))


def test_a_scheduler_without_workers_is_an_error() -> None:
    """Seeds would wait there for ever."""
    distributed = pytest.importorskip("distributed", reason="the extra dask is not installed")
    with (
        distributed.LocalCluster(n_workers=0, host="127.0.0.1", dashboard_address="127.0.0.1:0") as cluster,
        pytest.raises(Unavailable, match="has no workers"),
    ):
        list(spread.spread(cluster.scheduler_address, abs, [1], connect_s=1.0))


def test_an_address_that_is_none_is_the_callers_mistake() -> None:
    """The scheme is one that Dask does not know."""
    pytest.importorskip("distributed", reason="the extra dask is not installed")
    with pytest.raises(ConfigurationError, match="is no address of a scheduler"):
        list(spread.spread("nonsense://somewhere", abs, [1], connect_s=1.0))


def test_without_the_extra_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """It needs nothing of Dask to say so."""
    monkeypatch.setattr(spread, "find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=r"pip install 'fivefold\[dask\]'"):
        run_seeds(range(1), "calm", scheduler="tcp://127.0.0.1:1")


def test_dask_is_not_imported_without_a_scheduler() -> None:
    """The extra stays one: simulating on one machine does not touch it."""
    code = "import sys; from fivefold.simulation import run_seeds; run_seeds(range(1), 'calm'); "
    code += "sys.exit(any(name in sys.modules for name in ('dask', 'distributed')))"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=100).returncode == 0
