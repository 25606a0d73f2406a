"""The MAC that authenticators are made of, against the standard's own test vectors."""

from __future__ import annotations

from hashlib import blake2s

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fivefold.cluster.macs import macs_under


def sequence(length: int, seed: int) -> bytes:
    """RFC 7693, Appendix E: the deterministic bytes of its self-test."""
    a, b, made = 0xDEAD4BAD * seed & 0xFFFFFFFF, 1, bytearray()
    for _ in range(length):
        a, b = b, (a + b) & 0xFFFFFFFF
        made.append(b >> 24)
    return bytes(made)


def test_the_library_passes_the_standards_self_test() -> None:
    """RFC 7693, Appendix E: the hash of 48 hashes, keyed and unkeyed, of all its sizes."""
    grand = blake2s(digest_size=32)
    for size in (16, 20, 28, 32):
        for length in (0, 3, 64, 65, 255, 1024):
            data = sequence(length, length)
            grand.update(blake2s(data, digest_size=size).digest())
            grand.update(blake2s(data, digest_size=size, key=sequence(size, size)).digest())
    assert grand.hexdigest() == "6a411f08ce25adcdfb02aba641451cec53c598b24f4fc787fbdc88797f4c1dfe"


def test_the_library_passes_the_reference_vectors_for_keys() -> None:
    """The first keyed vector of the authors' known-answer file (blake2s, key 00 01 … 1f, no input)."""
    made = blake2s(key=bytes(range(32))).hexdigest()
    assert made == "48a8997da407876b3d79c0d92325ad3b89cbb754d86ab71aee047ad345fd2c49"


def test_a_mac_of_ours_stays_what_it_is() -> None:
    """Servers of two versions understand each other: the MAC of one digest under one secret, written down."""
    assert macs_under([bytes(range(32))])(bytes(32)).hex() == "fb41a9b75f056d3a0daac0c9d6397e83"


@given(st.binary(min_size=32, max_size=32), st.lists(st.binary(min_size=32, max_size=32), max_size=52))
def test_each_secret_makes_its_own_mac(digest: bytes, secrets: list[bytes]) -> None:
    """The kept states give what hashing anew gives, in the order of the secrets."""
    expected = b"".join(blake2s(digest, key=secret, digest_size=16).digest() for secret in secrets)
    assert macs_under(secrets)(digest) == expected


def test_one_digest_leaves_nothing_behind_for_the_next() -> None:
    """The keyed states are made once and used for all digests."""
    make = macs_under([bytes(range(32))])
    first = make(bytes(32))
    assert make(bytes(31) + b"\1") != first
    assert make(bytes(32)) == first


@pytest.mark.parametrize("size", [31, 33])
def test_secrets_and_digests_have_32_bytes(size: int) -> None:
    """A digest of another size would be another message; a shorter secret would be a weaker one."""
    with pytest.raises(AssertionError):
        macs_under([bytes(32), bytes(size)])
    with pytest.raises(AssertionError):
        macs_under([bytes(32)])(bytes(size))


def test_secrets_do_not_show() -> None:
    """Not in what a debugger or a log says of it."""
    assert "abc" not in repr(macs_under([b"abcdefghijklmnopqrstuvwxyz012345"]))
