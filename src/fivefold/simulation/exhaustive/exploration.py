"""Exhaustive exploration of small cases: every order in which a few requests can reach the servers.

A state is what the servers hold and the requests on their way. Two things can happen in it: a client sends a request
that shows what some servers hold now, and a request reaches a server. A request stays on its way for good, so late,
repeated and lost deliveries and clients that die are all in it. States that differ by the names of servers only are
one. *Depth* counts requests: all orders of all their deliveries are explored before one more request is.

Liars are among the servers that are shown: see :meth:`Explorer._lies`. Docs: internals/exploration.md.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations, product

from msgspec import Struct

from fivefold.protocol.history import decode_history, short
from fivefold.protocol.quorums import QuorumSystem
from fivefold.protocol.records import LogicalTimestamp
from fivefold.protocol.steps import Missing
from fivefold.simulation.chains import Chains, Violation
from fivefold.simulation.exhaustive.moves import Moves, Shape
from fivefold.simulation.rack import client_id

State = tuple[tuple[int, ...], tuple[int, ...]]
"""The holdings of the benign servers, and the requests on their way that can still change something, both in order."""
Past = tuple[State, tuple[int, int]] | None
"""The state before; the request by its number that was sent (-1) in it, or reached a server with that holding."""

CLIENTS = (client_id("X"), client_id("Y"))
"""Two clients; the timestamps of the second are the greater ones."""
VIOLATIONS_SHOWN = 3
"""Violations of which the schedule is kept."""
ROUNDS_MAX = 9
"""Requests in which a client that is alone must have repaired an object."""


class Case(Struct, frozen=True):
    """What is explored.

    Attributes:
        n: servers.
        t: faulty servers tolerated.
        b: servers that lie.
        objects_count: objects.
        requests_max: depth, in requests.
        is_hostile: whether clients also show fewer than q histories.
        is_mixed: whether the histories of each object may be those of other servers.
        probe_every: on every Nth state an isolated client tries a call; 0: on none.
    """

    n: int = 4
    t: int = 1
    b: int = 0
    objects_count: int = 2
    requests_max: int = 3
    is_hostile: bool = False
    is_mixed: bool = False
    probe_every: int = 50


class Budget(Struct, frozen=True):
    """When to stop although there is more to see."""

    states_max: int = 1_000_000
    seconds_max: float = 60.0


class Found(Struct, frozen=True):
    """A state that violates an invariant, and the shortest way there that was met."""

    what: str
    schedule: tuple[str, ...]


class Exploration(Struct):
    """What was seen.

    Attributes:
        case: what was explored.
        states: distinct states.
        transitions: steps between states.
        merged: steps that led to a state seen before.
        requests_done: all orders of that many requests were explored.
        is_exhausted: whether that is all of ``case.requests_max``.
        steps_max: the longest way to a state, in sendings and deliveries.
        probed: states from which an isolated client was let loose, times the objects.
        rounds_max: the most requests it needed.
        examined: distinct (holding, request) pairs that a production server was asked about.
        violations: the first few.
        violations_count: all of them; what comes after a violation is not explored.
        seconds: real time.
    """

    case: Case
    states: int = 0
    transitions: int = 0
    merged: int = 0
    requests_done: int = -1
    is_exhausted: bool = False
    steps_max: int = 0
    probed: int = 0
    rounds_max: int = 0
    examined: int = 0
    violations: list[Found] = []
    violations_count: int = 0
    seconds: float = 0.0

    def add(self, other: Exploration) -> None:
        """Take in what another exploration of the same case saw; states met by both count twice."""
        for name in ("states", "transitions", "merged", "probed", "violations_count", "seconds"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("steps_max", "rounds_max", "examined"):
            setattr(self, name, max(getattr(self, name), getattr(other, name)))
        self.requests_done = min(self.requests_done, other.requests_done)
        self.is_exhausted = self.is_exhausted and other.is_exhausted
        self.violations = [*self.violations, *other.violations][:VIOLATIONS_SHOWN]


class _OutOfBudget(Exception):
    """Ends an exploration."""


def _shapes(objects_count: int) -> dict[tuple[int, ...], list[Shape]]:
    """Everything a client can want, by the objects it has to do with."""
    sizes = range(1, objects_count + 1)
    groups = [group for size in sizes for group in combinations(range(objects_count), size)]
    return {
        group: [Shape(client, group, target) for client in CLIENTS for target in (None, *group)] for group in groups
    }


class Explorer:
    """One exploration.

    Attributes:
        moves: the tables, which explorations of one cluster can share.
        old: for each object, histories shown in requests of the past, which clients may show again.
    """

    def __init__(self, case: Case, budget: Budget | None = None, moves: Moves | None = None) -> None:
        """Nothing seen yet."""
        self.case = case
        self.quorums = QuorumSystem(case.n, case.t, case.b)
        self.moves = moves or Moves(self.quorums, case.objects_count)
        self.result = Exploration(case, violations=[])
        self.old: Sequence[frozenset[tuple[int, ...]]] = (frozenset(),) * case.objects_count
        self._budget = budget or Budget()
        self._seen: dict[State, Past] = {}
        self._steps: dict[State, int] = {}
        self._requests: dict[tuple[tuple[int, ...], ...], tuple[int, ...]] = {}
        self._verdicts: dict[tuple[int, ...], Violation | None] = {}
        self._accepted_numbers: dict[object, int] = {}
        self._accepted: list[int] = []
        self._shapes = _shapes(case.objects_count)

    @property
    def start(self) -> State:
        """Nobody has done anything."""
        return ((0,) * (self.case.n - self.case.b), ())

    def run(self, starts: Iterable[State] = ()) -> Exploration:
        """Explore from the start, or from the given states."""
        began_s = time.monotonic()
        self._deadline_s = began_s + self._budget.seconds_max
        frontier = []
        for state in starts or (self.start,):
            if state not in self._seen:
                self._seen[state], self._steps[state] = None, 0
                frontier.append(state)
        try:
            for requests in range(self.case.requests_max + 1):
                frontier = self._explore_level(frontier, self.case.requests_max - requests)
                self.result.requests_done = requests
            self.result.is_exhausted = True
        except _OutOfBudget:
            pass
        self.result.states, self.result.examined = len(self._seen), self.moves.examined
        self.result.steps_max = max(self._steps.values(), default=0)
        self.result.seconds = time.monotonic() - began_s
        return self.result

    # --- steps ------------------------------------------------------------------------------------------------

    def _explore_level(self, frontier: list[State], requests_left: int) -> list[State]:
        """Everything that deliveries lead to; what one more request leads to is left for the next level."""
        later: list[State] = []
        stack = frontier
        while stack:
            state = stack.pop()
            try:
                self._check(state)
                for after, what in self._deliveries(state, requests_left):
                    if self._is_new(state, after, what):
                        stack.append(after)
                if requests_left:
                    later.extend(self._sendings(state, requests_left - 1))
            except (Violation, AssertionError) as violation:  # the server's assertions are invariants too
                self._note(state, str(violation))
        return later

    def _note(self, state: State, what: str) -> None:
        """A violation: counted, and what comes after it is not explored."""
        self.result.violations_count += 1
        if len(self.result.violations) < VIOLATIONS_SHOWN:
            self.result.violations.append(Found(what, self._schedule(state)))

    def _sendings(self, state: State, requests_left: int) -> Iterator[State]:
        """The new states that one more request leads to."""
        servers, pending = state
        for number in self.requests_from(servers):
            if number in pending or not (requests_left or self.moves.makes_version(number)):
                continue
            after = self.settle(servers, (*pending, number), requests_left)
            if after[1] != pending and self._is_new(state, after, (number, -1)):
                yield after

    def _deliveries(self, state: State, requests_left: int) -> Iterator[tuple[State, tuple[int, int]]]:
        servers, pending = state
        after = self.moves.after
        for number in pending:
            last = -1
            for place, holding in enumerate(servers):
                if holding == last:
                    continue
                last = holding
                changed = after(holding, number)
                if changed != holding:
                    servers_after = (*servers[:place], changed, *servers[place + 1 :])
                    yield self.settle(servers_after, pending, requests_left), (number, holding)

    def settle(self, servers: tuple[int, ...], pending: tuple[int, ...], requests_left: int) -> State:
        """The state in one writing: in order, and without requests that can change nothing that matters any more.

        No server will ever accept such a request again. Once the last request is sent, barriers count among them: they
        have no version, and only keep other requests from being accepted.
        """
        after = self.moves.after
        distinct = set(servers)
        alive = [
            each
            for each in pending
            if (requests_left or self.moves.makes_version(each))
            and any(after(holding, each) != holding for holding in distinct)
        ]
        return tuple(sorted(servers)), tuple(sorted(alive))

    def _is_new(self, before: State, state: State, what: tuple[int, int]) -> bool:
        result = self.result
        result.transitions += 1
        if state in self._seen:
            result.merged += 1
            return False
        self._seen[state] = (before, what)
        self._steps[state] = self._steps[before] + 1
        if len(self._seen) >= self._budget.states_max or (
            not len(self._seen) % 256 and time.monotonic() > self._deadline_s
        ):
            raise _OutOfBudget
        return True

    # --- what clients can send --------------------------------------------------------------------------------

    def requests_from(self, servers: tuple[int, ...]) -> tuple[int, ...]:
        """Every request that shows what servers hold now."""
        shown = tuple(sorted(map(self.moves.shown_by, servers)))
        found = self._requests.get(shown)
        if found is None:
            found = self._requests[shown] = tuple(sorted(self._requests_showing(shown)))
        return found

    def _requests_showing(self, benign: tuple[tuple[int, ...], ...]) -> set[int]:
        numbers = set()
        groups = set(self._groups(benign))
        for objects, shapes in self._shapes.items():
            views = {tuple(tuple(sorted(one[index] for one in group)) for index in objects) for group in groups}
            if self.case.is_mixed or any(self.old):
                each = [{view[place] for view in views} | self.old[index] for place, index in enumerate(objects)]
                views = set(product(*each))
            for shown in views:
                for shape in shapes:
                    number = self.moves.derive(shape, shown)
                    if isinstance(number, int):
                        numbers.add(number)
        return numbers

    def _groups(self, benign: tuple[tuple[int, ...], ...]) -> Iterator[tuple[tuple[int, ...], ...]]:
        """Servers to be shown: at least q of them, at least r if clients are hostile, liars among them."""
        least = self.quorums.r if self.case.is_hostile else self.quorums.q
        lies = self._lies(benign)
        for liars in range(self.case.b + 1):
            for size in range(max(least - liars, 0), len(benign) + 1):
                for honest in set(combinations(benign, size)):
                    for lie in combinations(lies, liars):
                        yield (*honest, *lie)

    def _lies(self, benign: tuple[tuple[int, ...], ...]) -> list[tuple[int, ...]]:
        """What a liar shows: nothing, or what some benign server holds, as it is or changed."""
        if not self.case.b:
            return []
        held = set(benign)
        changed = {self.moves.lie(how, one) for how in "*-+" for one in held}
        return sorted({(0,) * self.case.objects_count} | held | changed)

    # --- invariants -------------------------------------------------------------------------------------------

    def _check(self, state: State) -> None:
        """Every invariant, and for some states liveness.

        Raises:
            Violation: one does not hold.
        """
        servers = state[0]
        violation = self._verdict(servers)
        if violation is not None:
            raise violation
        if self.case.probe_every and hash(state) % self.case.probe_every == 0:
            self._probe(servers)

    def _verdict(self, servers: tuple[int, ...]) -> Violation | None:
        """What is wrong with what the servers have ever accepted; judged once for each distinct case."""
        while len(self._accepted) <= max(servers):
            accepted = self.moves.holding(len(self._accepted)).accepted
            self._accepted.append(self._accepted_numbers.setdefault(accepted, len(self._accepted_numbers)))
        key = tuple(sorted([self._accepted[holding] for holding in servers]))
        if key not in self._verdicts:
            self._verdicts[key] = self._judge(servers)
        return self._verdicts[key]

    def _judge(self, servers: tuple[int, ...]) -> Violation | None:
        try:
            chains = self._chains(servers)
            for index in range(self.case.objects_count):
                self._look_for_rivals(chains, index)
        except Violation as violation:
            return violation
        return None

    def _chains(self, servers: tuple[int, ...]) -> Chains:
        """What is established.

        Raises:
            Violation: an invariant of the chains does not hold.
        """
        chains = Chains(self.quorums, self.case.b)
        held = [self.moves.holding(holding).accepted for holding in servers]
        for index, name in enumerate(self.moves.names):
            for timestamp in sorted(frozenset().union(*(accepted[index] for accepted in held))):
                for server, accepted in enumerate(held):
                    if timestamp in accepted[index]:
                        chains.accept(server, name, self.moves.candidates[index][timestamp])
        return chains

    def _look_for_rivals(self, chains: Chains, index: int) -> None:
        """The lemma that the proof rests on: what can show r times above an established version descends from it."""
        name, candidates = self.moves.names[index], self.moves.candidates[index]
        chain = chains.of(name)
        for newest in sorted(chain.candidates):
            timestamp = LogicalTimestamp(newest)
            if chain.holders(newest).bit_count() < self.quorums.r - self.case.b:
                continue
            while timestamp > chain.tip and timestamp in candidates:
                timestamp = candidates[timestamp].part(name).conditioned_on
            if newest > chain.tip and chain.origin(timestamp) != chain.origin(chain.tip):
                raise Violation(
                    "rival",
                    f"rival on {name}: {short(LogicalTimestamp(newest))} can be repaired, but does not descend from "
                    f"the established {short(chain.tip)}",
                )

    def _probe(self, servers: tuple[int, ...]) -> None:
        """Liveness: a client that is alone repairs every object with q benign servers."""
        for target in range(self.case.objects_count):
            # Which servers are up differs from state to state: the first q after a shift.
            shift = sum(servers) % len(servers)
            group = [*servers[shift:], *servers[:shift]][: self.quorums.q]
            self.result.probed += 1
            rounds = self._repair(target, group)
            self.result.rounds_max = max(self.result.rounds_max, rounds)

    def _repair(self, target: int, group: list[int]) -> int:
        """Requests until the object needs no repair any more."""
        objects = {target}
        for rounds in range(ROUNDS_MAX + 1):
            shape = Shape(CLIENTS[0], tuple(sorted(objects)), target)
            shown = tuple(tuple(sorted(self.moves.shown_by(each)[index] for each in group)) for index in shape.objects)
            if not self.moves.needs_repair(shape, shown):
                return rounds
            number = self.moves.derive(shape, shown)
            if isinstance(number, Missing):
                objects.update(map(self.moves.names.index, number.objects))
            elif number is not None:
                group = [self.moves.after(each, number) for each in group]
        raise Violation("not live", f"not live: a client that is alone has not repaired {self.moves.names[target]}")

    # --- telling ----------------------------------------------------------------------------------------------

    def _schedule(self, state: State) -> tuple[str, ...]:
        """How the state came about."""
        lines: list[str] = []
        past = self._seen[state]
        while past is not None:
            before, (number, holding) = past
            where = "is sent" if holding < 0 else f"reaches a server with {self._describe(holding)}"
            lines.append(f"{self._sent(number)} {where}")
            past = self._seen[before]
        return tuple(reversed(lines))

    def _sent(self, number: int) -> str:
        sending = self.moves.sendings[number]
        return f"{sending.shape} {sending.step.kind.value} {short(sending.step.candidate.timestamp)}"

    def _describe(self, holding: int) -> str:
        histories = zip(self.moves.names, self.moves.holding(holding).histories, strict=True)
        shown = ((name, decode_history(name, history)) for name, history in histories)
        return ", ".join(
            f"{name[-1]}: " + " ".join(short(each.candidate.timestamp) + "*" * each.is_settled for each in entries)
            for name, entries in shown
        )
