"""Throughput-scalability: more servers than the faults need, so that each object's quorum loads fewer of them.

f stays the same; n grows. On one machine the measured rate falls (more servers share the same processors): what the
figure is about is the capacity.
"""

from __future__ import annotations

from figure import carry_out, finish, measure, parser, timing_of, whole_numbers

from fivefold.bench.beds import Beds
from fivefold.bench.comparison import Comparison, Entry, with_counts
from fivefold.bench.workload import Workload
from fivefold.protocol.quorums import QuorumSystem


def main() -> None:
    """Measure, save, print."""
    options = parser(__doc__, "throughput-scalability")
    options.add_argument("--faults", type=int, default=1)
    options.add_argument("--servers", default="6,8,11,16,21,26", help="values of n")
    options.add_argument("--in-flight", type=int, default=64)
    chosen = options.parse_args()
    f = chosen.faults
    updates = Workload(in_flight=chosen.in_flight)
    queries = Workload(in_flight=chosen.in_flight, updates=0.0)
    with Beds(chosen.dir) as beds, Comparison() as comparison:
        entries = []
        for n in whole_numbers(chosen.servers):
            bed = beds.fivefold(QuorumSystem(n, f, f))
            entries.append(Entry(name="updates", x=n, bed=bed, workload=updates))
            entries.append(Entry(name="queries", x=n, bed=bed, workload=queries))
        counts = [comparison.count(entry) for entry in entries if entry.name == "updates"]
        points = measure(comparison, entries, timing_of(chosen))
    counted = iter(counts)
    points = [with_counts(point, next(counted)) if point.name == "updates" else point for point in points]
    finish(
        chosen,
        points,
        figure="scalability",
        title=f"Throughput-scalability: f={f}, counters, {chosen.in_flight} in flight, memory, TLS",
        x_label="servers",
    )


if __name__ == "__main__":
    carry_out(main)
