"""One server as a state machine: verify → set up → validate → fetch → execute → accept → reply (PROTOCOL §4).

A client names neither a step nor a timestamp: both are derived from the histories it sends. Whatever a request has to
wait for (an object being loaded, a version being synced), it is examined again from the currency check on when it goes
on, so that nothing is accepted on the strength of a check made before a wait.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from fivefold.errors import PeerViolation
from fivefold.protocol.actions import OWN_LINK, Actions, Ask, Channel, Damaged, ObjectRecord, Reply
from fivefold.protocol.authenticators import AuthenticatorKeys, cull
from fivefold.protocol.classify import views_of
from fivefold.protocol.history import client_of, is_barrier, time_of
from fivefold.protocol.limits import (
    CACHED_BYTES_MAX,
    CLIENT_CANDIDATES_MAX,
    HISTORY_CANDIDATES_MAX,
    PENDING_BYTES_MAX,
    PENDING_REQUESTS_MAX,
)
from fivefold.protocol.messages import (
    BUSY,
    DECLINED,
    FAIL,
    REQUEST,
    SUCCESS,
    decode_operation,
    decode_request,
    decode_sync,
    split,
)
from fivefold.protocol.operations import AccessPolicy, ClientId, Codes, Executor, ObjectId, Operation
from fivefold.protocol.quorums import QuorumSystem
from fivefold.protocol.records import Candidate, LogicalTimestamp, Part, Request, SyncReply, SyncRequest, Version
from fivefold.protocol.server.admission import Declined, SyncWork, VersionKey, Work, admit, choose_executor
from fivefold.protocol.server.cache import Cache
from fivefold.protocol.server.execution import execute, repeated_answers
from fivefold.protocol.server.loading import Loads
from fivefold.protocol.server.ordinary import OrdinaryRequests, reply_to
from fivefold.protocol.server.outbox import Outbox
from fivefold.protocol.server.replica import Replica, needs_version, newly_settled
from fivefold.protocol.server.replies import Replies
from fivefold.protocol.server.shares import Shares
from fivefold.protocol.server.synchronise import SyncTable, sync_answer
from fivefold.protocol.server.versions import decode_version, initial_version, joint_digest
from fivefold.protocol.steps import Kind, Step

_ACCEPTED: Final = {kind: f"accepted.{kind.value}" for kind in Kind}
"""Names of counters."""


class Server:
    """One replica of everything.

    Attributes:
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
    ) -> None:
        """Start with an empty cache; objects are loaded when first needed.

        With ``codes`` an operation runs by the code that it names, and is declined where this server has other code;
        without, ``executor`` runs whatever is named.

        Without a store nothing is loaded or written, and the cache, whatever its size was to be, keeps every object.
        """
        self.quorums, self.keys = quorums, keys
        self.index = keys.own_index
        self.counters: Counter[str] = Counter() if counters is None else counters
        self.storage_failure: str | None = None
        self._executor, self._access, self._codes = executor, access, codes
        self._has_store = has_store
        self._replicas = Cache(cached_objects_max if has_store else None, cached_bytes_max)
        self._loads = Loads()
        self._numbers: dict[Channel, int] = {}
        self._shares = Shares()
        self._resumed: list[ClientId] = []
        self._syncs = SyncTable(self.index, quorums)
        self._outbox = Outbox(has_store=has_store)
        self._replies = Replies(keys, self._outbox, self.counters)
        self._ordinary = OrdinaryRequests(quorums, self._executor_for, access, self._replies.macs)

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
        size = self._outbox.waiting_bytes + self._shares.size
        return size >= PENDING_BYTES_MAX or self.pending_requests >= PENDING_REQUESTS_MAX

    def take_resumed(self) -> list[ClientId]:
        """Whose requests had waited and were worked on since this was asked last, once for each request.

        The driver counts the time for their clients: they cannot have it for nothing by letting requests wait.
        """
        resumed, self._resumed = self._resumed, []
        return resumed

    # --- inputs -----------------------------------------------------------------------------------------------

    def receive_from_client(self, now_ns: int, client: ClientId, channel: Channel, *frames: bytes) -> Actions:
        """Frames from a client, named by its connection, in the order in which they came."""
        for frame in frames:
            self._receive_request(now_ns, client, channel, frame)
        return self._flush()

    def _receive_request(self, now_ns: int, client: ClientId, channel: Channel, frame: bytes) -> None:
        try:
            number, body, proof = split(frame, REQUEST)
            # Numbers only grow on one connection: a frame is worked on once, so FAIL means "not accepted".
            if number <= self._numbers.get(channel, 0):
                raise PeerViolation("replayed")
            self._numbers[channel] = number
            request = decode_request(body, self.quorums.n)
            operation = decode_operation(request) if request.operation else None
            if operation and self._take_ordinary(now_ns, client, channel, number, request, operation, proof):
                return
            culled = cull(self.keys, self.quorums, request.target, request.sets, proof)
        except PeerViolation as violation:
            self.counters[f"rejected.{violation.reason}"] += 1
            return
        for server in culled.servers:  # a hint for the operator, no proof: clients carry histories, and may spoil them
            self.counters[f"culled.{server}"] += 1
        work = Work(channel, client, number, request, culled, views_of(self.quorums, culled.sets))
        work.size = len(frame)
        if self._is_full:
            self._replies.turn_away(work, BUSY, "overloaded", "overloaded")
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
                message = decode_sync(frame)
                if isinstance(message, SyncRequest):
                    if channel == OWN_LINK:
                        raise PeerViolation("sync-over-own-link")
                    self._serve_sync(now_ns, SyncWork(server, channel, message))
                else:
                    self._receive_sync(now_ns, server, message)
            except PeerViolation as violation:
                self.counters[f"rejected.{violation.reason}"] += 1
        return self._flush()

    def closed(self, channel: Channel) -> None:
        """The connection is gone; its number is not used again, and what waits for an answer over it is dropped."""
        self._numbers.pop(channel, None)

    def loaded(self, now_ns: int, object_id: ObjectId, record: ObjectRecord | Damaged | None) -> Actions:
        """The store's answer to a load; a damaged object takes part in nothing, and the next request loads it again."""
        waiting = self._loads.end(object_id)
        for item in waiting:
            self._shares.leave(item)
        if isinstance(record, Damaged):
            self._do_without(waiting, f"damaged on this server: {record.reason}")
            return self._flush()
        if record is not None or any(isinstance(item, Work) for item in waiting):
            self._replicas.add(now_ns, object_id, record)
        for item in waiting:
            if isinstance(item, Work):
                self._resume(now_ns, item)
            elif object_id in self._replicas.hot:
                self._serve_sync(now_ns, item)
            else:  # nobody has written it, and other servers' questions do not fill the cache
                self._outbox.send.append(sync_answer(item, None))
        return self._flush()

    def _do_without(self, waiting: list[Work | SyncWork], reason: str) -> None:
        """Nothing is said of an object that cannot be read: neither that it was never written, nor an old version."""
        for item in waiting:
            if isinstance(item, Work):
                self._replies.turn_away(item, BUSY, "damaged", reason)
            else:
                self._outbox.send.append(sync_answer(item, None))

    def _resume(self, now_ns: int, work: Work) -> None:
        """What a request waited for has come."""
        if work.channel in self._numbers:  # else its connection has ended: it would be worked on for nothing
            self._resumed.append(work.client)
            self._advance(now_ns, work)

    def durable(self, now_ns: int, sequence: int) -> Actions:
        """The store has committed everything up to ``sequence``: replies that promised it may leave."""
        self._outbox.committed(sequence)
        return self._flush()

    def wake(self, now_ns: int) -> Actions:
        """Time has come to ask further servers for a version, or to give a sync up."""
        asks, given_up = self._syncs.wake(now_ns)
        self._ask(asks)
        for work in given_up:
            self._shares.leave(work)
            self._replies.turn_away(work, BUSY, "sync-timeout", "the version could not be fetched in time")
        return self._flush()

    # --- the ordinary request ---------------------------------------------------------------------------------

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
        replica = self._replicas.hot.get(request.sets[0].object_id)
        if replica is None or self.storage_failure is not None or self._is_full:
            return False
        decision = self._ordinary.decide(client, request, operation, proof, replica)
        if decision is None:
            return False
        replica.is_recent = True
        timestamp, _, version = decision
        if version is not None:
            self.counters["accepted.METHOD"] += 1
            candidate = Candidate(timestamp, (Part(replica.object_id, replica.latest, None),))
            replica.accept(Kind.METHOD, candidate, version, now_ns)
            self._outbox.stage(replica)
            self._replicas.measure(replica)
        frame = reply_to(number, decision, replica.history, self._replies.authenticator(replica))
        self._outbox.promise(Reply(channel, frame), replica.sequence)
        return True

    # --- examining a request ----------------------------------------------------------------------------------

    def _advance(self, now_ns: int, work: Work) -> None:
        """Take a request as far as it goes: a reply, or a wait after which this is called again."""
        if self._is_loading(now_ns, work, work.names):
            return
        step = work.step
        if step is None:
            self._fail(work)
            return
        replicas = [self._replicas.hot[part.object_id] for part in step.parts]
        if not work.is_query and self._answer_again(work, step, replicas):
            return
        # Currency (§4.4): an older version must not be built upon, whatever the client believes.
        for replica, bound in zip(replicas, step.bounds, strict=True):
            if replica.latest > bound and not replica.holds(step.candidate):
                self.counters["stale"] += 1
                self._fail(work)
                return
        if self.storage_failure is not None and not work.is_query:
            self._replies.turn_away(work, BUSY, "storage", self.storage_failure)
            return
        versions = self._versions(now_ns, work, step, replicas)
        settled = [] if work.is_query else newly_settled(step, replicas, work.views)
        if versions is None:
            return
        if settled and self._is_loading(now_ns, work, [name for each in settled for name in each.objects]):
            return
        self._perform(now_ns, work, step, versions, settled)

    def _is_loading(self, now_ns: int, work: Work | SyncWork, objects: list[ObjectId]) -> bool:
        """Whether the work has to wait for an object; if so it is parked with the first that is missing."""
        for name in objects:
            if not self._replicas.fetch(now_ns, name):
                if not self._has_store:
                    self._replicas.add(now_ns, name, None)
                    continue
                if not self._shares.enter(work):
                    self._refuse_to_wait(work)
                elif self._loads.park(name, work):
                    self._outbox.load.append(name)
                return True
        return False

    def _answer_again(self, work: Work, step: Step, replicas: list[Replica]) -> bool:
        """§4.3: a candidate already accepted is answered as it was; nothing is executed twice."""
        timestamp = step.candidate.timestamp
        for replica in replicas:
            if not replica.holds(step.candidate) and timestamp not in replica.versions:
                return False
        self.counters["repeated"] += 1
        if work.operation is None:
            self._reply(work, SUCCESS, candidate=timestamp)
            return True
        versions = [version for replica in replicas if (version := replica.versions.get(timestamp)) is not None]
        # All objects record their calls together, in the order of the ids: the first is the least.
        answers = repeated_answers(work.client, work.operation, versions[0])
        joint = joint_digest(versions)
        self._reply(work, SUCCESS, answers=answers, candidate=timestamp, version_digest=joint)
        return True

    def _fail(self, work: Work) -> None:
        """FAIL with the histories; for a query with the answer on the latest versions (optimistic execution, §4.4).

        For an update with what the ring of the latest version says of it: one who keeps losing under contention must
        not have to wait for its turn to hear that it was not applied, or the ring has forgotten that by then.
        """
        operation = work.operation
        if operation is None:
            self._reply(work, FAIL)
            return
        versions = {}
        for name in operation.objects:
            data = self._held_version(self._replicas.hot[name], self._replicas.hot[name].latest)
            if data is None:
                self._reply(work, FAIL)
                return
            versions[name] = data
        if not work.is_query:
            self._reply(work, FAIL, answers=repeated_answers(work.client, operation, versions[min(versions)]))
            return
        result = execute(self._executor_of(work), work.client, operation, versions, is_query=True, time=0)
        self._reply(work, FAIL, answers=result.answers)

    def _executor_for(self, operation: Operation) -> Executor:
        return choose_executor(self._executor, self._codes, operation)

    def _executor_of(self, work: Work) -> Executor:
        assert work.executor is not None, "an operation is admitted with what runs it"
        return work.executor

    def _held_version(self, replica: Replica, timestamp: LogicalTimestamp) -> Version | None:
        """The version this server has at a timestamp; None for barriers and versions it does not hold."""
        version = replica.versions.get(timestamp)
        if version is not None:
            return version
        state = None if needs_version(timestamp) or is_barrier(timestamp) else self._executor.initial(replica.object_id)
        return None if state is None else initial_version(state)

    def _versions(self, now_ns: int, work: Work, step: Step, replicas: list[Replica]) -> list[Version] | None:
        """§4.5: the versions the step needs, one for each object; None if the work now waits for an object sync."""
        found: list[Version] = []
        if step.kind is Kind.BARRIER or step.kind is Kind.INLINE_BARRIER:
            return found
        for replica, part in zip(replicas, step.parts, strict=True):
            timestamp = step.candidate.timestamp if step.kind is Kind.INLINE_METHOD else part.conditioned_on
            version = self._held_version(replica, timestamp)
            if version is None:
                key = (replica.object_id, timestamp)
                if key not in work.fetched:
                    self._start_sync(now_ns, work, key)
                    return None
                version = decode_version(work.fetched[key])
            found.append(version)
        return found

    # --- performing a step ------------------------------------------------------------------------------------

    def _perform(self, now_ns: int, work: Work, step: Step, versions: list[Version], settled: list[Candidate]) -> None:
        """§4.6 and §4.7, without a wait in between: execute, accept, hand to the store, reply when it is durable."""
        if step.kind is not Kind.METHOD:
            if not self._has_room(work, step):
                reason = "the history is full of candidates that are not established"
                self._replies.turn_away(work, BUSY, "history-full", reason)
                return
            self._accept(now_ns, step, versions, settled)
            self._reply(work, SUCCESS, candidate=step.candidate.timestamp)
            return
        operation = work.operation
        assert operation is not None, "METHOD is planned for operations only"
        by_name: dict[ObjectId, Version] = {}
        for part, version in zip(step.parts, versions, strict=True):
            by_name[part.object_id] = version
        timestamp = step.candidate.timestamp
        result = execute(
            self._executor_of(work), work.client, operation, by_name, is_query=work.is_query, time=time_of(timestamp)
        )
        joint = b""
        if result.versions is not None:
            joint = joint_digest(result.versions)
            self._accept(now_ns, step, result.versions, settled)
        self._reply(work, SUCCESS, answers=result.answers, candidate=timestamp, version_digest=joint)

    def _has_room(self, work: Work, step: Step) -> bool:
        """Whether the histories can take one more candidate, and one more of this client's."""
        for name in step.objects:
            entries = self._replicas.hot[name].entries
            own = sum(client_of(entry.candidate.timestamp) == work.client for entry in entries)
            if len(entries) >= HISTORY_CANDIDATES_MAX or own >= CLIENT_CANDIDATES_MAX:
                return False
        return True

    def _accept(self, now_ns: int, step: Step, versions: Sequence[Version], settled: list[Candidate]) -> None:
        """Append the candidate everywhere, flag what became settled, and stage it all as one transaction."""
        self.counters[_ACCEPTED[step.kind]] += 1
        changed: dict[ObjectId, Replica] = {}
        for position, part in enumerate(step.parts):
            replica = self._replicas.hot[part.object_id]
            if not replica.holds(step.candidate):
                replica.accept(step.kind, step.candidate, versions[position] if versions else None, now_ns)
                changed[part.object_id] = replica
        for candidate in settled:
            for name in candidate.objects:
                if self._replicas.hot[name].flag_settled(candidate):
                    changed[name] = self._replicas.hot[name]
        assert changed, "a candidate held everywhere is answered again, not accepted again"
        for name in sorted(changed):
            self._outbox.stage(changed[name])
            self._replicas.measure(changed[name])

    # --- replies ----------------------------------------------------------------------------------------------

    def _reply(
        self,
        work: Work,
        status: int,
        *,
        answers: tuple[bytes, ...] = (),
        candidate: bytes = b"",
        version_digest: bytes = b"",
    ) -> None:
        replicas = [self._replicas.hot[name] for name in work.names]
        self._replies.show(work, replicas, status, answers=answers, candidate=candidate, version_digest=version_digest)

    def _flush(self) -> Actions:
        """Hand over what the last input led to."""
        self._replicas.shrink(self._outbox.durable)
        return self._outbox.empty(self._syncs.wake_at_ns)

    def _refuse_to_wait(self, work: Work | SyncWork) -> None:
        if isinstance(work, SyncWork):
            self.counters["rejected.syncs-flood"] += 1  # it asks others, and has too much under way here already
        else:
            self._replies.turn_away(work, BUSY, "waiting-full", "too many of your requests wait for objects")

    # --- object sync ------------------------------------------------------------------------------------------

    def _start_sync(self, now_ns: int, work: Work, key: VersionKey) -> None:
        """Wait for a version, together with everyone else who waits for it."""
        if self._syncs.is_full:
            self._replies.turn_away(work, BUSY, "syncs-full", "too many versions are being fetched")
            return
        if not self._shares.enter(work):
            self._refuse_to_wait(work)
            return
        histories = next(each for each in work.culled.sets if each.object_id == key[0])
        self._ask(self._syncs.wait(now_ns, work, key, histories))

    def _receive_sync(self, now_ns: int, server: int, reply: SyncReply) -> None:
        """Count one server's answer; go on with the work when the version is certain."""
        asks, done = self._syncs.receive(server, reply)
        self._ask(asks)
        if done is None:
            return
        sync, waiting = done
        self.counters["sync.done"] += 1
        assert sync.version is not None, "a sync ends here with a version"
        for work in waiting:
            self._shares.leave(work)
            work.fetched[sync.key] = sync.version
            self._resume(now_ns, work)

    def _ask(self, asks: list[tuple[int, bytes]]) -> None:
        self._outbox.send.extend([Ask(server, frame) for server, frame in asks])

    def _serve_sync(self, now_ns: int, work: SyncWork) -> None:
        """Give another server a version this one holds, old ones while they are kept."""
        request = work.request
        if self._executor.initial(request.object_id) is None:
            self._outbox.send.append(
                sync_answer(work, None)
            )  # nobody can have written it: not worth a look at the disk
        elif not self._is_loading(now_ns, work, [request.object_id]):
            replica = self._replicas.hot[request.object_id]
            self._outbox.promise(sync_answer(work, replica.versions.get(request.timestamp)), replica.sequence)
