"""What the MACs of one request take a server: those it checks and those it makes, in three ways.

    python benchmarks/macs.py

*Hashes*: BLAKE2b-128 over key and digest, one hash for each MAC, with copied key states (as the baseline by agreement
does it, and the protocol did until decision 0007). *Cipher*: all under one key schedule of AES-256, by the library.
*Kernel*: the same compiled, where it is installed. Processor time, the least of several runs.
"""

from __future__ import annotations

import os
import timeit
from collections import deque
from collections.abc import Callable
from hashlib import blake2b
from itertools import repeat

from fivefold.cluster.ciphers import DaviesMeyer, compress
from fivefold.protocol.quorums import QuorumSystem

LOOPS, RUNS = 2000, 15


def microseconds(run: Callable[[], object]) -> float:
    """One call's processor time."""
    return min(timeit.repeat(run, number=LOOPS, repeat=RUNS)) / LOOPS * 1e6


def hashes(keys: list[blake2b], digest: bytes) -> bytes:
    """One hash for each key, looped over in C."""
    states = list(map(blake2b.copy, keys))
    deque(map(blake2b.update, states, repeat(digest)), maxlen=0)
    return b"".join(map(blake2b.digest, states))


def main() -> None:
    """Measure and print."""
    digest, pure = os.urandom(32), DaviesMeyer()
    print("| servers | MACs checked + made | hashes | cipher | kernel |\n|---|---|---|---|---|")
    for faults in (1, 5):
        quorums = QuorumSystem(5 * faults + 1, faults, faults)
        checked, made = quorums.q, quorums.n
        incoming, outgoing = ([blake2b(os.urandom(32), digest_size=16) for _ in range(k)] for k in (checked, made))
        secrets = os.urandom(16 * 2 * quorums.n)
        figures = [
            microseconds(lambda keys=incoming: hashes(keys, digest))
            + microseconds(lambda keys=outgoing: hashes(keys, digest)),
            microseconds(lambda secrets=secrets: pure(digest, secrets)),
        ]
        if not isinstance(compress, DaviesMeyer):
            figures.append(microseconds(lambda secrets=secrets: compress(digest, secrets)))
        cells = [f"{each:.2f} µs" for each in figures] + ["not installed"] * (3 - len(figures))
        print(f"| {quorums.n} | {checked} + {made} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
