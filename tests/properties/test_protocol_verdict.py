"""The verdict on a round is that of its naive twin, which tries every choice of liars."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from fivefold.protocol.client.rounds import Purpose, Round
from fivefold.protocol.client.verdict import Next, Verdict, judge
from fivefold.protocol.history import Entry, empty_histories, encode_history
from fivefold.protocol.messages import (
    BUSY,
    DECLINED,
    FAIL,
    SETTLED,
    SUCCESS,
    UNABLE,
    UNCHANGED,
    Vote,
    encode,
    reply_frame,
)
from fivefold.protocol.operations import REFUSED, STOPPED
from fivefold.protocol.quorums import QuorumSystem
from fivefold.protocol.records import Request
from tests import protocol_twins as twins
from tests.protocol_rig import A, candidate

STATUSES = {
    "accepted": SUCCESS,
    "unchanged": UNCHANGED,
    "stale": FAIL,
    "declined": DECLINED,
    "unable": UNABLE,
    "busy": BUSY,
    "settled": SETTLED,
}
CANDIDATES = [candidate(1, A).timestamp, candidate(2, A).timestamp]
SIZES = [(4, 1, 0), (6, 1, 1), (7, 1, 1), (11, 2, 2)]


def vote(server: int, kind: str, which: int, result: bytes) -> Vote:
    """A vote of this kind. No two servers show the same history: what follows from those is not the twin's matter."""
    status = STATUSES[kind]
    shown = (encode_history((Entry(candidate(9, A, salt=bytes([server])), False),)),)
    if kind in ("accepted", "unchanged", "settled"):
        made = b"d" * 32 if kind == "accepted" else b""
        return Vote(status, CANDIDATES[which], (b"v" + result,), made, shown, ())
    if kind == "stale":
        return Vote(status, b"", (), b"", shown, ())
    tag = STOPPED if kind == "unable" else REFUSED
    return Vote(status, b"", (tag + result,), b"", shown if kind == "unable" else (), ())


@settings(max_examples=800)
@given(data=st.data())
def test_a_round_is_judged_as_its_twin_judges_it(data: st.DataObject) -> None:
    """Mostly a few kinds of votes, so that groups of any size meet each threshold."""
    n, t, b = data.draw(st.sampled_from(SIZES))
    quorums = QuorumSystem(n, t, b)
    kinds = data.draw(st.lists(st.sampled_from(list(STATUSES)), min_size=1, max_size=3))
    count = data.draw(st.integers(quorums.q, n))
    is_query = data.draw(st.booleans())
    round_ = Round(
        0, Purpose.OPERATION, Request(A, (empty_histories(A, n),), b"o"), b"", q=quorums.q, servers=range(count)
    )
    cast: dict[int, twins.Cast] = {}
    read: dict[bytes, Vote] = {}
    for server in data.draw(st.lists(st.integers(0, count - 1), unique=True, min_size=quorums.r)):
        kind = data.draw(st.sampled_from(kinds))
        if kind == "unchanged" and is_query:
            continue  # cannot be read
        which = data.draw(st.sampled_from([0, 0, 0, 1]))
        result = data.draw(st.sampled_from([b"1", b"1", b"1", b"2", b"3"]))
        made = vote(server, kind, which, result)
        if kind != "busy":
            named = which if kind in ("accepted", "unchanged") else None
            cast[server] = (kind, named, made.answers[0][1:] if made.answers else None)
        made = read.setdefault(encode(made), made)
        round_.note(server, reply_frame(7, b"", ()), made, b"")
        round_.sent[server] = data.draw(st.sampled_from([1, 1, 1, 2]))
    round_.read = read
    is_patient, awaits_frames = data.draw(st.booleans()), data.draw(st.booleans())
    may_be_applied = not is_query and data.draw(st.booleans())
    asked = set(range(count))
    found = judge(
        round_,
        quorums,
        is_query=is_query,
        is_patient=is_patient,
        awaits_frames=awaits_frames,
        may_be_applied=may_be_applied,
    )
    assert told(found) == twins.verdict(
        cast,
        asked=asked,
        busy=set(round_.busy),
        may_hold={s for s in asked if round_.sent[s] > 1 or s not in round_.refused},
        never_refused={s for s in asked if s not in round_.refused},
        n=n,
        q=quorums.q,
        r=quorums.r,
        b=b,
        is_query=is_query,
        is_patient=is_patient,
        awaits_frames=awaits_frames,
        may_be_applied=may_be_applied,
    )


def told(found: Verdict) -> tuple[object, ...]:
    """A verdict in the twin's words."""
    if found.next is Next.ANSWERED:
        return found.next.value, found.answers[0][1:], set(found.odd), found.is_unchanged
    if found.next is Next.DIVERGED:
        return found.next.value, found.is_applied
    return (found.next.value,)
