"""PROTOCOL §10, the paper's example execution: every request's kind, every server's history, every result."""

from __future__ import annotations

import pytest

from fivefold.simulation.example import ExampleRow, run_example

ALL_INITIAL = ("{0}",) * 6
FIRST = ("{1,0}",) * 5 + ("{0}",)
BOTH = ("{1,0}",) * 6
RIVALS = ("{2,1}",) * 4 + ("{2',1}",) * 2
"""Y's 2' is the paper's ⟨3,1⟩: it has the time of X's ⟨2,1⟩ and sorts after it by client."""

TRACE: list[tuple[str, str, tuple[int, ...], tuple[str, ...]]] = [
    ("X get", "METHOD", (0, 1, 2, 3, 4), ALL_INITIAL),
    ("X set(♣)", "METHOD", (0, 1, 2, 3, 4), FIRST),
    ("Y get", "METHOD", (5,), FIRST),
    ("Y repair", "INLINE_METHOD", (1, 2, 3, 4, 5), BOTH),
    ("Y get", "METHOD", (1, 2, 3, 4, 5), BOTH),
    ("X set(♦)", "METHOD", (0, 1, 2, 3), RIVALS),
    ("Y set(♥)", "METHOD", (4, 5), RIVALS),
    ("X repair", "BARRIER", (0, 1, 2, 3, 4), ("{3b,2,1}",) * 4 + ("{3b,2',1}", "{2',1}")),
    ("X repair", "COPY", (0, 1, 2, 3, 4), ("{4,2,1}",) * 4 + ("{4,2',1}", "{2',1}")),
    ("X set(♠)", "METHOD", (0, 1, 2), ("{5,4}",) * 3 + ("{4,2,1}", "{4,2',1}", "{2',1}")),
    (
        "Y repair",
        "BARRIER",
        (1, 2, 3, 4, 5),
        ("{5,4}", "{6b,5,4}", "{6b,5,4}", "{6b,4,2,1}", "{6b,4,2',1}", "{6b,2',1}"),
    ),
    (
        "Z repair",
        "INLINE_METHOD",
        (0, 1, 2),
        ("{5,4}", "{6b,5,4}", "{6b,5,4}", "{6b,4,2,1}", "{6b,4,2',1}", "{6b,2',1}"),
    ),
    (
        "Y repair",
        "COPY",
        (1, 2, 3, 4, 5),
        ("{5,4}", "{7,5}", "{7,5}", "{7,2,1}", "{7,2',1}", "{7,2',1}"),
    ),
    (
        "Y get",
        "METHOD",
        (1, 2, 3, 4, 5),
        ("{5,4}", "{7,5}", "{7,5}", "{7,2,1}", "{7,2',1}", "{7,2',1}"),
    ),
]
"""Client and operation, kind, servers that accepted, histories afterwards.

Times are one lower than the paper's. A barrier is gone once something newer is accepted: it decides nothing any more
(PROTOCOL §4.7), where the paper's table keeps showing it. The copy 7 is one of the copy 4: it takes the other's place
(docs/concepts/protocol.md, "Copies of one version").
"""


@pytest.fixture(scope="module")
def rows() -> list[ExampleRow]:
    """One run for all tests of the module."""
    return run_example()


@pytest.mark.parametrize("number", range(len(TRACE)), ids=lambda number: f"{number}-{TRACE[number][0]}")
def test_each_request_goes_as_in_the_paper(rows: list[ExampleRow], number: int) -> None:
    """Kind, accepting servers and all six histories after each request are those of the table."""
    row = rows[number]
    assert (row.operation, row.kind, row.accepted_by, row.cells) == TRACE[number]


def test_the_trace_is_complete(rows: list[ExampleRow]) -> None:
    """The example has no further requests."""
    assert len(rows) == len(TRACE)


def test_the_gets_return_what_the_paper_says(rows: list[ExampleRow]) -> None:
    """X reads the initial value, Y ♣ and at the end ♦: the dead client's ♠ is gone for good."""
    assert [row.result for row in rows if row.result.startswith("returns")] == [
        "returns ♥",
        "returns ♣",
        "returns ♦",
    ]


def test_the_example_is_the_same_every_time() -> None:
    """Nothing in it is random: two runs give equal rows."""
    assert run_example() == run_example()
