"""What authenticators are made with: the library's cipher, and the compiled kernel beside it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fivefold.cluster import ciphers
from fivefold.cluster.ciphers import DaviesMeyer
from fivefold.protocol.compiled import is_compiled

KEY = bytes(range(32))


def test_the_cipher_is_that_of_the_standard() -> None:
    """FIPS 197, appendix C.3: AES-256 of 00112233…; the block is added to it."""
    block = bytes.fromhex("00112233445566778899aabbccddeeff")
    cipher = bytes.fromhex("8ea2b7ca516745bfeafc49904b496089")
    expected = bytes(a ^ b for a, b in zip(block, cipher, strict=True))
    assert DaviesMeyer()(KEY, block) == expected
    assert ciphers.compress(KEY, block) == expected


def test_each_key_is_a_key_of_its_own() -> None:
    """What was compressed under one key before changes nothing."""
    pure = DaviesMeyer()
    first = pure(KEY, bytes(32))
    assert pure(bytes(32), bytes(32)) != first
    assert pure(KEY, bytes(32)) == first


@given(st.binary(min_size=32, max_size=32), st.lists(st.binary(min_size=16, max_size=16), max_size=52))
def test_the_fastest_compresses_as_the_library_does(key: bytes, blocks: list[bytes]) -> None:
    """Compiled or not, the MACs are the same: servers of both kinds understand each other."""
    data = b"".join(blocks)
    assert ciphers.compress(key, data) == DaviesMeyer()(key, data)


@pytest.mark.parametrize(("key", "blocks"), [(bytes(31), bytes(16)), (bytes(33), bytes(16))])
def test_keys_have_32_bytes(key: bytes, blocks: bytes) -> None:
    """Another cipher, AES-128 say, is never meant."""
    with pytest.raises((AssertionError, ValueError)):
        ciphers.compress(key, blocks)


@pytest.mark.skipif(not is_compiled(), reason="the installed protocol is pure")
def test_a_compiled_installation_uses_its_kernel() -> None:
    """Where the processor has AES instructions."""
    pytest.importorskip("fivefold.cluster._kernel", exc_type=ImportError)
    assert not isinstance(ciphers.compress, DaviesMeyer)
