"""How far the journal has got: a small file that follows every commit, so that the journal's last record can be missed.

The journal alone cannot tell whether its last record rotted or was torn, and never promised, when the power went
(:mod:`fivefold.storage.journal`). After each commit, before anybody hears of it, this file says where the journal ends.
It is not synced: a killed server leaves it as it was, with everything that was promised. After a loss of power it may
be older than the journal, which is harmless, and the last record is then taken for torn if it cannot be read.

The file lies with the identity, outside the data directory: old copies of everything in that directory, taken and put
back within one run, do not reach as far as it says.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Final, NamedTuple
from zlib import crc32

from fivefold.storage.files import open_private

_REACH: Final = struct.Struct(">8sQQ")
_CHECKSUM: Final = struct.Struct(">I")


class Reach(NamedTuple):
    """At least so far a journal had got: the end of a segment's last record."""

    epoch: bytes
    segment: int
    end: int


class ReachFile:
    """Open for writing.

    Attributes:
        failure: one sentence on why the file could not follow the journal, or None.

    Raises:
        OSError: the file cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = open_private(path, os.O_WRONLY | os.O_CREAT)
        self.failure: str | None = None

    def note(self, reach: Reach) -> None:
        """The journal has got so far, durably. A file that lags is safe: it only sees less."""
        data = _REACH.pack(*reach)
        try:
            os.lseek(self._descriptor, 0, os.SEEK_SET)
            os.write(self._descriptor, data + _CHECKSUM.pack(crc32(data)))
        except OSError as error:
            self.failure = f"{self._path} cannot be written, free its disk or fix it: {error}"
        else:
            self.failure = None

    def close(self) -> None:
        """Release the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def reach_beside(path: Path) -> Path:
    """Where the file is if it lies beside the database at ``path``."""
    return path.with_name(f"{path.name}.journal-reach")


def read_reach(path: Path) -> Reach | None:
    """What the file says; None if there is none, or it is damaged: it is a second witness, and the journal the first.

    Raises:
        OSError: it cannot be read.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    if (
        len(data) != _REACH.size + _CHECKSUM.size
        or crc32(data[: _REACH.size]) != _CHECKSUM.unpack(data[_REACH.size :])[0]
    ):
        return None
    return Reach(*_REACH.unpack(data[: _REACH.size]))
