"""Bounds of the transport, with their units and the reasons for their values.

Those of the protocol itself, the greatest frame among them, are in :mod:`fivefold.protocol.limits`.
"""

from __future__ import annotations

from typing import Final

HELLO_BYTES_MAX: Final = 8 * 1024
"""A frame of a peer that has not been identified yet: a certificate with room to spare."""

OUTPUT_BYTES_HIGH: Final = 1024 * 1024
"""Unsent bytes of a connection from which a listener stops reading from the peer. More count against its budget."""

INPUT_BYTES_HIGH: Final = 256 * 1024
"""Bytes of a begun frame as one read brings them. More count against the peer's budget."""

PEER_BYTES_MAX: Final = 64 * 1024 * 1024
"""Budget of one identity: unsent answers and begun frames of all its connections together, beyond the two above.

Two frames of the greatest size in each direction. A connection that needs more is ended. 32 connections that take no
answers used to hold 48 MiB each.
"""

LISTENER_BYTES_MAX: Final = 256 * 1024 * 1024
"""... and of all identities together, so that many hostile ones cannot fill the memory either.

What a connection may hold without asking is enough for ordinary calls, so the others go on when all of this is in use.
"""

LEASE_BYTES_MIN: Final = 256 * 1024
"""A connection takes at least so much of the budget at a time: it need not ask for each frame."""

FRAME_TIMEOUT_S: Final = 30.0
"""A frame that has begun and not ended for so long, while we read, ends the connection: 16 MiB need 5 Mbit/s."""

SWEEP_S: Final = 5.0
"""How often a listener looks for such frames: one look for all connections costs less than a timer for each."""

CONNECTIONS_PER_PEER_MAX: Final = 32
"""Connections of one identity to one server, unless the server is started with another number: each process that uses
the identity has one."""

CONNECTIONS_OPTION_MAX: Final = 10_000
"""The most that a server may be told to take; each costs a file descriptor and tens of kilobytes."""

HANDSHAKES_MAX: Final = 512
"""Connections of a listener whose peer is not identified yet. One more ends the oldest of the host with the most."""

HANDSHAKES_PER_HOST_MAX: Final = 128
"""... from one host (of IPv6: one /64 network). One more ends that host's oldest.

The oldest goes, not the newest: an honest peer needs two round trips, so a flood that must renew 128 connections
within that time costs the flooder what it costs us. To refuse the newest let 128 idle ones lock a whole network out.
"""

HANDSHAKES_AT_ONCE: Final = HANDSHAKES_PER_HOST_MAX
"""Handshakes that a host may begin at once ..."""

HANDSHAKES_PER_S: Final = 100
"""... and then in each second: a tenth of a processor's time. The others wait in a line of that host's."""

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
