"""A server for real: the protocol's machine between a transport, a store and the clock."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Final

from msgspec import structs

from fivefold.cluster import Configuration
from fivefold.errors import DataDirectoryError, PeerViolation
from fivefold.native import variant
from fivefold.node.codes import Announcement, announcement_frame
from fivefold.node.sayings import SAID, Sayings, decode_saying
from fivefold.node.server.damages import note_damage, note_mended
from fivefold.node.server.links import ServerLinks
from fivefold.node.server.membership import Membership
from fivefold.node.server.room import Rooms
from fivefold.node.server.throttle import REQUEST_BYTES, Reading, Throttle
from fivefold.node.server.timings import Timings
from fivefold.node.status import STATUS, STATUS_BYTES, ServerStatus, histogram_of, resident_bytes, status_reply_frame
from fivefold.objects import Shelf, TypeDescription, describe_type
from fivefold.program import VERSION
from fivefold.protocol.actions import OWN_LINK, Actions, Ask, Channel, Damaged, ObjectRecord, Reply
from fivefold.protocol.editions import FILE, is_about_editions
from fivefold.protocol.limits import FRAME_BYTES_MAX
from fivefold.protocol.messages import LIST, SYNC, WITNESS
from fivefold.protocol.operations import ClientId, ObjectId
from fivefold.protocol.server import OWN_RECORD, Server
from fivefold.storage import Storage
from fivefold.transport import Connection, Listener, Transport

if TYPE_CHECKING:  # an extra
    from fivefold.node.tracing import ServerTracer

STAGED_BYTES_MAX: Final = 64 * 1024 * 1024
"""Staged and not yet durable: above this the server answers BUSY to what would write more."""

SLICE_FRAMES_MAX: Final = 32
"""Frames of one read that are worked on together.

A read brings up to 256 KiB, some 2,600 requests, and each may be answered with a MiB. Until the machine hands over what
they led to, nothing is sent, and no limit on answers or on what is staged is looked at.
"""

STATUS_BURST_MAX: Final = 16
"""Status requests of one read that are answered: each costs as much as a request, in nine bytes."""

ASIDE: Final = frozenset((STATUS, FILE, SAID))
"""First bytes of what clients ask that is none of the machine's business ..."""

READS: Final = frozenset((LIST, SYNC, WITNESS))
"""... and of what they ask for backups and audits."""

RARE: Final = ASIDE | READS

SHOWN_ASIDE_MAX: Final = 16
"""Objects set aside that a status names."""

RETRY_S: Final = 0.02
"""An input through which an exception came is given again this much later ..."""
ATTEMPTS_MAX: Final = 5
"""... and so often in all."""

log = logging.getLogger("fivefold.server")


class ServerNode:
    """One running server.

    Attributes:
        machine: the protocol.
        storage: where it stores; set by ``start``.
        faults: exceptions of our own so far, each of which ended one input.
        tracer: hears of requests and replies; None for nobody.
        membership: the cluster file in use, and what follows from it; None for a cluster without one.
    """

    def __init__(
        self,
        machine: Server,
        transport: Transport,
        open_storage: Callable[[Callable[[int], None]], Storage],
        *,
        storage_name: str,
        rates: Mapping[ClientId, int] | None = None,
        shelf: Shelf | None = None,
        membership: Membership | None = None,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """Nothing is opened yet.

        Args:
            machine: the protocol.
            transport: its way to the others.
            open_storage: is given the function to call when something is durable.
            storage_name: what the status calls the store.
            rates: requests a second that clients may send; who is not in it is not limited.
            shelf: the codes that it tells clients of; None to say nothing.
            membership: the cluster file and what follows from it; None if there is no file, and nothing to announce.
            clock: in ns.
        """
        self.machine = machine
        self._transport = transport
        self._open_storage = open_storage
        self._storage_name = storage_name
        self._shelf = shelf
        self._types = self._describe()
        self._clock = clock
        self._started_ns = clock()
        self._throttle = Throttle(clock, rates or {}, waiting_of=machine.waiting_of, must_wait=machine.upkeep.must_wait)
        self._connections: dict[Channel, Connection] = {}
        self._links = ServerLinks(transport, self._throttle, hear=self._hear_server, on_up=self._on_up)
        self.membership = membership
        if membership is not None:
            membership.join(transport, self._links, self._connections, machine, self._tell, clock)
        self._listener: Listener | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_ns = 0
        self._staged = self._durable = 0
        self._damaged: dict[str, str] = {}
        self._sayings = Sayings(clock)
        self._timings, self._rooms = Timings(clock), Rooms(clock)
        self.faults = 0
        self.tracer: ServerTracer | None = None

    async def start(self) -> None:
        """Open the store, listen, and connect to the other servers.

        Raises:
            ConfigurationError: the address cannot be used.
            DataDirectoryError: the store refuses.
        """
        self.storage = self._open_storage(self._on_durable)
        try:
            self._rooms.use(getattr(self.storage, "usage", None))
            await self._take_up_own_record()
            for server in range(self.machine.quorums.n):
                if server != self.machine.index:
                    self._links.start(server)
            if self.membership is not None:
                await self.membership.look_for_newer()
            self._listener = await self._transport.listen(
                on_open=self._on_open, on_frames=self._on_frames, on_close=self._on_close
            )
        except BaseException:
            await self._links.close()
            self.storage.close()
            raise

    async def _take_up_own_record(self) -> None:
        """Tell the machine what it has promised about its place among the others, before anybody can ask it anything.

        Raises:
            DataDirectoryError: that is damaged.
        """
        found: asyncio.Future[ObjectRecord | Damaged | None] = asyncio.get_running_loop().create_future()
        self.storage.load(OWN_RECORD, found.set_result)
        record = await found
        if isinstance(record, Damaged):
            raise DataDirectoryError(
                f"what this server has promised to others is damaged ({record.reason}): replace it by a new identity"
            )
        self._perform(self.machine.start(self._clock(), record))

    async def close(self) -> None:
        """Stop listening, make what is staged durable, and release everything."""
        if self._listener is not None:
            await self._listener.close()
        self._throttle.close()
        if self.membership is not None:
            self.membership.close()
        await self._links.close()
        if self._timer is not None:
            self._timer.cancel()
        await self._rooms.close()
        await asyncio.to_thread(self.storage.close)

    # --- transport --------------------------------------------------------------------------------------------

    def _on_open(self, connection: Connection) -> None:
        self._connections[connection.number] = connection
        if self.membership is not None:
            connection.send(self.membership.announcement)
        if isinstance(connection.peer, int):
            self._throttle.opened(connection, partial(self._hear_server, connection.peer, connection.number))
        else:
            if self._shelf is not None:
                connection.send(announcement_frame(self._announcement(self._shelf)))
            self._throttle.opened(connection, partial(self._hear, connection, connection.peer))

    def _on_up(self, server: int) -> None:
        """A link is up: its first frame says which edition is used here."""
        if self.membership is not None:
            self._links.send(server, self.membership.announcement)

    def activate(self, versions: Mapping[str, int]) -> None:
        """Run versions of types up to these from now on, and tell the clients."""
        if self._shelf is None:
            return
        self._shelf.active = versions
        self._types = self._describe()
        frame = announcement_frame(self._announcement(self._shelf))
        for connection in list(self._connections.values()):
            if not isinstance(connection.peer, int):
                connection.send(frame)

    def _describe(self) -> tuple[TypeDescription, ...]:
        if self._shelf is None:
            return ()
        active = self._shelf.active
        return tuple(describe_type(each, is_active=each.version <= active[each.name]) for each in self._shelf.held())

    @staticmethod
    def _announcement(shelf: Shelf) -> Announcement:
        return Announcement(shelf.types(), shelf.functions(), dict(shelf.active))

    def _on_close(self, connection: Connection) -> None:
        self._connections.pop(connection.number, None)
        self._throttle.closed(connection.number)
        if self.tracer is not None:
            self.tracer.closed(connection.number)
        self.machine.closed(connection.number)

    def _on_frames(self, connection: Connection, frames: list[bytes]) -> None:
        self.storage.give_way()
        self._throttle.arrive(connection.number, frames)

    def _hear_server(self, server: int, channel: Channel, frames: list[bytes]) -> int:
        """Frames of another server that is within its share."""
        connection = self._connections.get(channel)
        if channel != OWN_LINK and (connection is None or not connection.is_open):
            return 0  # it was closed, perhaps because another server is in this one's place now
        began = self._throttle.read()
        if self.membership is not None and any(map(is_about_editions, frames)):
            self.membership.hear(server, connection, [frame for frame in frames if is_about_editions(frame)])
            frames = [frame for frame in frames if not is_about_editions(frame)]
        if frames:
            self._give(connection, self.machine.receive_from_server, server, channel, *frames)
        self._charge_for_waiting(began)
        self._rest(began)
        return 0

    def _hear(self, connection: Connection, client: ClientId, frames: list[bytes]) -> int:
        """Frames of a client that is within its rate; how many bytes it has written, if it has a rate."""
        requests = [frame for frame in frames if frame[0] not in RARE]
        if len(requests) < len(frames):
            if any(frame[0] in READS for frame in frames):
                self._throttle.reads_all(connection.number)
            requests = [frame for frame in frames if frame[0] not in ASIDE]
            self._answer_status(client, connection, [frame for frame in frames if frame[0] == STATUS])
            if self.membership is not None:
                self.membership.answer(connection, [frame for frame in frames if frame[0] == FILE])
            for frame in frames:
                if frame[0] == SAID:
                    self._hear_saying(client, frame)
        written = 0
        for start in range(0, len(requests), SLICE_FRAMES_MAX):
            if not connection.is_open:
                break  # it took no answers and is given up: nobody waits for the rest
            self._check_storage()
            part = requests[start : start + SLICE_FRAMES_MAX]
            if self.tracer is not None:
                self.tracer.received(client, connection.number, part)
            actions = self._give(connection, self.machine.receive_from_client, client, connection.number, *part)
            if actions is not None and actions.store and self._throttle.bucket_of(client) is not None:
                written += sum(len(row) for store in actions.store for write in store.writes for _, row in write.put)
        return written

    def _hear_saying(self, client: ClientId, frame: bytes) -> None:
        try:
            saying = decode_saying(frame, self.machine.quorums.n)
        except PeerViolation as violation:
            self.machine.counters[f"rejected.{violation.reason}"] += 1
            return
        if self._sayings.hear(client, saying, self._since):
            log.warning("client %s says of server %d: %s", client.hex(), saying.server, saying.what)

    @property
    def _since(self) -> Sequence[int]:
        return () if self.membership is None else self.membership.since

    def _answer_status(self, client: ClientId, connection: Connection, frames: list[bytes]) -> None:
        whole = [frame for frame in frames if len(frame) == STATUS_BYTES]
        answered = whole[:STATUS_BURST_MAX]
        if len(whole) < len(frames):
            self.machine.counters["rejected.status-malformed"] += len(frames) - len(whole)
        if len(answered) < len(whole):
            self.machine.counters["rejected.status-burst"] += len(whole) - len(answered)
        if answered:
            status = self.status(client)
            for frame in answered:
                connection.send(status_reply_frame(frame, status))

    def follow(self, configuration: Configuration) -> None:
        """Use another cluster file: a later edition, or other clients and rates."""
        assert self.membership is not None, "only a cluster with a file has one that changes"
        self.membership.follow(configuration)
        self._throttle.replace(configuration.rates)

    # --- what the machine asks for ----------------------------------------------------------------------------

    # An exception of our own ends one input, and loses no other's work. The machine ends most of them itself and says
    # so (``Actions.faults``); what it had to hand over when one came through it hands over with its next input.

    def _give(self, connection: Connection | None, take: Callable[..., Actions], *arguments: object) -> Actions | None:
        """Give the machine frames, and do what it asks for, which is returned."""
        try:
            actions = take(self._clock(), *arguments)
        except Exception as error:
            self._report("working on frames", error, connection)
            asyncio.get_running_loop().call_later(RETRY_S, self._tell, self.machine.wake)
            return None
        self._perform(actions)
        return actions

    def _tell(
        self, take: Callable[..., Actions], *arguments: object, attempts: int = ATTEMPTS_MAX, is_unasked: bool = False
    ) -> None:
        """Tell the machine what nobody else will tell it again: an exception that comes through is no end of it."""
        began = self._throttle.read()
        try:
            actions = take(self._clock(), *arguments)
        except Exception as error:
            self._report("taking note of what the store or the clock says", error, None)
            if attempts > 1:
                again = partial(self._tell, take, *arguments, attempts=attempts - 1)
                asyncio.get_running_loop().call_later(RETRY_S, again)
            return
        self._perform(actions)
        self._charge_for_waiting(began)
        if is_unasked or not self.machine.membership.is_standing:
            self._rest(began)

    def _rest(self, began: Reading) -> None:
        """Background work has begun then and is over: no more of it is begun until clients have had their part."""
        self.machine.upkeep.rest_until_ns = self._throttle.rest(self._throttle.upkeep, began)

    def _charge_for_waiting(self, began: Reading) -> None:
        """Requests that had waited were worked on: the time for these counts for their clients."""
        clients = self.machine.take_resumed()
        if clients:
            self._throttle.resumed(clients, began)

    def _perform(self, actions: Actions) -> None:
        for store in actions.store:
            self._staged = store.sequence
            self._timings.staged(store.sequence)
            if self._damaged:
                note_mended(self._damaged, store)
            self.storage.stage(store.sequence, store.writes)
        for message in actions.send:
            try:
                self._send(message)
            except Exception as error:  # one reply that cannot be sent: the others and the loads are not to wait for it
                connection = self._connections.get(message.channel) if isinstance(message, Reply) else None
                self._report("sending a message", error, connection)
        self._timings.sent(actions.send)
        for name in actions.load:
            try:
                self.storage.load(name, self._loaded(ObjectId(name)))
            except Exception as error:
                self._report(f"reading {name}", error, None)
        for listing in actions.lists:
            try:
                done = partial(self._tell, self.machine.listed, listing.number, is_unasked=True)
                self.storage.list_objects(listing.after, listing.objects_max, listing.bytes_max, done)
            except Exception as error:
                self._report("listing objects", error, None)
        if actions.wake_at_ns is not None:
            self._wake_at(actions.wake_at_ns)
        for fault in actions.faults:
            channel = fault.channel
            self._report(fault.what, fault.error, None if channel is None else self._connections.get(channel))
            if fault.objects:
                log.error("set aside: %s", ", ".join(map(repr, fault.objects)))

    def _send(self, message: Reply | Ask) -> None:
        if isinstance(message, Ask):
            self._links.send(message.server, message.frame)
            return
        connection = self._connections.get(message.channel)
        if self.tracer is not None:
            self.tracer.sent(message)
        if connection is not None:
            self._answer(connection, message.frame)
            if len(message.frame) >= REQUEST_BYTES:
                self._throttle.sent(message.channel, len(message.frame))

    def _report(self, what: str, error: Exception, connection: Connection | None) -> None:
        """An exception of our own: log it with its stack, and close the connection whose input it was."""
        self.faults += 1
        log.error("an error in this server while %s: please report it", what, exc_info=error)
        if connection is not None:
            connection.close()

    def _answer(self, connection: Connection, frame: bytes) -> None:
        if len(frame) <= FRAME_BYTES_MAX:
            connection.send(frame)
            return
        # Nobody could read it. The peer is told by the end of its connection; nothing else of this input is lost.
        self.machine.counters["rejected.answer-too-long"] += 1
        log.error("an answer of %d bytes to %s was not sent", len(frame), connection.peer)
        connection.close()

    def _loaded(self, object_id: ObjectId) -> Callable[[ObjectRecord | Damaged | None], None]:
        def hear(record: ObjectRecord | Damaged | None) -> None:
            note_damage(self._damaged, object_id, record)
            self._tell(self.machine.loaded, object_id, record)

        return hear

    def _on_durable(self, sequence: int) -> None:
        self._durable = sequence
        self._timings.durable(sequence)
        self._tell(self.machine.durable, sequence)

    def _wake_at(self, at_ns: int) -> None:
        if self._timer is not None:
            if self._timer_ns <= at_ns:
                return
            self._timer.cancel()
        self._timer_ns = at_ns
        delay_s = max(0, at_ns - self._clock()) / 1e9
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._wake)

    def _wake(self) -> None:
        self._timer = None
        self._tell(self.machine.wake, is_unasked=True)

    def _check_storage(self) -> None:
        """Promise nothing that cannot be kept: without a working store, what would write is answered BUSY."""
        failure = self.storage.failure
        if failure is None and self.storage.staged_bytes > STAGED_BYTES_MAX:
            failure = "the disk is slower than the requests: fewer at a time, please"
        if failure != self.machine.storage_failure:
            self.machine.storage_failure = failure
            if failure is None:
                log.info("storage works again")
            else:
                log.error("storage fails, promising nothing: %s", failure)

    # --- for the operator -------------------------------------------------------------------------------------

    @property
    def refused_connections(self) -> Mapping[str, int]:
        """Refused connections by reason."""
        return self._listener.counters if self._listener is not None else {}

    @property
    def throttled(self) -> int:
        """Requests that had to wait because their client was over its rate."""
        return self._throttle.waited

    def status(self, reader: ClientId | None = None) -> ServerStatus:
        """The server as it sees itself; with what it was asked lately, as far as the reader may know of it."""
        activity, lately = self.machine.activity, None
        if reader is not None:
            lately = activity.lately(self._clock(), reader)
            lately = structs.replace(lately, clients=self._throttle.told(lately.clients))
        self._check_storage()
        more = {f"refused.{reason}": count for reason, count in self.refused_connections.items()}
        if self.throttled:
            more["throttled"] = self.throttled
        if self.faults:
            more["faults"] = self.faults
        return ServerStatus(
            index=self.machine.index,
            version=VERSION,
            storage=self._storage_name,
            storage_failure=self.machine.storage_failure,
            uptime_s=(self._clock() - self._started_ns) / 1e9,
            cached_objects=self.machine.cached_objects,
            transactions=(self._staged, self._durable),
            connections=len(self._connections),
            clients=len({each.peer for each in self._connections.values() if not isinstance(each.peer, int)}),
            counters=dict(sorted({**self.machine.counters, **more}.items())),
            types=self._types,
            memory_bytes=resident_bytes(),
            damaged=dict(self._damaged),
            set_aside=dict(islice(self.machine.set_aside.items(), SHOWN_ASIDE_MAX)),
            place=None if self.membership is None else self.membership.place(),
            said=self._sayings.shown(self._since),
            durations={
                "reply": histogram_of(self._timings.replies),
                "commit": histogram_of(self._timings.commits),
                "sync": histogram_of(activity.syncs),
            },
            lately=lately,
            queues={**activity.queues, "staged_bytes": self.storage.staged_bytes},
            cached_bytes=activity.cached_bytes,
            room=self._rooms.latest(),
            variant=variant(),
        )
