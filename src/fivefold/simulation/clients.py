"""A correct client of a simulation: the production session, its planned calls, and the history it saw."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from random import Random

from msgspec import UNSET

from fivefold.checker import Observation
from fivefold.checker import Outcome as Seen
from fivefold.protocol.client import Answered, ClientActions, Disagreed, Evidence, Finished, Refused, Session, TimedOut
from fivefold.protocol.editions import EditionName, is_about_editions
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
from fivefold.protocol.server import ring_key
from fivefold.protocol.times import pack_time
from fivefold.simulation.chains import Violation
from fivefold.simulation.events import Called, Died, Disconnected, Ended, Followed, Resolving
from fivefold.simulation.injection import Injected, Injector
from fivefold.simulation.network import Connection
from fivefold.simulation.plan import MILLISECOND, SECOND, PlannedCall
from fivefold.simulation.rack import client_id
from fivefold.simulation.replacement import Book, Follower
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
        attempts: how often it was made: each has a deadline of its own.
    """

    __slots__ = ("attempts", "call", "call_id", "invoke_ns", "rivals", "since")

    def __init__(self, call: PlannedCall, call_id: bytes, invoke_ns: int, rivals: tuple[bytes, ...] = ()) -> None:
        """Called now."""
        self.call, self.call_id, self.invoke_ns, self.rivals = call, call_id, invoke_ns, rivals
        self.since: int | None = None
        self.attempts = 0


class ClientHost:
    """One client identity.

    Attributes:
        index: of the client in the plan.
        machine: its number on the network.
        id: its identity.
        uses: the edition that it uses.
        session: the production machine; a new one after the client died.
        history: operations that have ended, as their caller saw them.
        tasks: operations under way, by ticket.
        unfinished: all that were called and have not ended, by their number in the plan.
        failure: what no client may ever see, if it has happened.
        on_end: hears every task that ended, with what was observed; the invariants listen here.
        on_ask: hears every frame that goes to a server.
        on_frame: hears every frame with its server, before the session does.
        on_forgotten: hears of the task of its last update on an object, if rings do not know what became of it.
        injector: lets inputs fail; None for a client of which that is not wanted.
        has_raised: whether an exception has come out of the session.
        tolerated: what the plan lets happen to calls: *refused*, *disagreed*, *late*.
        on_start: hears the ring key of each update that it makes.
        successor: the cluster that takes the old one's place, if one does.
    """

    def __init__(
        self,
        world: World,
        book: Book,
        quorums: QuorumSystem,
        workload: Workload,
        *,
        index: int,
        tolerated: frozenset[str],
        is_helping: bool = False,
    ) -> None:
        """Connect to all servers."""
        self.world, self.index, self.machine = world, index, quorums.n + index
        self.uses = 1
        self.id: ClientId = client_id(f"c{index}")
        self.history: list[Observation] = []
        self.tasks: dict[int, Task] = {}
        self.unfinished: dict[int, Task] = {}
        self.failure: Violation | None = None
        self.on_end: Callable[[ClientHost, Task, Observation], None] | None = None
        self.on_ask: Callable[[ClientHost, int, bytes], None] | None = None
        self.on_frame: Callable[[ClientHost, int, bytes], None] | None = None
        self.on_forgotten: Callable[[ClientHost, Task], None] | None = None
        self.on_start: Callable[[bytes], None] | None = None
        self.injector: Injector | None = None
        self.has_raised = False
        self.tolerated, self._is_helping = tolerated, is_helping
        self._first = self._book, self._quorums = book, quorums
        self._workload = workload
        self.successor: tuple[Book, QuorumSystem] | None = None
        self._random = world.stream(f"client/{index}")
        self._connections: dict[int, tuple[Connection, ServerHost]] = {}
        self._alarm = Alarm(world, lambda: self._give(lambda: self.session.wake(world.now_ns)))
        self._newest: dict[str, int] = {}
        self._unsettled: dict[bytes, None] = {}
        self._lives = self._era = 0
        self._begin_session()

    def _begin_session(self) -> None:
        edition = self._book.edition(self.uses)
        random = Random(self._random.getrandbits(64))
        self.session = Session(self._quorums, random, edition=edition, is_helping=self._is_helping, own=self.id)
        self._follower = Follower(self.world, self._book, self._quorums, self.uses, send=self._ask, use=self._switch)
        self._era += 1
        era = self._era
        for slot in range(self._quorums.n):
            self._connect(slot, era)

    @property
    def is_at_home(self) -> bool:
        """Whether it uses the cluster with which the run began: of another one its judges know nothing."""
        return self._book is self._first[0]

    def evidence(self) -> Sequence[Evidence]:
        """What speaks against servers in its eyes."""
        return self.session.standing.evidence()

    # --- connections ------------------------------------------------------------------------------------------

    def _connect(self, slot: int, era: int) -> None:
        """Open a connection, or try again a while later; ``era`` tells in which life, and in which cluster."""
        if era != self._era or slot in self._connections:
            return
        server = self._book.host(self.uses, slot)
        if not server.is_up or self._is_cut_off(server):
            self.world.after(RECONNECT_NS, partial(self._connect, slot, era))
            return
        self._connections[slot] = server.accept(self.machine, self.id, self._receive), server
        self._give(lambda: self.session.connected(self.world.now_ns, slot))
        self._hear(slot, server.announces())

    def _is_cut_off(self, server: ServerHost) -> bool:
        """Whether no connection to a server comes about: where editions change, it would bring the newest one."""
        pair = (self.machine, server.index)
        return self._book.newest > 1 and bool(server.network.blocked & {pair, pair[::-1]})

    def _hear(self, slot: int, name: EditionName) -> None:
        """The first that comes over a connection is which edition the server uses."""
        self.perform(self.session.announced(self.world.now_ns, slot, *name))
        self._follower.hear(slot, name)
        self._maybe_leave()

    def lose(self, server: ServerHost) -> None:
        """The connection to a server has broken; the client notices, and tries to connect anew."""
        connection, connected = self._connections.get(server.index, (None, None))
        if connection is not None and connected is server:
            self.lost(connection)

    def lost(self, connection: Connection) -> None:
        """The same of one connection."""
        slot = connection.callee
        found, server = self._connections.get(slot, (None, None))
        if found is not connection or server is None:
            return
        del self._connections[slot]
        self.world.tell(Disconnected(self.index, slot))
        server.close(connection)
        self._give(lambda: self.session.disconnected(self.world.now_ns, slot))
        self.world.after(RECONNECT_NS, partial(self._connect, slot, self._era))

    def _switch(self, number: int) -> None:
        """Take a later edition over: nothing counts any more that comes from the servers that it replaces."""
        before, self.uses = self.uses, number
        edition = self._book.edition(number)
        replaced = edition.replaced(self._book.edition(before))
        for slot in replaced:
            connection, server = self._connections.pop(slot, (None, None))
            if connection is not None and server is not None:
                server.close(connection)
                self._give(partial(self.session.disconnected, self.world.now_ns, slot))
        self.world.tell(Followed(self.index, number))
        self.world.counters["followed"] += 1
        self._follower.use(number, before)
        self.perform(self.session.switch(self.world.now_ns, edition))
        for slot in replaced:
            self._connect(slot, self._era)
        self._maybe_leave()

    def _maybe_leave(self) -> None:
        """Go to the cluster that has taken this one's place, when that is certain (M4); open calls go along."""
        has_moved = self._book.edition(self.uses).has_moved and self._follower.announced.is_agreed
        if not has_moved or self.successor is None:
            return
        self.world.counters["moved.client"] += 1
        found = self.session.leave()
        calls = [(pending, self.tasks[pending.ticket]) for pending in found if pending.ticket in self.tasks]
        self.world.counters["moved.call"] += len(calls)
        self._disconnect()
        self._go_to(*self.successor)
        tickets, actions = self.session.take(self.world.now_ns, [pending for pending, _ in calls])
        self.tasks = dict(zip(tickets, [task for _, task in calls], strict=True))
        self.perform(actions)

    def _go_to(self, book: Book, quorums: QuorumSystem, uses: int = 1) -> None:
        self._book, self._quorums, self.uses = book, quorums, uses
        self.machine = quorums.n + self.index
        self._begin_session()

    def _disconnect(self) -> None:
        self._alarm.stop()
        self._follower.is_over = True
        for connection, server in self._connections.values():
            server.close(connection)
        self._connections = {}

    def _ask(self, slot: int, frame: bytes) -> None:
        connection, server = self._connections.get(slot, (None, None))
        if connection is not None and server is not None:
            if self.on_ask is not None and self.is_at_home:
                self.on_ask(self, slot, frame)
            server.network.call(connection, frame)

    def _receive(self, connection: Connection, frame: bytes) -> None:
        if is_about_editions(frame):
            self._follower.receive(connection.callee, frame)
            return
        if self.on_frame is not None and self.is_at_home:
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
            self._ask(ask.server, ask.frame)
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
            if self.on_start is not None:
                self.on_start(ring_key(self.id, task.call_id))
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
            task.attempts = attempt = task.attempts + 1
            self.world.at(now_ns + patience_ns + late_ns, lambda: self._check_time(task, attempt, life))

    def _check_time(self, task: Task, attempt: int, life: int) -> None:
        """A call must have ended by its deadline."""
        if life == self._lives and attempt == task.attempts and task in self.tasks.values():
            call = task.call
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
            if (
                self.on_forgotten is not None
                and self.is_at_home
                and self._newest[min(task.call.objects)] == task.call.number
            ):
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
        """The process is killed; another one with the same identity starts at once and knows nothing.

        It starts with the file that is at hand, which may be an old one: clients do not write it.
        """
        self._lives += 1
        self.world.tell(Died(self.index))
        self._disconnect()
        self.tasks = {}
        for task in list(self.unfinished.values()):
            self._end(task, Seen.UNKNOWN)
        if not self.is_at_home and self._random.random() < 0.5:
            self._go_to(*self._first, self._first[0].newest)
            return
        if self.uses > 1:
            self.uses = self._random.randint(1, self.uses)
        self._begin_session()


def _operation(objects: tuple[str, ...], call: Call) -> Operation:
    return Operation(tuple(map(ObjectId, objects)), (call,))
