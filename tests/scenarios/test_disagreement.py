"""PROTOCOL §6, Determinism: q servers accept one candidate and tell different things of it."""

from __future__ import annotations

import pytest

from fivefold.protocol.outcomes import Answered, Disagreed
from tests.protocol_rig import A, Desk, WatchedRack, altered


def saying(rack: WatchedRack, *answers: bytes) -> Desk:
    """A client to whom the servers, in the order in which it tries them, answer so; those left over are down."""
    desk = Desk(rack)
    order = rack.quorums.preference(A)
    desk.lies = {server: altered(answers=(b"v" + answer,)) for server, answer in zip(order, answers, strict=False)}
    desk.down = set(order[len(answers) :])
    return desk


@pytest.mark.parametrize(
    ("answers", "outcome"),
    [
        ((b"1", b"2", b"3", b"4", b"5"), Disagreed("add")),
        ((b"1", b"1", b"2", b"3", b"4"), Answered((b"v1",))),
        ((b"1", b"1", b"1", b"2", b"3"), Answered((b"v1",))),
        ((b"1", b"1", b"2", b"2", b"3"), Disagreed("add")),
        ((b"1", b"1", b"1", b"2", b"2"), Disagreed("add")),
        ((b"1", b"1", b"1", b"1", b"2"), Answered((b"v1",))),
    ],
)
def test_b_1_equal_answers_count_unless_b_1_others_are_equal_too(answers: tuple, outcome: object) -> None:
    """One server may lie. Two that differ from two others may not: the method is not deterministic."""
    assert saying(WatchedRack(), *answers).call("add", b"+") == outcome
