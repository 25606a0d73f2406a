"""What servers and clients can do in an exhaustive exploration: production code, called once for each distinct case.

A server is what it holds (:class:`Holding`), a request is what it calls for (:class:`Sending`); both are interned and
travel as small numbers. What a request is derived to is what ``plan_operation``, ``plan_repair`` and ``set_up`` say,
what a server makes of it is what a production :class:`~fivefold.protocol.server.Server` does that has just loaded what
it holds; so a rule left out there is left out here. Servers are interchangeable: a request shows *how many* servers
have which histories, written down as if the first servers had them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from fivefold.errors import PeerViolation
from fivefold.protocol.actions import Actions, Ask, Channel, ObjectRecord, Reply
from fivefold.protocol.authenticators import columns
from fivefold.protocol.classify import View, classify, plan_operation, plan_repair
from fivefold.protocol.history import (
    INITIAL_TIMESTAMP,
    decode_history,
    encode_history,
    initial_entry,
    make_histories,
    make_timestamp,
    time_of,
)
from fivefold.protocol.messages import decode_sync, encode, request_frame, sync_reply_frame
from fivefold.protocol.operations import VALUE, Call, ClientId, Executed, Executor, ObjectId, Operation, digest
from fivefold.protocol.quorums import QuorumSystem
from fivefold.protocol.records import (
    INITIAL_HISTORY,
    NO_OPERATION,
    Candidate,
    Entry,
    LogicalTimestamp,
    ObjectHistories,
    Part,
    ReplicaHistory,
    SyncReply,
    SyncRequest,
)
from fivefold.protocol.server import Server, encode_version, read_rows
from fivefold.protocol.steps import Kind, Missing, Plan, Step
from fivefold.simulation.chains import Violation
from fivefold.simulation.rack import Everyone, Letter, Rack, one_call, rack_keys

Names = tuple[ObjectId, ...]
"""Objects in order."""
INVENTOR: Final = ClientId(b"\xff" * 16)
"""Whose candidates liars invent: a client that does not exist."""
LETTERS: Final = "abcdefgh"
"""What objects are called."""
Shown = tuple[tuple[int, ...], ...]
"""For each object of a request, the numbers of the histories shown, in order."""


class Writer:
    """An executor for which every object exists, every method writes, and nothing depends on what is written."""

    def initial(self, object_id: ObjectId) -> bytes | None:
        """Nothing."""
        return b""

    def is_update(self, objects: Names, method: str) -> bool | None:
        """Always."""
        return True

    def begin(self) -> None:
        """Nothing takes time."""

    def execute(self, objects: Names, call: Call, states: tuple[bytes, ...]) -> Executed:
        """Leave the states as they are: versions differ by the calls they record."""
        return Executed(VALUE, states)


class Holding(Struct, frozen=True):
    """One server's share of a state.

    Attributes:
        histories: for each object, its history.
        accepted: for each object, the versions it ever accepted (barriers are none).
    """

    histories: tuple[bytes, ...]
    accepted: tuple[frozenset[LogicalTimestamp], ...]


class Shape(Struct, frozen=True):
    """What a client wants, before it looks at the servers.

    Attributes:
        client: who.
        objects: of the operation, or those a repair is judged by, as indices.
        target: of a repair; None for an operation.
    """

    client: ClientId
    objects: tuple[int, ...]
    target: int | None

    def __str__(self) -> str:
        """As in a directed schedule: ``X ab!`` is an operation, ``Y a? ab`` a repair of a judged by a and b."""
        named = "".join(LETTERS[index] for index in self.objects)
        who = self.client.rstrip(b"\0").decode()
        return f"{who} {named}!" if self.target is None else f"{who} {LETTERS[self.target]}? {named}"


class Sending(Struct, frozen=True):
    """A request on its way; it may reach any server at any time, or none.

    Attributes:
        frame: its bytes, with the authenticators for server 0.
        shape: what the client wanted.
        step: what every honest server derives from it.
    """

    frame: bytes
    shape: Shape
    step: Step


class Moves:
    """The tables: holdings, histories and requests by number, and what follows from what.

    Cases of their own say what else happens by a class of their own.

    Attributes:
        quorums: thresholds.
        names: the objects.
        candidates: for each object, every accepted version's candidate by its timestamp.
        examined: how often a production server was asked, which is once for each distinct case.
    """

    _executor: Executor = Writer()

    def __init__(self, quorums: QuorumSystem, objects_count: int) -> None:
        """One holding: that of a server which never accepted anything."""
        self.quorums = quorums
        self.names: Names = tuple(ObjectId(f"Toy/{LETTERS[index]}") for index in range(objects_count))
        self.candidates: list[dict[LogicalTimestamp, Candidate]] = [{} for _ in self.names]
        self.examined = 0
        self.sendings: list[Sending] = []
        self._rack = Rack(self._executor, n=quorums.n, t=quorums.t, b=quorums.b)
        self._keys = rack_keys(0, quorums.n)
        self._versions: dict[tuple[ObjectId, bytes], bytes] = {}
        self._histories: list[bytes] = [INITIAL_HISTORY]
        self._history_numbers: dict[bytes, int] = {INITIAL_HISTORY: 0}
        initial = self._initial((INITIAL_HISTORY,) * objects_count, (frozenset(),) * objects_count)
        self._holdings: list[Holding] = [initial]
        self._holding_numbers: dict[Holding, int] = {initial: 0}
        self._shown: list[tuple[int, ...]] = [(0,) * objects_count]
        self._views: dict[tuple[int, tuple[int, ...]], View] = {}
        self._plan_numbers: dict[tuple[tuple[int, ...], int | None, Shown], int | Missing | None] = {}
        self._distinct_plans: dict[tuple[bool, Plan, frozenset[Candidate]], int] = {}
        self._sending_numbers: dict[tuple[ClientId, int], int] = {}
        self._after: dict[tuple[int, int], int] = {}

    def _initial(self, histories: tuple[bytes, ...], accepted: tuple[frozenset[LogicalTimestamp], ...]) -> Holding:
        return Holding(histories, accepted)

    # --- numbers ----------------------------------------------------------------------------------------------

    def holding(self, number: int) -> Holding:
        """A server's share of a state."""
        return self._holdings[number]

    def shown_by(self, holding: int) -> tuple[int, ...]:
        """The numbers of the histories that a server with this holding shows, one for each object."""
        return self._shown[holding]

    def history_number(self, data: bytes) -> int:
        """A history's number."""
        number = self._history_numbers.setdefault(data, len(self._histories))
        if number == len(self._histories):
            self._histories.append(data)
        return number

    def _holding_number(self, holding: Holding) -> int:
        number = self._holding_numbers.setdefault(holding, len(self._holdings))
        if number == len(self._holdings):
            self._holdings.append(holding)
            self._shown.append(tuple(self.history_number(data) for data in holding.histories))
        return number

    # --- what a client can send -------------------------------------------------------------------------------

    def derive(self, shape: Shape, shown: Shown) -> int | Missing | None:
        """The request with this shape that shows these histories: its number, or the objects it lacks, or None.

        Requests of one client that call for the same step are taken for one, although the digest of what they show
        tells their timestamps apart in production: states would differ by names only.
        """
        planned = self._plan_numbers.get((shape.objects, shape.target, shown), -1)
        if planned == -1:
            planned = self._plan(shape, shown)
            self._plan_numbers[shape.objects, shape.target, shown] = planned
        if not isinstance(planned, int):
            return planned
        key = (shape.client, planned)
        number = self._sending_numbers.setdefault(key, len(self.sendings))
        if number == len(self.sendings):
            self.sendings.append(self._send(shape, shown))
        return number

    def view(self, index: int, numbers: tuple[int, ...]) -> View:
        """The histories shown of one object, counted."""
        view = self._views.get((index, numbers))
        if view is None:
            view = self._views[index, numbers] = View(self.quorums, self._set(index, numbers))
        return view

    def needs_repair(self, shape: Shape, shown: Shown) -> bool:
        """Whether the target of a repair calls for one."""
        assert shape.target is not None, "an operation has no target"
        view = self.view(shape.target, shown[shape.objects.index(shape.target)])
        return classify(self.quorums, view) is not Kind.METHOD

    def makes_version(self, sending: int) -> bool:
        """Whether a request makes, copies or finishes a version; otherwise it is a barrier."""
        return not self.sendings[sending].step.candidate.is_barrier

    def _set(self, index: int, numbers: tuple[int, ...]) -> ObjectHistories:
        histories = [self._histories[number] for number in numbers if number]
        return make_histories(self.names[index], histories + [INITIAL_HISTORY] * (self.quorums.n - len(histories)))

    def _plan(self, shape: Shape, shown: Shown) -> int | Missing | None:
        views = {self.names[index]: self.view(index, each) for index, each in zip(shape.objects, shown, strict=True)}
        plan: Plan | Missing | None
        if shape.target is None:
            plan = plan_operation(self.quorums, views)
        else:
            plan = plan_repair(self.quorums, self.names[shape.target], views)
        if plan is None or isinstance(plan, Missing):
            return plan
        # Beside the plan, what a server may find in the request itself: which candidates the new one rests on.
        bases = {part.base_or_conditioned_on for part in plan.parts}
        rests_on = frozenset(c for view in views.values() for c in view.orders if c.is_multi and c.timestamp in bases)
        return self._distinct_plans.setdefault((shape.target is None, plan, rests_on), len(self._distinct_plans))

    def _send(self, shape: Shape, shown: Shown) -> Sending:
        sets = [self._set(index, numbers) for index, numbers in zip(shape.objects, shown, strict=True)]
        operation = None
        if shape.target is None:
            views = zip(shape.objects, shown, strict=True)
            latest = max(time_of(self.view(index, numbers).latest) for index, numbers in views)
            call_id = digest(b"%s %d" % (str(shape).encode(), latest))[:16]
            operation = self._operation(shape, tuple(each.object_id for each in sets), call_id)
        target = None if shape.target is None else self.names[shape.target]
        view = {each.object_id: dict(enumerate(map(each.of, range(self.quorums.n)))) for each in sets}
        letter = Letter(self._rack, shape.client, view, target=target, operation=operation)
        step = letter.step()
        assert isinstance(step, Step), "the plan was there before"
        proof = columns(b"".join(letter.proofs), self.quorums.n)[0]
        return Sending(request_frame(1, encode(letter.request), proof), shape, step)

    def _operation(self, shape: Shape, objects: Names, call_id: bytes) -> Operation:
        return one_call(objects, "write", b"", call_id)

    # --- what a server does with it ---------------------------------------------------------------------------

    def after(self, holding: int, sending: int) -> int:
        """What a server holds after a request has reached it; the same as before if it refused, or had it already.

        If a request changes nothing, it never will: currency only moves on, and an answer given again stays given.
        """
        key = (holding, sending)
        found = self._after.get(key)
        if found is None:
            found = self._after[key] = self._examine(holding, sending)
        return found

    def _examine(self, number: int, sending: int) -> int:
        self.examined += 1
        server = Server(self.quorums, self._keys, self._executor, Everyone())
        client, frame = self.sendings[sending].shape.client, self.sendings[sending].frame
        after, _ = self._feed(self._holdings[number], server, client, Channel(1), frame)
        return self._holding_number(after)

    def _feed(
        self, holding: Holding, server: Server, client: ClientId, channel: Channel, frame: bytes
    ) -> tuple[Holding, list[bytes]]:
        """What a server holds when it has done all that follows from a client's frame, and what it has replied."""
        histories = dict(zip(self.names, holding.histories, strict=True))
        accepted = {name: set(each) for name, each in zip(self.names, holding.accepted, strict=True)}
        replies: list[bytes] = []
        queue = [server.receive_from_client(0, client, channel, frame)]
        while queue:
            actions = queue.pop()
            replies += [each.frame for each in actions.send if isinstance(each, Reply)]
            for fault in actions.faults:  # the machine goes on without that input: here its invariants are on trial
                raise fault.error
            for store in actions.store:
                for write in store.writes:
                    name = ObjectId(write.object_id)
                    self._note_candidates(name, write.history)
                    histories[name] = write.history
                    accepted[name].update(LogicalTimestamp(timestamp) for timestamp, _ in write.put)
                    for timestamp, version in write.put:
                        self._note_version(name, timestamp, version)
                queue.append(server.durable(0, store.sequence))
            for text in actions.load:
                name = ObjectId(text)
                queue.append(server.loaded(0, name, self._record(name, histories[name], accepted[name])))
            queue.extend(self._answers(server, actions))
        held = tuple(frozenset(each) for each in accepted.values())
        return replace(holding, histories=tuple(histories.values()), accepted=held), replies

    def _record(self, name: ObjectId, history: bytes, accepted: set[LogicalTimestamp]) -> ObjectRecord | None:
        if history == INITIAL_HISTORY:
            return None
        return ObjectRecord(history, tuple((each, self._versions[name, each]) for each in sorted(accepted)))

    def _answers(self, server: Server, actions: Actions) -> list[Actions]:
        """Other servers answer every object sync at once, and truly."""
        answers = []
        for ask in actions.send:
            if isinstance(ask, Ask):
                request = decode_sync(ask.frame)
                assert isinstance(request, SyncRequest), "a server asks for versions only"
                data = self._version(request.object_id, request.timestamp)
                reply = SyncReply(request.number, digest(data) if data else b"", data if request.is_whole else b"")
                answers.append(server.receive_from_server(0, ask.server, Channel(0), sync_reply_frame(reply)))
        return answers

    def _note_candidates(self, name: ObjectId, history: bytes) -> None:
        known = self.candidates[self.names.index(name)]
        try:
            entries = decode_history(name, history)
        except PeerViolation as violation:
            raise Violation("history", f"a history of {name} is one that no honest server has: {violation}") from None
        for entry in entries:
            candidate = entry.candidate
            if not candidate.is_barrier and known.setdefault(candidate.timestamp, candidate) != candidate:
                raise Violation("two candidates", f"one timestamp of {name} names two candidates")

    def _version(self, name: ObjectId, timestamp: bytes) -> bytes:
        """Canonical bytes of a version; nothing if nobody has it."""
        data = self._versions.get((name, timestamp))
        return encode_version(read_rows([(timestamp, data)])[timestamp]) if data else b""  # too few calls for a ring

    def _note_version(self, name: ObjectId, timestamp: bytes, version: bytes) -> None:
        if self._versions.setdefault((name, timestamp), version) != version:
            raise Violation("two versions", f"one timestamp of {name} names two versions")

    # --- lies -------------------------------------------------------------------------------------------------

    def lie(self, how: str, shown: Sequence[int]) -> tuple[int, ...]:
        """Histories as a liar shows them that takes another server's for its own, and changes them.

        Args:
            how: ``*`` flags every multi-object candidate as settled; ``-`` forgets all but the newest candidate; ``+``
                invents a candidate above it, of the same time.
            shown: the other server's histories, one for each object.
        """
        lies = []
        for name, number in zip(self.names, shown, strict=True):
            honest = decode_history(name, self._histories[number])
            told = _TELL[how](name, honest)
            lies.append(number if told == honest else self.history_number(encode_history(told)))
        return tuple(lies)


def _flag(name: ObjectId, history: ReplicaHistory) -> ReplicaHistory:
    return tuple(Entry(each.candidate, each.candidate.is_multi) for each in history)


def _forget(name: ObjectId, history: ReplicaHistory) -> ReplicaHistory:
    return tuple(sorted({initial_entry(name), history[-1]}, key=_timestamp))


def _invent(name: ObjectId, history: ReplicaHistory) -> ReplicaHistory:
    newest = history[-1].candidate
    time = max(time_of(newest.timestamp), 1)
    timestamp = make_timestamp(
        time,
        is_barrier=newest.is_barrier,
        client=INVENTOR,
        operation_digest=NO_OPERATION,
        history_set_digest=b"\xff" * 32,
    )
    if timestamp <= newest.timestamp:
        return history
    return (*history, Entry(Candidate(timestamp, (Part(name, INITIAL_TIMESTAMP, None),)), False))


def _timestamp(entry: Entry) -> LogicalTimestamp:
    return entry.candidate.timestamp


_TELL: Final[Mapping[str, Callable[[ObjectId, ReplicaHistory], ReplicaHistory]]] = MappingProxyType(
    {"*": _flag, "-": _forget, "+": _invent}
)
