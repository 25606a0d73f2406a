"""Quorum arithmetic against its meaning, tried on explicit sets of servers."""

from __future__ import annotations

from itertools import pairwise, product

import pytest

from fivefold.errors import ConfigurationError
from fivefold.protocol.quorums import QuorumSystem
from tests.protocol_twins import are_quorums_sound

CASES = [
    (n, t, b, q, r)
    for n, t, b in product(range(1, 8), range(3), range(3))
    for q, r in product(range(1, n + 1), range(1, n + 1))
]


def is_accepted(n: int, t: int, b: int, q: int, r: int) -> bool:
    try:
        QuorumSystem(n, t, b, q=q, r=r)
    except ConfigurationError:
        return False
    return True


def test_the_constraints_say_what_they_mean() -> None:
    """For every n up to 7: q and r are accepted exactly if the statements (2)-(4) hold for all sets of servers."""
    wrong = [
        case for case in CASES if is_accepted(*case) != (case[2] <= case[1] <= case[0] and are_quorums_sound(*case))
    ]
    assert wrong == []


@pytest.mark.parametrize(("t", "b"), [(0, 0), (1, 0), (1, 1), (2, 0), (2, 1), (2, 2), (5, 5)])
def test_the_least_number_of_servers_is_3t_2b_1(t: int, b: int) -> None:
    """One server fewer is refused; the least n has q = 2t + 2b + 1 and r = t + b + 1."""
    n = 3 * t + 2 * b + 1
    assert (QuorumSystem(n, t, b).q, QuorumSystem(n, t, b).r) == (2 * t + 2 * b + 1, t + b + 1)
    if n > 1:
        with pytest.raises(ConfigurationError, match="servers"):
            QuorumSystem(n - 1, t, b)


def test_the_defaults_are_sound_for_every_n() -> None:
    """For every n, t and b that is accepted, the default q and r satisfy the constraints; q is the least that does."""
    for n, t, b in product(range(1, 30), range(6), range(6)):
        if b <= t and n >= 3 * t + 2 * b + 1:
            system = QuorumSystem(n, t, b)
            assert is_accepted(n, t, b, system.q, system.r)
            assert not any(is_accepted(n, t, b, system.q - 1, r) for r in range(1, n + 1))


def test_preferred_quorums_spread_the_load() -> None:
    """Every server is first for some objects; the order is a rotation of all servers."""
    system = QuorumSystem(6, 1, 1)
    orders = [system.preference(f"Reg/{number}") for number in range(200)]
    assert {order[0] for order in orders} == set(range(6))
    assert all(sorted(order) == list(range(6)) for order in orders)
    assert all((second - first) % 6 == 1 for order in orders for first, second in pairwise(order))
