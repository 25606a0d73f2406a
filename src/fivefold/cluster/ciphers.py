"""The block cipher that authenticators are made with; handed to the protocol, which imports no cryptography itself."""

from __future__ import annotations

from collections.abc import Callable

from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.algorithms import AES


class Aes256:
    """AES-256 as such (FIPS 197): blocks of 16 bytes, each encrypted by itself.

    One cipher whose key is replaced before each use: making a new one for each key takes the library 1.2 µs of looking
    at types, as much as the encryption.
    """

    __slots__ = ("_algorithm", "_cipher")

    def __init__(self) -> None:
        """Ready for any key."""
        self._algorithm = AES(bytes(32))
        self._cipher = Cipher(self._algorithm, modes.ECB())  # noqa: S305 - no mode of operation: see authenticators.py

    def __call__(self, key: bytes) -> Callable[[bytes], bytes]:
        """The function that encrypts whole blocks under a key of 32 bytes."""
        assert len(key) == 32
        self._algorithm.key = key
        return self._cipher.encryptor().update
