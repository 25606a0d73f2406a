"""The paper's baseline: a replicated state machine by agreement, PBFT's normal case (Castro and Liskov, TOCS 2002).

A measuring stick, not a product. n = 3f + 1 replicas, replica 0 leads and stays leader: **there is no view change**, so
a dead leader stops it, and there are no checkpoints (a batch is forgotten once executed). Leaving both out costs it
nothing and saves it work. What is measured is there::

    client ── request, one MAC for each replica ──► leader
    leader ── PRE-PREPARE(sequence, requests) ──► backups
    backups ── PREPARE(sequence, digest) ──► all           prepared:  pre-prepare and 2f prepares
    all ── COMMIT(sequence, digest) ──► all                committed: prepared and 2f + 1 commits
    all ── reply ──► client                                tentative once prepared, if all before it is committed

Transport, codec, MACs and the execution of methods are Fivefold's own. Batching can be turned off. Queries go to all
replicas at once and are answered from the committed state (read-only optimisation). Replies are authenticated by the
channel, as Fivefold's are, and carry no MAC.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Iterable
from typing import Final, TypeAlias

from msgspec import Struct

from fivefold.bench.agreement_messages import (
    BATCH_MAX,
    AgreementKeys,
    AgreementReply,
    Commit,
    Prepare,
    PrePrepare,
    Request,
    decode_message,
    decode_request,
    message_frame,
    operation_of,
)
from fivefold.errors import PeerViolation
from fivefold.protocol.messages import encode
from fivefold.protocol.operations import ClientId, Executor, ObjectId, Operation, digest

LEADER: Final = 0

WINDOW: Final = 1
"""Batches under way at once: requests that arrive meanwhile make up the next one (PBFT's congestion window)."""

AHEAD_MAX: Final = 100_000
"""Sequence numbers this far ahead are refused."""


class ToClient(Struct, frozen=True, gc=False):
    """A frame to a client."""

    client: ClientId
    frame: bytes


class ToReplica(Struct, frozen=True, gc=False):
    """A frame to another replica."""

    replica: int
    frame: bytes


Send: TypeAlias = ToClient | ToReplica


class _Instance:
    """What is known of one sequence number."""

    __slots__ = (
        "commits",
        "digest",
        "has_executed",
        "is_committed",
        "is_prepared",
        "operations",
        "prepares",
        "requests",
    )

    def __init__(self) -> None:
        self.requests: tuple[Request, ...] | None = None
        self.operations: list[Operation] = []
        self.digest = b""
        self.prepares: defaultdict[bytes, set[int]] = defaultdict(set)
        self.commits: defaultdict[bytes, set[int]] = defaultdict(set)
        self.is_prepared = self.is_committed = self.has_executed = False


class Replica:
    """One replica as a state machine without I/O.

    Attributes:
        states: encoded state of every object written so far.
        executed: sequence number up to which everything is committed and executed.
        counters: messages and bytes sent, MACs made and checked, messages refused.
    """

    def __init__(
        self, index: int, f: int, keys: AgreementKeys, executor: Executor, *, is_batching: bool = True
    ) -> None:
        """Replica ``index`` of 3f + 1."""
        self.index = index
        self.n, self.f = 3 * f + 1, f
        self.states: dict[ObjectId, bytes] = {}
        self.executed = 0
        self.counters: Counter[str] = Counter()
        self._keys = keys
        self._executor = executor
        self._batch_max = BATCH_MAX if is_batching else 1
        self._window = WINDOW if is_batching else AHEAD_MAX
        self._waiting: deque[Request] = deque()
        self._instances: dict[int, _Instance] = {}
        self._assigned = 0
        self._queries: deque[Request] = deque()
        self._send: list[Send] = []

    # --- inputs -----------------------------------------------------------------------------------------------

    def receive_from_client(self, client: ClientId, frame: bytes) -> list[Send]:
        """A request frame, from the client that its connection names."""
        try:
            request = decode_request(frame)
            if request.client != client:
                raise PeerViolation("other-client")
            operation = self._checked(request)
        except PeerViolation as violation:
            self.counters[f"rejected.{violation.reason}"] += 1
            return []
        if request.is_query:
            self._queries.append(request)
            self._answer_queries()
        elif self.index == LEADER:
            assert operation is not None
            self._waiting.append(request)
            self._propose()
        return self._flush()

    def receive_from_replica(self, sender: int, frame: bytes) -> list[Send]:
        """A frame from another replica, named by its connection."""
        try:
            message = decode_message(frame)
            if not self.executed < message.sequence <= self.executed + AHEAD_MAX:
                return []  # late: this replica needs it no more
            self.counters["macs_checked"] += 1
            self._keys.check(sender, frame)
            match message:
                case PrePrepare():
                    self._pre_prepare(sender, message)
                case Prepare():
                    if sender != LEADER:
                        self._instance(message.sequence).prepares[message.digest].add(sender)
                case Commit():
                    self._instance(message.sequence).commits[message.digest].add(sender)
            self._advance(message.sequence)
        except PeerViolation as violation:
            self.counters[f"rejected.{violation.reason}"] += 1
        return self._flush()

    # --- the three phases -------------------------------------------------------------------------------------

    def _propose(self) -> None:
        """The leader gives the next sequence numbers to what waits, as many batches as the window allows."""
        while self._waiting and self._assigned < self.executed + self._window:
            batch = tuple([self._waiting.popleft() for _ in range(min(self._batch_max, len(self._waiting)))])
            self._assigned += 1
            message = PrePrepare(self._assigned, batch)
            self._note(message, [operation_of(request) for request in batch])
            self._multicast(message)
            self._advance(self._assigned)

    def _pre_prepare(self, sender: int, message: PrePrepare) -> None:
        if sender != LEADER or not 1 <= len(message.requests) <= BATCH_MAX:
            raise PeerViolation("not-the-leader")
        if self._instance(message.sequence).requests is not None:
            raise PeerViolation("proposed-twice")  # the first one counts: never two batches under one number
        operations = [self._checked(request) for request in message.requests]
        self._note(message, operations)
        instance = self._instance(message.sequence)
        instance.prepares[instance.digest].add(self.index)
        self._multicast(Prepare(message.sequence, instance.digest))

    def _advance(self, sequence: int) -> None:
        instance = self._instance(sequence)
        if instance.requests is None:
            return
        if not instance.is_prepared and len(instance.prepares[instance.digest]) >= 2 * self.f:
            instance.is_prepared = True
            instance.commits[instance.digest].add(self.index)
            self._multicast(Commit(sequence, instance.digest))
        if instance.is_prepared and len(instance.commits[instance.digest]) >= 2 * self.f + 1:
            instance.is_committed = True
        self._execute()

    def _execute(self) -> None:
        """Execute in order: what is committed, and one batch beyond that is only prepared, tentatively."""
        while (instance := self._instances.get(self.executed + 1)) is not None and instance.is_prepared:
            if not instance.has_executed:
                instance.has_executed = True
                for request, operation in zip(instance.requests or (), instance.operations, strict=True):
                    answers = self._apply(operation)
                    self._reply(request, answers, is_tentative=not instance.is_committed)
            if not instance.is_committed:
                return
            self.executed += 1
            del self._instances[self.executed]
        self._answer_queries()
        if self.index == LEADER:
            self._propose()

    def _apply(self, operation: Operation) -> tuple[bytes, ...]:
        answers = []
        for call in operation.calls:
            done = self._executor.execute(operation.objects, call, self._states_of(operation.objects))
            if done.states is not None:
                self.states.update(zip(operation.objects, done.states, strict=True))
            answers.append(done.answer)
        return tuple(answers)

    def _answer_queries(self) -> None:
        """Read-only requests see committed states alone: they wait while a batch is executed tentatively."""
        following = self._instances.get(self.executed + 1)
        if following is not None and following.has_executed:
            return
        while self._queries:
            request = self._queries.popleft()
            self._reply(request, self._apply(operation_of(request)), is_tentative=False)

    # --- details ----------------------------------------------------------------------------------------------

    def _checked(self, request: Request) -> Operation:
        """The operation of a request whose MAC for this replica is right."""
        self.counters["macs_checked"] += 1
        self._keys.check_client(request, self.index)
        operation = operation_of(request)
        is_update = self._executor.is_update(operation.objects, operation.method)
        if (
            is_update is None
            or (request.is_query and is_update)
            or any(self._initial(each) is None for each in operation.objects)
        ):
            raise PeerViolation("unknown-method")
        return operation

    def _initial(self, object_id: ObjectId) -> bytes | None:
        return self.states.get(object_id) or self._executor.initial(object_id)

    def _states_of(self, objects: Iterable[ObjectId]) -> tuple[bytes, ...]:
        return tuple([self._initial(name) or b"" for name in objects])

    def _instance(self, sequence: int) -> _Instance:
        instance = self._instances.get(sequence)
        if instance is None:
            instance = self._instances[sequence] = _Instance()
        return instance

    def _note(self, message: PrePrepare, operations: list[Operation]) -> None:
        instance = self._instance(message.sequence)
        instance.requests = message.requests
        instance.operations = operations
        instance.digest = digest(encode(message))

    def _multicast(self, message: PrePrepare | Prepare | Commit) -> None:
        body = message_frame(message)
        authenticated = AgreementKeys.authenticated(body)
        for replica in range(self.n):
            if replica != self.index:
                frame = self._keys.make(replica, authenticated) + body
                self._send.append(ToReplica(replica, frame))
                self.counters["bytes"] += len(frame)
        self.counters["messages"] += self.n - 1
        self.counters["macs_made"] += self.n - 1

    def _reply(self, request: Request, answers: tuple[bytes, ...], *, is_tentative: bool) -> None:
        frame = encode(AgreementReply(request.number, is_tentative, answers))
        self.counters["messages"] += 1
        self.counters["bytes"] += len(frame)
        self._send.append(ToClient(ClientId(request.client), frame))

    def _flush(self) -> list[Send]:
        sends, self._send = self._send, []
        return sends
