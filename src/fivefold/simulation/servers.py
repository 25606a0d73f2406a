"""A server of a simulation: the production machine between a simulated disk and the simulated network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Final

from fivefold.errors import PeerViolation
from fivefold.protocol.actions import Actions, Ask, Channel, Damaged, ObjectRecord, Page, Reply
from fivefold.protocol.editions import FILE, EditionName, decode_edition_frame, file_reply_frame, is_about_editions
from fivefold.protocol.operations import ClientId, ObjectId
from fivefold.protocol.quorums import QuorumSystem
from fivefold.protocol.records import LogicalTimestamp
from fivefold.protocol.server import Server
from fivefold.simulation.disk import Disk
from fivefold.simulation.events import CommitFailed, Crashed, Restarted, Switched
from fivefold.simulation.executors import TroubledExecutor
from fivefold.simulation.injection import Injected, Injector
from fivefold.simulation.network import Connection, Deliver, Network
from fivefold.simulation.plan import MILLISECOND
from fivefold.simulation.replacement import Book, Follower, Member
from fivefold.simulation.rights import Rules
from fivefold.simulation.world import Alarm, World

Input = Callable[[Server], Actions]

ATTEMPTS_MAX: Final = 5
"""How often an input that raises is given again, as by a driver."""

RETRY_NS: Final = 20 * MILLISECOND
"""... and how long after."""


class ServerHost:
    """One server: its machine while it runs, its disk always.

    Attributes:
        index: of the server in the cluster.
        machine: the production state machine; a new one after every start.
        disk: what survives a crash.
        is_up: whether it runs.
        is_paused: whether it runs but does nothing: inputs wait.
        counters: the machine's, over all its starts.
        on_established: told of what it has found to be established.
        on_reply: looks at every frame that leaves to a client or another server; the invariants listen here.
        rules: who may do what here.
        executor: runs methods here.
        book: all editions.
        member: which identity this is, and what edition it uses.
        follower: what it hears of newer editions.
        injector: lets inputs fail; None for a server of which that is not wanted.
    """

    def __init__(
        self,
        world: World,
        network: Network,
        disk: Disk,
        *,
        index: int,
        quorums: QuorumSystem,
        executor: TroubledExecutor,
        rules: Rules,
        cached_objects_max: int = 1000,
        book: Book | None = None,
        member: Member | None = None,
        unverified_max: int | None = None,
        is_helping: bool = False,
    ) -> None:
        """Start it; with ``unverified_max`` it verifies what clients leave."""
        self.world, self.network, self.disk, self.index = world, network, disk, index
        self.book, self.member = book or Book(quorums.n), member or Member(index)
        self.keys = self.book.keys(index, self.member)
        self.is_up, self.is_paused = True, False
        self.on_reply: Callable[[bytes], None] | None = None
        self.rules, self.executor = rules, executor
        self.injector: Injector | None = None
        self._quorums, self._cached_objects_max = quorums, cached_objects_max
        self._connections: dict[Channel, tuple[Connection, ClientId | None]] = {}
        self._calls: dict[int, tuple[Connection, ServerHost]] = {}
        self._backlog: list[tuple[Input, Connection | None]] = []
        self._unverified_max, self._is_helping = unverified_max, is_helping
        self.on_established: Callable[[ObjectId, LogicalTimestamp], None] | None = None
        self._boots = 0
        self._alarm = Alarm(world, lambda: self._input(lambda machine: machine.wake(world.now_ns)))
        self.counters: Counter[str] = Counter()
        self._boot()
        disk.on_durable = self._durable
        disk.on_failure = lambda: world.tell(CommitFailed(index))

    def _boot(self) -> None:
        self.machine = Server(
            self._quorums,
            self.keys,
            self.executor,
            self.rules,
            cached_objects_max=self._cached_objects_max,
            counters=self.counters,
            edition=self.book.edition(self.member.uses),
            has_scrub=self._unverified_max is not None,
        )
        self.machine.pool.is_open = self._is_helping
        unverified = self.machine.upkeep.unverified
        if unverified is not None and self._unverified_max is not None:
            unverified.open_max = self._unverified_max
            unverified.on_established = self._tell_established
        self.follower = Follower(
            self.world, self.book, self._quorums, self.member.uses, send=self._call, use=self.switch
        )
        self.perform(self.machine.start(self.world.now_ns, self.disk.own_record()))

    def _tell_established(self, name: ObjectId, timestamp: LogicalTimestamp) -> None:
        if self.on_established is not None:
            self.on_established(name, timestamp)

    @property
    def boots(self) -> int:
        """How often it has stopped."""
        return self._boots

    # --- editions ---------------------------------------------------------------------------------------------

    def knows(self, other: ServerHost) -> bool:
        """Whether the other's identity is in the edition that this one uses."""
        return self.book.knows(self.member, other.member, other.index)

    def announces(self) -> EditionName:
        """Which edition it says that it uses, to whom it has a connection with."""
        return self.book.edition(self.member.uses).name

    def hands_over(self, name: EditionName) -> bytes | None:
        """What it answers to whom asks it for an edition: what is written in it, or nothing; None for no answer."""
        return self.book.contents(name) if name == self.book.edition(self.member.uses).name else b""

    def switch(self, number: int) -> None:
        """Use a later edition: close the connections of all clients, and of identities that are over."""
        before = self.member.uses
        if self.member.is_ended or before == number or not self.is_up:
            return
        self.follower.use(number, before)
        self.member.uses = number
        self.keys = self.book.keys(self.index, self.member)
        for connection, client in list(self._connections.values()):
            if client is None:
                self.close(connection)
            else:
                self._break(connection)
        for connection, peer in list(self._calls.values()):
            peer.close(connection)
        self._calls = {}
        edition, keys = self.book.edition(number), self.keys
        self._input(lambda machine: machine.switch(self.world.now_ns, edition, keys))
        self.world.tell(Switched(self.index, number))
        self.announce()

    def announce(self) -> None:
        """Exchange with all others which editions are in use."""
        for other in list(self.book.hosts.values()):
            if other is not self and self._reaches(other):
                other.hear(self)
                self.hear(other)

    def _reaches(self, other: ServerHost) -> bool:
        """Whether there are connections between the two."""
        pair = (self.index, other.index)
        is_open = not self.network.blocked & {pair, pair[::-1]}
        return is_open and other.is_up and self.is_up and self.knows(other) and other.knows(self)

    def hear(self, other: ServerHost) -> None:
        """Another server's connection names its edition."""
        index, name = other.index, other.announces()
        self._input(lambda machine: machine.announced(self.world.now_ns, index, name.number, name.digest))
        if self.book.is_handed_on:
            self.follower.hear(index, name)

    def _hand_over(self, connection: Connection, frame: bytes) -> None:
        try:
            kind, name, _ = decode_edition_frame(frame)
        except PeerViolation:
            return
        contents = self.hands_over(name) if kind == FILE and self.is_up and not self.is_paused else None
        if contents is not None:
            self.network.reply(connection, file_reply_frame(name, contents))

    # --- connections ------------------------------------------------------------------------------------------

    def accept(self, caller: int, client: ClientId | None, on_reply: Deliver) -> Connection:
        """A new connection from a client, or from another server if ``client`` is None."""
        connection = self.network.connect(caller, self.index, self._receive, on_reply)
        self._connections[connection.channel] = (connection, client)
        return connection

    def close(self, connection: Connection) -> None:
        """The connection is gone."""
        connection.is_open = False
        if self._connections.pop(connection.channel, None) is not None and self.is_up:
            self.machine.closed(connection.channel)

    def _receive(self, connection: Connection, frame: bytes) -> None:
        if frame and is_about_editions(frame):
            self._hand_over(connection, frame)
            return
        client = self._connections[connection.channel][1]
        now, channel = self.world, connection.channel
        if client is None:
            caller = connection.caller
            self._input(lambda machine: machine.receive_from_server(now.now_ns, caller, channel, frame), connection)
        else:
            self._input(lambda machine: machine.receive_from_client(now.now_ns, client, channel, frame), connection)

    def _receive_answer(self, connection: Connection, frame: bytes) -> None:
        """Another server's answer to an ask of ours."""
        callee = connection.callee
        if is_about_editions(frame):
            if self.is_up:
                self.follower.receive(callee, frame)
            return
        self._input(
            lambda machine: machine.receive_from_server(self.world.now_ns, callee, Channel(0), frame), connection
        )

    def _call(self, server: int, frame: bytes) -> None:
        """Ask another server, over one connection that is opened when needed."""
        connection, peer = self._calls.get(server, (None, None))
        if connection is None or not connection.is_open:
            peer = self.book.host(self.member.uses, server)
            if not (peer.is_up and peer.knows(self)):
                return
            connection = peer.accept(self.index, None, self._receive_answer)
            self._calls[server] = connection, peer
        self.network.call(connection, frame)

    # --- running the machine ----------------------------------------------------------------------------------

    def _input(self, give: Input, connection: Connection | None = None) -> None:
        """Give the machine an input, now or when the pause is over; frames with the connection they came over."""
        if self.is_paused:
            self._backlog.append((give, connection))
        elif self.is_up:
            self.machine.storage_failure = self.disk.failure
            if self.injector is None:
                self.perform(give(self.machine))
            else:
                self._input_unluckily(self.injector, give, connection, ATTEMPTS_MAX)

    def _input_unluckily(self, injector: Injector, give: Input, connection: Connection | None, attempts: int) -> None:
        """An input that may raise: a driver closes the connection, and tells again what nobody else would tell."""
        try:
            actions = injector.run(lambda: give(self.machine))
        except Injected:
            boot = self._boots
            if connection is not None:
                self._break(connection)
                give, attempts = (lambda machine: machine.wake(self.world.now_ns)), ATTEMPTS_MAX + 1

            def again() -> None:
                if boot == self._boots and self.is_up:
                    self._input_unluckily(injector, give, None, attempts - 1)

            if attempts > 1:
                self.world.after(RETRY_NS, again)
            return
        self.perform(actions)

    def _break(self, connection: Connection) -> None:
        self.network.on_reset(connection)
        self.close(connection)

    def perform(self, actions: Actions) -> None:
        """Carry actions out, in the order of their fields. An exception of our own fails the run, unless injected."""
        for store in actions.store:
            self.disk.stage(store.sequence, store.writes)
        for message in actions.send:
            if isinstance(message, Reply):
                self.send(message)
            else:
                self.ask(message)
        for name in actions.load:
            self.disk.load(name, partial(self._loaded, ObjectId(name), self._boots))
        for listing in actions.lists:
            heard = partial(self._listed, listing.number, self._boots)
            self.disk.list_objects(listing.after, listing.objects_max, listing.bytes_max, heard)
        self._alarm.set(actions.wake_at_ns)
        for fault in actions.faults:
            if not isinstance(fault.error, Injected):
                raise fault.error
            found = None if fault.channel is None else self._connections.get(fault.channel)
            if found is not None:
                self._break(found[0])

    def send(self, reply: Reply) -> None:
        """Send a reply back over the connection that the request came on."""
        if self.on_reply is not None:
            self.on_reply(reply.frame)
        found = self._connections.get(reply.channel)
        if found is not None:
            self.network.reply(found[0], reply.frame)

    def ask(self, ask: Ask) -> None:
        """Send a frame to another server."""
        self._call(ask.server, ask.frame)

    def _loaded(self, object_id: ObjectId, boot: int, record: ObjectRecord | Damaged | None) -> None:
        if boot == self._boots:
            self._input(lambda machine: machine.loaded(self.world.now_ns, object_id, record))

    def _listed(self, number: int, boot: int, page: Page | Damaged) -> None:
        if boot == self._boots:
            self._input(lambda machine: machine.listed(self.world.now_ns, number, page))

    def _durable(self, sequence: int) -> None:
        self._input(lambda machine: machine.durable(self.world.now_ns, sequence))

    # --- faults -----------------------------------------------------------------------------------------------

    def crash(self) -> None:
        """Stop at once: what is not durable is lost, and every connection breaks."""
        if not self.is_up:
            return
        self.is_up, self.is_paused = False, False
        self.follower.is_over = True
        self._boots += 1
        self._alarm.stop()
        self._backlog = []
        self.world.tell(Crashed(self.index, self.disk.crash()))
        for connection, _ in self._connections.values():
            connection.is_open = False
        for connection, peer in self._calls.values():
            peer.close(connection)
        self._connections, self._calls = {}, {}

    def restart(self) -> None:
        """Start again from the disk."""
        if not self.is_up and not self.member.is_ended:
            self.is_up = True
            self._boot()
            self.world.tell(Restarted(self.index))
            self.announce()

    def pause(self) -> None:
        """Do nothing for a while, and forget nothing (a stopped process)."""
        self.is_paused = self.is_up

    def resume(self) -> None:
        """Go on, with everything that has come in since."""
        self.is_paused = False
        waiting, self._backlog = self._backlog, []
        for give, connection in waiting:
            self._input(give, connection)
