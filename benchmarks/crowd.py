"""What helping does where no processor is the limit: production machines in virtual time, and what they took.

    python benchmarks/crowd.py [--clients 1,2,4,8] [--one-way-ms 1] [--seconds 2]

k clients update one counter in closed loops, each so far from six servers in memory; computing takes no virtual time.
So rates and latencies are those of the protocol. Beside them stands the processor time that servers and clients took
for an update, without transport: two processors cannot make more updates a second than two seconds divided by it.
Then come a far client beside a near one, a client that carries nothing, and what announcements take of a server's
memory.
"""

from __future__ import annotations

import argparse
import random
import time
import tracemalloc
from collections import Counter as Counts
from collections.abc import Callable
from heapq import heappop, heappush

from figure import whole_numbers

from fivefold.objects import Counter, Registry
from fivefold.protocol.actions import Actions, Ask, Channel, Reply
from fivefold.protocol.client import Session
from fivefold.protocol.client.crowd import Crowd, Place
from fivefold.protocol.client.outcomes import Answered, ClientActions
from fivefold.protocol.messages import ANNOUNCE, encode, request_head
from fivefold.protocol.operations import Call, Carried, ObjectId, Operation
from fivefold.protocol.quorums import QuorumSystem
from fivefold.protocol.server import Server
from fivefold.simulation.rack import Everyone, client_id, rack_keys

NAME = ObjectId("Counter/hot")
MS = 1_000_000
SECOND = 1_000 * MS
PEER_NS = MS // 10
"""Between servers, one way."""
PEERS = 1_000_000
"""Channels from here on are those of other servers."""


class SelfishPlace(Place):
    """One object, as a client sees it that carries nothing."""

    def take(self, code: bytes, own_count: int) -> tuple[tuple[Carried, ...], bytes]:
        """Nothing."""
        return (), code


class Selfish(Crowd):
    """What a client knows of others that lets itself be carried, and carries nothing."""

    def at(self, object_id: ObjectId) -> Place:
        """One object."""
        return self._places.setdefault(object_id, SelfishPlace())


class World:
    """Six servers and some clients, each at a distance of its own.

    Attributes:
        now_ns: the virtual time.
        took_ns: when each update ended, and after how long, by client.
        spent_s: processor time of servers and of clients.
        sent: messages.
    """

    def __init__(
        self, one_way_ns: list[int], paces: dict[int, int], *, helps: bool, selfish: int = 0, seed: int = 1
    ) -> None:
        """Clients at these distances, all in a closed loop but those with a pace, in updates a second.

        The last ``selfish`` of them are carried by others, and carry nothing themselves.
        """
        self.quorums, self.registry, self.random = QuorumSystem(6, 1, 1), Registry(Counter), random.Random(seed)
        self.servers = [
            Server(self.quorums, rack_keys(index, 6), self.registry, Everyone(), has_store=False) for index in range(6)
        ]
        for server in self.servers:
            server.pool.is_open = helps
        self.one_way_ns, self.paces = one_way_ns, paces
        count = len(one_way_ns)
        self.sessions = [
            Session(self.quorums, random.Random(seed + i), is_helping=helps, own=client_id(f"c{i}"))
            for i in range(count)
        ]
        for i in range(count - selfish, count):
            self.sessions[i].crowd = Selfish(self.quorums, client_id(f"c{i}"))
        self.took_ns: list[list[tuple[int, int]]] = [[] for _ in range(count)]
        self.now_ns = self._count = 0
        self.spent_s, self.sent = Counts[str](), 0
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._begun_ns: dict[tuple[int, int], int] = {}
        self._arrived_ns = Counts[tuple[int, int, bool]]()
        self._wake_ns: list[int | None] = [None] * count
        for client in range(count):
            self.at(self.random.randrange(5 * MS), lambda client=client: self._call(client))

    def run(self, until_ns: int) -> None:
        """Let time pass."""
        while self._events[0][0] <= until_ns:
            self.now_ns, _, act = heappop(self._events)
            act()
        self.now_ns = until_ns

    def at(self, at_ns: int, act: Callable[[], None]) -> None:
        """Do something later."""
        self._count += 1
        heappush(self._events, (max(at_ns, self.now_ns), self._count, act))

    def _travel(self, client: int, server: int, act: Callable[[], None], *, is_reply: bool) -> None:
        """A frame travels, in its order, for the client's distance and 10 % more or less."""
        self.sent += 1
        delay_ns = int(self.one_way_ns[client] * self.random.uniform(0.9, 1.1))
        key = (client, server, is_reply)
        self._arrived_ns[key] = max(self.now_ns + delay_ns, self._arrived_ns[key] + 1)
        self.at(self._arrived_ns[key], act)

    # --- clients ----------------------------------------------------------------------------------------------

    def _timed(self, part: str, act: Callable[[], Actions | ClientActions]) -> Actions | ClientActions:
        begun_s = time.process_time()
        found = act()
        self.spent_s[part] += time.process_time() - begun_s
        return found

    def _call(self, client: int) -> None:
        arguments = self.registry.encode_arguments((NAME,), "increment", (), {})
        operation = Operation((NAME,), (Call(self.random.randbytes(16), 0, "increment", arguments),))
        deadline_ns = self.now_ns + 10 * SECOND
        begun_s = time.process_time()
        ticket, actions = self.sessions[client].call(self.now_ns, operation, is_query=False, deadline_ns=deadline_ns)
        self.spent_s["clients"] += time.process_time() - begun_s
        self._begun_ns[client, ticket] = self.now_ns
        self._perform(client, actions)

    def _wake(self, client: int, at_ns: int) -> None:
        if self._wake_ns[client] == at_ns:
            self._wake_ns[client] = None
            self._perform(client, self._timed("clients", lambda: self.sessions[client].wake(self.now_ns)))

    def _perform(self, client: int, actions: ClientActions) -> None:
        for ask in actions.send:
            self._travel(client, ask.server, lambda ask=ask: self._serve(client, ask), is_reply=False)
        for finished in actions.finished:
            begun_ns = self._begun_ns.pop((client, finished.ticket), None)
            if begun_ns is not None:
                if isinstance(finished.outcome, Answered):
                    self.took_ns[client].append((self.now_ns, self.now_ns - begun_ns))
                pace = self.paces.get(client)
                self.at(begun_ns + SECOND // pace if pace else self.now_ns, lambda: self._call(client))
        at_ns = actions.wake_at_ns
        if at_ns is not None and at_ns != self._wake_ns[client]:
            self.at(at_ns, lambda: self._wake(client, at_ns))
        self._wake_ns[client] = at_ns

    def _hear(self, client: int, server: int, frame: bytes) -> None:
        heard = self._timed("clients", lambda: self.sessions[client].receive(self.now_ns, server, frame))
        self._perform(client, heard)

    # --- servers ----------------------------------------------------------------------------------------------

    def _serve(self, client: int, ask: Ask) -> None:
        me, server = client_id(f"c{client}"), self.servers[ask.server]
        channel = Channel(client)
        done = self._timed("servers", lambda: server.receive_from_client(self.now_ns, me, channel, ask.frame))
        self._let_go(ask.server, done)

    def _let_go(self, server: int, actions: Actions) -> None:
        for each in actions.send:
            if not isinstance(each, Reply):
                self._tell(each.server, server, PEERS + server, each.frame)
            elif each.channel >= PEERS:
                self._tell(each.channel - PEERS, server, 0, each.frame)
            else:
                hear = lambda each=each: self._hear(each.channel, server, each.frame)  # noqa: E731
                self._travel(each.channel, server, hear, is_reply=True)
        if actions.wake_at_ns is not None:
            self.at(actions.wake_at_ns + 1, lambda: self._let_go(server, self.servers[server].wake(self.now_ns)))

    def _tell(self, server: int, sender: int, channel: int, frame: bytes) -> None:
        machine = self.servers[server]
        self.at(
            self.now_ns + PEER_NS,
            lambda: self._let_go(server, machine.receive_from_server(self.now_ns, sender, Channel(channel), frame)),
        )


def measure(world: World, seconds: float) -> tuple[list[list[int]], float, float, float]:
    """After a second: each client's latencies; messages, and processor time of servers and clients, an update."""
    world.run(SECOND)
    before, spent_s = world.sent, world.spent_s.copy()
    world.run(SECOND + int(seconds * SECOND))
    found = [[took for ended, took in each if ended > SECOND] for each in world.took_ns]
    count = max(1, sum(map(len, found)))
    spent = {part: world.spent_s[part] - spent_s[part] for part in ("servers", "clients")}
    return found, (world.sent - before) / count, spent["servers"] / count * 1e6, spent["clients"] / count * 1e6


def percentile(latencies: list[int], share: float) -> float:
    """In ms; endless where nothing ended."""
    ordered = sorted(latencies)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] / MS if ordered else float("inf")


def crowds(counts: list[int], one_way_ms: float, seconds: float) -> None:
    """One line for each number of clients, without and with helping."""
    print("clients  helping   updates/s   p50 ms   p99 ms   longest   least/most   messages   servers us   clients us")
    for count in counts:
        for helps in (False, True):
            world = World([int(one_way_ms * MS)] * count, {}, helps=helps)
            found, messages, servers_us, clients_us = measure(world, seconds)
            every, served = [took for each in found for took in each], list(map(len, found))
            print(
                f"{count:7}  {'yes' if helps else 'no':7}  {len(every) / seconds:10,.0f} {percentile(every, 0.5):8.1f} "
                f"{percentile(every, 0.99):8.1f} {percentile(every, 1):9.1f} "
                f"{min(served) / max(1, *served):12.2f} {messages:10.1f} {servers_us:12.0f} {clients_us:12.0f}"
            )


def far(seconds: float) -> None:
    """A client 50 ms away, one way, beside one 1 ms away that updates so many times a second."""
    print("\na client 50 ms away, beside one 1 ms away\nnear/s  helping   far updates/s   p50 ms   p99 ms   longest")
    for pace in (20, 100):
        for helps in (False, True):
            found, *_ = measure(World([MS, 50 * MS], {0: pace}, helps=helps), seconds)
            took = found[1]
            print(
                f"{pace:6}  {'yes' if helps else 'no':7}  {len(took) / seconds:14.1f} {percentile(took, 0.5):8.0f} "
                f"{percentile(took, 0.99):8.0f} {percentile(took, 1):9.0f}"
            )


def selfish(seconds: float) -> None:
    """Eight clients 1 ms away, and one that lets itself be carried and carries nothing, held to a rate."""
    print("\neight clients 1 ms away, and one beside them that carries nothing")
    print("its rate   their updates/s   p99 ms   its own")
    for pace in (0, 20, 100, 1000):
        others = 1 if pace else 0
        world = World([MS] * (8 + others), {8: pace} if pace else {}, helps=True, selfish=others)
        found, *_ = measure(world, seconds)
        every = [took for each in found[:8] for took in each]
        own = len(found[8]) / seconds if others else 0
        print(f"{pace:8} {len(every) / seconds:17,.0f} {percentile(every, 0.99):8.1f} {own:9.1f}")


def memory() -> None:
    """What announcements take at a server, beside what they count for."""
    world = World([MS], {}, helps=True)
    server, count = world.servers[0], 1000
    arguments = world.registry.encode_arguments((NAME,), "increment", (), {})
    frames = []
    for number in range(count):
        operation = Operation((NAME,), (Call(number.to_bytes(16, "big"), 0, "increment", arguments),))
        frames.append(request_head(1, encode(operation), ANNOUNCE))
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for number, frame in enumerate(frames):
        server.receive_from_client(0, client_id(f"o{number}"), Channel(number), frame)
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    pool = server.pool
    assert pool.count == count, "all were taken up"
    print(f"\nmemory of an announced call: {(after - before) / count:,.0f} bytes; counted: {pool.size / count:,.0f}")


def main() -> None:
    """Print all of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", default="1,2,4,8", help="numbers of clients")
    parser.add_argument("--one-way-ms", type=float, default=1.0, help="how far away they are")
    parser.add_argument("--seconds", type=float, default=2.0, help="virtual seconds of each line")
    chosen = parser.parse_args()
    crowds(whole_numbers(chosen.clients), chosen.one_way_ms, chosen.seconds)
    far(5 * chosen.seconds)
    selfish(chosen.seconds)
    memory()


if __name__ == "__main__":
    main()
