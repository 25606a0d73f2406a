"""Frames on a byte stream: ``u32 length, big endian | frame``."""

from __future__ import annotations

from struct import Struct
from typing import Final

from fivefold.errors import PeerViolation

HEADER_BYTES: Final = 4
"""Size of the length that goes before every frame."""

_HEADER: Final = Struct(">I")
header_of: Final = _HEADER.pack
"""The header of a frame, from its size in bytes."""

_size_at = _HEADER.unpack_from


class Framer:
    """Cuts a stream of chunks into frames.

    Memory is set aside for what has arrived, never for what a length promises; a length out of bounds is refused as
    soon as its four bytes are here.

    Attributes:
        frame_bytes_max: the greatest frame; may be raised once the peer is known.
    """

    __slots__ = ("_needed_bytes", "_partial", "frame_bytes_max")

    def __init__(self, frame_bytes_max: int) -> None:
        self.frame_bytes_max = frame_bytes_max
        self._partial = bytearray()
        self._needed_bytes = 0

    @property
    def partial_bytes(self) -> int:
        """Bytes kept of a frame that has not arrived whole."""
        return len(self._partial)

    def forget(self) -> None:
        """Give up what is kept: no further bytes come."""
        self._partial.clear()

    def feed(self, chunk: bytes) -> list[bytes]:
        """Take the next bytes of the stream, of any size.

        Returns:
            The frames that are whole now, in order.

        Raises:
            PeerViolation: a frame is empty or longer than the limit; the stream is of no use any more.
        """
        if self._partial:
            self._partial += chunk
            if len(self._partial) < self._needed_bytes:
                return []
            # One copy for each frame that came in pieces: what is left over is less than the last chunk.
            chunk = bytes(self._partial)
            self._partial.clear()
        frames = []
        start, end, limit = 0, len(chunk), self.frame_bytes_max
        self._needed_bytes = HEADER_BYTES
        while end - start >= HEADER_BYTES:
            (size,) = _size_at(chunk, start)
            if not 0 < size <= limit:
                raise PeerViolation("frame_size", f"{size} bytes, allowed are 1 to {limit}")
            stop = start + HEADER_BYTES + size
            if stop > end:
                self._needed_bytes += size
                break
            frames.append(chunk[start + HEADER_BYTES : stop])
            start = stop
        if start < end:
            self._partial += chunk[start:]
        return frames
