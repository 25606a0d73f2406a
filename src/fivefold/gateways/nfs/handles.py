"""File handles: 32 bytes that name a file, with a check against damage. They hold no secret and give no right."""

from __future__ import annotations

from hashlib import blake2b
from struct import Struct
from typing import Final

from fivefold.gateways.nfs.codes import Status
from fivefold.gateways.nfs.guesses import Handle
from fivefold.gateways.nfs.rights import refuse

HANDLE_BYTES_MAX: Final = 64
"""Of any server's, by RFC 1813."""

_FIELDS: Final = Struct(">4sIQQ8s")
_MAGIC: Final = b"5ff\x01"


class Handles:
    """Handles of one export: those of another are no handles here."""

    def __init__(self, export: str) -> None:
        """``export`` is its name."""
        self.fsid = int.from_bytes(blake2b(export.encode(), digest_size=4).digest())

    def encode(self, handle: Handle) -> bytes:
        """The handle's bytes."""
        fields = (_MAGIC, self.fsid, handle.id, handle.generation)
        return _FIELDS.pack(*fields, _check(*fields))

    def decode(self, data: bytes) -> Handle:
        """What the bytes name.

        Raises:
            Refused: with BADHANDLE, if this gateway never made them.
        """
        if len(data) != _FIELDS.size:
            raise refuse(Status.BADHANDLE)
        magic, fsid, id, generation, check = _FIELDS.unpack(data)
        if (magic, fsid) != (_MAGIC, self.fsid) or check != _check(magic, fsid, id, generation):
            raise refuse(Status.BADHANDLE)
        return Handle(id, generation)


def _check(magic: bytes, fsid: int, id: int, generation: int) -> bytes:
    return blake2b(b"%b %d %d %d" % (magic, fsid, id, generation), digest_size=8).digest()
