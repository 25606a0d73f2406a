"""Runs made to show one thing: production clients and servers in the simulator, with a plan written by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from msgspec import Struct

from fivefold.checker import READY_MADE, Outcome
from fivefold.errors import Rejected
from fivefold.objects import Registry
from fivefold.play.recording import Note, Recording, Tells, until_healed
from fivefold.protocol.operations import ObjectId
from fivefold.protocol.quorums import QuorumSystem
from fivefold.simulation import (
    Derived,
    Event,
    Fault,
    Happened,
    Plan,
    PlannedCall,
    Weather,
    Workload,
    client_id,
    run_plan,
)

MILLISECOND = 1_000_000
PATIENCE_NS = 400 * MILLISECOND
STEADY = Weather(delay_ns=1 * MILLISECOND, delay_spread_ns=MILLISECOND // 2, commit_ns=MILLISECOND // 4)
"""Messages take one to one and a half milliseconds, and nothing is lost."""


class Line(Struct, frozen=True):
    """One call of a script: who calls what when, in milliseconds."""

    client: int
    at_ms: float
    objects: tuple[str, ...]
    method: str
    arguments: Mapping[str, object] = MappingProxyType({})


class Cue(Struct, frozen=True):
    """Where a text belongs: at an event that ``is_it`` knows, the first of them or a later one."""

    is_it: Callable[[Event | Derived], bool]
    heading: str
    text: str
    number: int = 0


class Staged(Struct, frozen=True):
    """A scenario that the simulator runs.

    Attributes:
        name: on the command line.
        title: a few words.
        summary: a sentence or two.
        things: object classes and functions.
        script: the calls.
        clients: names of the clients.
        seed: of all randomness.
        cues: texts; those with a number belong to a row of the table.
        rows: texts by row of the table.
        liars: servers that lie, and how.
        faults: what goes wrong.
        weather: see :class:`~fivefold.simulation.Weather`.
        until_ms: how much of the run is shown.
        value_of: what to show of versions.
        cluster: n, t and b.
        helping: clients that help each other.
    """

    name: str
    title: str
    summary: str
    things: tuple[object, ...]
    script: tuple[Line, ...]
    clients: tuple[str, ...] = ("X", "Y")
    seed: int = 1
    cues: tuple[Cue, ...] = ()
    rows: tuple[Note, ...] = ()
    liars: tuple[tuple[int, str], ...] = ()
    faults: tuple[Fault, ...] = ()
    weather: Weather = STEADY
    until_ms: float = 1000.0
    value_of: Tells | None = None
    cluster: tuple[int, int, int] = (6, 1, 1)
    helping: frozenset[int] = frozenset()


def stage(staged: Staged) -> Recording:
    """Run it; what happens after everything is healed is left out."""
    registry = Registry(*staged.things)
    n, t, b = staged.cluster
    plan = Plan(
        seed=staged.seed,
        profile=staged.name,
        n=n,
        t=t,
        b=b,
        clients=len(staged.clients),
        liars=staged.liars,
        weather=staged.weather,
        faults=staged.faults,
        calls=tuple(_planned(registry, number, line) for number, line in enumerate(staged.script)),
        safety_ns=int(staged.until_ms * MILLISECOND),
        helping=staged.helping,
    )
    report = run_plan(plan, _workload(registry, plan, staged.script), is_traced=True)
    assert report.failure is None, f"{staged.name} fails: {report.failure}"
    names = [*staged.clients, "probe"]  # the simulator adds a client, which comes last
    events = until_healed(report.events)
    return Recording(
        name=staged.name,
        title=staged.title,
        summary=staged.summary,
        command=f"fivefold play {staged.name}",
        quorums=QuorumSystem(n, t, b),
        clients=tuple((name, client_id(f"c{index}")) for index, name in enumerate(names)),
        liars=frozenset(server for server, _ in staged.liars),
        events=events,
        notes=(*staged.rows, *(_cued(cue, events) for cue in staged.cues)),
        value_of=staged.value_of,
    )


def _planned(registry: Registry, number: int, line: Line) -> PlannedCall:
    objects = tuple(map(ObjectId, line.objects))
    return PlannedCall(
        number=number,
        client=line.client,
        at_ns=int(line.at_ms * MILLISECOND),
        objects=line.objects,
        method=line.method,
        arguments=registry.encode_arguments(objects, line.method, (), line.arguments),
        is_query=not registry.find(objects, line.method).is_update,
        patience_ns=PATIENCE_NS,
    )


def _workload(registry: Registry, plan: Plan, script: Sequence[Line]) -> Workload:
    # The last client makes some of the calls again, under other numbers.
    shown = {(call.objects, call.arguments): line for call, line in zip(plan.calls, script, strict=True)}

    def arguments(call: PlannedCall) -> dict[str, object]:
        return dict(shown[call.objects, call.arguments].arguments)

    def answer(call: PlannedCall, data: bytes) -> tuple[Outcome, object]:
        try:
            return Outcome.OK, registry.decode_answer(tuple(map(ObjectId, call.objects)), call.method, data)
        except Rejected as rejection:
            return Outcome.REJECTED, type(rejection).__name__

    dotted = {name: READY_MADE[name.rpartition(".")[2]] for name in registry.functions}
    return Workload(registry, {**READY_MADE, **dotted}, arguments, answer)


def _cued(cue: Cue, events: Sequence[Happened]) -> Note:
    found = [each for each in events if cue.is_it(each.event)]
    assert len(found) > cue.number, f"nothing like {cue.heading!r} happens"
    return Note(found[cue.number].at_ns, cue.heading, cue.text, is_time=True)
