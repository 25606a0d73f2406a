"""Many seeds: run them, on several processes if wanted, and sum up what happened."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from hashlib import blake2b
from multiprocessing import get_context

from msgspec import Struct

from fivefold.simulation.draw import draw
from fivefold.simulation.run import raised, run_plan
from fivefold.simulation.spread import CHUNK_SEEDS, spread


class SeedResult(Struct, frozen=True, array_like=True):
    """What came of one seed.

    Attributes:
        seed: the seed.
        rule: the name of what went wrong; empty if all went well ...
        failure: ... and a sentence on it; None.
        digest: of everything that happened.
        operations_count: operations of correct clients that ended.
        simulated_ns: virtual time.
        counters: faults, repairs, lies, outcomes by kind.
        processor_s: processor time; all else is the same in every run of the seed.
    """

    seed: int
    rule: str
    failure: str | None
    digest: str
    operations_count: int
    simulated_ns: int
    counters: dict[str, int]
    processor_s: float = 0.0


class Summary(Struct):
    """A campaign so far.

    Attributes:
        profile: how the seeds were drawn.
        runs: seeds run.
        operations: operations of correct clients that ended.
        simulated_ns: virtual time of all runs together.
        elapsed_s: real time.
        processor_s: processor time of all runs together, on however many processors.
        counters: faults, repairs, lies, outcomes by kind.
        failures: sentences by seed.
        digests: by seed.
        undecided: seeds whose histories the checker had too few steps for; everything else about them was checked.
    """

    profile: str
    runs: int = 0
    operations: int = 0
    simulated_ns: int = 0
    elapsed_s: float = 0.0
    processor_s: float = 0.0
    counters: Counter[str] = Counter()
    failures: dict[int, str] = {}
    digests: dict[int, str] = {}
    undecided: list[int] = []

    @property
    def digest(self) -> str:
        """Of all seeds and their digests: equal for equal campaigns, wherever they ran."""
        lines = (f"{seed} {digest}\n" for seed, digest in sorted(self.digests.items()))
        return blake2b("".join(lines).encode(), digest_size=16).hexdigest()

    def add(self, result: SeedResult) -> None:
        """Take one seed's result in."""
        self.runs += 1
        self.operations += result.operations_count
        self.simulated_ns += result.simulated_ns
        self.processor_s += result.processor_s
        self.counters.update(result.counters)
        self.digests[result.seed] = result.digest
        if result.counters.get("check.undecided"):
            self.undecided.append(result.seed)
        if result.failure is not None:
            self.failures[result.seed] = result.failure

    def of_kind(self, prefix: str) -> dict[str, int]:
        """Counters whose name begins with ``prefix`` and a dot, without it."""
        start = prefix + "."
        return {name[len(start) :]: count for name, count in sorted(self.counters.items()) if name.startswith(start)}


def run_seed(seed: int, profile: str) -> SeedResult:
    """Run one seed. An exception of the machines is a failure like any other: they never raise for what a peer sent."""
    start_s = time.thread_time()
    try:
        report = run_plan(draw(seed, profile))
    except Exception as error:
        return SeedResult(seed, raised(error), f"raised {type(error).__name__}: {error}", "", 0, 0, {})
    return SeedResult(
        seed,
        report.rule,
        report.failure,
        report.digest,
        report.operations_count,
        report.simulated_ns,
        report.counters,
        time.thread_time() - start_s,
    )


def run_seeds(
    seeds: Iterable[int],
    profile: str = "swarm",
    *,
    jobs: int = 1,
    scheduler: str | None = None,
    on_result: Callable[[SeedResult], None] | None = None,
) -> Summary:
    """Run seeds; same seeds, same results, however many processes share them.

    Args:
        seeds: which.
        profile: one of :data:`~fivefold.simulation.draw.PROFILES`.
        jobs: processes.
        scheduler: address of a Dask scheduler whose workers run the seeds, instead of processes of our own.
        on_result: hears of each seed as it ends, in the order of the seeds.

    Raises:
        ConfigurationError: the scheduler cannot be used as it is (:func:`fivefold.simulation.spread.spread`).
        Unavailable: the scheduler or its workers do not answer.
    """
    summary = Summary(profile, counters=Counter())
    start_s = time.monotonic()
    for result in _results(seeds, partial(run_seed, profile=profile), jobs, scheduler):
        summary.add(result)
        if on_result is not None:
            on_result(result)
    summary.elapsed_s = time.monotonic() - start_s
    return summary


def _results(
    seeds: Iterable[int], run: Callable[[int], SeedResult], jobs: int, scheduler: str | None
) -> Iterator[SeedResult]:
    if scheduler is not None:
        yield from spread(scheduler, run, seeds)
    elif jobs <= 1:
        yield from map(run, seeds)
    else:
        with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
            yield from pool.map(run, seeds, chunksize=CHUNK_SEEDS)
