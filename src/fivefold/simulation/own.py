"""Simulate your own objects: their workload under faults and lies, with every invariant checked.

Example:
    >>> from random import Random
    >>> from fivefold.objects import Counter
    >>> from fivefold.simulation import Step, simulate
    >>> def workload(random: Random) -> Step:
    ...     if random.random() < 0.5:
    ...         return Step(("Counter/hits",), "get")
    ...     return Step(("Counter/hits",), "increment", {"by": random.randint(1, 9)})
    >>> simulate(Counter, workload=workload, seed=7).failure is None
    True
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random

from msgspec import Struct
from msgspec.structs import replace

from fivefold.checker import READY_MADE, Models, Outcome
from fivefold.errors import Rejected
from fivefold.objects import Registry
from fivefold.protocol.operations import ObjectId
from fivefold.simulation.draw import draw
from fivefold.simulation.plan import MILLISECOND, PlannedCall
from fivefold.simulation.run import Report, run_plan
from fivefold.simulation.workload import Workload


class Step(Struct, frozen=True):
    """One call of a workload.

    Attributes:
        objects: ids of its objects, in parameter order.
        method: a method of the object, or the dotted name of a function over several objects.
        arguments: plain arguments by name.
    """

    objects: tuple[str, ...]
    method: str
    arguments: Mapping[str, object] = {}


def simulate(
    *things: object,
    workload: Callable[[Random], Step],
    seed: int,
    profile: str = "swarm",
    operations_count: int = 50,
    models: Models = READY_MADE,
    is_traced: bool = False,
) -> Report:
    """Run your objects through the cluster, the faults and the lies of one seed.

    Args:
        things: Object classes, marked functions, or modules that hold them.
        workload: makes one call from a source of randomness; called ``operations_count`` times.
        seed: decides everything that is random.
        profile: how cluster and faults are drawn: calm, contended, swarm or byzantine.
        operations_count: calls to make.
        models: sequential models of your types for the history checker; answers of types without one are not checked.
        is_traced: whether the report has the events of the run, and its trace.

    Returns:
        The report; its ``failure`` is None if every invariant held and every call ended.

    Raises:
        ConfigurationError: one of the things cannot be replicated.
        CallerError: the workload makes a call that the objects do not have.
    """
    registry = Registry(*things)
    random = Random(f"own/{seed}")
    steps = [workload(random) for _ in range(operations_count)]
    base = draw(seed, profile)
    calls = tuple(_planned(registry, base.clients, base.safety_ns, random, at, step) for at, step in enumerate(steps))
    # Malevolent clients call methods of the simulator's own objects; here they can only repair.
    plan = replace(base, calls=calls, villains=tuple("barriers" for _ in base.villains))
    # The last client makes some of the calls again, under other numbers.
    shown = {(call.objects, call.method, call.arguments): step for call, step in zip(calls, steps, strict=True)}

    def arguments(call: PlannedCall) -> dict[str, object]:
        return dict(shown[call.objects, call.method, call.arguments].arguments)

    def answer(call: PlannedCall, data: bytes) -> tuple[Outcome, object]:
        try:
            return Outcome.OK, registry.decode_answer(tuple(map(ObjectId, call.objects)), call.method, data)
        except Rejected as rejection:
            return Outcome.REJECTED, type(rejection).__name__

    # On the wire functions have dotted names, models are named by the last part.
    dotted = {name: models[name.rpartition(".")[2]] for name in registry.functions if name.rpartition(".")[2] in models}
    return run_plan(plan, Workload(registry, {**models, **dotted}, arguments, answer), is_traced=is_traced)


def _planned(registry: Registry, clients: int, safety_ns: int, random: Random, number: int, step: Step) -> PlannedCall:
    objects = tuple(map(ObjectId, step.objects))
    return PlannedCall(
        number=number,
        client=random.randrange(clients),
        at_ns=random.randrange(safety_ns),
        objects=step.objects,
        method=step.method,
        arguments=registry.encode_arguments(objects, step.method, (), step.arguments),
        is_query=not registry.find(objects, step.method).is_update,
        patience_ns=random.choice((150, 600, 2000, 5000)) * MILLISECOND,
    )
