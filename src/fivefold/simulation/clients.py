"""A correct client of a simulation: the production session, its planned calls, and the history it saw."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from random import Random

from msgspec import UNSET

from fivefold.checker import Observation
from fivefold.checker import Outcome as Seen
from fivefold.protocol.client import Answered, ClientActions, Disagreed, Evidence, Finished, Refused, Session, TimedOut
from fivefold.protocol.operations import (
    CANCEL,
    CANCELLED,
    FORGOTTEN,
    REJECTED,
    VALUE,
    Call,
    ClientId,
    ObjectId,
    Operation,
)
from fivefold.protocol.quorums import QuorumSystem
from fivefold.protocol.times import pack_time
from fivefold.simulation.chains import Violation
from fivefold.simulation.events import Called, Died, Disconnected, Ended, Resolving
from fivefold.simulation.injection import Injected, Injector
from fivefold.simulation.network import Connection
from fivefold.simulation.plan import MILLISECOND, SECOND, PlannedCall
from fivefold.simulation.rack import client_id
from fivefold.simulation.servers import ServerHost
from fivefold.simulation.workload import Workload
from fivefold.simulation.world import Alarm, World

RESOLVE_PATIENCE_NS = 20 * SECOND
RECONNECT_NS = 20 * MILLISECOND
REFUSED_NS = 200 * MILLISECOND
RETRY_NS = 20 * MILLISECOND
"""An input that raised is followed by another one after this time."""
LATE_NS = MILLISECOND
"""After its deadline a call may still be unfinished for this long."""


class Task:
    """One planned call on its way.

    Attributes:
        call_id: its id, the same for all its attempts.
        since: once its outcome is unknown, the logical time to resolve from.
        rivals: ids of the client's earlier updates that might still be applied when it was called, and so after it.
    """

    __slots__ = ("call", "call_id", "invoke_ns", "rivals", "since")

    def __init__(self, call: PlannedCall, call_id: bytes, invoke_ns: int, rivals: tuple[bytes, ...] = ()) -> None:
        """Called now."""
        self.call, self.call_id, self.invoke_ns, self.rivals = call, call_id, invoke_ns, rivals
        self.since: int | None = None


class ClientHost:
    """One client identity.

    Attributes:
        index: of the client in the plan.
        machine: its number on the network.
        id: its identity.
        session: the production machine; a new one after the client died.
        history: operations that have ended, as their caller saw them.
        tasks: operations under way, by ticket.
        unfinished: all that were called and have not ended, by their number in the plan.
        failure: what no client may ever see, if it has happened.
        on_end: hears every task that ended, with what was observed; the invariants listen here.
        on_frame: hears every frame with its server, before the session does.
        on_forgotten: hears of the task of its last update on an object, if rings do not know what became of it.
        injector: lets inputs fail; None for a client of which that is not wanted.
        has_raised: whether an exception has come out of the session.
        tolerated: what the plan lets happen to calls: *refused*, *disagreed*, *late*.
    """

    def __init__(
        self,
        world: World,
        servers: list[ServerHost],
        quorums: QuorumSystem,
        workload: Workload,
        *,
        index: int,
        tolerated: frozenset[str],
    ) -> None:
        """Connect to all servers."""
        self.world, self.index, self.machine = world, index, quorums.n + index
        self.id: ClientId = client_id(f"c{index}")
        self.history: list[Observation] = []
        self.tasks: dict[int, Task] = {}
        self.unfinished: dict[int, Task] = {}
        self.failure: Violation | None = None
        self.on_end: Callable[[ClientHost, Task, Observation], None] | None = None
        self.on_frame: Callable[[ClientHost, int, bytes], None] | None = None
        self.on_forgotten: Callable[[ClientHost, Task], None] | None = None
        self.injector: Injector | None = None
        self.has_raised = False
        self.tolerated = tolerated
        self._servers, self._quorums, self._workload = servers, quorums, workload
        self._random = world.stream(f"client/{index}")
        self._connections: dict[int, Connection] = {}
        self._alarm = Alarm(world, lambda: self._give(lambda: self.session.wake(world.now_ns)))
        self._newest: dict[str, int] = {}
        self._unsettled: dict[bytes, None] = {}
        self._lives = 0
        self.session = self._new_session()
        for server in servers:
            self._connect(server, self._lives)

    def _new_session(self) -> Session:
        return Session(self._quorums, Random(self._random.getrandbits(64)))

    def evidence(self) -> Sequence[Evidence]:
        """What speaks against servers in its eyes."""
        return self.session.standing.evidence()

    # --- connections ------------------------------------------------------------------------------------------

    def _connect(self, server: ServerHost, life: int) -> None:
        """Open a connection, or try again a while later."""
        if life != self._lives:
            return
        if server.is_up:
            self._connections[server.index] = server.accept(self.machine, self.id, self._receive)
            self._give(lambda: self.session.connected(self.world.now_ns, server.index))
        else:
            self.world.after(RECONNECT_NS, partial(self._connect, server, life))

    def lose(self, server: ServerHost) -> None:
        """The connection to a server has broken; the client notices, and tries to connect anew."""
        connection = self._connections.pop(server.index, None)
        if connection is None:
            return
        self.world.tell(Disconnected(self.index, server.index))
        server.close(connection)
        self._give(lambda: self.session.disconnected(self.world.now_ns, server.index))
        self.world.after(RECONNECT_NS, partial(self._connect, server, self._lives))

    def _receive(self, connection: Connection, frame: bytes) -> None:
        if self.on_frame is not None:
            self.on_frame(self, connection.callee, frame)
        self._give(lambda: self.session.receive(self.world.now_ns, connection.callee, frame))

    # --- running the session ----------------------------------------------------------------------------------

    def _give(self, act: Callable[[], ClientActions]) -> None:
        """Give the session an input; if that raises, it is woken a while later, as by a driver."""
        try:
            actions = act() if self.injector is None else self.injector.run(act)
        except Injected:
            life, self.has_raised = self._lives, True
            self.world.after(RETRY_NS, lambda: self._wake_again(life))
            return
        self.perform(actions)

    def _wake_again(self, life: int) -> None:
        if life == self._lives:
            self._give(lambda: self.session.wake(self.world.now_ns))

    def perform(self, actions: ClientActions) -> None:
        """Carry actions out."""
        for ask in actions.send:
            connection = self._connections.get(ask.server)
            if connection is not None:
                self._servers[ask.server].network.call(connection, ask.frame)
        for finished in actions.finished:
            self._finish(finished)
        for fault in actions.faults:
            if not isinstance(fault, Injected):
                raise fault
        self._alarm.set(actions.wake_at_ns)

    # --- calls ------------------------------------------------------------------------------------------------

    def start(self, call: PlannedCall) -> None:
        """Make a planned call."""
        self.world.tell(Called(self.index, call.number, call.method, call.objects, call.arguments, call.is_query))
        task = Task(call, self._random.randbytes(16), self.world.now_ns, tuple(self._unsettled))
        self.unfinished[call.number] = task
        if not call.is_query:
            self._newest |= dict.fromkeys(call.objects, call.number)
            self._unsettled[task.call_id] = None
        operation = _operation(call.objects, Call(task.call_id, 0, call.method, call.arguments))
        self._begin(task, operation, is_query=call.is_query, patience_ns=call.patience_ns)

    def _resolve(self, task: Task, life: int) -> None:
        """Find out what became of a call, or cancel it for good."""
        if life != self._lives:
            return
        assert task.since is not None, "only calls of unknown outcome are resolved"
        self.world.tell(Resolving(self.index, task.call.number))
        cancel = Call(self._random.randbytes(16), pack_time(task.since), CANCEL, task.call_id)
        operation = _operation(task.call.objects, cancel)
        self._begin(task, operation, is_query=False, patience_ns=RESOLVE_PATIENCE_NS, is_fixed=True)

    def _begin(
        self, task: Task, operation: Operation, *, is_query: bool, patience_ns: int, is_fixed: bool = False
    ) -> None:
        now_ns = self.world.now_ns

        def call() -> tuple[int, ClientActions]:
            until_ns = now_ns + patience_ns
            return self.session.call(now_ns, operation, is_query=is_query, deadline_ns=until_ns, is_fixed=is_fixed)

        try:
            ticket, actions = call() if self.injector is None else self.injector.run(call)
        except Injected:  # its caller sees that, and knows nothing
            self.has_raised = True
            self._end(task, Seen.UNKNOWN)
            self._give(lambda: self.session.wake(self.world.now_ns))
            return
        self.tasks[ticket] = task
        self.perform(actions)
        if "late" not in self.tolerated:
            life = self._lives
            late_ns = LATE_NS if self.injector is None else LATE_NS + 3 * RETRY_NS
            self.world.at(now_ns + patience_ns + late_ns, lambda: self._check_time(ticket, life))

    def _check_time(self, ticket: int, life: int) -> None:
        """A call must have ended by its deadline."""
        if life == self._lives and ticket in self.tasks:
            call = self.tasks[ticket].call
            raise Violation("late", f"c{self.index}.{call.number} ({call.method}) is not over at its deadline")

    def _finish(self, finished: Finished) -> None:
        task = self.tasks.pop(finished.ticket, None)
        if task is None:
            assert self.has_raised, "a call that ends was made"
            return
        match finished.outcome:
            case Answered(answers=answers):
                self._answered(task, answers[0])
            case TimedOut(since=since):
                if task.since is None and since is None:
                    self._end(task, Seen.FAILED)
                    return
                if task.since is not None and "disagreed" in self.tolerated:
                    self._end(task, Seen.UNKNOWN)  # no quorum may agree on what became of it, for good
                    return
                self.world.counters["operation.unknown"] += 1
                task.since = since if task.since is None else task.since
                self.world.after(MILLISECOND, partial(self._resolve, task, self._lives))
            case Refused(reason=reason):
                self._refused(task, reason)
            case Disagreed(is_applied=is_applied) if "disagreed" in self.tolerated:
                known = {
                    True: Seen.OK if task.since is None else Seen.CANCELLED,
                    False: Seen.FAILED,
                    None: Seen.UNKNOWN,
                }
                self._end(task, known[is_applied])
            case Disagreed(method=method):
                self.failure = Violation("disagreed", f"honest servers seem to disagree about {method}")

    def _refused(self, task: Task, reason: str) -> None:
        if "refused" not in self.tolerated:
            self.failure = Violation("refused", f"{task.call.method} was refused: {reason}")
        elif task.since is None:
            self._end(task, Seen.FAILED)
        else:  # the resolve was: the outcome is as unknown as before
            self.world.after(REFUSED_NS, partial(self._resolve, task, self._lives))

    def _answered(self, task: Task, answer: bytes) -> None:
        tag = answer[:1]
        if tag in (VALUE, REJECTED):
            self._end(task, *self._workload.answer(task.call, answer))
        elif tag == CANCELLED:
            self._end(task, Seen.CANCELLED)
        elif tag == FORGOTTEN:
            if self.on_forgotten is not None and self._newest[min(task.call.objects)] == task.call.number:
                self.on_forgotten(self, task)
            self._end(task, Seen.UNKNOWN)
        else:
            self.failure = Violation("answer", f"{task.call.method} answered {answer!r}")

    def _end(self, task: Task, outcome: Seen, answer: object = UNSET) -> None:
        call = task.call
        seen = Observation(
            process=f"c{self.index}.{call.number}",
            method=call.method,
            objects=call.objects,
            arguments=self._workload.arguments(call),
            invoke_ns=task.invoke_ns,
            return_ns=None if outcome is Seen.UNKNOWN else self.world.now_ns,
            outcome=outcome,
            answer=answer,
        )
        self.world.tell(Ended(self.index, call.number, outcome.value, str(seen)))
        del self.unfinished[call.number]
        if outcome is not Seen.UNKNOWN:
            self._unsettled.pop(task.call_id, None)
        self.history.append(seen)
        if self.on_end is not None:
            self.on_end(self, task, seen)

    # --- faults -----------------------------------------------------------------------------------------------

    def die(self) -> None:
        """The process is killed; another one with the same identity starts at once and knows nothing."""
        self._lives += 1
        self._alarm.stop()
        self.world.tell(Died(self.index))
        for index, connection in self._connections.items():
            self._servers[index].close(connection)
        self._connections = {}
        self.tasks = {}
        self.session = self._new_session()
        for task in list(self.unfinished.values()):
            self._end(task, Seen.UNKNOWN)
        for server in self._servers:
            self._connect(server, self._lives)


def _operation(objects: tuple[str, ...], call: Call) -> Operation:
    return Operation(tuple(map(ObjectId, objects)), (call,))
