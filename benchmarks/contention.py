"""Contention: k client processes update one object, while two others update objects of their own.

Every client process has its own identity and one operation in flight.

With --delayed something else: eight clients that are 1 ms away, one way, and a client that is 50 ms away beside a near
one that updates 20 or 100 times a second; all by turns, and each against the bar that it is to reach.
"""

from __future__ import annotations

import math
import os
import statistics
import sys
from argparse import Namespace
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from figure import carry_out, finish, parser, timing_of, whole_numbers

from fivefold.bench.beds import Beds
from fivefold.bench.comparison import Comparison
from fivefold.bench.quorum import HELPS
from fivefold.bench.results import Measurement, Point
from fivefold.bench.rounds import Contender, Run
from fivefold.bench.workers import Worker
from fivefold.bench.workload import Workload
from fivefold.protocol.quorums import QuorumSystem

ISOLATED = 2
HOT = Workload(in_flight=1, skew="hot", objects=1)
APART = Workload(in_flight=1, skew="spread", objects=1000)


def main() -> None:
    """Measure, save, print."""
    options = parser(__doc__, "contention-delayed" if "--delayed" in sys.argv else "contention")
    options.add_argument("--clients", default="1,2,4,8", help="values of k")
    options.add_argument("--no-helps", action="store_true", help="clients do not help each other")
    options.add_argument("--delayed", action="store_true", help="clients at a distance, against their bars")
    chosen = options.parse_args()
    if chosen.no_helps:
        os.environ[HELPS] = "0"  # for the processes that are started from here
    if chosen.delayed:
        delayed(chosen)
        return
    timing = timing_of(chosen)
    counts = whole_numbers(chosen.clients)
    clients = max(counts) + ISOLATED
    with Beds(chosen.dir, clients=clients) as beds, Comparison(clients) as comparison:
        bed = beds.fivefold(QuorumSystem(6, 1, 1))
        isolated, hot = comparison.workers[:ISOLATED], comparison.workers[ISOLATED:]
        for worker in isolated:
            bed.open_in(worker, "apart", prefix="apart")
        for worker in hot:
            bed.open_in(worker, "hot")

        def together(k: int) -> tuple[Measurement, Measurement]:
            def one(workers: list[Worker], name: str, workload: Workload) -> Measurement:
                contender = Contender(key=k, name=name, label=name, workload=workload, pids=lambda: bed.pids)
                return Run(workers, contender, timing.segment(workload)).run()

            with ThreadPoolExecutor(2) as pool:
                on_one = pool.submit(one, hot[:k], "hot", HOT)
                apart = pool.submit(one, isolated, "apart", APART)
                return on_one.result(), apart.result()

        found: dict[int, list[tuple[Measurement, Measurement]]] = {k: [] for k in counts}
        for round_ in range(timing.rounds):
            for k in counts:
                found[k].append(together(k))
                on_one, apart = found[k][-1]
                print(
                    f"round {round_ + 1}  k={k}  one object {on_one.rate:,.0f}/s  apart {apart.rate:,.0f}/s", flush=True
                )
        points = []
        for index, (name, workload) in enumerate((("one object", HOT), ("apart", APART))):
            for k in counts:
                rounds = [both[index] for both in found[k]]
                points.append(Point(name=name, x=k, setting=bed.setting, workload=workload, rounds=rounds))
    finish(
        chosen,
        points,
        figure="scalability",
        title=f"Contention: k clients on one counter, {ISOLATED} on counters of their own, n=6, memory, TLS",
        x_label="clients on one object",
        notes={"processor time": "of servers is shared by both groups: look at rates and latencies here"},
    )


# --- clients at a distance --------------------------------------------------------------------------------------------

NEAR_S, FAR_S = 0.001, 0.05
MANY = 8
PACES = (20, 100)

Row = Mapping[str, Measurement]
"""One round: what was measured, by name."""

Judge = Callable[[Row], float]


def share_of_least(one: Measurement) -> float:
    """What the client that is served least gets of what the one that is served most gets."""
    return min(one.served) / max(one.served) if any(one.served) else 0.0


def took(one: Measurement, percentile: str) -> float:
    """A percentile in ms; endless where calls failed, or none ended."""
    is_endless = not one.operations or (percentile == "100" and one.errors)
    return math.inf if is_endless else one.latency_ms[percentile]


def far(pace: int) -> str:
    """The name of what a far client is served beside a near one."""
    return f"far, near at {pace}/s"


BARS: list[tuple[str, Judge, str, float]] = [
    ("1 ms: rate of 8 clients / of one", lambda row: row["near 8"].rate / row["near 1"].rate, ">=", 2.5),
    ("1 ms: p99 of 8 clients / round trip", lambda row: took(row["near 8"], "99") / row["near 1"].p50_ms, "<=", 10),
    ("1 ms: longest of 8 / round trip", lambda row: took(row["near 8"], "100") / row["near 1"].p50_ms, "<=", 50),
    ("1 ms: least served / most served of 8", lambda row: share_of_least(row["near 8"]), ">=", 0.4),
    ("loopback: rate of 8 clients / of one", lambda row: row["loopback 8"].rate / row["loopback 1"].rate, ">=", 1.0),
    ("loopback: p99 of 8 clients, ms", lambda row: took(row["loopback 8"], "99"), "<=", 50),
    ("far beside 20/s: updates/s", lambda row: row[far(20)].rate, ">=", 5),
    ("far beside 20/s: p99, ms", lambda row: took(row[far(20)], "99"), "<=", 300),
    ("far beside 100/s: updates/s", lambda row: row[far(100)].rate, ">=", 5),
    ("far beside 100/s: p99, ms", lambda row: took(row[far(100)], "99"), "<=", 300),
]
"""What is looked at, and what it has to reach. The round trip is the median of one client alone, in the same round."""


def delayed(chosen: Namespace) -> None:
    """Measure clients at a distance; print each bar as reached or missed."""
    timing = timing_of(chosen)
    clients = MANY + 1
    with Beds(chosen.dir, clients=clients) as beds, Comparison(clients) as comparison:
        bed = beds.fivefold(QuorumSystem(6, 1, 1))
        *many, distant = comparison.workers
        for worker in many:
            bed.open_in(worker, "loopback")
            bed.open_in(worker, "near", one_way_s=NEAR_S)
        bed.open_in(distant, "far", one_way_s=FAR_S)

        def one(workers: list[Worker], name: str, workload: Workload) -> Measurement:
            contender = Contender(key=0, name=name, label=name, workload=workload, pids=lambda: bed.pids)
            return Run(workers, contender, timing.segment(workload)).run()

        def beside(pace: int) -> Measurement:
            paced = Workload(rate=float(pace * clients), skew="hot", objects=1)  # all client processes would have that
            with ThreadPoolExecutor(2) as pool:
                near = pool.submit(one, many[:1], "near", paced)
                found = pool.submit(one, [distant], "far", HOT).result()
                near.result()
                return found

        turns: dict[str, Callable[[], Measurement]] = {
            **{f"{name} {k}": partial(one, many[:k], name, HOT) for name in ("loopback", "near") for k in (1, MANY)},
            **{far(pace): partial(beside, pace) for pace in PACES},
        }
        rows: list[Row] = []
        for round_ in range(timing.rounds):
            rows.append({name: turn() for name, turn in turns.items()})
            for name, found in rows[-1].items():
                print(f"round {round_ + 1}  {name}: {found.rate:,.1f}/s, p99 {took(found, '99'):,.1f} ms", flush=True)
    points = [
        Point(name=name, x=0, setting=bed.setting, workload=HOT, rounds=[row[name] for row in rows]) for name in turns
    ]
    title = f"Clients at a distance: {NEAR_S * 1e3:g} and {FAR_S * 1e3:g} ms one way, one counter, n=6, memory, TLS"
    finish(chosen, points, figure="scalability", title=title, x_label="")
    for name, judge, relation, bar in BARS:
        value = statistics.median(map(judge, rows))
        is_reached = value >= bar if relation == ">=" else value <= bar
        print(f"{name:40} {value:10.2f}   {relation} {bar:<5g} {'reached' if is_reached else 'missed'}")


if __name__ == "__main__":
    carry_out(main)
