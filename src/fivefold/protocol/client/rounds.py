"""Rounds: one request to several servers, and its replies (PROTOCOL §6); what they decide is :mod:`verdict`'s.

When is an attempt certainly dead?

1. Each attempt carries its number in its operation, so its candidates are its own: what a server says of one attempt
   holds of no other. (Of attempts with equal bytes, or with sets that differ only in what is culled, one server could
   hold the candidate by one and another by the next, and each attempt by itself would look dead.)
2. A server works on a frame once: it refuses repeated numbers. To every frame that it does not accept it says FAIL,
   SETTLED, UNCHANGED, UNABLE, DECLINED or BUSY, and that stays true: it accepts the candidate later only if r servers
   show it.
3. So an honest server can hold the candidate only if it was sent the attempt and has not answered each of those frames
   so. A reply that was lost, or is late, counts as if the frame had been accepted; a connection that was lost and is
   back makes one more frame.
4. B liars can claim it besides, whatever they have answered. If that makes fewer than r servers, no request will ever
   show it r times, so nobody repairs or copies it: it is dead for good. Nothing that happens later can change that, as
   no frame of a closed round is sent any more.
5. A rejection needs no such proof from earlier attempts at the same operation. It is told by q servers on an
   established version V. An attempt conditioned on an older established version can no longer be accepted by them, and
   what accepted it before is fewer than r. One conditioned on V itself gives the same rejection on every honest server.
   But an operation of several calls, of which this call was one, need not: see ``Invocation._answer``.
6. That is said of attempts. A call that was *announced* may be carried by others as well (PENDING and LACKING are no
   refusals of the calls): see :mod:`helped`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from operator import attrgetter
from types import MappingProxyType
from typing import Final

from msgspec.structs import replace

from fivefold.errors import PeerViolation
from fivefold.protocol.announcements import NO_HELP, Help
from fivefold.protocol.client.alike import Alike
from fivefold.protocol.client.outcomes import Disagreed
from fivefold.protocol.history import decode_history, make_histories, read_history, time_of
from fivefold.protocol.limits import REASON_CHARACTERS_MAX
from fivefold.protocol.messages import (
    BUSY,
    DECLINED,
    FAIL,
    LACKING,
    PENDING,
    REPLY_KEY_BYTES,
    REQUEST,
    SETTLED,
    SUCCESS,
    UNABLE,
    UNCHANGED,
    decode_vote,
    encode,
)
from fivefold.protocol.operations import FORGOTTEN, NOT_RUN, SHOW, Operation
from fivefold.protocol.quorums import QuorumSystem
from fivefold.protocol.records import INITIAL_HISTORY, Candidate, ObjectHistories, Request, Vote

_object_id: Final = attrgetter("object_id")

_SHOWING: Final = (SUCCESS, FAIL, UNCHANGED, UNABLE, SETTLED, PENDING, LACKING)
"""What a server says that shows its histories."""

_ANSWERING: Final = (SUCCESS, UNCHANGED, SETTLED)
"""What it says that answers an operation for good."""


class Purpose(Enum):
    """What a round is for."""

    OPERATION = "operation"
    ANNOUNCEMENT = "announcement"
    WITHDRAWAL = "withdrawal"
    REPAIR = "repair"
    REFRESH = "refresh"


_ALWAYS: Final = (SUCCESS, FAIL, DECLINED, BUSY)
_STATUSES: Final = {
    Purpose.OPERATION: (*_ALWAYS, UNCHANGED, UNABLE, SETTLED, PENDING, LACKING),
    Purpose.ANNOUNCEMENT: (*_ALWAYS, SETTLED, PENDING),
    Purpose.WITHDRAWAL: _ALWAYS,
    Purpose.REPAIR: _ALWAYS,
    Purpose.REFRESH: _ALWAYS,
}
"""What servers may say in which kind of round."""


class Round:
    """One request and its replies.

    Attributes:
        body: the request, the same for all servers.
        authenticators: what proves its histories.
        keys: what replies to the round's frames begin with.
        alike: the replies so far, unread, while all end the call and are alike but for their authenticators.
        votes: each server's vote that has been looked at, in the order in which they came.
        read: the distinct votes by the bytes they came in, each decoded once.
        said: what servers say beside their votes, likewise.
        tails: the authenticators behind each server's vote.
        sent: how many frames of the round went to each server.
        refused: the frames, by what replies to them begin with, that each server says it did not accept.
        busy: servers that answered BUSY, which is no answer.
        kind: of its frames.
        helps: what servers say beside their votes (announcements).
        pooled: servers that say that they keep the calls for others to carry.
        era: of what is known, when the round began (Following).
        lost: servers whose connection was lost meanwhile; the round may show histories that they signed before.
        conditioned_time: logical time that the attempt can only be applied after.
        resent_ns: when the silent servers were last sent the request again.
        awaited_until_ns: until when answers to frames are awaited without which the outcome is unknown; 0 for no end.
    """

    # How every round starts; most end before any of these has changed.
    conditioned_time = 0
    resent_ns = 0
    awaited_until_ns = 0
    lost: frozenset[int] = frozenset()
    era = 0
    kind = REQUEST
    helps: Mapping[int, Help] = MappingProxyType({})

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
        self.said: dict[bytes, Help] = {}
        self.tails: dict[int, bytes] = {}
        self.refused: dict[int, set[bytes]] = {}
        self.pooled: set[int] = set()
        self.busy: set[int] = set()

    def note(self, server: int, frame: bytes, vote: Vote, tail: bytes, found: Help = NO_HELP) -> None:
        """Note what a server says in answer to one of the round's frames."""
        if found is not NO_HELP:
            self.helps = {**self.helps, server: found}
        self.alike.is_open = False
        self.note_refusal(server, frame, vote)
        if vote.status == BUSY:
            self.busy.add(server)
        else:
            self.votes[server], self.tails[server] = vote, tail

    def heard(self, vote: Vote) -> Vote:
        """What to believe of a vote: that it culled a server says nothing of the server's next connection."""
        if self.lost.isdisjoint(vote.culled):
            return vote
        return replace(vote, culled=tuple([each for each in vote.culled if each not in self.lost]))

    def tails_of(self, vote: Vote) -> dict[int, bytes]:
        """What the servers signed that cast this vote; not over a connection that is lost.

        Story: (1) a client excludes a server whose MACs are wrong, and forgets them with its connection. (2) A reply
        that came before is taken over afterwards. (3) The server is started again with the right keys, and excluded.
        """
        votes, lost = self.votes, self.lost
        return {s: self.tails[s] for s, each in votes.items() if each is vote and s not in lost}

    def note_refusal(self, server: int, frame: bytes, vote: Vote) -> None:
        """Note whether a server says that it did not accept the frame that it answers; also of one that has voted."""
        if vote.status != SUCCESS:
            self.refused.setdefault(server, set()).add(frame[:REPLY_KEY_BYTES])
            if vote.status in (PENDING, LACKING):
                self.pooled.add(server)

    def contradicting(self) -> list[int]:
        """Servers that say they have accepted a candidate, and show histories that end below it: no honest one does.

        What was accepted stays until something newer takes its place. An update is accepted for all its objects; to a
        query a candidate is a name, no more; and a repair may cover some of those that it shows.
        """
        found = []
        for vote in self.read.values():
            is_repair = self.purpose is Purpose.REPAIR
            if vote.status == SUCCESS and vote.histories and (is_repair or vote.version_digest):
                pairs = zip(self.objects, vote.histories, strict=True)
                ends = [decode_history(name, history)[-1].candidate.timestamp for name, history in pairs]
                if (max(ends) if is_repair else min(ends)) < vote.candidate:
                    found += [server for server, each in self.votes.items() if each is vote]
        return found

    def is_dead(self, quorums: QuorumSystem) -> bool:
        """Whether an update attempt can certainly never be shown by r servers (see above)."""
        refused = self.refused
        possible = sum([len(refused.get(server, ())) < count for server, count in self.sent.items()])
        return possible + quorums.b < quorums.r

    def may_die(self, quorums: QuorumSystem) -> bool:
        """Whether it will be dead if servers that refused one of their frames refuse the others, too."""
        possible = sum([server not in self.refused for server in self.sent])
        return possible + quorums.b < quorums.r


def disagreement(round_: Round, operation: Operation, is_applied: bool | None, *, is_fixed: bool) -> Disagreed:
    """Servers computed different results; of SHOW, which is for just that case, with what each of them showed.

    Of a fixed call q servers may say that it changed nothing because their rings hold it: what an earlier program made
    of it, or what became of the call that a resolve asks for, is not known here.
    """
    if is_fixed and not is_applied:
        is_applied = None
    shown: list[tuple[int, bytes]] = []
    if operation.method == SHOW:
        shown = [(server, vote.answers[0]) for server, vote in round_.votes.items() if vote.answers]
    return Disagreed(operation.method, is_applied, tuple(sorted(shown)))


def text_of(vote: Vote) -> str:
    """What a vote without histories, or one of a server that could not do it, says in words: one short printable line.

    One server wrote it, which may lie: nothing in it reaches a terminal as it is.
    """
    text = vote.answers[0][1:].decode(errors="replace")
    return "".join([each if each.isprintable() else "?" for each in text[:REASON_CHARACTERS_MAX]])


def read_vote(round_: Round, vote_bytes: bytes, calls: int) -> Vote:
    """Decode a vote and every history in it.

    Raises:
        PeerViolation: it does not answer the round's request, call by call.
    """
    vote = decode_vote(vote_bytes)
    is_operation = round_.purpose is Purpose.OPERATION
    if vote.status in _SHOWING:
        if len(vote.histories) != len(round_.objects):
            raise PeerViolation("vote-histories")
        for name, history in zip(round_.objects, vote.histories, strict=True):
            read_history(name, history)
    if vote.status in _SHOWING and vote.status != UNABLE:
        if vote.answers and len(vote.answers) != calls:
            raise PeerViolation("vote-answers")
        if vote.status in _ANSWERING and is_operation and not (vote.candidate and (vote.answers or not calls)):
            raise PeerViolation("vote-answers")
    elif len(vote.answers) != 1:
        raise PeerViolation("vote-answers")
    elif vote.status != UNABLE and vote.histories:  # nobody has read them: who turns a request away shows none
        raise PeerViolation("vote-histories")
    if vote.status not in _STATUSES[round_.purpose]:
        raise PeerViolation("vote-status")
    if vote.status == SETTLED and not {NOT_RUN, FORGOTTEN}.isdisjoint(vote.answers):
        raise PeerViolation("vote-answers")
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
