"""Hostile clients: malevolent clients that use whatever requests may carry, each against one promise.

They have rights of their own (:mod:`fivefold.simulation.rights`), mostly to read, and objects of their own.
"""

from __future__ import annotations

from typing import Final

from fivefold.protocol.classify import plan_operation, plan_repair, views_of
from fivefold.protocol.history import (
    decode_history,
    initial_entry,
    make_histories,
    make_timestamp,
    time_of,
)
from fivefold.protocol.limits import CALLS_MAX, OBJECT_ID_BYTES_MAX, REPAIR_OBJECTS_MAX, TIME_LEAD_MAX
from fivefold.protocol.messages import encode
from fivefold.protocol.operations import CANCEL, Call, ObjectId, Operation
from fivefold.protocol.records import INITIAL_HISTORY, Candidate, Entry, ObjectHistories, Part, Request
from fivefold.protocol.steps import Kind, Plan
from fivefold.simulation.lies import forged
from fivefold.simulation.rack import client_id
from fivefold.simulation.rights import Right
from fivefold.simulation.villains import Letter, Villain
from fivefold.simulation.workload import encode_arguments

HOSTILITIES: Final = ("smuggling", "crowding", "cancelling", "leading", "batching", "framing", "copying", "mixing")
"""Strategies: what a hostile client's requests are."""

LEAVINGS: Final = ("leaving", "leaving", "stalling")
"""Strategies of a client that leaves work to others: updates that too few servers get; barriers and nothing after."""

OWN_OBJECTS: Final = 12
"""Objects of its own of a client that leaves work."""

UNHURRIED: Final = 12
"""Such a client takes its time, as if its letters were so large: what it leaves has to be repaired meanwhile."""

CARRYING: Final = "carrying"
"""What carries the clock of its own object, which was led on before the run, to others' objects, by all means."""

CROWDS: Final = (0, 0, 1, 1, 1, 1, 9, 9, 9, 9, REPAIR_OBJECTS_MAX - 1)
"""Objects that a crowding client's barrier reaches beside the victim: a few of the widest ones fill a history."""

MIXED: Final = ("smuggling", "crowding", "cancelling", "batching", "framing")
"""What a client that mixes chooses from, letter by letter; the others have a plan of their own."""

SIZE_AT_ONCE: Final = 4
"""Sets and calls of a letter; after a larger one the client pauses longer, or a seed would take ten seconds."""

LEADS: Final = (140, 200, 300)
"""Leads of its own clock after which a client carries it to others: more than a client has room for, one by one."""

CARRIES: Final = 4
"""Joint barriers by which it does; then it leads on."""

CYCLES_MAX: Final = 3
"""So often it leads and carries."""

OWN_ENTRIES_MAX: Final = 60
"""Candidates of its own object after which it lets them be pruned."""


def right_of(index: int, strategy: str) -> Right:
    """What a hostile client may do: read counters, and everything with its own; some may do more."""
    everywhere = strategy in ("batching", CARRYING, *LEAVINGS)
    return Right("Counter/" if everywhere else own_name(index), frozenset({"Counter"}))


def own_name(index: int) -> ObjectId:
    """A hostile client's own object."""
    return ObjectId(f"Counter/v{index}")


class Hostile(Villain):
    """A hostile client."""

    paces_ms = (2, 3, 10)
    share_repeated = 0.1
    _leads = 0
    _carries = 0
    _is_far = False
    _is_pruning = False
    _is_partial = False
    _cycles = 0
    _focus: ObjectId | None = None

    def _letter(self) -> Letter:
        strategy = self.strategy
        if strategy == "mixing":
            strategy = self._random.choice(MIXED)
        match strategy:
            case "smuggling":
                return self._smuggle()
            case "crowding":
                return self._crowd()
            case "cancelling":
                return self._cancel()
            case "leading":
                return self._lead()
            case "batching":
                return self._batch()
            case "framing":
                return self._frame()
            case "copying":
                return self._copy()
            case "leaving" | "stalling":
                return self._leave(strategy)
            case "carrying":
                return self._carry()
            case _:
                return super()._letter()

    def _receivers(self) -> list[int]:
        if self.strategy == "framing":
            return [self._victim]
        if self.strategy in LEAVINGS and self._random.random() < 0.9:
            honest = self._honest
            return self._random.sample(honest, min(len(honest), max(1, self.quorums.r - 1)))
        if self.strategy == "copying":
            return self._honest[: self.quorums.r] if self._is_partial else list(range(self.quorums.n))
        if self.strategy == CARRYING:
            return self._honest[:2] if self._is_partial else list(range(self.quorums.n))
        if self.strategy == "leading":
            return self._honest[:2] if self._carries else list(range(self.quorums.n))
        if self._random.random() < 0.7:
            return list(range(self.quorums.n))
        return super()._receivers()

    @property
    def _honest(self) -> list[int]:
        return [server for server in range(self.quorums.n) if server not in self.liars]

    @property
    def _victim(self) -> int:
        """The honest server that it wants others to suspect."""
        return next(server for server in range(self.index, self.quorums.n) if server not in self.liars)

    def _of_others(self) -> ObjectId:
        """A counter of others: mostly the same one, since what adds up there does the most harm."""
        if self._focus is None or self._random.random() < 0.2:
            counters = [name for name in self.names if name.startswith("Counter/")]
            self._focus = self._random.choice(counters or self.names)
        return self._focus

    # --- what a letter is made of -----------------------------------------------------------------------------

    def _make(
        self, sets: list[ObjectHistories], target: ObjectId, operation: bytes = b"", calls_count: int = 0
    ) -> Letter:
        proofs = [
            self._authenticator(each, server) for each in sets for server, index in enumerate(each.holders) if index
        ]
        size = max(1, (len(sets) + calls_count) // SIZE_AT_ONCE)
        return Letter(encode(Request(target, tuple(sets), operation)), proofs, size)

    def _newest(self, name: ObjectId, servers: list[int] | None = None) -> ObjectHistories:
        """The latest history of each server, liars apart; or of some."""
        histories = [INITIAL_HISTORY] * self.quorums.n
        for server in range(self.quorums.n) if servers is None else servers:
            signed = self.watch.signed.get((server, name))
            if signed and server not in self.liars:
                histories[server] = signed[-1]
        return make_histories(name, histories)

    def _one(self, name: ObjectId) -> ObjectHistories:
        """One server's latest history, which by itself calls for a barrier."""
        return self._newest(name, self._random.sample(range(self.quorums.n), 1))

    def _names(self, count: int) -> list[ObjectId]:
        """Ids of every length that nobody has written."""
        made = set()
        for number in range(count):
            length = self._random.choice((1, 30, OBJECT_ID_BYTES_MAX - len("Counter/")))
            made.add(ObjectId("Counter/" + f"{number}".rjust(length, "x")))
        return sorted(made)

    def _calls(self, method: str, count: int = 1) -> tuple[Call, ...]:
        random = self._random
        if method == CANCEL:
            return tuple(Call(random.randbytes(16), 0, CANCEL, random.randbytes(16)) for _ in range(count))
        # By nothing, so that the answers of others tell nothing of it.
        arguments = encode_arguments({} if method in ("get", "look") else {"by": 0})
        return tuple(Call(random.randbytes(16), 0, method, arguments) for _ in range(count))

    # --- strategies -------------------------------------------------------------------------------------------

    def _smuggle(self) -> Letter:
        """An operation on one object, with sets of others beside it."""
        random = self._random
        name = random.choice([own_name(self.index), *[each for each in self.names if each.startswith("Counter/")]])
        others = random.sample(self.names, min(len(self.names), random.randint(1, 3)))
        names = sorted({name, *others})
        sets = [self._newest(each) for each in names]
        method = random.choice(("increment", "get", CANCEL))
        operation = encode(Operation((name,), self._calls(method)))
        return self._make(sets, random.choice((names[0], name)), operation)

    def _crowd(self) -> Letter:
        """A barrier over as many objects as a repair may have, with the longest ids."""
        victim = self._of_others()
        count = self._random.choice(CROWDS)
        sets = {victim: self._one(victim)} | {
            each: make_histories(each, [b""] * self.quorums.n) for each in self._names(count)
        }
        return self._make([sets[each] for each in sorted(sets)], victim)

    def _cancel(self) -> Letter:
        """A cancellation of what nobody has called, on an object that it may read."""
        name = self._random.choice(self.names)
        return self._make([self._newest(name)], name, encode(Operation((name,), self._calls(CANCEL))))

    def _batch(self) -> Letter:
        """An operation of as many calls as it may have, on what all that batch choose; a repair where one is due."""
        name = min([name for name in self.names if name.startswith("Counter/")] or self.names)
        newest = self._newest(name)
        if plan_operation(self.quorums, views_of(self.quorums, (newest,))) is None:
            return self._make([newest], name, calls_count=CALLS_MAX)
        operation = encode(Operation((name,), self._calls("increment", CALLS_MAX)))
        return self._make([newest], name, operation, CALLS_MAX)

    def _frame(self) -> Letter:
        """A barrier that only the victim gets, so that it stands alone with its newest candidate."""
        name = self._of_others()
        return self._make([self._newest(name, [self._victim])], name)

    def _copy(self) -> Letter:
        """A joint candidate of its own objects with the longest ids, on r servers alone; then barriers and copies.

        Nothing of it is ever established, so that each copy is joint, and some kilobytes, and stays beside the others.
        """
        names = [ObjectId(own_name(self.index) + f"{n}".rjust(OBJECT_ID_BYTES_MAX - 20, "x")) for n in range(10, 26)]
        newest = [self._newest(name) for name in names]
        self._is_partial = True
        views = views_of(self.quorums, newest)
        if all(len(each.histories) == 0 for each in newest):
            operation = encode(Operation(tuple(names), self._calls("bump")))
            return self._make(newest, names[0], operation)
        plan = plan_repair(self.quorums, names[0], views)
        if isinstance(plan, Plan) and plan.kind is Kind.COPY:
            return self._make(newest, names[0])
        self._is_partial = False
        return self._make([self._newest(name, self._honest[:1]) for name in names], names[0])

    def _leave(self, strategy: str) -> Letter:
        """An update, or the repair that comes before it, or a barrier on one server's word; to few servers."""
        own = ObjectId(f"{own_name(self.index)}-{self._random.randrange(OWN_OBJECTS)}")
        name = self._of_others() if self._random.random() < 0.3 else own
        if strategy == "stalling":
            return self._make([self._one(name)], name, calls_count=UNHURRIED)
        newest = self._newest(name)
        if plan_operation(self.quorums, views_of(self.quorums, (newest,))) is None:
            return self._make([newest], name, calls_count=UNHURRIED)
        return self._make([newest], name, encode(Operation((name,), self._calls("increment"))), UNHURRIED)

    def _lead(self) -> Letter:
        """Lead the clock of its own object with a liar's help, as far as barriers go; then carry it to another's."""
        own = own_name(self.index)
        if self._leads <= 0:
            self._cycles += bool(self._carries)
            self.is_at_it = self.is_at_it and self._cycles < CYCLES_MAX
            self._carries = CARRIES if self._is_far and not self._carries else 0
            self._leads = self._carries or self._random.choice(LEADS)
            self._is_far = True
        self._leads -= 1
        if self._carries:
            victim = self._of_others()
            sets = {own: self._newest(own), victim: self._one(victim)}
            return self._make([sets[each] for each in sorted(sets)], victim)
        length = max((len(decode_history(own, each)) for each in self._newest(own).histories), default=0)
        if self._is_pruning or length > OWN_ENTRIES_MAX:  # a copy, then an update on it
            self._is_pruning = not self._is_pruning
            operation = b"" if self._is_pruning else encode(Operation((own,), self._calls("increment")))
            return self._make([self._newest(own)], own, operation)
        return self._make([self._with_lead(own)], own)

    def _carry(self) -> Letter:
        """A joint barrier or update of its own object and another's, on two honest servers: these cannot be led back.

        Without them q servers may not be up, and all others would have to catch up lead by lead.
        """
        own, victim = own_name(self.index), self._of_others()
        names = sorted((own, victim))
        newest = [self._newest(name) for name in names]
        self._is_partial = True
        if self._random.random() < 0.5:
            sets = [self._one(name) if name == victim else each for name, each in zip(names, newest, strict=True)]
            return self._make(sets, victim)
        for name, each in zip(names, newest, strict=True):
            if plan_operation(self.quorums, views_of(self.quorums, (each,))) is None:
                self._is_partial = False
                return self._make([each], name)
        return self._make(newest, names[0], encode(Operation((own, victim), self._calls("bump"))))

    def _with_lead(self, own: ObjectId) -> ObjectHistories:
        """The truth, and from a liar a candidate one lead above it."""
        true = self._newest(own)
        histories = [true.of(server) for server in range(self.quorums.n)]
        time = max((time_of(decode_history(own, each)[-1].candidate.timestamp) for each in true.histories), default=0)
        timestamp = make_timestamp(
            time + TIME_LEAD_MAX,
            is_barrier=False,
            client=client_id("zz"),
            operation_digest=self._random.randbytes(32),
            history_set_digest=bytes(32),
        )
        initial = initial_entry(own)
        invented = Entry(Candidate(timestamp, (Part(own, initial.candidate.timestamp, None),)), False)
        for server in self.liars:
            histories[server] = forged((initial, invented))
        return make_histories(own, histories)
