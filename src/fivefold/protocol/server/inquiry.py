"""One object read from the other servers, and repaired as by an ordinary client (R5, R6, R10, M2; ours).

A read is a request without an operation and with initial sets: it derives to nothing, and is answered with histories.
A repair is an ordinary request that shows what the others have answered; the servers judge it as any client's. What a
server has answered over its own connection is what :mod:`adoption` may judge by.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from operator import attrgetter
from typing import Final

from fivefold.errors import PeerViolation
from fivefold.protocol.actions import Ask
from fivefold.protocol.authenticators import MAC_BYTES, columns
from fivefold.protocol.classify import plan_repair, views_of
from fivefold.protocol.history import empty_histories, make_histories, read_history
from fivefold.protocol.limits import (
    INQUIRY_BACKOFF_NS,
    INQUIRY_BACKOFF_NS_MAX,
    INQUIRY_GRACE_NS,
    INQUIRY_HEEDS_EVERY,
    INQUIRY_PATIENCE_NS,
    REPAIR_OBJECTS_MAX,
)
from fivefold.protocol.messages import BUSY, DECLINED, decode_vote, encode, request_head
from fivefold.protocol.operations import ObjectId, digest
from fivefold.protocol.quorums import QuorumSystem
from fivefold.protocol.records import INITIAL_HISTORY, LogicalTimestamp, ObjectHistories, Request, Vote
from fivefold.protocol.steps import Missing, Plan

_timestamp: Final = attrgetter("timestamp")

Shown = dict[ObjectId, tuple[bytes, bytes]]
"""For each object the history and the authenticator that a server has answered."""


class Inquiry:
    """The rounds about one object.

    Attributes:
        target: the object.
        names: it, and the objects that it is judged by.
        rounds: begun so far.
        number: of the requests under way; 0 while it pauses.
        wake_at_ns: when the round or the pause is over at the latest.
        shown: what each server has answered last.
    """

    def __init__(
        self,
        quorums: QuorumSystem,
        own_index: int,
        names: Iterable[ObjectId],
        target: ObjectId,
        *,
        is_wary: bool = False,
    ) -> None:
        """Nothing is asked yet; ``is_wary`` if inventors are to be left out: a newcomer has to heed what is newer.

        A client is wary every other time. Story: (1) A barrier is on one server alone, and the cluster is sealed: only
        the mover repairs. (2) A liar shows the version to each inquiry, where nothing is due then, and the beginning to
        whoever looks whether q servers agree by now.

        ``own_index`` is that of the server that asks, -1 for a client.
        """
        self._quorums, self._own_index, self._is_wary = quorums, own_index, is_wary
        self.target = target
        self.names: list[ObjectId] = sorted({*names, target})
        self.rounds = self.number = self.wake_at_ns = 0
        self.shown: dict[int, Shown] = {}
        self._asked: set[int] = set()
        self._answered: set[int] = set()
        self._culled: dict[int, int] = {}

    def read(self, now_ns: int, number: int, servers: Collection[int]) -> list[Ask]:
        """Ask for histories."""
        sets = tuple([empty_histories(name, self._quorums.n) for name in self.names])
        return self._send(now_ns, number, servers, sets, b"")

    def _send(
        self, now_ns: int, number: int, servers: Collection[int], sets: tuple[ObjectHistories, ...], macs: bytes
    ) -> list[Ask]:
        self.rounds += 1
        self.number = number
        self.wake_at_ns = now_ns + INQUIRY_PATIENCE_NS
        self._asked, self._answered, self._culled = set(servers) - {self._own_index}, set(), {}
        head = request_head(number, encode(Request(self.target, sets, b"")))
        frames = columns(macs, self._quorums.n, head)
        return [Ask(server, frames[server]) for server in servers]

    def receive(self, now_ns: int, server: int, number: int, data: bytes, authenticators: bytes) -> None:
        """A server's answer.

        Raises:
            PeerViolation: no honest server sends that.
        """
        self.take(now_ns, server, number, decode_vote(data), authenticators)

    def take(self, now_ns: int, server: int, number: int, vote: Vote, authenticators: bytes) -> None:
        """The same, decoded.

        Raises:
            PeerViolation: no honest server sends that.
        """
        if number != self.number or server not in self._asked:
            return
        self._answered.add(server)
        if vote.status not in (BUSY, DECLINED):
            self.shown[server] = self._shown(vote, authenticators)
            for each in vote.culled:
                self._culled[each] = self._culled.get(each, 0) + 1
            if len(self._showing) >= self._quorums.q:
                self.wake_at_ns = min(self.wake_at_ns, now_ns + INQUIRY_GRACE_NS)

    def _shown(self, vote: Vote, authenticators: bytes) -> Shown:
        if len(vote.histories) != len(self.names):
            raise PeerViolation("reply-histories")
        shown: Shown = {}
        at, size = 0, self._quorums.n * MAC_BYTES
        for name, history in zip(self.names, vote.histories, strict=True):
            read_history(name, history)
            end = at + (size if history else 0)
            shown[name] = (history, authenticators[at:end])
            at = end
        if at != len(authenticators):
            raise PeerViolation("reply-length")
        return shown

    def forget(self, server: int) -> None:
        """The server was replaced: what it answered counts no more."""
        self.shown.pop(server, None)
        self._asked.discard(server)

    @property
    def _showing(self) -> set[int]:
        return self._answered & self.shown.keys()

    @property
    def is_over(self) -> bool:
        """Whether every server that was asked has answered."""
        return self._answered >= self._asked

    def histories(self, name: ObjectId) -> list[bytes]:
        """What the servers have answered for an object."""
        return [shown[name][0] for shown in self.shown.values() if name in shown]

    def histories_by_server(self, name: ObjectId) -> dict[int, bytes]:
        """The same by server."""
        return {server: shown[name][0] for server, shown in self.shown.items() if name in shown}

    @property
    def has_read_all(self) -> bool:
        """Whether each server that has answered was asked about all objects."""
        return all(name in shown for shown in self.shown.values() for name in self.names)

    def add(self, names: Iterable[ObjectId]) -> bool:
        """Judge by these objects too; False if that is too many. They have to be read."""
        self.names = sorted({*self.names, *names})
        return len(self.names) <= REPAIR_OBJECTS_MAX

    def plan(self) -> Plan | Missing | None:
        """What repair is due; None if none is."""
        views = views_of(self._quorums, self._sets(self._believed()))
        return plan_repair(self._quorums, self.target, views)

    def inline(self, number: int) -> tuple[Plan | Missing | None, bytes]:
        """The repair that brings this server alone up to what q - 1 others show, and the request for it (R10).

        These have the newest candidates; one fewer than q, so that what they all show calls for INLINE_METHOD. Nothing
        is taken over outside the ordinary rules: this server judges the request like any other.
        """
        usable = self._usable()
        usable.pop(self._own_index, None)
        newest = {
            server: read_history(self.target, each[self.target][0])[-1].candidate for server, each in usable.items()
        }
        counts = Counter(newest.values())  # what b or fewer show may be invented, and comes last
        order = sorted(
            usable,
            key=lambda server: (counts[newest[server]] > self._quorums.b, newest[server].timestamp),
            reverse=True,
        )
        chosen = {server: usable[server] for server in sorted(order[: self._quorums.q - 1])}
        sets = self._sets(chosen)
        macs = [chosen[server][name][1] for name in self.names for server in chosen if chosen[server][name][0]]
        head = request_head(number, encode(Request(self.target, sets, b"")))
        plan = plan_repair(self._quorums, self.target, views_of(self._quorums, sets))
        return plan, columns(b"".join(macs), self._quorums.n, head)[self._own_index]

    @property
    def newest(self) -> LogicalTimestamp:
        """The greatest timestamp of the object that any server whose word counts has shown."""
        shown = self._believed().values()
        return max([read_history(self.target, each[self.target][0])[-1].candidate.timestamp for each in shown])

    @property
    def digests(self) -> dict[int, bytes]:
        """Of what each server has answered about the object."""
        return {server: digest(shown[self.target][0]) for server, shown in self.shown.items()}

    def has_changed(self, before: Mapping[int, bytes]) -> bool:
        """Whether more than b servers answer something else than before: as many may always do so."""
        now = self.digests
        return sum([before[server] != now[server] for server in before.keys() & now.keys()]) > self._quorums.b

    def repair(self, now_ns: int, number: int, servers: Collection[int]) -> list[Ask]:
        """Send what was answered as a repair; the one for this server itself, if it is among them, is not sent."""
        usable = self._believed()
        sets = self._sets(usable)
        macs = [usable[server][name][1] for name in self.names for server in sorted(usable) if usable[server][name][0]]
        return self._send(now_ns, number, servers, sets, b"".join(macs))

    def _usable(self) -> dict[int, Shown]:
        """Without the servers that more than b others have culled, and those that were not asked about all objects."""
        return {
            server: shown
            for server, shown in self.shown.items()
            if self._culled.get(server, 0) <= self._quorums.b and all(name in shown for name in self.names)
        }

    def _believed(self) -> dict[int, Shown]:
        """Of these, without b others at most that show the newest candidate alone, while q remain.

        They may invent it, another one each time, and nothing but barriers would ever be due. An honest one that holds
        it repairs it itself: so what this server holds counts always.

        It may not, and so each fourth round heeds all. Story: (1) a cluster is sealed, where only the mover repairs.
        (2) An honest server holds a barrier alone, and a liar accepts nothing. (3) Without the one, the other is among
        the q that are left: nothing that is sent to it is ever complete, and the move never ends.
        """
        found, quorums = self._usable(), self._quorums
        left = quorums.b if self._is_wary and self.rounds % INQUIRY_HEEDS_EVERY else 0
        while left and len(found) > quorums.q:
            newest = {s: read_history(self.target, each[self.target][0])[-1].candidate for s, each in found.items()}
            latest = max(newest.values(), key=_timestamp)
            holders = [server for server, candidate in newest.items() if candidate == latest]
            left -= len(holders)
            if left < 0 or self._own_index in holders or len(found) - len(holders) < quorums.q:
                break
            found = {server: each for server, each in found.items() if server not in holders}
        return found

    def _sets(self, usable: Mapping[int, Shown]) -> tuple[ObjectHistories, ...]:
        nothing = dict.fromkeys(self.names, (INITIAL_HISTORY, b""))
        shown = [usable.get(server, nothing) for server in range(self._quorums.n)]
        return tuple([make_histories(name, [each[name][0] for each in shown]) for name in self.names])

    def pause(self, now_ns: int, number: int) -> None:
        """Wait before a barrier or a copy, longer each time: others may be repairing, too.

        The pause differs from server to server, and is the same in each run.
        """
        longest = min(INQUIRY_BACKOFF_NS << min(self.rounds, 16), INQUIRY_BACKOFF_NS_MAX)
        share = digest(bytes((self._own_index,)) + number.to_bytes(8, "big") + self.target.encode())[0]
        self.rest(now_ns + longest // 2 + longest * share // 512)

    def rest(self, until_ns: int) -> None:
        """Ask nothing until then."""
        self.number = 0
        self.wake_at_ns = until_ns
