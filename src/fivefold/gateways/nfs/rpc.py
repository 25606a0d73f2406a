"""ONC RPC version 2 (RFC 5531): calls and replies, and the record marking that frames them in a TCP stream."""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import Final, NamedTuple

from fivefold.gateways.nfs.limits import FRAGMENTS_MAX, RECORD_BYTES_MAX
from fivefold.gateways.nfs.xdr import Reader, Writer, XdrError

VERSION: Final = 2
CALL: Final = 0
REPLY: Final = 1

AUTH_NONE: Final = 0
AUTH_SYS: Final = 1
AUTH_BYTES_MAX: Final = 400
GIDS_MAX: Final = 16
MACHINE_BYTES_MAX: Final = 255
NOBODY: Final = 65534
"""User and group of a caller that does not say who it is, and of root after root squash."""

# accept_stat
SUCCESS: Final = 0
PROG_UNAVAIL: Final = 1
PROG_MISMATCH: Final = 2
PROC_UNAVAIL: Final = 3
GARBAGE_ARGS: Final = 4
SYSTEM_ERR: Final = 5

# reject_stat, auth_stat
RPC_MISMATCH: Final = 0
AUTH_ERROR: Final = 1
AUTH_BADCRED: Final = 1
AUTH_TOOWEAK: Final = 5

_HEAD: Final = Struct(">I")
_LAST: Final = 0x8000_0000


class RecordError(Exception):
    """The stream is no record marking, or a record is too long: the connection cannot go on."""


class Call(NamedTuple):
    """One call's head; ``reader`` stands at its arguments."""

    xid: int
    program: int
    version: int
    procedure: int
    machine: bytes
    uid: int
    gids: tuple[int, ...]
    reader: Reader


class BadCall(Exception):
    """A message that gets a reply of the RPC layer itself."""

    def __init__(self, reply: bytes) -> None:
        """``reply`` goes to the client."""
        super().__init__("refused")
        self.reply = reply


class Records:
    """Puts records together from what a stream brings, in whatever pieces."""

    def __init__(self) -> None:
        """At the beginning of a stream."""
        self._buffer = bytearray()
        self._parts: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Records that are complete now.

        Raises:
            RecordError: a record is over RECORD_BYTES_MAX, or in too many fragments.
        """
        self._buffer += data
        while len(self._buffer) >= 4:
            (head,) = _HEAD.unpack_from(self._buffer)
            size = head & ~_LAST
            if self._size + size > RECORD_BYTES_MAX or len(self._parts) >= FRAGMENTS_MAX:
                raise RecordError("the record is too long")
            if len(self._buffer) < 4 + size:
                return
            self._parts.append(bytes(self._buffer[4 : 4 + size]))
            self._size += size
            del self._buffer[: 4 + size]
            if head & _LAST:
                record, self._parts, self._size = b"".join(self._parts), [], 0
                yield record


def framed(message: bytes | bytearray) -> bytes:
    """The message as a record of one fragment."""
    return _HEAD.pack(_LAST | len(message)) + message


def parse_call(record: bytes) -> Call:
    """A call.

    Raises:
        BadCall: it gets a reply: another RPC version, or credentials that cannot be read.
        XdrError: it is no call at all, and gets none.
    """
    reader = Reader(record)
    xid = reader.u32()
    if reader.u32() != CALL:
        raise XdrError("this is no call")
    if reader.u32() != VERSION:
        raise BadCall(bytes(_denied(xid, RPC_MISMATCH).u32(VERSION).u32(VERSION).data))
    program, version, procedure = reader.u32(), reader.u32(), reader.u32()
    try:
        flavour, body = reader.u32(), reader.opaque(AUTH_BYTES_MAX)
        reader.u32()
        reader.opaque(AUTH_BYTES_MAX)
        machine, uid, gids = _parse_credentials(flavour, body)
    except XdrError:
        raise BadCall(bytes(_denied(xid, AUTH_ERROR).u32(AUTH_BADCRED).data)) from None
    except UnknownFlavour:
        raise BadCall(bytes(_denied(xid, AUTH_ERROR).u32(AUTH_TOOWEAK).data)) from None
    return Call(xid, program, version, procedure, machine, uid, gids, reader)


class UnknownFlavour(Exception):
    """Credentials of a kind other than AUTH_NONE and AUTH_SYS."""


def _parse_credentials(flavour: int, body: bytes) -> tuple[bytes, int, tuple[int, ...]]:
    if flavour == AUTH_NONE:
        return b"", NOBODY, (NOBODY,)
    if flavour != AUTH_SYS:
        raise UnknownFlavour
    reader = Reader(body)
    reader.u32()
    machine, uid, gid = reader.opaque(MACHINE_BYTES_MAX), reader.u32(), reader.u32()
    others = [reader.u32() for _ in range(reader.one_of(GIDS_MAX + 1))]
    reader.end()
    return machine, uid, (gid, *others)


def _denied(xid: int, why: int) -> Writer:
    return Writer().u32(xid).u32(REPLY).u32(1).u32(why)


def accepted(xid: int, status: int) -> Writer:
    """The head of a reply to a call that was understood; results follow SUCCESS."""
    return Writer().u32(xid).u32(REPLY).u32(0).u32(AUTH_NONE).u32(0).u32(status)


def mismatch(xid: int, low: int, high: int) -> Writer:
    """The reply to another version of the program."""
    return accepted(xid, PROG_MISMATCH).u32(low).u32(high)
