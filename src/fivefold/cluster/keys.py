"""Keys of the servers' authenticators, from X25519 between their identities (RFC 7748).

No key is ever sent or stored: each pair of servers computes the same two keys from its own private and the other's
public half. One key for each direction, bound to the cluster and both indices, so that an authenticator cannot be
reflected, and an identity used in two clusters does not share keys between them.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey

from fivefold.cluster.configuration import Configuration, ServerEntry
from fivefold.cluster.identity import Identity
from fivefold.cluster.macs import SECRET_BYTES
from fivefold.errors import ConfigurationError

_PURPOSE: Final = b"fivefold mac v2"


def derive_mac_keys(
    identity: Identity, configuration: Configuration, own_index: int
) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
    """The keys between one server and all servers, itself included.

    Returns:
        The keys own → j for every server j, and the keys j → own.

    Raises:
        ConfigurationError: the identity is not that of the server, or a public key is degenerate.
    """
    own = configuration.servers[own_index]
    if identity.certificate != own.certificate or identity.exchange_public != own.exchange_public:
        raise ConfigurationError(f"{identity.directory} is not the identity of server {own_index}: name the right one")
    outgoing, incoming = [], []
    for other in configuration.servers:
        shared = _shared_secret(identity, other)
        outgoing.append(_directional_key(shared, configuration.cluster_id, sender=own, receiver=other))
        incoming.append(_directional_key(shared, configuration.cluster_id, sender=other, receiver=own))
    return tuple(outgoing), tuple(incoming)


def _shared_secret(identity: Identity, other: ServerEntry) -> bytes:
    # With the own public key this gives a·a·G, which nobody without the private key can compute either.
    try:
        return identity.exchange.exchange(X25519PublicKey.from_public_bytes(other.exchange_public))
    except ValueError as error:  # a point of small order makes a secret that everybody knows
        raise ConfigurationError(f"the exchange key of server {other.index} is degenerate: make a new one") from error


def _directional_key(shared: bytes, cluster_id: bytes, *, sender: ServerEntry, receiver: ServerEntry) -> bytes:
    # Keyed BLAKE2b with a person string as the extractor and expander in one: its output is one block.
    context = b"".join(
        (
            cluster_id,
            sender.index.to_bytes(2, "big"),
            receiver.index.to_bytes(2, "big"),
            sender.exchange_public,
            receiver.exchange_public,
        )
    )
    return blake2b(context, key=shared, person=_PURPOSE, digest_size=SECRET_BYTES).digest()
