"""The public half of a server's identity, as a file: what its owner hands over, and nothing else.

With it somebody else can put the cluster file together, and never sees a key.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Final, Literal

import msgspec

from fivefold.cluster.configuration import certificate_lines, parse_certificate, unhex
from fivefold.cluster.files import write_new_file
from fivefold.cluster.identity import Identity
from fivefold.errors import ConfigurationError

PUBLIC_BYTES_MAX: Final = 64 * 1024
"""A public half with room to spare."""


class PublicHalf(msgspec.Struct, frozen=True):
    """What others need of a server's identity.

    Attributes:
        certificate: its certificate (DER).
        exchange_public: its public X25519 key, 32 bytes.
    """

    certificate: bytes
    exchange_public: bytes


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: Literal[1]
    exchange_key: str
    fingerprint: str
    certificate: str


def public_half(identity: Identity) -> PublicHalf:
    """The public half of an identity."""
    return PublicHalf(identity.certificate, identity.exchange_public)


def save_public(path: Path, half: PublicHalf) -> None:
    """Write it to a new file that everybody may read.

    Raises:
        ConfigurationError: the file exists, or cannot be written.
    """
    lines = [
        "# The public half of a Fivefold server's identity, for `fivefold init --server HOST:PORT=FILE`.",
        *("format = 1", f'exchange_key = "{half.exchange_public.hex()}"'),
        *certificate_lines(half.certificate),
    ]
    write_new_file(path, ("\n".join(lines) + "\n").encode(), mode=0o644)


def load_public(path: Path) -> PublicHalf:
    """Read the public half that an owner has handed over.

    Raises:
        ConfigurationError: it cannot be read, or is none.
    """
    try:
        with path.open("rb") as file:
            data = file.read(PUBLIC_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigurationError(
            f"{path} cannot be read ({error.strerror}): name the file that `fivefold identity` has made"
        ) from error
    try:
        if len(data) > PUBLIC_BYTES_MAX:
            raise ValueError(f"it has more than {PUBLIC_BYTES_MAX} bytes")
        file_ = msgspec.convert(tomllib.loads(data.decode()), _File)
        certificate = parse_certificate(file_.certificate, file_.fingerprint, "the server")
        return PublicHalf(certificate, unhex(file_.exchange_key, 32, "exchange_key"))
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error}") from error
    except (ValueError, msgspec.ValidationError, RecursionError) as error:
        raise ConfigurationError(
            f"{path} is no public half of an identity ({error}): name the file that `fivefold identity` has made"
        ) from error
