"""Follows the cluster file while a server runs: clients come, go and get other rights and rates without a restart."""

from __future__ import annotations

import logging
from pathlib import Path

from fivefold.cluster import AccessRules, Configuration, follow, load_configuration
from fivefold.errors import ConfigurationError
from fivefold.node.server.driver import ServerNode

log = logging.getLogger("fivefold.server")


class Reloader:
    """Brings a running server up to date with its cluster file.

    Clients and versions may change, and the servers with a later edition. A file that cannot be used is refused and
    logged, and the server keeps what it knew. Of a file whose edition is older than the one in use, which other servers
    may have handed on, clients and versions are used all the same.
    """

    def __init__(self, path: Path, node: ServerNode, rules: AccessRules) -> None:
        """Watch ``path``, from which the node's configuration was read; the node's machine asks ``rules``."""
        self._path = path
        self._node = node
        self._rules = rules
        # Nothing yet: a client may have been added after the file was read, while the server was starting.
        self._seen = (0, 0)

    def maybe_reload(self) -> bool:
        """Reload if the file was written since the last time; whether the clients have changed."""
        if self._mark() == self._seen:
            return False
        return self.reload()

    def reload(self) -> bool:
        """Read the file again; whether the clients have changed."""
        self._seen = self._mark()
        assert self._node.membership is not None, "a server that was started from a file follows it"
        old = self._node.membership.configuration
        try:
            file = load_configuration(self._path)
            new = follow(old, file)
            self._node.follow(new)
        except ConfigurationError as error:
            log.error("the changed cluster file %s is not used: %s", self._path, error)
            return False
        if file.edition < new.edition:
            log.warning(
                "%s is of edition %d and edition %d is in use: bring the newest file; its clients are used",
                *(self._path, file.edition, new.edition),
            )
        return self._take_clients(old, new)

    def _take_clients(self, old: Configuration, new: Configuration) -> bool:
        if new.versions != old.versions:
            self._node.activate(new.versions)
            log.info("active versions reloaded", extra={"versions": new.versions})
        self._rules.replace(new.rules)
        if new.clients == old.clients:
            return False
        log.info("clients reloaded", extra={"clients": len(new.clients)})
        return True

    def _mark(self) -> tuple[int, int]:
        try:
            status = self._path.stat()
        except OSError:
            return (0, 0)
        return (status.st_mtime_ns, status.st_ino)
