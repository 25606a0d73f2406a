"""Follows the cluster file while a server runs: clients come, go and get other rights and rates without a restart."""

from __future__ import annotations

import logging
from pathlib import Path

from fivefold.cluster import AccessRules, Configuration, Credentials, Identity, load_configuration
from fivefold.errors import ConfigurationError
from fivefold.node.server.driver import ServerNode
from fivefold.transport import Peer

log = logging.getLogger("fivefold.server")


class Reloader:
    """Brings a running server up to date with its cluster file.

    Only the list of clients may change. A file that cannot be used, or that changes anything else, is refused and
    logged, and the server keeps what it knew.
    """

    def __init__(
        self, path: Path, configuration: Configuration, identity: Identity, node: ServerNode, rules: AccessRules
    ) -> None:
        """Watch ``path``, from which ``configuration`` was read; the node's machine asks ``rules``."""
        self._path = path
        self._configuration = configuration
        self._identity = identity
        self._node = node
        self._rules = rules
        # Nothing yet: a client may have been added after `configuration` was read, while the server was starting.
        self._seen = (0, 0)

    def maybe_reload(self) -> bool:
        """Reload if the file was written since the last time; whether the clients have changed."""
        if self._mark() == self._seen:
            return False
        return self.reload()

    def reload(self) -> bool:
        """Read the file again; whether the clients have changed."""
        self._seen = self._mark()
        try:
            new = load_configuration(self._path)
            self._refuse_other_servers(new)
        except ConfigurationError as error:
            log.error("the changed cluster file is not used: %s", error)
            return False
        if new.versions != self._configuration.versions:
            self._node.activate(new.versions)
            log.info("active versions reloaded", extra={"versions": new.versions})
        if new.clients == self._configuration.clients:
            self._configuration = new
            return False
        self._configuration = new
        self._rules.replace(new.rules)
        self._node.follow(Credentials(new, self._identity), self._is_member, new.rates)
        log.info("clients reloaded", extra={"clients": len(new.clients)})
        return True

    def _is_member(self, peer: Peer) -> bool:
        return isinstance(peer, int) or any(client.id == peer for client in self._configuration.clients)

    def _refuse_other_servers(self, new: Configuration) -> None:
        if _fixed(new) != _fixed(self._configuration):
            raise ConfigurationError(
                f"{self._path} has other servers than at the start: only clients may change while a cluster exists"
            )

    def _mark(self) -> tuple[int, int]:
        try:
            status = self._path.stat()
        except OSError:
            return (0, 0)
        return (status.st_mtime_ns, status.st_ino)


def _fixed(configuration: Configuration) -> tuple[object, ...]:
    """What must stay the same while a cluster exists."""
    quorums = configuration.quorums
    return configuration.cluster_id, quorums.n, quorums.t, quorums.b, configuration.servers
