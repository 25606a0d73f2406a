"""The cluster that takes the place of one that has moved (M4): its servers begin with the mover's copy.

It has a network, an edition and a watch of its own, of which the old cluster's faults know nothing. Some of its servers
start late, and some crash: what q of them hold is enough. What clients call is watched in both clusters: a call that
was applied in the old one must not be applied again, and none must be missing here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from fivefold.protocol.actions import Write
from fivefold.protocol.history import INITIAL_TIMESTAMP, encode_history
from fivefold.protocol.operations import ObjectId
from fivefold.protocol.quorums import QuorumSystem
from fivefold.protocol.records import Candidate, Entry, LogicalTimestamp, Part
from fivefold.protocol.server import decode_version, rows_of
from fivefold.simulation.clients import ClientHost
from fivefold.simulation.disk import Disk
from fivefold.simulation.events import Event
from fivefold.simulation.executors import TroubledExecutor
from fivefold.simulation.network import Connection, Network
from fivefold.simulation.plan import MILLISECOND, Plan, Weather
from fivefold.simulation.replacement import Book
from fivefold.simulation.rights import Rules
from fivefold.simulation.servers import ServerHost
from fivefold.simulation.watch import Watch
from fivefold.simulation.workload import Workload
from fivefold.simulation.world import World

TROUBLE_NS = 1500 * MILLISECOND
"""For so long after they were made servers start late and crash."""

Copied = Mapping[ObjectId, tuple[LogicalTimestamp, bytes]]
"""The newest version of each object, as servers hand it over, with its timestamp."""


class Annexe(World):
    """The same world, for a second cluster: what happens is in the digest and not among the events that are kept.

    Events name servers by number, and the numbers are the old cluster's.
    """

    def __init__(self, world: World) -> None:
        """Clock, events to come and digest are those of the world."""
        self.__dict__ = world.__dict__

    def tell(self, event: Event) -> None:
        """Record it in the digest alone."""
        kept, self.happened = self.happened, None
        super().tell(event)
        self.happened = kept


class Successor:
    """The new cluster.

    Attributes:
        quorums: its size.
        book: its edition.
        watch: what its servers hold.
        servers: none until it is made.
    """

    def __init__(
        self, world: World, plan: Plan, workload: Workload, watch: Watch, clients: Sequence[ClientHost]
    ) -> None:
        """Nothing is made yet; ``watch`` is that of the old cluster."""
        n, t, b = plan.successor
        self.quorums, self.book = QuorumSystem(n, t, b), Book(n)
        self._world, self._plan, self._workload, self._clients = Annexe(world), plan, workload, clients
        self._network = Network(self._world, plan.weather)
        self._network.on_reset = self._reset
        self._random = world.stream("successor")
        self.servers: list[ServerHost] = []
        self.watch = Watch(self.quorums, 0, self._world.tell)
        self.watch.names, self.watch.issued, self.watch.rights = watch.names, watch.issued, watch.rights
        watch.later = self.watch

    def make(self, copied: Copied) -> None:
        """Make its servers, each with all that was copied; q of them start at once, the others later."""
        for index in range(self.quorums.n):
            self.servers.append(self._server(index, copied))
        self.book.hosts = {server.index: server for server in self.servers}
        order = self._random.sample(self.servers, len(self.servers))
        for server in order[self.quorums.q :]:
            self._stop(server)
            self._later(server.restart)
        for server in order[: self._random.randint(0, self.quorums.t)]:
            self._later(partial(self._crash, server))

    def _server(self, index: int, copied: Copied) -> ServerHost:
        plan, world, name = self._plan, self._world, f"successor/{index}"
        weather = plan.weather
        disk = Disk(world, world.stream(f"{name}/disk"), commit_ns=weather.commit_ns, load_ns=weather.load_ns)
        host = ServerHost(
            world,
            self._network,
            disk,
            index=index,
            quorums=self.quorums,
            executor=TroubledExecutor(self._workload.executor, world.stream(f"{name}/trouble"), index),
            rules=Rules(self.watch.rights),
            cached_objects_max=plan.cached_objects_max,
            book=self.book,
        )
        disk.on_commit = lambda writes: self.watch.committed(index, disk, writes)
        host.on_reply = lambda frame: self.watch.replied(index, host.machine, frame)
        for object_id, (timestamp, version) in sorted(copied.items()):  # as upkeep/restoring.py does
            candidate = Candidate(timestamp, (Part(object_id, INITIAL_TIMESTAMP, None),))
            disk.put(
                Write(
                    object_id, encode_history((Entry(candidate, False),)), rows_of({timestamp: decode_version(version)})
                )
            )
        return host

    # --- trouble ----------------------------------------------------------------------------------------------

    def _later(self, act: Callable[[], None]) -> None:
        self._world.after(self._random.randrange(TROUBLE_NS), act)

    def _stop(self, server: ServerHost) -> None:
        server.crash()
        for client in self._clients:
            client.lose(server)

    def _crash(self, server: ServerHost) -> None:
        """It crashes and starts again, if q others run."""
        if server.is_up and sum(other.is_up for other in self.servers) > self.quorums.q:
            self._stop(server)
            self._later(server.restart)

    def _reset(self, connection: Connection) -> None:
        index = connection.caller - self.quorums.n
        if 0 <= index < len(self._clients):
            self._clients[index].lost(connection)

    def heal(self, weather: Weather) -> None:
        """All servers run, and nothing is lost any more."""
        self._network.weather = weather
        for server in self.servers:
            server.restart()
