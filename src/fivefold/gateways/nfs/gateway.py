"""The gateway as a whole: a tree in a cluster, served on a port."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from fivefold import ConfigurationError, UnknownMethod, UnknownType
from fivefold.gateways.nfs.server import Server, Service
from fivefold.gateways.nfs.store import Store
from fivefold.gateways.nfs.tree import Tree

MODULE: Final = "fivefold.gateways.nfs"
"""What the servers load."""

ROOT_MODE: Final = 0o1777
"""Of a new tree's root: anybody may make files there, and nobody may remove another one's (like /tmp)."""


def check_export(export: str) -> None:
    """Refuse what cannot be an export's name.

    Raises:
        ConfigurationError: it is none.
    """
    if not export.isidentifier() or not export.isascii() or len(export) > 64:
        raise ConfigurationError(f"an export is named by up to 64 letters, digits and _: got {export!r}")


@contextmanager
def servers_know() -> Iterator[None]:
    """Say what to do if the servers have not loaded this package.

    Raises:
        ConfigurationError: they have not.
    """
    try:
        yield
    except (UnknownType, UnknownMethod):
        why = f"the servers do not know a file system: start them with --objects {MODULE}"
        raise ConfigurationError(why) from None


class Gateway:
    """Serves one export."""

    def __init__(self, store: Store, *, export: str, is_squashing: bool = True) -> None:
        """``export`` names the tree: clients mount ``/EXPORT``, and its objects' keys begin with it.

        Raises:
            ConfigurationError: that is no name for one.
        """
        check_export(export)
        self.path = f"/{export}"
        self.tree = Tree(store, export)
        self._is_squashing = is_squashing
        self._server: Server | None = None

    async def start(self, host: str, port: int, *, uid: int, gid: int) -> int:
        """Make the root if there is none, owned by ``uid`` and ``gid``, and listen; returns the port.

        Raises:
            ConfigurationError: the servers have not loaded this package, or the port cannot be had.
        """
        with servers_know():
            root = await self.tree.start(mode=ROOT_MODE, uid=uid, gid=gid)
        service = Service(self.tree, root, path=self.path, is_squashing=self._is_squashing)
        self._server = Server(service)
        try:
            return await self._server.start(host, port)
        except OSError as error:
            raise ConfigurationError(
                f"{host}:{port} cannot be listened on ({error.strerror}): choose another --port"
            ) from None

    @property
    def service(self) -> Service:
        """Answers calls; there once it is started."""
        assert self._server is not None, "start() comes first"
        return self._server.service

    async def close(self) -> None:
        """End all connections and calls."""
        if self._server is not None:
            await self._server.close()
        await self.tree.close()
