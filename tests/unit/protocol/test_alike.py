"""Replies that are alike: bytes in, decision out."""

from __future__ import annotations

import pytest

from fivefold.protocol.client.alike import ENOUGH, KEPT, OTHER, Alike
from fivefold.protocol.client.outcomes import Answered
from fivefold.protocol.history import Entry, encode_history
from fivefold.protocol.messages import FAIL, SUCCESS, Vote, encode, reply_frame
from fivefold.protocol.records import ObjectHistories
from tests.protocol_rig import A, B, Desk, WatchedRack, candidate

MADE = candidate(1, A, B)
SHOWN = tuple(encode_history((Entry(candidate(1, name), False),)) for name in (A, B))


def vote(*, status: int = SUCCESS, histories: tuple[bytes, ...] = SHOWN[:1], culled: tuple[int, ...] = ()) -> Vote:
    return Vote(status, MADE.timestamp if status == SUCCESS else b"", (b"v",), b"d" * 32, histories, culled)


def frame(server: int, cast: Vote, *, size: int = 96) -> bytes:
    return reply_frame(7, encode(cast), (bytes([server]) * size,))


def test_q_replies_that_are_alike_are_enough() -> None:
    """The first two of three are kept; their authenticators differ."""
    found = Alike(3, [0, 1, 2, 3], is_open=True)
    assert [found.take(server, frame(server, vote())) for server in (0, 1, 3)] == [KEPT, KEPT, ENOUGH]
    assert found.vote() == vote()
    shown = ObjectHistories(A, SHOWN[:1], bytes([1, 1, 0, 1, 0, 0]))
    assert found.shown(vote(), [A], 6) == [(shown, b"".join(bytes([server]) * 96 for server in (0, 1, 3)))]


def test_authenticators_of_several_objects_are_told_apart() -> None:
    """Each server's reply has one for each object; of each object those of all servers stand together."""
    found = Alike(2, [0, 1], is_open=True)
    cast = vote(histories=SHOWN)
    for server in (0, 1):
        found.take(server, reply_frame(7, encode(cast), (bytes([server]) * 96, bytes([server + 8]) * 96)))
    assert [rows for _, rows in found.shown(cast, [A, B], 6)] == [
        bytes(96) + bytes([1]) * 96,
        bytes([8]) * 96 + bytes([9]) * 96,
    ]


@pytest.mark.parametrize(
    ("server", "bad"),
    [
        (0, frame(0, vote())),
        (4, frame(4, vote())),
        (1, frame(1, vote(culled=(3,)))),
        (1, frame(1, vote(), size=80)),
        (1, frame(1, vote(status=FAIL))),
    ],
    ids=["twice", "not asked", "another vote", "another length", "a refusal"],
)
def test_anything_else_is_looked_at(server: int, bad: bytes) -> None:
    """A second reply of one server, one of a server that was not asked, and one that differs."""
    found = Alike(3, [0, 1, 2, 3], is_open=True)
    found.take(0, frame(0, vote()))
    assert found.take(server, bad) == OTHER
    assert found.hand_over() == {0: frame(0, vote())}
    assert found.frames == {}


@pytest.mark.parametrize("cast", [vote(culled=(3,)), vote(histories=(b"",)), vote(histories=SHOWN)])
def test_what_is_not_the_good_case_is_not_taken_over_unseen(cast: Vote) -> None:
    """Nor are authenticators of another length than the histories call for."""
    found = Alike(2, [0, 1], is_open=True)
    for server in (0, 1):
        found.take(server, frame(server, cast))
    assert found.shown(cast, [A], 6) == []


def test_authenticators_of_another_length_are_not_taken_over_unseen() -> None:
    """A row cut short would shift those behind it."""
    found = Alike(2, [0, 1], is_open=True)
    for server in (0, 1):
        found.take(server, frame(server, vote(), size=95))
    assert found.shown(vote(), [A], 6) == []


def test_what_a_doubted_server_shows_alike_is_not_taken_over_unseen() -> None:
    """The next operation is not conditioned on the history of a server that somebody has culled."""
    rack = WatchedRack()
    desk = Desk(rack)
    order = rack.quorums.preference(A)
    desk.session.standing.note_cull(order[0], by=order[1])
    desk.session.standing.down.add(order[5])
    assert desk.call("add", b"+") == Answered((b"v",))
    assert order[0] in desk.sent
    assert desk.session.knowledge.of(A).fitted is None
