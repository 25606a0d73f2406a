"""Malevolent clients: requests made of anything that was ever signed, sent to anybody.

A villain knows every history that a benign server has made durable, since it could have asked for it then, and lets
liars sign what it likes. So it is as strong as the adversary of the model behind PROTOCOL §7.
"""

from __future__ import annotations

from random import Random
from typing import Final

from fivefold.checker import Observation
from fivefold.checker import Outcome as Seen
from fivefold.protocol.authenticators import AuthenticatorKeys, columns
from fivefold.protocol.history import history_digest, make_histories
from fivefold.protocol.messages import encode, request_frame
from fivefold.protocol.operations import Call, ClientId, ObjectId, Operation
from fivefold.protocol.quorums import QuorumSystem
from fivefold.protocol.records import INITIAL_HISTORY, Candidate, ObjectHistories, Request
from fivefold.protocol.server import ring_key
from fivefold.simulation.events import Plotted
from fivefold.simulation.lies import Liar, with_entry
from fivefold.simulation.network import Connection
from fivefold.simulation.plan import MILLISECOND
from fivefold.simulation.rack import client_id
from fivefold.simulation.servers import ServerHost
from fivefold.simulation.watch import Signature, Watch
from fivefold.simulation.workload import encode_arguments
from fivefold.simulation.world import World

VILLAINIES: Final = ("plotting", "plotting", "plotting", "forging", "flooding", "barriers", "babbling")
"""Strategies: what most of a villain's requests are."""

KEPT_LETTERS: Final = 12
"""Requests kept to be sent again, to others."""


class Letter:
    """One request, ready for any server; a large one (``size``) is followed by that many pauses."""

    __slots__ = ("authenticators", "body", "size")

    def __init__(self, body: bytes, authenticators: list[bytes], size: int = 1) -> None:
        """The body, and what proves it."""
        self.body, self.authenticators, self.size = body, authenticators, size


class Villain:
    """One malevolent client.

    Attributes:
        index: of the villain in the plan.
        id: its identity.
        is_at_it: whether it still sends.
        paces_ms: milliseconds between two requests; one of them is drawn.
        share_repeated: how much of what it sends it has sent before.
    """

    paces_ms: tuple[int, ...] = (10, 30, 100)
    share_repeated = 0.3

    def __init__(
        self,
        world: World,
        servers: list[ServerHost],
        watch: Watch,
        quorums: QuorumSystem,
        *,
        index: int,
        machine: int,
        strategy: str,
        names: list[ObjectId],
        liars: dict[int, Liar],
    ) -> None:
        """Start at once."""
        self.world, self.servers, self.watch, self.quorums, self.index = world, servers, watch, quorums, index
        self.id: ClientId = client_id(f"v{index}")
        self.strategy, self.names, self.liars, self.machine = strategy, names, liars, machine
        self._book = servers[0].book
        self.is_at_it = True
        self._random: Random = world.stream(f"villain/{index}")
        self._pace_ns = self._random.choice(self.paces_ms) * MILLISECOND
        self._numbers = 0
        self._letters: list[Letter] = []
        self._operations: list[tuple[bytes, Observation]] = []
        self._connections: dict[int, Connection] = {}
        world.after(self._pace_ns, self._act)

    # --- what it did ------------------------------------------------------------------------------------------

    def history(self) -> list[Observation]:
        """Its operations that took effect: nobody told it, so their outcome is unknown."""
        return [seen for call_id, seen in self._operations if self.watch.is_applied(ring_key(self.id, call_id), seen)]

    # --- acting -----------------------------------------------------------------------------------------------

    def _act(self) -> None:
        if not self.is_at_it:
            return
        random = self._random
        self.world.tell(Plotted(self.index, self.strategy))
        if self._letters and random.random() < self.share_repeated:
            letter = random.choice(self._letters)
            self._send(letter, random.sample(range(self.quorums.n), 1))
        else:
            letter = self._letter()
            self._letters = [*self._letters[1 - KEPT_LETTERS :], letter]
            self._send(letter, self._receivers())
            if self.strategy == "flooding":
                for _ in range(5):
                    self._send(letter, random.sample(range(self.quorums.n), 1))
        if self.strategy == "babbling":
            self._babble()
        self.world.after(letter.size * random.randint(1, 2 * self._pace_ns), self._act)

    def _receivers(self) -> list[int]:
        """Everybody, or as many as make or miss a threshold."""
        random, q, r, b, n = self._random, self.quorums.q, self.quorums.r, self.quorums.b, self.quorums.n
        count = random.choice((n, n, r - b, r, max(1, r - 1 - b), q, max(1, q - b - 1), random.randint(1, n)))
        return random.sample(range(n), min(n, max(1, count)))

    def _letter(self) -> Letter:
        random = self._random
        favoured = self._favoured()
        target = self._target(favoured)
        is_operation = self.strategy != "barriers" and random.random() < 0.4
        chosen = self._objects(target, favoured, is_operation=is_operation)
        shown = self._quorum(target, favoured)
        sets = [self._set(name, shown, favoured) for name in chosen]
        operation = self._operation(chosen) if is_operation else b""
        request = Request(chosen[0] if is_operation else target, tuple(sets), operation)
        return Letter(encode(request), [self._authenticator(each, server) for each in sets for server in _shown(each)])

    def _favoured(self) -> Candidate | None:
        """A candidate that it would like to see forked: a recent one, of several objects if there is one."""
        known = [c for name in self.names for c in list(self.watch.chains.of(name).candidates.values())[-6:]]
        multi = [c for c in known if c.is_multi and not c.is_barrier]
        if multi and self._random.random() < 0.7:
            return self._random.choice(multi)
        return self._random.choice(known) if known and self._random.random() < 0.8 else None

    def _target(self, favoured: Candidate | None) -> ObjectId:
        if favoured is not None and self._random.random() < 0.8:
            return self._random.choice(favoured.objects)
        return self._random.choice(self.names)

    def _objects(self, target: ObjectId, favoured: Candidate | None, *, is_operation: bool) -> list[ObjectId]:
        """Mostly what an honest client would add; at times less or more."""
        chosen = {target}
        if favoured is not None and self._random.random() < 0.7:
            chosen.update(favoured.objects)
        if self._random.random() < 0.2:
            chosen.add(self._random.choice(self.names))
        counters = {name for name in chosen if name.startswith("Counter/")}
        return sorted((counters if is_operation and len(chosen) > 1 else chosen) or {target})

    def _quorum(self, target: ObjectId, favoured: Candidate | None) -> list[int]:
        """Whose histories to show: as many holders of the favoured candidate as just make or miss a threshold."""
        random, q, r, b, n = self._random, self.quorums.q, self.quorums.r, self.quorums.b, self.quorums.n
        everybody = random.sample(range(n), n)
        if favoured is None or random.random() < 0.3:
            return everybody[: random.choice((q, q, n))]
        held = self.watch.chains.of(target).acceptors.get(favoured.timestamp, 0)
        holders = [s for s in everybody if held >> s & 1 and s not in self.liars]
        strangers = [s for s in everybody if not held >> s & 1 and s not in self.liars]
        liars = [s for s in everybody if s in self.liars and random.random() < 0.8]
        wanted = max(0, random.choice((r - b, r - 1, r, r - 1 - b, q - 1)))
        return [*liars, *holders[:wanted], *strangers, *holders[wanted:]][:q]

    def _set(self, name: ObjectId, shown: list[int], favoured: Candidate | None) -> ObjectHistories:
        chance = self._random.choice((0.0, 0.0, 0.1, 0.5))
        histories = [INITIAL_HISTORY] * self.quorums.n
        for server in shown:
            histories[server] = self._history(name, server, favoured, stale=chance)
        return make_histories(name, histories)

    def _history(self, name: ObjectId, server: int, favoured: Candidate | None, *, stale: float) -> bytes:
        random = self._random
        if server in self.liars:
            history = self.liars[server].any_history(name)
            if favoured is not None and favoured.covers(name) and random.random() < 0.6:
                settled, later = random.random() < 0.5, random.random() < 0.5
                return with_entry(name, history, favoured, is_settled=settled, keeps_later=later)
            return history
        known = self.watch.identities.get(server)
        signed = self.watch.signed.get((random.choice(known) if known else server, name))
        if not signed:
            return INITIAL_HISTORY
        return signed[-1 - random.randrange(min(len(signed), 6))] if random.random() < stale else signed[-1]

    def _authenticator(self, histories: ObjectHistories, server: int) -> bytes:
        if self.strategy == "forging" and self._random.random() < 0.3:
            return self._random.randbytes(16 * self.quorums.n)
        name, history = histories.object_id, histories.of(server)
        found = [*self.watch.signatures.get((server, name, history), ()), *self._signed_now(server, name, history)]
        if found:
            signature: Signature = self._random.choice(found)
            return signature.authenticator(name, history)
        return self._liars_keys(server).make(history_digest(name, history))

    def _signed_now(self, slot: int, name: ObjectId, history: bytes) -> list[Signature]:
        """How the identities of a slot that was replaced sign what they hold, if they hold this."""
        hosts = [self._book.hosts[number] for number in self.watch.identities.get(slot, ())]
        return [
            Signature(host.keys, host.machine.membership.untold)
            for host in hosts
            if host.is_up and host.disk.records.get(name, (b"",))[0] == history
        ]

    def _liars_keys(self, slot: int) -> AuthenticatorKeys:
        """The keys of the slot's identity that lies; the first one's if none does, for what nobody has signed."""
        lying = [host for number, host in self._book.hosts.items() if host.index == slot and self._book.is_liar(number)]
        host = lying[-1] if lying else self._book.hosts[slot]
        return host.keys

    def _operation(self, chosen: list[ObjectId]) -> bytes:
        """An operation with an id of its own, noted for the history."""
        random = self._random
        call_id = random.randbytes(16)
        if len(chosen) > 1:
            method, arguments = "bump", {"by": random.randint(1, 9)}
        elif chosen[0].startswith("Counter/"):
            method, arguments = "increment", {"by": random.randint(1, 9)}
        else:
            method, arguments = "set", {"value": random.randint(1000, 9999)}
        seen = Observation(
            process=f"villain.{self.id.hex()[:6]}.{call_id.hex()[:8]}",
            method=method,
            objects=tuple(chosen),
            arguments=dict(arguments),
            invoke_ns=self.world.now_ns,
            outcome=Seen.UNKNOWN,
        )
        self._operations.append((call_id, seen))
        return encode(Operation(tuple(chosen), (Call(call_id, 0, method, encode_arguments(arguments)),)))

    # --- sending ----------------------------------------------------------------------------------------------

    def _send(self, letter: Letter, receivers: list[int]) -> None:
        self._numbers += 1
        proofs = columns(b"".join(letter.authenticators), len(self.servers))
        for server in receivers:
            self._throw(server, request_frame(self._numbers, letter.body, proofs[server]))

    def _throw(self, server: int, frame: bytes) -> None:
        host = self._host(server)
        if not host.is_up:
            return
        number = host.member.number
        connection = self._connections.get(number)
        if connection is None or not connection.is_open:
            connection = self._connections[number] = host.accept(self.machine, self.id, _ignore)
        host.network.call(connection, frame)

    def _host(self, slot: int) -> ServerHost:
        """A server of a slot: the newest, or one that it has replaced and that runs on."""
        older = [host for host in self._book.hosts.values() if host.index == slot and host is not self.servers[slot]]
        running = [host for host in older if host.is_up]
        return self._random.choice([self.servers[slot], *running]) if running else self.servers[slot]

    def _babble(self) -> None:
        """Bytes that are no request, or almost one."""
        random = self._random
        if self._letters:
            letter = random.choice(self._letters)
            frame = bytearray(request_frame(self._numbers + 1, letter.body, b""))
            frame[random.randrange(len(frame))] ^= 1 << random.randrange(8)
            self._throw(random.randrange(self.quorums.n), bytes(frame))
        self._throw(random.randrange(self.quorums.n), random.randbytes(random.randint(1, 60)))


def _shown(histories: ObjectHistories) -> list[int]:
    return [server for server, index in enumerate(histories.holders) if index]


def _ignore(connection: Connection, frame: bytes) -> None:
    pass
