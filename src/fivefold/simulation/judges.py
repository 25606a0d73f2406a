"""What else is judged in the modes that attack: clients' waiting, servers' memory, who is suspected, and divergence.

The invariants of :mod:`fivefold.simulation.watch` are about safety; these are about what an attack may cost.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from functools import partial
from typing import Final

from msgspec import UNSET

from fivefold.checker import Observation
from fivefold.checker import Outcome as Seen
from fivefold.errors import PeerViolation
from fivefold.protocol.client import Session
from fivefold.protocol.history import INITIAL_TIMESTAMP
from fivefold.protocol.limits import LONG_HISTORY_BYTES
from fivefold.protocol.messages import BUSY, REPLY, REQUEST, SUCCESS, decode_vote, split
from fivefold.protocol.operations import REFUSED, ClientId, ObjectId, digest
from fivefold.protocol.quorums import QuorumSystem
from fivefold.protocol.server import ring_key
from fivefold.simulation.chains import Violation
from fivefold.simulation.clients import ClientHost, Task
from fivefold.simulation.plan import SECOND
from fivefold.simulation.servers import ServerHost
from fivefold.simulation.watch import Watch

HISTORY_BYTES_JUDGED: Final = 128 * 1024
"""Bytes of one history on a benign server's disk: more than a few repairs need, from any clients."""

KEEPS_NS_MAX: Final = 3 * SECOND
"""A server keeps no request longer: an object sync ends before."""

LONG_READ_MAX: Final = 8
"""Long histories of one liar that a client may read which it asked among the first q, with q others at hand.

Soon it is asked last. It is needed where fewer others are at hand: they are silent, or doubted, too. And it is asked
with all others where one of the first q falls silent in mid-round.
"""

OVERLOADED: Final = REFUSED + b"overloaded"


class Judges:
    """Listens to clients and looks at servers.

    Attributes:
        liars: malevolent servers.
        faulty: servers that something was done to, and the liars.
        restarted: clients, and liars that they excluded then, which are honest since they were started again.
    """

    def __init__(self, watch: Watch, quorums: QuorumSystem, liars: Iterable[int], faulty: Iterable[int]) -> None:
        """Nothing has been said yet."""
        self.liars = frozenset(liars)
        self.faulty = self.liars | frozenset(faulty)
        self.restarted: set[tuple[int, int]] = set()
        self._watch, self._quorums = watch, quorums
        self._votes: dict[tuple[ClientId, bytes], dict[int, bytes]] = {}
        self._heard_last: dict[ClientId, bytes] = {}
        self._long: Counter[tuple[Session, int]] = Counter()
        self._asked: Counter[tuple[Session, bytes]] = Counter()  # frames of a request, by its digest
        self._chosen: set[tuple[Session, int, int]] = set()  # liars that were among the first q, without need

    def asked(self, client: ClientHost, server: int, frame: bytes) -> None:
        """A client sends a frame."""
        if frame[0] != REQUEST:
            return
        session, (number, body, _) = client.session, split(frame, REQUEST)
        request = digest(body)
        self._asked[session, request] += 1
        is_first = self._asked[session, request] <= self._quorums.q
        if server in self.liars and is_first and not self._is_needed(session, server):
            self._chosen.add((session, server, number))

    def heard(self, client: ClientHost, server: int, frame: bytes) -> None:
        """A client receives a frame.

        Raises:
            Violation: an honest server turns it away because of others.
        """
        try:
            number, body, _ = split(frame, REPLY)
            vote = decode_vote(body)
        except PeerViolation:
            return
        if server in self.liars and any(len(history) > LONG_HISTORY_BYTES for history in vote.histories):
            self._long[client.session, server] += (client.session, server, number) in self._chosen
        self._heard_last[client.id] = b""
        if vote.status == SUCCESS and vote.version_digest:
            self._heard_last[client.id] = vote.candidate
            self._votes.setdefault((client.id, vote.candidate), {})[server] = vote.version_digest
        if vote.status == BUSY and vote.answers[:1] == (OVERLOADED,) and server not in self.liars:
            raise Violation("crowded out", f"server {server} is too busy for c{client.index}")

    def _is_needed(self, session: Session, liar: int) -> bool:
        """Whether a client has fewer than q others at hand, or among them another liar, which may spoil any round."""
        standing = session.standing
        away = {*standing.down, *standing.slow, *standing.outdated, liar}
        near = set(range(self._quorums.n)) - away
        at_hand = {server for server in near if not (standing.is_excluded(server) or standing.is_doubted(server))}
        return len(at_hand) < self._quorums.q or not at_hand.isdisjoint(self.liars)

    def forgotten(self, client: ClientHost, task: Task) -> None:
        """Rings do not know what became of a client's last update on an object: then another one was applied later.

        Story: (1) two of a client's updates are under way, and the one that was called first is applied last. (2) Sixty
        updates of others pass. (3) Of the one that was called last the ring remembers nothing, as of any older one.

        Raises:
            Violation: none of its other updates was applied after this one.
        """
        name = ObjectId(min(task.call.objects))
        members = self._watch.chains.of(name).members
        applied = [t for t in self._watch.made_by(name, ring_key(client.id, task.call_id)) if t in members]
        made = [
            t for rival in task.rivals for t in self._watch.made_by(name, ring_key(client.id, rival)) if t in members
        ]
        if max(made, default=INITIAL_TIMESTAMP) <= max(applied, default=INITIAL_TIMESTAMP):
            what = f"the last call of c{client.index} on {name}, {task.call.method}, is forgotten"
            raise Violation("forgotten", what)

    def ended(self, client: ClientId, call_id: bytes, seen: Observation) -> None:
        """A call has ended.

        Raises:
            Violation: it was answered although more than b servers computed something else.
        """
        if seen.outcome is not Seen.OK or seen.answer is UNSET:  # without an answer if its caller heard of divergence
            return
        key = ring_key(client, call_id)
        for made in self._watch.made_by(ObjectId(seen.objects[0]), key):
            if made != self._heard_last.get(client):  # answered by what rings say: of that no server tells the version
                continue
            results = Counter(self._votes.get((client, made), {}).values())
            others = results.total() - max(results.values(), default=0)
            if others > self._quorums.b:
                raise Violation("diverged", f"{seen}: {others} servers computed something else")

    def look_at_client(self, client: ClientHost) -> None:
        """A call has ended.

        Raises:
            Violation: its client excludes a server that did nothing but its duty, if only for a while.
        """
        standing = client.session.standing
        if not standing.is_anybody_doubted:
            return
        for server in set(range(client.session.knowledge.quorums.n)) - self.faulty:
            if standing.is_excluded(server):
                raise Violation("suspected", f"c{client.index} excludes server {server}, which did nothing")

    def look_at_clients(self, clients: Iterable[ClientHost]) -> None:
        """The run is over.

        Raises:
            Violation: a client suspects a server that did nothing but its duty, or has done so since its last start; or
                it still reads the long histories of a liar.
        """
        for (_, liar), count in self._long.items():
            if count > LONG_READ_MAX:
                what = f"a client read {count} long histories of the liar {liar}, with q others at hand"
                raise Violation("long histories", what)
        for client in clients:
            for found in client.session.standing.evidence():
                if found.is_excluded and (client.index, found.server) in self.restarted:
                    what = f"c{client.index} excludes server {found.server}, honest since it was started again"
                    raise Violation("suspected", what)
                if found.server not in self.faulty and (found.is_excluded or found.is_suspected):
                    what = "excludes" if found.is_excluded else "suspects"
                    raise Violation("suspected", f"c{client.index} {what} server {found.server}, which did nothing")

    def look_at_servers(self, servers: Iterable[ServerHost]) -> None:
        """The run is over, and no client asks any more. Servers still ask each other; in between there is quiet.

        Raises:
            Violation: a server still keeps something for requests that ended long ago.
        """
        for server in servers:
            if server.index not in self.liars and _keeps(server):
                server.world.run(server.world.now_ns + KEEPS_NS_MAX, partial(_keeps_nothing, server))
                if count := _keeps(server):
                    raise Violation("memory", f"server {server.index} keeps {count} requests that nobody waits for")


def _keeps(server: ServerHost) -> int:
    """Requests that wait at a server that is up."""
    return server.machine.pending_requests if server.is_up else 0


def _keeps_nothing(server: ServerHost) -> bool:
    return not _keeps(server)
