"""What a request takes a server's machine, and an update a client's: no transport, no store, one process.

    python benchmarks/machines.py [--faults 1] [--objects 1000] [--together 32] [--cold]

Updates of counters, so many at a time, each on the next of so many objects. ``--cold`` overwrites 48 MiB of other
memory before each part is timed, as the six other processes do on a machine where everything runs at once: then what
counts is how many pieces of memory an object and the code consist of. The last line is for programs: JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import time
from types import FrameType

from fivefold.native import variant
from fivefold.objects import Counter, Registry
from fivefold.protocol.actions import Channel, Reply
from fivefold.protocol.client import Session
from fivefold.protocol.operations import Call, ObjectId, Operation
from fivefold.protocol.quorums import QuorumSystem
from fivefold.protocol.server import Server
from fivefold.simulation.rack import Everyone, client_id, rack_keys

OTHER_MEMORY = bytearray(48 << 20)
LINE_BYTES = 64


class Machines:
    """n servers and one client, and what each has taken.

    Attributes:
        spent_s: processor time of servers and client, while ``is_timed``.
        handled: requests that servers have handled meanwhile, and updates that have ended.
    """

    def __init__(self, faults: int, *, is_cold: bool) -> None:
        self.quorums = QuorumSystem(5 * faults + 1, faults, faults)
        self.registry, self.me = Registry(Counter), client_id("me")
        self.servers = [
            Server(self.quorums, rack_keys(index, self.quorums.n), self.registry, Everyone(), has_store=False)
            for index in range(self.quorums.n)
        ]
        self.session = Session(self.quorums, random.Random(1))
        self.spent_s = {"server": 0.0, "client": 0.0}
        self.handled = {"server": 0, "client": 0}
        self.is_timed, self.is_cold = False, is_cold

    def update(self, names: list[ObjectId]) -> None:
        """Update each object once, all at the same time."""
        requests: dict[int, list[bytes]] = {}
        self._begin()
        for name in names:
            for ask in self.start(name):
                requests.setdefault(ask.server, []).append(ask.frame)
        self._end("client", len(names))
        replies: dict[int, list[bytes]] = {}
        for server, frames in sorted(requests.items()):
            self._begin()
            actions = self.servers[server].receive_from_client(0, self.me, Channel(server), *frames)
            self._end("server", len(frames))
            replies[server] = [each.frame for each in actions.send if isinstance(each, Reply)]
        self._begin()
        for server, frames in replies.items():
            self.finish(server, frames)
        self._end("client", 0)

    def start(self, name: ObjectId):
        """What the client sends for an update."""
        arguments = self.registry.encode_arguments((name,), "increment", (), {})
        operation = Operation((name,), (Call(os.urandom(16), 0, "increment", arguments),))
        return self.session.call(0, operation, is_query=False, deadline_ns=10**12)[1].send

    def finish(self, server: int, frames: list[bytes]) -> None:
        """What the client does with replies."""
        for finished in self.session.receive(0, server, *frames).finished:
            self.registry.decode_answer((ObjectId("Counter/0"),), "increment", finished.outcome.answers[0])

    def _begin(self) -> None:
        if self.is_cold and self.is_timed:
            OTHER_MEMORY[::LINE_BYTES] = OTHER_MEMORY[::LINE_BYTES]
        self._began = time.process_time()

    def _end(self, part: str, count: int) -> None:
        if self.is_timed:
            self.spent_s[part] += time.process_time() - self._began
            self.handled[part] += count

    def calls_of_python(self, name: ObjectId) -> dict[str, int]:
        """How many functions written in Python one request and one update call."""
        count = 0

        def see(frame: FrameType, event: str, argument: object) -> None:
            nonlocal count
            count += event == "call"

        def counted(run, *arguments):
            sys.setprofile(see)
            try:
                return run(*arguments)
            finally:
                sys.setprofile(None)

        asks = counted(self.start, name)
        of_client, count = count, 0
        frames = []
        for ask in asks:
            actions = counted(self.servers[ask.server].receive_from_client, 0, self.me, Channel(ask.server), ask.frame)
            frames.append((ask.server, actions.send[0].frame))
        of_servers, count = count, 0
        for server, frame in frames:
            counted(self.finish, server, [frame])
        return {"server": of_servers // len(asks), "client": of_client + count}


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--faults", type=int, default=1)
    options.add_argument("--objects", type=int, default=1000)
    options.add_argument("--together", type=int, default=32, help="updates under way at once")
    options.add_argument("--updates", type=int, default=2000, help="that are timed")
    options.add_argument("--cold", action="store_true")
    chosen = options.parse_args()
    machines = Machines(chosen.faults, is_cold=chosen.cold)
    names = [ObjectId(f"Counter/{number}") for number in range(chosen.objects)]
    batches = [names[first : first + chosen.together] for first in range(0, len(names), chosen.together)]
    for _ in range(6):
        for batch in batches:
            machines.update(batch)
    machines.is_timed = True
    while machines.handled["client"] < chosen.updates:
        for batch in batches:
            machines.update(batch)
    calls = machines.calls_of_python(names[0])
    found = {part: machines.spent_s[part] / machines.handled[part] * 1e6 for part in ("server", "client")}
    for part, what in (("server", "request"), ("client", "update")):
        print(
            f"{variant()}, f={chosen.faults}, {part}: "
            f"{found[part]:.1f} µs and {calls[part]} Python calls for each {what}"
        )
    print(json.dumps({"variant": variant(), **found, "calls": calls}))


if __name__ == "__main__":
    main()
