"""The arguments of the reserved update ADOPT (``fivefold rescue``)."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct


class Adoption(Struct, frozen=True, array_like=True):
    """Arguments of ADOPT.

    Attributes:
        state: that the object is to have.
        instead_of: digests of the states that were shown; an object that has another one keeps it.
    """

    state: bytes
    instead_of: tuple[bytes, ...]


decode_adoption: Final = msgspec.msgpack.Decoder(Adoption).decode
"""The arguments; raises msgspec.MsgspecError for anything else."""
