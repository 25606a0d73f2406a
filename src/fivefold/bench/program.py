"""What ``fivefold bench run`` does: start the systems, measure them by turns, count, save, show."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import cast, get_args

from msgspec import Struct
from msgspec.structs import replace
from rich.console import Console

from fivefold.bench.beds import Bed, Beds
from fivefold.bench.comparison import Comparison, Entry, Timing, frame_sizes, with_counts
from fivefold.bench.machine import file_system, origin
from fivefold.bench.report import Live, counts_table, failures, table
from fivefold.bench.results import Results, check_writable, save
from fivefold.bench.workload import Skew, Workload
from fivefold.cli import say
from fivefold.cluster import load_configuration
from fivefold.errors import ConfigurationError
from fivefold.protocol.quorums import QuorumSystem


class Plan(Struct, frozen=True, kw_only=True):
    """Everything that the command line can say.

    Attributes:
        loads: the workloads, one for each number in flight, or one open loop.
        quorums: servers to start.
        clients: client processes.
        tls: whether connections are encrypted.
        durable: whether servers store on disk.
        timing: how long and how often.
        has_floor: whether the floor is measured in the same run.
        has_agreement: whether the baseline is.
        cluster: a cluster file to use instead of starting servers, and the client identity to use.
        directory: for the files of servers that are started.
        out: where the result goes.
    """

    loads: list[Workload]
    quorums: QuorumSystem
    clients: int
    tls: bool
    durable: bool
    timing: Timing
    has_floor: bool
    has_agreement: bool
    cluster: tuple[Path, str | None] | None
    directory: Path | None
    out: Path | None


def loads_of(
    in_flight: Sequence[int], rate: float | None, updates: float, objects: int, skew: str, payload_bytes: int
) -> list[Workload]:
    """One workload for each number in flight, or one at a rate; see :class:`Workload`.

    Raises:
        ConfigurationError: an unknown skew.
    """
    if skew not in get_args(Skew):
        raise ConfigurationError(f"--skew is one of {', '.join(get_args(Skew))}: got {skew!r}")
    base = Workload(rate=rate, updates=updates, objects=objects, skew=cast("Skew", skew), payload_bytes=payload_bytes)
    return [replace(base, in_flight=each) for each in in_flight] if rate is None else [base]


def run(plan: Plan, console: Console, *, is_quiet: bool = False) -> Results:
    """Do it all.

    Raises:
        ConfigurationError: the plan cannot be carried out.
        Unavailable: servers or client processes failed.
    """
    for each in plan.loads:
        each.check(plan.clients)
    plan.timing.check()
    if plan.out is not None:
        check_writable(plan.out)
    taken = origin()
    with Beds(plan.directory, clients=plan.clients) as beds, Comparison(plan.clients) as comparison:
        console.print("starting servers and client processes …")
        bed = _bed(plan, beds)
        entries = _entries("Fivefold", plan, bed)
        counts = [comparison.count(entry) for entry in entries]
        rivals = _rivals(plan, beds, bed, counts[-1])
        live = Live(
            console,
            measurements=plan.timing.rounds * (len(entries) + len(rivals)),
            segment_s=plan.timing.seconds + plan.timing.warm_up_s,
        )
        with nullcontext() if is_quiet else live:
            points = comparison.measure([*entries, *rivals], plan.timing, None if is_quiet else live)
        for index, per_operation in enumerate(counts):
            points[index] = with_counts(points[index], per_operation)
        results = Results(
            figure="run",
            title=_title(plan),
            x_label="in flight" if plan.loads[0].rate is None else "operations/s offered",
            origin=taken,
            seconds=(plan.timing.seconds, plan.timing.warm_up_s),
            points=points,
            notes=_notes(plan, beds),
        )
    if plan.out is not None:
        save(results, plan.out)
    return results


def show(results: Results, console: Console) -> None:
    """Print the medians, their ratios to the floor, what failed, and what was counted."""
    floor = {point.x: point for point in results.points if point.name == "floor"}
    console.print(table(results, floor))
    for line in failures(results.points):
        say("[red]{}[/]", line, to=console)
    counts = counts_table(results.points)
    if counts is not None:
        console.print(counts)


def _bed(plan: Plan, beds: Beds) -> Bed:
    payload = plan.loads[0].payload_bytes
    if plan.cluster is None:
        return beds.fivefold(plan.quorums, tls=plan.tls, durable=plan.durable, payload_bytes=payload)
    file, identity = plan.cluster
    prefix = beds.directory.name  # no run meets objects of another
    return beds.existing(file, identity=identity, tls=plan.tls, payload_bytes=payload, prefix=prefix)


def _entries(name: str, plan: Plan, bed: Bed) -> list[Entry]:
    return [Entry(name=name, x=each.rate or each.in_flight, bed=bed, workload=each) for each in plan.loads]


def _rivals(plan: Plan, beds: Beds, bed: Bed, counted: dict[str, float]) -> list[Entry]:
    """The floor with frames of Fivefold's mean sizes, and the baseline for as many faults."""
    rivals: list[Entry] = []
    if plan.has_floor and plan.loads[0].rate is None:
        q = (load_configuration(plan.cluster[0]).quorums if plan.cluster else plan.quorums).q
        request, answer = frame_sizes(counted, q)
        floor = beds.floor(q, tls=plan.tls, request_bytes=request, answer_bytes=answer)
        rivals += _entries("floor", plan, floor)
    if plan.has_agreement:
        for batching in (True, False):
            rival = beds.agreement(
                bed.setting.t, tls=plan.tls, batching=batching, payload_bytes=plan.loads[0].payload_bytes
            )
            rivals += _entries(rival.setting.system, plan, rival)
    return rivals


def _title(plan: Plan) -> str:
    load = plan.loads[0]
    n, t, b = plan.quorums.n, plan.quorums.t, plan.quorums.b
    servers = "an existing cluster" if plan.cluster else f"n={n}, t={t}, b={b}, {'disk' if plan.durable else 'memory'}"
    kind = {1.0: "updates", 0.0: "queries"}.get(load.updates, f"{load.updates:.0%} updates")
    if load.payload_bytes:
        kind += f" of {load.payload_bytes} bytes"
    if plan.clients > 1:
        kind += f" by {plan.clients} clients"
    return f"{kind}, {servers}, TLS {'on' if plan.tls else 'off'}, {load.skew} over {load.objects} objects"


def _notes(plan: Plan, beds: Beds) -> dict[str, str]:
    notes = {"servers": "all on this machine" if plan.cluster is None else "an existing cluster"}
    if plan.durable and plan.cluster is None:
        notes["file_system"] = file_system(beds.directory)
    return notes
