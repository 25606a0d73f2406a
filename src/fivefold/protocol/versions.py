"""Versions: state, what the last operation answered, and the ring of recent operations (PROTOCOL §2, §6)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from fivefold.errors import PeerViolation
from fivefold.protocol.limits import RING_ANSWER_BYTES_MAX, RING_ENTRIES
from fivefold.protocol.operations import DIGEST, FORGOTTEN, ClientId, digest
from fivefold.protocol.records import Outcome, Version

KEY_BYTES: Final = 32
"""A ring key is a client's id and a call's: nobody can use or cancel another client's call."""

CLIENT_BYTES: Final = 16
_TIME_END: Final = KEY_BYTES + 8
_STRIDE: Final = _TIME_END + 2
_RING_BYTES_MAX: Final = RING_ENTRIES * _STRIDE


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Version)
_digested = msgspec.msgpack.Encoder()


def initial_version(state: bytes) -> Version:
    """The version ⟨0, 0⟩ of an object nobody has written."""
    return Version(0, 0, state, (), b"", b"", 0)


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


def joint_digest(versions: Sequence[Version]) -> bytes:
    """One digest for the versions of all objects of an operation."""
    if len(versions) == 1:
        return version_digest(versions[0])
    return digest(b"".join([version_digest(version) for version in versions]))


# --- the ring of recent calls (exactly once, PROTOCOL §6) ----------------------------------------------------------


def ring_key(client: ClientId, call_id: bytes) -> bytes:
    """Where a client's call is kept in rings."""
    return client + call_id


def find_answer(version: Version, key: bytes) -> bytes | None:
    """What the call with this key answered, if it is in the version's ring; None if it is not.

    The answer starts with DIGEST if it was too long to be remembered.
    """
    at = _find(version.ring, key)
    if at < 0:
        return None
    for outcome in version.outcomes:
        if outcome.key == key:
            return outcome.answer
    start = _answers_end(version.ring, at)
    return version.answers[start : start + _length(version.ring, at)]


def recall(version: Version, key: bytes, since: int) -> bytes | None:
    """What a version's ring says of a call: its answer, FORGOTTEN, or None: certainly not applied up to here.

    ``since`` is that of the call.
    """
    if version.horizon <= since and key[CLIENT_BYTES:] not in version.ring:
        return None  # what is said below, too, for what is nearly always the case
    answer = find_answer(version, key)
    return FORGOTTEN if answer is None and not can_tell(version, key, since) else answer


def ring_entries(version: Version) -> list[tuple[bytes, int, bytes]]:
    """The ring's keys, logical times and answers, oldest first."""
    ring, entries, start = version.ring, [], 0
    for at in range(0, len(ring), _STRIDE):
        end = start + _length(ring, at)
        entries.append((ring[at : at + KEY_BYTES], _time(ring, at), version.answers[start:end]))
        start = end
    return entries


def append_outcomes(version: Version, time: int, state: bytes, outcomes: tuple[Outcome, ...]) -> Version:
    """The next version: ``state``, with ``outcomes`` (at least one) recorded in its ring at logical ``time``.

    Of more than RING_ENTRIES the oldest leaves that is not its client's newest operation, so that others cannot make a
    client's last call forgotten; if there is none, the oldest of all.
    """
    ring, answers, horizon, orphaned = version.ring, version.answers, version.horizon, version.orphaned
    stamp = time.to_bytes(8, "big")
    for outcome in outcomes:
        answer = outcome.answer
        if len(answer) > RING_ANSWER_BYTES_MAX:
            answer = DIGEST + digest(answer)
        ring += outcome.key + stamp + len(answer).to_bytes(2, "big")
        answers += answer
    while len(ring) > _RING_BYTES_MAX:
        at = _superseded(ring)
        if at < 0:
            at = 0
            orphaned = max(orphaned, _time(ring, at))
        horizon = max(horizon, _time(ring, at))
        start = _answers_end(ring, at) if at else 0
        answers = answers[:start] + answers[start + _length(ring, at) :]
        ring = ring[:at] + ring[at + _STRIDE :]
    return Version(version.number + len(outcomes), horizon, state, outcomes, ring, answers, orphaned)


def can_tell(version: Version, key: bytes, since: int) -> bool:
    """Whether a call with this key that was recorded after logical time ``since`` would still be in the ring.

    It would if nothing that new has left the ring. A client's calls leave it oldest first: so it would, too, if the
    client has an older one in there, or if it has none and nobody's last one that is as new has left.
    """
    if version.horizon <= since:
        return True
    at = _find(version.ring, key[:CLIENT_BYTES])
    return (version.orphaned if at < 0 else _time(version.ring, at)) <= since


def _find(ring: bytes, start_of_key: bytes) -> int:
    """Where the first entry begins whose key starts so; -1 if there is none."""
    at = ring.find(start_of_key)
    while at > 0 and at % _STRIDE:  # bytes that look like it: whoever chooses ids and times must not deceive us
        at = ring.find(start_of_key, at + 1)
    return at


def _superseded(ring: bytes) -> int:
    """Where the oldest entry begins whose client has one of a later operation; -1 if there is none."""
    for at in range(0, len(ring), _STRIDE):
        client = ring[at : at + CLIENT_BYTES]
        last = ring.rfind(client)
        while last % _STRIDE:
            last = ring.rfind(client, 0, last + CLIENT_BYTES - 1)
        if ring[last + KEY_BYTES : last + _TIME_END] > ring[at + KEY_BYTES : at + _TIME_END]:
            return at
    return -1


def _time(ring: bytes, at: int) -> int:
    return int.from_bytes(ring[at + KEY_BYTES : at + _TIME_END], "big")


def _length(ring: bytes, at: int) -> int:
    return int.from_bytes(ring[at + _TIME_END : at + _STRIDE], "big")


def _answers_end(ring: bytes, at: int) -> int:
    """How many bytes the answers of the entries before take."""
    return sum([_length(ring, before) for before in range(0, at, _STRIDE)])
