"""The client's ordinary rounds in native code: bytes in, decision out; and what a session makes of them.

tests/properties/test_native_client_bugs.py runs this module with each bug of ``BUGS`` in place.
"""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from fivefold.native import Differs, native
from fivefold.protocol.announcements import Announcement
from fivefold.protocol.authenticators import columns
from fivefold.protocol.client.helped import HelpedInvocation
from fivefold.protocol.client.invocation import Invocation
from fivefold.protocol.client.ordinary import Opened, long_of
from fivefold.protocol.client.outcomes import Answered
from fivefold.protocol.client.session import Session
from fivefold.protocol.history import Entry, encode_history
from fivefold.protocol.messages import (
    FAIL,
    SUCCESS,
    UNCHANGED,
    Vote,
    encode,
    encode_operation,
    reply_frame,
    request_head,
)
from fivefold.protocol.operations import Call, Operation
from fivefold.protocol.quorums import QuorumSystem
from fivefold.protocol.records import ObjectHistories, Request
from fivefold.simulation.rack import client_id
from tests.protocol_rig import A, B, Desk, WatchedRack, candidate, invocation_of, op

pytestmark = pytest.mark.skipif(native is None, reason="fivefold-native is not installed")

BUGS = (
    "alone",
    "answers",
    "column",
    "culled",
    "initial",
    "kind",
    "length",
    "number",
    "order",
    "panic",
    "quorum",
    "rest",
    "since",
    "status",
    "stranger",
    "tails",
    "time",
    "twice",
    "vote",
)
"""The bugs on purpose in native/src/client.rs; FIVEFOLD_PLANTED has ``client-`` before each."""

N, Q, NUMBER, TAG = 6, 5, 7, "the call"
MADE = candidate(1, A, B)
HISTORIES = tuple(encode_history((Entry(candidate(1, name), False),)) for name in (A, B))


def rounds(
    *,
    servers: tuple[int, ...] = (0, 1, 2, 3, 4),
    objects: int = 1,
    calls: int = 1,
    numbers: tuple[int, ...] = (NUMBER,),
) -> Any:
    """A client's rounds, with one open under each number."""
    assert native is not None, "the module is skipped without it"
    found = native.OrdinaryRounds(N, Q)
    names = (A, B)[:objects]
    sets = tuple([ObjectHistories(name, (), bytes(N)) for name in names])
    operation = Operation(names, (Call(b"i" * 16, 0, "add", b""),))
    for number in numbers:
        found.open(number, TAG, sets, b"", operation, 0, 1, servers)
    return found


def vote(**changes: Any) -> Vote:
    """What all servers say in the good case, but for these changes."""
    usual = {"status": SUCCESS, "candidate": MADE.timestamp, "answers": (b"v",), "version_digest": b"d" * 32}
    return Vote(**{**usual, "histories": HISTORIES[:1], "culled": (), **changes})


def frame(server: int, cast: Vote | bytes, *, size: int = 16 * N, number: int = NUMBER) -> bytes:
    """A server's reply, with authenticators of its own."""
    return reply_frame(number, cast if isinstance(cast, bytes) else encode(cast), (bytes([server]) * size,))


def told(found: Any, cast: Vote | bytes, *, size: int = 16 * N, servers: tuple[int, ...] = (0, 1, 2, 3, 4)) -> Any:
    """What comes of like replies of all servers: nothing before the last one, then one event."""
    frames = {server: frame(server, cast, size=size) for server in servers}
    events = [found.receive(server, (each,)) for server, each in frames.items()]
    assert events[:-1] == [None] * (len(frames) - 1)
    ((tag, other, kept, shown),) = events[-1]
    assert (tag, other, kept, len(found)) == (TAG, None, frames, 0)
    return shown


def test_the_frames_are_those_of_python() -> None:
    """The request is the same for all, the column of MACs is each one's own; of several objects and calls too."""
    found = rounds(numbers=())
    sets = (
        ObjectHistories(A, HISTORIES[:1], bytes([1, 1, 0, 1, 1, 1])),
        ObjectHistories(B, HISTORIES, bytes([0, 1, 2, 1, 1, 1])),
    )
    macs = b"".join([bytes([row, server]) * 8 for row in range(10) for server in range(N)])
    calls = (Call(b"i" * 16, 3, "add", b"+" * 300), Call(b"j" * 16, (1 << 64).to_bytes(16, "big"), "take", b""))
    for since in (0, 5, 1 << 64, (1 << 128) - 1):
        operation = Operation((B, A), calls, b"c" * 16)
        body = encode(Request(A, sets, encode_operation(operation, since, 200)))
        expected = columns(macs, N, request_head(9, body))
        made = found.open(9, TAG, sets, macs, operation, since, 200, [4, 0, 5])
        assert made == [expected[4], expected[0], expected[5]]


def test_of_an_object_that_is_not_known_there_are_no_columns() -> None:
    """The first request is conditioned on nothing."""
    found, sets = rounds(numbers=()), (ObjectHistories(A, (), bytes(N)),)
    operation = Operation((A,), (Call(b"i" * 16, 0, "add", b""),))
    body = encode(Request(A, sets, encode_operation(operation, 0, 1)))
    assert found.open(1, TAG, sets, b"", operation, 0, 1, range(2)) == [request_head(1, body)] * 2


def test_q_replies_that_are_alike_end_the_call() -> None:
    """They tell its answer, and what the next request is conditioned on; the rows are in the order of the servers."""
    order = (3, 1, 5, 0, 2)
    shown = told(rounds(servers=(0, 1, 2, 3, 5)), vote(), servers=order)
    rows = b"".join(bytes([server]) * 96 for server in sorted(order))
    assert shown == (SUCCESS, (b"v",), 1, HISTORIES[:1], bytes([1, 1, 1, 1, 0, 1]), (rows,))


def test_of_several_objects_each_has_its_rows() -> None:
    """A server's reply has the authenticators of one object after the other."""
    found = rounds(objects=2)
    tails = [bytes([server]) * 96 + bytes([server + 8]) * 96 for server in range(Q)]
    cast = encode(vote(histories=HISTORIES))
    events = [found.receive(server, (reply_frame(NUMBER, cast, (tail,)),)) for server, tail in enumerate(tails)]
    assert events[-1][0][3][5] == tuple(b"".join(tail[at : at + 96] for tail in tails) for at in (0, 96))


def test_only_a_version_that_was_made_has_a_time() -> None:
    """To queries and rejected updates the candidate is a name, no more."""
    assert told(rounds(), vote(status=UNCHANGED, version_digest=b""))[:3] == (UNCHANGED, (b"v",), 0)


@pytest.mark.parametrize(
    ("cast", "size"),
    [
        (vote(culled=(3,)), 96),
        (vote(histories=(b"",)), 96),
        (vote(histories=HISTORIES), 96),
        (vote(histories=()), 96),
        (vote(answers=(b"v", b"v")), 96),
        (vote(answers=()), 96),
        (vote(candidate=b""), 96),
        (vote(), 80),
        (vote(), 112),
        (vote(), 0),
        (encode(vote()) + b"\0", 96),
        (b"\x96\x00\xc1", 96),
        (b"\x96\x00", 96),
        (encode(vote()).replace(b"\xc4\x01v", b"\xc5\x00\x01v"), 96),
    ],
    ids=[
        "culled", "initial", "two histories", "no history", "two answers", "no answer", "no candidate", "short",
        "long", "unsigned", "more", "broken", "cut", "not canonical",
    ],
)  # fmt: skip
def test_what_all_say_may_not_be_the_good_case(cast: Vote | bytes, size: int) -> None:
    """Then it is looked at reply by reply: nothing of it is taken over here."""
    assert told(rounds(), cast, size=size) is None


@pytest.mark.parametrize(
    ("server", "other"),
    [
        (0, frame(0, vote())),
        (5, frame(5, vote())),
        (1, frame(1, vote(answers=(b"w",)))),
        (1, frame(1, vote(), size=80)),
        (1, frame(1, vote(), size=112)),
        (1, frame(1, vote(status=FAIL))),
        (1, frame(1, vote())[:20]),
        (1, frame(1, vote())[:9]),
    ],
    ids=["twice", "not asked", "another vote", "shorter", "longer", "a refusal", "cut", "a key"],
)
def test_anything_else_has_to_be_looked_at(server: int, other: bytes) -> None:
    """With what was kept before it; the round is then another's."""
    found, first = rounds(), frame(0, vote())
    assert found.receive(0, (first,)) is None
    assert found.receive(server, (other,)) == [(TAG, other, {0: first}, None)]
    assert len(found) == 0
    assert found.receive(2, (frame(2, vote()),)) == [(None, frame(2, vote()), {}, None)]


@pytest.mark.parametrize(
    "first",
    [
        frame(1, vote(status=FAIL)),
        frame(1, vote())[:-100],
        frame(1, b""),
        frame(1, encode(vote())[:1]),
        frame(1, vote())[:12],
    ],
    ids=["a refusal", "truncated", "no vote", "half a vote", "half a length"],
)
def test_a_first_reply_is_kept_only_if_it_may_end_the_call(first: bytes) -> None:
    """Nobody waits for others like it."""
    assert rounds().receive(1, (first,)) == [(TAG, first, {}, None)]


def test_of_a_single_server_the_reply_is_not_kept() -> None:
    """Nobody else is there whose replies it could be held against."""
    first = frame(0, vote())
    assert rounds(servers=(0,)).receive(0, (first,)) == [(TAG, first, {}, None)]


@pytest.mark.parametrize(
    "other", [frame(0, vote(), number=8), b"\x01" + frame(0, vote())[1:], frame(0, vote())[:8], b"\x02"]
)
def test_what_answers_nothing_here_is_given_on(other: bytes) -> None:
    """A reply to another number, another kind of frame, and too few bytes for either."""
    found = rounds()
    assert found.receive(0, (other,)) == [(None, other, {}, None)]
    assert found.close(NUMBER) == {}


def test_frames_that_come_together_are_taken_in_order() -> None:
    """Of two rounds and a stranger: the events stand in the order of the frames."""
    found = rounds(numbers=(7, 8))
    for server in range(4):
        assert found.receive(server, (frame(server, vote()), frame(server, vote(), number=8))) is None
    other = frame(4, vote(), number=9)
    events = found.receive(4, (frame(4, vote(), number=8), other, frame(4, vote()), other))
    assert [event[0] for event in events] == [TAG, None, TAG, None]
    assert [event[2][4][8] for event in (events[0], events[2])] == [8, 7]


def test_a_round_is_given_back_once() -> None:
    """With the replies that it has kept, in the order in which they came."""
    found = rounds()
    for server in (3, 1):
        found.receive(server, (frame(server, vote()),))
    assert list(found.close(NUMBER).items()) == [(server, frame(server, vote())) for server in (3, 1)]
    assert (found.close(NUMBER), len(found)) == (None, 0)


def test_without_a_bug_there_are_no_panics() -> None:
    """They would be counted."""
    found = rounds()
    told(found, vote())
    assert found.panics == 0


def test_a_call_in_the_good_case_is_native() -> None:
    """From its request to its outcome, whatever it is; what is unusual goes on in Python with the replies kept."""
    desk = Desk(WatchedRack())
    ticket = desk.start(op("add", b"+"))
    assert isinstance(desk.session._running[ticket], Opened)
    desk.step()
    assert isinstance(invocation_of(desk.session, ticket), Invocation)
    assert desk.finish(ticket) == Answered((b"v",))
    assert (len(desk.session._running), len(desk.session._rounds)) == (0, 0)


PAIR = ("Reg/x", "Reg/y")


def helped_session() -> Session:
    """A session whose client helps others, and knows nothing yet."""
    return Session(QuorumSystem(N, 1, 1), Random(1), is_helping=True)


def kind_of(session: Session, number: int, method: str, *objects: str) -> type:
    """What works on a call."""
    operation = op(method, b"", *objects, call_id=bytes([number]) * 16)
    ticket, _ = session.call(0, operation, is_query=method == "get", deadline_ns=10**10)
    return type(session._running[ticket])


def test_with_helping_calls_begin_natively_where_nobody_else_is_known() -> None:
    """Helping costs nothing where there is no contention."""
    session = helped_session()
    assert {kind_of(session, 1, "add", A), kind_of(session, 2, "get", B), kind_of(session, 3, "add", *PAIR)} == {Opened}


@pytest.mark.parametrize("how", ["listed", "followed"])
def test_with_helping_updates_where_others_wait_are_python_s(how: str) -> None:
    """Those are announced, or carry others' calls; queries, and updates of several objects, never do."""
    session = helped_session()
    assert session.crowd is not None
    place = session.crowd.at(A)
    if how == "listed":
        place.listed = (Announcement(client_id("o"), b"", (Call(b"o" * 16, 0, "add", b""),)),)
    else:
        place.follows_until_ns = 1
    assert kind_of(session, 1, "add", A) is HelpedInvocation
    assert {kind_of(session, 2, "get", B), kind_of(session, 3, "add", *PAIR)} == {Opened}


def test_an_ordinary_round_of_a_client_that_helps_becomes_a_helped_one() -> None:
    """Once a reply is not like others, with what it was conditioned on; from then on it may be announced."""
    session = helped_session()
    ticket, _ = session.call(0, op("add", b"+"), is_query=False, deadline_ns=10**10)
    invocation = long_of(session._running[ticket])
    assert isinstance(invocation, HelpedInvocation)
    assert not invocation._is_pinned


def test_what_servers_may_keep_if_they_refuse_it_is_pinned() -> None:
    """A client that has announced something counts servers that refused an attempt among those that may keep it."""
    session = helped_session()
    assert session.crowd is not None
    session.crowd.has_announced = True
    ticket, _ = session.call(0, op("add", b"+"), is_query=False, deadline_ns=10**10)
    opened = session._running[ticket]
    assert isinstance(opened, Opened)
    invocation = long_of(opened)
    assert isinstance(invocation, HelpedInvocation)
    assert (invocation._is_pinned, invocation._since) == (True, opened.since)


def test_servers_that_were_heard_are_busy_and_not_silent() -> None:
    """Also those whose replies Python never sees."""
    session = Session(QuorumSystem(N, 1, 1), Random(1))
    ticket, actions = session.call(0, op("add", b"+"), is_query=False, deadline_ns=10**10)
    server = actions.send[0].server
    session.receive(5, server, frame(server, vote(), number=1))
    assert isinstance(session._running[ticket], Opened)
    assert session.knowledge.heard_ns == {server: 5}


class Tampered:
    """Native rounds that make something else of the frames, or of what all say."""

    def __init__(self, honest: Any, *, frames: bool) -> None:
        self._honest, self._frames, self.panics, self.opened = honest, frames, 0, 0

    def open(self, *request: Any) -> list[bytes]:
        self.opened += 1
        return [each + b"\0" * self._frames for each in self._honest.open(*request)]

    def receive(self, server: int, frames: tuple[bytes, ...]) -> Any:
        events = self._honest.receive(server, frames) or ()
        return [(*event[:3], (*event[3][:1], (b"lie",), *event[3][2:]) if event[3] else None) for event in events]

    def close(self, number: int) -> Any:
        return self._honest.close(number)


@pytest.mark.parametrize("frames", [True, False])
def test_a_judge_that_sees_a_difference_keeps_python_s_and_asks_native_code_no_more(frames: bool) -> None:
    """It tells the driver; the call comes to what it comes to in Python."""
    desk = Desk(WatchedRack())
    natively = desk.session.natively
    assert natively is not None
    natively._rounds, natively.judge_every = Tampered(natively._rounds, frames=frames), 1
    faults: list[Exception] = []
    take = desk._take
    desk._take = lambda actions: (faults.extend(actions.faults), take(actions))[1]
    assert desk.call("add", b"+") == Answered((b"v",))
    assert [type(each) for each in faults] == [Differs]
    assert desk.call("add", b"-") == Answered((b"v+",))
    assert (natively.is_trusted, natively._rounds.opened) == (False, 1)


def test_without_a_judge_nothing_is_worked_out_twice() -> None:
    """The lie of the test above would be believed."""
    desk = Desk(WatchedRack())
    natively = desk.session.natively
    assert natively is not None
    natively._rounds = Tampered(natively._rounds, frames=False)
    assert desk.call("add", b"+") == Answered((b"lie",))
