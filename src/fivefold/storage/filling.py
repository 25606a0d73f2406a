"""Data directories made beforehand: a server of a new cluster begins with what a backup holds."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from fivefold.errors import DataDirectoryError
from fivefold.protocol.actions import Write
from fivefold.storage.files import make_private, sync
from fivefold.storage.guard import REACH_NAME, RECORD_NAME, open_data

STAGED_BYTES_MAX: Final = 16 * 1024 * 1024
"""Staged and not yet durable: above this, the next objects wait."""

IMPORTED_NAME: Final = "imported"
"""In the identity's directory: which list of objects the data began with."""

_LOOK_S: Final = 0.002


async def fill_data(
    data_dir: Path, identity_dir: Path, cluster_id: str, fingerprint: str, imported: bytes, writes: Iterable[Write]
) -> None:
    """Make the data of a server that has never run; it is there whole or not at all.

    What was interrupted is begun again. The record that tells of the data is put with the identity last: until then a
    server does not start on a part of them.

    Args:
        data_dir: must not exist.
        identity_dir: of the server's keys.
        cluster_id: of its cluster.
        fingerprint: of its certificate.
        imported: digest of the list of all objects.
        writes: all objects.

    Raises:
        DataDirectoryError: the server has data.
        OSError: the disk is full, or fails.
    """
    unfinished, records = data_dir.with_name(f"{data_dir.name}.unfinished"), _records_of(data_dir)
    if _prepared(data_dir, identity_dir, unfinished, records):
        await _write(unfinished, records, cluster_id, fingerprint, writes)
        (records / IMPORTED_NAME).write_text(imported.hex())
        sync(records / IMPORTED_NAME)
        unfinished.rename(data_dir)
        sync(data_dir.parent)
    _keep(records, identity_dir)


def imported_into(identity_dir: Path) -> bytes:
    """Digest of the list of objects that a server's data began with; empty if they began with none."""
    try:
        return bytes.fromhex((identity_dir / IMPORTED_NAME).read_text())
    except FileNotFoundError:
        return b""
    except (OSError, ValueError) as error:
        raise DataDirectoryError(
            f"{identity_dir / IMPORTED_NAME} cannot be read ({error}): restore it from the backup of the identity"
        ) from error


def is_filled(data_dir: Path) -> bool:
    """Whether :func:`fill_data` has done all of its work there."""
    return data_dir.exists() and not _records_of(data_dir).exists()


def _records_of(data_dir: Path) -> Path:
    return data_dir.with_name(f"{data_dir.name}.unfinished-record")


def _prepared(data_dir: Path, identity_dir: Path, unfinished: Path, records: Path) -> bool:
    """Whether the data are to be written; what was interrupted before is cleared away. False if they are there."""
    if data_dir.exists():
        if not records.exists():
            raise DataDirectoryError(f"{data_dir} exists already: name another directory, or move it away")
        return False
    if (identity_dir / RECORD_NAME).exists():
        raise DataDirectoryError(
            f"the server of {identity_dir} has stored data: restore into a server that has never run"
        )
    for left in (unfinished, records):
        shutil.rmtree(left, ignore_errors=True)
    make_private(records)
    return True


def _keep(records: Path, identity_dir: Path) -> None:
    for name in (IMPORTED_NAME, REACH_NAME, RECORD_NAME):
        if (records / name).exists():
            (records / name).replace(identity_dir / name)
    sync(identity_dir)
    shutil.rmtree(records)


async def _write(data_dir: Path, records: Path, cluster_id: str, fingerprint: str, writes: Iterable[Write]) -> None:
    loop = asyncio.get_running_loop()
    durable = 0

    def note(sequence: int) -> None:
        nonlocal durable
        durable = sequence

    storage = open_data(data_dir, records, cluster_id, fingerprint, loop, note, fresh_allowed=True)
    sequence = 0
    try:
        for sequence, write in enumerate(writes, 1):
            storage.stage(sequence, (write,))
            while storage.staged_bytes > STAGED_BYTES_MAX:
                _refuse_failure(storage.failure)
                await asyncio.sleep(_LOOK_S)
        while durable < sequence:
            _refuse_failure(storage.failure)
            await asyncio.sleep(_LOOK_S)
    finally:
        await asyncio.to_thread(storage.close)


def _refuse_failure(failure: str | None) -> None:
    if failure is not None:
        raise DataDirectoryError(f"the data cannot be written ({failure}): make room, and run the same command again")
