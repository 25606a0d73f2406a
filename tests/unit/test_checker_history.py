"""Histories as files, and the pictures drawn of them."""

import ast
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import msgspec
import pytest

from fivefold import checker
from fivefold.checker import (
    HistoryError,
    Observation,
    Outcome,
    Verdict,
    check,
    check_file,
    page,
    parse_history,
    picture,
    read_history,
    write_history,
)
from fivefold.errors import CallerError

LINE = '{"process":"p","method":"get","objects":["Counter/c"],"invoke_ns":1,"return_ns":2,"outcome":"ok","answer":0}'
STALE = [
    Observation(process="a", method="increment", objects=("Counter/c",), invoke_ns=0, return_ns=10, outcome=Outcome.OK),
    Observation(
        process="b", method="get", objects=("Counter/c",), invoke_ns=20, return_ns=30, outcome=Outcome.OK, answer=0
    ),
]


def test_a_history_survives_a_file(tmp_path):
    """What was written is read back, answers that were not recorded included."""
    path = tmp_path / "history.jsonl"
    full = Observation(
        process="p",
        method="transfer",
        objects=("A/a", "A/b"),
        arguments={"amount": [1, {"x": None}]},
        invoke_ns=3,
        outcome=Outcome.UNKNOWN,
        read={"A/a": 1},
        written={"A/a": 2},
        operation="00ff",
    )
    write_history(path, [full, *STALE])
    assert read_history(path) == (full, *STALE)


def test_empty_lines_are_skipped():
    """A trailing or separating empty line is no operation."""
    assert len(parse_history(["\n", LINE, "  \n", LINE])) == 2


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"outcome": "fine"}, "enum"),
        ({"objects": []}, "length >= 1"),
        ({"objects": ["A/a", "A/a"]}, "an object twice"),
        ({"invoke_ns": -1}, ">= 0"),
        ({"invoke_ns": 1.5}, "int"),
        ({"return_ns": 0}, "before it is invoked"),
        ({"return_ns": None}, "without return_ns"),
        ({"outcome": "rejected"}, "class name"),
        ({"colour": "red"}, "unknown field"),
        ({"read": {"Counter/d": 1}}, "not among its objects"),
        ({"written": {"Counter/c": "1"}}, "int"),
        ({"process": ""}, "length >= 1"),
        ({"answer": msgspec.json.decode("[" * 90 + "]" * 90)}, "deeper than 64"),
    ],
)
def test_a_bad_field_is_refused_with_its_line(change, complaint):
    """Every field is checked, and the error names the line."""
    bad = msgspec.json.encode(msgspec.json.decode(LINE) | change)
    with pytest.raises(HistoryError, match=rf"^line 2: .*{complaint}") as caught:
        parse_history([LINE, bad])
    assert caught.value.line == 2
    assert isinstance(caught.value, CallerError)


@pytest.mark.parametrize("text", [b"{", b"[]", b"7", b"\xff\xfe", b"null", b"[" * 100_000])
def test_what_is_no_observation_is_refused(text):
    """Nothing but HistoryError comes out of broken lines."""
    with pytest.raises(HistoryError, match=r"^line 1: "):
        parse_history([text])


def test_a_repeated_operation_is_refused():
    """Retries of one operation are one line; two lines of one id would count it twice."""
    line = LINE.replace('"process"', '"operation":"77","process"')
    with pytest.raises(HistoryError, match="line 2: repeats the operation of line 1"):
        parse_history([line, line])


def test_a_missing_file_is_the_callers_mistake(tmp_path):
    """A path that cannot be read is named."""
    with pytest.raises(HistoryError, match="nowhere"):
        check_file(tmp_path / "nowhere")


def test_an_outcome_of_wrong_type_is_refused():
    """Observations made in a program are checked too."""
    with pytest.raises(HistoryError, match="use one of ok, rejected"):
        check([msgspec.structs.replace(STALE[0], outcome="done")])


def test_check_file_draws_violations_only(tmp_path):
    """A picture is written for a violation, as SVG or as a page, and for nothing else."""
    path = tmp_path / "history.jsonl"
    write_history(path, STALE)
    assert check_file(path, tmp_path / "wrong.svg").verdict is Verdict.VIOLATION
    assert check_file(path, tmp_path / "wrong.html").verdict is Verdict.VIOLATION
    write_history(path, STALE[:1])
    assert check_file(path, tmp_path / "right.html").verdict is Verdict.LINEARIZABLE
    assert sorted(file.name for file in tmp_path.iterdir()) == ["history.jsonl", "wrong.html", "wrong.svg"]
    assert "<svg" in (tmp_path / "wrong.html").read_text()
    ET.parse(tmp_path / "wrong.svg")


def test_the_picture_shows_the_operation_at_fault():
    """The stuck operation is marked, and the order before it is numbered."""
    drawn = picture(check(STALE), STALE)
    assert drawn.count('class="bar fault"') == 1
    assert drawn.count('class="bar done"') == 1
    assert drawn.count('class="number"') == 1


def test_the_page_needs_nothing_from_elsewhere():
    """No script and no link: a page can be mailed."""
    text = page(check(STALE), STALE)
    assert "<script" not in text
    assert text.count("http") == text.count("http://www.w3.org/2000/svg")


def test_names_cannot_break_out_of_the_picture():
    """A history is data: what it holds is shown, not run."""
    evil = [msgspec.structs.replace(seen, process="</svg><script>\x00") for seen in STALE]
    text = page(check(evil), evil)
    assert "<script" not in text
    ET.fromstring(picture(check(evil), evil))


def test_a_cycle_is_drawn_with_its_edges():
    """Each edge of the cycle is an arrow with its kind."""
    history = [
        Observation(
            process=name,
            method="touch",
            objects=("T/x", "T/y"),
            invoke_ns=0,
            return_ns=9,
            outcome=Outcome.OK,
            read={"T/x": 0, "T/y": 0},
            written={other: 1},
        )
        for name, other in (("a", "T/x"), ("b", "T/y"))
    ]
    drawn = picture(check(history), history)
    assert drawn.count('class="edge"') == 2
    assert ">rw T/x<" in drawn
    assert "saw a version older" in page(check(history), history)


def test_the_checker_knows_nothing_of_the_protocol():
    """It imports the standard library, msgspec, its own modules and the errors: a bug elsewhere cannot hide in it."""
    for path in Path(checker.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                top = name.partition(".")[0]
                assert top in sys.stdlib_module_names or top in ("msgspec", "fivefold"), f"{path.name}: {name}"
                if top == "fivefold":
                    assert name == "fivefold.errors" or name.startswith("fivefold.checker"), f"{path.name}: {name}"
