"""Objects that the disk has damaged: kept for the status, each with the reason, until they can be read again."""

from __future__ import annotations

import logging

from fivefold.protocol.actions import Damaged, ObjectRecord, Store
from fivefold.protocol.limits import DAMAGED_SHOWN_MAX
from fivefold.protocol.operations import ObjectId

log = logging.getLogger("fivefold.server")


def note_damage(damaged: dict[str, str], object_id: ObjectId, record: ObjectRecord | Damaged | None) -> None:
    """An object was read from the disk."""
    if not isinstance(record, Damaged):
        if damaged:
            damaged.pop(object_id, None)
    elif object_id not in damaged and len(damaged) < DAMAGED_SHOWN_MAX:
        hope = "it is fetched from the others" if record.floor else "what it promised is lost: replace this server"
        damaged[object_id] = f"{record.reason}; {hope}"
        log.error("requests for an object are answered BUSY: %s", damaged[object_id])


def note_mended(damaged: dict[str, str], store: Store) -> None:
    """What was damaged and is written as a whole is so no more: nobody need ask for it first."""
    for write in store.writes:
        if write.is_whole:
            damaged.pop(write.object_id, None)
