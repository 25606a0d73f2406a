"""A rack of servers without a network: every request is put together and delivered by hand.

For directed schedules ("this client sends that to these servers, then dies") and for the paper's example. The servers
are the production machines, with a store that is durable at once unless told otherwise.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from functools import lru_cache

from fivefold.cluster import macs_under
from fivefold.protocol.actions import Actions, Ask, Channel, Listing, ObjectRecord, Page, Reply, Store, Write
from fivefold.protocol.authenticators import AuthenticatorKeys, Culled, MacsUnder, columns
from fivefold.protocol.classify import plan_operation, plan_repair, set_up, views_of
from fivefold.protocol.history import decode_history, history_digest, make_histories
from fivefold.protocol.messages import REPLY, decode_operation, decode_vote, encode, request_frame, split
from fivefold.protocol.operations import CANCEL, AccessPolicy, Call, ClientId, Executor, ObjectId, Operation, digest
from fivefold.protocol.quorums import QuorumSystem
from fivefold.protocol.records import NO_OPERATION, ReplicaHistory, Request, Version, Vote
from fivefold.protocol.server import Server, read_rows
from fivefold.protocol.steps import Kind, Missing, Plan, Step
from fivefold.protocol.times import pack_time
from fivefold.storage import page_of


class Everyone:
    """An access policy that allows everything."""

    def allows(self, client: ClientId, object_id: ObjectId, method: str) -> bool:
        """Always."""
        return True

    def knows(self, client: ClientId, object_id: ObjectId) -> bool:
        """Always."""
        return True


def client_id(name: str) -> ClientId:
    """A client's id for tests and simulations: sorts like the name."""
    return ClientId(name.encode().ljust(16, b"\0")[:16])


def is_query(executor: Executor, operation: Operation) -> bool:
    """Whether an operation only reads; one whose methods nobody knows is taken for an update."""
    return all(
        call.method != CANCEL and executor.is_update(operation.objects, call.method) is False
        for call in operation.calls
    )


def pair_key(sender: int, receiver: int, seed: bytes = b"") -> bytes:
    """k(sender→receiver) for tests and simulations."""
    return hashlib.blake2b(b"%d>%d" % (sender, receiver) + seed, digest_size=32).digest()


def rack_keys(index: int, n: int, under: MacsUnder = macs_under) -> AuthenticatorKeys:
    """One server's keys for tests and simulations."""
    return AuthenticatorKeys(
        index,
        [pair_key(index, other) for other in range(n)],
        [pair_key(other, index) for other in range(n)],
        under,
    )


@lru_cache(maxsize=256)
def server_keys(index: int, n: int) -> AuthenticatorKeys:
    """``rack_keys``, the same in all runs of a process, which remember MACs: nobody in a simulation attacks these."""
    return rack_keys(index, n, lambda secrets: lru_cache(maxsize=4096)(macs_under(secrets)))


class MemoryDisk:
    """A store for one server of a rack: what is staged is durable at once."""

    def __init__(self) -> None:
        """Empty."""
        self.histories: dict[str, bytes] = {}
        self.rows: dict[str, dict[bytes, bytes]] = {}

    def apply(self, write: Write) -> None:
        """Take one write over."""
        self.histories[write.object_id] = write.history
        rows = self.rows.setdefault(write.object_id, {})
        for key in write.delete:
            rows.pop(key, None)
        rows.update(write.put)

    def record(self, object_id: str) -> ObjectRecord | None:
        """One object, as a load gives it back."""
        if object_id not in self.histories:
            return None
        return ObjectRecord(self.histories[object_id], tuple(sorted(self.rows[object_id].items())))

    def page(self, listing: Listing) -> Page:
        """A page of the list of its objects."""
        names = sorted(name for name in self.histories if name > listing.after)
        return page_of(names, listing.objects_max, listing.bytes_max, self.record)

    def versions(self, object_id: str) -> dict[bytes, Version]:
        """The versions that it has of an object, by timestamp."""
        return read_rows(sorted(self.rows.get(object_id, {}).items()))


class Rack:
    """n servers, stepped by hand.

    Attributes:
        servers: the machines; replace one to test recovery.
        silent: servers that answer no object sync.
        disks: what each server has stored.
    """

    def __init__(self, executor: Executor, *, n: int, t: int, b: int, access: AccessPolicy | None = None) -> None:
        """All initial."""
        self.quorums = QuorumSystem(n, t, b)
        self.now_ns = 0
        self.silent: set[int] = set()
        self.disks = [MemoryDisk() for _ in range(n)]
        self._executor, self._access = executor, access or Everyone()
        self.servers = [self._boot(index) for index in range(n)]
        self._numbers = 0
        self._replies: dict[tuple[int, int], bytes] = {}

    def _boot(self, index: int) -> Server:
        return Server(self.quorums, rack_keys(index, self.quorums.n), self._executor, self._access)

    def is_query(self, request: Request) -> bool:
        """Whether a request's operation is a query."""
        return is_query(self._executor, decode_operation(request))

    def restart(self, index: int) -> None:
        """Crash a server and start it again from its disk."""
        self.servers[index] = self._boot(index)

    # --- delivery ---------------------------------------------------------------------------------------------

    def deliver(self, server: int, client: ClientId, frame: bytes, sent_ns: int = 0) -> bytes | None:
        """Give a server a client's frame and run everything that follows; its reply frame, if it sends one now.

        ``sent_ns`` is when the frame was sent, for racks that keep a record.
        """
        self._numbers += 1
        channel = Channel(self._numbers)
        self._perform(server, self.servers[server].receive_from_client(self.now_ns, client, channel, frame))
        return self._replies.pop((server, channel), None)

    def _perform(self, index: int, actions: Actions) -> None:
        machine = self.servers[index]
        for fault in actions.faults:
            raise fault.error
        for store in actions.store:
            self._commit(index, store)
        for name in actions.load:
            object_id = ObjectId(name)
            self._perform(index, machine.loaded(self.now_ns, object_id, self.disks[index].record(name)))
        for listing in actions.lists:
            self._perform(index, machine.listed(self.now_ns, listing.number, self.disks[index].page(listing)))
        for message in actions.send:
            if isinstance(message, Reply):
                self._replies[(index, message.channel)] = message.frame
            else:
                self._ask(index, message)
        if actions.store:
            self._perform(index, machine.durable(self.now_ns, actions.store[-1].sequence))

    def _commit(self, index: int, store: Store) -> None:
        for write in store.writes:
            self.disks[index].apply(write)

    def _ask(self, asker: int, ask: Ask) -> None:
        """One server asks another for a version; the answer comes back at once."""
        if ask.server in self.silent:
            return
        self._numbers += 1
        channel = Channel(self._numbers)
        machine = self.servers[ask.server]
        self._perform(ask.server, machine.receive_from_server(self.now_ns, asker, channel, ask.frame))
        answer = self._replies.pop((ask.server, channel), None)
        if answer is not None:
            back = self.servers[asker].receive_from_server(self.now_ns, ask.server, Channel(0), answer)
            self._perform(asker, back)

    # --- looking ----------------------------------------------------------------------------------------------

    def history(self, server: int, object_id: ObjectId) -> bytes:
        """A server's signed history of an object, as bytes."""
        return self.disks[server].histories.get(object_id, b"")

    def entries(self, server: int, object_id: ObjectId) -> ReplicaHistory:
        """A server's history of an object, decoded."""
        return decode_history(object_id, self.history(server, object_id))

    def authenticator(self, server: int, object_id: ObjectId, history: bytes) -> bytes:
        """What the server's keys say over a history: honest for what it holds, a lie for anything else."""
        return rack_keys(server, self.quorums.n).make(history_digest(object_id, history))


ViewOf = Mapping[ObjectId, Mapping[int, bytes]]
"""What a hand-made request shows: for each object, histories by server."""


class Letter:
    """A request made by hand: from one client, showing chosen histories, deliverable to any server at any time."""

    def __init__(
        self,
        rack: Rack,
        client: ClientId,
        view: ViewOf,
        *,
        target: ObjectId | None = None,
        operation: Operation | None = None,
    ) -> None:
        """Put the request together; every history shown is proved with the keys of the server it is said to be from."""
        self.rack, self.client, self.written_ns = rack, client, rack.now_ns
        names = sorted(view)
        self.sets = tuple(
            make_histories(name, [view[name].get(s, b"") for s in range(rack.quorums.n)]) for name in names
        )
        self.request = Request(target or names[0], self.sets, encode(operation) if operation else b"")
        self.proofs = [
            rack.authenticator(server, each.object_id, each.of(server))
            for each in self.sets
            for server, index in enumerate(each.holders)
            if index
        ]

    def step(self) -> Step | Missing | None:
        """What every honest server derives from the letter, unless it culls."""
        views = views_of(self.rack.quorums, self.sets)
        plan: Plan | Missing | None
        if self.request.operation:
            plan = plan_operation(self.rack.quorums, views, is_query=self.rack.is_query(self.request))
        else:
            plan = plan_repair(self.rack.quorums, self.request.target, views)
        if plan is None or isinstance(plan, Missing):
            return plan
        operation_digest = digest(self.request.operation) if self.request.operation else NO_OPERATION
        culled = Culled(self.request.target, self.sets, ())
        return set_up(plan, client=self.client, operation_digest=operation_digest, history_set_digest=culled.digest)

    def kind(self) -> Kind | None:
        """The kind of step it derives to; None if there is nothing to do, or objects are missing."""
        step = self.step()
        return step.kind if isinstance(step, Step) else None

    def to(self, servers: Iterable[int]) -> dict[int, Vote]:
        """Deliver it to servers, in order; the votes of the ones that answered."""
        votes = {}
        proofs = columns(b"".join(self.proofs), self.rack.quorums.n)
        for server in servers:
            frame = request_frame(1, encode(self.request), proofs[server])
            reply = self.rack.deliver(server, self.client, frame, self.written_ns)
            if reply is not None:
                _, vote, _ = split(reply, REPLY)
                votes[server] = decode_vote(vote)
        return votes


def one_call(objects: tuple[ObjectId, ...], method: str, arguments: bytes, call_id: bytes, since: int = 0) -> Operation:
    """An operation of one call."""
    return Operation(objects, (Call(call_id, pack_time(since), method, arguments),))
