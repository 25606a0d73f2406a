"""Private identities: what a server or a client keeps to itself, one directory each.

An identity is an Ed25519 key with a self-signed certificate, which TLS shows to peers, and an X25519 key, from which
servers derive the keys of their authenticators. Others know the certificate and the public half of the X25519 key from
the cluster file. Nobody signs for anybody: the pinned certificate is the identity.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import blake2b, sha256
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.x509.oid import NameOID

from fivefold.cluster.files import make_private_directory, write_new_file
from fivefold.errors import ConfigurationError
from fivefold.protocol.operations import ClientId

CERTIFICATE_FILE: Final = "certificate.pem"
SIGNING_KEY_FILE: Final = "signing-key.pem"
EXCHANGE_KEY_FILE: Final = "exchange-key.pem"

EXCHANGE_KEY_BYTES: Final = 32

_VALID_FROM: Final = datetime(2020, 1, 1, tzinfo=UTC)
_VALID_UNTIL: Final = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
"""No end (RFC 5280 §4.1.2.5): a pinned certificate is withdrawn by taking it out of the cluster file."""


@dataclass(frozen=True, repr=False)
class Identity:
    """A loaded identity.

    Attributes:
        directory: where it lives.
        certificate: the certificate (DER).
        exchange: the private X25519 key.
    """

    directory: Path
    certificate: bytes
    exchange: X25519PrivateKey = field(compare=False)

    def __repr__(self) -> str:
        """The public part only."""
        return f"Identity({str(self.directory)!r}, fingerprint={self.fingerprint})"

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the certificate, in hexadecimal."""
        return fingerprint_of(self.certificate)

    @property
    def client_id(self) -> ClientId:
        """The id under which servers know the owner as a client."""
        return client_id_of(self.certificate)

    @property
    def exchange_public(self) -> bytes:
        """The public X25519 key, 32 bytes."""
        return self.exchange.public_key().public_bytes_raw()

    @property
    def certificate_file(self) -> Path:
        """The certificate (PEM)."""
        return self.directory / CERTIFICATE_FILE

    @property
    def signing_key_file(self) -> Path:
        """The private key of the certificate (PEM)."""
        return self.directory / SIGNING_KEY_FILE


def fingerprint_of(certificate: bytes) -> str:
    """SHA-256 of a certificate (DER), in hexadecimal."""
    return sha256(certificate).hexdigest()


def client_id_of(certificate: bytes) -> ClientId:
    """Id of the client that owns a certificate (DER): its BLAKE2b-128."""
    return ClientId(blake2b(certificate, digest_size=16).digest())


def create_identity(directory: Path, *, name: str) -> Identity:
    """Make an identity in a new or empty directory (mode 0700), files of mode 0600.

    Args:
        directory: made if it does not exist.
        name: common name in the certificate, for people only.

    Raises:
        ConfigurationError: the directory holds an identity already, or cannot be written.
    """
    for file in (CERTIFICATE_FILE, SIGNING_KEY_FILE, EXCHANGE_KEY_FILE):
        if (directory / file).exists():
            raise ConfigurationError(f"{directory} holds an identity already: name another directory, or move it away")
    signing, exchange = Ed25519PrivateKey.generate(), X25519PrivateKey.generate()
    certificate = _self_signed(signing, name)
    make_private_directory(directory)
    write_new_file(directory / SIGNING_KEY_FILE, _private_pem(signing), mode=0o600)
    write_new_file(directory / EXCHANGE_KEY_FILE, _private_pem(exchange), mode=0o600)
    write_new_file(directory / CERTIFICATE_FILE, certificate.public_bytes(serialization.Encoding.PEM), mode=0o600)
    return Identity(directory, certificate.public_bytes(serialization.Encoding.DER), exchange)


def load_identity(directory: Path) -> Identity:
    """Read an identity.

    Raises:
        ConfigurationError: a file is missing or damaged, or others may read it.
    """
    _check_mode(directory, 0o700)
    certificate = x509_der(_read_private(directory / CERTIFICATE_FILE), directory / CERTIFICATE_FILE)
    signing = _load_key(directory / SIGNING_KEY_FILE)
    exchange = _load_key(directory / EXCHANGE_KEY_FILE)
    if not isinstance(signing, Ed25519PrivateKey) or not isinstance(exchange, X25519PrivateKey):
        raise ConfigurationError(f"{directory} holds keys of another kind: restore the identity or make a new one")
    if not _belong_together(signing, certificate):
        raise ConfigurationError(f"key and certificate in {directory} do not belong together: restore the identity")
    return Identity(directory, certificate, exchange)


def _belong_together(signing: Ed25519PrivateKey, certificate: bytes) -> bool:
    """Whether the key has signed the certificate, which is then also as it was made."""
    try:
        loaded = x509.load_der_x509_certificate(certificate)
        loaded.verify_directly_issued_by(loaded)
        # A bit string of eight whole bits a byte: the one byte behind what is signed that the library does not mind.
        is_whole = certificate.endswith(b"\0" + loaded.signature)
        return is_whole and signing.public_key() == loaded.public_key()
    except Exception:  # the library has a dozen kinds for a damaged certificate
        return False


def x509_der(pem: bytes, source: Path | str) -> bytes:
    """The DER bytes of exactly one certificate in PEM.

    Raises:
        ConfigurationError: there is none, several, or it is damaged.
    """
    try:
        certificates = x509.load_pem_x509_certificates(pem)
    except Exception as error:  # the library has a dozen kinds for damaged bytes
        raise ConfigurationError(f"{source} holds no valid certificate: restore it") from error
    if len(certificates) != 1:
        raise ConfigurationError(f"{source} holds {len(certificates)} certificates: leave exactly one")
    return certificates[0].public_bytes(serialization.Encoding.DER)


def x509_pem(certificate: bytes) -> str:
    """The PEM text of a certificate (DER)."""
    loaded = x509.load_der_x509_certificate(certificate)
    return loaded.public_bytes(serialization.Encoding.PEM).decode()


def is_certificate(certificate: bytes) -> bool:
    """Whether these bytes (DER) are a certificate."""
    try:
        x509.load_der_x509_certificate(certificate)
    except Exception:  # the library has a dozen kinds for damaged bytes
        return False
    return True


def _self_signed(key: Ed25519PrivateKey, name: str) -> x509.Certificate:
    # TLS finds what it trusts by the subject: two keys of one name, old and new, must not have the same.
    public = key.public_key().public_bytes_raw()
    names = {NameOID.COMMON_NAME: name[:64], NameOID.SERIAL_NUMBER: sha256(public).hexdigest()[:32]}
    subject = x509.Name([x509.NameAttribute(kind, value) for kind, value in names.items()])
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_VALID_FROM)
        .not_valid_after(_VALID_UNTIL)
        # Not an authority: a member must not be able to vouch for a stranger's certificate.
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, None)
    )


def _private_pem(key: Ed25519PrivateKey | X25519PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _load_key(path: Path) -> object:
    try:
        return serialization.load_pem_private_key(_read_private(path), password=None)
    except ConfigurationError:
        raise
    except Exception as error:  # the library has a dozen kinds for damaged bytes
        raise ConfigurationError(f"{path} holds no usable private key: restore it or make a new identity") from error


def _read_private(path: Path) -> bytes:
    _check_mode(path, 0o600)
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read ({error.strerror}): give this user access to it") from error


def _check_mode(path: Path, widest: int) -> None:
    try:
        mode = stat.S_IMODE(os.stat(path).st_mode)
    except OSError as error:
        raise ConfigurationError(f"{path} is missing: name the directory of an identity, or make one") from error
    if mode & ~widest:
        raise ConfigurationError(f"{path} has mode {mode:o}, so others may use it: run chmod {widest:o} {path}")
