"""How seeds of the modes that attack are drawn: camps, hostile clients, rolling changes, injected exceptions."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import Random
from typing import Final

from msgspec.structs import replace

from fivefold.protocol.quorums import QuorumSystem
from fivefold.simulation.announcers import ANNOUNCING
from fivefold.simulation.cunning import REPENTING
from fivefold.simulation.faults import CAMP, TURNING
from fivefold.simulation.hostile import CARRYING, HOSTILITIES, LEAVINGS, own_name
from fivefold.simulation.leads import draw_leads
from fivefold.simulation.liars import CUNNING_STRATEGIES, MISLEADING
from fivefold.simulation.plan import MILLISECOND, SECOND, Fault, Plan, PlannedCall, Weather
from fivefold.simulation.villains import VILLAINIES
from fivefold.simulation.workload import draw_call

SHAPES: Final = ((4, 1, 0), (5, 1, 0), (6, 1, 1), (6, 1, 1), (6, 1, 1), (7, 1, 1), (9, 2, 1), (11, 2, 2))
"""Clusters (n, t, b)."""

SUCCESSORS: Final = ((), (), (4, 1, 0), (6, 1, 1), (9, 2, 1), (11, 2, 2))
"""To which clusters a sealed one hands over; the first two are opened again."""

UPDATES: Final = ("increment", "set", "bump", "move")


def draw_attack(seed: int, profile: str) -> Plan:
    """The plan of a seed of one of :data:`ATTACKS`."""
    random = Random(f"plan/{profile}/{seed}")
    n, t, b = random.choice(SHAPES)
    safety_ns = random.choice((1, 2, 3)) * SECOND
    clients = random.randint(2, 5)
    liars = tuple((i, random.choice(CUNNING_STRATEGIES)) for i in sorted(random.sample(range(n), random.randint(0, b))))
    plan = Plan(
        seed=seed,
        profile=profile,
        n=n,
        t=t,
        b=b,
        clients=clients,
        liars=liars,
        weather=_weather(random),
        calls=_calls(random, clients, safety_ns),
        safety_ns=safety_ns,
        is_judged=True,
    )
    plan = ATTACKS[profile](random, replace(plan, faults=_forgetting(random, plan)))
    # A newcomer is one of the t, and at the end it is to be in standing.
    return plan if profile == "replaced" else replace(plan, dead=_dead(random, plan))


def _dead(random: Random, plan: Plan) -> tuple[int, ...]:
    """Servers that stay down, so that t are faulty in all; where all liars repent, t beside them."""
    lying = [index for index, strategy in plan.liars if strategy not in REPENTING]
    is_repentant = bool(plan.liars) and not lying
    benign = sorted(set(range(plan.n)) - set(dict(plan.liars)))
    has_dead = random.random() < (0.7 if is_repentant else 0.2)
    return tuple(sorted(random.sample(benign, plan.t - (0 if is_repentant else len(plan.liars))))) if has_dead else ()


def _calls(random: Random, clients: int, safety_ns: int) -> tuple[PlannedCall, ...]:
    counters = [f"Counter/{name}" for name in "abcd"[: random.randint(1, 4)]]
    span_ns = safety_ns // random.choice((1, 1, 3, 10))
    some = partial(
        draw_call,
        random,
        clients=clients,
        counters=counters,
        safety_ns=span_ns,
        multi=random.choice((0.0, 0.0, 0.3, 0.6)),
        queries=random.choice((0.1, 0.3, 0.6)),
    )
    return tuple(some(number) for number in range(random.randint(15, 60)))


def _weather(random: Random) -> Weather:
    return Weather(
        loss=random.choice((0.0, 0.0, 0.02, 0.1)),
        delay_ns=random.choice((50_000, 100_000, 1_000_000)),
        delay_spread_ns=random.choice((100_000, 1_000_000, 20_000_000)),
        commit_ns=random.choice((0, 300_000, 5_000_000)),
        load_ns=random.choice((200_000, 2_000_000)),
    )


def _forgetting(random: Random, plan: Plan) -> tuple[Fault, ...]:
    """When liars lose their memory."""
    who = [index for index, strategy in plan.liars if strategy == "forgetting"]
    return tuple(Fault("forgetting", random.randrange(plan.safety_ns), 0, (i,)) for i in who for _ in range(6))


def _some(random: Random, plan: Plan, kinds: tuple[str, ...], most: int) -> tuple[Fault, ...]:
    """A few faults of at most t servers at once, liars among them, or of clients."""
    faults = list(plan.faults)
    free = plan.t - len(plan.liars)
    benign = sorted(set(range(plan.n)) - set(dict(plan.liars)))
    for _ in range(random.randint(0, most)):
        kind = random.choice(kinds)
        if kind == "death of client":
            targets = [random.randrange(plan.clients)]
        else:
            targets = sorted(random.sample(benign, max(1, free)))
        lasts_ns = random.choice((5, 30, 100, 500)) * MILLISECOND
        faults.append(Fault(kind, random.randrange(plan.safety_ns), lasts_ns, tuple(targets)))
    return tuple(sorted(faults, key=lambda fault: fault.at_ns))


def _hiding(random: Random, plan: Plan) -> list[Fault]:
    """Camps that change: each client sees some servers, or all, for a while."""
    q = QuorumSystem(plan.n, plan.t, plan.b).q
    faults: list[Fault] = []
    at_ns = 0
    while at_ns < plan.safety_ns:
        lasts_ns = random.choice((50, 200, 500, 2000)) * MILLISECOND
        camps = [random.sample(range(plan.n), plan.n - random.choice((q, q, q - 1, plan.n))) for _ in range(3)]
        for client in range(plan.clients):
            hidden = random.choice(camps)
            if hidden:
                faults.append(Fault(CAMP, at_ns, lasts_ns, (client, *sorted(hidden))))
        at_ns += lasts_ns
    return faults


def _camps(random: Random, plan: Plan) -> Plan:
    """Clients see different servers, some from far away; connections break on what arrives."""
    faults = _hiding(random, plan)
    some = _some(random, plan, ("crash", "pause", "reset connections", "death of client"), 6)
    far = tuple(random.choice((0, 0, 10, 50, 100)) * MILLISECOND for _ in range(plan.clients))
    return replace(
        plan,
        weather=replace(plan.weather, resets=random.choice((0.0, 0.01, 0.05, 0.2))),
        faults=tuple(sorted([*faults, *some], key=lambda fault: fault.at_ns)),
        far_ns=far if random.random() < 0.6 else (),
    )


def _hostile(random: Random, plan: Plan) -> Plan:
    """Malevolent clients that use whatever requests may carry, and servers that flood others."""
    villains = tuple(random.choice(HOSTILITIES) for _ in range(random.choice((1, 1, 2, 3))))
    faults = _some(random, plan, ("crash", "pause", "slow disk", "death of client"), 4)
    if random.random() < 0.15:  # as many as fill a ring with their last operations, while clients are away
        villains = ("batching",) * 5
        faults += tuple(_hiding(random, plan))
    if plan.liars and random.random() < 0.3:
        at_ns = random.randrange(plan.safety_ns)
        faults += (Fault("slow disk", at_ns, 300 * MILLISECOND, tuple(range(plan.n))),)
        faults += (Fault("flood of syncs", at_ns, 0, (plan.liars[0][0],)),)
    return replace(plan, villains=villains, faults=tuple(sorted(faults, key=lambda fault: fault.at_ns)))


def _leaving(random: Random, plan: Plan) -> Plan:
    """Malevolent clients that leave their updates to others, beside servers that verify and repair."""
    villains = tuple(random.choice(LEAVINGS) for _ in range(random.choice((1, 1, 2, 3))))
    faults = _some(random, plan, ("crash", "pause", "slow disk", "death of client"), 3)
    cached_max = random.choice((7, 1000))
    return replace(
        plan, villains=villains, faults=faults, unverified_max=random.choice((2, 4, 8)), cached_objects_max=cached_max
    )


def _rolling(random: Random, plan: Plan) -> Plan:
    """Rules and code reach servers one after the other; methods are stopped on some."""
    faults = list(_some(random, plan, ("crash", "pause", "death of client"), 3))
    for _ in range(random.randint(1, 4)):
        kinds = ("other rules", "other rules", "older code", "older code", "stopped methods", "stopped methods")
        kind = random.choice((*kinds, "other results"))
        at_ns, gap_ns = random.randrange(plan.safety_ns), random.choice((5, 50, 200)) * MILLISECOND
        lasts_ns = random.choice((20, 200, 1000)) * MILLISECOND
        count = plan.n if kind in ("other rules", "older code") else random.randint(1, plan.n - 1)
        for step, server in enumerate(random.sample(range(plan.n), count)):
            faults.append(Fault(kind, at_ns + step * gap_ns, lasts_ns, (server,)))
    denied = [(client, method) for client in range(plan.clients) for method in UPDATES if random.random() < 0.5]
    return replace(
        plan,
        faults=tuple(sorted((f for f in faults if f.at_ns < plan.safety_ns), key=lambda fault: fault.at_ns)),
        denied=tuple(denied),
        unknown=tuple(method for method in UPDATES if random.random() < 0.5),
    )


def _clocks(random: Random, plan: Plan) -> Plan:
    """Clocks that were led on before the run, far or a little apart; clients that lead them on and carry them."""
    villains = tuple(random.choice((CARRYING, CARRYING, "leading")) for _ in range(random.choice((0, 1, 1, 2))))
    objects = {name for call in plan.calls for name in call.objects}
    counters = sorted(name for name in objects if name.startswith("Counter/"))
    own = map(own_name, range(len(villains)))
    honest = sorted(set(range(plan.n)) - set(dict(plan.liars)))
    leads = draw_leads(random, QuorumSystem(plan.n, plan.t, plan.b), honest, own=own, counters=counters)
    faults = _some(random, plan, ("crash", "pause", "slow disk", "death of client"), 4)
    return replace(plan, villains=villains, leads=tuple(leads), faults=faults)


def _injected(random: Random, plan: Plan) -> Plan:
    """Our own code raises where it never should."""
    return replace(
        plan,
        injected=random.choice((0.002, 0.01, 0.05)),
        cached_objects_max=random.choice((7, 1000)),
        faults=_some(random, plan, ("crash", "pause", "slow disk", "death of client"), 4),
    )


def _replaced(random: Random, plan: Plan) -> Plan:
    """Servers are replaced, once or more often, and the others are told one after the other, some not at all."""
    faults = list(_some(random, plan, ("crash", "crash", "pause", "slow disk", "isolation", "death of client"), 8))
    if random.random() < 0.4:
        faults += _hiding(random, plan)
    kinds = ("replacement", "replacement", "replacement of a running server")
    at_ns = random.randrange(plan.safety_ns // 4)
    # Mostly the liar, if there is one: it is what operators replace.
    liars = tuple((server, strategy) for server, strategy in plan.liars if strategy != "twins")
    first = random.choice([*dict(liars), *dict(liars), random.randrange(plan.n)])
    slots = [first, *random.choice(([], [], [first], [random.randrange(plan.n)]))]
    for slot in slots:
        faults.append(Fault(random.choice(kinds), at_ns, 0, (slot,)))
        span_ns = random.choice((10, 100, 500)) * MILLISECOND
        told = random.sample(range(plan.n), random.choice((plan.n, plan.n, plan.n - 1, plan.n - 2, plan.b + 1)))
        faults += [Fault("telling", at_ns + 1 + random.randrange(span_ns), 0, (server,)) for server in told]
        if random.random() < 0.5:
            begins_ns = at_ns + random.randrange(span_ns)
            faults.append(Fault("crash", begins_ns, random.choice((5, 30, 100)) * MILLISECOND, (slot,)))
        at_ns += random.randrange(plan.safety_ns // 4)
    if liars and random.random() < 0.5:
        other = random.choice([server for server in range(plan.n) if server not in dict(liars)])
        turns_ns = (random.randrange(at_ns, plan.safety_ns) for _ in range(8))
        faults += [Fault(TURNING, turn_ns, 0, (other,)) for turn_ns in turns_ns]
    return replace(
        plan,
        faults=tuple(sorted((f for f in faults if f.at_ns < plan.safety_ns), key=lambda fault: fault.at_ns)),
        liars=liars,
        villains=tuple(random.choice(VILLAINIES) for _ in range(random.choice((0, 0, 1, 2)))),
        cached_objects_max=random.choice((7, 1000)),
        is_handed_on=random.random() < 0.5,
    )


def _helping(random: Random, plan: Plan) -> Plan:
    """Many clients on one or two counters, near and far, all or most of which help each other; and some that harm."""
    clients = random.choice((2, 3, 5, 8))
    is_calm = random.random() < 0.3
    counters = [f"Counter/{name}" for name in "ab"[: random.choice((1, 1, 2))]]
    span_ns = plan.safety_ns // random.choice((3, 10, 30))
    calls = []
    for number in range(random.randint(20, 90)):
        call = draw_call(
            random,
            number,
            clients=clients,
            counters=counters,
            safety_ns=span_ns,
            multi=random.choice((0, 0, 0.1)),
            queries=0.1,
        )
        if call.method == "increment" and random.random() < 0.4:
            call = replace(call, method="take")
        calls.append(call)
    far = tuple(random.choice((0, 0, 10, 50)) * MILLISECOND for _ in range(clients))
    strategies = (*CUNNING_STRATEGIES, MISLEADING, MISLEADING, MISLEADING)
    liars = () if is_calm else tuple((index, random.choice(strategies)) for index, _ in plan.liars)
    plan = replace(
        plan,
        clients=clients,
        calls=tuple(calls),
        liars=liars,
        faults=_forgetting(random, replace(plan, liars=liars)),
        far_ns=far if random.random() < 0.6 else (),
        helping=frozenset(range(clients + 1)) - (frozenset() if random.random() < 0.7 else frozenset({0})),
        weather=Weather() if is_calm else plan.weather,
    )
    if is_calm:
        return plan
    kinds = ("crash", "pause", "slow disk", "death of client", "reset connections")
    faults = _some(random, plan, kinds, 6)
    villains = tuple(random.choice(ANNOUNCING) for _ in range(random.choice((0, 1, 1, 2))))
    return replace(plan, villains=villains, faults=faults, cached_objects_max=random.choice((7, 1000)))


def _moved(random: Random, plan: Plan) -> Plan:
    """A cluster is sealed, its servers are told one by one, and a mover copies it; it is given up, or hands over."""
    faults = list(_some(random, plan, ("crash", "crash", "pause", "slow disk", "isolation", "death of client"), 6))
    at_ns = random.randrange(plan.safety_ns // 3)
    q = QuorumSystem(plan.n, plan.t, plan.b).q
    for turn in range(random.choice((1, 1, 2))):
        for kind in ("opening", "sealing") if turn else ("sealing",):
            faults.append(Fault(kind, at_ns, 0, (0,)))
            span_ns = random.choice((5, 50, 300)) * MILLISECOND
            told = random.sample(range(plan.n), random.choice((plan.n, plan.n, q, q, plan.b + 1)))
            faults += [Fault("telling", at_ns + 1 + random.randrange(span_ns), 0, (server,)) for server in told]
            at_ns += random.randrange(plan.safety_ns // 3)
    if random.random() < 0.4:
        faults += [Fault("death of mover", random.randrange(plan.safety_ns), 0, (0,)) for _ in range(2)]
    kept = {
        "villains": tuple(random.choice(VILLAINIES) for _ in range(random.choice((0, 0, 1, 2)))),
        "cached_objects_max": random.choice((7, 1000)),
        "is_handed_on": random.random() < 0.5,
        "successor": random.choice(SUCCESSORS),
    }
    for client in random.sample(range(plan.clients), min(plan.clients, random.choice((0, 0, 1, 2)))):
        camp = (client, *random.sample(range(plan.n), random.choice((1, 1, 2))))
        lasts_ns = random.choice((100, 400, 1000)) * MILLISECOND
        faults.append(Fault(CAMP, random.randrange(plan.safety_ns), lasts_ns, camp))
    faults = sorted((f for f in faults if f.at_ns < plan.safety_ns), key=lambda fault: fault.at_ns)
    return replace(plan, faults=tuple(faults), **kept)


ATTACKS: Final[dict[str, Callable[[Random, Plan], Plan]]] = {
    "camps": _camps,
    "hostile": _hostile,
    "leaving": _leaving,
    "clocks": _clocks,
    "rolling": _rolling,
    "injected": _injected,
    "replaced": _replaced,
    "helping": _helping,
    "moved": _moved,
}
"""What each mode adds to a plan."""
