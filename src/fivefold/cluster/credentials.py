"""What a transport needs of the cluster file and the own identity; the TLS settings among it."""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from functools import cached_property

from fivefold.cluster.configuration import Configuration
from fivefold.cluster.identity import Identity
from fivefold.errors import ConfigurationError
from fivefold.protocol.operations import ClientId
from fivefold.transport import VERSION


class Credentials:
    """Who we are and who the others are; implements :class:`fivefold.transport.Credentials`.

    Attributes:
        certificate: the own certificate (DER).
        own_index: the own index if the identity is a server's.
    """

    def __init__(self, configuration: Configuration, identity: Identity) -> None:
        """Pin every certificate of the cluster file.

        Raises:
            ConfigurationError: the identity is in the cluster file neither as a server nor as a client.
        """
        self.certificate = identity.certificate
        own = configuration.server_of(identity.certificate)
        if own is None and configuration.client_of(identity.certificate) is None:
            raise ConfigurationError(
                f"the identity in {identity.directory} is not in the cluster file: add it with `fivefold client add`"
            )
        self.own_index = None if own is None else own.index
        self._configuration = configuration
        self._identity = identity
        self._peers: dict[bytes, ClientId | int] = {client.certificate: client.id for client in configuration.clients}
        self._peers.update((server.certificate, server.index) for server in configuration.servers)
        self._link_contexts: dict[int, ssl.SSLContext] = {}

    def __repr__(self) -> str:
        """The public part only."""
        return f"Credentials({self._identity!r}, own_index={self.own_index})"

    def address_of(self, server: int) -> tuple[str, int]:
        """Host and port of a server."""
        entry = self._configuration.servers[server]
        return entry.host, entry.port

    def certificate_of(self, server: int) -> bytes:
        """The pinned certificate (DER) of a server."""
        return self._configuration.servers[server].certificate

    def identify(self, certificate: bytes) -> ClientId | int | None:
        """Whose pinned certificate (DER) this is: a client's id, a server's index, or nobody's."""
        return self._peers.get(certificate)

    def listener_context(self) -> ssl.SSLContext:
        """TLS settings for incoming connections: trusts every certificate of the cluster file."""
        return self._listener_context

    def link_context(self, server: int) -> ssl.SSLContext:
        """TLS settings for connections to a server: trusts its certificate alone."""
        if server not in self._link_contexts:
            self._link_contexts[server] = self._context(ssl.PROTOCOL_TLS_CLIENT, [self.certificate_of(server)])
        return self._link_contexts[server]

    @cached_property
    def _listener_context(self) -> ssl.SSLContext:
        context = self._context(ssl.PROTOCOL_TLS_SERVER, self._peers)
        # No resumption: each connection proves its identity anew, also after the cluster file has changed.
        context.num_tickets = 0
        return context

    def _context(self, protocol: int, trusted: Iterable[bytes]) -> ssl.SSLContext:
        context = ssl.SSLContext(protocol)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        # Names prove nothing here: the one acceptable certificate is pinned, byte for byte, wherever it is found.
        context.check_hostname = False
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=b"".join(trusted))
        context.set_alpn_protocols([VERSION])
        try:
            context.load_cert_chain(self._identity.certificate_file, self._identity.signing_key_file)
        except OSError as error:
            raise ConfigurationError(f"{self._identity.directory} cannot be used: {error}") from error
        return context
