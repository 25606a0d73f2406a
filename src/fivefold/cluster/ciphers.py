"""What authenticators are made with; handed to the protocol, which imports no cryptography itself."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.algorithms import AES


class DaviesMeyer:
    """AES-256_key(block) XOR block for each of some blocks of 16 bytes (FIPS 197; see protocol/authenticators.py).

    One cipher whose key is replaced before each use: making a new one for each key takes the library a microsecond of
    looking at types, as much as the key schedule.
    """

    __slots__ = ("_algorithm", "_cipher")

    def __init__(self) -> None:
        """Ready for any key."""
        self._algorithm = AES(bytes(32))
        self._cipher = Cipher(self._algorithm, modes.ECB())  # noqa: S305 - no mode of operation: see authenticators.py

    def __call__(self, key: bytes, blocks: bytes) -> bytes:
        """The blocks compressed under a key of 32 bytes."""
        assert len(key) == 32
        self._algorithm.key = key
        encrypted = self._cipher.encryptor().update(blocks)
        return (int.from_bytes(encrypted, "little") ^ int.from_bytes(blocks, "little")).to_bytes(len(blocks), "little")


def _fastest() -> Callable[[bytes, bytes], bytes]:
    """The compiled kernel if it is there and right, otherwise the library's cipher."""
    pure = DaviesMeyer()
    try:
        kernel = importlib.import_module("fivefold.cluster._kernel")
    except ImportError:
        return pure
    key, blocks = bytes(range(32)), bytes(range(256))
    assert kernel.compress(key, blocks) == pure(key, blocks), "the compiled kernel is wrong: install without it"
    return kernel.compress  # type: ignore[no-any-return]


compress: Final = _fastest()
"""AES-256_key(block) XOR block, block by block: what the protocol's AuthenticatorKeys take."""
