"""``fivefold top``: what it says of a cluster at two moments."""

from __future__ import annotations

from io import StringIO

import pytest
from msgspec.structs import replace
from rich.console import Console

from fivefold import ClusterStatus
from fivefold.cli.top import headline, overview
from fivefold.node import ServerStatus
from fivefold.protocol.activity import Hot, Lately, Loud
from fivefold.protocol.client import Evidence
from fivefold.protocol.quorums import QuorumSystem
from fivefold.upkeep import Look, Watch, headline_of, rates

SIX = QuorumSystem(6, 1, 1)
ADDRESSES = tuple(f"127.0.0.1:{7000 + index}" for index in range(6))


def server(index: int, *, uptime_s: float = 100.0, failure: str | None = None, **counters: int) -> ServerStatus:
    named = {name.replace("__", "."): count for name, count in counters.items()}
    return ServerStatus(index, "0.1.0", "sqlite", failure, uptime_s, 3, (9, 9), 4, named, 50_000_000)


def cluster(*down: int, liars: tuple[int, ...] = (), **counters: int) -> ClusterStatus:
    servers = tuple(None if index in down else server(index, **counters) for index in range(6))
    evidence = tuple(Evidence(index, True, False, (1, 2), {}, False) for index in liars)
    return ClusterStatus(SIX, servers, evidence, dict.fromkeys(down, "connection refused"))


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (cluster(), "UP    1 more of 6 servers may fail, and 1 more may lie"),
        (cluster(3), "UP    0 more of 6 servers may fail, and 1 more may lie"),
        (cluster(3, 4), "DOWN  no call completes: start 1 more of the servers"),
        (cluster(liars=(5,)), "UP    0 more of 6 servers may fail, and 0 more may lie"),
        (
            cluster(3, liars=(5,)),
            "DOWN  no call is sure to complete: 4 servers are well and honest, and 5 are needed",
        ),
        (cluster(liars=(4, 5)), "DANGER  2 servers lie, and this cluster bears 1: trust no answer"),
    ],
)
def test_the_first_line_says_how_many_more_failures_it_takes(status: ClusterStatus, says: str) -> None:
    """With t and t + 1 servers down, with b and b + 1 proven liars."""
    assert headline(headline_of(status)).plain == says


def test_rates_are_per_second_between_two_looks() -> None:
    """Counters of one kind are added up, and divided by the time between."""
    before = server(0, accepted__METHOD=100, accepted__COPY=1, rejected__stale=5)
    after = server(0, uptime_s=102.0, accepted__METHOD=300, accepted__COPY=2, accepted__BARRIER=1, rejected__stale=7)
    found = rates(before, after, 2.0)
    assert found is not None
    assert (found["updates"], found["repairs"], found["rejected"]) == (100.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("before", "after"),
    [(None, server(0)), (server(0), None), (server(0, uptime_s=100), server(0, uptime_s=1))],
)
def test_there_are_no_rates_of_a_server_that_was_away(before: ServerStatus | None, after: ServerStatus | None) -> None:
    """Who was down at one of the looks, or started anew between them, has no rates."""
    assert rates(before, after, 2.0) is None


def shown(before: ClusterStatus, after: ClusterStatus, *, width: int = 120, stale_s: float = 0.0) -> str:
    watch, later = Watch(), Look(12.0, after, ADDRESSES)
    watch.note(Look(10.0, before, ADDRESSES), 1000.0)
    console = Console(file=StringIO(), width=width, color_system=None)
    console.print(overview(watch.note(later, 1002.0), later, stale_s=stale_s))
    return console.file.getvalue()


def test_who_is_down_or_lies_is_named() -> None:
    """The overview names the state of each server, and the evidence against a liar."""
    text = shown(cluster(), cluster(3, liars=(5,), accepted__METHOD=10))
    assert "down" in text
    assert "LIES" in text
    assert "server 3 cannot be reached: connection refused" in text


def test_it_fits_a_terminal_of_80_columns() -> None:
    """Every column of both tables is whole."""
    lately = Lately(60.0, 9, (Hot("Map/" + "x" * 250, 99_999, 9),), (Loud("ab" * 16, 9, 123_456, 1000),))
    servers = tuple(replace(each, lately=lately) for each in cluster(accepted__METHOD=10).servers)
    text = shown(cluster(), replace(cluster(), servers=servers), width=80)
    words = text.split()
    assert max(map(len, text.splitlines())) <= 80
    assert "740,736" in words
    assert {"updates", "repairs", "stale", "culls", "syncs", "rejected", "address", "memory"} <= set(words)


def test_old_data_say_how_old_they_are() -> None:
    """When nobody answers, what was seen last is shown as old."""
    assert "nobody has answered for" in shown(cluster(), cluster(), stale_s=30.0)
    assert "nobody has answered" not in shown(cluster(), cluster())
