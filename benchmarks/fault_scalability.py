"""The paper's Figure 4: how throughput, latency and capacity change as more faults are tolerated.

Fivefold with n = 5f + 1 servers beside the BFT counter by agreement with n = 3f + 1, batched and not. All systems run
at the same time, and are measured by turns. Capacity = 1 / (processor seconds per operation of the busiest server):
what that server could carry with a machine of its own, whatever this machine has to carry besides.
"""

from __future__ import annotations

from figure import carry_out, finish, measure, parser, timing_of, whole_numbers

from fivefold.bench.beds import Beds
from fivefold.bench.comparison import Comparison, Entry, with_counts
from fivefold.bench.results import over_rounds
from fivefold.bench.workload import Workload
from fivefold.protocol.quorums import QuorumSystem


def main() -> None:
    """Measure, save, print."""
    options = parser(__doc__, "fault-scalability")
    options.add_argument("--faults", default="1,2,3,4,5", help="values of f (default 1,2,3,4,5)")
    options.add_argument("--in-flight", type=int, default=64)
    options.add_argument("--no-agreement", action="store_true", help="leave the baseline out")
    chosen = options.parse_args()
    workload = Workload(in_flight=chosen.in_flight)
    with Beds(chosen.dir) as beds, Comparison() as comparison:
        entries = []
        for f in whole_numbers(chosen.faults):
            bed = beds.fivefold(QuorumSystem(5 * f + 1, f, f))
            entries.append(Entry(name="Fivefold", x=f, bed=bed, workload=workload))
            for batching in (True, False) if not chosen.no_agreement else ():
                rival = beds.agreement(f, batching=batching)
                entries.append(Entry(name=rival.setting.system, x=f, bed=rival, workload=workload))
        counts = {entry.x: comparison.count(entry) for entry in entries if entry.name == "Fivefold"}
        points = measure(comparison, entries, timing_of(chosen))
    points = [with_counts(point, counts[point.x]) if point.name == "Fivefold" else point for point in points]
    numbers = {}
    for name in dict.fromkeys(point.name for point in points):
        ours = [point for point in points if point.name == name]
        first, last = (over_rounds(point, lambda each: each.capacity).median for point in (ours[0], ours[-1]))
        what = f"capacity lost from f={ours[0].x:g} to f={ours[-1].x:g}, %: {name}"
        numbers[what] = round(100 * (1 - last / first), 1) if first else 0.0
    finish(
        chosen,
        points,
        figure="scalability",
        title=f"Fault-scalability: counter updates, {chosen.in_flight} in flight, memory, TLS",
        x_label="faults tolerated",
        numbers=numbers,
    )


if __name__ == "__main__":
    carry_out(main)
