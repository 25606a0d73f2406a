"""Under faults: what clients see while a server is killed, paused, or lies, and while one client is killed mid-update.

Each story has a cluster of its own (n = 6, t = b = 1) and lasts ``--seconds``: the fault comes at a third of it and
ends at two thirds. A lying server is one that is restarted with false MACs, or with false answers and states.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from figure import carry_out, finish, parser, timing_of

from fivefold.bench.beds import Bed, Beds
from fivefold.bench.comparison import Comparison
from fivefold.bench.load import Segment
from fivefold.bench.results import Measurement, Point, spread
from fivefold.bench.rounds import Contender, Deed, Run
from fivefold.bench.workload import Workload
from fivefold.node.liar import ALLOW
from fivefold.protocol.quorums import QuorumSystem

CLIENTS = 2
SLICES = 60
VICTIM = 0

NAMES = ("no fault", "server killed", "server paused", "server lies in MACs", "server lies in answers", "client killed")

Story = tuple[str, str, Callable[[], object], Callable[[], object]]


def stories(bed: Bed, comparison: Comparison) -> dict[str, Story]:
    """What begins and what ends, in words and deeds, by name."""
    cluster = bed.cluster
    assert cluster is not None

    def lie(kind: str) -> Callable[[], object]:
        return lambda: cluster.restart(VICTIM, ["--lie", kind])

    return {
        "no fault": ("", "", lambda: None, lambda: None),
        "server killed": ("kill -9", "back", lambda: cluster.kill(VICTIM), lambda: cluster.start_one(VICTIM)),
        "server paused": ("SIGSTOP", "SIGCONT", lambda: cluster.pause(VICTIM), lambda: cluster.resume(VICTIM)),
        "server lies in MACs": ("lies", "honest", lie("macs"), lambda: cluster.restart(VICTIM)),
        "server lies in answers": ("lies", "honest", lie("answers"), lambda: cluster.restart(VICTIM)),
        "client killed": ("kill -9", "", comparison.workers[-1].kill, lambda: None),
    }


def tell(
    name: str, chosen: object, segment: Segment, durable: bool
) -> tuple[Measurement, Bed, list[tuple[float, str]]]:
    """Run one story on a new cluster."""
    with Beds(getattr(chosen, "dir"), clients=CLIENTS) as beds, Comparison(CLIENTS) as comparison:  # noqa: B009
        bed = beds.fivefold(QuorumSystem(6, 1, 1), durable=durable)
        opened = comparison.open(bed)
        begins, ends, do, undo = stories(bed, comparison)[name]
        third = segment.seconds / 3
        contender = Contender(key=0, name=opened, label=name, workload=segment.workload, pids=lambda: bed.pids)
        may_lose = comparison.workers[-1:] if name == "client killed" else []
        run = Run(comparison.workers, contender, segment)
        result = run.run([Deed(third, do), Deed(2 * third, undo)], may_lose=may_lose)
        events = [(round(third, 2), begins), (round(2 * third, 2), ends)]
        return result, bed, [(at_s, f"{name}: {what}") for at_s, what in events if what]


def main() -> None:
    """Measure, save, print."""
    options = parser(__doc__, "faults", seconds=30, rounds=1)
    options.add_argument("--in-flight", type=int, default=16)
    options.add_argument("--durable", action="store_true", help="a restarted server then knows what it promised")
    options.add_argument("--story", action="append", choices=NAMES, help="only this one; repeatable")
    chosen = options.parse_args()
    os.environ[ALLOW] = "1"
    workload = Workload(in_flight=chosen.in_flight)
    segment = timing_of(chosen).segment(workload, slice_s=round(chosen.seconds / SLICES, 3))
    points, events, numbers = [], [], {}
    for name in chosen.story or NAMES:
        rounds = []
        for _ in range(chosen.rounds):
            result, bed, happened = tell(name, chosen, segment, chosen.durable)
            rounds.append(result)
        events += happened
        points.append(Point(name=name, x=0, setting=bed.setting, workload=workload, rounds=rounds))
        third = chosen.seconds / 3
        before, during = (
            spread(
                each.rate for result in rounds for each in result.slices if start <= each.at_s < start + third
            ).median
            for start in (0.0, third)
        )
        numbers[f"median rate during / before: {name}"] = round(during / before, 3) if before else 0.0
        print(f"{name}: {before:,.0f}/s before, {during:,.0f}/s during, p99 {result.p99_ms:.2f} ms, {result.errors}")
    where = "disk" if chosen.durable else "memory"
    finish(
        chosen,
        points,
        figure="timeline",
        title=f"Under faults: n=6, {where}, TLS, {CLIENTS} clients × {chosen.in_flight} in flight",
        x_label="",
        numbers=numbers,
        events=events,
    )


if __name__ == "__main__":
    carry_out(main)
