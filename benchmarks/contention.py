"""Contention: k client processes update one object, while two others update objects of their own.

Every client process has its own identity and one operation in flight.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from figure import carry_out, finish, parser, timing_of, whole_numbers

from fivefold.bench.beds import Beds
from fivefold.bench.comparison import Comparison
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
    options = parser(__doc__, "contention")
    options.add_argument("--clients", default="1,2,4,8", help="values of k")
    chosen = options.parse_args()
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


if __name__ == "__main__":
    carry_out(main)
