"""What clients say of servers: one that holds evidence against a server tells the others, for their operators (ours).

::

    SAID          u8 18 | Saying

A server shows it in its status as said by that client, and draws no conclusion: a client may say anything.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from fivefold.errors import PeerViolation
from fivefold.protocol.client import BAD_LUCK, Evidence
from fivefold.protocol.operations import ClientId

SAID: Final = 18
"""First byte of what a client says."""

CLIENTS_MAX: Final = 64
"""Clients whose sayings a server keeps; beyond that the first one's go."""

SAYING_CHARACTERS_MAX: Final = 200
"""Of a saying."""


class Saying(msgspec.Struct, frozen=True, array_like=True):
    """What a client says of a server.

    Attributes:
        server: its index.
        what: one sentence.
    """

    server: int
    what: str


class Said(msgspec.Struct, frozen=True, array_like=True):
    """A saying, and whose it is.

    Attributes:
        client: its id, in hexadecimal.
        server: of which server.
        what: it says.
        age_s: seconds since it first said so to this server.
    """

    client: str
    server: int
    what: str
    age_s: float = 0.0


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Saying)


def saying_frame(server: int, what: str) -> bytes:
    """Frame a saying; what is too long is cut."""
    return bytes((SAID,)) + _encoder.encode(Saying(server, what[:SAYING_CHARACTERS_MAX]))


def decode_saying(frame: bytes, n: int) -> Saying:
    """The saying in a frame.

    Raises:
        PeerViolation: it is none, of no server, or too long.
    """
    try:
        saying = _decoder.decode(frame[1:])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise PeerViolation("saying-malformed") from None
    if not 0 <= saying.server < n or len(saying.what) > SAYING_CHARACTERS_MAX or not saying.what.isprintable():
        raise PeerViolation("saying-malformed")
    return saying


def charge_of(evidence: Evidence) -> tuple[str, str]:
    """What a client says of a server on this evidence: the verdict, and on what ground; empty if it has nothing to say.

    Answers that differ from those of b + 1 others prove no lie: a damaged disk, or a method that is not deterministic,
    gives such answers, too. But they are no honest server's, and the operator has to see them.
    """
    if evidence.is_excluded:
        return "is proven to lie", f"servers {', '.join(map(str, evidence.culled_by))} found its MACs wrong"
    if evidence.is_suspected:
        grounds = [
            f"{kind} ({count} times)" for kind, count in sorted(evidence.strikes.items()) if kind not in BAD_LUCK
        ]
        return "does what no honest server does", ", ".join(grounds)
    return "", ""


class Sayings:
    """What clients have said lately: the last saying of each client about each server.

    It is said of the identity that a server has then; of its successor nobody has said anything.
    """

    def __init__(self, clock: Callable[[], int] = time.monotonic_ns) -> None:
        """Nothing; the clock is in ns."""
        self._clock = clock
        self._by_client: dict[ClientId, dict[int, tuple[str, int, int]]] = {}

    def hear(self, client: ClientId, saying: Saying, since: Sequence[int] = ()) -> bool:
        """Keep it; whether it is new. ``since`` has the editions in which the servers' identities began."""
        mine = self._by_client.setdefault(client, {})
        before, born = mine.get(saying.server), since[saying.server] if since else 0
        is_new = before is None or (before[0], before[2]) != (saying.what, born)
        if is_new:
            mine[saying.server] = saying.what, self._clock(), born
        if len(self._by_client) > CLIENTS_MAX:
            del self._by_client[next(iter(self._by_client))]
        return is_new

    def shown(self, since: Sequence[int] = ()) -> tuple[Said, ...]:
        """For the status: what was said of the identities that began in these editions."""
        now_ns = self._clock()
        return tuple(
            Said(client.hex(), server, what, (now_ns - since_ns) / 1e9)
            for client, mine in self._by_client.items()
            for server, (what, since_ns, born) in sorted(mine.items())
            if not since or since[server] == born
        )
