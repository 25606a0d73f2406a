"""The first frames of a connection: who the caller is (without TLS only), and whether the listener lets it in.

Without TLS both sides begin with a *hello*, ``version NUL certificate``, in place of a handshake.

Then the listener always sends its *admission*: one byte of kind, and nothing more if the peer is let in. Otherwise a
word for the reason follows, and a number if there is one. A caller waits for it: in TLS 1.3 the handshake is over for
the caller before the listener has looked at its certificate.
"""

from __future__ import annotations

import re
from typing import Final

from fivefold.transport.contract import VERSION

ADMISSION: Final = 7
"""First byte of the frame; the protocol's and the status messages have the kinds up to 6."""

TOO_MANY_CONNECTIONS: Final = "too_many_connections"
UNKNOWN_PEER: Final = "unknown_peer"
OTHER_VERSION: Final = "other_version"

# Sentences of our own: what a server says is not shown to people as it is.
_SENTENCES: Final = {
    TOO_MANY_CONNECTIONS: "this identity has {0} connections to it already: close some, let your processes share them, "
    "or start the servers with a higher --connections",
    UNKNOWN_PEER: "the cluster file it uses does not have this identity: bring it the newest one",
    OTHER_VERSION: "it speaks another version of the protocol: upgrade the older side",
}
_REFUSAL: Final = re.compile(rb"([a-z_]{1,32})(?: ([0-9]{1,9}))?")


def encode_hello(certificate: bytes) -> bytes:
    """The frame in which a member claims to be the owner of a certificate (DER)."""
    return VERSION.encode() + b"\0" + certificate


def decode_hello(frame: bytes) -> tuple[bool, bytes]:
    """Whether the sender speaks our version, and the certificate (DER) it claims."""
    version, _, certificate = frame.partition(b"\0")
    return version == VERSION.encode(), certificate


def encode_admission(refusal: str = "", limit: int | None = None) -> bytes:
    """The listener's verdict: without a reason to refuse it, the peer is let in.

    Args:
        refusal: a word for the reason.
        limit: the limit that the reason is about.
    """
    number = "" if limit is None else f" {limit}"
    return bytes([ADMISSION]) + f"{refusal}{number}".encode()


def decode_admission(frame: bytes) -> str | None:
    """Why the listener refuses us, as a sentence for people; None if it lets us in."""
    if frame == bytes([ADMISSION]):
        return None
    found = _REFUSAL.fullmatch(frame[1:]) if frame[0] == ADMISSION else None
    if found is None:
        return "it does not speak the protocol: correct its address, or upgrade the older side"
    word, number = found.groups(b"")
    return explain(word.decode(), number.decode() or "too many")


def will_pass(frame: bytes) -> bool:
    """Whether the reason may soon be gone by itself: a server reads a new cluster file within a second."""
    return not frame[1:].startswith((TOO_MANY_CONNECTIONS.encode(), OTHER_VERSION.encode()))


def explain(refusal: str, limit: str = "") -> str:
    """A reason to refuse a peer as a sentence for people."""
    return _SENTENCES.get(refusal, "it refuses this identity, for a reason this version does not know").format(limit)
