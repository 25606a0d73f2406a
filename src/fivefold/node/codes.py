"""Which code the servers run for which type: they say so to each client, and it chooses what its calls mean (ours).

::

    CODES         u8 8 | Announcement

A server sends it as the first frame on each client's connection, and again when it changes. What one server says counts
for that server only: a call names code that at least q of them have announced. So what liars say can make a call wait,
and never run other code than honest servers announced.
"""

from __future__ import annotations

from typing import Final

import msgspec

from fivefold.errors import PeerViolation, UnknownMethod, UnknownType, Upgrading
from fivefold.objects import FunctionCode, TypeCode
from fivefold.protocol.operations import CODE_BYTES, ObjectId, digest, type_of
from fivefold.protocol.quorums import QuorumSystem

CODES: Final = 8
"""First byte of an announcement."""

ANNOUNCEMENT_BYTES_MAX: Final = 1024 * 1024
"""Some ten thousand types and functions."""

ANNOUNCEMENTS_AT_ONCE: Final = 16
ANNOUNCEMENT_EVERY_NS: Final = 1_000_000_000
"""A client reads 16 different announcements of a server at once, and then one a second, the newest: one of the
largest takes 20 ms, and a liar could send hundreds a second."""

CHOSEN_MAX: Final = 4096
"""Choices that are remembered until a server announces something else."""


class Announcement(msgspec.Struct, frozen=True, array_like=True):
    """What one server holds and runs.

    Attributes:
        types: every version of every type.
        functions: every code of every function over several objects.
        active: for a type the greatest version that runs.
    """

    types: tuple[TypeCode, ...]
    functions: tuple[FunctionCode, ...]
    active: dict[str, int]

    def runs(self, each: TypeCode) -> bool:
        """Whether calls by a version of a type that it holds are run."""
        return each.version <= self.active.get(each.name, 0)


_encoder = msgspec.msgpack.Encoder(order="deterministic")
_decoder = msgspec.msgpack.Decoder(Announcement)


def announcement_frame(announcement: Announcement) -> bytes:
    """Frame an announcement."""
    return bytes([CODES]) + _encoder.encode(announcement)


def decode_announcement(frame: bytes) -> Announcement:
    """The announcement in a frame.

    Raises:
        PeerViolation: it is none, or too large.
    """
    if len(frame) > ANNOUNCEMENT_BYTES_MAX:
        raise PeerViolation("codes-too-large")
    try:
        announcement = _decoder.decode(frame[1:])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise PeerViolation("codes-malformed") from None
    codes = [each.code for each in announcement.types] + [each.code for each in announcement.functions]
    if any(len(code) != CODE_BYTES for code in codes):
        raise PeerViolation("codes-malformed")
    return announcement


class CodeTable:
    """What a client has heard from the servers, and what its calls mean by that.

    The last word of a server that is gone still counts: a silent server is within the bounds. It does not count while a
    connected server runs other code, since the gone one may come back with just that. A call that counted on it would
    be accepted by some servers, and by no quorum.

    Attributes:
        count: announcements heard so far.
    """

    def __init__(self, quorums: QuorumSystem) -> None:
        """Nothing is heard yet."""
        self._quorums = quorums
        self._heard: dict[int, Announcement] = {}
        self._gone: set[int] = set()
        self._chosen: dict[str | tuple[str, ...], bytes] = {}
        self._read: dict[int, bytes] = {}  # a digest of the announcement that was read last
        self._used_up_ns: dict[int, int] = {}  # until when a server's announcements count as one a second
        self._late: dict[int, bytes] = {}
        self.count = 0

    def take(self, now_ns: int, server: int, frame: bytes) -> int | None:
        """A server's announcement has come: read it, unless it says what was said before.

        Returns:
            After how many nanoseconds to call :meth:`take_late`, if it was too early to read it; None otherwise.

        Raises:
            PeerViolation: it is none.
        """
        name = digest(frame)
        if self._read.get(server) == name:
            self.hear(server, self._heard[server])
            return None
        begins_ns = max(now_ns, self._used_up_ns.get(server, 0))
        if begins_ns - now_ns >= ANNOUNCEMENTS_AT_ONCE * ANNOUNCEMENT_EVERY_NS:
            is_first = server not in self._late
            self._late[server] = frame
            return ANNOUNCEMENT_EVERY_NS if is_first else None
        self._used_up_ns[server] = begins_ns + ANNOUNCEMENT_EVERY_NS
        self.hear(server, decode_announcement(frame))
        self._read[server] = name
        self._late.pop(server, None)
        return None

    def take_late(self, now_ns: int, server: int) -> int | None:
        """Read the announcement that had to wait, if there still is one; see :meth:`take`."""
        frame = self._late.pop(server, None)
        return None if frame is None else self.take(now_ns, server, frame)

    def hear(self, server: int, announcement: Announcement) -> None:
        """A server has said what it runs."""
        self.count += 1
        self._heard[server] = announcement
        self._gone.discard(server)
        self._chosen.clear()

    def lose(self, server: int) -> None:
        """A server is gone."""
        self._late.pop(server, None)
        if server in self._heard:
            self._gone.add(server)
            self._chosen.clear()

    @property
    def heard(self) -> frozenset[int]:
        """Servers that have said what they run."""
        return frozenset(self._heard)

    def code_of(self, objects: tuple[ObjectId, ...], method: str) -> bytes:
        """What a call names: the newest code that a quorum runs for the objects' types, and for a function.

        Raises:
            UnknownType, UnknownMethod: no server that has spoken knows it.
            Upgrading: some do, but fewer than a quorum run the same code.
        """
        first = objects[0]
        # Nearly every call is one of a method: the head of its object's id is at hand for less than a list of names.
        key = first[: first.find("/")] if len(objects) == 1 and "." not in method else (method, *map(type_of, objects))
        code = self._chosen.get(key)
        if code is None:
            code = self._choose(tuple(dict.fromkeys(map(type_of, objects))), method if "." in method else "")
            if len(self._chosen) >= CHOSEN_MAX:
                self._chosen.clear()
            self._chosen[key] = code
        return code

    def _choose(self, names: tuple[str, ...], function: str) -> bytes:
        chosen = [self._type_of(name) for name in names]
        code = b"".join([each.code for each in chosen])
        return self._function_of(function, {each.name: each.version for each in chosen}) + code if function else code

    def _type_of(self, name: str) -> TypeCode:
        """The newest version that a quorum runs."""
        holders: dict[TypeCode, set[int]] = {}
        voices: set[int] = set()
        for server, announcement in self._heard.items():
            for each in announcement.types:  # one voice a server, however often it says a thing
                if each.name == name:
                    voices.add(server)
                    if announcement.runs(each):
                        holders.setdefault(each, set()).add(server)
        is_known = bool(voices)
        found = [each for each, those in holders.items() if self._is_enough(those, voices)]
        if found:
            return max(found, key=lambda each: each.version)
        if not is_known and len(self._heard) >= self._quorums.q:
            raise UnknownType(f"the servers know no object type {name!r}: load it with --objects")
        raise Upgrading(self._disagreement(name))

    def _is_enough(self, holders: set[int], voices: set[int]) -> bool:
        """Whether these are a quorum. Gone servers count only while no connected server runs other code."""
        if len(holders - self._gone) >= self._quorums.q:
            return True
        return len(holders) >= self._quorums.q and voices - self._gone <= holders

    def _function_of(self, name: str, versions: dict[str, int]) -> bytes:
        """The code that a quorum runs of a function, over the chosen versions of its types."""
        holders: dict[bytes, set[int]] = {}
        voices: set[int] = set()
        for server, announcement in self._heard.items():
            for each in announcement.functions:
                if each.name == name:
                    voices.add(server)
                    if all(versions.get(other, version) == version for other, version in each.types):
                        holders.setdefault(each.code, set()).add(server)
        best = max(holders, key=lambda code: len(holders[code]), default=b"")
        if best and self._is_enough(holders[best], voices):
            return best
        if not voices:
            raise UnknownMethod(f"the servers know no function {name}: load its module with --objects")
        raise Upgrading(f"fewer servers than a quorum run the same {name}: try again when the upgrade is done")

    def _disagreement(self, name: str) -> str:
        """Who runs what of a type, in words."""
        servers: dict[str, list[int]] = {}
        for server, announcement in sorted(self._heard.items()):
            runs = [each for each in announcement.types if each.name == name and announcement.runs(each)]
            best = max(runs, key=lambda each: each.version, default=None)
            text = f"{name} {best.version} ({best.code.hex()[:8]})" if best else f"no {name}"
            servers.setdefault(text, []).append(server)
        said = ", ".join(
            f"server{'s' * (len(those) > 1)} {', '.join(map(str, those))} run{'s' * (len(those) == 1)} {text}"
            for text, those in servers.items()
        )
        if len(self._heard) < self._quorums.q:
            return f"only {len(self._heard)} servers have said what they run ({said or 'none'}): try again"
        return f"{said}: try again when the upgrade is done"
