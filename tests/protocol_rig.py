"""A rack that watches itself, for directed schedules: forks and broken atomicity are found as they happen.

The servers are the production machines of :mod:`fivefold.simulation.rack`. Beside it stand a toy executor, a client on
top of the rack, and the means to lie: histories that a server signed though it never held them, and altered replies.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from random import Random

import msgspec

from fivefold.protocol.actions import Actions, Ask, Channel, Reply, Store
from fivefold.protocol.client.invocation import Invocation
from fivefold.protocol.client.ordinary import long_of
from fivefold.protocol.client.outcomes import Outcome
from fivefold.protocol.client.session import Session
from fivefold.protocol.history import (
    INITIAL_TIMESTAMP,
    Candidate,
    Entry,
    LogicalTimestamp,
    Part,
    ReplicaHistory,
    encode_history,
    initial_entry,
    make_timestamp,
    short,
)
from fivefold.protocol.messages import (
    REPLY,
    SyncReply,
    SyncRequest,
    Vote,
    decode_sync,
    decode_vote,
    encode,
    reply_frame,
    split,
    sync_reply_frame,
)
from fivefold.protocol.operations import (
    CANCEL,
    REJECTED,
    VALUE,
    AccessPolicy,
    Call,
    ClientId,
    Executed,
    Executor,
    ObjectId,
    Operation,
)
from fivefold.protocol.server.machine import Server
from fivefold.protocol.steps import Kind, Step
from fivefold.simulation.rack import Everyone, Letter, Rack, ViewOf, client_id, one_call, rack_keys

A, B, C = ObjectId("Reg/a"), ObjectId("Reg/b"), ObjectId("Reg/c")
X, Y, Z = client_id("X"), client_id("Y"), client_id("Z")
SECOND = 1_000_000_000


class Violation(AssertionError):
    """The servers did what the protocol promises never to happen."""


class Toy:
    """Objects ``Reg/…`` hold bytes; every method works on one object and on several alike."""

    def initial(self, object_id: ObjectId) -> bytes | None:
        return b"" if object_id.startswith("Reg/") else None

    def is_update(self, objects: tuple[ObjectId, ...], method: str) -> bool | None:
        if any(self.initial(name) is None for name in objects):
            return None
        return {"get": False, "set": True, "add": True, "refuse": True}.get(method)

    def begin(self) -> None:
        pass

    def execute(self, objects: tuple[ObjectId, ...], call: Call, states: tuple[bytes, ...]) -> Executed:
        if call.method == "get":
            return Executed(VALUE + b"|".join(states), None)
        if call.method == "refuse":
            return Executed(REJECTED + b"no", None)
        before = VALUE + b"|".join(states)
        if call.method == "set":
            return Executed(before, tuple(call.arguments for _ in states))
        return Executed(before, tuple(state + call.arguments for state in states))


# --- the rack ---------------------------------------------------------------------------------------------------

_any_history = msgspec.msgpack.Decoder(ReplicaHistory)


class WatchedRack(Rack):
    """Servers whose every acceptance is recorded and checked.

    Attributes:
        liars: servers whose acceptances prove nothing; at most b.
        accepted: who accepted which candidate for which object, ever.
        slow: servers whose disk takes writes only when ``settle`` is called.
        holds_syncs: whether questions between servers wait for ``release_syncs``.
        sync_lies: what a server answers other servers' questions instead of the truth; None for silence.
        asked: questions between servers so far, as pairs of asker and asked.
    """

    def __init__(
        self,
        executor: Executor | Sequence[Executor] | None = None,
        *,
        n: int = 6,
        t: int = 1,
        b: int = 1,
        access: AccessPolicy | None = None,
        liars: Iterable[int] = (),
        cached_objects_max: int = 100_000,
    ) -> None:
        executors = executor if isinstance(executor, Sequence) else [executor or Toy()] * n
        self._executors: Sequence[Executor] = executors
        self._cached_objects_max = cached_objects_max
        super().__init__(executors[0], n=n, t=t, b=b, access=access or Everyone())
        self.liars = frozenset(liars)
        self.accepted: dict[tuple[ObjectId, Candidate], set[int]] = defaultdict(set)
        self.slow: set[int] = set()
        self.holds_syncs = False
        self.sync_lies: dict[int, Callable[[SyncRequest], SyncReply | None]] = {}
        self.asked: list[tuple[int, int]] = []
        self._staged: dict[int, list[Store]] = defaultdict(list)
        self._waiting: deque[tuple[int, Ask]] = deque()

    def _boot(self, index: int) -> Server:
        keys = rack_keys(index, self.quorums.n)
        access = self._access
        return Server(self.quorums, keys, self._executors[index], access, cached_objects_max=self._cached_objects_max)

    def restart(self, index: int) -> None:
        self._staged.pop(index, None)
        super().restart(index)

    def _perform(self, index: int, actions: Actions) -> None:
        machine = self.servers[index]
        for fault in actions.faults:
            raise fault.error
        for store in actions.store:
            self._record(index, store)
            if index in self.slow:
                self._staged[index].append(store)
            else:
                self._commit(index, store)
        for name in actions.load:
            object_id = ObjectId(name)
            self._perform(index, machine.loaded(self.now_ns, object_id, self.disks[index].record(name)))
        for listing in actions.lists:
            self._perform(index, machine.listed(self.now_ns, listing.number, self.disks[index].page(listing)))
        for message in actions.send:
            if isinstance(message, Reply):
                self._replies[(index, message.channel)] = message.frame
            elif self.holds_syncs:
                self._waiting.append((index, message))
            else:
                self._ask(index, message)
        if actions.store and index not in self.slow:
            self._perform(index, machine.durable(self.now_ns, actions.store[-1].sequence))

    def settle(self, index: int) -> list[Vote]:
        """Let a slow disk catch up; the votes that leave the server only then."""
        staged = self._staged.pop(index, [])
        for store in staged:
            self._commit(index, store)
        if staged:
            self._perform(index, self.servers[index].durable(self.now_ns, staged[-1].sequence))
        frames = [self._replies.pop(key) for key in list(self._replies) if key[0] == index]
        return [decode_vote(split(frame, REPLY)[1]) for frame in frames]

    def release_syncs(self) -> None:
        """Deliver the questions held back, and everything that follows."""
        self.holds_syncs = False
        while self._waiting:
            asker, ask = self._waiting.popleft()
            self._ask(asker, ask)

    def _ask(self, asker: int, ask: Ask) -> None:
        self.asked.append((asker, ask.server))
        if ask.server not in self.sync_lies:
            super()._ask(asker, ask)
            return
        request = decode_sync(ask.frame)
        assert isinstance(request, SyncRequest)
        reply = self.sync_lies[ask.server](request)
        if reply is not None:
            machine = self.servers[asker]
            frame = sync_reply_frame(reply)
            self._perform(asker, machine.receive_from_server(self.now_ns, ask.server, Channel(0), frame))

    # --- watching ---------------------------------------------------------------------------------------------

    def _record(self, index: int, store: Store) -> None:
        """Note who accepted what. A history is read without the production checks: a broken server may disorder it."""
        for write in store.writes:
            name = ObjectId(write.object_id)
            for entry in _any_history.decode(write.history):
                self.accepted[(name, entry.candidate)].add(index)
        self.check()

    def established(self, name: ObjectId) -> list[Candidate]:
        """Versions of an object that q - b benign servers accepted, oldest first; the initial one always."""
        needed = self.quorums.q - self.quorums.b
        found = {initial_entry(name).candidate}
        for (of, candidate), servers in self.accepted.items():
            if of == name and not candidate.is_barrier and len(servers - self.liars) >= needed:
                found.add(candidate)
        return sorted(found, key=lambda candidate: candidate.timestamp)

    def chain(self, name: ObjectId) -> list[LogicalTimestamp]:
        """What the newest established version of an object rests on, itself first, the initial one last."""
        by_timestamp = {c.timestamp: c for of, c in self.accepted if of == name}
        links = [self.established(name)[-1].timestamp]
        while links[-1] != INITIAL_TIMESTAMP:
            links.append(by_timestamp[links[-1]].part(name).conditioned_on)
        return links

    def _origin(self, name: ObjectId, timestamp: LogicalTimestamp) -> LogicalTimestamp:
        """The version that a copy is: a copy of the same version takes its place."""
        by_timestamp = {c.timestamp: c for of, c in self.accepted if of == name and c.is_copy}
        while timestamp in by_timestamp:
            timestamp = by_timestamp[timestamp].part(name).conditioned_on
        return timestamp

    def _has(self, name: ObjectId, timestamp: LogicalTimestamp, chain: list[LogicalTimestamp]) -> bool:
        return self._origin(name, timestamp) in {self._origin(name, each) for each in chain}

    def check(self) -> None:
        """Raise if an established version is lost, or a multi-object one is in the past of only some of its objects."""
        named: dict[LogicalTimestamp, Candidate] = {}
        for _, candidate in self.accepted:
            known = named.setdefault(candidate.timestamp, candidate)
            if known != candidate and candidate.timestamp != INITIAL_TIMESTAMP:
                raise Violation(f"one timestamp, two versions: {short(candidate.timestamp)}")
        names = sorted({name for name, _ in self.accepted})
        chains = {name: self.chain(name) for name in names}
        for name in names:
            origins = {self._origin(name, each) for each in chains[name]}
            for candidate in self.established(name):
                if self._origin(name, candidate.timestamp) not in origins:
                    newest = short(chains[name][0])
                    raise Violation(f"fork: {short(candidate.timestamp)} of {name} is not below {newest}")
        for candidate in {each for _, each in self.accepted if each.is_multi and not each.is_barrier}:
            passed = [name for name in candidate.objects if name in chains and chains[name][0] >= candidate.timestamp]
            holding = [name for name in passed if self._has(name, candidate.timestamp, chains[name])]
            if holding and holding != passed:
                raise Violation(f"atomicity: {short(candidate.timestamp)} is in {holding}, but not in all of {passed}")

    def state(self, server: int, name: ObjectId) -> bytes | None:
        """The state of the newest version a server holds for an object."""
        found = self.disks[server].versions(name)
        return found[max(found)].state if found else None

    def shown(self, name: ObjectId = A) -> list[str]:
        """Every server's history of an object as the paper writes it, newest first."""
        size = self.quorums.n
        return [
            "{" + ",".join(short(e.candidate.timestamp) for e in reversed(self.entries(s, name))) + "}"
            for s in range(size)
        ]


# --- requests made by hand --------------------------------------------------------------------------------------

_count = 0
is_lenient = False
"""Set while a bug is planted: a broken server derives other kinds; the schedule goes on to what that leads to."""


def op(method: str, arguments: bytes = b"", *objects: ObjectId, call_id: bytes = b"", since: int = 0) -> Operation:
    """An operation of one call, on ``A`` unless told otherwise, with a new id unless told otherwise."""
    global _count
    _count += 1
    return one_call(objects or (A,), method, arguments, call_id or _count.to_bytes(16, "big"), since)


def now(rack: Rack, servers: Iterable[int], *objects: ObjectId) -> dict[ObjectId, dict[int, bytes]]:
    """What servers hold at this moment, to be shown in a request; on ``A`` unless told otherwise."""
    chosen = list(servers)
    return {name: {server: rack.history(server, name) for server in chosen} for name in objects or (A,)}


def send(
    rack: Rack,
    client: ClientId,
    view: ViewOf,
    to: Iterable[int],
    *,
    kind: Kind | None,
    operation: Operation | None = None,
    target: ObjectId | None = None,
    accepts: Iterable[int] | None = None,
) -> Letter:
    """Send a request by hand; it must derive to ``kind`` and be accepted by ``accepts`` (all it goes to)."""
    letter = Letter(rack, client, view, operation=operation, target=target)
    assert is_lenient or letter.kind() is kind, f"derived {letter.kind()}, not {kind}"
    deliver(letter, to, accepts=accepts)
    return letter


def deliver(letter: Letter, to: Iterable[int], *, accepts: Iterable[int] | None = None) -> dict[int, Vote]:
    """Deliver a request to servers; exactly ``accepts`` (all it goes to) must accept it."""
    servers = list(to)
    votes = letter.to(servers)
    accepting = [server for server in servers if server in votes and votes[server].status == 0]
    expected = servers if accepts is None else list(accepts)
    assert is_lenient or accepting == expected, f"accepted by {accepting}, not by {expected}"
    return votes


def copies(letter: Letter) -> dict[ObjectId, str]:
    """Which version the request puts each object on: its LT_co by object, in the paper's writing."""
    step = letter.step()
    if not isinstance(step, Step):
        return {}
    return {name: short(step.candidate.part(name).conditioned_on) for name in step.objects}


def claims(rack: Rack, server: int, name: ObjectId, *candidates: Candidate, flagged: Iterable[Candidate] = ()) -> bytes:
    """A history that a lying server signs: its own, with these candidates in it, some of them flagged as settled."""
    marked = set(flagged)
    known = {entry.candidate for entry in rack.entries(server, name)} | set(candidates) | marked
    ordered = sorted(known, key=lambda candidate: candidate.timestamp)
    return encode_history(tuple(Entry(each, each in marked) for each in ordered))


def candidate(
    time: int,
    *parts: ObjectId | tuple[ObjectId, LogicalTimestamp],
    is_barrier: bool = False,
    client: ClientId = Z,
    salt: bytes = b"",
    method: bool = True,
) -> Candidate:
    """A candidate that no server derived: for liars and unit tests."""
    timestamp = make_timestamp(
        time,
        is_barrier=is_barrier,
        client=client,
        operation_digest=b"o" * 32 if method and not is_barrier else bytes(32),
        history_set_digest=salt.ljust(32, b"h"),
    )
    pairs = [(part, INITIAL_TIMESTAMP) if isinstance(part, str) else part for part in parts or (A,)]
    return Candidate(timestamp, tuple(Part(name, on, None) for name, on in sorted(pairs)))


def newest(rack: Rack, server: int, name: ObjectId = A) -> Candidate:
    """The newest candidate of a server's history."""
    return rack.entries(server, name)[-1].candidate


# --- a client on the rack ---------------------------------------------------------------------------------------


def invocation_of(session: Session, ticket: int) -> Invocation:
    """What works on a call; with native code it takes the call over for that."""
    return long_of(session._running[ticket])


Lie = Callable[[bytes], bytes | None]


class Desk:
    """A production client whose messages reach the rack one after the other.

    Attributes:
        down: servers that its messages do not reach.
        lies: what becomes of a server's reply frames on the way; None drops them.
        sent: the servers its requests went to, in order.
        replies: how many replies it got.
        cuts: called with (server, frame) before a request is delivered; False loses the request.
    """

    def __init__(self, rack: Rack, client: ClientId = X, *, seed: int = 1) -> None:
        self.rack, self.client = rack, client
        self.session = Session(rack.quorums, Random(seed))
        self.down: set[int] = set()
        self.lies: dict[int, Lie] = {}
        self.cuts: Callable[[int, bytes], bool] = lambda server, frame: True
        self.sent: list[int] = []
        self.replies = 0
        self.finished: dict[int, Outcome] = {}
        self.pending: deque[Ask] = deque()
        self._wake_at_ns: int | None = None

    def call(self, method: str, arguments: bytes = b"", *objects: ObjectId, timeout_s: float = 10) -> Outcome:
        """Run one call to its end."""
        return self.run(op(method, arguments, *objects), timeout_s=timeout_s)

    def run(self, operation: Operation, *, timeout_s: float = 10, is_fixed: bool = False) -> Outcome:
        """Run one operation to its end."""
        return self.finish(self.start(operation, timeout_s=timeout_s, is_fixed=is_fixed))

    def start(self, operation: Operation, *, timeout_s: float = 10, is_fixed: bool = False) -> int:
        """Begin an operation; nothing is delivered yet."""
        ticket, actions = self.session.call(
            self.rack.now_ns,
            operation,
            is_query=operation.method == "get",
            deadline_ns=self.rack.now_ns + int(timeout_s * SECOND),
            is_fixed=is_fixed,
        )
        self._take(actions)
        return ticket

    def finish(self, ticket: int) -> Outcome:
        """Deliver and let time pass until the operation has ended."""
        for _ in range(100_000):
            if ticket in self.finished:
                return self.finished.pop(ticket)
            self.step()
        raise AssertionError("the call never ended")

    def step(self) -> None:
        """Deliver one message, or let time pass if there is none."""
        if self.pending:
            self._deliver(self.pending.popleft())
            return
        assert self._wake_at_ns is not None, "a call without a timer never ends"
        self.rack.now_ns = max(self.rack.now_ns, self._wake_at_ns)
        self._take(self.session.wake(self.rack.now_ns))

    def _deliver(self, ask: Ask) -> None:
        self.sent.append(ask.server)
        if ask.server in self.down or not self.cuts(ask.server, ask.frame):
            return
        frame = self.rack.deliver(ask.server, self.client, ask.frame)
        if frame is not None and ask.server in self.lies:
            frame = self.lies[ask.server](frame)
        if frame is not None:
            self.replies += 1
            self._take(self.session.receive(self.rack.now_ns, ask.server, frame))

    def _take(self, actions: object) -> None:
        self.pending.extend(actions.send)
        self.finished.update({each.ticket: each.outcome for each in actions.finished})
        self._wake_at_ns = actions.wake_at_ns


def altered(**changes: object) -> Lie:
    """A lie that changes fields of the vote and leaves the histories as they are."""

    def lie(frame: bytes) -> bytes:
        number, vote, tail = split(frame, REPLY)
        return reply_frame(number, encode(msgspec.structs.replace(decode_vote(vote), **changes)), (tail,))

    return lie


def showing(rack: Rack, server: int, histories: Mapping[ObjectId, bytes]) -> Lie:
    """A lie that shows other histories, signed with the server's own keys."""

    def lie(frame: bytes) -> bytes:
        number, vote, _ = split(frame, REPLY)
        changed = msgspec.structs.replace(decode_vote(vote), histories=tuple(histories.values()))
        macs = [rack.authenticator(server, name, data) for name, data in histories.items() if data]
        return reply_frame(number, encode(changed), macs)

    return lie


def cancel(lost: bytes, since: int, *objects: ObjectId) -> Operation:
    """The operation that resolves a lost call."""
    return op(CANCEL, lost, *objects, since=since)
