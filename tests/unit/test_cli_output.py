"""How commands print numbers, answers and servers."""

import io

import msgspec
import pytest
from rich.console import Console

from fivefold import ClusterStatus
from fivefold.cli.exits import Exit, exit_code_of
from fivefold.cli.output import bytes_text, seconds_text, to_json
from fivefold.cli.servers import count_up, evidence_text, programs_of, servers_view
from fivefold.errors import ConfigurationError, NotAllowed, OutcomeUnknown, Rejected, Unavailable
from fivefold.node import ServerStatus
from fivefold.objects import Lease
from fivefold.protocol.client.knowledge import Evidence
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
    {2: "Connection refused"},
)


def shown(*, with_pids: bool, columns: int = 80) -> str:
    console = Console(width=columns, soft_wrap=True, record=True, file=io.StringIO())
    addresses = [f"127.0.0.1:2300{i}" for i in range(6)]
    console.print(servers_view(STATUS, addresses, [1, 2, None, 4, 5, 6] if with_pids else None))
    return console.export_text()


def test_damaged_objects_are_named() -> None:
    """Which server, and which object, with whatever its id may do to a terminal shown and not done."""
    damaged = msgspec.structs.replace(server(0), damaged={"A/x": "rot", "A/\x1b[2J": "rot"})
    status = ClusterStatus(STATUS.quorums, (damaged, *STATUS.servers[1:]), (), {})
    console = Console(width=200, soft_wrap=True, record=True, file=io.StringIO())
    console.print(servers_view(status, ["127.0.0.1:2300"] * 6, None))
    text = console.export_text()
    assert "server 0 answers nothing for 'A/x': its disk has damaged it" in text
    assert "for 'A/\\x1b[2J'" in text
    assert "\x1b" not in text


def test_servers_say_what_they_run() -> None:
    """In one line where all run the same, else in one for each variant."""
    native = msgspec.structs.replace(server(1), variant="native")
    pure = msgspec.structs.replace(server(0), variant="pure Python")
    some = ClusterStatus(STATUS.quorums, (pure, native, None, native, pure, native), (), {})
    assert programs_of(some) == [
        f"server 0, 4: Fivefold {pure.version} (pure Python)",
        f"server 1, 3, 5: Fivefold {pure.version} (native)",
    ]
    same = ClusterStatus(STATUS.quorums, (native,) * 6, (), {})
    assert programs_of(same) == [f"Fivefold {pure.version} (native)"]


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
        (float("inf"), '"Infinity"'),
        ({"low": [-float("inf")], "none": float("nan")}, '{"low":["-Infinity"],"none":"NaN"}'),
        ({1: 2, 1.5: 3, b"k": 4, (1, "a"): 5}, '{"1":2,"1.5":3,"aw==":4,"[1, \\"a\\"]":5}'),
        (10**30, "1" + "0" * 30),
        ("\ud800", '"\\ud800"'),
    ],
)
def test_answers_as_json(value: object, text: str) -> None:
    """Every answer has a form in JSON."""
    assert to_json(value) == text


def test_the_table_says_how_each_server_is() -> None:
    """Up, without a disk, gone, silent and lying servers are told apart, within 80 columns."""
    lines = [line.split() for line in shown(with_pids=True).splitlines()]
    rows = [line for line in lines if len(line) > 3 and line[1].startswith("127.")]
    assert [row[3] for row in rows] == ["up", "no", "down", "silent", "LIES", "up"]
    assert "7 (+2)" in shown(with_pids=True)
    assert "…" not in shown(with_pids=True)


def test_what_takes_a_sentence_stands_below_the_table() -> None:
    """Why a server is gone or promises nothing, and what speaks against it, is told in full."""
    assert [line.rstrip() for line in shown(with_pids=False).splitlines()[-4:-1]] == [
        "server 1 promises nothing: disk full",
        "server 2 cannot be reached: Connection refused",
        "against server 4: LIES, left out; wrong MACs, as servers 0, 1 found; suspected; answered differently ×2",
    ]


def test_only_servers_that_can_store_count() -> None:
    """A server whose disk is full is not up."""
    assert count_up(STATUS) == 3


def test_no_evidence_is_no_text() -> None:
    """Against most servers nothing speaks; one finder is named in the singular."""
    assert evidence_text(None) == ""
    assert evidence_text(Evidence(1, False, False, (3,), {}, True)) == "wrong MACs, as server 3 found; was silent"
    lied = "LIED over an earlier connection, left out then; wrong MACs, as servers 2, 3 found"
    assert evidence_text(Evidence(1, False, False, (), {}, False, (2, 3))) == lied


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
