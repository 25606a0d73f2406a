"""Editions of the cluster file: what servers must agree on, handed on from one to the next, and never taken back.

An edition covers the cluster's id and size and the servers' identities and addresses. Clients and versions of types are
no part of it: they come with the file at hand, and change without a new number (docs/decisions/0016).

Handed on is not the text of the file, which each program words as it likes, but its canonical bytes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from fivefold.cluster.configuration import (
    Configuration,
    ServerEntry,
    changed,
    load_configuration,
    make_configuration,
    save_configuration,
    split_address,
)
from fivefold.cluster.identity import EXCHANGE_KEY_BYTES, is_certificate
from fivefold.errors import ConfigurationError
from fivefold.protocol.editions import Edition
from fivefold.protocol.operations import digest
from fivefold.protocol.quorums import QuorumSystem

EDITION_FILE: Final = "edition.toml"
"""In a server's identity directory: the newest edition that it has used."""

TWO_FILES: Final = 'two were made, see "Two files of one number" in the how-to "Replace a lost server"'
"""What to do about two files of one edition."""


class _Servers(Struct, frozen=True, array_like=True):
    """What an edition covers; the addresses as text, so that there is one way to write each."""

    cluster_id: bytes
    n: int
    t: int
    b: int
    edition: int
    servers: tuple[tuple[str, bytes, bytes, int], ...]
    mover: bytes = b""
    successor: bytes = b""
    imported: bytes = b""


_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(_Servers)


def encode_edition(configuration: Configuration) -> bytes:
    """The canonical bytes of what an edition covers."""
    quorums = configuration.quorums
    servers = tuple(
        (server.address, server.certificate, server.exchange_public, server.since) for server in configuration.servers
    )
    told = (configuration.cluster_id, quorums.n, quorums.t, quorums.b, configuration.edition, servers)
    rest = (configuration.mover, configuration.successor, configuration.imported)
    return _encoder.encode(told + rest if any(rest) else told)


def edition_of(configuration: Configuration) -> Edition:
    """What the protocol needs to know of a cluster file's edition."""
    since = tuple(server.since for server in configuration.servers)
    name = digest(encode_edition(configuration))
    return Edition(configuration.edition, name, since, configuration.mover, bool(configuration.successor))


def decode_edition(contents: bytes, own: Configuration) -> Configuration:
    """An edition that servers have handed over, with the clients and versions of the file at hand.

    Raises:
        ConfigurationError: these are not the canonical bytes of an edition that can follow ``own``.
    """
    new = _decoded(contents, own)
    check_follows(own, new)
    return new


def successor_of(own: Configuration) -> Configuration | None:
    """The cluster that has taken this one's place, with the clients and versions of the file at hand; None if none has.

    Raises:
        ConfigurationError: what the file says of it is no edition of another cluster.
    """
    if not own.successor:
        return None
    new = _decoded(own.successor, own)
    if new.cluster_id == own.cluster_id:
        raise ConfigurationError("the file says that the cluster has moved to itself: bring the right one")
    return new


def _decoded(contents: bytes, own: Configuration) -> Configuration:
    try:
        found = _decoder.decode(contents)
        new = make_configuration(
            cluster_id=found.cluster_id,
            quorums=QuorumSystem(found.n, found.t, found.b),
            servers=tuple(_entry(index, *each) for index, each in enumerate(found.servers)),
            clients=own.clients,
            versions=own.versions,
            edition=found.edition,
            mover=found.mover,
            successor=found.successor,
            imported=found.imported,
        )
    except (ConfigurationError, ValueError, msgspec.MsgspecError, RecursionError) as error:
        raise ConfigurationError(f"what servers hand over as a newer edition is none: {error}") from error
    if encode_edition(new) != contents:
        raise ConfigurationError("what servers hand over as a newer edition is none: it is not canonical")
    return new


def _entry(index: int, address: str, certificate: bytes, exchange_public: bytes, since: int) -> ServerEntry:
    if not is_certificate(certificate) or len(exchange_public) != EXCHANGE_KEY_BYTES:
        raise ConfigurationError(f"server {index} has no identity")
    return ServerEntry(index, *split_address(address), certificate, exchange_public, since)


def check_follows(own: Configuration, new: Configuration) -> None:
    """Whether a file may be used in place of the one in use: it is of the same edition, or of a later one.

    Raises:
        ConfigurationError: it is another cluster's, of another size, older, another file of the same number, or brings
            back an identity that was replaced.
    """
    _refuse_foreign(own, new)
    used, found = edition_of(own), edition_of(new)
    if found.number < used.number:
        raise ConfigurationError(
            f"it is of edition {found.number}, and edition {used.number} is in use: bring the newest cluster file"
        )
    if found.number == used.number and found.digest != used.digest:
        raise ConfigurationError(
            f"it is another file of edition {found.number} than the one in use ({found.digest.hex()[:8]}, not "
            f"{used.digest.hex()[:8]}): {TWO_FILES}"
        )
    if own.successor and found.number > used.number:
        raise ConfigurationError("the cluster has moved to another one for good: use that one's cluster file")
    if new.imported != own.imported:
        raise ConfigurationError("it says that the cluster began with other objects: bring this cluster's file")
    successor_of(new)
    for before, after in zip(own.servers, new.servers, strict=True):
        _check_identity(before, after)


def follow(own: Configuration, file: Configuration) -> Configuration:
    """The newer of two editions, with the clients and versions of ``file``, the one at hand.

    Raises:
        ConfigurationError: they are of different clusters or sizes, or two files of one edition.
    """
    _refuse_foreign(own, file)
    if file.edition >= own.edition:
        check_follows(own, file)
        return file
    return changed(own, clients=file.clients, versions=file.versions)


def newest_edition(file: Configuration, identity_directory: Path) -> Configuration:
    """What a server starts with: the file at hand, or the edition that it has used before if that is newer.

    Raises:
        ConfigurationError: the file is another cluster's, or another one of the edition used; or the record of the
            edition cannot be read.
    """
    path = identity_directory / EDITION_FILE
    if not path.exists():
        return file
    return follow(load_configuration(path), file)


def keep_edition(configuration: Configuration, identity_directory: Path) -> None:
    """Make the edition durable, before it is used: a server never goes back to an older one.

    Raises:
        ConfigurationError: it cannot be written.
    """
    path = identity_directory / EDITION_FILE
    servers = msgspec.structs.replace(configuration, clients=(), versions={})
    if not path.exists() or edition_of(load_configuration(path)) != edition_of(servers):
        save_configuration(path, servers, is_new=False)


def _refuse_foreign(own: Configuration, new: Configuration) -> None:
    if new.cluster_id != own.cluster_id:
        raise ConfigurationError(
            f"it is the file of another cluster ({new.cluster_id.hex()}, not {own.cluster_id.hex()}): bring this one's"
        )
    sizes = [(each.quorums.n, each.quorums.t, each.quorums.b) for each in (own, new)]
    if sizes[0] != sizes[1]:
        raise ConfigurationError("it says another n, t or b: use `fivefold move` to change them")


def _check_identity(before: ServerEntry, after: ServerEntry) -> None:
    """An identity that was replaced never comes back, and each new one says since when it is there."""
    is_same = (before.certificate, before.exchange_public) == (after.certificate, after.exchange_public)
    if is_same and before.since == after.since:
        return
    if is_same or after.since <= before.since:
        raise ConfigurationError(
            f"it says that server {before.index} has {'the same' if is_same else 'another'} identity since edition "
            f"{after.since}, and the one in use has its own since {before.since}: run `fivefold server replace "
            f"{before.index}` on the newest cluster file"
        )
