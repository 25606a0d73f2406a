"""The floor alone: bare echoes to q processes over Fivefold's own transport, with TLS and in clear, by turns.

What it measures and how is in :mod:`fivefold.bench.echo`; every run of ``fivefold bench run`` measures it, too.
"""

from __future__ import annotations

from figure import carry_out, finish, measure, parser, timing_of, whole_numbers

from fivefold.bench.beds import Beds
from fivefold.bench.comparison import Comparison, Entry
from fivefold.bench.workload import Workload


def main() -> None:
    """Measure, save, print."""
    options = parser(__doc__, "floor", seconds=3, rounds=3)
    options.add_argument("--size", type=int, default=600, help="bytes of a frame, both ways (default 600)")
    options.add_argument("--quorum", type=int, default=5, help="processes (default 5)")
    options.add_argument("--in-flight", default="1,64")
    chosen = options.parse_args()
    loads = [Workload(in_flight=each) for each in whole_numbers(chosen.in_flight)]
    with Beds(chosen.dir) as beds, Comparison() as comparison:
        entries = []
        for tls in (True, False):
            bed = beds.floor(chosen.quorum, tls=tls, request_bytes=chosen.size, answer_bytes=chosen.size)
            name = "TLS" if tls else "in clear"
            entries += [Entry(name=name, x=load.in_flight, bed=bed, workload=load) for load in loads]
        points = measure(comparison, entries, timing_of(chosen))
    title = f"Quorum echoes to {chosen.quorum} processes, {chosen.size} bytes"
    finish(chosen, points, figure="bars", title=title, x_label="in flight")


if __name__ == "__main__":
    carry_out(main)
