"""What a round's replies decide: a pure function of the round (PROTOCOL §6).

Agreement on the candidate and agreement on the answer are counted separately: otherwise one lying answer would force a
repair for every operation.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from enum import Enum

from fivefold.protocol.classify import plan_operation, views_of
from fivefold.protocol.client.rounds import Purpose, Round, histories_of
from fivefold.protocol.history import decode_history
from fivefold.protocol.messages import DECLINED, FAIL, SUCCESS
from fivefold.protocol.operations import FORGOTTEN, NOT_RUN
from fivefold.protocol.quorums import QuorumSystem
from fivefold.protocol.records import LogicalTimestamp, Vote


class Next(Enum):
    """What follows from a round."""

    WAIT = "wait"
    """More replies will come."""
    ASK_FURTHER = "ask further"
    """More replies are needed than will come."""
    ANSWERED = "answered"
    """The operation is done, with these answers."""
    DONE = "done"
    """The repair is done."""
    DECLINED = "declined"
    """More than b servers decline the call for the same reason."""
    DIVERGED = "diverged"
    """Honest servers computed different results."""
    CONCLUDE = "conclude"
    """The round did not do it: learn what it showed, and act on that."""


class Verdict:
    """What a round's replies decide.

    Attributes:
        next: what follows.
        answers: one for each call, if the operation is done.
        odd: servers that answered otherwise, at most b.
        reason: why the call was declined.
    """

    __slots__ = ("answers", "next", "odd", "reason")

    def __init__(
        self, what: Next, answers: tuple[bytes, ...] = (), odd: tuple[int, ...] = (), reason: str = ""
    ) -> None:
        """Note it."""
        self.next, self.answers, self.odd, self.reason = what, answers, odd, reason


_WAIT = Verdict(Next.WAIT)
_ASK_FURTHER = Verdict(Next.ASK_FURTHER)
_CONCLUDE = Verdict(Next.CONCLUDE)


def judge(round_: Round, quorums: QuorumSystem, *, is_query: bool, is_patient: bool) -> Verdict:
    """See whether the replies so far decide the round; once patience is over, with the replies there are."""
    answered = len(round_.votes)
    if answered < quorums.q and len(round_.read) == 1 and answered + len(round_.busy) < len(round_.sent):
        return _WAIT
    reason = declined_reason(round_, quorums.b)
    if reason is not None:
        return Verdict(Next.DECLINED, reason=reason)
    if answered < quorums.q:
        is_over = answered + len(round_.busy) >= len(round_.sent) and len(round_.sent) < quorums.n
        return _ASK_FURTHER if is_over else _WAIT
    accepted = accepted_by(round_)
    if round_.purpose is not Purpose.OPERATION:
        found = Verdict(Next.DONE) if len(accepted) >= quorums.q else None
    else:
        found = _agreed(round_, quorums, accepted) or _agreed_optimistically(round_, quorums, is_query=is_query)
    if found is not None:
        return found
    unasked = quorums.n - len(round_.sent)
    silent = len(round_.sent) - answered
    if is_patient and accepted and quorums.q <= len(accepted) + unasked + silent and unasked + silent:
        # One server stood alone, by bad luck or malice: another one may complete the quorum.
        return _ASK_FURTHER if unasked else _WAIT
    return Verdict(Next.DIVERGED) if len(accepted) >= quorums.q else _CONCLUDE


def _agreed(round_: Round, quorums: QuorumSystem, accepted: list[int]) -> Verdict | None:
    """Q servers accepted one candidate: the round is done once b + 1 of them agree on the answer as well."""
    if len(accepted) < quorums.q:
        return None
    agreed = agreed_results(round_, accepted)
    if len(agreed[0]) <= quorums.b:
        return None
    if len(agreed) > 1 and len(agreed[1]) > quorums.b:
        return Verdict(Next.DIVERGED)
    odd = tuple([server for server in accepted if server not in agreed[0]])
    return Verdict(Next.ANSWERED, round_.votes[agreed[0][0]].answers, odd)


def _agreed_optimistically(round_: Round, quorums: QuorumSystem, *, is_query: bool) -> Verdict | None:
    """A refused operation is done too if this round's own histories classify METHOD and b + 1 servers agree (§6).

    Servers that call a query stale answer it all the same; of an update they tell what the ring of their latest
    version says: if it was applied, these are its answers.
    """
    plan = plan_operation(quorums, views_of(quorums, histories_of(round_, quorums.n)))
    if plan is None:
        return None
    latests = [part.conditioned_on for part in plan.parts]
    agreed = agreement_at(round_, latests, (SUCCESS, FAIL) if is_query else (FAIL,))
    if not agreed or len(agreed[0]) <= quorums.b:
        return None
    answers = round_.votes[agreed[0][0]].answers
    if not is_query and not {NOT_RUN, FORGOTTEN}.isdisjoint(answers):
        return None
    return Verdict(Next.ANSWERED, answers, tuple([server for minority in agreed[1:] for server in minority]))


# --- counting ---------------------------------------------------------------------------------------------------------


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
