"""Processor time per operation of the server's and the client's machine, pure and compiled, without a transport.

Builds both wheels into directories of their own (the compiled one needs a C compiler), then runs them in turn and
prints medians: ``python benchmarks/compiled.py``.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

MACHINES = """
import json, os, random, sys, time
from fivefold.objects import Counter, Registry
from fivefold.protocol.actions import Reply
from fivefold.protocol.compiled import is_compiled
from fivefold.protocol.operations import Call, ObjectId, Operation
from fivefold.protocol.quorums import QuorumSystem
from fivefold.protocol.server import Server
from fivefold.protocol.session import Session
from fivefold.simulation.rack import Everyone, client_id, rack_keys

f, operations = int(sys.argv[1]), int(sys.argv[2])
n = 5 * f + 1
quorums, registry, me = QuorumSystem(n, f, f), Registry(Counter), client_id("me")
servers = [Server(quorums, rack_keys(index, n), registry, Everyone()) for index in range(n)]
session = Session(quorums, random.Random(1))
spent = {"server": 0.0, "client": 0.0}


def timed(part, run, *arguments, **named):
    began = time.process_time()
    result = run(*arguments, **named)
    spent[part] += time.process_time() - began
    return result


def serve(server, frame):
    actions = server.receive_from_client(0, me, 0, frame)
    sent = list(actions.send)
    for name in actions.load:
        actions = server.loaded(0, name, None)
        sent += actions.send
    if actions.store:
        sent += server.durable(0, actions.store[-1].sequence).send
    return [each for each in sent if type(each) is Reply]


def start(objects):
    arguments = registry.encode_arguments(objects, "increment", (), {})
    operation = Operation(objects, (Call(os.urandom(16), 0, "increment", arguments),))
    return session.call(0, operation, is_query=False, deadline_ns=10**12)[1]


def finish(name, frames):
    for server, frame in frames:
        for finished in session.receive(0, server, frame).finished:
            registry.decode_answer((name,), "increment", finished.outcome.answers[0])


def update(name):
    # A quorum's replies are all taken at once: asking for the time costs as much as taking one.
    frames = []
    for ask in timed("client", start, (name,)).send:
        frames += [(ask.server, reply.frame) for reply in timed("server", serve, servers[ask.server], ask.frame)]
    timed("client", finish, name, frames)


def calls_of_client():
    # How many functions in Python it calls for one update.
    count = 0

    def see(frame, event, argument):
        nonlocal count
        count += event == "call"

    frames = []
    sys.setprofile(see)
    actions = start((names[0],))
    sys.setprofile(None)
    for ask in actions.send:
        frames += [(ask.server, reply.frame) for reply in serve(servers[ask.server], ask.frame)]
    sys.setprofile(see)
    finish(names[0], frames)
    sys.setprofile(None)
    return count


names = [ObjectId(f"Counter/{number}") for number in range(64)]
for name in names * 2:
    update(name)
spent.update(server=0.0, client=0.0)
for number in range(operations):
    update(names[number % 64])
scale = 1e6 / operations
client_us = spent["client"] * scale
print(json.dumps([is_compiled(), spent["server"] * scale / quorums.q, client_us, calls_of_client()]))
"""


def build(target: Path, *, is_compiled: bool) -> Path:
    """Install this checkout, without its dependencies, into ``target``."""
    environment = {**os.environ, "HATCH_BUILD_HOOKS_ENABLE": "1" if is_compiled else "0"}
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(target), str(ROOT)]
    subprocess.run(command, env=environment, check=True)
    return target


def cost(installed: Path, f: int, operations: int) -> tuple[bool, float, float, int]:
    """Whether it is compiled, microseconds of server and client for an operation, and calls of Python by the client."""
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    command = [sys.executable, "-c", MACHINES, str(f), str(operations)]
    done = subprocess.run(command, env=environment, cwd=installed, capture_output=True, text=True, check=True)
    is_compiled, server_us, client_us, client_calls = json.loads(done.stdout)
    return is_compiled, server_us, client_us, client_calls


def main() -> None:
    """Build, alternate, print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--runs", type=int, default=7)
    options.add_argument("--operations", type=int, default=600)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="fivefold-compiled-") as scratch:
        variants = {name: build(Path(scratch, name), is_compiled=name == "compiled") for name in ("pure", "compiled")}
        for f in (1, 5):
            runs: dict[str, list[tuple[bool, float, float, int]]] = {name: [] for name in variants}
            for _ in range(chosen.runs):
                for name, installed in variants.items():
                    runs[name].append(cost(installed, f, chosen.operations))
            assert all(run[0] == (name == "compiled") for name, each in runs.items() for run in each)
            for at, part in ((1, "server"), (2, "client")):
                pure, compiled = (statistics.median(float(run[at]) for run in runs[name]) for name in variants)
                print(f"f={f} {part}: pure {pure:.1f} µs, compiled {compiled:.1f} µs, ratio {compiled / pure:.2f}")
            print(f"f={f} client: {runs['pure'][0][3]} calls of Python functions for an update")


if __name__ == "__main__":
    main()
