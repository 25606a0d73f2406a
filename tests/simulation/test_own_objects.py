"""Users simulate their own objects."""

from __future__ import annotations

from random import Random

from fivefold import Object, query, update
from fivefold.objects import Account, transfer
from fivefold.simulation import Step, simulate


class Tally(Object):
    """A count by name."""

    counts: dict[str, int] = {}  # noqa: RUF012 (copied for every object)

    @update
    def add(self, name: str) -> int:
        """One more."""
        self.counts[name] = self.counts.get(name, 0) + 1
        return self.counts[name]

    @query
    def total(self) -> int:
        """All together."""
        return sum(self.counts.values())


def tally(random: Random) -> Step:
    if random.random() < 0.3:
        return Step(("Tally/votes",), "total")
    return Step(("Tally/votes",), "add", {"name": random.choice("xyz")})


def bank(random: Random) -> Step:
    names = random.sample(("Account/a", "Account/b", "Account/c"), 2)
    if random.random() < 0.4:
        return Step((names[0],), "deposit", {"amount": random.randint(1, 9)})
    if random.random() < 0.3:
        return Step((names[0],), "balance")
    return Step(tuple(names), "transfers.transfer", {"amount": random.randint(1, 9)})


def test_an_object_of_ones_own_passes() -> None:
    """A type without a model is run through faults and lies; all invariants of the protocol are checked."""
    for seed in range(3):
        report = simulate(Tally, workload=tally, seed=seed)
        assert report.failure is None
        assert report.operations_count >= 50


def test_functions_over_several_objects_pass() -> None:
    """Transfers between ready-made accounts, some of them rejected, under Byzantine faults."""
    for seed in range(3):
        report = simulate(Account, transfer, workload=bank, seed=seed, profile="byzantine")
        assert report.failure is None


def test_the_same_seed_is_the_same_run() -> None:
    """Replays of a user's failing seed are exact."""
    digests = {simulate(Tally, workload=tally, seed=5).digest for _ in range(2)}
    assert len(digests) == 1
