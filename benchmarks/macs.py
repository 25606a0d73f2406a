"""What the MACs of one request take a server, those it checks and those it makes, under the standards at hand.

    python benchmarks/macs.py

*BLAKE2s* is what the protocol uses: RFC 7693 with a key, from kept states (docs/decisions/0012). *AES-CMAC* is RFC 4493
from kept states of the cryptography library. Processor time, the least of several runs.
"""

from __future__ import annotations

import os
import timeit
from collections.abc import Callable

from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.cmac import CMAC

from fivefold.cluster import macs_under
from fivefold.protocol.quorums import QuorumSystem

LOOPS, RUNS = 2000, 15


def microseconds(run: Callable[[], object]) -> float:
    """One call's processor time."""
    return min(timeit.repeat(run, number=LOOPS, repeat=RUNS)) / LOOPS * 1e6


def cmacs(states: list[CMAC], digest: bytes) -> bytes:
    """One AES-CMAC for each kept state."""
    made = []
    for state in states:
        copied = state.copy()
        copied.update(digest)
        made.append(copied.finalize())
    return b"".join(made)


def main() -> None:
    """Measure and print."""
    digest = os.urandom(32)
    print("| servers | MACs | BLAKE2s | AES-CMAC |\n|---|---|---|---|")
    for faults in (1, 5):
        quorums = QuorumSystem(5 * faults + 1, faults, faults)
        count = 2 * quorums.n
        blake, states = macs_under([os.urandom(32) for _ in range(count)]), [CMAC(AES(os.urandom(16)))] * count
        figures = microseconds(lambda blake=blake: blake(digest)), microseconds(lambda s=states: cmacs(s, digest))
        print(f"| {quorums.n} | {count} | {figures[0]:.2f} µs | {figures[1]:.2f} µs |")


if __name__ == "__main__":
    main()
