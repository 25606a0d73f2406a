"""The paper's Figure 5: where a server's time goes as more faults are tolerated, by sampling one server with py-spy.

The sampler itself takes processor time, and stops the server for each sample: rates of these runs are not used. The
time per operation comes from a run without it, right before.
"""

from __future__ import annotations

import argparse
from collections import Counter

from figure import carry_out, finish, parser, timing_of, whole_numbers

from fivefold.bench.beds import Bed, Beds
from fivefold.bench.comparison import Comparison
from fivefold.bench.results import Measurement, Point, spread
from fivefold.bench.rounds import Contender, Deed, Run
from fivefold.bench.sampling import PARTS, Sampler
from fivefold.bench.workload import Workload
from fivefold.protocol.quorums import QuorumSystem


def sampled(bed: Bed, run: Run, seconds: float) -> Counter[str]:
    """How many samples each part has of server 0 while the segment runs."""
    samplers: list[Sampler] = []
    run.run([Deed(0.0, lambda: samplers.append(Sampler(bed.pids["server-0"], seconds)))])
    return samplers[0].samples()


def measure(chosen: argparse.Namespace, f: int) -> Point:
    """One value of f: rounds without the sampler, each followed by one with it."""
    timing, workload = timing_of(chosen), Workload(in_flight=chosen.in_flight)
    quorums = QuorumSystem(5 * f + 1, f, f)
    rounds: list[Measurement] = []
    samples: Counter[str] = Counter()
    with Beds(chosen.dir) as beds, Comparison() as comparison:
        bed = beds.fivefold(quorums, durable=chosen.durable)
        name = comparison.open(bed)
        contender = Contender(key=f, name=name, label=f"f={f}", workload=workload, pids=lambda: bed.pids)
        for _ in range(timing.rounds):
            rounds.append(Run(comparison.workers, contender, timing.segment(workload)).run())
            samples += sampled(bed, Run(comparison.workers, contender, timing.segment(workload)), timing.seconds)
    # Each server takes part in q of n operations: microseconds per operation it handles.
    spent = spread(each.cpu_us["server-0"] for each in rounds).median * quorums.n / quorums.q
    total = samples.total() or 1
    parts = {part: round(spent * samples[part] / total, 2) for part in PARTS}
    print(
        f"f={f}: {spent:.0f} µs by {total} samples:",
        ", ".join(f"{part} {us:.1f}" for part, us in parts.items()),
        flush=True,
    )
    return Point(name="Fivefold", x=f, setting=bed.setting, workload=workload, rounds=rounds, extra=parts)


def main() -> None:
    """Measure, save, print."""
    options = parser(__doc__, "breakdown")
    options.add_argument("--faults", default="1,2,3,4,5")
    options.add_argument("--in-flight", type=int, default=64)
    options.add_argument("--durable", action="store_true")
    chosen = options.parse_args()
    finish(
        chosen,
        [measure(chosen, f) for f in whole_numbers(chosen.faults)],
        figure="breakdown",
        title=f"Where a server's time goes: counter updates, {'disk' if chosen.durable else 'memory'}, TLS",
        x_label="f",
    )


if __name__ == "__main__":
    carry_out(main)
