"""A hot object (combining): one client with 64 calls in flight on one object, beside 64 different ones.

n = 6, t = b = 1, counters, TLS, in memory and on disk. By turns in one run; medians of the rounds, and their spread.
"""

from __future__ import annotations

from figure import carry_out, finish, measure, parser, timing_of

from fivefold.bench.beds import Beds
from fivefold.bench.comparison import Comparison, Entry
from fivefold.bench.results import over_rounds, ratio
from fivefold.bench.workload import Workload
from fivefold.protocol.quorums import QuorumSystem

APART = Workload(in_flight=64)
HOT = Workload(in_flight=64, skew="hot", objects=1)


def main() -> None:
    """Measure, save, print."""
    chosen = parser(__doc__, "combining").parse_args()
    with Beds(chosen.dir) as beds, Comparison() as comparison:
        beds_of = {"in memory": beds.fivefold(QuorumSystem(6, 1, 1))}
        beds_of["on disk"] = beds.fivefold(QuorumSystem(6, 1, 1), durable=True)
        entries = [
            Entry(name=f"{how}, {where}", x=64, bed=bed, workload=workload)
            for where, bed in beds_of.items()
            for how, workload in (("64 objects", APART), ("one object", HOT))
        ]
        points = measure(comparison, entries, timing_of(chosen))
    numbers = {}
    for where, apart, hot in zip(beds_of, points[::2], points[1::2], strict=True):
        found = ratio(hot, apart, lambda each: each.rate)
        numbers[f"{where}: rate on one object / rate on 64"] = round(found.median, 3)
        numbers[f"{where}: least of the rounds"] = round(found.least, 3)
        spent = over_rounds(hot, lambda each: 1e6 / each.capacity)
        numbers[f"{where}: µs of the busiest server on one object"] = round(spent.median, 1)
    finish(chosen, points, figure="run", title="A hot object: n=6, counters, TLS", x_label="in flight", numbers=numbers)


if __name__ == "__main__":
    carry_out(main)
