"""Bounds of the transport, with their units and the reasons for their values.

Those of the protocol itself, the greatest frame among them, are in :mod:`fivefold.protocol.limits`.
"""

from __future__ import annotations

from typing import Final

HELLO_BYTES_MAX: Final = 8 * 1024
"""A frame of a peer that has not been identified yet: a certificate with room to spare."""

OUTPUT_BYTES_HIGH: Final = 1024 * 1024
"""Unsent bytes from which a listener stops reading from the peer: who does not take answers gets no further ones."""

OUTPUT_BYTES_MAX: Final = 48 * 1024 * 1024
"""Unsent bytes of one connection: two frames of the greatest size and more. Beyond, frames are refused."""

CONNECTIONS_PER_PEER_MAX: Final = 32
"""Connections of one identity to one server, unless the server is started with another number: each process that uses
the identity has one."""

CONNECTIONS_OPTION_MAX: Final = 10_000
"""The most that a server may be told to take; each costs a file descriptor and tens of kilobytes."""

HANDSHAKES_MAX: Final = 512
"""Connections of a listener whose peer is not identified yet."""

HANDSHAKES_PER_HOST_MAX: Final = 128
"""... from one host, so that one flooding host leaves room for the others."""

HANDSHAKE_TIMEOUT_S: Final = 5.0
"""A connection whose peer is not identified by then is closed, on both sides."""

CLOSE_TIMEOUT_S: Final = 1.0
"""Patience for the peer's half of an orderly end of TLS."""

BACKOFF_S_FIRST: Final = 0.05
"""Pause before the first new attempt of a link; doubled by each failure."""

BACKOFF_S_MAX: Final = 2.0
"""The longest pause between two attempts: a server that returns is in use again this soon."""

KEEPALIVE_IDLE_S: Final = 10
"""Silence after which the kernel asks whether the peer is still there."""

KEEPALIVE_INTERVAL_S: Final = 5
"""Pause between such questions, and ..."""

KEEPALIVE_PROBES: Final = 3
"""... how many stay unanswered before the connection ends: half-open connections live 25 s at most."""

UNACKNOWLEDGED_MS_MAX: Final = 25_000
"""Sent bytes that the peer's kernel has not taken for so long end the connection (TCP_USER_TIMEOUT, RFC 5482)."""

ACCEPT_PAUSE_S: Final = 0.1
"""Pause after a failed accept: out of file descriptors, usually."""
