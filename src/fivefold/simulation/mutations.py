"""Planted bugs against random seeds: how many seeds does it take to notice each?

A planted bug is a list of patches that the protocol package gets in memory. A bug that no seed notices needs a directed
test; ``tests/planted.py`` holds the bugs and ``tests/scenarios/test_mutations.py`` the directed tests.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from msgspec import Struct

from fivefold.simulation.campaign import SeedResult, run_seed

Patch = tuple[object, str, object]
"""Where, which attribute, what instead."""


class Caught(Struct, frozen=True):
    """What seeds made of one planted bug.

    Attributes:
        name: of the bug.
        seeds_count: seeds run until the first failure, or until patience ended.
        rule: the name of what was noticed; empty if nothing was.
        failure: a sentence on it; None.
        seed: the seed that noticed it.
        profile: how that seed was drawn.
    """

    name: str
    seeds_count: int
    rule: str = ""
    failure: str | None = None
    seed: int | None = None
    profile: str = ""


@contextmanager
def planted(patches: Iterable[Patch]) -> Iterator[None]:
    """Run the body with the patches in place."""
    undo = []
    try:
        for where, attribute, instead in patches:
            undo.append((where, attribute, getattr(where, attribute)))
            setattr(where, attribute, instead)
        yield
    finally:
        for where, attribute, honest in reversed(undo):
            setattr(where, attribute, honest)


def seek(
    name: str,
    make_patches: Callable[[], Sequence[Patch]],
    *,
    profiles: Sequence[str] = ("byzantine", "swarm"),
    seeds_max: int = 2000,
    budget_s: float = 60.0,
    run: Callable[[int, str], SeedResult] = run_seed,
) -> Caught:
    """Run seeds with a bug in place until one fails.

    Args:
        name: of the bug, for the report.
        make_patches: makes its patches.
        profiles: drawn from in turn.
        seeds_max: how many seeds to try.
        budget_s: processor time to spend at most.
        run: runs one seed of a profile.
    """
    end_s = time.process_time() + budget_s
    for count in range(seeds_max):
        if time.process_time() > end_s:
            return Caught(name, max(1, count))
        seed, profile = divmod(count, len(profiles))
        with planted(make_patches()):
            result = run(seed, profiles[profile])
        # A seed that fails in the same way without the bug has not noticed the bug.
        if result.failure is not None and run(seed, profiles[profile]).rule != result.rule:
            return Caught(name, count + 1, result.rule, result.failure, seed, profiles[profile])
    return Caught(name, seeds_max)
