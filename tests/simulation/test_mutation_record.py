"""The record of planted bugs is whole: each was tried against random seeds, and the page says what is recorded."""

from __future__ import annotations

import pytest

from fivefold.simulation.mutations import seek
from tests.planted import BUGS
from tests.simulation.mutation_campaign import PAGE, SEEDS_MAX, directed_tests, page, recorded

BUGS_MIN = 25


def test_there_are_enough_planted_bugs() -> None:
    """At least 25, and a record of each; a new bug needs a run of the campaign."""
    assert len(BUGS) >= BUGS_MIN
    assert set(recorded()) == set(BUGS)


def test_every_bug_is_noticed_by_a_directed_test() -> None:
    """By name; tests/scenarios/test_mutations.py runs them."""
    assert [name for name, tests in directed_tests().items() if not tests] == []


def test_the_record_is_in_seeds() -> None:
    """A bug was noticed by a seed that is named, or some seeds were tried in vain."""
    for found in recorded().values():
        assert 0 < found.seeds_count <= SEEDS_MAX
        assert (found.failure is None) == (found.seed is None)


def test_the_page_is_the_record() -> None:
    """``python -m tests.simulation.mutation_campaign --page`` writes it."""
    assert PAGE.read_text(encoding="utf-8") == page()


def test_a_campaign_finds_a_bug_again() -> None:
    """The bug that every seed shows is found by the first one."""
    found = seek("replies_before_durable", BUGS["replies_before_durable"], seeds_max=3)
    assert (found.seeds_count, found.profile) == (1, "byzantine")
    assert found.failure is not None


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("bug", ["partners_not_carried", "late_times_always_culled"])
def test_the_rules_about_clocks_are_missed_by_random_seeds(bug: str) -> None:
    """The clocks alphabet finds them by seed 3. Two more, which it finds by seed 2, would take half a minute each."""
    assert recorded()[bug].profile == "clocks"
    found = seek(bug, BUGS[bug], profiles=["clocks"], seeds_max=4)
    assert (found.seed, found.rule) == (3, recorded()[bug].rule)


@pytest.mark.parametrize("bug", ["clocks_carried_by_barriers", "clocks_carried_by_updates"])
def test_random_seeds_have_found_how_clocks_are_carried(bug: str) -> None:
    """It is on record, by the third seed of the clocks alphabet."""
    assert (recorded()[bug].profile, recorded()[bug].seed) == ("clocks", 2)
