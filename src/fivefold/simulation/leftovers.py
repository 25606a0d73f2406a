"""What is judged where clients leave their updates to others: how much, what is believed, and what remains.

The bound is counted by what is on the disks, and not by what the servers say of themselves.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from fivefold.protocol.actions import Write
from fivefold.protocol.history import client_of, decode_history, short
from fivefold.protocol.operations import ClientId, ObjectId
from fivefold.protocol.records import LogicalTimestamp
from fivefold.protocol.server import OWN_RECORD
from fivefold.simulation.chains import Violation
from fivefold.simulation.plan import SECOND
from fivefold.simulation.servers import ServerHost
from fivefold.simulation.watch import Watch
from fivefold.simulation.world import World

DONE_NS = 120 * SECOND
"""Virtual time after which servers that nobody asks anything have repaired all that was left."""


class Leftovers:
    """Looks at benign servers."""

    def __init__(self, watch: Watch, open_max: int, villains: Iterable[ClientId], liars_count: int) -> None:
        """Nothing is left; a client may have so much open at each server."""
        self._watch, self._open_max, self._villains = watch, open_max, frozenset(villains)
        self._liars_count = liars_count
        self._latest: dict[tuple[int, int], dict[ObjectId, LogicalTimestamp]] = {}

    def committed(self, host: ServerHost, writes: Sequence[Write]) -> None:
        """A benign server has more on its disk.

        Raises:
            Violation: a client has left more there, since its start, than is allowed.
        """
        latest = self._latest.setdefault((host.index, host.boots), {})
        for write in writes:
            name = ObjectId(write.object_id)
            if name == OWN_RECORD:
                continue
            timestamp = decode_history(name, write.history)[-1].candidate.timestamp
            if client_of(timestamp) in self._villains and not self._may_be_inline(host.index, name, timestamp):
                latest[name] = timestamp
            else:
                latest.pop(name, None)
        count = Counter(client_of(each) for name, each in latest.items() if not self._is_established(name, each))
        for client, left in count.items():
            if left > self._open_max:
                who = self._watch.names.get(client, "a client")
                raise Violation("unverified", f"server {host.index} has taken {left} candidates of {who} and waits")

    def _may_be_inline(self, server: int, name: ObjectId, timestamp: LogicalTimestamp) -> bool:
        """Whether others may have brought it here, since r servers show it: that is not its client's doing."""
        chains = self._watch.chains
        others = chains.of(name).acceptors.get(timestamp, 0) & ~(1 << server)
        return others.bit_count() + self._liars_count >= chains.quorums.r

    def _is_established(self, name: ObjectId, timestamp: LogicalTimestamp) -> bool:
        return timestamp in self._watch.chains.of(name).members

    def established(self, server: int, name: ObjectId, timestamp: LogicalTimestamp) -> None:
        """A benign server has found a candidate to be established.

        Raises:
            Violation: fewer hold it than make a quorum, even if every liar does.
        """
        holders = self._watch.chains.of(name).acceptors.get(timestamp, 0) | 1 << server
        if holders.bit_count() + self._liars_count < self._watch.chains.quorums.q:
            what = f"server {server} takes {short(timestamp)} of {name} for established"
            raise Violation("verified", f"{what}, and {holders.bit_count()} benign servers hold it")

    def look_at(self, world: World, servers: Iterable[ServerHost]) -> None:
        """The run is over, and nothing is asked any more.

        Raises:
            Violation: something that was left is still there.
        """
        running = [server for server in servers if server.is_up]

        def is_done() -> bool:
            return not any(open_at(server) for server in running)

        if not is_done():
            world.run(world.now_ns + DONE_NS, is_done)
        for server in running:
            for name in open_at(server):
                raise Violation("left", f"{name} is still open at server {server.index}")


def open_at(server: ServerHost) -> list[ObjectId]:
    """Objects of which candidates are open at a server."""
    unverified = server.machine.upkeep.unverified
    return [] if unverified is None else list(unverified.open)
