"""Quorum systems: defaults, refusals, preferred quorums (PROTOCOL §1)."""

from __future__ import annotations

import pytest

from fivefold.errors import ConfigurationError
from fivefold.protocol.quorums import SERVERS_MAX, QuorumSystem


@pytest.mark.parametrize(
    ("n", "t", "b", "q", "r"),
    [
        (1, 0, 0, 1, 1),
        (4, 1, 0, 3, 2),
        (5, 1, 0, 4, 2),
        (6, 1, 1, 5, 3),
        (7, 1, 1, 6, 3),
        (9, 2, 1, 7, 4),
        (11, 2, 2, 9, 5),
    ],
)
def test_the_defaults_are_those_of_the_table(n: int, t: int, b: int, q: int, r: int) -> None:
    """Q = ⌈(2n + 2b + 1) / 3⌉ and r = n - q + b + 1."""
    system = QuorumSystem(n, t, b)
    assert (system.q, system.r) == (q, r)


@pytest.mark.parametrize(
    ("n", "t", "b", "q", "r"), [(7, 1, 1, 5, None), (6, 1, 1, None, 2), (6, 1, 1, None, 4), (5, 1, 1, 4, 3)]
)
def test_weaker_quorums_are_refused(n: int, t: int, b: int, q: int | None, r: int | None) -> None:
    """The four weakenings that forked in random runs (n7 q5, n6 r2, n6 r4, n5 q4 r3) cannot be built."""
    with pytest.raises(ConfigurationError, match=r"^\([234]\)|need at least 6 servers"):
        QuorumSystem(n, t, b, q=q, r=r)


@pytest.mark.parametrize(("q", "number"), [(4, "3"), (5, ""), (6, "2")])
def test_q_has_a_floor_and_a_ceiling(q: int, number: str) -> None:
    """n=6, t=b=1: q=5 is the only quorum size; one less breaks (3), one more (2)."""
    if not number:
        assert QuorumSystem(6, 1, 1, q=q).q == 5
        return
    with pytest.raises(ConfigurationError, match=rf"^\({number}\)"):
        QuorumSystem(6, 1, 1, q=q, r=3)


@pytest.mark.parametrize(("t", "b"), [(-1, -1), (0, 1), (1, 2), (1, -1)])
def test_b_lies_between_0_and_t(t: int, b: int) -> None:
    """Malevolent servers are some of the faulty ones."""
    with pytest.raises(ConfigurationError, match="b must be between 0 and t"):
        QuorumSystem(20, t, b)


def test_too_few_and_too_many_servers_are_refused() -> None:
    """n=5 with t=b=1 says how many are needed; SERVERS_MAX is the last that is accepted."""
    with pytest.raises(ConfigurationError, match="at least 6 servers: got 5"):
        QuorumSystem(5, 1, 1)
    assert QuorumSystem(SERVERS_MAX, 1, 1).n == SERVERS_MAX
    with pytest.raises(ConfigurationError, match="at most"):
        QuorumSystem(SERVERS_MAX + 1, 1, 1)


def test_the_preferred_quorum_depends_on_the_object_alone() -> None:
    """Two systems of one size agree on it, and it is a rotation of the servers."""
    first, second = QuorumSystem(6, 1, 1), QuorumSystem(6, 1, 1)
    assert first.preference("Reg/a") == second.preference("Reg/a")
    assert sorted(first.preference("Reg/a")) == list(range(6))


def test_keys_with_one_beginning_share_a_preferred_quorum() -> None:
    """What stands before a ``/`` in the key decides, for objects of every type; without one the whole id does."""
    six = QuorumSystem(6, 1, 1)
    family = {six.preference(name) for name in ("Inode/files/1", "Chunk/files/1.0", "Inode/files/2", "Ids/files/")}
    assert len(family) == 1
    assert len({six.preference(f"Inode/files{number}/1") for number in range(50)}) == 6
    assert len({six.preference(f"Reg/{number}") for number in range(50)}) == 6
    assert len({six.preference(f"{cls}/alone") for cls in "abcdefghijklmnopqrstuvwxyz"}) == 6


def test_a_quorum_system_shows_its_numbers() -> None:
    """All five in its repr."""
    assert repr(QuorumSystem(6, 1, 1)) == "QuorumSystem(n=6, t=1, b=1, q=5, r=3)"
