"""A run, written down before it starts: cluster, weather, faults and operations.

Everything that a seed decides is drawn into one frozen value, so that a failing run can be shrunk by leaving parts out.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from fivefold.protocol.limits import TIME_LEAD_MAX

MILLISECOND: Final = 1_000_000
"""In nanoseconds."""
SECOND: Final = 1000 * MILLISECOND
"""In nanoseconds."""

MOVES: Final = ("sealing", "death of mover", "opening")
"""Kinds of faults: what happens to a cluster that is moved."""


class Weather(Struct, frozen=True):
    """What happens to messages and disks all the time.

    Attributes:
        loss: share of frames lost.
        repetition: share of frames delivered twice.
        reordering: share of frames that later ones on the same connection may overtake.
        delay_ns: least time a frame takes.
        delay_spread_ns: most time on top of it; small values are the more likely ones.
        commit_ns: time of one group commit.
        load_ns: time to read one object.
        resets: share of the frames from clients on whose arrival their connection breaks.
    """

    loss: float = 0.0
    repetition: float = 0.0
    reordering: float = 0.0
    delay_ns: int = 100_000
    delay_spread_ns: int = 200_000
    commit_ns: int = 500_000
    load_ns: int = 200_000
    resets: float = 0.0

    def __str__(self) -> str:
        """As in ``loss 12.3%, delay 0.1 to 20.1 ms, commits 0.5 ms, loads 0.2 ms``."""
        shares = (
            ("loss", self.loss),
            ("repetition", self.repetition),
            ("reordering", self.reordering),
            ("resets", self.resets),
        )
        parts = [f"{name} {share:.1%}" for name, share in shares if share]
        longest_ns = self.delay_ns + self.delay_spread_ns
        parts.append(f"delay {self.delay_ns / MILLISECOND:g} to {longest_ns / MILLISECOND:g} ms")
        parts += [f"commits {self.commit_ns / MILLISECOND:g} ms", f"loads {self.load_ns / MILLISECOND:g} ms"]
        return ", ".join(parts)


class Fault(Struct, frozen=True):
    """One thing that goes wrong.

    Attributes:
        kind: a name of :mod:`fivefold.simulation.faults`.
        at_ns: when it begins.
        lasts_ns: for how long.
        targets: indices of servers, or of clients for faults of clients; for *camp* a client, then the servers that it
            cannot reach.
    """

    kind: str
    at_ns: int
    lasts_ns: int
    targets: tuple[int, ...]

    def __str__(self) -> str:
        """As in ``crash of 3 at 120 ms for 50 ms``."""
        who = ", ".join(map(str, self.targets))
        return f"{self.kind} of {who} at {self.at_ns / 1e6:g} ms for {self.lasts_ns / 1e6:g} ms"


class PlannedCall(Struct, frozen=True):
    """One operation of a correct client.

    Attributes:
        number: its place in the plan; unique.
        client: index of the client.
        at_ns: when it is called.
        objects: ids, in parameter order.
        method: a method of the workload's executor.
        arguments: encoded map of parameters.
        is_query: whether it only reads.
        patience_ns: from the call to its deadline.
    """

    number: int
    client: int
    at_ns: int
    objects: tuple[str, ...]
    method: str
    arguments: bytes
    is_query: bool
    patience_ns: int


class Lead(Struct, frozen=True):
    """A clock that was led on before the run.

    Attributes:
        object_id: whose clock.
        time: of the barrier that its servers hold.
        servers: their indices.
    """

    object_id: str
    time: int
    servers: tuple[int, ...]

    def __str__(self) -> str:
        """As in ``Counter/a by 2.5 leads on 0, 1``."""
        return f"{self.object_id} by {self.time / TIME_LEAD_MAX:.4g} leads on {', '.join(map(str, self.servers))}"


class Plan(Struct, frozen=True):
    """One run.

    Attributes:
        seed: of all streams of randomness.
        profile: what it was drawn by.
        n: servers.
        t: faulty servers tolerated.
        b: malevolent servers tolerated.
        clients: correct clients.
        liars: malevolent servers, with the names of their strategies.
        villains: strategies of malevolent clients.
        weather: see :class:`Weather`.
        faults: what goes wrong when.
        calls: what the correct clients do.
        safety_ns: length of the first phase; then everything is healed but the liars.
        dead: servers that stay down in the second phase too.
        cached_objects_max: how many objects a server keeps in memory.
        far_ns: for each correct client, how much longer its frames take each way; none stands for no time.
        injected: share of the inputs of benign servers in which our own code raises an exception.
        denied: what servers with other rules deny: pairs of correct client and method.
        unknown: methods that servers with older code do not have.
        unverified_max: candidates of one client that a server may have open; None where servers verify nothing.
        leads: clocks that were led on before.
        is_judged: whether clients' waiting, servers' memory and whom clients suspect are judged, too.
        is_handed_on: whether servers ask each other for a newer edition of the cluster file.
        helping: correct clients that take part in helping.
        successor: n, t and b of the cluster to which a sealed one hands over; empty if it is opened again.
    """

    seed: int
    profile: str
    n: int
    t: int
    b: int
    clients: int
    liars: tuple[tuple[int, str], ...] = ()
    villains: tuple[str, ...] = ()
    weather: Weather = Weather()
    faults: tuple[Fault, ...] = ()
    calls: tuple[PlannedCall, ...] = ()
    safety_ns: int = 2 * SECOND
    dead: tuple[int, ...] = ()
    cached_objects_max: int = 1000
    far_ns: tuple[int, ...] = ()
    injected: float = 0.0
    denied: tuple[tuple[int, str], ...] = ()
    unknown: tuple[str, ...] = ()
    unverified_max: int | None = None
    leads: tuple[Lead, ...] = ()
    is_judged: bool = False
    is_handed_on: bool = True
    helping: frozenset[int] = frozenset()
    successor: tuple[int, ...] = ()

    @property
    def is_noisy(self) -> bool:
        """Whether servers compute different results in it: then versions may differ, and clients hear of it."""
        return any(fault.kind == "other results" for fault in self.faults)

    @property
    def is_moved(self) -> bool:
        """Whether somebody seals the cluster in it."""
        return any(fault.kind in MOVES for fault in self.faults)

    @property
    def tolerated(self) -> frozenset[str]:
        """What may happen to calls of correct clients in it, as their hosts know it."""
        kinds = {fault.kind for fault in self.faults}
        found = {"disagreed"} if self.is_noisy else set()
        found |= {"refused"} if kinds & {"other rules", "older code", "stopped methods"} else set()
        return frozenset(found if self.is_judged else found | {"late"})


def one_of_each(calls: tuple[PlannedCall, ...]) -> list[PlannedCall]:
    """For each object the first update and the first query that there are for it."""
    first: dict[tuple[str, bool], PlannedCall] = {}
    for call in calls:
        for name in call.objects:
            first.setdefault((name, call.is_query), call)
    return list({call.number: call for _, call in sorted(first.items(), key=lambda item: item[0])}.values())


LIVENESS_ROUNDS: Final = 600
"""Rounds after healing by which every call of a correct client must have ended; a round is the longest there is."""

LIVENESS_NS_MIN: Final = 120 * SECOND
"""Where rounds are short, pauses between attempts are what takes time: then the bound is this."""


def liveness_ns(weather: Weather, far_ns: int = 0) -> int:
    """Virtual time after healing by which every operation of a correct client must have ended."""
    return max(LIVENESS_NS_MIN, LIVENESS_ROUNDS * round_ns(weather, far_ns))


def round_ns(weather: Weather, far_ns: int = 0) -> int:
    """The longest round that there is."""
    return 2 * (weather.delay_ns + weather.delay_spread_ns + far_ns) + weather.commit_ns
