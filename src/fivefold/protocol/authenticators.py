"""Authenticators: lists of MACs over replica histories, one for each server (Q/U §3.4, PROTOCOL §2 and §4.1).

Servers do not show each other their histories; clients carry them. The MAC that server s made for server s' proves to
s' alone that s signed that history for that object. Keys are directional, so nothing can be reflected.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from hmac import compare_digest
from typing import Final

from fivefold.errors import PeerViolation
from fivefold.protocol.history import decode_history, history_digest, time_of, without
from fivefold.protocol.limits import TIME_MAX
from fivefold.protocol.operations import ObjectId, digest
from fivefold.protocol.quorums import QuorumSystem
from fivefold.protocol.records import ObjectHistories

MAC_BYTES: Final = 16
"""128 bits: a forger has one guess for each request."""


class AuthenticatorKeys:
    """One server's keys: to every server (itself included) for making, from every server for checking."""

    __slots__ = ("_incoming", "_outgoing", "own_index")

    def __init__(self, own_index: int, outgoing: Sequence[bytes], incoming: Sequence[bytes]) -> None:
        """Take one 32-byte key per direction: ``outgoing[j]`` is k(own→j), ``incoming[j]`` is k(j→own)."""
        self.own_index = own_index
        self._outgoing = [blake2b(key=key, digest_size=MAC_BYTES) for key in outgoing]
        self._incoming = [blake2b(key=key, digest_size=MAC_BYTES) for key in incoming]

    def make(self, authenticated: bytes) -> bytes:
        """The authenticator over a history digest: n MACs one after the other, in the order of the servers."""
        macs = []
        for key in self._outgoing:
            state = key.copy()
            state.update(authenticated)
            macs.append(state.digest())
        return b"".join(macs)

    def expected(self, holders: bytes, digests: Sequence[bytes]) -> list[bytes]:
        """The MACs that the holders of histories make for this server.

        ``holders[s]`` is 0, or 1 + the index of the digest of server s's history (as in ObjectHistories).
        """
        macs = []
        for key, index in zip(self._incoming, holders, strict=True):
            if index:
                state = key.copy()
                state.update(digests[index - 1])
                macs.append(state.digest())
        return macs

    def __repr__(self) -> str:
        """Never shows a key."""
        return f"AuthenticatorKeys(own_index={self.own_index})"


class Culled:
    """A request's history sets after culling.

    Attributes:
        sets: the sets, culled histories treated as initial.
        servers: indices of the servers culled on any object, ascending; reported in the reply.
        digest: the history-set digest: over the target and all culled sets, evidence objects and flags included (S1).
    """

    __slots__ = ("digest", "servers", "sets")

    def __init__(
        self, target: ObjectId, sets: tuple[ObjectHistories, ...], servers: tuple[int, ...], digests: bytes
    ) -> None:
        """Compute the digest; ``digests`` are those of the distinct histories of ``sets`` in order."""
        self.sets = sets
        self.servers = servers
        heads = [_named(each.object_id) + each.holders for each in sets]
        # Two requests that differ in their target alone can copy different candidates: it belongs in the digest.
        self.digest = digest(b"".join([_named(target), len(sets).to_bytes(2, "big"), *heads, digests]))


def _named(object_id: ObjectId) -> bytes:
    name = object_id.encode()
    return len(name).to_bytes(2, "big") + name


def cull(
    keys: AuthenticatorKeys, quorums: QuorumSystem, target: ObjectId, sets: tuple[ObjectHistories, ...], proof: bytes
) -> Culled:
    """Check every history's MAC; treat the histories that fail, or that no honest server signs, as initial.

    ``proof`` holds, for each object in order and each server in order whose history is not initial, the MAC made for
    this server.

    Raises:
        PeerViolation: the proof has not the length that the sets ask for.
    """
    digests = [[history_digest(each.object_id, data) for data in each.histories] for each in sets]
    macs: list[bytes] = []
    for each, of_each in zip(sets, digests, strict=True):
        macs.extend(keys.expected(each.holders, of_each))
    expected = b"".join(macs)
    if len(proof) != len(expected):
        raise PeerViolation("proof-length")
    culled: set[int] = set()
    if not compare_digest(proof, expected):
        bad = _mismatches(sets, proof, expected)
        sets = tuple([without(each, servers) for each, servers in zip(sets, bad, strict=True)])
        culled.update(*bad)
    absurd = [_absurd(quorums, each) for each in sets]  # judged by what is left: forged histories must not vouch for it
    if any(absurd):
        sets = tuple([without(each, servers) for each, servers in zip(sets, absurd, strict=True)])
        culled.update(*absurd)
    if culled:
        digests = [[history_digest(each.object_id, data) for data in each.histories] for each in sets]
    return Culled(target, sets, tuple(sorted(culled)), b"".join([one for each in digests for one in each]))


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


def _absurd(quorums: QuorumSystem, histories: ObjectHistories) -> set[int]:
    """Servers that signed what no honest one does: bytes that do not decode, or times at the end of the clock.

    That a history leads the others is no proof: a liar can lead honest servers far ahead (classify.py, ``leap``).
    """
    if len(histories.histories) == 1 and histories.holders.count(1) >= quorums.r:
        # The good case: one history, which more servers signed than can lie.
        decode_history(histories.object_id, histories.histories[0])
        return set()
    absurd = set()
    for index, data in enumerate(histories.histories, 1):
        try:
            if time_of(decode_history(histories.object_id, data)[-1].candidate.timestamp) > TIME_MAX:
                absurd.add(index)
        except PeerViolation:
            absurd.add(index)
    return {server for server, index in enumerate(histories.holders) if index in absurd}
