"""Rounds: one request to several servers, and its replies (PROTOCOL §6); what they decide is :mod:`verdict`'s."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from operator import attrgetter
from typing import Final

from fivefold.errors import PeerViolation
from fivefold.protocol.client.alike import Alike
from fivefold.protocol.history import decode_history, make_histories, read_history, time_of
from fivefold.protocol.messages import FAIL, SUCCESS, decode_vote, encode
from fivefold.protocol.operations import NOT_RUN
from fivefold.protocol.quorums import QuorumSystem
from fivefold.protocol.records import INITIAL_HISTORY, Candidate, ObjectHistories, Request, Vote

_object_id: Final = attrgetter("object_id")


class Purpose(Enum):
    """What a round is for."""

    OPERATION = "operation"
    REPAIR = "repair"
    REFRESH = "refresh"


class Round:
    """One request and its replies.

    Attributes:
        body: the request, the same for all servers.
        authenticators: what proves its histories.
        keys: what replies to the round's frames begin with.
        alike: the replies so far, unread, while all are SUCCESS and alike but for their authenticators.
        votes: each server's vote that has been looked at, in the order in which they came.
        read: the distinct votes by the bytes they came in, each decoded once.
        tails: the authenticators behind each server's vote.
        sent: how many frames of the round went to each server.
        busy: servers that answered BUSY, which is no answer.
        conditioned_time: logical time that the attempt can only be applied after.
        resent_ns: when the silent servers were last sent the request again.
    """

    # How every round starts; most end before any of these has changed.
    conditioned_time = 0
    resent_ns = 0
    busy: frozenset[int] = frozenset()

    def __init__(
        self,
        now_ns: int,
        purpose: Purpose,
        request: Request,
        authenticators: bytes,
        *,
        q: int,
        servers: Sequence[int] = (),
    ) -> None:
        """Encode the request once for all servers; it goes to ``servers`` first."""
        self.purpose = purpose
        self.started_ns = now_ns
        self.body = encode(request)
        self.objects = list(map(_object_id, request.sets))
        self.authenticators = authenticators
        self.keys: list[bytes] = []
        self.sent = dict.fromkeys(servers, 1)
        self.alike = Alike(q, self.sent, is_open=purpose is Purpose.OPERATION)
        self.votes: dict[int, Vote] = {}
        self.read: dict[bytes, Vote] = {}
        self.tails: dict[int, bytes] = {}

    def is_dead(self, quorums: QuorumSystem) -> bool:
        """Whether an update attempt can certainly never be shown by r servers (see the docstring of invocation.py)."""
        refusals = sum(vote.status == FAIL and self.sent[server] == 1 for server, vote in self.votes.items())
        return len(self.sent) - refusals + quorums.b < quorums.r


def read_vote(round_: Round, vote_bytes: bytes, calls: int) -> Vote:
    """Decode a vote and every history in it.

    Raises:
        PeerViolation: it does not answer the round's request, which has so many calls.
    """
    vote = decode_vote(vote_bytes)
    if vote.status in (SUCCESS, FAIL):
        if len(vote.histories) != len(round_.objects):
            raise PeerViolation("vote-histories")
        for name, history in zip(round_.objects, vote.histories, strict=True):
            read_history(name, history)
        if vote.answers and len(vote.answers) != calls:
            raise PeerViolation("vote-answers")
        if vote.status == SUCCESS and round_.purpose is Purpose.OPERATION and not (vote.answers and vote.candidate):
            raise PeerViolation("vote-answers")
    elif len(vote.answers) != 1:
        raise PeerViolation("vote-answers")
    elif vote.histories:  # nobody has read them: who turns a request away shows none
        raise PeerViolation("vote-histories")
    return vote


def absent_until(round_: Round, b: int) -> int:
    """Logical time up to which a round's refusals rule its update out for good; 0 if they do not.

    b + 1 of them have the same latest version, whose ring does not know the update. If a method made that version, then
    what it is conditioned on is established, and no attempt is applied below what is established.
    """
    told: dict[Candidate, int] = {}
    for vote in round_.votes.values():
        if vote.status == FAIL and set(vote.answers) == {NOT_RUN}:
            latest = decode_history(round_.objects[0], vote.histories[0])[-1].candidate
            told[latest] = told.get(latest, 0) + 1
    found = [each.part(round_.objects[0]) for each, count in told.items() if count > b and each.is_method]
    return max([time_of(part.conditioned_on) for part in found], default=0)


def histories_of(round_: Round, n: int) -> list[ObjectHistories]:
    """The history sets made of this round's replies alone."""
    sets = []
    for position, name in enumerate(round_.objects):
        histories = [INITIAL_HISTORY] * n
        for server, vote in round_.votes.items():
            if position < len(vote.histories):
                histories[server] = vote.histories[position]
        sets.append(make_histories(name, histories))
    return sets
