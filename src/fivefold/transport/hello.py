"""The hello frame that takes the place of a TLS handshake where TLS is off: ``version NUL certificate``."""

from __future__ import annotations

from fivefold.transport.contract import VERSION


def encode_hello(certificate: bytes) -> bytes:
    """The frame in which a member claims to be the owner of a certificate (DER)."""
    return VERSION.encode() + b"\0" + certificate


def decode_hello(frame: bytes) -> tuple[bool, bytes]:
    """Whether the sender speaks our version, and the certificate (DER) it claims."""
    version, _, certificate = frame.partition(b"\0")
    return version == VERSION.encode(), certificate
