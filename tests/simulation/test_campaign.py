"""Seeds pass, repeat themselves, and are the same in every process."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from fivefold.simulation import PROFILES, draw, run_seed, run_seeds
from fivefold.simulation.shrink import shrink

PRINT_DIGESTS = """
from fivefold.simulation import run_seed
print([run_seed(seed, profile).digest for seed in (3, 4) for profile in ("swarm", "byzantine", "rolling", "injected")])
"""


@pytest.mark.slow
@pytest.mark.parametrize("profile", [profile for profile in PROFILES if profile != "hostile"])
def test_a_few_seeds_of_each_profile_pass(profile: str) -> None:
    """No invariant is violated, every call ends, and every history is linearizable."""
    assert run_seeds(range(5), profile).failures == {}


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("profile", ["swarm", "byzantine"])
def test_two_hundred_seeds_pass(profile: str) -> None:
    """The smoke of a change: a hundred seeds of each of the two mixed profiles, all of them decided."""
    summary = run_seeds(range(1000, 1100), profile, jobs=2)
    assert (summary.failures, summary.undecided) == ({}, [])


@pytest.mark.long
@pytest.mark.ci
def test_a_seed_is_the_same_run_in_every_process() -> None:
    """Two processes that hash text differently get equal digests."""
    outputs = {
        subprocess.run(
            [sys.executable, "-c", PRINT_DIGESTS],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    }
    assert len(outputs) == 1
    assert len(next(iter(outputs))) > 100


@pytest.mark.slow
def test_processes_share_seeds_without_changing_them() -> None:
    """Two jobs find what one finds."""
    assert run_seeds(range(4), "calm", jobs=2).digests == run_seeds(range(4), "calm").digests


@pytest.mark.slow
def test_the_summary_counts_by_kind() -> None:
    """Faults, repairs and outcomes are counted, so that a campaign that tests nothing is noticed."""
    summary = run_seeds(range(6), "swarm")
    assert summary.runs == 6
    assert summary.operations == sum(run_seed(seed, "swarm").operations_count for seed in range(6))
    assert summary.of_kind("fault")
    assert summary.of_kind("server.accepted")["METHOD"] > 0
    assert summary.of_kind("operation")["ok"] > 0


def test_a_run_that_passes_is_not_shrunk() -> None:
    """There is nothing to leave out of a run without a failure."""
    plan = draw(0, "calm")
    assert shrink(plan) is plan
