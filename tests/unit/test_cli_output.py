"""How commands print numbers, answers and servers."""

import io

import pytest
from rich.console import Console

from fivefold import ClusterStatus
from fivefold.cli.exits import Exit, exit_code_of
from fivefold.cli.output import bytes_text, seconds_text, to_json
from fivefold.cli.servers import count_up, evidence_text, servers_table
from fivefold.errors import ConfigurationError, NotAllowed, OutcomeUnknown, Rejected, Unavailable
from fivefold.node import ServerStatus
from fivefold.objects import Lease
from fivefold.protocol.knowledge import Evidence
from fivefold.protocol.quorums import QuorumSystem


def server(index: int, failure: str | None = None) -> ServerStatus:
    return ServerStatus(
        index=index,
        version="0",
        storage="sqlite",
        storage_failure=failure,
        uptime_s=5.0,
        cached_objects=3,
        transactions=(9, 7),
        connections=2,
        counters={},
        memory_bytes=62_000_000,
    )


LIAR = Evidence(4, True, True, (0, 1), {"answered differently": 2}, False)
STATUS = ClusterStatus(
    QuorumSystem(6, 1, 1),
    (server(0), server(1, "disk full"), None, None, server(4), server(5)),
    (LIAR,),
    {2: "server 2: [Errno 111] Connection refused"},
)


def shown(*, with_pids: bool) -> str:
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(servers_table(STATUS, [f"h:{i}" for i in range(6)], [1, 2, None, 4, 5, 6] if with_pids else None))
    return console.export_text()


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (62_000_000, "62 MB"), (2 * 10**16, "20000 TB")]
)
def test_sizes(size: int, text: str) -> None:
    """Sizes are shown in a unit that leaves few digits."""
    assert bytes_text(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.00085, "850 µs"), (0.0123, "12.3 ms"), (3.14, "3.1 s"), (60, "60 s"), (240, "4 min"), (7200, "2 h")],
)
def test_times(seconds: float, text: str) -> None:
    """Times are shown in a unit that leaves few digits."""
    assert seconds_text(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (b"hi", '"aGk="'),
        ({"ä": (1, 2)}, '{"ä":[1,2]}'),
        (Lease("me", 1, 2), '{"owner":"me","token":1,"expires_ms":2}'),
    ],
)
def test_answers_as_json(value: object, text: str) -> None:
    """Every answer has a form in JSON."""
    assert to_json(value) == text


def test_the_table_says_how_each_server_is() -> None:
    """Up, without a disk, gone and silent servers are told apart, and the liar is named."""
    rows = [
        line.split() for line in shown(with_pids=True).splitlines() if line.strip()[:2] in {f"{i} " for i in range(6)}
    ]
    assert [row[3] for row in rows if row[1].startswith("h:")] == ["up", "promises", "down:", "silent", "up", "up"]
    text = shown(with_pids=False)
    assert "down: Connection refused" in text
    assert "7 (+2)" in text
    assert "LIES, left out; wrong MACs, as servers 0, 1 found; suspected; answered differently ×2" in text


def test_only_servers_that_can_store_count() -> None:
    """A server whose disk is full is not up."""
    assert count_up(STATUS) == 3


def test_no_evidence_is_no_text() -> None:
    """Against most servers nothing speaks; one finder is named in the singular."""
    assert evidence_text(None) == ""
    assert evidence_text(Evidence(1, False, False, (3,), {}, True)) == "wrong MACs, as server 3 found; was silent"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigurationError("x"), Exit.MISTAKE),
        (NotAllowed("x"), Exit.MISTAKE),
        (Rejected("x"), Exit.MISTAKE),
        (Unavailable("x"), Exit.UNAVAILABLE),
        (OutcomeUnknown("x"), Exit.UNKNOWN),
    ],
)
def test_exit_codes(error: Exception, code: Exit) -> None:
    """Mistakes, the world's doing and unknown outcomes are told apart by the exit code."""
    assert exit_code_of(error) is code
