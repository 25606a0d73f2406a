"""Files that are there whole or not at all, and private ones."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path
from typing import BinaryIO, Final

from fivefold.errors import ConfigurationError

LOG_MODE: Final = 0o640
"""Logs are for the owner, and for a group that watches ..."""
LOG_DIRECTORY_MODE: Final = 0o750
"""... and so are the names of logs. Who may write to a directory can put other files in place of those in it."""
SHARED_DIRECTORY_MODE: Final = 0o755
"""What lies above is the owner's, too: with a umask of 0, anybody could move a private directory away."""


def write_new_file(path: Path, data: bytes, *, mode: int) -> None:
    """Write a file that must not exist yet; it appears whole and is on the disk when this returns.

    Raises:
        ConfigurationError: the file exists, or cannot be written.
    """
    temporary = _write_beside(path, data, mode)
    try:
        os.link(temporary, path)  # refuses to replace, which rename does not
    except FileExistsError as error:
        raise ConfigurationError(f"{path} exists already: move it away or choose another place") from error
    except OSError as error:
        raise _cannot_write(path, error) from error
    finally:
        temporary.unlink()
    _sync_directory(path.parent)


def replace_file(path: Path, data: bytes, *, mode: int) -> None:
    """Write a file in place of the one that may be there; readers see the old or the new one, never a mixture.

    Raises:
        ConfigurationError: it cannot be written.
    """
    temporary = _write_beside(path, data, mode)
    try:
        temporary.replace(path)
    except OSError as error:
        temporary.unlink()
        raise _cannot_write(path, error) from error
    _sync_directory(path.parent)


def open_log(path: Path) -> BinaryIO:
    """Open a log to append to: mode 0640 or stricter, whatever the umask, also if it exists already.

    Raises:
        ConfigurationError: it cannot be written.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC
    try:
        try:
            log = os.fdopen(os.open(path, flags | os.O_CREAT | os.O_EXCL, LOG_MODE), "ab")
            mode = LOG_MODE
        except FileExistsError:
            log = os.fdopen(os.open(path, flags), "ab")
            mode = stat.S_IMODE(os.fstat(log.fileno()).st_mode) & LOG_MODE
        try:
            os.fchmod(log.fileno(), mode)
        except BaseException:
            log.close()
            raise
    except OSError as error:
        raise _cannot_write(path, error) from error
    return log


def make_log_directory(path: Path) -> None:
    """Make a directory for logs if there is none, and whatever is missing above it: nobody else may write there.

    Raises:
        ConfigurationError: it cannot be made.
    """
    try:
        _make_above(path)
        _make_directory(path, LOG_DIRECTORY_MODE)
    except OSError as error:
        raise _cannot_write(path, error) from error


def make_private_directory(path: Path) -> None:
    """Make a directory if there is none, and give it mode 0700.

    Raises:
        ConfigurationError: it cannot be made.
    """
    try:
        _make_above(path)
        path.mkdir(mode=0o700, exist_ok=True)
        path.chmod(0o700)
    except OSError as error:
        raise _cannot_write(path, error) from error


def _make_above(path: Path) -> None:
    for parent in reversed(path.parents):
        _make_directory(parent, SHARED_DIRECTORY_MODE)


def _make_directory(path: Path, mode: int) -> None:
    """One that is there already keeps its mode."""
    if path.is_dir():
        return
    try:
        path.mkdir(mode=mode)
    except FileExistsError:
        if not path.is_dir():  # otherwise somebody else has just made it
            raise
    else:
        path.chmod(path.stat().st_mode & mode)


def _write_beside(path: Path, data: bytes, mode: int) -> Path:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.new")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except OSError as error:
        raise _cannot_write(path, error) from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)  # whatever the umask is
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        temporary.unlink()
        raise _cannot_write(path, error) from error
    return temporary


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _cannot_write(path: Path, error: OSError) -> ConfigurationError:
    return ConfigurationError(f"{path} cannot be written ({error.strerror}): choose another place or make room")
