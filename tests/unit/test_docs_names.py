"""Documentation names only what exists: files, modules, commands, options, tests, methods, numbers on the wire.

A decision is a record of its day: the files that it names are looked for, its commands and methods are not.
"""

import ast
import functools
import importlib.util
import itertools
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

import fivefold
from fivefold import errors
from fivefold.cli.app import app
from fivefold.protocol import operations, records
from tests.doc_blocks import FENCED, PAGES, ROOT, blocks, spans
from tests.planted import BUGS

TOPS = ("src", "tests", "docs", "benchmarks", "examples", "changelog.d", ".ci")
EVERY = [*PAGES, *sorted((ROOT / "changelog.d").glob("*.md"))]
LIVING = [page for page in EVERY if page.parent.name != "decisions"]

FILE = re.compile(r"(?:[\w.-]+/)*[\w-]+\.(?:py|md|sh|c|json)")
READERS_FILES = {"hits.py", "names.py", "test_seats.py", "data-record.json"}
"""Files that a page tells the reader to write, or that a cluster makes."""

PLACEHOLDER = re.compile(r"\b[A-Z]{2,}\b")
METHOD = re.compile(r"([A-Z]\w*)\.([a-z_]\w*)(?:\(.*\))?")

PROGRAMS = {"pytest", "ruff", "mypy", "lint-imports", "sphinx-build", "nox", "towncrier", "fivefold", "python"}
WRAPPERS = re.compile(r"^(?:\$ |nice |[A-Z_]+=\S+ )+")


def page_name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


# --- English ---------------------------------------------------------------------------------------------------------
TRANSLATED = re.compile(r"\b(whoever|those that|those who|so many|goes on)\b", re.IGNORECASE)
"""Turns of phrase that say nothing: name who or what does something."""

TWO_SENTENCES = re.compile(r"[a-z0-9X)\]*\"”]{2}[.!?] [A-Z*]")


def prose(page: Path) -> list[str]:
    """The lines of a page's text: no code, tables, headings, numbers of lists or captions of figures."""
    text = re.sub(r"<!-- (figure|numbers).*?<!-- /", "", FENCED.sub("", text_of(page)), flags=re.DOTALL)
    text = re.sub(r"`[^`\n]+`", "XX", text)
    lines = [line for line in text.splitlines() if not line.startswith(("|", "#", "    "))]
    return [re.sub(r"^\s*(\d+\. |- |: )", "", line) for line in lines]


@pytest.mark.parametrize("page", LIVING, ids=page_name)
def test_text_is_plain(page: Path) -> None:
    """One sentence a line, and without the turns of phrase that hide who does something."""
    assert [line for line in prose(page) if TWO_SENTENCES.search(line)] == []
    assert [line for line in text_of(page).splitlines() if TRANSLATED.search(line)] == []


# --- files -----------------------------------------------------------------------------------------------------------
@functools.cache
def known_files() -> frozenset[str]:
    """Every file of the repository, by each of the ends of its path."""
    files = [path for path in ROOT.iterdir() if path.is_file()]
    files += [path for top in TOPS for path in (ROOT / top).rglob("*") if path.is_file()]
    parts = [path.relative_to(ROOT).parts for path in files]
    return frozenset("/".join(each[start:]) for each in parts for start in range(len(each)))


def missing_files(names: list[str]) -> list[str]:
    """Names that look like a file, or like a path of the repository, and are none."""
    files = {name for name in names if FILE.fullmatch(name) and not PLACEHOLDER.search(name.partition(".")[0])}
    paths = {name for name in names if name.split("/")[0] in TOPS and "/" in name and " " not in name}
    lost = {name for name in files if name not in known_files()} | {
        name for name in paths if not (ROOT / name).exists()
    }
    return sorted(lost - READERS_FILES)


@pytest.mark.parametrize("page", EVERY, ids=page_name)
def test_files_exist(page: Path) -> None:
    """A file that a page names is there."""
    assert missing_files(spans(page)) == []


@pytest.mark.parametrize(
    "name", ["protocol/nowhere.py", "nowhere.md", "tests/nowhere", "benchmarks/results/nowhere.json", "docs/nowhere/"]
)
def test_a_file_that_is_not_there_is_noticed(name: str) -> None:
    """The check above sees a missing file, with and without its directory, and a missing directory."""
    assert missing_files([name, "tests/unit", "doc_blocks.py", "tests/unit/test_docs.py"]) == [name]


# --- commands --------------------------------------------------------------------------------------------------------
def command_lines(page: Path) -> Iterator[str]:
    """Command lines of a page, in its blocks and in its text, from the name of the program on."""
    lines = [span for span in spans(page) if " " in span or "/" in span]
    for block in blocks("console", "sh", "ini", "text", pages=[page]):
        lines += [line.removeprefix("ExecStart=") for line in block.text.splitlines()]
    for line in lines:
        for part in re.split(r" && | \| |  +#", WRAPPERS.sub("", line)):
            words = WRAPPERS.sub("", part.strip()).split(" ", 1)
            program = words[0].rpartition("/")[2]
            if program.removesuffix("3") in PROGRAMS:
                yield " ".join([program.removesuffix("3"), *words[1:]])
            elif re.fullmatch(r"benchmarks/\S+\.\w+|\.ci/\w+", words[0]):
                yield part.strip()


def inner_of(command: object) -> dict[str, object]:
    """The commands of a group of commands; typer brings a click of its own, so its classes are no help."""
    return getattr(command, "commands", {})


@functools.cache
def options_of(command: object) -> frozenset[str]:
    return frozenset(name for each in command.params for name in [*each.opts, *each.secondary_opts]) | {"--help", "-h"}


def wrong_in_fivefold(words: list[str]) -> list[str]:
    """Commands and options that ``fivefold`` does not have."""
    command: object = typer.main.get_command(app)
    while (inner := inner_of(command)) and words and not words[0].startswith("-"):
        if words[0] not in inner:
            return [words[0]]
        command, words = inner[words[0]], words[1:]
    return [word for word in words if word.startswith("--") and word.partition("=")[0] not in options_of(command)]


@functools.cache
def options_of_benchmarks() -> str:
    return "".join(text_of(path) for path in (ROOT / "benchmarks").rglob("*.py"))


def wrong_in_script(words: list[str]) -> list[str]:
    """A script that is not there, or options that its directory's programs do not have."""
    name = words[0]
    if name in READERS_FILES:
        return []
    if not (ROOT / name).is_file():
        return [name]
    ours = [word.strip("[]") for word in words[1:] if word.strip("[]").startswith("--")]
    return [word for word in ours if f'"{word.partition("=")[0]}"' not in options_of_benchmarks()]


def wrong_in_pytest(words: list[str]) -> list[str]:
    """Paths and markers that are not there."""
    markers = {each.partition(":")[0] for each in configuration()["tool"]["pytest"]["ini_options"]["markers"]}
    marked = {
        word
        for option, expression in itertools.pairwise(words)
        if option == "-m"
        for word in re.findall(r"\w+", expression)
    }
    paths = [word for word in words if word.startswith("tests")]
    return [path for path in paths if not any(ROOT.glob(path))] + sorted(marked - markers - {"not", "and", "or"})


def configuration() -> dict[str, dict[str, dict[str, dict[str, list[str]]]]]:
    return tomllib.loads(text_of(ROOT / "pyproject.toml"))


def wrong_in(line: str) -> list[str]:
    """The words of a command line that name nothing."""
    program, *words = shlex.split(line.replace("…", "").replace("...", ""))
    match program, words:
        case "fivefold", _:
            return wrong_in_fivefold(words)
        case "pytest", _:
            return wrong_in_pytest(words)
        case "python", ["-m", "pytest", *rest]:
            return wrong_in_pytest(rest)
        case "python", ["-m", module, *_]:
            return [] if importlib.util.find_spec(module) else [module]
        case "python", [script, *_] if not script.startswith("-"):
            return wrong_in_script(words)
        case "nox", ["-s", session, *_]:
            return [] if f"def {session.partition('-')[0]}(" in text_of(ROOT / "noxfile.py") else [session]
        case _ if program.startswith(("benchmarks/", ".ci/")):
            return wrong_in_script([program, *words])
        case _:
            return []


@pytest.mark.parametrize("page", LIVING, ids=page_name)
def test_commands_and_options_exist(page: Path) -> None:
    """Each command that a page shows is there, with its options, and each file that it works on."""
    assert {line: wrong for line in command_lines(page) if (wrong := wrong_in(line))} == {}


@pytest.mark.parametrize(
    "line",
    [
        "fivefold statsu",
        "fivefold client limti shop",
        "fivefold up --object hits",
        "fivefold bench run --rates 5",
        "pytest -q tests/unit/test_codec.py",
        "pytest -m lnog",
        "python benchmarks/floor_rato.py",
        "python benchmarks/floor_ratio.py --second 2",
        "python -m tests.nowhere",
        "nox -s compield",
        ".ci/rnu",
    ],
)
def test_a_command_that_is_not_there_is_noticed(line: str) -> None:
    """The check above sees a wrong command, subcommand, option, path, marker, script, module and session."""
    assert len(wrong_in(line)) == 1


def test_command_lines_are_found() -> None:
    """Blocks and text yield command lines, without what stands before the program."""
    lines = [line for page in LIVING for line in command_lines(page)]
    assert len(lines) >= 50
    assert {line.split()[0] for line in lines} >= {"fivefold", "pytest", "python", "nox", ".ci/run"}


@pytest.mark.parametrize("page", LIVING, ids=page_name)
def test_options_named_alone_exist(page: Path) -> None:
    """An option that stands alone in the text is one of some command or benchmark."""
    every = options_of_benchmarks() + " ".join(sorted(options_of_everything()))
    named = {span.split()[0].partition("=")[0] for span in spans(page) if span.startswith("--")}
    assert [name for name in sorted(named) if not re.search(rf"{name}\b", every)] == []


def options_of_everything() -> set[str]:
    found: set[str] = set()
    waiting: list[object] = [typer.main.get_command(app)]
    while waiting:
        command = waiting.pop()
        found |= options_of(command)
        waiting += inner_of(command).values()
    return found


# --- code ------------------------------------------------------------------------------------------------------------
@functools.cache
def members() -> dict[str, set[str]]:
    """What the classes of the package define, by the name of the class."""
    found: dict[str, set[str]] = {}
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(text_of(path))):
            if isinstance(node, ast.ClassDef):
                names = re.findall(r"(?:def |self\.|^    (?=\w+ ?[:=]))(\w+)", ast.unparse(node), re.MULTILINE)
                found.setdefault(node.name, set()).update(names)
    return found


@pytest.mark.parametrize("page", LIVING, ids=page_name)
def test_methods_exist(page: Path) -> None:
    """`Class.method` in the text names a method or attribute of the package."""
    named = [match for span in spans(page) if (match := METHOD.fullmatch(span))]
    ours = members()
    examples = {"Hits", "Names"}
    lost = [match[0] for match in named if match[1] not in examples and match[2] not in ours.get(match[1], set())]
    assert lost == []


def test_the_design_page_shows_the_machines_as_they_are() -> None:
    """Each method in the outline of the two machines is one of its class, and takes those arguments."""
    (outline,) = blocks("text", pages=[ROOT / "docs" / "internals" / "design.md"])
    sources = {"Server": "server/machine.py", "Session": "client/session.py"}
    shown = re.findall(r"^class (\w+)(.*?)(?=^class|\Z)", outline.text, re.MULTILINE | re.DOTALL)
    assert {name for name, _ in shown} == set(sources)
    for name, body in shown:
        tree = ast.parse(text_of(ROOT / "src" / "fivefold" / "protocol" / sources[name]))
        (made,) = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)
        methods = {node.name: ast.unparse(node.args) for node in made.body if isinstance(node, ast.FunctionDef)}
        for method, arguments in re.findall(r"def (\w+)\((.*?)\)", body):
            taken = re.findall(r"\*?\w+(?=:|,|$|=)", methods[method])
            assert [each for each in arguments.split(", ") if each not in {"…", *taken}] == [], method


@functools.cache
def names_of_tests() -> frozenset[str]:
    texts = [text_of(path) for path in (ROOT / "tests").rglob("*.py")]
    functions = {name for text in texts for name in re.findall(r"def (test_\w+)", text)}
    return frozenset(functions | {path.stem for path in (ROOT / "tests").rglob("test_*.py")})


@pytest.mark.parametrize("page", EVERY, ids=page_name)
def test_tests_exist(page: Path) -> None:
    """A test that a page names is there."""
    named = {name for span in spans(page) for name in re.findall(r"\btest_\w+\b(?!\*)", span)}
    assert sorted(named - names_of_tests() - {"test_seats"}) == []


@functools.cache
def protocol_files() -> frozenset[str]:
    """The files of the protocol package, below it."""
    package = ROOT / "src" / "fivefold" / "protocol"
    return frozenset(path.relative_to(package).as_posix() for path in package.rglob("[a-z]*.py"))


def table(page: str, *, after: str, before: str | None = None) -> list[list[str]]:
    """The cells of the rows between two headings of a page."""
    text = text_of(ROOT / "docs" / page)
    part = text[text.index(after) : None if before is None else text.index(before)]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in part.splitlines() if line.startswith("|")]


def test_the_table_of_paper_sections_covers_the_protocol() -> None:
    """The table *paper section → file* names each module of the protocol package by its path, and no missing file."""
    rows = table("concepts/protocol.md", after="## Paper section", before="## Glossary")
    named = {name for row in rows for name in re.findall(r"`([\w/]+\.py)`", row[2])}
    assert sorted(protocol_files() - named) == []
    assert sorted(named - protocol_files() - known_files()) == []


def test_the_table_of_rules_names_files_of_the_protocol() -> None:
    """The rules of *how to change one rule* stand in files of the protocol package, by their paths."""
    rows = table("internals/changing-a-rule.md", after="## Rules")
    named = {name for row in rows for name in re.findall(r"`([\w/]+\.py)`", row[2])}
    assert named - protocol_files() == set()


def test_every_planted_bug_has_its_rule_on_the_page() -> None:
    """The page *how to change one rule* has a line for each planted bug, and names no other."""
    named = {row[3].strip("`") for row in table("internals/changing-a-rule.md", after="## Rules") if len(row) == 5}
    assert named - {"planted bug", "---"} == set(BUGS)


def constants(module: str, pattern: str) -> list[tuple[str, str]]:
    text = text_of(ROOT / "src" / "fivefold" / module)
    return re.findall(rf"^([A-Z][A-Z_]*): Final = {pattern}$", text, re.MULTILINE)


def test_the_wire_page_has_every_number() -> None:
    """The page on the wire format has each kind of frame, each status of a vote and each tag of an answer."""
    page = text_of(ROOT / "docs" / "reference" / "wire.md")
    numbers = constants("protocol/messages.py", r"(\d+)") + constants("node/status.py", r"(\d+)")
    numbers = [(name, value) for name, value in numbers if not name.endswith("_BYTES")]
    tags = constants("protocol/operations.py", r'b"(\w)"')
    assert len(numbers) >= 10
    assert len(tags) >= 8
    assert [name for name, value in numbers if f"| {value} | {name} |" not in page] == []
    assert [name for name, value in tags if f"| `{value}` |" not in page] == []


BODIES = (
    records.Request,
    records.ObjectHistories,
    operations.Operation,
    operations.Call,
    records.Vote,
    records.SyncRequest,
    records.SyncReply,
    records.Candidate,
    records.Part,
)


def test_the_wire_page_has_every_field() -> None:
    """The bodies on the page on the wire format have as many fields as the messages, outside brackets."""
    rows = {row[0].lower(): row[1] for row in table("reference/wire.md", after="## Bodies") if len(row) == 2}
    parts = re.search(r"parts: \((.*?)\)", rows["candidate"])
    assert parts is not None
    rows["part"] = parts[1]
    counts = {made.__name__: len(re.sub(r"\(.*?\)", "", rows[made.__name__.lower()]).split(",")) for made in BODIES}
    assert counts == {made.__name__: len(made.__struct_fields__) for made in BODIES}


def test_contributing_says_what_to_run_for_each_package() -> None:
    """The table *touched → run* has a row for each package of the source."""
    page = text_of(ROOT / "CONTRIBUTING.md")
    packages = {path.name for path in (ROOT / "src" / "fivefold").iterdir() if (path / "__init__.py").exists()}
    touched = " ".join(re.findall(r"^\| (`[a-z]+/`[^|]*)\| `pytest", page, re.MULTILINE))
    assert [name for name in sorted(packages) if f"`{name}/`" not in touched] == []


def test_the_api_page_has_every_public_name() -> None:
    """The API page documents each public name in a place of its own, exceptions in its table."""
    page = text_of(ROOT / "docs" / "reference" / "api.md")
    documented = re.findall(r"^\.\. auto(?:function|class|data|exception):: (\w+)$", page, re.MULTILINE)
    public = set(fivefold.__all__)
    raised = {name for name in public if getattr(errors, name, None) is getattr(fivefold, name)}
    assert sorted(public - raised - set(documented)) == []
    assert sorted(set(documented) - public) == []
    assert sorted(name for name in raised if f"`{name}`" not in page) == []
