"""Making names and files last: what SQLite does for its own, for ours."""

from __future__ import annotations

import os
from pathlib import Path


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
