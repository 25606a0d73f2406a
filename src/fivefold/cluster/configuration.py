"""The cluster file: everything public about one cluster, the same on every server and client.

TOML, read strictly: what is unknown, missing twice or inconsistent is refused with a sentence that says what to do.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal

import msgspec
from msgspec import Struct

from fivefold.cluster.access import Rule
from fivefold.cluster.files import replace_file, write_new_file
from fivefold.cluster.identity import client_id_of, fingerprint_of, x509_der, x509_pem
from fivefold.errors import ConfigurationError
from fivefold.protocol.limits import EDITION_NUMBER_MAX
from fivefold.protocol.operations import DIGEST_BYTES, ClientId
from fivefold.protocol.quorums import QuorumSystem

FILE_BYTES_MAX: Final = 16 * 1024 * 1024
"""A cluster file with some ten thousand clients."""

RATE_MAX: Final = 1_000_000
"""Requests a second that a rate may allow; more than a server can do, so it would limit nothing."""

CLIENT_ID_BYTES: Final = 16

VERSION_MAX: Final = 2**31 - 1
"""The greatest version of a class."""

_TYPE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_HOST = re.compile(r"[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.%]{2,64}\]")


class ServerEntry(Struct, frozen=True):
    """What everybody knows of a server.

    Attributes:
        index: its number, from 0.
        host: where it listens: a name or an address.
        port: where it listens.
        certificate: its certificate (DER).
        exchange_public: its public X25519 key, 32 bytes.
        since: the edition in which this identity began.
    """

    index: int
    host: str
    port: int
    certificate: bytes
    exchange_public: bytes
    since: int = 1

    @property
    def address(self) -> str:
        """``host:port``."""
        return join_address(self.host, self.port)


class ClientEntry(Struct, frozen=True):
    """What everybody knows of a client.

    Attributes:
        name: for people; unique.
        rules: what it may do (``cluster.access``).
        certificate: its certificate (DER).
        rate: requests that each server takes from it in a second; None for as many as it can.
    """

    name: str
    rules: tuple[str, ...]
    certificate: bytes
    rate: int | None = None

    @property
    def id(self) -> ClientId:
        """The id of the client in the protocol."""
        return client_id_of(self.certificate)


class Configuration(Struct, frozen=True):
    """One cluster; made by :func:`make_configuration` or :func:`load_configuration`, which check it.

    Attributes:
        cluster_id: 16 random bytes.
        quorums: n, t, b and what follows from them.
        servers: in the order of their indices.
        clients: in the order of the file.
        versions: for a type the greatest version of its class that servers run (`fivefold upgrade`).
        edition: number of what the file says of the servers; clients and versions change within an edition.
        mover: id of the client that moves a sealed cluster to another one; empty for one that is not sealed.
        successor: what the edition of the cluster says that has taken this one's place; empty if none has.
        imported: digest of the list of objects that the cluster began with; empty if it began with none.
    """

    cluster_id: bytes
    quorums: QuorumSystem
    servers: tuple[ServerEntry, ...]
    clients: tuple[ClientEntry, ...]
    versions: dict[str, int] = {}
    edition: int = 1
    mover: bytes = b""
    successor: bytes = b""
    imported: bytes = b""

    @property
    def rates(self) -> dict[ClientId, int]:
        """The rates of the clients that have one."""
        return {client.id: client.rate for client in self.clients if client.rate is not None}

    @property
    def rules(self) -> dict[ClientId, tuple[str, ...]]:
        """The access rules of every client."""
        return {client.id: client.rules for client in self.clients}

    def server_of(self, certificate: bytes) -> ServerEntry | None:
        """The server that owns a certificate (DER)."""
        return next((server for server in self.servers if server.certificate == certificate), None)

    def client_of(self, certificate: bytes) -> ClientEntry | None:
        """The client that owns a certificate (DER)."""
        return next((client for client in self.clients if client.certificate == certificate), None)

    def client_named(self, name: str) -> ClientEntry:
        """The client of that name.

        Raises:
            ConfigurationError: there is none.
        """
        for client in self.clients:
            if client.name == name:
                return client
        known = ", ".join(client.name for client in self.clients) or "none"
        raise ConfigurationError(f"no client is named {name!r} (known: {known}): add it with `fivefold client add`")


# --- the file ---------------------------------------------------------------------------------------------------
class _ServerTable(Struct, frozen=True, forbid_unknown_fields=True):
    index: int
    address: str
    fingerprint: str
    exchange_key: str
    certificate: str
    since: int = 1


class _ClientTable(Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    allow: tuple[str, ...]
    fingerprint: str
    certificate: str
    rate: int | None = None


class _File(Struct, frozen=True, forbid_unknown_fields=True):
    format: Literal[1]
    cluster: str
    n: int
    t: int
    b: int
    servers: tuple[_ServerTable, ...]
    clients: tuple[_ClientTable, ...] = ()
    versions: dict[str, int] = {}
    edition: int = 1
    mover: str = ""
    successor: str = ""
    imported: str = ""


def load_configuration(path: Path | str) -> Configuration:
    """Read and check a cluster file.

    Raises:
        ConfigurationError: it cannot be read, or not be used.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigurationError(
            f"{path} cannot be read ({error.strerror}): name a cluster file, or make one with `fivefold init`"
        ) from error
    if len(data) > FILE_BYTES_MAX:
        raise ConfigurationError(f"{path} is larger than {FILE_BYTES_MAX} bytes: is it a cluster file?")
    try:
        return parse_configuration(data.decode())
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path}: not UTF-8 text: name a cluster file") from error
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error}") from error


def parse_configuration(text: str) -> Configuration:
    """Check the text of a cluster file.

    Raises:
        ConfigurationError: it cannot be used.
    """
    try:
        file = msgspec.convert(tomllib.loads(text), _File)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"not a cluster file: {error}") from error
    except (ValueError, RecursionError) as error:  # numbers of thousands of digits and deep nesting are no TOML errors
        raise ConfigurationError(f"not valid TOML: {error}") from error
    return make_configuration(
        cluster_id=unhex(file.cluster, 16, "cluster"),
        quorums=QuorumSystem(file.n, file.t, file.b),
        servers=tuple(map(_server_entry, file.servers)),
        clients=tuple(map(_client_entry, file.clients)),
        versions=file.versions,
        edition=file.edition,
        mover=unhex(file.mover, CLIENT_ID_BYTES if file.mover else 0, "mover"),
        successor=unhex(file.successor, len(file.successor) // 2, "successor"),
        imported=unhex(file.imported, DIGEST_BYTES if file.imported else 0, "imported"),
    )


def changed(configuration: Configuration, **changes: object) -> Configuration:
    """A configuration in which some parts are other ones, checked like any.

    Raises:
        ConfigurationError: they do not fit.
    """
    return make_configuration(**(msgspec.structs.asdict(configuration) | changes))


def make_configuration(
    *,
    cluster_id: bytes,
    quorums: QuorumSystem,
    servers: tuple[ServerEntry, ...],
    clients: tuple[ClientEntry, ...],
    versions: Mapping[str, int] = MappingProxyType({}),
    edition: int = 1,
    mover: bytes = b"",
    successor: bytes = b"",
    imported: bytes = b"",
) -> Configuration:
    """Check the parts of a configuration against each other.

    Raises:
        ConfigurationError: they do not fit.
    """
    if len(servers) != quorums.n:
        raise ConfigurationError(f"n is {quorums.n} but {len(servers)} servers are listed: correct n or the list")
    if [server.index for server in servers] != list(range(quorums.n)):
        raise ConfigurationError("the servers' indices must be 0, 1, 2, … in this order: renumber them")
    _refuse_twice("server address", (server.address.lower() for server in servers))
    _refuse_twice("exchange key", (server.exchange_public.hex() for server in servers))
    _refuse_twice("client name", (client.name for client in clients))
    # A client with a server's certificate would be both; two clients with one certificate would be one to the servers.
    certificates = [*(server.certificate for server in servers), *(client.certificate for client in clients)]
    _refuse_twice("certificate", map(fingerprint_of, certificates))
    for client in clients:
        check_client(client)
    for name, version in versions.items():
        if not _TYPE.fullmatch(name) or not 1 <= version <= VERSION_MAX:
            raise ConfigurationError(f"versions: {name} = {version} is no version of a type: write one as Names = 2")
    _check_edition(edition, [server.since for server in servers])
    if len(mover) not in (0, CLIENT_ID_BYTES) or len(imported) not in (0, DIGEST_BYTES):
        raise ConfigurationError("mover or imported is not of the right length: only `fivefold` writes these lines")
    if successor and not mover:
        raise ConfigurationError("the cluster has moved but was never sealed: only `fivefold move` writes these lines")
    versions = dict(sorted(versions.items()))
    return Configuration(cluster_id, quorums, servers, clients, versions, edition, mover, successor, imported)


def _check_edition(edition: int, since: Sequence[int]) -> None:
    """Each edition begins one identity at most: more at once could be more than may fail."""
    if not 1 <= edition <= EDITION_NUMBER_MAX:
        raise ConfigurationError(f"edition = {edition} is no number of an edition: the first is 1, the next one higher")
    for index, each in enumerate(since):
        if not 1 <= each <= edition:
            raise ConfigurationError(
                f"server {index} is said to be there since edition {each} of {edition}: change servers with "
                "`fivefold server`, which writes these numbers"
            )
    _refuse_twice("beginning of an identity in edition", (str(each) for each in since if each > 1))


def check_client(client: ClientEntry) -> None:
    """Check a client's name, rules and rate.

    Raises:
        ConfigurationError: one of them cannot be used.
    """
    if not _NAME.fullmatch(client.name):
        raise ConfigurationError(
            f"{client.name!r} cannot name a client: use letters, digits, '.', '_' and '-', 64 at most"
        )
    for rule in client.rules:
        try:
            Rule.parse(rule)
        except ConfigurationError as error:
            raise ConfigurationError(f"client {client.name}: {error}") from error
    if client.rate is not None and not 1 <= client.rate <= RATE_MAX:
        raise ConfigurationError(
            f"client {client.name}: a rate is 1 to {RATE_MAX} requests a second, not {client.rate}: leave it out for "
            "a client that is not to be limited"
        )


def save_configuration(path: Path, configuration: Configuration, *, is_new: bool) -> None:
    """Write a cluster file, whole or not at all.

    Args:
        path: where.
        configuration: what.
        is_new: whether a file there is an error, or the one to replace.

    Raises:
        ConfigurationError: the file exists although it should not, or cannot be written.
    """
    write = write_new_file if is_new else replace_file
    write(path, format_configuration(configuration).encode(), mode=0o644)


def format_configuration(configuration: Configuration) -> str:
    """The text of a cluster file: the same for equal configurations."""
    quorums = configuration.quorums
    lines = [
        "# A Fivefold cluster: public facts only, the same file for every server and client.",
        "# Change it with `fivefold`, then copy it to all servers.",
        "format = 1",
        f'cluster = "{configuration.cluster_id.hex()}"',
        f"n = {quorums.n}  # servers",
        f"t = {quorums.t}  # servers that may fail at once",
        f"b = {quorums.b}  # servers among them that may lie",
        f"edition = {configuration.edition}  # one higher with each change of a server",
    ]
    if configuration.imported:
        lines += [f'imported = "{configuration.imported.hex()}"  # the list of objects that the servers began with']
    if configuration.mover:
        lines += [f'mover = "{configuration.mover.hex()}"  # sealed: this client moves it to another cluster']
    if configuration.successor:
        lines += [f'successor = "{configuration.successor.hex()}"']
    if configuration.versions:
        lines += ["", "[versions]", *[f"{name} = {version}" for name, version in configuration.versions.items()]]
    for server in configuration.servers:
        lines += ["", "[[servers]]", f"index = {server.index}", f'address = "{server.address}"']
        lines += [f"since = {server.since}  # the edition in which this identity began"] if server.since > 1 else []
        lines += [f'exchange_key = "{server.exchange_public.hex()}"', *certificate_lines(server.certificate)]
    for client in configuration.clients:
        lines += ["", "[[clients]]", f'name = "{client.name}"']
        lines += [f"allow = [{', '.join(map(_quote, client.rules))}]"]
        lines += [f"rate = {client.rate}"] if client.rate is not None else []
        lines += certificate_lines(client.certificate)
    return "\n".join(lines) + "\n"


# --- addresses --------------------------------------------------------------------------------------------------
def split_address(address: str) -> tuple[str, int]:
    """Host and port of ``host:port`` (``[host]:port`` for an IPv6 address).

    Raises:
        ConfigurationError: it is neither.
    """
    host, colon, port = address.rpartition(":")
    if not colon or not _HOST.fullmatch(host):
        raise ConfigurationError(f"{address!r} is no address: write host:port, or [host]:port for IPv6")
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and 1 <= int(port) <= 65535):
        raise ConfigurationError(f"{address!r} has no valid port: use a number from 1 to 65535")
    return host.strip("[]"), int(port)


def join_address(host: str, port: int) -> str:
    """``host:port``, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


# --- details ------------------------------------------------------------------------------------------------------
def _server_entry(table: _ServerTable) -> ServerEntry:
    where = f"server {table.index}"
    host, port = split_address(table.address)
    return ServerEntry(
        index=table.index,
        host=host,
        port=port,
        certificate=parse_certificate(table.certificate, table.fingerprint, where),
        exchange_public=unhex(table.exchange_key, 32, f"exchange_key of {where}"),
        since=table.since,
    )


def _client_entry(table: _ClientTable) -> ClientEntry:
    certificate = parse_certificate(table.certificate, table.fingerprint, f"client {table.name}")
    return ClientEntry(table.name, table.allow, certificate, table.rate)


def parse_certificate(pem: str, fingerprint: str, where: str) -> bytes:
    """The certificate (DER) that a file gives with its fingerprint; ``where`` is whose it is, for messages.

    Raises:
        ConfigurationError: they do not fit.
    """
    certificate = x509_der(pem.encode(), where)
    if fingerprint_of(certificate) != fingerprint.lower():
        raise ConfigurationError(f"the fingerprint of {where} is not that of its certificate: find out which is right")
    return certificate


def certificate_lines(certificate: bytes) -> list[str]:
    """Lines of TOML that give a certificate (DER) and its fingerprint."""
    pem = x509_pem(certificate).strip()
    return [f'fingerprint = "{fingerprint_of(certificate)}"', f'certificate = """\n{pem}\n"""']


def unhex(text: str, size: int, what: str) -> bytes:
    """Bytes from ``2 * size`` hexadecimal digits; ``what`` they are is for the message.

    Raises:
        ConfigurationError: they are something else.
    """
    if not re.fullmatch(rf"[0-9A-Fa-f]{{{2 * size}}}", text):
        raise ConfigurationError(f"{what} must be {2 * size} hexadecimal digits: got {text[:80]!r}")
    return bytes.fromhex(text)


def _refuse_twice(what: str, values: Iterable[str]) -> None:
    seen: set[str] = set()
    for value in values:
        if value in seen:
            raise ConfigurationError(f"the {what} {value} appears twice: each member needs its own")
        seen.add(value)


def _quote(text: str) -> str:
    """A TOML basic string; access rules have no control characters."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
