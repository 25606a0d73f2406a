"""What this server has lately seen others sign, for an audit: who has forgotten it cannot say that it never was (ours).

1. A server is put back to an older copy of its disk, or to an empty one. What it shows from then on is what an honest
   server might show that was down meanwhile: by its histories alone the two cannot be told apart.
2. But requests have carried its newer histories, with MACs for the servers that took them.

So each server remembers some of the history sets that it has verified, in memory, and tells them to a client that may
see whole states. A server's word is no proof; that of more than b servers is.
"""

from __future__ import annotations

from typing import Final

from fivefold.protocol.actions import Channel, Reply
from fivefold.protocol.limits import WITNESSED_BYTES_MAX, WITNESSED_SETS
from fivefold.protocol.messages import decode_witness, witness_reply_frame
from fivefold.protocol.operations import SHOW, AccessPolicy, ClientId
from fivefold.protocol.records import ObjectHistories, WitnessReply
from fivefold.protocol.server.outbox import Outbox

_LAST: Final = -1


class Witness:
    """Some history sets of ordinary requests: each takes a random place, so both old and new ones are there.

    Attributes:
        seen: the sets by their place.
    """

    __slots__ = ("_access", "_outbox", "seen")

    def __init__(self, access: AccessPolicy, outbox: Outbox) -> None:
        """Nothing has been seen."""
        self._access, self._outbox = access, outbox
        self.seen: dict[int, ObjectHistories] = {}

    def note(self, timestamp: bytes, verified: ObjectHistories) -> None:
        """All MACs of a set were right; the timestamp that the request led to ends like a random number."""
        self.seen[timestamp[_LAST] % WITNESSED_SETS] = verified

    def answer(self, client: ClientId, channel: Channel, frame: bytes) -> None:
        """Tell a client what was seen of objects whose states it may see.

        Raises:
            PeerViolation: that is no such question.
        """
        number = decode_witness(frame)
        told: tuple[ObjectHistories, ...] = ()
        size = 0
        for each in self.seen.values():
            size += sum(map(len, each.histories))
            if size <= WITNESSED_BYTES_MAX and self._access.allows(client, each.object_id, SHOW):
                told += (each,)
        self._outbox.send.append(Reply(channel, witness_reply_frame(WitnessReply(number, told))))
