"""How candidates, histories and calls are written: short, as the paper does."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from fivefold.errors import PeerViolation
from fivefold.protocol.history import INITIAL_TIMESTAMP, decode_history, is_barrier, time_of
from fivefold.protocol.operations import ObjectId
from fivefold.protocol.records import LogicalTimestamp, ReplicaHistory

TIME_SHOWN_MAX = 10**6
"""Times beyond are a liar's: they are written as powers of two."""

VALUE_SHOWN_MAX = 24
"""Characters of a value in a label."""


class Names:
    """Short names of an object's candidates: ``7b`` for a barrier of time 7, ``2'`` for the later of two of time 2."""

    def __init__(self) -> None:
        """No candidate is known."""
        self._known: dict[str, set[bytes]] = {}
        self._names: dict[str, dict[bytes, str]] = {}

    def add(self, object_id: str, timestamps: Iterable[bytes]) -> None:
        """These will be asked for."""
        self._known.setdefault(object_id, {bytes(INITIAL_TIMESTAMP)}).update(timestamps)

    def of(self, object_id: str, timestamp: bytes) -> str:
        """A candidate's name, once all are added."""
        names = self._names.get(object_id)
        if names is None:
            names = self._names[object_id] = _named(self._known.get(object_id, set()))
        return names.get(timestamp) or _plain(LogicalTimestamp(timestamp))

    def history(self, object_id: str, data: bytes) -> str:
        """A replica history as in the paper's table, the newest candidate first: ``4,2,1``."""
        entries = entries_of(object_id, data)
        if entries is None:
            return "?"
        return ",".join(self.of(object_id, entry.candidate.timestamp) for entry in reversed(entries))


def entries_of(object_id: str, data: bytes) -> ReplicaHistory | None:
    """A history's entries; None if a liar made up something that is no history."""
    try:
        return decode_history(ObjectId(object_id), data)
    except PeerViolation:
        return None


def _named(timestamps: set[bytes]) -> dict[bytes, str]:
    names: dict[bytes, str] = {}
    taken: dict[str, int] = {}
    for timestamp in sorted(timestamps):
        plain = _plain(LogicalTimestamp(timestamp))
        count = taken[plain] = taken.get(plain, 0) + 1
        names[timestamp] = plain + ("'" * (count - 1) if count <= 3 else f"'{count - 1}")
    return names


def _plain(timestamp: LogicalTimestamp) -> str:
    time = time_of(timestamp)
    text = str(time) if time <= TIME_SHOWN_MAX else f"2^{time.bit_length() - 1}"
    return text + ("b" if is_barrier(timestamp) else "")


def call_text(method: str, arguments: Mapping[str, object] | None) -> str:
    """A call in a label: ``set(♦)``, ``increment(5)``, ``get``."""
    if not method:
        return "cancel"
    method = method.rpartition(".")[2]  # of a function over several objects the module is left out
    if not arguments:
        return method
    return f"{method}({', '.join(clipped(value_text(value)) for value in arguments.values())})"


def value_text(value: object) -> str:
    """A value in a label: text as it is, everything else as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    return msgspec.json.encode(value, enc_hook=str).decode()


def clipped(text: str) -> str:
    """No longer than a label may be."""
    return text if len(text) <= VALUE_SHOWN_MAX else text[: VALUE_SHOWN_MAX - 1] + "…"


def arguments_of(data: bytes) -> Mapping[str, object] | None:
    """Encoded arguments by name; None if they are nothing that can be shown."""
    try:
        found = msgspec.msgpack.decode(data, type=dict[str, object])
    except (msgspec.MsgspecError, RecursionError):
        return None
    return found
