"""A rack on which servers are replaced, for directed schedules: identities, editions, and who has been told.

Nodes are numbered: 0 to n-1 are the first identities, one in each slot; later ones follow. What a request shows was
answered by a node at some moment, with the authenticator that it made then (:class:`Shown`), or is a liar's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from fivefold.cluster import macs_under
from fivefold.protocol.actions import Ask, Channel, Store
from fivefold.protocol.authenticators import AuthenticatorKeys, columns
from fivefold.protocol.editions import Edition
from fivefold.protocol.history import decode_history, empty_histories, history_digest, initial_entry, make_histories
from fivefold.protocol.messages import (
    LIST,
    REPLY,
    REQUEST,
    ListReply,
    decode_list,
    decode_vote,
    encode,
    list_reply_frame,
    request_frame,
    split,
)
from fivefold.protocol.operations import ClientId, ObjectId, Operation
from fivefold.protocol.records import Candidate, Listed, ListRequest, Request, Vote
from fivefold.protocol.server import Server
from fivefold.protocol.server.membership import OWN_RECORD
from fivefold.simulation.rack import MemoryDisk, pair_key
from tests.protocol_rig import A, WatchedRack, X

MILLISECOND = 1_000_000


class Shown(NamedTuple):
    """A history that a slot has signed, with its MACs for all servers."""

    history: bytes
    macs: bytes


NOTHING = Shown(b"", b"")

View = Mapping[ObjectId, Mapping[int, Shown]]
"""What a request shows: for each object, by slot."""


class ReplacedRack(WatchedRack):
    """Servers of several editions.

    Attributes:
        files: for each edition, from 1 on, the node in each slot; the first entry is no edition.
        slots: of each node.
        births: of each node.
        uses: the edition that each node uses.
        mute: nodes that answer nothing to other servers' reads.
        list_lies: what a node answers when its list is asked for; None for silence.
        ended: nodes that are down for good.
    """

    def __init__(self, *, n: int = 4, t: int = 1, b: int = 0, liars: Iterable[int] = ()) -> None:
        self.files: list[list[int]] = [[], list(range(n))]
        self.slots, self.births, self.uses = list(range(n)), [1] * n, [1] * n
        self.mute: set[int] = set()
        self.ended: set[int] = set()
        self.list_lies: dict[int, Callable[[ListRequest], ListReply | None]] = {}
        self.since: dict[tuple[ObjectId, Candidate, int], int] = {}
        super().__init__(n=n, t=t, b=b, liars=liars)
        for node in range(n):
            self._announce(node)

    # --- editions ---------------------------------------------------------------------------------------------

    def edition(self, number: int) -> Edition:
        return Edition(number, b"%d" % number * 1, tuple(self.births[node] for node in self.files[number]))

    def keys(self, node: int, number: int) -> AuthenticatorKeys:
        """A node's keys in an edition."""
        others = self.files[number]
        return AuthenticatorKeys(
            self.slots[node],
            [self._key(node, other) for other in others],
            [self._key(other, node) for other in others],
            macs_under,
        )

    def _key(self, sender: int, receiver: int) -> bytes:
        return pair_key(self.slots[sender], self.slots[receiver], b"%d %d" % (sender, receiver))

    def _boot(self, index: int) -> Server:
        number = self.uses[index]
        return Server(
            self.quorums, self.keys(index, number), self._executors[0], self._access, edition=self.edition(number)
        )

    def restart(self, index: int) -> None:
        super().restart(index)
        self._start(index)

    def _start(self, node: int) -> None:
        self._perform(node, self.servers[node].start(self.now_ns, self.disks[node].record(OWN_RECORD)))

    def replace(self, slot: int, *, ends: bool = True) -> int:
        """A further edition, and a newcomer in the slot; nobody else is told. Returns the newcomer's node."""
        self.files.append(list(self.files[-1]))
        if ends:
            self.ended.add(self.files[-1][slot])
        node = len(self.slots)
        self.files[-1][slot] = node
        number = len(self.files) - 1
        self.slots.append(slot)
        self.births.append(number)
        self.uses.append(number)
        self.disks.append(MemoryDisk())
        self.servers.append(self._boot(node))
        self._start(node)
        return node

    def tell(self, *nodes: int) -> None:
        """These nodes switch to the newest edition, and everybody announces what it uses."""
        number = len(self.files) - 1
        for node in nodes:
            self.uses[node] = number
            switch = self.servers[node].switch
            self._perform(node, switch(self.now_ns, self.edition(number), self.keys(node, number)))
        for node in range(len(self.servers)):
            self._announce(node)

    def _announce(self, node: int) -> None:
        """A node says to all that know its identity which edition it uses, and hears theirs."""
        for other in range(len(self.servers)):
            if other != node and self.knows(other, node) and self.knows(node, other) and other not in self.ended:
                self._hear(other, node)
                self._hear(node, other)

    def _hear(self, hearer: int, node: int) -> None:
        name = self.edition(self.uses[node]).name
        announced = self.servers[hearer].announced
        self._perform(hearer, announced(self.now_ns, self.slots[node], name.number, name.digest))

    def knows(self, node: int, other: int) -> bool:
        """Whether the identity of ``other`` is in the edition that ``node`` uses."""
        return self.files[self.uses[node]][self.slots[other]] == other

    def run(self, node: int, seconds: float = 5.0) -> None:
        """Let time pass for a node until it is in standing."""
        for _ in range(int(seconds * 50)):
            if self.servers[node].progress.is_standing:
                return
            self.now_ns += 20 * MILLISECOND
            self.wake(node)

    def wake(self, node: int) -> None:
        self._perform(node, self.servers[node].wake(self.now_ns))

    # --- frames -----------------------------------------------------------------------------------------------

    def _ask(self, asker: int, ask: Ask) -> None:
        node = self.files[self.uses[asker]][ask.server]
        if node in self.ended or not self.knows(node, asker):
            return
        kind = ask.frame[0]
        if kind in (LIST, REQUEST) and node in self.mute:
            return
        if kind == LIST and node in self.list_lies:
            reply = self.list_lies[node](decode_list(ask.frame))
            if reply is not None:
                self._answer(asker, ask.server, list_reply_frame(reply))
            return
        self._numbers += 1
        channel = Channel(self._numbers)
        slot = self.slots[asker]
        self._perform(node, self.servers[node].receive_from_server(self.now_ns, slot, channel, ask.frame))
        answer = self._replies.pop((node, channel), None)
        if answer is not None:
            self._answer(asker, ask.server, answer)

    def _answer(self, asker: int, slot: int, frame: bytes) -> None:
        receive = self.servers[asker].receive_from_server
        self._perform(asker, receive(self.now_ns, slot, Channel(0), frame))

    def look(self, node: int, *names: ObjectId) -> dict[ObjectId, Shown]:
        """What a node answers now when a client reads; nothing if it answers no histories."""
        chosen = sorted(names or (A,))
        sets = tuple(empty_histories(name, self.quorums.n) for name in chosen)
        frame = request_frame(1, encode(Request(chosen[0], sets, b"")), b"")
        answer = self.deliver(node, X, frame)
        assert answer is not None
        _, data, macs = split(answer, REPLY)
        vote = decode_vote(data)
        size = 16 * self.quorums.n
        found, at = {}, 0
        for name, history in zip(chosen, vote.histories, strict=False):
            end = at + (size if history else 0)
            found[name] = Shown(history, macs[at:end])
            at = end
        return found

    def now(self, nodes: Iterable[int], *names: ObjectId) -> dict[ObjectId, dict[int, Shown]]:
        """What these nodes answer at this moment, by slot."""
        view: dict[ObjectId, dict[int, Shown]] = {name: {} for name in names or (A,)}
        for node in nodes:
            for name, shown in self.look(node, *view).items():
                view[name][self.slots[node]] = shown
        return view

    def lie(self, node: int, history: bytes, name: ObjectId = A) -> Shown:
        """What a liar signs; for every identity, since it may lie to one that it does not know yet."""
        keys = self.keys(node, len(self.files) - 1)
        return Shown(history, keys.make(history_digest(name, history)) if history else b"")

    def request(
        self,
        view: View,
        to: Iterable[int],
        *,
        operation: Operation | None = None,
        target: ObjectId | None = None,
        client: ClientId = X,
    ) -> Posted:
        """Make a request and deliver it to nodes."""
        posted = Posted(self, view, operation, target, client)
        posted.to(to)
        return posted

    # --- watching ---------------------------------------------------------------------------------------------

    def _record(self, index: int, store: Store) -> None:
        store = Store(store.sequence, tuple(write for write in store.writes if write.object_id != OWN_RECORD))
        for write in store.writes:
            name = ObjectId(write.object_id)
            for entry in decode_history(name, write.history):
                self.since.setdefault((name, entry.candidate, index), self.uses[index])
        super()._record(index, store)

    def established(self, name: ObjectId) -> list[Candidate]:
        """Versions that one client may have seen complete: q answers of identities that its edition names.

        Rule R7 stops a client when more than b of these have used a newer edition than its own.
        """
        found = {initial_entry(name).candidate}
        for (of, candidate), nodes in self.accepted.items():
            if of == name and not candidate.is_barrier and self._is_complete(name, candidate, nodes):
                found.add(candidate)
        return sorted(found, key=lambda candidate: candidate.timestamp)

    def _is_complete(self, name: ObjectId, candidate: Candidate, nodes: set[int]) -> bool:
        for number, file in enumerate(self.files):
            fresh = marked = 0
            for node in file:
                if node in self.liars:
                    fresh += 1
                elif node in nodes:
                    is_fresh = self.since[(name, candidate, node)] <= number
                    fresh, marked = fresh + is_fresh, marked + (not is_fresh)
            if number and fresh + min(self.quorums.b, marked) >= self.quorums.q:
                return True
        return False


class Posted:
    """A request that can be delivered again, to any node, at any time."""

    def __init__(
        self, rack: ReplacedRack, view: View, operation: Operation | None, target: ObjectId | None, client: ClientId
    ) -> None:
        self._rack, self._client = rack, client
        names, n = sorted(view), rack.quorums.n
        shown = {name: [view[name].get(slot, NOTHING) for slot in range(n)] for name in names}
        sets = tuple(make_histories(name, [each.history for each in shown[name]]) for name in names)
        self._request = Request(target or names[0], sets, encode(operation) if operation else b"")
        macs = b"".join(each.macs for name in names for each in shown[name] if each.history)
        self._proofs = columns(macs, n)
        self.votes: dict[int, Vote] = {}

    def to(self, nodes: Iterable[int]) -> list[int]:
        """Deliver it; the nodes that have accepted, now or before."""
        rack, accepted = self._rack, []
        for node in nodes:
            frame = request_frame(1, encode(self._request), self._proofs[rack.slots[node]])
            answer = rack.deliver(node, self._client, frame)
            if answer is not None:
                self.votes[node] = decode_vote(split(answer, REPLY)[1])
                if self.votes[node].status == 0:
                    accepted.append(node)
        return accepted


def mimic(rack: ReplacedRack, node: int, *names: ObjectId) -> Callable[[ListRequest], ListReply]:
    """The list of a liar that shows what another node has now."""
    entries = [Listed(name, rack.history(node, name), b"", True) for name in sorted(names or (A,))]

    def answer(request: ListRequest) -> ListReply:
        left = tuple(entry for entry in entries if entry.object_id > request.after and entry.history)
        return ListReply(request.number, left, True, "")

    return answer
