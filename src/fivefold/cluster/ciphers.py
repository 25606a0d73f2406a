"""What authenticators are made with; handed to the protocol, which imports no cryptography itself."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any, Final

from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.algorithms import AES

_BLOCK: Final = 16
SECRET_BYTES: Final = 2 * _BLOCK
"""Size of the secret of one direction between two servers."""


class PermutationMacs:
    """The MACs of a digest under some secrets, by the library's AES: see protocol/authenticators.py for what they are.

    The permutation's cipher is made once, and all secrets are worked on together, as one number: a cipher with a key of
    its own for each history, or a call for each secret, would cost more than all the rest.
    """

    __slots__ = ("_count", "_first", "_last", "_permute", "_size")

    def __init__(self, secrets: Sequence[bytes]) -> None:
        """Take secrets of 32 bytes."""
        self._count = len(secrets)
        self._size = _BLOCK * len(secrets)
        self._first, self._last = (int.from_bytes(half, "little") for half in _halves(secrets))
        # A fixed key and no mode of operation: a public permutation is all that is wanted.
        self._permute = Cipher(AES(bytes(_BLOCK)), modes.ECB()).encryptor().update  # noqa: S305

    def __call__(self, digest: bytes) -> bytes:
        """The MACs of a digest of 32 bytes, one after the other in the order of the secrets."""
        assert len(digest) == 2 * _BLOCK
        count, size, last, number = self._count, self._size, self._last, int.from_bytes
        blocks = number(digest[:_BLOCK] * count, "little") ^ self._first
        once = self._permute(blocks.to_bytes(size, "little"))
        blocks = number(once, "little") ^ number(digest[_BLOCK:] * count, "little") ^ last
        twice = self._permute(blocks.to_bytes(size, "little"))
        return (number(twice, "little") ^ last).to_bytes(size, "little")


def _halves(secrets: Sequence[bytes]) -> tuple[bytes, bytes]:
    assert all(len(secret) == SECRET_BYTES for secret in secrets)
    return b"".join([secret[:_BLOCK] for secret in secrets]), b"".join([secret[_BLOCK:] for secret in secrets])


def _load_kernel() -> Any:  # noqa: ANN401 - an extension module, or None
    try:
        return importlib.import_module("fivefold.cluster._kernel")
    except ImportError:  # not compiled, or the processor has no AES instructions
        return None


_kernel: Final = _load_kernel()


def macs_under(secrets: Sequence[bytes]) -> Callable[[bytes], bytes]:
    """What makes the MACs of digests under secrets of 32 bytes: what the protocol's AuthenticatorKeys take.

    That is the compiled kernel where it is installed, once it has made the same as the library.
    """
    pure = PermutationMacs(secrets)
    if _kernel is None:
        return pure
    kernel, (first, last) = _kernel.macs, _halves(secrets)

    def quick(digest: bytes) -> bytes:  # no partial: its repr would show the secrets
        macs: bytes = kernel(first, last, digest)
        return macs

    sample = bytes(range(2 * _BLOCK))
    assert quick(sample) == pure(sample), "the compiled kernel is wrong: install without it"
    return quick
