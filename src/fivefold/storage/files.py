"""Making names and files last, and private: what SQLite does for its own, for ours."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

PRIVATE: Final = 0o600
PRIVATE_DIRECTORY: Final = 0o700
"""For the owner's eyes."""


def sync(path: Path) -> None:
    """Make a file's contents, or the names in a directory, survive a loss of power.

    Raises:
        OSError: the disk failed, or nothing is at ``path``.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def open_private(path: Path, flags: int) -> int:
    """Open a file; one that is made has mode 0600 whatever the umask. Returns its descriptor.

    Raises:
        OSError: it cannot be opened.
    """
    descriptor = os.open(path, flags | os.O_CLOEXEC, PRIVATE)
    try:
        if os.fstat(descriptor).st_mode & 0o777 != PRIVATE:
            os.fchmod(descriptor, PRIVATE)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def make_private(directory: Path) -> None:
    """Make a directory that is not there, and what is missing above it, all with mode 0700 whatever the umask.

    Without that, who may write above it could put other data in its place.

    Raises:
        OSError: it is there already, or cannot be made.
    """
    for parent in [each for each in reversed(directory.parents) if not each.exists()]:
        _make(parent)
    _make(directory)


def _make(directory: Path) -> None:
    directory.mkdir(mode=PRIVATE_DIRECTORY)
    directory.chmod(PRIVATE_DIRECTORY)
