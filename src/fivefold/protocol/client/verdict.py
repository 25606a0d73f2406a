"""What a round's replies decide: a pure function of the round (PROTOCOL §6).

Agreement on the candidate and agreement on the answer are counted separately: otherwise one lying answer would force a
repair for every operation. tests/protocol_twins.py has a naive twin, and tests/properties/test_protocol_verdict.py
compares the two.

**When is an update done?** Q servers *accepted* one candidate (SUCCESS); q - b of them are honest, so it is
established. Q servers that say UNCHANGED have accepted nothing: they answer, as to a query, on a version that no
completed update had replaced. The two are never added up. A server that could not run the operation (UNABLE) counts
for neither. Story: (1) one of five servers stops the method at its time limit and still says SUCCESS; (2) a liar says
SUCCESS, too, and accepts nothing; (3) the call is told as done, and three servers hold it; (4) the next client does not
hear from one of them: a completed update is lost.

**When do results prove that the object diverged?** At most b of the q may lie. If more than b differ from every result
that could be the honest one, two honest servers computed different results. With at most b beside the largest group,
that group has q - b > b servers, and its result is an honest one's.

**When is a call refused?** A server that declines it refuses it for itself; others may have accepted it. So a call is
refused, and a call that the servers could not run has failed, only once each of its attempts is certainly dead
(rounds.py). An attempt that is dead leaves too few servers to reach q, so nothing better is waited for in vain.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from enum import Enum
from typing import Final

from fivefold.protocol.classify import plan_operation, views_of
from fivefold.protocol.client.following import counted
from fivefold.protocol.client.rounds import Purpose, Round, histories_of, text_of
from fivefold.protocol.history import decode_history
from fivefold.protocol.messages import DECLINED, FAIL, SETTLED, SUCCESS, UNABLE, UNCHANGED
from fivefold.protocol.operations import FORGOTTEN, NOT_RUN, remembered
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
    """More than b servers decline the call for the same reason, and nothing of it was or will be applied."""
    UNABLE = "unable"
    """More than b servers could not run the operation, and nothing of it was or will be applied."""
    UNKNOWN = "unknown"
    """More than b servers decline the call or could not run it, and an attempt at it may be applied all the same."""
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
        reason: why the call was declined, or could not be run.
        is_applied: if the servers diverged, whether the operation was applied; None if that is not known.
        is_by_others: if the operation is done, whether that was not by this attempt.
        is_unchanged: if the operation is done, whether q servers say that it changed nothing.
    """

    __slots__ = ("answers", "is_applied", "is_by_others", "is_unchanged", "next", "odd", "reason")

    def __init__(
        self,
        what: Next,
        answers: tuple[bytes, ...] = (),
        odd: tuple[int, ...] = (),
        *,
        reason: str = "",
        is_applied: bool | None = None,
        is_unchanged: bool = False,
        is_by_others: bool = False,
    ) -> None:
        """Note it."""
        self.is_by_others = is_by_others
        self.next, self.answers, self.odd, self.reason = what, answers, odd, reason
        self.is_applied, self.is_unchanged = is_applied, is_unchanged


_TELLING: Final = (FAIL, SETTLED)
"""What a server says that does not accept an update, and tells what its ring has of it."""

_WAIT: Final = Verdict(Next.WAIT)
_ASK_FURTHER: Final = Verdict(Next.ASK_FURTHER)
_DONE: Final = Verdict(Next.DONE)
_CONCLUDE: Final = Verdict(Next.CONCLUDE)


def judge(
    round_: Round,
    quorums: QuorumSystem,
    *,
    is_query: bool,
    is_patient: bool,
    awaits_frames: bool,
    may_be_applied: bool,
    newer: Collection[int] = (),
    is_thorough: bool = False,
) -> Verdict:
    """See whether the replies so far decide the round; once patience is over, with the replies there are.

    Args:
        round_: the round, whose replies have all been looked at.
        quorums: the quorum system.
        is_query: whether the operation, also that which a repair is for, is a query.
        is_patient: whether replies that may still come are waited for.
        awaits_frames: whether, without patience too, second answers are waited for that would prove the attempt dead.
        may_be_applied: whether an earlier attempt at one of the calls is not certainly dead.
        newer: servers that use a later edition: more than b of them finish nothing (following.py).
        is_thorough: whether a repair waits, with patience, for what all servers show.
    """
    if round_.purpose is not Purpose.OPERATION:
        repair = _judge_repair(round_, quorums, is_patient=is_patient, may_be_applied=may_be_applied, newer=newer)
        return _wait_for_all(round_, quorums, repair) if is_thorough and is_patient else repair
    accepted, unchanged = largest_group(round_, SUCCESS), largest_group(round_, UNCHANGED)
    accepting, unchanging = [counted(group, newer, quorums.b) for group in (accepted, unchanged)]
    is_vetoed = counted(round_.votes, newer, quorums.b) < len(round_.votes)
    if accepting >= quorums.q:
        return _judge_results(round_, quorums, accepted, is_applied=not is_query, is_unchanged=False)
    if unchanging >= quorums.q:
        is_applied = None if may_be_applied else False
        return _judge_results(round_, quorums, unchanged, is_applied=is_applied, is_unchanged=True)
    best = max(accepting, unchanging)
    still = quorums.n - len(round_.votes)
    is_possible = best + still >= quorums.q
    if not is_possible and not may_be_applied and not is_vetoed and (is_query or round_.is_dead(quorums)):
        found = _judge_refusals(round_, quorums, declined=Next.DECLINED, stopped=Next.UNABLE)
        if found is not None:
            return found
    if len(round_.votes) < quorums.q:
        return _ask_or_wait(round_, quorums)
    found = None if is_vetoed else _judge_refused(round_, quorums, is_query=is_query, newer=newer)
    if found is not None:
        return found
    if is_patient and best and still and is_possible:
        # One server stood alone, by bad luck or malice: another one may complete the quorum.
        return _ASK_FURTHER if len(round_.sent) < quorums.n else _WAIT
    if is_vetoed:
        return _CONCLUDE
    # A repair completes what r servers accepted, whichever others could not run it.
    stopped = None if len(accepted) >= quorums.r else Next.UNKNOWN
    found = _judge_refusals(round_, quorums, declined=Next.UNKNOWN, stopped=stopped)
    if found is not None and awaits_frames and not may_be_applied and round_.may_die(quorums):
        return _WAIT
    if found is None and stopped and len(accepted) > quorums.b and len(unchanged) > quorums.b:
        return Verdict(Next.DIVERGED)
    return found or _CONCLUDE


def _judge_refusals(round_: Round, quorums: QuorumSystem, *, declined: Next, stopped: Next | None) -> Verdict | None:
    """More than b servers decline the call for one reason, or could not run it: then what follows from that."""
    reason = declined_reason(round_, quorums.b)
    if reason is not None:
        return Verdict(declined, reason=reason)
    reason = None if stopped is None else stopped_reason(round_, quorums.b)
    return None if stopped is None or reason is None else Verdict(stopped, reason=reason)


def _judge_repair(
    round_: Round, quorums: QuorumSystem, *, is_patient: bool, may_be_applied: bool, newer: Collection[int]
) -> Verdict:
    """A repair is done once q servers accepted it; who may not see or repair the object is told so."""
    accepted = len(largest_group(round_, SUCCESS))
    if accepted >= quorums.q:
        return _DONE
    is_vetoed = counted(round_.votes, newer, quorums.b) < len(round_.votes)
    reason = None if is_vetoed else declined_reason(round_, quorums.b)
    if reason is not None:
        return Verdict(Next.UNKNOWN if may_be_applied else Next.DECLINED, reason=reason)
    if len(round_.votes) < quorums.q:
        return _ask_or_wait(round_, quorums)
    still = quorums.n - len(round_.votes)
    if is_patient and accepted and still and accepted + still >= quorums.q:
        return _ASK_FURTHER if len(round_.sent) < quorums.n else _WAIT
    return _CONCLUDE


def _wait_for_all(round_: Round, quorums: QuorumSystem, repair: Verdict) -> Verdict:
    """What follows from a repair, but not before all servers have shown what they hold."""
    if repair in (_DONE, _CONCLUDE) and len(round_.votes) < quorums.n:
        return _ASK_FURTHER if len(round_.sent) < quorums.n else _WAIT
    return repair


def _ask_or_wait(round_: Round, quorums: QuorumSystem) -> Verdict:
    is_over = len(round_.votes) + len(round_.busy) >= len(round_.sent) and len(round_.sent) < quorums.n
    return _ASK_FURTHER if is_over else _WAIT


def _judge_results(
    round_: Round, quorums: QuorumSystem, servers: list[int], *, is_applied: bool | None, is_unchanged: bool
) -> Verdict:
    """Q servers accepted one candidate, or ran the operation and changed nothing: do they agree on what it did?"""
    assert len(servers) >= quorums.q, "what is told as done was done by q servers"
    agreed = agreement([(server, result_of(round_.votes[server])) for server in servers])[0]
    if len(servers) - len(agreed) > quorums.b:
        return Verdict(Next.DIVERGED, is_applied=is_applied)
    assert len(agreed) > quorums.b, "an honest server says so too"
    odd = tuple([server for server in servers if server not in agreed])
    return Verdict(Next.ANSWERED, round_.votes[agreed[0]].answers, odd, is_unchanged=is_unchanged)


def _judge_refused(round_: Round, quorums: QuorumSystem, *, is_query: bool, newer: Collection[int]) -> Verdict | None:
    """What a refused operation is answered all the same."""
    settled = None if is_query else _judge_settled(round_, quorums, newer)
    return settled or _judge_latest(round_, quorums, is_query=is_query)


def _judge_settled(round_: Round, quorums: QuorumSystem, newer: Collection[int]) -> Verdict | None:
    """An update is done that q servers call settled, with the same answers.

    They need not mean the same established version. Of a long answer some have the whole, others its digest.

    Fewer would do if no server were ever replaced: one of b + 1 is honest. But a server that has not heard of a newer
    edition may have been shown q histories of which servers that use it signed some, or the one that it replaces: what
    they established no client may call complete yet (R7), and a newcomer may miss it. Q that are counted hold it.
    """
    said: dict[tuple[bytes, ...], list[int]] = {}
    for server, vote in round_.votes.items():
        if vote.status == SETTLED:
            said.setdefault(tuple(map(remembered, vote.answers)), []).append(server)
    if not said:
        return None
    group = max(said.values(), key=len)
    if counted(group, newer, quorums.b) < quorums.q:
        return None
    odd = tuple([server for others in said.values() if others is not group for server in others])
    if len(odd) > quorums.b:
        return Verdict(Next.DIVERGED, is_applied=True)
    votes = [round_.votes[server] for server in group]
    answers = tuple([max(each, key=len) for each in zip(*[vote.answers for vote in votes], strict=True)])
    return Verdict(Next.ANSWERED, answers, odd, is_by_others=True)


def _judge_latest(round_: Round, quorums: QuorumSystem, *, is_query: bool) -> Verdict | None:
    """A refused operation is done too if this round's own histories classify METHOD and b + 1 servers agree (§6).

    Servers that call a query stale answer it all the same; of an update they tell what the ring of their latest
    version says: if it was applied, these are its answers.
    """
    if not is_query and sum([vote.status in _TELLING for vote in round_.votes.values()]) <= quorums.b:
        return None
    # Nothing is accepted here: how far one object's clock leads another's does not matter.
    plan = plan_operation(quorums, views_of(quorums, histories_of(round_, quorums.n)), is_query=True)
    if plan is None:
        return None
    latests = [part.conditioned_on for part in plan.parts]
    groups = agreement_at(round_, latests, (SUCCESS, FAIL) if is_query else _TELLING)
    if not groups or len(groups[0]) <= quorums.b:
        return None
    odd = tuple([server for minority in groups[1:] for server in minority])
    answers = round_.votes[groups[0][0]].answers
    if is_query:
        return (
            Verdict(Next.DIVERGED, is_applied=False) if len(odd) > quorums.b else Verdict(Next.ANSWERED, answers, odd)
        )
    if len(odd) > quorums.b or not {NOT_RUN, FORGOTTEN}.isdisjoint(answers):
        return None
    return Verdict(Next.ANSWERED, answers, odd, is_by_others=True)


def judge_announcement(
    round_: Round, quorums: QuorumSystem, *, may_be_applied: bool, newer: Collection[int]
) -> Verdict:
    """What servers say to announced calls: those they do not take up may be applied already."""
    is_vetoed = counted(round_.votes, newer, quorums.b) < len(round_.votes)
    reason = None if is_vetoed else declined_reason(round_, quorums.b)
    if reason is not None and not may_be_applied:
        return Verdict(Next.DECLINED, reason=reason)
    if len(round_.votes) < quorums.q:
        return _WAIT
    found = None if is_vetoed else _judge_refused(round_, quorums, is_query=False, newer=newer)
    if found is None and reason is not None:
        return Verdict(Next.UNKNOWN, reason=reason)
    return found or _CONCLUDE


# --- counting ---------------------------------------------------------------------------------------------------------


def declined_reason(round_: Round, b: int) -> str | None:
    """Why the servers decline the call, if b + 1 of them say the same."""
    for vote in round_.read.values():
        if vote.status == DECLINED and sum(each is vote for each in round_.votes.values()) > b:
            return text_of(vote)
    return None


def stopped_reason(round_: Round, b: int) -> str | None:
    """What most of those say that could not run the operation, if they are b + 1; their limits need not be the same."""
    texts = [text_of(vote) for vote in round_.votes.values() if vote.status == UNABLE]
    return max(texts, key=texts.count) if len(texts) > b else None


def largest_group(round_: Round, status: int) -> list[int]:
    """The servers that cast a vote of this status on the candidate that most of them name."""
    groups: dict[bytes, list[int]] = {}
    for server, vote in round_.votes.items():
        if vote.status == status:
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
