"""Malevolent clients that misuse helping: they announce, withdraw and carry whatever servers may be made to believe.

They know every pool, since they could have asked for what it lists, and remember what was announced long ago.
"""

from __future__ import annotations

from typing import Final

from fivefold.protocol.messages import ANNOUNCE, WITHDRAW, encode, request_head
from fivefold.protocol.operations import CANCEL, Call, Carried, Carrying, ClientId, ObjectId, Operation
from fivefold.protocol.records import Request
from fivefold.simulation.rack import client_id
from fivefold.simulation.villains import Letter, Villain
from fivefold.simulation.workload import encode_arguments

ANNOUNCING: Final = ("announcing", "announcing", "replacing", "proposing", "proposing", "omitting")
"""Strategies: announcements to some servers, or unequal ones; ever new ones; operations that carry anything; operations
that carry nothing."""

REMEMBERED_MAX: Final = 40
"""Announced calls of others that it remembers, to carry them when they are stale."""


class Announcer(Villain):
    """One such client."""

    paces_ms = (5, 10, 30)
    share_repeated = 0.1

    def __init__(self, *arguments: object, **options: object) -> None:
        """Start at once."""
        super().__init__(*arguments, **options)  # type: ignore[arg-type]
        self._seen: list[Carried] = []
        self._announced: list[Operation] = []

    def _act(self) -> None:
        if self.is_at_it and (self.strategy != "proposing" or self._random.random() < 0.3):
            self._announce()
        super()._act()

    def _name(self) -> ObjectId:
        counters = [name for name in self.names if name.startswith("Counter/")]
        return self._random.choice(counters or self.names)

    def _announce(self) -> None:
        """To some servers, with other bytes for each, or in the place of what it has announced; or take it back."""
        random, name = self._random, self._name()
        if self.strategy == "omitting":
            return
        if self._announced and random.random() < 0.3:
            operation, kind = random.choice(self._announced), random.choice((ANNOUNCE, WITHDRAW))
        else:
            operation, kind = self._calls(name), ANNOUNCE
            self._announced = [*self._announced[-8:], operation]
        self._numbers += 1
        is_unequal = random.random() < 0.4
        for server in self._receivers():
            each = self._altered(operation) if is_unequal and random.random() < 0.5 else operation
            self._throw(server, request_head(self._numbers, encode(each), kind))

    def _calls(self, name: ObjectId) -> Operation:
        calls: tuple[Call, ...] = ()
        for _ in range(self._random.choice((1, 1, 2, 8, 9))):
            made = self._decoded(name)
            calls += made.calls
        return Operation((name,), calls)

    def _decoded(self, name: ObjectId) -> Operation:
        """An operation of one call, noted for the history."""
        self._operation([name])
        call_id, seen = self._operations[-1]
        numbers = {key: value for key, value in dict(seen.arguments).items() if isinstance(value, int)}
        since = self._random.choice((0, 0, 1, 5, 50))
        return Operation((name,), (Call(call_id, since, seen.method, encode_arguments(numbers)),))

    def _altered(self, operation: Operation) -> Operation:
        """The same ids with another ``since``."""
        since = self._random.randint(0, 60)
        calls = tuple([Call(call.id, since, call.method, call.arguments) for call in operation.calls])
        return Operation(operation.objects, calls, operation.code)

    # --- proposing --------------------------------------------------------------------------------------------

    def _letter(self) -> Letter:
        if self.strategy not in ("proposing", "omitting") or self._random.random() < 0.2:
            return super()._letter()
        name = self._name()
        shown = self._random.sample(range(self.quorums.n), self.quorums.q)
        each = self._set(name, shown, None)
        own = self._decoded(name) if self._random.random() < 0.5 or self.strategy == "omitting" else None
        operation = self._carrying(name, own) if self.strategy == "proposing" else own
        assert operation is not None, "it has something of its own, or carries"
        request = Request(name, (each,), encode(operation))
        proofs = [self._authenticator(each, server) for server, index in enumerate(each.holders) if index]
        return Letter(encode(request), proofs)

    def _carrying(self, name: ObjectId, own: Operation | None) -> Operation:
        """Some of what is announced, of what was announced once, and of what never was; some of it twice."""
        random = self._random
        self._look(name)
        carried = random.sample(self._seen, min(len(self._seen), random.choice((1, 2, 4, 8))))
        if random.random() < 0.3:
            carried.append(Carried(self._somebody(), Call(random.randbytes(16), 0, "increment", _ARGUMENTS)))
        if carried and random.random() < 0.2:
            call, owner = random.choice(carried).call, random.choice((carried[0].owner, self._somebody()))
            changes = random.choice(
                (Call(call.id, 0, call.method, call.arguments), Call(call.id, call.since, CANCEL, call.id), call)
            )
            carried.append(Carried(owner, changes))
        calls = () if own is None else own.calls
        if not carried:
            return own or self._decoded(name)
        return Carrying((name,), calls, b"", random.randint(0, 3), tuple(carried[: 16 - len(calls)]))

    def _somebody(self) -> ClientId:
        return client_id(self._random.choice(("c0", "c1", "v0", "nobody")))

    def _look(self, name: ObjectId) -> None:
        for server in self.servers:
            if server.is_up:
                for entry in server.machine.pool.objects.get(name, {}).values():
                    found = [Carried(entry.owner, call) for call in entry.calls]
                    self._seen += [each for each in found if each not in self._seen]
        self._seen = self._seen[-REMEMBERED_MAX:]


_ARGUMENTS: Final = encode_arguments({"by": 7})
