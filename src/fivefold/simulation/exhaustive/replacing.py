"""One server of four is replaced, in all orders of a few requests on one object: ``fivefold explore --replaced``.

Beside sendings and deliveries there are four further steps: server 0 is replaced, another server is told, the newcomer
reads another one, and takes over what it has read. What a server makes of a request, what it shows and what it promises
is what a production :class:`~fivefold.protocol.server.Server` does that has just loaded what it holds, with the keys of
its edition; what the newcomer takes over is what ``plan_adoption`` says. MACs are real, so servers have their names
here, and states are not merged by renaming them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations, product
from typing import Final

import msgspec

from fivefold.protocol.actions import Actions, Ask, Channel, ObjectRecord
from fivefold.protocol.authenticators import MAC_BYTES, columns
from fivefold.protocol.classify import plan_operation, plan_repair, views_of
from fivefold.protocol.history import (
    INITIAL_TIMESTAMP,
    decode_history,
    encode_history,
    make_histories,
    short,
)
from fivefold.protocol.messages import (
    REPLY,
    SYNC,
    decode_sync,
    decode_vote,
    encode,
    request_frame,
    split,
    sync_reply_frame,
)
from fivefold.protocol.operations import ClientId, ObjectId, digest
from fivefold.protocol.quorums import QuorumSystem
from fivefold.protocol.records import (
    INITIAL_HISTORY,
    Candidate,
    LogicalTimestamp,
    ObjectHistories,
    Request,
    SyncReply,
    SyncRequest,
)
from fivefold.protocol.server import (
    OWN_RECORD,
    Adoption,
    Server,
    encode_version,
    may_begin,
    others_needed,
    plan_adoption,
    read_rows,
    view_of,
)
from fivefold.protocol.steps import Plan
from fivefold.simulation.chains import Chains, Violation
from fivefold.simulation.exhaustive.exploration import CLIENTS, Budget, Case, Exploration, Found
from fivefold.simulation.exhaustive.identities import Asking, Node, Shown, State
from fivefold.simulation.exhaustive.moves import Writer
from fivefold.simulation.rack import Everyone, client_id, one_call
from fivefold.simulation.replacement import Book, identity_keys

N: Final = 4
OLD: Final = 0
"""The identity that is replaced; the others are 1 to 3 ..."""
NEW: Final = 4
"""... and this is the newcomer, in slot 0."""
OTHERS: Final = (1, 2, 3)
NAME: Final = ObjectId("Toy/a")
READER: Final = client_id("reader")
READING: Final = request_frame(1, encode(Request(NAME, (make_histories(NAME, [b""] * N),), b"")), b"")
"""What it sends, and what the newcomer does: a request that shows nothing and wants nothing."""
NOBODY: Final = -1
UNREAD: Final = -1
REPLACED, TOLD, READ, TAKEN = "server 0 is replaced", "is told", "is read by the newcomer", "the newcomer takes over"


class Replacing:
    """One exploration.

    Attributes:
        result: what was seen.
    """

    def __init__(self, requests_max: int, budget: Budget, *, is_twin: bool) -> None:
        """Nothing seen yet; with ``is_twin`` the replaced identity runs on."""
        self.quorums = QuorumSystem(N, 1, 0)
        self.result = Exploration(Case(objects_count=1, requests_max=requests_max, probe_every=0), violations=[])
        self._budget, self._is_twin = budget, is_twin
        self._book = Book(N)
        self._book.replace(OLD)
        self._candidates: dict[LogicalTimestamp, Candidate] = {}
        self._versions: dict[bytes, bytes] = {}
        self._askings: list[Asking] = []
        self._numbers: dict[tuple[ClientId, bool, tuple[Shown, ...]], int] = {}
        self._nodes: list[Node] = []
        self._node_numbers: dict[Node, int] = {}
        self._histories: list[bytes] = []
        self._history_numbers: dict[bytes, int] = {}
        self._after: dict[object, int] = {}
        self._signed: dict[object, Shown | None] = {}
        self._reads: dict[object, tuple[int, int]] = {}
        self._taken: dict[tuple[int, ...], int] = {}
        self._plans: dict[object, Plan | None] = {}
        self._verdicts: dict[object, Violation | None] = {}
        self._seen: dict[State, tuple[State, str] | None] = {}

    def run(self) -> Exploration:
        """Explore: all that deliveries and the replacement lead to, then with one more request, and so on."""
        began_s = time.monotonic()
        self._deadline_s = began_s + self._budget.seconds_max
        start = State((*[self._intern(Node())] * N, NOBODY), (UNREAD,) * len(OTHERS), ())
        self._seen[start] = None
        frontier = [start]
        for requests in range(self.result.case.requests_max + 1):
            left = self.result.case.requests_max - requests
            frontier = self._level(frontier, left)
            if self._is_over:
                break
            self.result.requests_done = requests
        else:
            self.result.is_exhausted = True
        self.result.states, self.result.examined = len(self._seen), len(self._after)
        self.result.seconds = time.monotonic() - began_s
        return self.result

    @property
    def _is_over(self) -> bool:
        return len(self._seen) >= self._budget.states_max or time.monotonic() > self._deadline_s

    def _level(self, stack: list[State], left: int) -> list[State]:
        later: list[State] = []
        while stack and not (len(stack) % 64 == 0 and self._is_over):
            state = stack.pop()
            try:
                self._check(state)
                for after, what in (*self._deliveries(state), *self._replacement(state)):
                    if self._is_new(state, after, what):
                        stack.append(after)
                for after, what in self._sendings(state) if left else ():
                    if self._is_new(state, after, what):
                        later.append(after)
            except (Violation, AssertionError) as violation:
                self.result.violations_count += 1
                if not self.result.violations:
                    self.result.violations.append(Found(str(violation), self._schedule(state)))
        return later

    def _is_new(self, before: State, state: State, what: str) -> bool:
        self.result.transitions += 1
        if state in self._seen:
            self.result.merged += 1
            return False
        self._seen[state] = (before, what)
        return True

    def _schedule(self, state: State) -> tuple[str, ...]:
        lines: list[str] = []
        past = self._seen[state]
        while past is not None:
            lines.append(past[1])
            past = self._seen[past[0]]
        self.result.steps_max = max(self.result.steps_max, len(lines))
        return tuple(reversed(lines))

    def _intern(self, node: Node) -> int:
        number = self._node_numbers.setdefault(node, len(self._nodes))
        if number == len(self._nodes):
            self._nodes.append(node)
        return number

    def _history_number(self, history: bytes) -> int:
        number = self._history_numbers.setdefault(history, len(self._histories))
        if number == len(self._histories):
            self._histories.append(history)
        return number

    # --- steps ------------------------------------------------------------------------------------------------

    def _deliveries(self, state: State) -> Iterator[tuple[State, str]]:
        for number in state.pending:
            for identity, node in enumerate(state.nodes):
                if node != NOBODY and self._is_up(state, identity):
                    after = self._deliver(state, identity, number)
                    if after != node:
                        what = f"{self._askings[number].what} reaches {_called(identity)}"
                        yield self._with(state, identity, after), what

    def _is_up(self, state: State, identity: int) -> bool:
        return identity != OLD or state.nodes[NEW] == NOBODY or self._is_twin

    def _replacement(self, state: State) -> Iterator[tuple[State, str]]:
        if state.nodes[NEW] == NOBODY:
            yield self._with(state, NEW, self._intern(Node(uses=2))), REPLACED
            return
        for place, other in enumerate(OTHERS):
            node = self._nodes[state.nodes[other]]
            if node.uses == 1:
                told = self._intern(msgspec.structs.replace(node, uses=2))
                yield self._with(state, other, told), f"server {other} {TOLD}"
            elif not self._answers(state, NEW) and may_begin(self.quorums, self._followers(state)):
                after, shown = self._read(state, other)
                if shown != UNREAD:
                    read = (*state.read[:place], shown, *state.read[place + 1 :])
                    yield self._with(state, other, after)._replace(read=read), f"server {other} {READ}"
        if state.read not in self._taken:
            self._taken[state.read] = self._take_over(state)
        taken = self._taken[state.read]
        if taken != NOBODY and not self._answers(state, NEW):
            yield self._with(state, NEW, taken)._replace(read=(UNREAD,) * len(OTHERS)), TAKEN

    def _followers(self, state: State) -> int:
        return sum(self._nodes[number].uses == 2 for number in state.nodes[1:NEW])

    def _with(self, state: State, identity: int, node: int) -> State:
        """The state with another node; without requests that change nothing any more, once all is told and adopted."""
        after = state._replace(nodes=(*state.nodes[:identity], node, *state.nodes[identity + 1 :]))
        if after.nodes[NEW] == NOBODY or self._followers(after) < len(OTHERS) or not self._answers(after, NEW):
            return after
        up = [each for each in range(N + 1) if self._is_up(after, each)]
        alive = [n for n in after.pending if any(self._deliver(after, each, n) != after.nodes[each] for each in up)]
        return after._replace(pending=tuple(alive))

    def _take_over(self, state: State) -> int:
        """The newcomer with what it has read, if that is enough and needs no repair."""
        histories = [self._histories[number] for number in state.read if number != UNREAD]
        if len(histories) < others_needed(self.quorums):
            return NOBODY
        plan = plan_adoption(self.quorums, NAME, {NAME: view_of(self.quorums, NAME, histories)})
        if not isinstance(plan, Adoption):
            return NOBODY
        own = msgspec.msgpack.encode([0, 2])
        if not plan.histories:
            return self._intern(Node(uses=2, own=own))
        [(_, history)] = plan.histories
        held = [each.candidate.timestamp for each in history]
        accepted = frozenset(each for each in held if each in self._candidates)
        return self._intern(Node(encode_history(history), accepted, frozenset(), 2, own))

    # --- requests ---------------------------------------------------------------------------------------------

    def _sendings(self, state: State) -> Iterator[tuple[State, str]]:
        """Clients show what at least q slots hold now; of slot 0 what the replaced identity holds, or the newcomer."""
        slots: list[list[Shown]] = []
        for identities in ((OLD, NEW), *((other,) for other in OTHERS)):
            found = [self._sign(state, each) for each in identities if state.nodes[each] != NOBODY]
            slots.append([shown for shown in found if shown is not None])
        for size in range(self.quorums.q, N + 1):
            for chosen in combinations(slots, size):
                for shown in product(*chosen):
                    yield from self._requests(state, tuple(each for each in shown if each.history))

    def _requests(self, state: State, shown: tuple[Shown, ...]) -> Iterator[tuple[State, str]]:
        for is_operation in (True, False):
            plan = self._plan(shown, is_operation=is_operation)
            if plan is None:
                continue
            for client in CLIENTS:
                number = self._number(client, shown, is_operation=is_operation)
                if number not in state.pending:
                    after = state._replace(pending=tuple(sorted((*state.pending, number))))
                    yield after, f"{self._askings[number].what} ({plan.kind.value}) is sent"

    def _plan(self, shown: tuple[Shown, ...], *, is_operation: bool) -> Plan | None:
        """What a request calls for that shows this, before anything of it is culled."""
        key = tuple([(each.slot, each.history) for each in shown]), is_operation
        if key not in self._plans:
            views = views_of(self.quorums, _sets_of(shown))
            plan = plan_operation(self.quorums, views) if is_operation else plan_repair(self.quorums, NAME, views)
            self._plans[key] = plan if isinstance(plan, Plan) else None
        return self._plans[key]

    def _number(self, client: ClientId, shown: tuple[Shown, ...], *, is_operation: bool) -> int:
        key = (client, is_operation, shown)
        number = self._numbers.setdefault(key, len(self._askings))
        if number < len(self._askings):
            return number
        by_slot = {each.slot: each for each in shown}
        operation = b""
        if is_operation:
            seen = digest(client + b"".join(each.history for each in shown))
            operation = encode(one_call((NAME,), "write", b"", seen[:16]))
        body = encode(Request(NAME, _sets_of(shown), operation))
        proofs = columns(b"".join(by_slot[slot].macs for slot in sorted(by_slot)), N)
        frames = tuple(request_frame(1, body, proofs[slot] if by_slot else b"") for slot in range(N))
        who = client.rstrip(b"\0").decode()
        slots = "".join(map(str, sorted(by_slot))) or "that are initial"
        what = f"{who} {'a!' if is_operation else 'a?'} of slots {slots}"
        self._askings.append(Asking(client, what, shown, frames))
        return number

    # --- servers ----------------------------------------------------------------------------------------------

    def _boot(self, state: State, identity: int) -> Server:
        """A production server that has just started with what an identity holds, and has heard all others."""
        node = self._nodes[state.nodes[identity]]
        slot, born = (OLD, 2) if identity == NEW else (identity, 1)
        edition = self._book.edition(node.uses)
        keys = identity_keys(slot, born, edition.since)
        server = Server(self.quorums, keys, Writer(), Everyone(), edition=edition)
        server.start(0, ObjectRecord(node.own, ()) if node.own else None)
        for other, each in enumerate(state.nodes):
            if each != NOBODY and other != identity and self._book.file(node.uses)[other % N] == other:
                server.announced(0, other % N, *self._book.edition(self._nodes[each].uses).name)
        return server

    def _key(self, state: State, identity: int) -> object:
        """All that a server's answer depends on beside the request."""
        uses = [0 if node == NOBODY else self._nodes[node].uses for node in state.nodes]
        return identity, state.nodes[identity], tuple(uses)

    def _deliver(self, state: State, identity: int, number: int) -> int:
        key = (self._key(state, identity), number)
        if key not in self._after:
            asking = self._askings[number]
            frame = asking.frames[identity % N]
            after, _ = self._feed(
                state, identity, lambda server: server.receive_from_client(0, asking.client, Channel(1), frame)
            )
            self._after[key] = self._intern(after)
        return self._after[key]

    def _sign(self, state: State, identity: int) -> Shown | None:
        """What an identity shows a client now, and how it signs that; None if it answers nothing."""
        key = self._key(state, identity)
        if key not in self._signed:
            _, votes = self._feed(state, identity, self._read_by_client)
            self._signed[key] = None if not votes else Shown(identity % N, *votes[0])
        return self._signed[key]

    def _answers(self, state: State, identity: int) -> bool:
        return self._sign(state, identity) is not None

    def _read(self, state: State, other: int) -> tuple[int, int]:
        """The newcomer reads another server: what that holds then, its promises included, and what it has shown."""
        key = self._key(state, other)
        if key not in self._reads:
            after, votes = self._feed(state, other, self._read_by_newcomer)
            self._reads[key] = self._intern(after), self._history_number(votes[0][0]) if votes else UNREAD
        return self._reads[key]

    def _read_by_newcomer(self, server: Server) -> Actions:
        return server.receive_from_server(0, OLD, Channel(1), READING)

    def _read_by_client(self, server: Server) -> Actions:
        return server.receive_from_client(0, READER, Channel(1), READING)

    def _feed(
        self, state: State, identity: int, give: Callable[[Server], Actions]
    ) -> tuple[Node, list[tuple[bytes, bytes]]]:
        """Give a server an input and all that follows: what it holds then, and the histories that it has answered."""
        node = self._nodes[state.nodes[identity]]
        server = self._boot(state, identity)
        history, own, accepted = node.history, node.own, set(node.accepted)
        answered: list[tuple[bytes, bytes]] = []
        queue = [give(server)]
        while queue:
            actions = queue.pop()
            for fault in actions.faults:
                raise fault.error
            for store in actions.store:
                for write in store.writes:
                    if write.object_id == OWN_RECORD:
                        own = write.history
                        continue
                    history = write.history
                    self._note(history, write.put)
                    accepted.update(LogicalTimestamp(timestamp) for timestamp, _ in write.put)
                queue.append(server.durable(0, store.sequence))
            queue.extend(
                server.loaded(0, name, self._record(history, accepted)) for name in map(ObjectId, actions.load)
            )
            for message in actions.send:
                if isinstance(message, Ask):
                    queue.extend(self._synced(server, message))
                elif message.frame[0] == REPLY:
                    _, body, macs = split(message.frame, REPLY)
                    vote = decode_vote(body)
                    answered += [(each, macs[: N * MAC_BYTES] if each else b"") for each in vote.histories]
        early = frozenset(accepted) if node.uses == 1 else node.early
        return Node(history, frozenset(accepted), early, node.uses, own), answered

    def _record(self, history: bytes, accepted: set[LogicalTimestamp]) -> ObjectRecord | None:
        if history == INITIAL_HISTORY:
            return None
        return ObjectRecord(history, tuple((each, self._versions[each]) for each in sorted(accepted)))

    def _note(self, history: bytes, put: Sequence[tuple[bytes, bytes]]) -> None:
        for entry in decode_history(NAME, history):
            if not entry.candidate.is_barrier and entry.candidate.timestamp != INITIAL_TIMESTAMP:
                self._candidates.setdefault(entry.candidate.timestamp, entry.candidate)
        for timestamp, version in put:
            if self._versions.setdefault(timestamp, version) != version:
                raise Violation("two versions", "one timestamp names two versions")

    def _synced(self, server: Server, ask: Ask) -> list[Actions]:
        """Another server answers an object sync at once, and truly; nothing else is asked here."""
        if ask.frame[0] != SYNC:
            return []
        request = decode_sync(ask.frame)
        assert isinstance(request, SyncRequest), "a question"
        row = self._versions.get(request.timestamp)
        data = encode_version(read_rows([(request.timestamp, row)])[request.timestamp]) if row else b""
        reply = SyncReply(request.number, digest(data) if data else b"", data if request.is_whole else b"")
        return [server.receive_from_server(0, ask.server, Channel(0), sync_reply_frame(reply))]

    # --- invariants -------------------------------------------------------------------------------------------

    def _check(self, state: State) -> None:
        key = (state.nodes, self._has_newcomer(state))
        if key not in self._verdicts:
            self._verdicts[key] = self._judge(state)
        violation = self._verdicts[key]
        if violation is not None:
            raise violation

    def _has_newcomer(self, state: State) -> bool:
        return state.nodes[NEW] != NOBODY and self._answers(state, NEW)

    def _judge(self, state: State) -> Violation | None:
        """One chain of what clients of either edition may have seen complete; and the new file's servers hold it."""
        chains = Chains(self.quorums, 0, self._book)
        born = [(identity, self._nodes[number]) for identity, number in enumerate(state.nodes) if number != NOBODY]
        try:
            for timestamp in sorted(frozenset().union(*(node.accepted for _, node in born))):
                for identity, node in born:
                    if timestamp in node.accepted:
                        edition = 1 if timestamp in node.early else 2
                        chains.accept(identity, NAME, self._candidates[timestamp], edition)
        except Violation as violation:
            return violation
        tip = chains.of(NAME).tip
        if self._has_newcomer(state) and tip != INITIAL_TIMESTAMP:
            holders = [identity for identity, node in born if identity != OLD and self._reaches(node, tip)]
            if len(holders) < self.quorums.q:
                return Violation("not held", f"{short(tip)} is established, and servers {holders} alone hold it")
        return None

    def _reaches(self, node: Node, wanted: LogicalTimestamp) -> bool:
        """Whether a node has accepted a version, or one that descends from it."""
        for each in node.accepted:
            timestamp = each
            while timestamp > wanted and timestamp in self._candidates:
                timestamp = self._candidates[timestamp].part(NAME).conditioned_on
            if timestamp == wanted:
                return True
        return False


def _sets_of(shown: tuple[Shown, ...]) -> tuple[ObjectHistories, ...]:
    by_slot = {each.slot: each.history for each in shown}
    return (make_histories(NAME, [by_slot.get(slot, b"") for slot in range(N)]),)


def _called(identity: int) -> str:
    return "the newcomer" if identity == NEW else f"server {identity}"


def explore_replacement(requests_max: int, budget: Budget, *, is_twin: bool) -> Exploration:
    """One replacement at n = 4, with this many requests on one object."""
    return Replacing(requests_max, budget, is_twin=is_twin).run()
