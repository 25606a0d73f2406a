"""MOUNT version 3 (RFC 1813, appendix I): from the export's path to its root's handle."""

from __future__ import annotations

from typing import Final

from fivefold.gateways.nfs.codes import Status
from fivefold.gateways.nfs.limits import TARGET_BYTES_MAX
from fivefold.gateways.nfs.rpc import AUTH_SYS
from fivefold.gateways.nfs.xdr import Reader, Writer

PROGRAM: Final = 100005
VERSION: Final = 3


class Mount:
    """The mount program over one export; it keeps no list of who has mounted what."""

    def __init__(self, path: str, root: bytes) -> None:
        """``path`` as clients name it, ``root`` the handle's bytes."""
        self._path, self._root = path.encode(), root

    def run(self, procedure: int, reader: Reader, writer: Writer) -> bool:
        """Run one procedure; returns whether there is such a one."""
        match procedure:
            case 0 | 4:  # NULL, UMNTALL
                reader.end()
            case 1:
                self._mnt(reader, writer)
            case 2:  # DUMP: an empty list
                reader.end()
                writer.boolean(False)
            case 3:  # UMNT
                reader.opaque(TARGET_BYTES_MAX)
                reader.end()
            case 5:
                reader.end()
                writer.boolean(True).opaque(self._path).boolean(False).boolean(False)
            case _:
                return False
        return True

    def _mnt(self, reader: Reader, writer: Writer) -> None:
        path = reader.opaque(TARGET_BYTES_MAX)
        reader.end()
        if path.rstrip(b"/") not in (self._path.rstrip(b"/"), b""):
            writer.u32(Status.NOENT)
            return
        writer.u32(Status.OK).opaque(self._root).u32(1).u32(AUTH_SYS)
