"""The numbers that the spine must reach: rate and latency beside the floor, and durable updates a second.

n = 6, t = b = 1, counters, TLS. Everything in one run, by turns; medians of the rounds, and their spread.
"""

from __future__ import annotations

from figure import carry_out, finish, measure, parser, timing_of

from fivefold.bench.beds import Beds
from fivefold.bench.comparison import Comparison, Entry, frame_sizes, with_counts
from fivefold.bench.results import Measurement, Spread, over_rounds, ratio
from fivefold.bench.workload import Workload
from fivefold.protocol.quorums import QuorumSystem

ONE = Workload(in_flight=1)
MANY = Workload(in_flight=64)


def rate_of(each: Measurement) -> float:
    """Operations a second."""
    return each.rate


def p50_of(each: Measurement) -> float:
    """Median latency."""
    return each.p50_ms


def say(what: str, found: Spread) -> dict[str, float]:
    """Print a number with its range, and give it back for the result file."""
    print(f"{what}: {found.median:,.4g} ({found.least:,.4g} to {found.greatest:,.4g})")
    return {
        what: round(found.median, 4),
        f"{what}, least": round(found.least, 4),
        f"{what}, most": round(found.greatest, 4),
    }


def main() -> None:
    """Measure, save, print."""
    options = parser(__doc__, "floor-ratio", rounds=7)
    options.add_argument("--no-durable", action="store_true", help="leave the disk out")
    chosen = options.parse_args()
    quorums = QuorumSystem(6, 1, 1)
    with Beds(chosen.dir) as beds, Comparison() as comparison:
        memory = beds.fivefold(quorums)
        entries = [Entry(name="Fivefold", x=each.in_flight, bed=memory, workload=each) for each in (ONE, MANY)]
        counts = [comparison.count(entry) for entry in entries]
        request, answer = frame_sizes(counts[1], quorums.q)
        floor = beds.floor(quorums.q, request_bytes=request, answer_bytes=answer)
        entries += [Entry(name="floor", x=each.in_flight, bed=floor, workload=each) for each in (ONE, MANY)]
        if not chosen.no_durable:
            disk = beds.fivefold(quorums, durable=True)
            entries += [Entry(name="on disk", x=each.in_flight, bed=disk, workload=each) for each in (ONE, MANY)]
        points = measure(comparison, entries, timing_of(chosen))
    one, many, floor_one, floor_many, *on_disk = points
    numbers = say("64 in flight, rate / floor's rate", ratio(many, floor_many, rate_of))
    numbers |= say("one at a time, p50 / floor's p50", ratio(one, floor_one, p50_of))
    numbers |= say("capacity of a server, updates/s", over_rounds(many, lambda each: each.capacity))
    if on_disk:
        numbers |= say("durable, 64 in flight, updates/s", over_rounds(on_disk[1], rate_of))
        numbers |= say("durable, one at a time, p50 ms", over_rounds(on_disk[0], p50_of))
    points[:2] = [with_counts(one, counts[0]), with_counts(many, counts[1])]
    finish(
        chosen,
        points,
        figure="run",
        title="Fivefold beside the floor: n=6, counters, TLS",
        x_label="in flight",
        numbers=numbers,
        notes={"floor_frames": f"{request} bytes there, {answer} bytes back"},
    )


if __name__ == "__main__":
    carry_out(main)
