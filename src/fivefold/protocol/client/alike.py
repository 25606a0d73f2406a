"""The ordinary round: q replies that are alike but for their authenticators. Bytes in, decision out.

In the good case all servers cast the same vote, SUCCESS or UNCHANGED, byte for byte. Then nothing has to be decided
before q of them have answered, and one vote is decoded instead of q. Whatever is not quite so is looked at reply by
reply: see :mod:`~fivefold.protocol.client.verdict`. tests/properties/test_protocol_client.py holds the two against each
other.

Why that is safe: at least q - b of q servers are honest, which is one or more by (4) of the quorum's constraints. So
the bytes that all of them sent are those of an honest server: canonical, with an answer for each call, and with
histories that it holds. With fewer than q, or with one server counted twice, liars could finish a call by themselves,
and hand the next request a history that no server has written. What each server says for itself, its authenticators,
is not made true by the others: their length is checked.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import compress
from typing import Final

from fivefold.protocol.authenticators import MAC_BYTES
from fivefold.protocol.messages import REPLY_KEY_BYTES, ending_vote_end, trusted_vote
from fivefold.protocol.operations import ObjectId
from fivefold.protocol.records import INITIAL_HISTORY, ObjectHistories, Vote

KEPT: Final = 0
"""The reply is like those before it, or may be the first of several: nothing is to be done."""
ENOUGH: Final = 1
"""So is this one, and now there are as many as are needed."""
OTHER: Final = 2
"""The reply has to be looked at, and the kept ones before it."""


class Alike:
    """The replies of one round while all of them are alike.

    Attributes:
        is_open: whether replies may be kept: the round is one of an operation, and no reply has been looked at.
        frames: the replies kept so far, by their servers.
        needed: how many are enough.
        size: the length of each, while there are any; otherwise 0.
        vote_bytes: what each has between the key and its authenticators: the vote and its length.
    """

    size = 0
    vote_bytes = b""
    _end = 0  # where the authenticators begin

    def __init__(self, needed: int, asked: Collection[int], *, is_open: bool) -> None:
        """Wait for ``needed`` replies of servers that are ``asked``, which may become more."""
        self.is_open, self.needed, self._asked = is_open, needed, asked
        self.frames: dict[int, bytes] = {}

    def take(self, server: int, frame: bytes) -> int:
        """A reply to the round: KEPT, ENOUGH or OTHER.

        ``Session.receive`` makes the first comparison by itself, without a call for each of q replies.
        """
        frames = self.frames
        if frames:
            if (
                len(frame) == self.size
                and frame.startswith(self.vote_bytes, REPLY_KEY_BYTES)
                and server not in frames
                and server in self._asked
            ):
                frames[server] = frame
                return KEPT if len(frames) < self.needed else ENOUGH
            return OTHER
        if not self.is_open or len(self._asked) == 1:  # nobody else will answer
            return OTHER
        end = ending_vote_end(frame)
        if not end or server not in self._asked:
            return OTHER
        frames[server] = frame
        self.size, self._end, self.vote_bytes = len(frame), end, frame[REPLY_KEY_BYTES:end]
        return KEPT

    def hand_over(self) -> dict[int, bytes]:
        """The replies that were kept: now each has to be looked at."""
        frames, self.frames, self.size = self.frames, {}, 0
        return frames

    def vote(self) -> Vote | None:
        """The vote that all cast; None if it cannot be read, since more than b servers lie."""
        return trusted_vote(next(iter(self.frames.values())), self._end)

    def shown(self, vote: Vote, objects: Sequence[ObjectId], n: int) -> list[tuple[ObjectHistories, bytes]]:
        """What all show of each object: a set of one history, and the holders' authenticators one after the other.

        Nothing unless it is the good case: one history for each object, authenticators of the right length, and nothing
        that speaks against any server.
        """
        histories, size, frames, end = vote.histories, MAC_BYTES * n, self.frames, self._end
        if vote.culled or INITIAL_HISTORY in histories or len(histories) != len(objects):
            return []
        if self.size - end != size * len(histories):
            return []
        holders = bytes(map(frames.__contains__, range(n)))
        in_order = []
        for server in compress(range(n), holders):
            in_order.append(frames[server][end:])  # noqa: PERF401 (a comprehension costs a call)
        if len(histories) == 1:
            return [(ObjectHistories(objects[0], histories, holders), b"".join(in_order))]
        found = []
        for position, object_id in enumerate(objects):
            rows = b"".join([tail[size * position : size * (position + 1)] for tail in in_order])
            found.append((ObjectHistories(object_id, (histories[position],), holders), rows))
        return found
