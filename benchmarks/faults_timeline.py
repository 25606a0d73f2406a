"""Under faults: what clients see while a server is killed, paused, or lies, and while a client is killed or hostile.

Each story has a cluster of its own (n = 6, t = b = 1) and lasts ``--seconds``: the fault comes at a third of it and
ends at two thirds. A lying server is one that is restarted with false MACs, or with false answers and states. A server
that is replaced has lost its disk; when the fault ends another one begins to lie. A hostile client is one more process
that may update everything, without a rate or with one (requests a second).
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from figure import carry_out, finish, parser, timing_of

from fivefold.bench.beds import HOSTILE, Bed, Beds
from fivefold.bench.comparison import Comparison
from fivefold.bench.load import Segment
from fivefold.bench.results import Measurement, Point, spread
from fivefold.bench.rounds import Contender, Deed, Run
from fivefold.bench.workers import Worker
from fivefold.bench.workload import Seat, Workload
from fivefold.cluster import add_client, replace_server, serve_command
from fivefold.node.server import ALLOW
from fivefold.protocol.quorums import QuorumSystem

CLIENTS = 2
SLICES = 60
VICTIM, OTHER = 0, 3

RATE = 100
HOSTILE_IN_FLIGHT = 64

LEFT = {
    "client leaves its updates": "leave",
    "client leaves updates of what others use": "leave shared",
    "client leaves barriers to others": "partial barriers",
}
"""A hostile client without a rate; each story is told twice, with servers that verify and repair, and without."""

UNVERIFIED = ", unverified"
"""What the name of a story ends with in which servers do not."""

SEVERAL = ("three of ten clients hostile, and a liar", f"three of ten clients hostile, and a liar{UNVERIFIED}")
SEVERAL_CLIENTS = 7
SEVERAL_VILLAINIES = ("leave shared", "partial barriers", "flood")

HOSTILITIES = {
    "client floods": ("flood", None),
    f"client floods at {RATE} a second": ("flood", RATE),
    "client keeps barriers coming": ("barriers", None),
    f"client keeps barriers coming at {RATE} a second": ("barriers", RATE),
    **{f"{name}{ending}": (each, None) for name, each in LEFT.items() for ending in ("", UNVERIFIED)},
}
"""What a hostile client does, and its rate."""

NAMES = (
    "no fault",
    "server killed",
    "server paused",
    "server lies in MACs",
    "server lies in answers",
    "server replaced",
    "client killed",
    *HOSTILITIES,
    *SEVERAL,
)

Story = tuple[str, str, Callable[[], object], Callable[[], object]]


class Villain:
    """A hostile client in a process of its own; a context manager that ends it."""

    def __init__(self, bed: Bed, villainy: str, rate: int | None, seconds: float, number: int = 0) -> None:
        """Connect it; it does nothing yet."""
        file, name = Path(bed.options["cluster"]), f"hostile-{number}"
        add_client(file, name, ["*"], rate=rate)
        self._seconds = seconds
        self._worker = Worker(Seat(0, 1))
        self._worker.open("hostile", HOSTILE, {**bed.options, "identity": name, "villainy": villainy})

    def __enter__(self) -> Villain:
        return self

    def __exit__(self, *_: object) -> None:
        self._worker.close()

    def begin(self) -> None:
        """Be hostile for its seconds."""
        workload = Workload(in_flight=HOSTILE_IN_FLIGHT)
        self._worker.start("hostile", Segment(workload=workload, seconds=self._seconds, start_ns=time.monotonic_ns()))


def stories(bed: Bed, comparison: Comparison, villains: list[Villain]) -> dict[str, Story]:
    """What begins and what ends, in words and deeds, by name."""
    cluster = bed.cluster
    assert cluster is not None

    def lie(kind: str) -> Callable[[], object]:
        return lambda: cluster.restart(VICTIM, ["--lie", kind])

    def replace() -> None:
        file = Path(bed.options["cluster"])
        cluster.kill(VICTIM)
        shutil.rmtree(file.parent / f"data-{VICTIM}", ignore_errors=True)
        _, identity = replace_server(file, VICTIM)
        assert identity is not None
        data, is_volatile = file.parent / "data-new", not (file.parent / f"data-{OTHER}").exists()
        cluster.servers[VICTIM]._command = serve_command(file, identity=identity, data=data, memory=is_volatile)
        cluster.start_one(VICTIM)

    def begin() -> None:
        for villain in villains:
            villain.begin()

    return {
        "no fault": ("", "", lambda: None, lambda: None),
        "server killed": ("kill -9", "back", lambda: cluster.kill(VICTIM), lambda: cluster.start_one(VICTIM)),
        "server paused": ("SIGSTOP", "SIGCONT", lambda: cluster.pause(VICTIM), lambda: cluster.resume(VICTIM)),
        "server lies in MACs": ("lies", "honest", lie("macs"), lambda: cluster.restart(VICTIM)),
        "server lies in answers": ("lies", "honest", lie("answers"), lambda: cluster.restart(VICTIM)),
        "server replaced": ("replaced", "another lies", replace, lambda: cluster.restart(OTHER, ["--lie", "macs"])),
        "client killed": ("kill -9", "", comparison.workers[-1].kill, lambda: None),
        **{name: ("begins", "ends", begin, lambda: None) for name in (*HOSTILITIES, *SEVERAL)},
    }


def hostile_in(name: str, bed: Bed, seconds: float) -> list[Villain]:
    """The hostile clients of a story."""
    if name in HOSTILITIES:
        return [Villain(bed, *HOSTILITIES[name], seconds)]
    if name in SEVERAL:
        return [Villain(bed, each, RATE, seconds, number) for number, each in enumerate(SEVERAL_VILLAINIES)]
    return []


def tell(
    name: str, chosen: object, segment: Segment, durable: bool
) -> tuple[Measurement, Bed, list[tuple[float, str]]]:
    """Run one story on a new cluster."""
    third = segment.seconds / 3
    with ExitStack() as stack:
        clients = SEVERAL_CLIENTS if name in SEVERAL else CLIENTS
        beds = stack.enter_context(Beds(getattr(chosen, "dir"), clients=clients))  # noqa: B009
        comparison = stack.enter_context(Comparison(clients))
        options = ["--no-scrub"] if name.endswith(UNVERIFIED) else []
        bed = beds.fivefold(QuorumSystem(6, 1, 1), durable=durable, serve_options=options)
        if name in SEVERAL and bed.cluster is not None:
            bed.cluster.restart(VICTIM, [*options, "--lie", "macs"])
        opened = comparison.open(bed)
        villains = [stack.enter_context(each) for each in hostile_in(name, bed, third)]
        begins, ends, do, undo = stories(bed, comparison, villains)[name]
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
