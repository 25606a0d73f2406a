"""Puts a server together from its cluster file, identity, data directory and object types."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from fivefold.cluster import (
    AccessRules,
    Configuration,
    Credentials,
    Identity,
    ServerEntry,
    access_rules,
    derive_mac_keys,
    edition_of,
    keep_edition,
    macs_under,
)
from fivefold.errors import ConfigurationError, DataDirectoryError
from fivefold.node.server.driver import ServerNode
from fivefold.node.server.liar import CorruptKeys, LyingCodes, check_lie
from fivefold.node.server.membership import Membership
from fivefold.objects import Registry
from fivefold.protocol.authenticators import AuthenticatorKeys
from fivefold.protocol.limits import CACHED_BYTES_MAX, CACHED_OBJECTS_MIN
from fivefold.protocol.operations import Codes
from fivefold.protocol.server import Server
from fivefold.storage import RECORD_NAME, MemoryStorage, Storage, imported_into, open_data
from fivefold.transport import CONNECTIONS_PER_PEER_MAX, StreamTransport


class ServerOptions(Struct, frozen=True, kw_only=True):
    """How to run a server.

    Attributes:
        data: directory for its data; None keeps everything in memory, and a restart forgets it.
        listen: host and port to listen on, if not those of the cluster file.
        tls: False for experiments on loopback.
        cached_objects_max: objects kept in memory beside a store; at least CACHED_OBJECTS_MIN.
        cached_bytes_max: about how many bytes these may take.
        connections_max: connections taken from one identity at a time.
        judge_every: native code works out each request; of every N, Python works out one, too. 0: none.
        scrubs: whether it compares its objects with the others' and verifies what clients leave: always but in
            experiments.
        helps: whether clients' calls are announced here for others to carry (helping).
        lie: for the demo and tests: what to lie about.
    """

    data: Path | None
    listen: tuple[str, int] | None = None
    tls: bool = True
    cached_objects_max: int = 100_000
    cached_bytes_max: int = CACHED_BYTES_MAX
    connections_max: int = CONNECTIONS_PER_PEER_MAX
    scrubs: bool = True
    helps: bool = True
    lie: str | None = None
    judge_every: int = 0


def assemble_server(
    configuration: Configuration,
    identity: Identity,
    registry: Registry,
    options: ServerOptions,
    rules: AccessRules | None = None,
) -> ServerNode:
    """A server ready to be started on the running event loop.

    ``rules`` are those of the configuration unless they are given, by a caller who means to replace them later.

    Raises:
        ConfigurationError: the identity is not that of a server of the cluster, or an option cannot be used.
    """
    index = _own_index(configuration, identity, options)
    make_keys: type[AuthenticatorKeys] = AuthenticatorKeys
    registry.shelf.active = configuration.versions
    codes: Codes = registry.shelf
    if options.lie is not None:
        make_keys, codes = _lying(options.lie, codes)

    def keys_of(each: Configuration) -> AuthenticatorKeys:
        return make_keys(index, *derive_mac_keys(identity, each, index), macs_under)

    machine = Server(
        configuration.quorums,
        keys_of(configuration),
        registry,
        rules or access_rules(configuration, registry),
        cached_objects_max=options.cached_objects_max,
        cached_bytes_max=options.cached_bytes_max,
        has_store=options.data is not None,
        codes=codes,
        edition=edition_of(configuration),
        has_scrub=options.scrubs,
        queries=registry.open_queries,
    )
    transport = StreamTransport(
        Credentials(configuration, identity),
        tls=options.tls,
        listen_address=options.listen,
        connections_per_peer_max=options.connections_max,
    )

    def open_storage(on_durable: Callable[[int], None]) -> Storage:
        if options.data is None:
            _refuse_to_forget(identity)
            return MemoryStorage()
        names, loop = (configuration.cluster_id.hex(), identity.fingerprint), asyncio.get_running_loop()
        return open_data(options.data, identity.directory, *names, loop, on_durable, fresh_allowed=True)

    return ServerNode(
        _switched(machine, options),
        transport,
        open_storage,
        storage_name="sqlite" if options.data else "memory",
        rates=configuration.rates,
        shelf=registry.shelf,
        membership=Membership(configuration, identity, keys_of, identity.directory if options.data else None),
    )


def _switched(machine: Server, options: ServerOptions) -> Server:
    machine.pool.is_open = options.helps
    if machine.natively is not None:
        machine.natively.judge_every = options.judge_every
    return machine


def _own_index(configuration: Configuration, identity: Identity, options: ServerOptions) -> int:
    """The server's index, by an edition that is durable now.

    Raises:
        ConfigurationError: the identity is not that of a server of the cluster, or an option cannot be used.
    """
    if not __debug__:
        raise ConfigurationError("a server needs its assertions: start it without -O, and with PYTHONOPTIMIZE unset")
    if options.cached_objects_max < CACHED_OBJECTS_MIN:
        raise ConfigurationError(
            f"a server must keep at least {CACHED_OBJECTS_MIN} objects in memory: got {options.cached_objects_max}"
        )
    entry = configuration.server_of(identity.certificate)
    if entry is None:
        raise ConfigurationError(
            f"the identity in {identity.directory} is not that of a server in edition {configuration.edition} of the "
            "cluster file: use the server's own directory, and if it was replaced, that of its new identity"
        )
    _check_import(configuration, identity, entry, options)
    if options.data is not None:
        keep_edition(configuration, identity.directory)
    return entry.index


def _check_import(configuration: Configuration, identity: Identity, entry: ServerEntry, options: ServerOptions) -> None:
    """M3: the first servers of a cluster that began with objects begin with all of them; newcomers read the others'.

    Raises:
        ConfigurationError: this one has begun with nothing, or with another list.
    """
    if not configuration.imported or entry.since > 1:
        return
    if options.data is None or imported_into(identity.directory) != configuration.imported:
        raise ConfigurationError(
            f"this cluster begins with the objects of another one (list {configuration.imported.hex()[:16]}…), and "
            f"server {entry.index} has not taken these over: run `fivefold restore COPY --cluster … --identity …` first"
        )


def _lying(lie: str, codes: Codes) -> tuple[type[AuthenticatorKeys], Codes]:
    """Keys and code of which one lies."""
    check_lie(lie)
    return (CorruptKeys, codes) if lie == "macs" else (AuthenticatorKeys, LyingCodes(codes))


def _refuse_to_forget(identity: Identity) -> None:
    """A server that has stored data and now starts without would answer with forgotten history (PROTOCOL §9)."""
    if (identity.directory / RECORD_NAME).exists():
        raise DataDirectoryError(
            f"the server of {identity.directory} has stored data: start it with them, or make another cluster to keep "
            "things in memory"
        )
