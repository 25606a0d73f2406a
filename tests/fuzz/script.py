"""What fuzz targets make of their bytes: choices, and alterations of what an honest sender would send."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeVar

HEADS: Final = (
    b"\x00",
    b"\xff" * 8,
    b"\x80" * 4,
    b"\x91" * 600,
    b"\xc0",
    b"\xc4\x00",
    b"\xdd\xff\xff\xff\xff",
    b"\xd9",
)
"""What decoders stumble over: long and nested lengths, other types, signs."""

T = TypeVar("T")


class Script:
    """Choices read off the fuzzer's bytes; zeros when they are used up."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    @property
    def is_over(self) -> bool:
        return self._at >= len(self._data)

    def number(self, size: int = 1) -> int:
        """An integer of ``size`` bytes."""
        return int.from_bytes(self.take(size), "big")

    def take(self, size: int) -> bytes:
        """The next bytes, or as many as are left."""
        taken = self._data[self._at : self._at + size]
        self._at += size
        return taken

    def one_of(self, things: Sequence[T]) -> T:
        """One of them."""
        return things[self.number() % len(things)]

    def some_of(self, things: Sequence[T]) -> list[T]:
        """Some of them, in their order; at least one."""
        mask = self.number(2)
        return [each for place, each in enumerate(things) if mask >> place & 1] or [self.one_of(things)]

    def rest(self) -> bytes:
        return self.take(len(self._data))

    def mutated(self, data: bytes) -> bytes:
        """``data`` with up to three alterations."""
        for _ in range(self.number() % 4):
            kind, at = self.number() % 6, self.number(2) % (len(data) + 1)
            if kind == 0:
                data = data[:at] + self.take(1) + data[at + 1 :]
            elif kind == 1:
                data = data[:at] + data[at + self.number() % 16 :]
            elif kind == 2:
                data = data[:at] + self.take(self.number() % 16) + data[at:]
            elif kind == 3:
                data = data[:at]
            elif kind == 4:
                end = at + self.number() % 64
                data = data[:end] + data[at:]
            else:
                head = HEADS[self.number() % len(HEADS)]
                data = data[:at] + head + data[at + len(head) :]
        return data
