"""What the MACs of one request take a server: those it checks and those it makes, in three ways.

    python benchmarks/macs.py

*Hashes*: BLAKE2b-128 over key and digest, one hash for each MAC, with copied key states (as the baseline by agreement
does it, and the protocol once did). *Key schedule*: AES-256_digest(secret) XOR secret, all secrets under one (as the
protocol did next). *Permutation*: what it does, by the library (docs/decisions/0009). *Kernel*: the same compiled,
where it is installed. Processor time, the least of several runs.
"""

from __future__ import annotations

import os
import timeit
from collections import deque
from collections.abc import Callable
from hashlib import blake2b
from itertools import repeat

from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.algorithms import AES

from fivefold.cluster.ciphers import SECRET_BYTES, PermutationMacs, macs_under
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


_algorithm = AES(bytes(32))
_cipher = Cipher(_algorithm, modes.ECB())


def under_one_schedule(secrets: bytes, digest: bytes) -> bytes:
    """All secrets under the digest, by one cipher whose key is replaced."""
    _algorithm.key = digest
    encrypted = _cipher.encryptor().update(secrets)
    return (int.from_bytes(encrypted, "little") ^ int.from_bytes(secrets, "little")).to_bytes(len(secrets), "little")


def main() -> None:
    """Measure and print."""
    digest = os.urandom(32)
    print("| servers | MACs checked + made | hashes | key schedule | permutation | kernel |\n|---|---|---|---|---|---|")
    for faults in (1, 5):
        quorums = QuorumSystem(5 * faults + 1, faults, faults)
        checked, made = quorums.q, quorums.n
        incoming, outgoing = ([blake2b(os.urandom(32), digest_size=16) for _ in range(k)] for k in (checked, made))
        secrets = [os.urandom(SECRET_BYTES) for _ in range(2 * quorums.n)]
        blocks = b"".join(secret[:16] for secret in secrets)
        pure, best = PermutationMacs(secrets), macs_under(secrets)
        figures = [
            microseconds(lambda keys=incoming: hashes(keys, digest))
            + microseconds(lambda keys=outgoing: hashes(keys, digest)),
            microseconds(lambda blocks=blocks: under_one_schedule(blocks, digest)),
            microseconds(lambda pure=pure: pure(digest)),
        ]
        if not isinstance(best, PermutationMacs):
            figures.append(microseconds(lambda best=best: best(digest)))
        cells = [f"{each:.2f} µs" for each in figures] + ["not installed"] * (4 - len(figures))
        print(f"| {quorums.n} | {checked} + {made} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
