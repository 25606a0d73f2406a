"""Native code and Python on the same frames: valid ones, and ones that are spoilt in many ways.

Six servers and some clients, without a session: each request is made by hand from what the servers last showed. Every
frame for server 0 is worked out both ways before it is delivered.
"""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

from fivefold.cluster import macs_under
from fivefold.protocol.actions import Channel, Reply
from fivefold.protocol.history import make_histories
from fivefold.protocol.messages import REPLY, REQUEST, decode_vote, encode, request_frame, split
from fivefold.protocol.operations import CANCEL, STOPPED, VALUE, Call, ClientId, Executed, ObjectId, Operation
from fivefold.protocol.quorums import QuorumSystem
from fivefold.protocol.records import ObjectHistories, Request
from fivefold.protocol.server import Server
from fivefold.simulation.rack import Everyone, client_id, rack_keys
from tests.protocol_rig import Toy, X, Y

MAC = 16
NAME = ObjectId("Reg/a")


class Odd(Toy):
    """Methods that are stopped, and that answer much."""

    def is_update(self, objects: tuple[ObjectId, ...], method: str) -> bool | None:
        return True if method in ("stop", "much", "most") else super().is_update(objects, method)

    def execute(self, objects: tuple[ObjectId, ...], call: Call, states: tuple[bytes, ...]) -> Executed:
        if call.method == "stop":
            return Executed(STOPPED + b"no memory", None)
        if call.method in ("much", "most"):
            return Executed(VALUE + bytes(200 if call.method == "much" else 900_000), states)
        return super().execute(objects, call, states)


class Twins:
    """Servers, what they last showed of the object, and both ways of server 0.

    Attributes:
        decided: frames that native code has taken.
    """

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.quorums = QuorumSystem(6, 1, 1)
        self.servers = [
            Server(self.quorums, rack_keys(index, 6, macs_under), Odd(), Everyone(), has_store=False)
            for index in range(6)
        ]
        assert self.servers[0].natively is not None
        self.natively = self.servers[0].natively
        self.shown: list[tuple[bytes, bytes]] = [(b"", b"")] * 6
        self.earlier: list[bytes] = [b"\x91\x90"]
        self.number = self.decided = 0
        self.calls: list[tuple[ClientId, Call]] = []

    def frame(self, server: int, operation: Operation, **changed: Any) -> bytes:
        """A request to a server; ``changed`` are parts that are to be others."""
        sets = make_histories(NAME, [history for history, _ in self.shown])
        sets = changed.get("sets", sets)
        proof = b"".join(
            [self.shown[s][1][server * MAC : (server + 1) * MAC] for s, holder in enumerate(sets.holders) if holder]
        )
        data = changed.get("data", encode(operation))
        body = changed.get("body", encode(Request(changed.get("target", NAME), (sets,), data)))
        return request_frame(changed.get("number", self.number), body, changed.get("proof", proof))

    def compare(self, client: ClientId, frame: bytes, *, is_ordinary: bool) -> None:
        """Server 0 would do the same either way; what is ordinary is taken by native code."""
        judged = self.natively._work_out(client, frame)
        numbers = self.servers[0]._numbers
        before = dict(numbers)
        maker = self.servers[0].keys.maker
        found = self.natively._requests.decide(0, client, Channel(1), frame, maker)
        numbers.clear()
        numbers.update(before)
        assert found is not None or not is_ordinary or judged is None, "native code leaves it to Python"
        assert found is None or found == judged, "native code and Python differ"
        self.decided += found is not None

    def deliver(self, client: ClientId, operation: Operation) -> None:
        """Send a request to all servers, and take what they show."""
        self.earlier = [*self.earlier[-3:], self.shown[0][0] or b"\x91\x90"]
        shown = list(self.shown)
        for index, server in enumerate(self.servers):
            frame = self.frame(index, operation)
            if index == 0:
                self.compare(client, frame, is_ordinary=bool(self.shown[0][0]))
            for action in server.receive_from_client(0, client, Channel(1), frame).send:
                assert isinstance(action, Reply)
                _, vote, authenticators = split(action.frame, REPLY)
                if authenticators:  # it was not declined
                    shown[index] = (decode_vote(vote).histories[0], authenticators)
        self.shown = shown

    def step(self) -> None:
        """One operation of random calls, after frames that are like it and spoilt."""
        self.number += 1
        random = self.random
        client = client_id(str(random.randrange(100 if random.random() < 0.8 else 3)))
        operation = self.draw(client)
        for _ in range(3):
            self.spoil(client, operation)
        self.deliver(client, operation)
        self.calls = [*self.calls[-200:], *[(client, call) for call in operation.calls]]

    def draw(self, client: ClientId) -> Operation:
        """Some calls, now and then one that was made before or cancels one."""
        random = self.random
        count = random.choice([1] * 12 + [2, 5, 16])
        kinds = ["add"] * 8 + ["set", "refuse", "much", CANCEL] + (["stop"] if random.random() < 0.2 else [])
        if random.random() < 0.05:
            kinds = ["most", "most", "add", "refuse"]
        calls = []
        for _ in range(count):
            method = random.choice(kinds)
            size = 16 if method == CANCEL else random.choice([1, 5, 40, 300])
            since = 0 if random.random() < 0.2 else random.choice([self.number, max(0, self.number - 70), 1 << 70])
            packed = since if since < 1 << 64 else since.to_bytes(16, "big")
            calls.append(Call(random.randbytes(16), packed, method, random.randbytes(size)))
        mine = [call for whose, call in self.calls if whose == client]
        if mine and random.random() < 0.3:
            calls[0] = random.choice(mine)  # it is repeated
            if random.random() < 0.3:
                calls[0] = Call(random.randbytes(16), 0, CANCEL, calls[0].id)
        if random.random() < 0.1:
            calls = [Call(random.randbytes(16), 0, "get", b"")]
        return Operation((NAME,), tuple(calls), random.choice([b"", random.randbytes(16)]), random.randrange(300))

    def spoil(self, client: ClientId, operation: Operation) -> None:
        """A frame that is not quite like the operation's."""
        random = self.random
        sets = make_histories(NAME, [history for history, _ in self.shown])
        good = self.frame(0, operation)
        _, body, proof = split(good, REQUEST)
        at = random.randrange(len(good))
        other = ObjectId("Reg/b")
        two = Operation((NAME,), (operation.calls[0], operation.calls[0]))
        holders = bytearray(sets.holders)
        holders[random.randrange(6)] = 0
        fewer = ObjectHistories(NAME, sets.histories, bytes(holders))
        holders[random.randrange(6)] = 0
        fewest = ObjectHistories(NAME, sets.histories, bytes(holders))
        old = ObjectHistories(NAME, (random.choice(self.earlier),), sets.holders)
        flipped = bytearray(proof or b"\0")
        flipped[random.randrange(len(flipped))] ^= 1 << random.randrange(8)
        spoilt = random.choice(
            [
                lambda: good[:at] + bytes([good[at] ^ (1 << random.randrange(8))]) + good[at + 1 :],
                lambda: good[:at],
                lambda: good + b"\0",
                lambda: self.frame(0, operation, body=body + b"\xc0", proof=proof),
                lambda: self.frame(0, operation, proof=bytes(flipped)),
                lambda: self.frame(0, operation, proof=proof[:-MAC]),
                lambda: self.frame(0, operation, sets=fewer),
                lambda: self.frame(0, operation, sets=fewest),
                lambda: self.frame(0, operation, sets=fewest, proof=proof),
                lambda: self.frame(0, operation, sets=old, proof=proof),
                lambda: self.frame(0, operation, target=other),
                lambda: self.frame(0, Operation((other,), operation.calls)),
                lambda: self.frame(0, Operation((NAME, other), operation.calls)),
                lambda: self.frame(0, two),
                lambda: self.frame(0, Operation((NAME,), ())),
                lambda: self.frame(0, Operation((NAME,), operation.calls * 17)),
                lambda: self.frame(0, operation, data=b""),
                lambda: self.frame(0, operation, data=encode(operation) + b"\0"),
                lambda: self.frame(0, Operation((NAME,), operation.calls, bytes(16 * 17 + 1))),
                lambda: self.frame(0, Operation((NAME,), operation.calls, b"", -1)),
                lambda: self.frame(0, Operation((NAME,), (Call(bytes(15), 0, "add", b""),))),
                lambda: self.frame(0, Operation((NAME,), (Call(bytes(16), 0, CANCEL, b"x"),))),
                lambda: self.frame(0, Operation((NAME,), (Call(bytes(16), 0, "x" * 129, b""),))),
            ]
        )
        self.compare(client, spoilt(), is_ordinary=False)


def run_twins(seed: int, steps: int = 260) -> int:
    """How many frames native code has taken, all as Python would have.

    Raises:
        AssertionError: the two ways differ.
    """
    twins = Twins(seed)
    for _ in range(steps):
        twins.step()
    return twins.decided


def write_corpus(directory: Path, count: int = 12) -> None:
    """Frames that native code takes, each with what server 0 held: for native/examples/fuzz.rs."""
    twins, written = Twins(7), 0
    while written < count:
        for _ in range(17):
            twins.step()
        replica = twins.servers[0]._replicas.hot[NAME]
        version = replica.versions.get(replica.latest)
        assert version is not None
        client = twins.random.choice([X, Y])
        twins.number += 1
        frame = twins.frame(0, Operation((NAME,), (Call(twins.random.randbytes(16), 0, "add", b"x" * written),)))
        times = [each if each < 1 << 64 else each.to_bytes(16, "big") for each in (version.horizon, version.orphaned)]
        ring = [version.ring.entries, version.ring.answers, version.recent, version.recent_answers]
        held = [replica.history, replica.last_at, replica.latest, twins.servers[0]._replies.macs(replica)]
        case = [6, frame, client, *held, version.number, *times, version.state[:200], *ring]
        (directory / f"{written:02}").write_bytes(encode(case))
        written += 1
