"""From a seed to a plan: every seed is another cluster, another weather, another set of faults (swarm testing)."""

from __future__ import annotations

from functools import partial
from random import Random
from typing import Final

from msgspec.structs import replace

from fivefold.protocol.limits import OPERATION_OBJECTS_MAX
from fivefold.simulation.alphabets import ATTACKS, draw_attack
from fivefold.simulation.liars import STRATEGIES
from fivefold.simulation.plan import MILLISECOND, SECOND, Fault, Plan, PlannedCall, Weather
from fivefold.simulation.villains import VILLAINIES
from fivefold.simulation.workload import draw_call

PROFILES: Final = ("calm", "contended", "swarm", "byzantine", "joint", *ATTACKS)
"""Names of ways to draw."""

WIDE_NAMES: Final = "abcdefghijklmnopqrst"
"""Counters of which the widest operations take 16."""
WIDE_OBJECTS_COUNT: Final = len(WIDE_NAMES)

SHAPES: Final = (
    (4, 1, 0),
    (4, 1, 0),
    (5, 1, 0),
    (7, 2, 0),
    (6, 1, 1),
    (6, 1, 1),
    (6, 1, 1),
    (7, 1, 1),
    (9, 2, 1),
    (11, 2, 2),
)
"""Clusters (n, t, b); small ones are met more often."""


def draw(seed: int, profile: str = "swarm") -> Plan:
    """The plan of a seed."""
    if profile in ATTACKS:
        return draw_attack(seed, profile)
    random = Random(f"plan/{profile}/{seed}")
    n, t, b = random.choice(SHAPES)
    safety_ns = random.choice((1, 2, 3)) * SECOND
    clients = random.randint(1, 5)
    calls = _draw_calls(random, clients, safety_ns, profile)
    is_calm = profile in ("calm", "contended")
    is_hostile = profile == "byzantine" or (profile == "swarm" and random.random() < 0.5)
    liars = tuple((i, random.choice(STRATEGIES)) for i in sorted(random.sample(range(n), random.randint(0, b))))
    villains = tuple(random.choice(VILLAINIES) for _ in range(random.choice((0, 1, 1, 2))))
    dead_max = t - len(liars) if is_hostile else t
    benign = sorted(set(range(n)) - {index for index, _ in liars if is_hostile})
    has_dead = not is_calm and random.random() < 0.4
    return Plan(
        seed=seed,
        profile=profile,
        n=n,
        t=t,
        b=b,
        clients=clients,
        weather=Weather() if is_calm else _draw_weather(random),
        faults=() if is_calm else _draw_faults(random, n, t, clients, safety_ns),
        calls=calls,
        safety_ns=safety_ns,
        liars=liars if is_hostile else (),
        villains=villains if is_hostile else (),
        dead=tuple(sorted(random.sample(benign, random.randint(0, dead_max)))) if has_dead else (),
        # As few as one request can name, or all: with fewer, its objects would drive each other out for ever.
        cached_objects_max=random.choice((WIDE_OBJECTS_COUNT if profile == "joint" else 7, 1000)),
    )


def _draw_calls(random: Random, clients: int, safety_ns: int, profile: str) -> tuple[PlannedCall, ...]:
    counters = [f"Counter/{name}" for name in "abcdef"[: random.randint(1, 6)]]
    count = random.randint(20, 80)
    is_joint = profile == "joint"
    multi = random.choice((0.3, 0.6, 1.0) if is_joint else (0.0, 0.0, 0.3, 0.6, 1.0))
    queries = random.choice((0.1, 0.3, 0.6))
    # Contention: everything within a short while, or spread over the whole phase.
    span_ns = safety_ns // (20 if profile == "contended" else random.choice((1, 1, 3, 10)))
    is_chain = is_joint and random.random() < 0.5
    some = partial(draw_call, random, clients=clients, safety_ns=span_ns, queries=queries)
    calls = [some(number, counters=counters, multi=multi, is_chain=is_chain) for number in range(count)]
    for number in range(count, count + random.randint(1, 2) if is_joint else count):
        # The widest there may be: over as many objects as one operation can have, those above among them.
        wide = random.sample([f"Counter/{name}" for name in WIDE_NAMES], OPERATION_OBJECTS_MAX)
        calls.append(replace(some(number, counters=wide, multi=1.0), objects=tuple(wide)))
    return tuple(calls)


def _draw_weather(random: Random) -> Weather:
    def maybe(chance: float, most: float) -> float:
        return random.random() * most if random.random() < chance else 0.0

    return Weather(
        loss=maybe(0.5, 0.2),
        repetition=maybe(0.3, 0.1),
        reordering=maybe(0.3, 0.2),
        delay_ns=random.choice((50_000, 100_000, 1_000_000)),
        delay_spread_ns=random.choice((100_000, 1_000_000, 20_000_000, 200_000_000)),
        commit_ns=random.choice((0, 300_000, 500_000, 5_000_000)),
        load_ns=random.choice((0, 200_000, 2_000_000)),
    )


KINDS: Final = (
    "crash",
    "crash",
    "pause",
    "full disk",
    "slow disk",
    "deafness",
    "muteness",
    "isolation",
    "reset connections",
    "death of client",
)


def _draw_faults(random: Random, n: int, t: int, clients: int, safety_ns: int) -> tuple[Fault, ...]:
    kinds = random.sample(KINDS, random.randint(1, 5))
    faults = []
    for _ in range(random.randint(0, 25)):
        kind = random.choice(kinds)
        if kind == "death of client":
            targets = [random.randrange(clients)]
        else:
            # Seldom more than t at once: then nothing completes, and nothing may break.
            targets = sorted(random.sample(range(n), n if random.random() < 0.05 else random.randint(1, max(1, t))))
        lasts_ns = random.choice((5, 30, 100, 500, 1500)) * MILLISECOND
        faults.append(Fault(kind, random.randrange(safety_ns), lasts_ns, tuple(targets)))
    return tuple(sorted(faults, key=lambda fault: fault.at_ns))
