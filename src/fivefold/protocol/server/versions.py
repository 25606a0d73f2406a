"""Versions: state, what the last operation answered, and the ring of recent calls (PROTOCOL §2, §6)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Final

import msgspec

from fivefold.errors import PeerViolation
from fivefold.protocol.limits import RING_ANSWER_BYTES_MAX, RING_ENTRIES, RING_RECENT
from fivefold.protocol.operations import DIGEST_BYTES, FORGOTTEN, ClientId, digest, remembered
from fivefold.protocol.records import Recorded, Ring, Version
from fivefold.protocol.times import TIME_BYTES, Time, is_time, pack_time, unpack_time

KEY_BYTES: Final = 32
"""A ring key is a client's id and a call's: nobody can use or cancel another client's call."""

CLIENT_BYTES: Final = 16
RING_NAME_BYTES: Final = 32
EMPTY_RING: Final = Ring(b"", b"", b"")

_TIME_END: Final = KEY_BYTES + TIME_BYTES
_STRIDE: Final = _TIME_END + 2
_OBJECT_BYTES: Final = 1024
"""What a version takes beside its state and answers: itself, its timestamp, its recent calls, a share of a ring."""

_RECENT_BYTES: Final = RING_RECENT * _STRIDE

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(tuple[int, Time, bytes, tuple[Recorded, ...], Ring, bytes, bytes, Time])
_digested = msgspec.msgpack.Encoder()
_kept = msgspec.msgpack.Decoder(tuple[int, Time, bytes, tuple[Recorded, ...], bytes, bytes, bytes, Time])
_kept_ring = msgspec.msgpack.Decoder(tuple[bytes, bytes])


def initial_version(state: bytes) -> Version:
    """The version ⟨0, 0⟩ of an object nobody has written."""
    return Version(0, 0, state, (), EMPTY_RING, b"", b"", 0)


def encode_version(version: Version) -> bytes:
    """Canonical bytes: what object syncs compare."""
    return _encode_with(version, version.ring)


def _encode_with(version: Version, ring: Ring | bytes) -> bytes:
    return _encoder.encode(
        (
            version.number,
            pack_time(version.horizon),
            version.state,
            version.outcomes,
            ring,
            version.recent,
            version.recent_answers,
            pack_time(version.orphaned),
        )
    )


def decode_version(data: bytes) -> Version:
    """The version that ``data`` stands for.

    Raises:
        PeerViolation: not canonical bytes of a version.
    """
    try:
        number, horizon, state, outcomes, ring, recent, answers, orphaned = _decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise PeerViolation("version-malformed", str(error)) from None
    if not (is_time(horizon) and is_time(orphaned)):
        raise PeerViolation("version-malformed")
    times = unpack_time(horizon), unpack_time(orphaned)
    version = Version(number, times[0], state, outcomes, ring, recent, answers, times[1])
    if encode_version(version) != data:
        raise PeerViolation("version-not-canonical")
    return version


def version_digest(version: Version) -> bytes:
    """What servers tell clients of a version, so that a method that is not deterministic shows (PROTOCOL §6)."""
    content = _digested.encode((version.number, version.state, version.outcomes))
    return blake2b(content, digest_size=DIGEST_BYTES).digest()


def joint_digest(versions: Sequence[Version]) -> bytes:
    """One digest for the versions of all objects of an operation."""
    if len(versions) == 1:
        return version_digest(versions[0])
    return digest(b"".join([version_digest(version) for version in versions]))


def size_of(version: Version) -> int:
    """About how many bytes of memory a version takes; its ring is shared by others."""
    size = _OBJECT_BYTES + len(version.state) + len(version.recent_answers)
    for outcome in version.outcomes:
        size += len(outcome.answer)
    return size


# --- what a store keeps ---------------------------------------------------------------------------------------------


def kept_version(version: Version) -> bytes:
    """What a store keeps of a version: all but its ring, which it has once for all versions that share it."""
    return _encode_with(version, version.ring.name)


def kept_ring(ring: Ring) -> bytes:
    """What a store keeps under a ring's name."""
    return _encoder.encode((ring.entries, ring.answers))


def rows_of(versions: Mapping[bytes, Version]) -> tuple[tuple[bytes, bytes], ...]:
    """What a store keeps of these versions, by timestamp, and of their rings, by name."""
    rings = {version.ring.name: version.ring for version in versions.values() if version.ring.name}
    rows = [(name, kept_ring(ring)) for name, ring in rings.items()]
    return tuple(rows + [(timestamp, kept_version(version)) for timestamp, version in versions.items()])


def read_rows(rows: Iterable[tuple[bytes, bytes]]) -> dict[bytes, Version]:
    """The versions, by timestamp, that this server has kept as ``rows``, in their order.

    One whose ring is missing is left out, like one whose own row is: what this server does not hold it asks others for.
    """
    rings, versions, kept = {EMPTY_RING.name: EMPTY_RING}, {}, []
    for key, data in rows:
        if len(key) == RING_NAME_BYTES:
            rings[key] = Ring(key, *_kept_ring.decode(data))
        else:
            kept.append((key, _kept.decode(data)))
    for timestamp, (number, horizon, state, outcomes, name, recent, answers, orphaned) in kept:
        if name in rings:
            times = unpack_time(horizon), unpack_time(orphaned)
            versions[timestamp] = Version(number, times[0], state, outcomes, rings[name], recent, answers, times[1])
    return versions


def kept_outcomes(data: bytes) -> tuple[Recorded, ...]:
    """What the operation answered whose version a store keeps as ``data``."""
    return _kept.decode(data)[3]


# --- the ring of recent calls (exactly once, PROTOCOL §6) ----------------------------------------------------------


def ring_key(client: ClientId, call_id: bytes) -> bytes:
    """Where a client's call is kept in rings."""
    return client + call_id


def find_answer(version: Version, key: bytes) -> bytes | None:
    """What the call with this key answered, if the version remembers it; None if it does not.

    The answer starts with DIGEST if it was too long to be remembered.
    """
    for outcome in version.outcomes:
        if outcome.key == key:
            return outcome.answer
    found = _entry_of(version, key)
    return None if found is None else found[1]


def recorded_by(version: Version, key: bytes, time: int) -> bytes | None:
    """What the ring has for the call with this key, if it was recorded at that logical time or before."""
    found = _entry_of(version, key)
    return None if found is None or found[0] > time else found[1]


def _entry_of(version: Version, key: bytes) -> tuple[int, bytes] | None:
    """When a call was recorded, and what the ring has of its answer."""
    for entries, answers in ((version.ring.entries, version.ring.answers), (version.recent, version.recent_answers)):
        at = _find(entries, key)
        if at >= 0:
            start = _answers_size(entries, 0, at)
            return _time(entries, at), answers[start : start + _length(entries, at)]
    return None


def recall(version: Version, key: bytes, since: int) -> bytes | None:
    """What a version remembers of a call: its answer, FORGOTTEN, or None: certainly not applied up to here.

    ``since`` is that of the call.
    """
    call_id = key[CLIENT_BYTES:]
    # What is said below, too, for what is nearly always the case. Python looks backwards in less than half the time.
    if version.horizon <= since and version.recent.rfind(call_id) < 0 and version.ring.entries.rfind(call_id) < 0:
        return None
    answer = find_answer(version, key)
    return FORGOTTEN if answer is None and not can_tell(version, key, since) else answer


def append_outcomes(version: Version, time: int, state: bytes, outcomes: tuple[Recorded, ...]) -> Version:
    """The next version: ``state``, with ``outcomes`` (at least one) remembered as of logical ``time``.

    Each RING_RECENT calls a new ring is made of them and those before.
    """
    recent, answers = version.recent, version.recent_answers
    stamp = time.to_bytes(TIME_BYTES, "big")
    for outcome in outcomes:
        answer = outcome.answer if len(outcome.answer) <= RING_ANSWER_BYTES_MAX else remembered(outcome.answer)
        recent += outcome.key + stamp + len(answer).to_bytes(2, "big")
        answers += answer
    number = version.number + len(outcomes)
    if len(recent) < _RECENT_BYTES:
        ring = version.ring
        return Version(number, version.horizon, state, outcomes, ring, recent, answers, version.orphaned)
    recent, answers = version.ring.entries + recent, version.ring.answers + answers
    superseded, orphans = _leaving(recent)
    horizon = max([version.horizon, *[_time(recent, at) for at in superseded + orphans]])
    orphaned = max([version.orphaned, *[_time(recent, at) for at in orphans]])
    ring = _ring_without(sorted(superseded + orphans), recent, answers)
    return Version(number, horizon, state, outcomes, ring, b"", b"", orphaned)


def can_tell(version: Version, key: bytes, since: int) -> bool:
    """Whether a call with this key that was recorded after logical time ``since`` would still be remembered.

    It would if nothing that new has been forgotten. A client's calls are forgotten oldest first: so it would, too, if
    an older one of the client's is in the ring, or if none is and nobody's last one that is as new has been forgotten.
    """
    if version.horizon <= since:
        return True
    at = _find(version.ring.entries, key[:CLIENT_BYTES])
    return (version.orphaned if at < 0 else _time(version.ring.entries, at)) <= since


def _find(entries: bytes, start_of_key: bytes) -> int:
    """Where the first entry begins whose key starts so; -1 if there is none."""
    at = entries.find(start_of_key)
    while at > 0 and at % _STRIDE:  # bytes that look like it: a client that chooses ids and times must not deceive us
        at = entries.find(start_of_key, at + 1)
    return at


def _leaving(entries: bytes) -> tuple[list[int], list[int]]:
    """Which entries are to be forgotten, and where they begin: superseded ones, and some clients' last ones.

    A client's newest operation counts as one towards RING_ENTRIES, however many calls it carries; each older call
    counts as one. Those older ones leave first, and each time of the clients that have most of them, oldest first: one
    client's batches drive out its own calls, not another's. Only where there are more clients than RING_ENTRIES do
    newest operations leave, the oldest first. (Counting every call as one let four batches of 16 make a fifth client's
    call forgotten.)
    """
    newest: dict[bytes, bytes] = {}
    older: dict[bytes, list[int]] = {}
    last: dict[bytes, list[int]] = {}
    for at in range(0, len(entries), _STRIDE):
        client = entries[at : at + CLIENT_BYTES]
        if client not in newest:
            newest[client], older[client], last[client] = _newest(entries, client), [], []
        is_older = entries[at + KEY_BYTES : at + _TIME_END] < newest[client]
        (older if is_older else last)[client].append(at)
    surplus = len(newest) + sum(map(len, older.values())) - RING_ENTRIES
    superseded: list[int] = []
    while surplus > 0 and (most := max(map(len, older.values()))):
        for calls in [calls for calls in older.values() if len(calls) == most][:surplus]:
            superseded.append(calls.pop(0))
            surplus -= 1
    orphans: list[int] = []
    for calls in sorted(last.values())[: max(surplus, 0)]:
        orphans += calls
    return superseded, orphans


def _newest(entries: bytes, client: bytes) -> bytes:
    """The logical time of the client's last entry; it has one."""
    at = entries.rfind(client)
    while at % _STRIDE:
        at = entries.rfind(client, 0, at + CLIENT_BYTES - 1)
    return entries[at + KEY_BYTES : at + _TIME_END]


def _ring_without(leaving: list[int], entries: bytes, answers: bytes) -> Ring:
    """The ring of these calls in order, without the ones that begin at ``leaving``."""
    kept, kept_answers, start, answers_start = b"", b"", 0, 0
    for at in leaving:
        if start < at:
            end = answers_start + _answers_size(entries, start, at)
            kept += entries[start:at]
            kept_answers += answers[answers_start:end]
            answers_start = end
        start = at + _STRIDE
        answers_start += _length(entries, at)
    kept, kept_answers = kept + entries[start:], kept_answers + answers[answers_start:]
    return Ring(digest(_encoder.encode((kept, kept_answers))), kept, kept_answers)


def _time(entries: bytes, at: int) -> int:
    return int.from_bytes(entries[at + KEY_BYTES : at + _TIME_END], "big")


def _length(entries: bytes, at: int) -> int:
    return int.from_bytes(entries[at + _TIME_END : at + _STRIDE], "big")


def _answers_size(entries: bytes, start: int, end: int) -> int:
    """How many bytes the answers of the entries from ``start`` to ``end`` take."""
    return sum([_length(entries, before) for before in range(start, end, _STRIDE)])
