"""The block cipher that authenticators are made with; handed to the protocol, which imports no cryptography itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.algorithms import AES

_EACH_BLOCK: Final = modes.ECB()  # noqa: S305 - a block cipher as such: what is built from it is in authenticators.py


def aes_256(key: bytes) -> Callable[[bytes], bytes]:
    """AES-256 under a key of 32 bytes (FIPS 197): encrypts blocks of 16 bytes, each by itself."""
    return Cipher(AES(key), _EACH_BLOCK).encryptor().update
