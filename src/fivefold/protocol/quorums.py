"""Threshold quorum systems: how many servers make a quorum, how many make a candidate repairable.

The three constraints are (2), (3) and (4) of the paper (Q/U §3.1), in threshold form.
"""

from __future__ import annotations

from fivefold.errors import ConfigurationError
from fivefold.protocol.operations import ObjectId, digest

SERVERS_MAX = 64
"""An authenticator has one MAC for each server; more than this many servers is not what the protocol is for."""


class QuorumSystem:
    """n servers, t of them faulty, b of those malevolent; quorums of q, repairable sets of r.

    Attributes:
        n: servers in all.
        t: faulty servers tolerated (crashed for good, or malevolent).
        b: malevolent servers tolerated, b ≤ t.
        q: size of a quorum.
        r: order from which a candidate is repairable.
    """

    __slots__ = ("_rotations", "b", "n", "q", "r", "t")

    def __init__(self, n: int, t: int, b: int, *, q: int | None = None, r: int | None = None) -> None:
        """Check the constraints; ``q`` and ``r`` default to the values of PROTOCOL §1.

        Raises:
            ConfigurationError: the numbers cannot be tolerated together.
        """
        if not 0 <= b <= t:
            raise ConfigurationError(f"b must be between 0 and t: got t={t}, b={b}")
        if n < 3 * t + 2 * b + 1:
            raise ConfigurationError(
                f"t={t}, b={b} need at least {3 * t + 2 * b + 1} servers: got {n}; add servers or tolerate fewer faults"
            )
        if n > SERVERS_MAX:
            raise ConfigurationError(f"at most {SERVERS_MAX} servers are supported: got {n}")
        self.n, self.t, self.b = n, t, b
        self.q = -(-(2 * n + 2 * b + 1) // 3) if q is None else q
        self.r = n - self.q + b + 1 if r is None else r
        self._check_constraints()
        self._rotations = [tuple((first + step) % n for step in range(n)) for first in range(n)]

    def _check_constraints(self) -> None:
        n, t, b, q, r = self.n, self.t, self.b, self.q, self.r
        if q + t > n:
            raise ConfigurationError(f"(2) a quorum of correct servers must exist: q + t ≤ n, got q={q}, t={t}, n={n}")
        if 2 * q - n - b < r:
            raise ConfigurationError(
                f"(3) what is established must stay repairable: 2q - n - b ≥ r, got q={q}, n={n}, b={b}, r={r}"
            )
        if q + r - n < b + 1:
            raise ConfigurationError(
                f"(4) a repairable set must meet every quorum in a correct server: q + r - n ≥ b + 1, "
                f"got q={q}, r={r}, n={n}, b={b}"
            )

    def preference(self, object_id: ObjectId) -> tuple[int, ...]:
        """All servers in the order in which clients try them: k, k+1, …, k+n-1 (mod n), k from the object's id.

        The first q are the object's *preferred quorum*; the rest are probed in this order. Objects whose keys begin
        with the same name before a ``/`` have the same one (ours): what is changed together should be held together.
        Where an operation goes to the quorum of another one of its objects, servers may have to fetch this one first.
        """
        first = int.from_bytes(digest(_family(object_id).encode())[:8], "big") % self.n
        return self._rotations[first]

    def __repr__(self) -> str:
        """All five numbers."""
        return f"QuorumSystem(n={self.n}, t={self.t}, b={self.b}, q={self.q}, r={self.r})"


def _family(object_id: ObjectId) -> str:
    """What decides an object's preferred quorum: its key up to a ``/``; without one, the whole id."""
    family, slash, _ = object_id.partition("/")[2].partition("/")
    return family if slash else object_id
