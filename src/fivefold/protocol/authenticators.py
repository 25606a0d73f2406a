"""Authenticators: lists of MACs over replica histories, one for each server (Q/U §3.4, PROTOCOL §2 and §4.1).

Servers do not show each other their histories; clients carry them. The MAC that server s made for server s' proves to
s' alone that s signed that history for that object. Keys are directional, so nothing can be reflected.

A MAC is keyed BLAKE2s (RFC 7693) over the history's digest, cut to 16 bytes; the function is handed in
(:mod:`fivefold.cluster.macs`, docs/decisions/0012). All MACs of one history, those for the n servers and those expected
of them, are made together and kept with the history.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from functools import lru_cache
from hashlib import blake2b
from hmac import compare_digest
from itertools import repeat
from struct import Struct
from typing import Final

import msgspec

from fivefold.errors import PeerViolation
from fivefold.protocol.history import decode_history, remembered_digest, time_of, without
from fivefold.protocol.limits import REMEMBERED_MACS_MAX, TIME_MAX
from fivefold.protocol.operations import DIGEST_BYTES, ObjectId
from fivefold.protocol.quorums import QuorumSystem
from fivefold.protocol.records import ObjectHistories

_encode: Final = msgspec.msgpack.Encoder().encode

MAC_BYTES: Final = 16
"""128 bits: a forger has one guess for each request."""

MacsUnder = Callable[[Sequence[bytes]], Callable[[bytes], bytes]]
"""Of secrets of 32 bytes, what makes of a digest its MACs under each of them, one after the other."""


class AuthenticatorKeys:
    """One server's keys: to every server (itself included) for making, from every server for checking."""

    __slots__ = ("_earlier", "_macs", "_made", "n", "own_index")

    def __init__(
        self, own_index: int, outgoing: Sequence[bytes], incoming: Sequence[bytes], macs_under: MacsUnder
    ) -> None:
        """Take one key of 32 bytes per direction: ``outgoing[j]`` is k(own→j), ``incoming[j]`` is k(j→own)."""
        self.own_index = own_index
        self.n = len(outgoing)
        self._macs = macs_under((*outgoing, *incoming))
        self._made: dict[bytes, bytes] = {}  # by digest; with ``_earlier``, the last REMEMBERED_MACS_MAX at least
        self._earlier: dict[bytes, bytes] = {}

    def macs(self, authenticated: bytes) -> bytes:
        """All MACs over a history digest that this server has to do with, one after the other.

        Returns:
            The authenticator, n MACs in the order of the servers that it is for; then the n MACs that the servers, in
            their order, make for this one if they have the same history.

        They are remembered for a while: a server signs a history, and then meets it again in the next request.
        """
        found = self._made.get(authenticated) or self._earlier.get(authenticated)
        if found is None:
            if len(self._made) >= REMEMBERED_MACS_MAX:
                self._earlier, self._made = self._made, {}
            found = self._made[authenticated] = self._macs(authenticated)
        return found

    @property
    def maker(self) -> Callable[[bytes], bytes]:
        """What makes all MACs over a history digest; of honest keys, what remembers none."""
        return self._macs if type(self) is AuthenticatorKeys else self.macs

    def make(self, authenticated: bytes) -> bytes:
        """The authenticator over a history digest: n MACs one after the other, in the order of the servers."""
        return self.macs(authenticated)[: self.n * MAC_BYTES]

    def expected(self, holders: bytes, digests: Sequence[bytes]) -> bytes:
        """The MACs that the holders of histories make for this server, one after the other.

        ``holders[s]`` is 0, or the index in ``digests`` of that of server s's history (as in ObjectHistories).
        """
        rows = [(), *[_row_of(self.n).unpack_from(self.macs(each), self.n * MAC_BYTES) for each in digests[1:]]]
        return b"".join([rows[index][server] for server, index in enumerate(holders) if index])

    def __repr__(self) -> str:
        """Never shows a key."""
        return f"AuthenticatorKeys(own_index={self.own_index})"


def expected_of(macs: bytes, holders: bytes) -> bytes:
    """The part of ``AuthenticatorKeys.macs`` that the holders of that one history make for this server."""
    found, kept, start = macs[len(holders) * MAC_BYTES :], b"", 0
    while (absent := holders.find(0, start)) >= 0:  # servers that are left out mostly stand in a row
        kept += found[start * MAC_BYTES : absent * MAC_BYTES]
        start = holders.find(1, absent)
        if start < 0:
            return kept
    return kept + found[start * MAC_BYTES :]


def columns(authenticators: bytes, n: int, head: bytes = b"") -> list[bytes]:
    """Each server's MACs out of authenticators for all n of them, behind ``head``: rows of MACs turned into columns."""
    if not authenticators:
        return [head] * n
    macs = _row_of(len(authenticators) // MAC_BYTES).unpack(authenticators)
    found = []
    for server in range(n):
        found.append(head + b"".join(macs[server::n]))  # noqa: PERF401 (a comprehension costs a call)
    return found


@lru_cache(maxsize=256)
def _row_of(macs: int) -> Struct:
    return Struct(f"{MAC_BYTES}s" * macs)


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
        self.digest = sets_digest(target, sets)


def sets_digest(target: ObjectId, sets: tuple[ObjectHistories, ...]) -> bytes:
    """The history-set digest: two requests that differ in their target alone can copy different candidates."""
    return blake2b(_encode((target, sets)), digest_size=DIGEST_BYTES).digest()


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
        digests = [b"", *[remembered_digest(each.object_id, history) for history in each.histories]]
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

    That a history leads the others is no proof: a liar can lead honest servers ahead (classify.py, ``leap``). Nor is a
    time that r histories reach, of whom one at least is honest.
    """
    if len(histories.histories) == 1 and histories.holders.count(1) >= quorums.r:
        # The good case: one history, which more servers signed than can lie.
        decode_history(histories.object_id, histories.histories[0])
        return frozenset()
    absurd, late = set(), set()
    for index, data in enumerate(histories.histories, 1):
        try:
            if time_of(decode_history(histories.object_id, data)[-1].candidate.timestamp) > TIME_MAX:
                late.add(index)
        except PeerViolation:
            absurd.add(index)
    if late and sum([index in late for index in histories.holders]) < quorums.r:
        absurd |= late
    return {server for server, index in enumerate(histories.holders) if index in absurd}
