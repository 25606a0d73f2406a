"""One server as a state machine: verify → set up → validate → fetch → execute → accept → reply (PROTOCOL §4).

A client names neither a step nor a timestamp: both are derived from the histories it sends. Here stand the inputs, and
what requests wait for: an object being loaded, a version being fetched. What is done with a request that waits for
nothing stands in ``ordinary`` and ``examination``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial

from fivefold.errors import PeerViolation
from fivefold.native import native
from fivefold.protocol.actions import NOBODY, Actions, Channel, Damaged, Fault, ObjectRecord, Page
from fivefold.protocol.authenticators import AuthenticatorKeys
from fivefold.protocol.editions import Edition, EditionName, first_edition
from fivefold.protocol.limits import CACHED_BYTES_MAX, PENDING_BYTES_MAX, PENDING_REQUESTS_MAX, RETRY_AFTER_FAULT_NS
from fivefold.protocol.messages import BUSY, DECLINED, REQUEST, decode_operation, decode_request, split
from fivefold.protocol.operations import AccessPolicy, ClientId, Codes, Executor, ObjectId, Operation
from fivefold.protocol.quorums import QuorumSystem
from fivefold.protocol.records import Request
from fivefold.protocol.server.acceptance import Acceptance
from fivefold.protocol.server.activity import Activity
from fivefold.protocol.server.admission import (
    SERVER,
    Declined,
    SyncWork,
    Work,
    admit,
    choose_executor,
    server_client,
)
from fivefold.protocol.server.announcing import Announcing
from fivefold.protocol.server.cache import Cache
from fivefold.protocol.server.catchup import Progress
from fivefold.protocol.server.examination import Examination
from fivefold.protocol.server.fetching import Fetching
from fivefold.protocol.server.listing import Lists
from fivefold.protocol.server.loading import AdoptionWork, Loads, Waiting
from fivefold.protocol.server.membership import Membership
from fivefold.protocol.server.native import NativeRequests
from fivefold.protocol.server.ordinary import OrdinaryRequests
from fivefold.protocol.server.outbox import Outbox
from fivefold.protocol.server.peers import Peers, Receivers
from fivefold.protocol.server.pool import Pool, Queries
from fivefold.protocol.server.replies import Replies
from fivefold.protocol.server.shares import Shares
from fivefold.protocol.server.synchronise import SyncTable, sync_answer
from fivefold.protocol.server.taking import Taking
from fivefold.protocol.server.upkeep import Own, Upkeep


class Server:
    """One replica of everything.

    Attributes:
        upkeep: what is done here without being asked.
        membership: which edition is used here, and what was promised about it.
        pool: calls that clients have announced.
        activity: what it was asked lately, and what it has under way.
        counters: how often what happened, by name: rejections of bad messages, histories culled by server, steps by
            kind, syncs.
        storage_failure: set by the driver while nothing can be made durable; requests that would write are then
            answered BUSY.
    """

    def __init__(
        self,
        quorums: QuorumSystem,
        keys: AuthenticatorKeys,
        executor: Executor,
        access: AccessPolicy,
        *,
        cached_objects_max: int = 100_000,
        cached_bytes_max: int = CACHED_BYTES_MAX,
        has_store: bool = True,
        counters: Counter[str] | None = None,
        codes: Codes | None = None,
        edition: Edition | None = None,
        has_scrub: bool = False,
        queries: Queries | None = None,
    ) -> None:
        """Start with an empty cache; objects are loaded when first needed.

        A server whose identity is not the first in its slot is a newcomer until its own record says otherwise.

        With ``codes`` an operation runs by the code that it names, and is declined where this server has other code;
        without, ``executor`` runs whatever is named. ``queries`` says to whom announced calls are shown.

        Without a store nothing is loaded or written, and the cache, whatever its size was to be, keeps every object.
        """
        self.quorums, self.keys, self.index = quorums, keys, keys.own_index
        self.counters: Counter[str] = Counter() if counters is None else counters
        self.storage_failure: str | None = None
        self._executor, self._access, self._has_store = executor, access, has_store
        self._executor_for = partial(choose_executor, executor, codes)
        replicas = self._replicas = Cache(cached_objects_max if has_store else None, cached_bytes_max)
        self._loads, self._shares = Loads(), Shares()
        self._numbers, self._resumed = dict[Channel, int](), list[ClientId]()
        self._syncs: SyncTable[Work] = SyncTable(self.index, quorums, 0, self.counters)
        self._outbox = Outbox(has_store=has_store)
        self.membership = Membership(quorums, self.index, edition or first_edition(quorums.n), self._outbox)
        self.pool = Pool(access, queries, self.counters)
        self._replies = Replies(keys, self.membership, self._outbox, self.counters, executor, self.pool)
        self._lists = Lists(self._replicas, self.membership, self._outbox, access, self.counters)
        deliver = partial(self._receive_request, client=server_client(self.index), channel=NOBODY)
        own = Own(deliver, self._replies.authenticator, self._replies.expected) if has_scrub else None
        self.upkeep = Upkeep(quorums, self.membership, self._outbox, self._replicas, self._loads, self.counters, own)
        self._acceptance = acceptance = Acceptance(self._replicas, self._outbox, self.upkeep.unverified)
        self.activity = Activity(replicas, self._outbox, self._loads, self._syncs, access)
        self._examination = Examination(executor, replicas, acceptance, self._replies, self.counters, self.activity)
        go_on = self._resume, self._fault
        self._fetching = Fetching(
            self._syncs, self._shares, self._replies, self._outbox, self.activity, self._examination, *go_on
        )
        announcing = Announcing(quorums.n, self._numbers, self.pool, self._judge, self._loads, self._syncs)
        receivers = Receivers(
            self._serve_sync, self._fetching.receive, self._receive_request, lambda: self._is_full, announcing.receive
        )
        self._peers = Peers(receivers, access, self.membership, self.upkeep, self._lists, self._outbox, self.counters)
        self._ordinary = OrdinaryRequests(quorums, self._executor_for, access, self._replies.macs, self.pool.objects)
        taking = self._taking = Taking(self._ordinary, replicas, self._replies, self._peers, acceptance, self._outbox)
        self.natively = NativeRequests.of(native, taking, quorums.q, self._numbers, self.activity.asked)

    @property
    def progress(self) -> Progress:
        """How far a newcomer is."""
        return self.upkeep.progress

    @property
    def set_aside(self) -> Mapping[ObjectId, str]:
        """Objects that an exception has left half changed, and why they answer BUSY."""
        return self._acceptance.aside

    @property
    def cached_objects(self) -> int:
        """Objects in memory."""
        return len(self._replicas)

    @property
    def pending_requests(self) -> int:
        """Requests that wait for the store, for a load or for an object sync."""
        return self._outbox.waiting_count + self._loads.parked_count + self._syncs.parked_count

    def waiting_of(self, client: ClientId) -> int:
        """How many requests of a client wait for a load or an object sync."""
        return self._shares.requests.get(client, 0)

    @property
    def _is_full(self) -> bool:
        """Whether no further request is taken: too many wait, or what waits takes too much memory."""
        outbox = self._outbox
        waiting = outbox.waiting_count + self._loads.parked_count + self._syncs.parked_count
        return waiting >= PENDING_REQUESTS_MAX or outbox.waiting_bytes + self._shares.size >= PENDING_BYTES_MAX

    def take_resumed(self) -> list[ClientId]:
        """Whose requests had waited and were worked on since this was last asked: the time counts for these clients."""
        resumed, self._resumed = self._resumed, []
        return resumed

    # --- inputs -----------------------------------------------------------------------------------------------

    # Each input is done piece by piece: a frame, a request that waited. An exception of our own (no memory, an
    # assertion) ends its piece and no other. What else has to be done is noted before anything can raise, in plain
    # containers; counters are made anew afterwards.

    def start(self, now_ns: int, record: ObjectRecord | None) -> Actions:
        """Before anything else: the store's record of OWN_RECORD."""
        self.upkeep.start(record)
        return self._flush(now_ns)

    def announced(self, now_ns: int, server: int, number: int, digest: bytes) -> Actions:
        """Another server's newest connection says which edition it uses."""
        self.membership.hear(server, EditionName(number, digest))
        self.upkeep.announced()
        return self._flush(now_ns)

    def switch(self, now_ns: int, edition: Edition, keys: AuthenticatorKeys) -> Actions:
        """Use a newer edition, whose name the driver has made durable (R2).

        Histories under old keys of a replaced server are culled from now on, in requests that wait, too.
        """
        if self.index in edition.replaced(self.membership.edition):
            self.counters["rejected.replaced-myself"] += 1  # this identity is over: its driver ends it
            return self._flush(now_ns)
        self.keys = self._replies.keys = keys
        self._replicas.forget_macs()
        self.upkeep.use(now_ns, edition)
        self._peers.witness.seen.clear()  # of servers that may be replaced
        for work in [*self._loads.take_requests(), *self._syncs.end_all()]:
            try:
                self._shares.leave(work)
                if work.channel in self._numbers:
                    self._resumed.append(work.client)
                    self._judge(now_ns, work, work.operation)
            except Exception as error:
                self._fault("judging a request again", work.channel, error)
        return self._flush(now_ns)

    def receive_from_client(self, now_ns: int, client: ClientId, channel: Channel, *frames: bytes) -> Actions:
        """Frames from a client, named by its connection, in the order in which they came."""
        for frame in frames:
            try:
                if frame and frame[0] != REQUEST:
                    self._peers.receive_from_client(now_ns, client, channel, frame)
                else:
                    self._receive_request(now_ns, client, channel, frame)
            except Exception as error:
                self._fault("working on a request", channel, error)
        return self._flush(now_ns)

    def _fault(self, what: str, channel: Channel | None, error: Exception) -> None:
        """One piece of an input has failed: let the driver log it, and go on with the next."""
        self.counters[f"fault.{type(error).__name__}"] += 1
        new, self._acceptance.fresh = tuple(self._acceptance.fresh), []
        self._outbox.faults.append(Fault(what, error, channel, new))
        self._loads.recount()
        self._syncs.recount()
        self._outbox.recount()
        waiting = [work for works in self._loads.waiting.values() for work in works]
        self._shares.recount([w for w in (*waiting, *self._syncs.waiting) if not isinstance(w, AdoptionWork)])

    def _receive_request(self, now_ns: int, client: ClientId, channel: Channel, frame: bytes) -> None:
        if self.natively is not None and self._take_natively(now_ns, client, channel, frame):
            return
        try:
            number, body, proof = split(frame, REQUEST)
            # Numbers only grow on one connection: a frame is worked on once, so FAIL means "not accepted".
            if number <= self._numbers.get(channel, 0):
                raise PeerViolation("replayed")
            self._numbers[channel] = number
            request = decode_request(body, self.quorums.n)
            operation = decode_operation(request) if request.operation else None
            self.activity.asked.append((now_ns, client, request.sets[0].object_id))
            if operation is not None and client.startswith(SERVER):
                raise PeerViolation("operation-of-a-server")
        except PeerViolation as violation:
            self.counters[f"rejected.{violation.reason}"] += 1
            return
        if operation and self._take_ordinary(now_ns, client, channel, number, request, operation, proof):
            return
        self._judge(now_ns, Work(channel, client, number, request, proof, len(frame), now_ns), operation)

    def _judge(self, now_ns: int, work: Work, operation: Operation | None) -> None:
        """Cull, derive the step, and take the request as far as it goes."""
        try:
            work.judge(self.keys, self.quorums)
        except PeerViolation as violation:
            self.counters[f"rejected.{violation.reason}"] += 1
            return
        for server in work.culled.servers:  # a hint, no proof: clients carry histories, and may spoil them
            self.counters[f"culled.{server}"] += 1
        if self._is_full:
            self._replies.turn_away(work, BUSY, "overloaded", "overloaded")
            return
        if self._acceptance.failure is not None:
            self._replies.turn_away(work, BUSY, "set-aside", self._acceptance.failure)
            return
        try:
            admit(self.quorums, self._executor, self._executor_for, self._access, work, operation)
        except Declined as reason:
            self._replies.turn_away(work, DECLINED, str(reason).partition(":")[0], str(reason))
            return
        self._advance(now_ns, work)

    def receive_from_server(self, now_ns: int, server: int, channel: Channel, *frames: bytes) -> Actions:
        """Frames from another server, named by its connection: sync requests, and answers to ours."""
        for frame in frames:
            try:
                self._peers.receive(now_ns, server, channel, frame)
            except Exception as error:
                self._fault("working on another server's message", channel, error)
        return self._flush(now_ns)

    def closed(self, channel: Channel) -> None:
        """The connection is gone; its number is not used again, and what waits for an answer over it is dropped."""
        self._numbers.pop(channel, None)
        self._lists.closed(channel)
        self.pool.closed(channel)

    def listed(self, now_ns: int, number: int, page: Page | Damaged) -> Actions:
        """The store's answer to a listing."""
        try:
            self.upkeep.listed(number, page)
            work = self._lists.listed(number, page)
            if work is not None and isinstance(work.peer, bytes):
                self._resumed.append(work.peer)
        except Exception as error:
            self._fault("listing objects", None, error)
        return self._flush(now_ns)

    def loaded(self, now_ns: int, object_id: ObjectId, record: ObjectRecord | Damaged | None) -> Actions:
        """The store's answer to a load; a damaged object takes part in nothing, and the next request loads it again."""
        waiting = self._loads.waiting.pop(object_id, [])
        try:
            self._loads.recount()
            self._take_up(now_ns, object_id, record, waiting)
        except Exception as error:
            self._acceptance.set_aside((object_id,), error)
            self._fault(f"reading {object_id} from the store", None, error)
        is_unknown = record is None and self.upkeep.is_unknown(object_id)
        self.upkeep.loaded(object_id, record)
        for item in waiting:
            try:
                if isinstance(item, AdoptionWork):
                    item.owner.loaded(now_ns, item, object_id, record)
                    continue
                self._shares.leave(item)
                if isinstance(record, Damaged):
                    self._do_without(item, "damaged", f"damaged on this server: {record.reason}")
                elif is_unknown:
                    self._do_without_history(now_ns, item, object_id)
                elif isinstance(item, Work):
                    self._resume(now_ns, item)
                elif object_id in self._replicas.hot:
                    if isinstance(item.peer, bytes):
                        self._resumed.append(item.peer)
                    self._serve_sync(now_ns, item)
                else:  # nobody has written it, and other servers' questions do not fill the cache
                    self._outbox.send.append(sync_answer(item, None))
            except Exception as error:
                channel = None if isinstance(item, AdoptionWork) else item.channel
                self._fault("going on with what waited for a load", channel, error)
        return self._flush(now_ns)

    def _do_without_history(self, now_ns: int, item: Work | SyncWork, name: ObjectId) -> None:
        """R4: an object that is not adopted has no history here, and least of all the initial one."""
        if isinstance(item, Work) and name not in item.names:
            item.absent.add(name)
            self._resume(now_ns, item)
            return
        self._do_without(item, "catching-up", f"{name} is not adopted yet: this server is catching up")
        if isinstance(item, Work):
            self.upkeep.want(name)

    def _take_up(
        self,
        now_ns: int,
        object_id: ObjectId,
        record: ObjectRecord | Damaged | None,
        waiting: Sequence[Waiting],
    ) -> None:
        if isinstance(record, Damaged) or object_id in self.set_aside:
            return
        is_initial = record is None and not self.upkeep.is_unknown(object_id)
        if record is not None or (is_initial and any(isinstance(item, Work) for item in waiting)):
            self._replicas.add(now_ns, object_id, record)

    def _do_without(self, item: Work | SyncWork, name: str, reason: str) -> None:
        """Nothing is said of an object that cannot be used: neither that it was never written, nor an old version."""
        if isinstance(item, Work):
            self._replies.turn_away(item, BUSY, name, reason)
        else:
            self._outbox.send.append(sync_answer(item, None))

    def _resume(self, now_ns: int, work: Work) -> None:
        """What a request waited for has come."""
        if work.channel in self._numbers:  # else its connection has ended: it would be worked on for nothing
            self._resumed.append(work.client)
            self._advance(now_ns, work)

    def durable(self, now_ns: int, sequence: int) -> Actions:
        """The store has committed everything up to ``sequence``: replies that promised it may leave."""
        self._outbox.reached = max(self._outbox.reached, sequence)
        return self._flush(now_ns)

    def wake(self, now_ns: int) -> Actions:
        """Time has come to ask further servers for a version, or to give a sync up."""
        self._fetching.wake(now_ns)
        return self._flush(now_ns)

    # --- the ordinary request ---------------------------------------------------------------------------------

    def _may_be_ordinary(self, client: ClientId) -> bool:
        """Whether requests of the client are worked on without more ado now."""
        if self.membership.edition.mover or self.storage_failure is not None or self._is_full:
            return False
        return client not in self._acceptance.suspects

    def _take_natively(self, now_ns: int, client: ClientId, channel: Channel, frame: bytes) -> bool:
        """Have native code do at once what nearly every request asks for; False if Python is to read this one."""
        natively = self.natively
        return natively is not None and self._may_be_ordinary(client) and natively.take(now_ns, client, channel, frame)

    def _take_ordinary(
        self,
        now_ns: int,
        client: ClientId,
        channel: Channel,
        number: int,
        request: Request,
        operation: Operation,
        proof: bytes,
    ) -> bool:
        """Do at once what nearly every request asks for; False if this one is to be examined step by step."""
        return self._may_be_ordinary(client) and self._taking.take(
            now_ns, client, channel, number, request, operation, proof
        )

    # --- what a request waits for -----------------------------------------------------------------------------

    def _advance(self, now_ns: int, work: Work) -> None:
        """Take a request as far as it goes: a reply, or a wait after which this is called again."""
        if self._has_to_wait(now_ns, work, work.names):
            return
        need = self._examination.examine(now_ns, work, self.storage_failure)
        while isinstance(need, list) and not self._has_to_wait(now_ns, work, need):
            need = self._examination.examine(now_ns, work, self.storage_failure)
        if isinstance(need, tuple):
            self._fetching.start(now_ns, work, need)

    def _has_to_wait(self, now_ns: int, work: Work | SyncWork, objects: list[ObjectId]) -> bool:
        """Whether the work cannot go on: it is parked with the first object not in memory, or one is set aside."""
        for name in objects:
            if self.set_aside and (reason := self._acceptance.why_aside(name)) is not None:
                self._do_without(work, "set-aside", reason)
                return True
            if not self._replicas.fetch(now_ns, name):
                if not self._has_store:
                    if not self.membership.is_standing:
                        self._do_without_history(now_ns, work, name)
                        return True
                    self._replicas.add(now_ns, name, None)
                    continue
                if not self._shares.enter(work):
                    self._replies.refuse_to_wait(work)
                    return True
                if name not in self._loads.waiting:
                    self._outbox.load.append(name)
                self._loads.park(name, work)
                return True
        return False

    def _flush(self, now_ns: int) -> Actions:
        """Hand over what the last input led to."""
        try:
            if self._outbox.durable < self._outbox.reached:
                self._outbox.let_go()
                self._lists.go_on()
            wake_at_ns = self.upkeep.advance(now_ns, self.storage_failure)
            self._replicas.shrink(self._outbox.durable)
            if self._syncs.parked_count:
                wake_at_ns = min([at for at in (wake_at_ns, self._syncs.wake_at_ns) if at is not None], default=None)
        except Exception as error:
            self._fault("handing over replies", None, error)
            wake_at_ns = now_ns + RETRY_AFTER_FAULT_NS  # no other input need come
        return self._outbox.empty(wake_at_ns)

    def _serve_sync(self, now_ns: int, work: SyncWork) -> None:
        """Give another server, or a client, a version this one holds, old ones while they are kept."""
        request = work.request
        if self._executor.initial(request.object_id) is None:  # nobody can have written it: not worth a load
            self._outbox.send.append(sync_answer(work, None))
        elif not self._has_to_wait(now_ns, work, [request.object_id]):
            replica = self._replicas.hot[request.object_id]
            self._outbox.promise(sync_answer(work, replica.version_at(request.timestamp)), replica.sequence)
