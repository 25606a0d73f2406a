"""What a journal holds that its database does not: read after a crash, or beside a running server.

The database says which journal it has, which segments it holds already, and how far the journal had got when it last
looked (:class:`fivefold.storage.schema.Mark`). A segment is opened, synced, before the one before it is folded, and one
that is being folded is not written over. So there is always the segment after the last folded one, at most one more,
and a missing one means that somebody took it away: answering without it would be answering with forgotten history.

A last record that rotted looks like a torn append. The file that says how far the journal had got tells them apart
(:mod:`fivefold.storage.reach`).
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from fivefold.errors import DataDirectoryError
from fivefold.storage.journal import EPOCH_BYTES, PAGE_BYTES, DamagedJournal, Segment, decode_writes, scan
from fivefold.storage.overlay import Layers, Overlay
from fivefold.storage.reach import Reach
from fivefold.storage.schema import Mark
from fivefold.storage.segments import GROWTH_BYTES, segment_path, segment_paths


class Recovered(NamedTuple):
    """What was found.

    Attributes:
        layers: what the database does not hold.
        segment: number of the last segment.
        end: where its next record goes.
    """

    layers: Layers
    segment: int
    end: int


def recover(path: Path, mark: Mark, reach: Reach | None = None) -> Recovered | None:
    """Read the journal that the database at ``path`` says it has, None if it was closed; changes nothing.

    ``reach`` is what the file beside the journal says, if that is to be believed: not while a server writes to both.

    Raises:
        DataDirectoryError: the journal is missing, another one, older than the database, or damaged.
        OSError: it cannot be read.
    """
    if not mark.is_open:
        _refuse_left_over(path, mark)
        return None
    number = mark.folded + 1
    try:
        following = _read(path, mark, number + 1)
        first = _read(path, mark, number, end=following.previous_end if following is not None else None)
        if first is None:
            raise _not_its_own(path, number)
        overlay = _overlay(first)
        if following is None:
            found = Recovered(Layers(overlay), number, first.end)
        else:
            found = Recovered(Layers(_overlay(following), overlay), number + 1, following.end)
    except DamagedJournal as error:
        raise DataDirectoryError(
            f"the journal beside {path} is damaged ({error}): replace the disk, and the server by one with a new "
            "identity"
        ) from error
    _refuse_shorter(path, found, mark.segment, mark.end)
    if reach is not None and reach.epoch == mark.epoch:  # or it is of a run before, which was closed
        _refuse_shorter(path, found, reach.segment, reach.end)
    return found


def _refuse_shorter(path: Path, found: Recovered, segment: int, end: int) -> None:
    if (found.segment, found.end) < (segment, end):
        raise DataDirectoryError(
            f"the journal beside {path} ends at {found.end} of segment {found.segment} although it had reached "
            f"{end} of segment {segment}: restore its newest files, or replace the server by one with a new "
            "identity; it must not answer with forgotten history"
        )


def _refuse_left_over(path: Path, mark: Mark) -> None:
    """Nothing may lie beside a database that was closed but its own old journal: a crash may come before its removal.

    Story: (1) a server is stopped, its database copied. (2) It runs again and is killed. (3) Somebody puts the copy
    back, and the journal stays, with writes that the copy knows nothing of.
    """
    for file in segment_paths(path):
        if file.exists() and not _is_harmless(file.read_bytes(), mark):
            raise DataDirectoryError(
                f"{file} is not of the last run of {path.name}: restore the database that it belongs to, or remove it "
                "if you are sure that this database is the newest"
            )


def _is_harmless(data: bytes, mark: Mark) -> bool:
    """Its own, folded before it was closed; or one that was made, and nothing written to it, before a crash."""
    return data[:EPOCH_BYTES] == mark.epoch or not any(data[PAGE_BYTES:])


def _read(path: Path, mark: Mark, number: int, *, end: int | None = None) -> Segment | None:
    file = segment_path(path, number)
    if not file.exists():
        raise DataDirectoryError(
            f"{file} is missing although this server has stored data: restore it as it was, or replace the server by "
            "one with a new identity; it must not answer with forgotten history"
        )
    data = file.read_bytes()
    if len(data) < GROWTH_BYTES:  # both files had as much before the database was told of the journal
        raise DamagedJournal(f"{file.name} has been cut to {len(data)} bytes")
    return scan(data, mark.epoch, number, end=end)


def _overlay(segment: Segment) -> Overlay:
    overlay = Overlay()
    for payload in segment.payloads:
        overlay.apply(decode_writes(payload))
    return overlay


def _not_its_own(path: Path, number: int) -> DataDirectoryError:
    return DataDirectoryError(
        f"the journal beside {path} does not hold segment {number}, which comes next: it is another database's or "
        "older; restore the newest files of both, or replace the server by one with a new identity"
    )
