"""Logical timestamps, replica histories and object history sets (Q/U §3.2, PROTOCOL §2).

A logical timestamp is kept as 97 bytes whose order as bytes is the order of the paper's tuple, so that comparing,
hashing and sending one costs what bytes cost. A replica history travels as its canonical bytes and is decoded only
where somebody has to look inside.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from functools import lru_cache
from hashlib import blake2b
from typing import Final

import msgspec

from fivefold.errors import PeerViolation
from fivefold.protocol.limits import (
    HISTORY_BYTES_MAX,
    OPERATION_OBJECTS_MAX,
    REPAIR_OBJECTS_MAX,
)
from fivefold.protocol.operations import DIGEST_BYTES, ClientId, ObjectId, digest
from fivefold.protocol.records import (
    BARRIER_AT,
    CLIENT_AT,
    INITIAL_HISTORY,
    OPERATION_AT,
    TIMESTAMP_BYTES,
    Candidate,
    Entry,
    LogicalTimestamp,
    ObjectHistories,
    Part,
    ReplicaHistory,
)
from fivefold.protocol.times import TIME_BYTES

# --- logical timestamps ---------------------------------------------------------------------------------------

INITIAL_TIMESTAMP: Final = LogicalTimestamp(bytes(TIMESTAMP_BYTES))
"""(0, false, empty, empty, empty)."""


def make_timestamp(
    time: int, *, is_barrier: bool, client: ClientId, operation_digest: bytes, history_set_digest: bytes
) -> LogicalTimestamp:
    """Pack the five parts; ``time`` has TIME_BYTES."""
    return LogicalTimestamp(
        time.to_bytes(TIME_BYTES, "big")
        + (b"\x01" if is_barrier else b"\x00")
        + client
        + operation_digest
        + history_set_digest
    )


def time_of(timestamp: LogicalTimestamp) -> int:
    """The time field."""
    return int.from_bytes(timestamp[:TIME_BYTES], "big")


def at_start_of(time: int) -> LogicalTimestamp:
    """The least timestamp of a time."""
    return LogicalTimestamp(time.to_bytes(TIME_BYTES, "big") + bytes(TIMESTAMP_BYTES - TIME_BYTES))


def is_barrier(timestamp: LogicalTimestamp) -> bool:
    """Whether the timestamp names a barrier, which has no version."""
    return timestamp[BARRIER_AT] == 1


def client_of(timestamp: LogicalTimestamp) -> ClientId:
    """Whose request made the candidate."""
    return ClientId(timestamp[CLIENT_AT:OPERATION_AT])


def short(timestamp: LogicalTimestamp) -> str:
    """``7b`` for a barrier of time 7, ``6`` for a version of time 6: the paper's way of writing."""
    return f"{time_of(timestamp)}{'b' if is_barrier(timestamp) else ''}"


# --- replica histories ----------------------------------------------------------------------------------------


@lru_cache(maxsize=4096)
def initial_entry(object_id: ObjectId) -> Entry:
    """⟨0, 0⟩, which every history starts with."""
    return Entry(Candidate(INITIAL_TIMESTAMP, (Part(object_id, INITIAL_TIMESTAMP, None),)), False)


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(ReplicaHistory)


MEMO_BYTES_MAX: Final = 32 * 1024
"""Histories longer than this are decoded anew every time: liars must not fill the memo with huge ones."""
MEMO_TOTAL_BYTES_MAX: Final = 8 * 1024 * 1024
"""The memo is emptied beyond this: under contention histories grow, and most of them are met many times."""
MEMO_ENTRIES_MAX: Final = 4096


class _Read:
    """One history that was decoded before, and its digest once somebody has asked for it."""

    __slots__ = ("digest", "history")

    def __init__(self, history: ReplicaHistory) -> None:
        self.history = history
        self.digest: bytes | None = None


class _Memo:
    """Histories read lately: a cache of two pure functions, so what it holds changes nothing."""

    __slots__ = ("read", "size")

    def __init__(self) -> None:
        self.read: dict[tuple[ObjectId, bytes], _Read] = {}
        self.size = 0

    def add(self, object_id: ObjectId, data: bytes, history: ReplicaHistory) -> None:
        """Remember a history that honest servers may have written."""
        if len(data) <= MEMO_BYTES_MAX:
            if len(self.read) >= MEMO_ENTRIES_MAX or self.size > MEMO_TOTAL_BYTES_MAX:
                self.read.clear()
                self.size = 0
            self.size += len(data)
            self.read[(object_id, data)] = _Read(history)


_memo = _Memo()


encode_history: Final[Callable[[ReplicaHistory], bytes]] = _encoder.encode
"""Canonical bytes of a history that is not the initial one."""

encode_entry: Final[Callable[[Entry], bytes]] = _encoder.encode
"""An entry as it stands in the bytes of its history."""


def trusted_history(data: bytes) -> ReplicaHistory:
    """The history that ``data`` stands for: bytes that were encoded here, or decoded before."""
    return _decoder.decode(data)


def decode_history(object_id: ObjectId, data: bytes) -> ReplicaHistory:
    """The history that ``data`` stands for.

    Raises:
        PeerViolation: bytes that no honest server would have written.
    """
    read = _memo.read.get((object_id, data))
    if read is not None:
        return read.history
    history = read_history(object_id, data)
    _memo.add(object_id, data, history)
    return history


def remember_history(object_id: ObjectId, data: bytes, history: ReplicaHistory) -> None:
    """Have :func:`decode_history` know a history that was made here: clients are about to show it again."""
    if data != INITIAL_HISTORY:
        _memo.add(object_id, data, history)


def read_history(object_id: ObjectId, data: bytes) -> ReplicaHistory:
    """Like :func:`decode_history`, for histories that will hardly be met again: they are not remembered.

    Raises:
        PeerViolation: bytes that no honest server would have written.
    """
    if data == INITIAL_HISTORY:
        return (initial_entry(object_id),)
    if len(data) > HISTORY_BYTES_MAX:
        raise PeerViolation("history-too-large")
    try:
        history = _decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise PeerViolation("history-malformed", str(error)) from None
    if not history or _encoder.encode(history) != data:
        raise PeerViolation("history-not-canonical")
    previous: bytes = b""
    for entry in history:
        timestamp = _check_candidate(object_id, entry.candidate)
        if timestamp <= previous:
            raise PeerViolation("history-not-ordered")
        previous = timestamp
    return history


def _check_candidate(object_id: ObjectId, candidate: Candidate) -> LogicalTimestamp:
    timestamp, parts = candidate.timestamp, candidate.parts
    if len(timestamp) != TIMESTAMP_BYTES or timestamp[BARRIER_AT] > 1:
        raise PeerViolation("timestamp-malformed")
    if len(parts) != 1 or parts[0].object_id != object_id:
        names = candidate.objects
        objects_max = REPAIR_OBJECTS_MAX if timestamp[BARRIER_AT] else OPERATION_OBJECTS_MAX
        if object_id not in names or len(names) > objects_max or list(names) != sorted(set(names)):
            raise PeerViolation("candidate-objects")
    for part in parts:
        if not _is_below(part.conditioned_on, timestamp) or not (part.base is None or _is_below(part.base, timestamp)):
            raise PeerViolation("timestamp-malformed")
    return timestamp


def _is_below(version: LogicalTimestamp, timestamp: LogicalTimestamp) -> bool:
    """Whether a candidate of this timestamp may rest on the version: no barrier, and older, but for the initial one."""
    if len(version) != TIMESTAMP_BYTES or version[BARRIER_AT]:
        return False
    return version < timestamp or timestamp == INITIAL_TIMESTAMP


def history_digest(object_id: ObjectId, data: bytes) -> bytes:
    """What authenticators are over: the object's id and the history, so that neither can be swapped (§2)."""
    name = object_id.encode()
    return blake2b(len(name).to_bytes(2, "big") + name + data, digest_size=DIGEST_BYTES).digest()


def remembered_digest(object_id: ObjectId, data: bytes) -> bytes:
    """Like :func:`history_digest`, for histories that were read already, or may be."""
    read = _memo.read.get((object_id, data))
    if read is None:
        return history_digest(object_id, data)
    if read.digest is None:
        read.digest = history_digest(object_id, data)
    return read.digest


# --- floors ---------------------------------------------------------------------------------------------------

FLOOR_BYTES: Final = TIME_BYTES + 8
NO_FLOOR: Final = b"\xff" * FLOOR_BYTES
"""Of a history that is none: nothing reaches it."""


def floor_of(history: bytes) -> bytes:
    """How far a server has got that accepted this history: the time of its newest candidate, and which one it is.

    Kept apart from the object. A server that has lost an object must not take it up again below: it has promised to
    accept nothing older than its newest candidate, and others count the histories in which it has said so.
    """
    if history == INITIAL_HISTORY:
        return bytes(FLOOR_BYTES)
    try:
        timestamp = trusted_history(history)[-1].candidate.timestamp
    except (msgspec.MsgspecError, IndexError):
        return NO_FLOOR
    return timestamp[:TIME_BYTES] + digest(timestamp)[: FLOOR_BYTES - TIME_BYTES]


def reaches(timestamp: LogicalTimestamp, floor: bytes) -> bool:
    """Whether a candidate is the one of the floor, or certainly newer."""
    time, named = timestamp[:TIME_BYTES], digest(timestamp)[: FLOOR_BYTES - TIME_BYTES]
    return time > floor[:TIME_BYTES] or time + named == floor


# --- object history sets --------------------------------------------------------------------------------------


def without(histories: ObjectHistories, servers: Set[int]) -> ObjectHistories:
    """The set with some servers' histories treated as initial."""
    kept = [INITIAL_HISTORY if s in servers else histories.of(s) for s in range(len(histories.holders))]
    return make_histories(histories.object_id, kept)


def make_histories(object_id: ObjectId, histories: Sequence[bytes]) -> ObjectHistories:
    """The OHS in which server s has ``histories[s]``; distinct ones are numbered in the order of the servers."""
    index: dict[bytes, int] = {}
    holders = bytes(index.setdefault(data, len(index) + 1) if data else 0 for data in histories)
    return ObjectHistories(object_id, tuple(index), holders)


def empty_histories(object_id: ObjectId, n: int) -> ObjectHistories:
    """The OHS of a client that knows nothing: all initial."""
    return ObjectHistories(object_id, (), bytes(n))


_INDICES: Final = bytes(range(1, 256))


def check_histories(histories: ObjectHistories, n: int) -> None:
    """Refuse a set that :func:`make_histories` would not have made.

    Raises:
        PeerViolation: not canonical.
    """
    holders, distinct = histories.holders, len(histories.histories)
    if len(holders) != n or distinct > n:
        raise PeerViolation("histories-malformed")
    if distinct == 1 and histories.histories[0] and 0 < holders.count(1) == n - holders.count(0):
        return  # what follows, for the good case
    # In the order in which they first occur, the indices are 1, 2, 3, ... up to the number of distinct histories.
    if bytes(dict.fromkeys(holders.replace(b"\0", b""))) != _INDICES[:distinct]:
        raise PeerViolation("histories-not-canonical")
    if not all(histories.histories) or (distinct > 1 and len(set(histories.histories)) != distinct):
        raise PeerViolation("histories-not-canonical")
