"""Rounds: one request to several servers, and how its replies are counted (PROTOCOL §6).

Agreement on the candidate and agreement on the answer are counted separately: otherwise one lying answer would force a
repair for every operation.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from enum import Enum
from operator import attrgetter
from typing import Final

from fivefold.errors import PeerViolation
from fivefold.protocol.history import decode_history, make_histories, read_history, time_of
from fivefold.protocol.messages import DECLINED, FAIL, REPLY_KEY_BYTES, SUCCESS, decode_vote, encode, success_end
from fivefold.protocol.operations import NOT_RUN
from fivefold.protocol.quorums import QuorumSystem
from fivefold.protocol.records import INITIAL_HISTORY, Candidate, LogicalTimestamp, ObjectHistories, Request, Vote

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
        held: the replies so far by their servers, unread, while all are SUCCESS and alike but for authenticators ...
        held_bytes: ... and the length of each, while there are any; otherwise 0 ...
        held_end: ... and where their authenticators begin ...
        held_vote: ... and what stands before that and behind the key: the vote and its length.
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
    held_bytes = 0
    held_end = 0
    held_vote = b""

    def __init__(self, now_ns: int, purpose: Purpose, request: Request, authenticators: bytes) -> None:
        """Encode the request once for all servers."""
        self.purpose = purpose
        self.started_ns = now_ns
        self.body = encode(request)
        self.objects = list(map(_object_id, request.sets))
        self.authenticators = authenticators
        self.keys: list[bytes] = []
        self.sent: dict[int, int] = {}
        self.held: dict[int, bytes] = {}
        self.votes: dict[int, Vote] = {}
        self.read: dict[bytes, Vote] = {}
        self.tails: dict[int, bytes] = {}

    def hold(self, server: int, frame: bytes) -> bool:
        """Keep the first reply unread if others may be like it: an operation that succeeded. False if it is not kept.

        As long as nobody has answered otherwise, there is nothing to decide before q servers have answered.
        """
        if self.held or self.votes or self.busy or self.purpose is not Purpose.OPERATION:
            return False
        end = success_end(frame)
        if not end or server not in self.sent or len(self.sent) == 1:  # nobody else will answer
            return False
        self.held[server] = frame
        self.held_bytes, self.held_end, self.held_vote = len(frame), end, frame[REPLY_KEY_BYTES:end]
        return True

    def release(self) -> dict[int, bytes]:
        """The replies that were held: now each has to be looked at."""
        held, self.held, self.held_bytes = self.held, {}, 0
        return held

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
    return vote


def declined_reason(round_: Round, b: int) -> str | None:
    """Why the servers decline the call, if b + 1 of them say the same."""
    for vote in round_.read.values():
        if vote.status == DECLINED and sum(each is vote for each in round_.votes.values()) > b:
            return vote.answers[0][1:].decode(errors="replace")
    return None


def accepted_by(round_: Round) -> list[int]:
    """The servers that answered SUCCESS on the candidate that most did."""
    if len(round_.read) == 1:  # the good case: all votes are the same
        return [server for server, vote in round_.votes.items() if vote.status == SUCCESS]
    groups: dict[bytes, list[int]] = {}
    for server, vote in round_.votes.items():
        if vote.status == SUCCESS:
            groups.setdefault(vote.candidate, []).append(server)
    return max(groups.values(), key=len) if groups else []


def result_of(vote: Vote) -> tuple[tuple[bytes, ...], bytes]:
    """What servers must agree on beside the candidate: answers, and the digest of what was made."""
    return vote.answers, vote.version_digest


def agreement(results: list[tuple[int, tuple[tuple[bytes, ...], bytes]]]) -> list[list[int]]:
    """Servers grouped by equal results, the largest group first."""
    groups: dict[tuple[tuple[bytes, ...], bytes], list[int]] = {}
    for server, result in results:
        groups.setdefault(result, []).append(server)
    return sorted(groups.values(), key=len, reverse=True)


def agreed_results(round_: Round, servers: list[int]) -> list[list[int]]:
    """Some of the servers that have voted, grouped by equal results, the largest group first."""
    if len(round_.read) == 1:
        return [servers]
    return agreement([(server, result_of(round_.votes[server])) for server in servers])


def agreement_at(round_: Round, latests: Sequence[LogicalTimestamp], statuses: Collection[int]) -> list[list[int]]:
    """Servers that answered on these latest versions of the round's objects, grouped by equal answers."""
    found = []
    for server, vote in round_.votes.items():
        if vote.status not in statuses or not vote.answers:
            continue
        pairs = zip(round_.objects, vote.histories, strict=True)
        if all(decode_history(o, h)[-1].candidate.timestamp == at for (o, h), at in zip(pairs, latests, strict=True)):
            found.append((server, (vote.answers, b"")))
    return agreement(found)


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
