"""Making the files of a cluster: ``fivefold init`` and ``fivefold client add``.

::

    DIRECTORY/cluster.toml      public; for every server and client
    DIRECTORY/server-0/ …       private identity of each server; moved to its host
    DIRECTORY/client-admin/     private identity of the first client
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Final

import msgspec

from fivefold.cluster.configuration import (
    ClientEntry,
    Configuration,
    ServerEntry,
    changed,
    check_client,
    load_configuration,
    make_configuration,
    save_configuration,
    split_address,
)
from fivefold.cluster.identity import Identity, create_identity
from fivefold.cluster.publishing import PublicHalf, public_half
from fivefold.errors import ConfigurationError
from fivefold.protocol.quorums import QuorumSystem

CLUSTER_FILE: Final = "cluster.toml"
ADMIN: Final = "admin"
"""Name of the first client; it may do everything."""


def server_directory(directory: Path, index: int) -> Path:
    """Where the identity of a server is made."""
    return directory / f"server-{index}"


def client_directory(directory: Path, name: str) -> Path:
    """Where the identity of a client is made, and looked for."""
    return directory / f"client-{name}"


def quorums_of(
    faults: int | None = None, *, n: int | None = None, t: int | None = None, b: int | None = None
) -> QuorumSystem:
    """The servers that a user's numbers mean; the same for every command.

    Args:
        faults: t and b at once.
        n: servers; by default as few as t and b allow.
        t: faulty servers to tolerate; by default b, or else 1.
        b: malevolent ones among them; by default t.

    Raises:
        ConfigurationError: faults beside t or b, or too few servers.
    """
    if faults is not None and (t is not None or b is not None):
        raise ConfigurationError("--faults gives t and b at once: leave it out, or leave -t and -b out")
    if faults is not None:
        t = b = faults
    if t is None:
        t = 1 if b is None else b
    b = t if b is None else b
    return QuorumSystem(3 * t + 2 * b + 1 if n is None else n, t, b)


def create_cluster(
    directory: Path,
    addresses: Sequence[str],
    *,
    t: int,
    b: int,
    publics: Mapping[int, PublicHalf] = MappingProxyType({}),
    successor_of: Configuration | None = None,
    imported: bytes = b"",
) -> Configuration:
    """Make cluster file and identities for servers at ``host:port`` each, and the client ``admin``.

    Nothing is written if a check fails; nothing that exists is overwritten.

    Args:
        directory: for all of it.
        addresses: of the servers.
        t: how many may fail.
        b: how many of these may lie.
        publics: public halves of identities that exist, by the servers' indices; the other servers' are made.
        successor_of: a cluster whose clients and active versions this one has, in place of a new admin.
        imported: digest of the list of objects that its servers begin with.

    Raises:
        ConfigurationError: too few servers for t and b, an address is bad or given twice, files exist already, or an
            identity is that of a server of the other cluster.
    """
    quorums = QuorumSystem(len(addresses), t, b)
    places = [split_address(address) for address in addresses]
    if len(set(places)) != len(places):
        raise ConfigurationError("an address is given twice: each server needs its own")
    members = {index: server_directory(directory, index) for index in range(quorums.n) if index not in publics}
    admins = [client_directory(directory, ADMIN)] if successor_of is None else []
    for path in (directory / CLUSTER_FILE, *members.values(), *admins):
        if path.exists():
            raise ConfigurationError(f"{path} exists already: choose another directory, or move it away")
    if len({half.certificate for half in publics.values()}) != len(publics):
        raise ConfigurationError("two servers have one identity: each owner hands over that of its own server")
    if successor_of is not None and any(successor_of.server_of(half.certificate) for half in publics.values()):
        raise ConfigurationError("a server of the old cluster cannot serve the new one: make it a new identity")
    servers = []
    for index, (host, port) in enumerate(places):
        if index in members:
            half = public_half(create_identity(members[index], name=f"server-{index}"))
        else:
            half = publics[index]
        servers.append(ServerEntry(index, host, port, half.certificate, half.exchange_public))
    clients: tuple[ClientEntry, ...] = () if successor_of is None else successor_of.clients
    for path in admins:
        clients = (ClientEntry(ADMIN, ("*",), create_identity(path, name=ADMIN).certificate),)
    configuration = make_configuration(
        cluster_id=secrets.token_bytes(16),
        quorums=quorums,
        servers=tuple(servers),
        clients=clients,
        versions={} if successor_of is None else successor_of.versions,
        imported=imported,
    )
    save_configuration(directory / CLUSTER_FILE, configuration, is_new=True)
    return configuration


def add_client(
    cluster_file: Path, name: str, rules: Sequence[str], directory: Path | None = None, *, rate: int | None = None
) -> Identity:
    """Make an identity for a new client and enter it in the cluster file, which must then reach every server.

    Args:
        cluster_file: is replaced, whole or not at all.
        name: of the client.
        rules: what it may do.
        directory: for the identity; by default ``client-NAME`` beside the cluster file.
        rate: requests that each server takes from it in a second; None for as many as it can.

    Raises:
        ConfigurationError: the name is taken, a rule or the rate is bad, or the identity exists already.
    """
    with locked(cluster_file):
        configuration = load_configuration(cluster_file)
        if any(client.name == name for client in configuration.clients):
            raise ConfigurationError(f"a client is named {name!r} already: choose another name")
        if not rules:
            raise ConfigurationError("the client would have no rights: give at least one rule, such as '*'")
        check_client(ClientEntry(name, tuple(rules), b"", rate))
        identity = create_identity(directory or client_directory(cluster_file.parent, name), name=name)
        entry = ClientEntry(name, tuple(rules), identity.certificate, rate)
        _save_clients(cluster_file, configuration, (*configuration.clients, entry))
    return identity


def remove_client(cluster_file: Path, name: str) -> None:
    """Take a client out of the cluster file: servers that have read it know the client no more.

    Raises:
        ConfigurationError: there is no such client.
    """
    with locked(cluster_file):
        configuration = load_configuration(cluster_file)
        gone = configuration.client_named(name)
        _save_clients(cluster_file, configuration, tuple(c for c in configuration.clients if c != gone))


OLD: Final = ".old"
"""What the name of a client's former identity ends with, while both are known."""


def rotate_client(cluster_file: Path, name: str, directory: Path | None = None) -> Identity:
    """Give a client a new identity beside its old one, which stays known until :func:`forget_old_client`.

    To the servers these are two clients with the same rights, and each may use the whole rate.

    Args:
        cluster_file: is replaced, whole or not at all; it must then reach every server.
        name: of the client; it names the new identity from now on.
        directory: where the new identity goes; by default beside the file.

    Raises:
        ConfigurationError: there is no such client, its last change of identity is not finished, or the new identity
            exists already.
    """
    with locked(cluster_file):
        configuration = load_configuration(cluster_file)
        old = configuration.client_named(name)
        if any(client.name == name + OLD for client in configuration.clients):
            raise ConfigurationError(
                f"{name} still has the identity from before its last change: run `fivefold client rotate {name} "
                "--finish` first"
            )
        former = msgspec.structs.replace(old, name=name + OLD)
        check_client(former)
        default = client_directory(cluster_file.parent, name)
        identity = create_identity(directory or default.with_name(default.name + ".new"), name=name)
        new = msgspec.structs.replace(old, certificate=identity.certificate)
        others = tuple(client for client in configuration.clients if client != old)
        _save_clients(cluster_file, configuration, (*others, new, former))
    return identity


def forget_old_client(cluster_file: Path, name: str) -> None:
    """Take the former identity of a client out of the cluster file.

    Raises:
        ConfigurationError: it has none.
    """
    known = [client.name for client in load_configuration(cluster_file).clients]
    if name + OLD not in known:
        raise ConfigurationError(f"{name} has one identity only: begin with `fivefold client rotate {name}`")
    remove_client(cluster_file, name + OLD)


def limit_client(cluster_file: Path, name: str, rate: int | None) -> None:
    """Give a client another rate, or none; the file must then reach every server.

    Raises:
        ConfigurationError: there is no such client, or the rate is bad.
    """
    with locked(cluster_file):
        configuration = load_configuration(cluster_file)
        old = configuration.client_named(name)
        new = msgspec.structs.replace(old, rate=rate)
        check_client(new)
        _save_clients(cluster_file, configuration, tuple(new if c == old else c for c in configuration.clients))


def activate_version(cluster_file: Path, name: str, version: int) -> None:
    """Say which version of a type servers run; the file must then reach every server.

    Raises:
        ConfigurationError: that is no version of a type.
    """
    with locked(cluster_file):
        old = load_configuration(cluster_file)
        new = changed(old, versions={**old.versions, name: version})
        save_configuration(cluster_file, new, is_new=False)


def move_server(cluster_file: Path, index: int, address: str) -> Configuration:
    """Make the next edition of a cluster file, in which one server has another address; every server must get it.

    Raises:
        ConfigurationError: there is no such server, or the address is bad, its own, or another's.
    """
    with locked(cluster_file):
        old = load_open(cluster_file)
        host, port = split_address(address)
        server = server_at(old, index)
        if (server.host, server.port) == (host, port):
            raise ConfigurationError(f"server {index} is at {address} already: name its new address")
        return _save_server(cluster_file, old, msgspec.structs.replace(server, host=host, port=port))


def replace_server(
    cluster_file: Path, index: int, *, address: str | None = None, public: PublicHalf | None = None
) -> tuple[Configuration, Path | None]:
    """Make a new identity for a server that is lost, and the next edition of the cluster file, which has it.

    Args:
        cluster_file: is replaced, whole or not at all; every server must get it.
        index: of the server.
        address: where the new one will be; by default where the old one was.
        public: the public half of an identity that its owner has made; by default one is made here.

    Returns:
        The new edition, and the directory of the new identity if it was made.

    Raises:
        ConfigurationError: there is no such server, the address is another's, or the identity exists already.
    """
    with locked(cluster_file):
        old = load_open(cluster_file)
        server = server_at(old, index)
        host, port = (server.host, server.port) if address is None else split_address(address)
        number, made = old.edition + 1, None
        if public is None:
            made = cluster_file.parent / f"server-{index}-edition-{number}"
            public = public_half(create_identity(made, name=f"server-{index}"))
        entry = ServerEntry(index, host, port, public.certificate, public.exchange_public, number)
        return _save_server(cluster_file, old, entry), made


def server_at(configuration: Configuration, index: int) -> ServerEntry:
    """The server of that index.

    Raises:
        ConfigurationError: there is none.
    """
    if not 0 <= index < configuration.quorums.n:
        raise ConfigurationError(
            f"no server {index} is in the cluster file: name one of 0 to {configuration.quorums.n - 1}"
        )
    return configuration.servers[index]


def _save_server(cluster_file: Path, old: Configuration, server: ServerEntry) -> Configuration:
    """The next edition, in which one server is another one."""
    servers = tuple(server if each.index == server.index else each for each in old.servers)
    new = changed(old, servers=servers, edition=old.edition + 1)
    save_configuration(cluster_file, new, is_new=False)
    return new


def find_identity(cluster_file: Path, name: str | None = None) -> Path:
    """The directory of a client's identity beside the cluster file.

    Args:
        cluster_file: where to look.
        name: of the client; by default the environment's FIVEFOLD_IDENTITY (a directory), else the only client's
            whose identity is there, else admin's.

    Raises:
        ConfigurationError: there is none, or more than one to choose from.
    """
    if name is not None:
        return _existing(client_directory(cluster_file.parent, name))
    if chosen := os.environ.get("FIVEFOLD_IDENTITY"):
        return _existing(Path(chosen))
    found = sorted(path for path in cluster_file.parent.glob("client-*") if path.is_dir())
    if len(found) == 1:
        return found[0]
    if not found or client_directory(cluster_file.parent, ADMIN) in found:
        return _existing(client_directory(cluster_file.parent, ADMIN))
    raise ConfigurationError(f"{len(found)} identities lie beside {cluster_file}: say which client you are")


def _existing(directory: Path) -> Path:
    if not directory.is_dir():
        raise ConfigurationError(f"no identity is in {directory}: name its directory, or run `fivefold client add`")
    return directory


def _save_clients(cluster_file: Path, configuration: Configuration, clients: tuple[ClientEntry, ...]) -> None:
    changed = msgspec.structs.replace(configuration, clients=clients)
    save_configuration(cluster_file, changed, is_new=False)


def load_open(cluster_file: Path) -> Configuration:
    """The cluster file of a cluster whose servers may change.

    Raises:
        ConfigurationError: it is sealed, or cannot be used.
    """
    configuration = load_configuration(cluster_file)
    if configuration.successor:
        raise ConfigurationError("the cluster has moved to another one: use that one's cluster file")
    if configuration.mover:
        raise ConfigurationError(
            "the cluster is sealed, since it moves to another one: finish that with `fivefold move`, or give it up"
        )
    return configuration


@contextmanager
def locked(cluster_file: Path) -> Iterator[None]:
    """Keep a second `client add` on this machine out: it would undo the first."""
    try:
        descriptor = os.open(cluster_file.parent, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise ConfigurationError(f"{cluster_file} cannot be found: name a cluster file") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
