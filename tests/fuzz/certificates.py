"""Certificates for the cluster file that is fuzzed: always the same, so that a failing input can be tried again."""

from __future__ import annotations

from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding


def certificates(count: int) -> list[bytes]:
    """Self-signed certificates (DER) of keys 1, 2, 3, …"""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "fuzz")])
    made = []
    for number in range(1, count + 1):
        key = Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32)
        builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        builder = builder.serial_number(number).not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
        made.append(
            builder.not_valid_after(datetime(2999, 1, 1, tzinfo=UTC)).sign(key, None).public_bytes(Encoding.DER)
        )
    return made
