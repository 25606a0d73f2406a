"""What authenticators are made with: the library's AES, and the compiled kernel beside it."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB
from hypothesis import given
from hypothesis import strategies as st

from fivefold.cluster import ciphers
from fivefold.cluster.ciphers import PermutationMacs, macs_under
from fivefold.protocol.compiled import is_compiled


def permute(block: bytes) -> bytes:
    return Cipher(AES(bytes(16)), ECB()).encryptor().update(block)


def add(*blocks: bytes) -> bytes:
    return bytes(a ^ b ^ c for a, b, c in zip(*blocks, *[bytes(16)] * (3 - len(blocks)), strict=True))


def mac(secret: bytes, digest: bytes) -> bytes:
    """As the mode's authors write it, block by block (Mouha et al., SAC 2014)."""
    first, last = secret[:16], secret[16:]
    return add(permute(add(permute(add(digest[:16], first)), digest[16:], last)), last)


def test_the_permutation_is_the_standards_cipher() -> None:
    """AES-128 of zeros under a key of zeros (NIST's AESAVS, and SP 800-38D's test case 2), and once more."""
    assert permute(bytes(16)).hex() == "66e94bd4ef8a2c3b884cfa59ca342b2e"
    twice = "f795bd4a52e29ed713d313fa20e98dbc"
    assert PermutationMacs([bytes(32)])(bytes(32)).hex() == twice
    assert macs_under([bytes(32)])(bytes(32)).hex() == twice


@given(st.binary(min_size=32, max_size=32), st.lists(st.binary(min_size=32, max_size=32), max_size=52))
def test_each_secret_makes_its_own_mac(digest: bytes, secrets: list[bytes]) -> None:
    """Compiled or not, the MACs are the same: servers of both kinds understand each other."""
    expected = b"".join(mac(secret, digest) for secret in secrets)
    assert PermutationMacs(secrets)(digest) == expected
    assert macs_under(secrets)(digest) == expected


def test_one_digest_leaves_nothing_behind_for_the_next() -> None:
    """The cipher is made once and used for all digests."""
    make = PermutationMacs([bytes(range(32))])
    first = make(bytes(32))
    assert make(bytes(31) + b"\1") != first
    assert make(bytes(32)) == first


@pytest.mark.parametrize("size", [31, 33])
def test_secrets_and_digests_have_32_bytes(size: int) -> None:
    """A short one would silently shift the blocks of the others."""
    with pytest.raises(AssertionError):
        macs_under([bytes(32), bytes(size)])
    with pytest.raises((AssertionError, ValueError)):
        macs_under([bytes(32)])(bytes(size))


def test_secrets_do_not_show() -> None:
    """Not in what a debugger or a log says of it."""
    secret = b"abcdefghijklmnopqrstuvwxyz012345"
    for make in (PermutationMacs([secret]), macs_under([secret])):
        assert "abc" not in repr(make)


@pytest.mark.skipif(not is_compiled(), reason="the installed protocol is pure")
def test_a_compiled_installation_uses_its_kernel() -> None:
    """Where the processor has AES instructions."""
    pytest.importorskip("fivefold.cluster._kernel", exc_type=ImportError)
    assert not isinstance(ciphers.macs_under([]), PermutationMacs)
