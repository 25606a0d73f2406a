"""The MAC that authenticators are made of: keyed BLAKE2s (RFC 7693), by the standard library.

Handed to the protocol, which imports no cryptography of its own choice (docs/decisions/0012).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import blake2s
from typing import Final

from fivefold.native import native

SECRET_BYTES: Final = 32
"""Size of the secret of one direction between two servers: the longest key that BLAKE2s takes."""

_MAC_BYTES: Final = 16
_DIGEST_BYTES: Final = 32


def macs_under(secrets: Sequence[bytes]) -> Callable[[bytes], bytes]:
    """What makes the MACs of digests under secrets of 32 bytes: what the protocol's AuthenticatorKeys take.

    Returns:
        A function: of a digest of 32 bytes, its MACs of 16 bytes one after the other, in the order of the secrets. It
        is no partial, since a partial's repr would show the secrets.
    """
    assert all(len(secret) == SECRET_BYTES for secret in secrets)
    if native is not None:
        return native.Macs(secrets)
    # The key is absorbed once, here; each MAC starts from a copy of that state.
    keyed = [blake2s(key=secret, digest_size=_MAC_BYTES) for secret in secrets]
    copy_of, update, result = blake2s.copy, blake2s.update, blake2s.digest

    def macs(digest: bytes) -> bytes:
        assert len(digest) == _DIGEST_BYTES
        made = []
        for state in keyed:
            hashed = copy_of(state)
            update(hashed, digest)
            made.append(result(hashed))
        return b"".join(made)

    return macs
