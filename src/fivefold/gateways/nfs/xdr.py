"""XDR (RFC 4506), as much as ONC RPC, MOUNT and NFS version 3 need.

Nothing is set aside for a length that the message does not hold, and nothing but :class:`XdrError` is raised for bytes
from the network.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

_U32: Final = Struct(">I")
_U64: Final = Struct(">Q")
_PADDING: Final = (b"", b"\0\0\0", b"\0\0", b"\0")


class XdrError(Exception):
    """The bytes are not what the procedure takes."""


class Reader:
    """Reads values one after the other."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes, at: int = 0) -> None:
        """Begin at ``at``."""
        self._data, self._at = data, at

    def u32(self) -> int:
        """An unsigned 32-bit number."""
        at = self._at
        self._at = at + 4
        if self._at > len(self._data):
            raise XdrError("the message ends early")
        value: int = _U32.unpack_from(self._data, at)[0]
        return value

    def u64(self) -> int:
        """An unsigned 64-bit number."""
        at = self._at
        self._at = at + 8
        if self._at > len(self._data):
            raise XdrError("the message ends early")
        value: int = _U64.unpack_from(self._data, at)[0]
        return value

    def boolean(self) -> bool:
        """True or false."""
        value = self.u32()
        if value > 1:
            raise XdrError(f"{value} is no bool")
        return value == 1

    def one_of(self, count: int) -> int:
        """An enum's or union's number below ``count``."""
        value = self.u32()
        if value >= count:
            raise XdrError(f"{value} is not one of the {count} arms")
        return value

    def fixed(self, size: int) -> bytes:
        """This number of bytes, without a length."""
        at, end = self._at, self._at + size
        self._at = end + -size % 4
        if self._at > len(self._data):
            raise XdrError("the message ends early")
        if any(self._data[end : self._at]):
            raise XdrError("the padding is not zero")
        return self._data[at:end]

    def opaque(self, size_max: int) -> bytes:
        """A length, and that number of bytes: opaque data, or a string."""
        size = self.u32()
        if size > size_max:
            raise XdrError(f"{size} bytes where at most {size_max} are allowed")
        return self.fixed(size)

    def rest(self) -> int:
        """How many bytes are left."""
        return len(self._data) - self._at

    def end(self) -> None:
        """Refuse anything that is left."""
        if self.rest():
            raise XdrError(f"{self.rest()} bytes too many")


class Writer:
    """Writes values one after the other; methods give back the writer."""

    __slots__ = ("data",)

    def __init__(self) -> None:
        """Nothing yet."""
        self.data = bytearray()

    def u32(self, value: int) -> Writer:
        """An unsigned 32-bit number."""
        self.data += _U32.pack(value)
        return self

    def u64(self, value: int) -> Writer:
        """An unsigned 64-bit number."""
        self.data += _U64.pack(value)
        return self

    def boolean(self, value: object) -> Writer:
        """Whether ``value`` is true."""
        self.data += b"\0\0\0\1" if value else b"\0\0\0\0"
        return self

    def fixed(self, value: bytes) -> Writer:
        """Bytes without their length."""
        self.data += value
        self.data += _PADDING[len(value) % 4]
        return self

    def opaque(self, value: bytes) -> Writer:
        """A length and the bytes, or a string."""
        self.data += _U32.pack(len(value))
        return self.fixed(value)
