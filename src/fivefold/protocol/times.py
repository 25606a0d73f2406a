"""Logical times: how many bytes they have, and how a message carries one.

A time has 16 bytes, so that nobody can use the clock up: 2^87 requests that each lead it by the most that is allowed
(``TIME_LEAD_MAX``) would not.
"""

from __future__ import annotations

from typing import Final

TIME_BYTES: Final = 16
"""A time inside a logical timestamp, big endian."""

Time = int | bytes
"""A time in a message or a row: a number, or its 16 bytes where MessagePack has no number that large."""

NUMBERS: Final = 1 << 64
"""The times that MessagePack has a number for are below this."""


def pack_time(time: int) -> Time:
    """A time as a message carries it."""
    return time if time < NUMBERS else time.to_bytes(TIME_BYTES, "big")


def unpack_time(time: Time) -> int:
    """The time that a message carries."""
    return int.from_bytes(time, "big") if isinstance(time, bytes) else time


def is_time(time: Time) -> bool:
    """Whether :func:`pack_time` could have written it."""
    if isinstance(time, bytes):
        return len(time) == TIME_BYTES and unpack_time(time) >= NUMBERS
    return time >= 0
