"""Authenticators: lists of MACs over replica histories, one for each server (Q/U §3.4, PROTOCOL §2 and §4.1).

Servers do not show each other their histories; clients carry them. The MAC that server s made for server s' proves to
s' alone that s signed that history for that object. Keys are directional, so nothing can be reflected.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence, Set
from functools import cache
from hashlib import blake2b
from hmac import compare_digest
from itertools import compress, repeat
from struct import Struct
from typing import Final

import msgspec

from fivefold.errors import PeerViolation
from fivefold.protocol.history import decode_history, history_digest, time_of, without
from fivefold.protocol.limits import TIME_MAX
from fivefold.protocol.operations import ObjectId, digest
from fivefold.protocol.quorums import QuorumSystem
from fivefold.protocol.records import ObjectHistories

_encode: Final = msgspec.msgpack.Encoder().encode

MAC_BYTES: Final = 16
"""128 bits: a forger has one guess for each request."""


def mac_state(key: bytes) -> blake2b:
    """A hash state to be copied for each MAC: BLAKE2b-128 over key ‖ digest, 32 bytes each (ours).

    As in RFC 7693's keyed mode the key goes first, and BLAKE2 needs no HMAC; there it is padded to a block of its own,
    here key and digest share one block, which halves the work (docs/decisions/0003).
    """
    return blake2b(key, digest_size=MAC_BYTES, person=b"fivefold mac")


class AuthenticatorKeys:
    """One server's keys: to every server (itself included) for making, from every server for checking."""

    __slots__ = ("_incoming", "_outgoing", "own_index")

    def __init__(self, own_index: int, outgoing: Sequence[bytes], incoming: Sequence[bytes]) -> None:
        """Take one 32-byte key per direction: ``outgoing[j]`` is k(own→j), ``incoming[j]`` is k(j→own)."""
        self.own_index = own_index
        self._outgoing = list(map(mac_state, outgoing))
        self._incoming = list(map(mac_state, incoming))

    def make(self, authenticated: bytes) -> bytes:
        """The authenticator over a history digest: n MACs one after the other, in the order of the servers."""
        return _macs(self._outgoing, repeat(authenticated))

    def expected(self, holders: bytes, digests: Sequence[bytes]) -> bytes:
        """The MACs that the holders of histories make for this server, one after the other.

        ``holders[s]`` is 0, or the index in ``digests`` of that of server s's history (as in ObjectHistories).
        """
        return _macs(compress(self._incoming, holders), map(digests.__getitem__, filter(None, holders)))

    def __repr__(self) -> str:
        """Never shows a key."""
        return f"AuthenticatorKeys(own_index={self.own_index})"


def _macs(keys: Iterable[blake2b], authenticated: Iterable[bytes]) -> bytes:
    """One MAC for each key. Loops in C: servers spend most of their time here when n is large."""
    states = list(map(blake2b.copy, keys))
    deque(map(blake2b.update, states, authenticated), maxlen=0)
    return b"".join(map(blake2b.digest, states))


def columns(authenticators: Sequence[bytes], n: int, head: bytes = b"") -> list[bytes]:
    """Each server's MACs out of authenticators for all n of them, behind ``head``: rows of MACs turned into columns."""
    if not authenticators:
        return [head] * n
    return list(map(b"".join, zip(repeat(head, n), *map(_row_of(n).unpack, authenticators), strict=True)))


@cache
def _row_of(n: int) -> Struct:
    return Struct(f"{MAC_BYTES}s" * n)


class Culled:
    """A request's history sets after culling.

    Attributes:
        sets: the sets, culled histories treated as initial.
        servers: indices of the servers culled on any object, ascending; reported in the reply.
        digest: the history-set digest: over the target and all culled sets, evidence objects and flags included (S1).
    """

    __slots__ = ("digest", "servers", "sets")

    def __init__(self, target: ObjectId, sets: tuple[ObjectHistories, ...], servers: tuple[int, ...]) -> None:
        """Compute the digest."""
        self.sets = sets
        self.servers = servers
        # Two requests that differ in their target alone can copy different candidates: it belongs in the digest.
        self.digest = digest(_encode((target, sets)))


def cull(
    keys: AuthenticatorKeys, quorums: QuorumSystem, target: ObjectId, sets: tuple[ObjectHistories, ...], proof: bytes
) -> Culled:
    """Check every history's MAC; treat the histories that fail, or that no honest server signs, as initial.

    ``proof`` holds, for each object in order and each server in order whose history is not initial, the MAC made for
    this server.

    Raises:
        PeerViolation: the proof has not the length that the sets ask for.
    """
    expected = b""
    for each in sets:
        digests = [b"", *map(history_digest, repeat(each.object_id), each.histories)]
        expected += keys.expected(each.holders, digests)
    culled: set[int] = set()
    if not compare_digest(proof, expected):
        if len(proof) != len(expected):
            raise PeerViolation("proof-length")
        bad = _mismatches(sets, proof, expected)
        sets = tuple([without(each, servers) for each, servers in zip(sets, bad, strict=True)])
        culled.update(*bad)
    # Judged by what is left: forged histories must not vouch for it.
    absurd = list(map(_absurd, repeat(quorums), sets))
    if any(absurd):
        sets = tuple([without(each, servers) for each, servers in zip(sets, absurd, strict=True)])
        culled.update(*absurd)
    return Culled(target, sets, tuple(sorted(culled)) if culled else ())


def _mismatches(sets: tuple[ObjectHistories, ...], proof: bytes, expected: bytes) -> list[set[int]]:
    """For each set the servers whose MAC differs."""
    bad: list[set[int]] = []
    offset = 0
    for each in sets:
        servers = set()
        for server, index in enumerate(each.holders):
            if index:
                end = offset + MAC_BYTES
                if not compare_digest(proof[offset:end], expected[offset:end]):
                    servers.add(server)
                offset = end
        bad.append(servers)
    return bad


def _absurd(quorums: QuorumSystem, histories: ObjectHistories) -> Set[int]:
    """Servers that signed what no honest one does: bytes that do not decode, or times at the end of the clock.

    That a history leads the others is no proof: a liar can lead honest servers far ahead (classify.py, ``leap``).
    """
    if len(histories.histories) == 1 and histories.holders.count(1) >= quorums.r:
        # The good case: one history, which more servers signed than can lie.
        decode_history(histories.object_id, histories.histories[0])
        return frozenset()
    absurd = set()
    for index, data in enumerate(histories.histories, 1):
        try:
            if time_of(decode_history(histories.object_id, data)[-1].candidate.timestamp) > TIME_MAX:
                absurd.add(index)
        except PeerViolation:
            absurd.add(index)
    return {server for server, index in enumerate(histories.holders) if index in absurd}
