"""What came from a peer, a file or a user reaches no terminal as it is: no escape code, no line feed, no markup."""

import ast
import asyncio
import io
import json
import logging
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

import fivefold.cli
from fivefold.checker import Observation, Outcome, write_history
from fivefold.cli import main
from fivefold.cli.exits import Exit
from fivefold.cli.logs import set_up_logs
from fivefold.cli.output import CleanConsole, marked, say, shown, to_json
from fivefold.cli.servers import servers_view
from fivefold.node import ServerStatus
from fivefold.protocol.actions import Write
from fivefold.storage import SqliteStorage
from tests.unit.test_cli_output import STATUS, server

EVIL = "\x1b[31m\x1b]0;title\x07\nfivefold: all is well\r\x9b2J\u202e\x00[red]"
"""Colour, a window's title, a forged line, a cleared screen, reversed text, markup."""


def is_clean(text: str) -> bool:
    """Whether a terminal shows the text as it is, line by line."""
    return all(line.isprintable() for line in text.split("\n"))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("", ""),
        ("Map/café ☃ 日本", "Map/café ☃ 日本"),
        ("a\x1b[31m", r"a\x1b[31m"),
        ("a\nb\tc\rd", r"a\nb\tc\rd"),
        ("\x9b\x7f\x00", r"\x9b\x7f\x00"),
        ("\u202e\u2028\ufeff\u200b", r"\u202e\u2028\ufeff\u200b"),
        ("\U000e0041", r"\U000e0041"),
        ("caf\udce9", r"caf\xe9"),
        ("\ud800", r"\ud800"),
        (Path("/tmp/x\n"), r"/tmp/x\n"),
        (7, "7"),
    ],
)
def test_values_are_shown_on_one_line(value: object, text: str) -> None:
    """Printable characters of any script stay; all others are told by their codes."""
    assert shown(value) == text


def test_markup_is_the_templates_alone() -> None:
    """Values have the place's style, and their own brackets and backslashes stay what they are."""
    text = marked("[green]{}[/] knows {}", "[red]x\\", "[/]\n")
    assert text.plain == "[red]x\\ knows [/]\\n"
    assert [(span.start, span.end, span.style) for span in text.spans] == [(0, 7, "green")]


def test_the_console_is_a_second_wall(monkeypatch: pytest.MonkeyPatch) -> None:
    """A value that was forgotten, in a table or in plain text, still sends no code; lines and colours stay."""
    for variable in ("NO_COLOR", "FORCE_COLOR", "TERM"):
        monkeypatch.delenv(variable, raising=False)
    file = io.StringIO()
    console = CleanConsole(file=file, force_terminal=True, width=60)
    table = Table("a")
    table.add_row("\x1b]0;x\x07\u202e")
    console.print(table)
    console.print("[red]two\nlines[/] \x9b2J")
    printed = file.getvalue()
    assert "\x1b[31mtwo" in printed
    assert not {"\x1b]", "\x07", "\u202e", "\x9b"} & set(printed)
    assert "\x1b]" not in printed
    assert r"lines" in printed


def test_no_command_prints_otherwise() -> None:
    """An f-string that is printed could hold anything: say() and marked() take the values apart from the text."""
    found = []
    cli = Path(fivefold.cli.__file__).parent
    for path in [*cli.rglob("*.py"), cli.parent / "bench" / "command.py"]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            texts = [each for each in ast.walk(node.args[0]) if isinstance(each, ast.JoinedStr)]
            if name == "print" and any(not _is_escaped(text) for text in texts):
                found.append(f"{path.name}:{node.lineno}")
    assert found == []


def _is_escaped(text: ast.JoinedStr) -> bool:
    """Whether each value is shown() or one of our own classes' names."""
    values = [ast.unparse(each.value) for each in text.values if isinstance(each, ast.FormattedValue)]
    return all(value.startswith("shown(") or value.endswith(".__name__") for value in values)


# --- where such values come from ------------------------------------------------------------------------------------
@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Runs ``fivefold`` with words in an empty directory: exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)

    def call(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            main(words)
        captured = capsys.readouterr()
        assert is_clean(captured.out), captured.out
        assert is_clean(captured.err), captured.err
        return int(left.value.code or 0), captured.out, captured.err

    return call


@pytest.fixture
def data(tmp_path: Path) -> str:
    """A data directory with objects of a client that knows terminals, and one that is none."""
    directory = tmp_path / "data"
    directory.mkdir()
    path = directory / "objects.sqlite"
    SqliteStorage.create(path, "cluster", "fingerprint")
    storage = SqliteStorage(path, asyncio.new_event_loop(), lambda sequence: None)
    storage._loop.close()
    storage.stage(1, [Write("Counter/plain", b"h", ()), Write(f"Counter/{EVIL}", b"h", ())])
    storage.close()
    return str(directory)


def test_ids_of_objects(run, data: str) -> None:
    """Each id is one line; as JSON it is the id itself."""
    _, out, _ = run("inspect", data, "--ids")
    assert len(out.splitlines()) == 2
    assert r"\x1b[31m" in out
    _, out, _ = run("inspect", data, "--ids", "--json")
    assert [json.loads(line) for line in out.splitlines()] == sorted(["Counter/plain", f"Counter/{EVIL}"])


def test_a_history_with_such_names(run) -> None:
    """Processes, objects and values of a history file come back in the verdict, on one line."""
    history = [
        Observation(
            process=EVIL,
            method="increment",
            objects=(f"Counter/{EVIL}",),
            invoke_ns=at,
            return_ns=at + 1,
            outcome=Outcome.OK,
            answer=1,
        )
        for at in (0, 10)
    ]
    write_history("bad.jsonl", history)
    code, out, _ = run("check", "bad.jsonl")
    assert (code, out.count("\n")) == (Exit.FAILED, 2)
    assert "[red]" in out
    assert EVIL in json.loads(run("check", "bad.jsonl", "--json")[1])["message"]


def test_words_of_the_command_line(run) -> None:
    """What is not there is named, in an error or in the usage, without being obeyed."""
    assert r"\x1b[31m" in run(EVIL.replace("\x00", ""))[2]
    assert r"\x1b[31m" in run("status", "--cluster", f"/nowhere/{EVIL}".replace("\x00", ""))[2]
    assert r"\x1b" in run("simulate", "--seeds", "\x1b[31m")[2]
    assert run("objects", f"A{EVIL}")[0] == Exit.MISTAKE
    assert r"caf\xe9" in run("check", "caf\udce9")[2]


def test_what_a_server_says_of_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lying server writes its own storage failure and version."""
    lying = ServerStatus(**{name: getattr(server(0), name) for name in ServerStatus.__struct_fields__})
    lying = type(lying)(**{**{n: getattr(lying, n) for n in lying.__struct_fields__}, "storage_failure": EVIL})
    status = type(STATUS)(STATUS.quorums, (lying, *STATUS.servers[1:]), STATUS.evidence, {2: EVIL})
    file = io.StringIO()
    Console(file=file, width=200).print(servers_view(status, [EVIL] * 6))
    assert is_clean(file.getvalue())
    assert file.getvalue().count("fivefold: all is well") == 8
    assert not any(line.startswith("fivefold") for line in file.getvalue().splitlines())


@pytest.mark.parametrize("value", [EVIL, {EVIL: [EVIL]}, [EVIL, float("inf")]])
def test_answers_as_json(value: object) -> None:
    """JSON itself escapes a few of them only; it means the same afterwards."""
    text = to_json(value)
    assert text.isprintable()
    assert json.loads(text) == json.loads(json.dumps(value).replace("Infinity", '"Infinity"'))


def test_log_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """A message, a value and an exception's text stay on lines of their own kind: none can forge a line."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        for as_json in (False, True):
            set_up_logs(as_json=as_json)
            try:
                raise ValueError(EVIL)
            except ValueError:
                logging.getLogger("x").exception("about %s", EVIL, extra={"name_of_it": EVIL, "path": Path(EVIL)})
    finally:
        root.handlers[:], root.level = handlers, level
    printed = capsys.readouterr().err
    assert is_clean(printed)
    assert not any(line.startswith("fivefold:") for line in printed.splitlines())
    assert "Traceback" in printed


def test_a_line_of_several_values(capsys: pytest.CaptureFixture[str]) -> None:
    """say() prints what marked() makes."""
    say("[bold]{}[/]: {}", "[x]", EVIL)
    assert capsys.readouterr().out.startswith(r"[x]: \x1b[31m")
