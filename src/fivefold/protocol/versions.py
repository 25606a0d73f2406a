"""Versions: state, what the last operation answered, and the ring of recent operations (PROTOCOL §2, §6)."""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

import msgspec

from fivefold.errors import PeerViolation
from fivefold.protocol.limits import RING_ANSWER_BYTES_MAX, RING_ENTRIES
from fivefold.protocol.operations import DIGEST, ClientId, digest
from fivefold.protocol.records import Outcome, Version

KEY_BYTES: Final = 16
"""A ring key binds a call's id to its client: nobody can use or cancel another client's id."""

_HEAD_BYTES: Final = KEY_BYTES + 8 + 2

EMPTY_RING: Final = b""


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Version)
_digested = msgspec.msgpack.Encoder()


def initial_version(state: bytes) -> Version:
    """The version ⟨0, 0⟩ of an object nobody has written."""
    return Version(0, 0, state, (), EMPTY_RING)


def encode_version(version: Version) -> bytes:
    """Canonical bytes: what stores keep and object syncs compare."""
    return _encoder.encode(version)


def decode_version(data: bytes) -> Version:
    """The version that ``data`` stands for.

    Raises:
        PeerViolation: not canonical bytes of a version.
    """
    try:
        version = _decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise PeerViolation("version-malformed", str(error)) from None
    if _encoder.encode(version) != data:
        raise PeerViolation("version-not-canonical")
    return version


def trusted_version(data: bytes) -> Version:
    """The version that ``data`` stands for: bytes that this server has encoded or checked itself."""
    return _decoder.decode(data)


def version_digest(version: Version) -> bytes:
    """What servers tell clients of a version, so that a method that is not deterministic shows (PROTOCOL §6)."""
    return digest(_digested.encode((version.number, version.state, version.outcomes)))


def ring_key(client: ClientId, call_id: bytes) -> bytes:
    """Where a client's call is kept in rings."""
    return blake2b(client + call_id, digest_size=KEY_BYTES).digest()


def find_answer(version: Version, key: bytes) -> bytes | None:
    """What the call with this key answered, if it is in the version's ring; None if it is not.

    The answer starts with DIGEST if it was too long to be remembered.
    """
    if version.ring.find(key) < 0:
        return None
    for outcome in version.outcomes:
        if outcome.key == key:
            return outcome.answer
    return next((answer for found, answer in ring_entries(version.ring) if found == key), None)


def ring_entries(ring: bytes) -> list[tuple[bytes, bytes]]:
    """The ring's keys and answers, oldest first."""
    entries = []
    offset = 0
    while offset < len(ring):
        end = _entry_end(ring, offset)
        entries.append((ring[offset : offset + KEY_BYTES], ring[offset + _HEAD_BYTES : end]))
        offset = end
    return entries


def _entry_end(ring: bytes, offset: int) -> int:
    start = offset + _HEAD_BYTES
    return start + int.from_bytes(ring[start - 2 : start], "big")


def append_outcomes(version: Version, time: int, state: bytes, outcomes: tuple[Outcome, ...]) -> Version:
    """The next version: ``state``, with ``outcomes`` (at least one) recorded in its ring at logical ``time``."""
    number = version.number + len(outcomes)
    surplus = min(version.number, RING_ENTRIES) + len(outcomes) - RING_ENTRIES
    ring = version.ring
    for outcome in outcomes:
        ring += _ring_entry(time, outcome)
    horizon, offset = version.horizon, 0
    for _ in range(surplus):
        horizon = int.from_bytes(ring[offset + KEY_BYTES : offset + KEY_BYTES + 8], "big")
        offset = _entry_end(ring, offset)
    return Version(number, horizon, state, outcomes, ring[offset:])


def _ring_entry(time: int, outcome: Outcome) -> bytes:
    answer = outcome.answer
    if len(answer) > RING_ANSWER_BYTES_MAX:
        answer = DIGEST + digest(answer)
    return b"".join((outcome.key, time.to_bytes(8, "big"), len(answer).to_bytes(2, "big"), answer))


def can_tell(version: Version, since: int) -> bool:
    """Whether the ring still covers everything recorded after logical time ``since``."""
    return version.horizon <= since
