"""Makes a failing plan smaller: leaves out what the failure does not need (delta debugging)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from msgspec.structs import replace

from fivefold.simulation.plan import SECOND, Plan, Weather
from fivefold.simulation.run import raised, run_plan

T = TypeVar("T")
Fails = Callable[[Plan], bool]


def shrink(plan: Plan, *, budget_s: float = 60.0) -> Plan:
    """The smallest plan found that fails in the same way; ``plan`` itself if it does not fail.

    Args:
        plan: a plan that fails.
        budget_s: real time to spend at most.
    """
    wanted = _rule(plan)
    if not wanted:
        return plan
    end_s = time.monotonic() + budget_s

    def fails(smaller: Plan) -> bool:
        return time.monotonic() < end_s and _rule(smaller) == wanted

    before = None
    while before != plan and time.monotonic() < end_s:
        before = plan
        plan = _shrink_once(plan, fails)
    return plan


def _rule(plan: Plan) -> str:
    """The name of what goes wrong in a plan; empty if nothing does."""
    try:
        return run_plan(plan).rule
    except Exception as error:
        return raised(error)


def _shrink_once(plan: Plan, fails: Fails) -> Plan:
    """One attempt at everything that could be left out, the largest parts first."""
    for candidate in _simpler_surroundings(plan):
        if candidate != plan and fails(candidate):
            plan = candidate
    plan = replace(plan, villains=_without_needless(plan.villains, lambda rest: fails(replace(plan, villains=rest))))
    plan = replace(plan, liars=_without_needless(plan.liars, lambda rest: fails(replace(plan, liars=rest))))
    plan = replace(plan, faults=_without_needless(plan.faults, lambda rest: fails(replace(plan, faults=rest))))
    return replace(plan, calls=_without_needless(plan.calls, lambda rest: fails(replace(plan, calls=rest))))


def _simpler_surroundings(plan: Plan) -> Iterator[Plan]:
    weather = plan.weather
    yield replace(plan, weather=Weather())
    yield replace(plan, weather=replace(weather, loss=0.0))
    yield replace(plan, weather=replace(weather, repetition=0.0))
    yield replace(plan, weather=replace(weather, reordering=0.0))
    yield replace(plan, weather=replace(weather, resets=0.0))
    yield replace(plan, far_ns=())
    yield replace(plan, injected=0.0)
    yield replace(plan, villains=())
    yield replace(plan, leads=())
    yield replace(plan, liars=())
    yield replace(plan, dead=())
    begin_ns = [call.at_ns for call in plan.calls] + [fault.at_ns for fault in plan.faults]
    yield replace(plan, safety_ns=max([SECOND // 10, *(at_ns + 1 for at_ns in begin_ns)]))
    yield replace(plan, cached_objects_max=1000)


def _without_needless(parts: tuple[T, ...], fails: Callable[[tuple[T, ...]], bool]) -> tuple[T, ...]:
    """Leave out ever smaller pieces as long as the rest still fails."""
    size = max(1, len(parts) // 2)
    while parts:
        start = 0
        while start < len(parts):
            rest = parts[:start] + parts[start + size :]
            if fails(rest):
                parts = rest
            else:
                start += size
        if size == 1:
            break
        size //= 2
    return parts


def describe(plan: Plan) -> Sequence[str]:
    """The plan in lines for people."""
    lines = [
        f"seed {plan.seed} ({plan.profile}): n={plan.n} t={plan.t} b={plan.b}, {plan.clients} clients, "
        f"{plan.safety_ns / 1e9:g} s, {len(plan.calls)} calls, {len(plan.faults)} faults",
        f"weather: {plan.weather}",
    ]
    lines += [f"liar: server {index}, {strategy}" for index, strategy in plan.liars]
    lines += [f"villain: {strategy}" for strategy in plan.villains]
    lines += [f"led: {lead}" for lead in plan.leads]
    lines += [f"dead for good: {', '.join(map(str, plan.dead))}"] if plan.dead else []
    lines += [f"far: c{index} by {far_ns / 1e6:g} ms" for index, far_ns in enumerate(plan.far_ns) if far_ns]
    lines += [f"injected: exceptions in {plan.injected:.1%} of the inputs"] if plan.injected else []
    denied = ", ".join(f"{method} of c{client}" for client, method in plan.denied)
    lines += [f"other rules deny {denied}"] if denied else []
    lines += [f"older code lacks {', '.join(plan.unknown)}"] if plan.unknown else []
    lines += [f"fault: {fault}" for fault in plan.faults]
    return lines
