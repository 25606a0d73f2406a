"""A lease with a fencing token.

Objects have no clock, so you tell each method the time. The clocks of a lock's clients must agree to much less than the
time to live. You must trust these clients with the lock: one that passes a time in the future can take it early. The
token grows with every acquisition: the protected resource should refuse a token lower than one it has seen.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

from msgspec import Meta, Struct

from fivefold.errors import Rejected
from fivefold.objects.model import Object, query, update

Milliseconds: TypeAlias = Annotated[int, Meta(ge=1)]
Owner: TypeAlias = Annotated[str, Meta(min_length=1)]


class Held(Rejected):
    """Somebody holds the lock.

    Attributes:
        owner: who.
        expires_ms: until when, unless they renew or release it.
    """

    def __init__(self, owner: str, expires_ms: int) -> None:
        super().__init__(f"{owner} holds the lock until {expires_ms} ms")
        self.owner = owner
        self.expires_ms = expires_ms


class NotHolder(Rejected):
    """The lock is not held, or no longer, by this owner with this token: acquire it again."""


class Lease(Struct, frozen=True):
    """Who holds a lock.

    Attributes:
        owner: name the holder gave.
        token: fencing token of this acquisition, from 1.
        expires_ms: time at which it ends.
    """

    owner: str
    token: int
    expires_ms: int


class Lock(Object):
    """A lock that ends by itself when its holder falls silent."""

    owner: str = ""
    token: int = 0
    expires_ms: int = 0

    @query
    def holder(self, now_ms: int) -> Lease | None:
        """Who holds the lock at ``now_ms``; None if nobody does."""
        return Lease(self.owner, self.token, self.expires_ms) if self._is_held(now_ms) else None

    @update
    def acquire(self, owner: Owner, now_ms: int, ttl_ms: Milliseconds) -> int:
        """Take the lock until ``now_ms + ttl_ms``; returns the fencing token.

        Raises:
            Held: somebody holds the lock, even the same owner: two of its threads may be competing.
        """
        if self._is_held(now_ms):
            raise Held(self.owner, self.expires_ms)
        self.owner = owner
        self.token += 1
        self.expires_ms = now_ms + ttl_ms
        return self.token

    @update
    def renew(self, owner: str, token: int, now_ms: int, ttl_ms: Milliseconds) -> None:
        """Keep the lock until ``now_ms + ttl_ms``.

        Raises:
            NotHolder: it is not held by this owner with this token, or ran out before ``now_ms``.
        """
        self._require_holder(owner, token)
        if not self._is_held(now_ms):
            raise NotHolder(f"the lock of {owner} ran out at {self.expires_ms} ms")
        self.expires_ms = now_ms + ttl_ms

    @update
    def release(self, owner: str, token: int) -> None:
        """Let go of the lock.

        Raises:
            NotHolder: it is not held by this owner with this token.
        """
        self._require_holder(owner, token)
        self.owner = ""
        self.expires_ms = 0

    def _is_held(self, now_ms: int) -> bool:
        return self.owner != "" and now_ms < self.expires_ms

    def _require_holder(self, owner: str, token: int) -> None:
        if owner == "" or (owner, token) != (self.owner, self.token):
            raise NotHolder(f"{owner} does not hold the lock with token {token}")
