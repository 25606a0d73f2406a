"""Commands that need no running servers: what they print, and what bad input gets."""

import json
import stat
import subprocess
import sys
import typing
from pathlib import Path

import pytest

from fivefold.bench import bench
from fivefold.checker import Observation, Outcome, write_history
from fivefold.cli import init, main, up
from fivefold.cli.exits import Exit
from fivefold.cli.options import find_cluster_file
from fivefold.cluster import quorums_of
from fivefold.storage import SqliteStorage

SIX = [word for port in range(7000, 7006) for word in ("--server", f"127.0.0.1:{port}")]


class Result:
    """What a command did."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Runs ``fivefold`` with words in an empty directory; the module path is put back."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def call(*words: str) -> Result:
        with pytest.raises(SystemExit) as left:
            main(words)
        captured = capsys.readouterr()
        return Result(int(left.value.code or 0), captured.out, captured.err)

    return call


COMMANDS = [
    "demo",
    "audit",
    "backup",
    "restore",
    "move",
    "up",
    "call",
    "status",
    "objects",
    "stubs",
    "init",
    "identity",
    "serve",
    "check",
    "inspect",
    "example",
    "explore",
    "export",
    "import",
    "play",
    "top",
]


@pytest.mark.parametrize(
    "words", [*([name] for name in COMMANDS), *(["client", name] for name in ("add", "list", "remove"))], ids=" ".join
)
def test_every_command_has_help_with_examples(run, words: list[str]) -> None:
    """``--help`` says what a command does and shows how it is used."""
    result = run(*words, "--help")
    assert result.code == Exit.OK
    assert "Example" in result.out
    assert f"fivefold {' '.join(words)}" in result.out


def test_the_list_of_commands(run) -> None:
    """``fivefold --help`` lists all commands, and the exit codes."""
    result = run("--help")
    assert all(name in result.out for name in [*COMMANDS, "client"])
    assert "Exit codes" in result.out


def test_wrong_usage(run) -> None:
    """What cannot be understood is exit code 2, with a pointer to the help."""
    result = run("call")
    assert result.code == Exit.USAGE
    assert "Missing argument" in result.err


def test_a_server_needs_room_for_the_objects_of_one_request(run) -> None:
    """Fewer cached objects than a request can need are refused: they would be loaded in turns for ever."""
    result = run("serve", "s0", "--cached-objects", "319")
    assert result.code == Exit.USAGE
    assert "320" in result.err


def test_version(run) -> None:
    """``--version`` prints the version alone."""
    result = run("--version")
    assert (result.code, result.out.count("\n")) == (Exit.OK, 1)


# --- init -----------------------------------------------------------------------------------------------------------
def test_init_makes_files(run) -> None:
    """Cluster file, server identities and the admin's, private ones with mode 0600; says what goes where."""
    result = run("init", "prod", *SIX)
    assert result.code == Exit.OK
    assert sorted(path.name for path in Path("prod").iterdir()) == [
        "client-admin",
        "cluster.toml",
        *(f"server-{i}" for i in range(6)),
    ]
    assert {stat.S_IMODE(path.stat().st_mode) for path in Path("prod/server-0").iterdir()} == {0o600}
    assert "fivefold serve --cluster cluster.toml --identity server-5" in result.out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (SIX[:-2], "t=1, b=1 need at least 6 servers: got 5"),
        ([*SIX, "-t", "2", "-b", "0"], "t=2, b=0 need at least 7 servers: got 6"),
        ([*SIX, "-b", "2"], "b"),
        ([*SIX[:-1], "127.0.0.1:7000"], "an address is given twice"),
        ([*SIX[:-1], "nowhere"], "is no address: write host:port"),
        ([*SIX[:-1], "host:0"], "has no valid port"),
    ],
)
def test_init_refuses(run, words: list[str], says: str) -> None:
    """Too small an n, bad addresses: one sentence that says what to do, and no file is made."""
    result = run("init", "prod", *words)
    assert result.code == Exit.MISTAKE
    assert says in result.err
    assert result.err.startswith("fivefold: ConfigurationError: ")
    assert not Path("prod").exists()


def test_init_overwrites_nothing(run) -> None:
    """A second init in the same place is refused."""
    run("init", "prod", *SIX)
    before = Path("prod/cluster.toml").read_text()
    result = run("init", "prod", *SIX)
    assert (result.code, Path("prod/cluster.toml").read_text()) == (Exit.MISTAKE, before)
    assert "exists already" in result.err


# --- client ---------------------------------------------------------------------------------------------------------
def test_clients_come_and_go(run) -> None:
    """What ``client add`` enters, ``client list`` shows and ``client remove`` takes out."""
    run("init", ".", *SIX)
    assert run("client", "add", "shop", "--allow", "Counter:increment", "--allow", "Map/x").code == Exit.OK
    listed = json.loads(run("client", "list", "--json").out)
    assert [(each["name"], each["allow"]) for each in listed] == [
        ("admin", ["*"]),
        ("shop", ["Counter:increment", "Map/x"]),
    ]
    assert stat.S_IMODE(Path("client-shop").stat().st_mode) == 0o700
    assert run("client", "remove", "shop").code == Exit.OK
    assert len(json.loads(run("client", "list", "--json").out)) == 1


def test_a_client_changes_its_identity_by_overlap(run) -> None:
    """``client rotate`` leaves the old certificate beside the new one, with equal rights, until ``--finish``."""
    run("init", ".", *SIX)
    run("client", "add", "shop", "--allow", "Counter:increment", "--rate", "50")
    old = json.loads(run("client", "list", "--json").out)[1]
    result = run("client", "rotate", "shop")
    assert (result.code, "fivefold client rotate shop --finish" in result.out) == (Exit.OK, True)
    _, new, former = json.loads(run("client", "list", "--json").out)
    assert {**new, "fingerprint": ""} == {**old, "fingerprint": ""}
    assert (former["name"], former["fingerprint"]) == ("shop.old", old["fingerprint"])
    assert (former["allow"], former["rate"]) == (old["allow"], old["rate"])
    assert new["fingerprint"] != old["fingerprint"]
    assert stat.S_IMODE(Path("client-shop.new").stat().st_mode) == 0o700
    again = run("client", "rotate", "shop", "--identity", "another")
    assert (again.code, "--finish` first" in again.err) == (Exit.MISTAKE, True)
    assert run("client", "rotate", "shop", "--finish").code == Exit.OK
    assert json.loads(run("client", "list", "--json").out)[1:] == [new]


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["nobody"], Exit.MISTAKE, "no client is named 'nobody'"),
        (["admin", "--finish"], Exit.MISTAKE, "admin has one identity only"),
        (["admin", "--finish", "--identity", "x"], Exit.USAGE, "--finish makes no identity"),
        (["admin", "--identity", "client-admin"], Exit.MISTAKE, "holds an identity already"),
    ],
)
def test_client_rotate_refuses(run, words: list[str], code: Exit, says: str) -> None:
    """Nothing is changed, and the message says what is wrong."""
    run("init", ".", *SIX)
    before = Path("cluster.toml").read_text()
    result = run("client", "rotate", *words)
    assert (result.code, says in " ".join(result.err.split())) == (code, True)
    assert Path("cluster.toml").read_text() == before


def test_clients_have_rates(run) -> None:
    """``client add --rate`` gives one, ``client limit`` another one or none, and ``client list`` shows it."""
    run("init", ".", *SIX)
    assert run("client", "add", "guest", "--allow", "*", "--rate", "50").code == Exit.OK
    assert "50" in run("client", "list").out
    result = run("client", "limit", "guest", "--rate", "1200")
    assert (result.code, "servers take 1,200 requests a second each from guest" in result.out) == (Exit.OK, True)
    assert [each["rate"] for each in json.loads(run("client", "list", "--json").out)] == [None, 1200]
    assert run("client", "limit", "guest", "--no-rate").code == Exit.OK
    assert [each["rate"] for each in json.loads(run("client", "list", "--json").out)] == [None, None]


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["guest"], Exit.USAGE, "give either --rate or --no-rate"),
        (["admin", "--rate", "5", "--no-rate"], Exit.USAGE, "give either --rate or --no-rate"),
        (["admin", "--rate", "0"], Exit.MISTAKE, "a rate is 1 to 1000000 requests a second, not 0"),
        (["nobody", "--rate", "5"], Exit.MISTAKE, "no client is named 'nobody'"),
    ],
)
def test_client_limit_refuses(run, words: list[str], code: Exit, says: str) -> None:
    """Nothing is changed, and the message says what is wrong."""
    run("init", ".", *SIX)
    before = Path("cluster.toml").read_text()
    result = run("client", "limit", *words)
    assert (result.code, says in result.err) == (code, True)
    assert Path("cluster.toml").read_text() == before


@pytest.mark.parametrize(
    ("name", "rule", "says"),
    [
        ("admin", "*", "a client is named 'admin' already"),
        ("a b", "*", "cannot name a client"),
        ("shop", "Counter:@nope", "names a class of methods other than @query and @update"),
        ("shop", "", "names no type"),
    ],
)
def test_client_add_refuses(run, name: str, rule: str, says: str) -> None:
    """Two clients of one name, bad names and bad rules: nothing is changed."""
    run("init", ".", *SIX)
    before = Path("cluster.toml").read_text()
    result = run("client", "add", name, "--allow", rule)
    assert result.code == Exit.MISTAKE
    assert says in result.err
    assert Path("cluster.toml").read_text() == before


def test_client_remove_refuses_strangers(run) -> None:
    """Who is not there cannot be removed; the message says who is."""
    run("init", ".", *SIX)
    result = run("client", "remove", "nobody")
    assert result.code == Exit.MISTAKE
    assert "no client is named 'nobody' (known: admin)" in result.err


# --- which cluster, who, what ---------------------------------------------------------------------------------------
def test_no_cluster_file(run) -> None:
    """Without a cluster file the message says how to come by one."""
    result = run("status")
    assert result.code == Exit.MISTAKE
    assert "name one with --cluster, or make one with `fivefold up`" in result.err


@pytest.mark.parametrize(
    ("break_it", "says"),
    [
        (lambda: Path("client-admin").chmod(0o755), "run chmod 700 client-admin"),
        (lambda: Path("client-admin/signing-key.pem").chmod(0o644), "run chmod 600 client-admin/signing-key.pem"),
        (lambda: Path("client-admin/exchange-key.pem").unlink(), "exchange-key.pem is missing"),
        (lambda: Path("client-admin/certificate.pem").write_text("x"), "holds no valid certificate"),
        (lambda: Path("cluster.toml").write_text("x"), "not valid TOML"),
        (lambda: Path("cluster.toml").write_text("format = 2"), "not a cluster file"),
    ],
)
def test_unusable_files(run, break_it, says: str) -> None:
    """An identity that others may read or that is damaged, or a damaged cluster file, is refused before connecting."""
    run("init", ".", *SIX)
    break_it()
    result = run("call", "Counter", "hits", "get")
    assert result.code == Exit.MISTAKE
    assert says in result.err


def test_no_servers(run) -> None:
    """Without servers a call is unavailable: exit code 3, and the reason for each server."""
    run("init", ".", *SIX)
    result = run("call", "Counter", "hits", "get", "--deadline", "0.3")
    assert result.code == Exit.UNAVAILABLE
    assert "only 0 of the 5 servers needed could be reached" in result.err


def test_status_of_no_servers(run) -> None:
    """``status`` shows what is wrong although no server answers, and leaves with exit code 3."""
    run("init", ".", *SIX)
    result = run("status", "--json", "--timeout", "0.3")
    assert result.code == Exit.UNAVAILABLE
    assert json.loads(result.out)["up"] == 0
    assert "only 0 of the 5 servers that calls need are up" in result.err


def test_a_cluster_file_in_the_usual_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here first, then where ``fivefold up`` keeps its own; a directory stands for the file in it."""
    monkeypatch.chdir(tmp_path)
    local = Path("fivefold-cluster/cluster.toml")
    local.parent.mkdir()
    local.touch()
    assert find_cluster_file(None) == local
    Path("cluster.toml").touch()
    assert find_cluster_file(None) == Path("cluster.toml")
    assert find_cluster_file(local.parent) == local


# --- looking ----------------------------------------------------------------------------------------------------------
def test_objects_shows_signatures(run) -> None:
    """``objects`` shows how methods are called."""
    result = run("objects", "Counter")
    assert result.code == Exit.OK
    assert "increment(by: int = 1) -> int" in result.out


def test_objects_as_json(run) -> None:
    """Every ready-made type and function is in the JSON."""
    found = json.loads(run("objects", "--json").out)
    assert {"Account", "Counter", "Lock", "Map", "Queue", "Register"} <= {each["name"] for each in found["types"]}
    assert "transfers.transfer" in {each["name"] for each in found["functions"]}


def test_objects_of_another_name(run) -> None:
    """A name that nothing has is a mistake, not nothing to show."""
    result = run("objects", "Nope")
    assert result.code == Exit.MISTAKE
    assert "no type or function Nope is known here" in result.err


@pytest.mark.parametrize("word", ["bank.py", "./bank", "shop/bank"])
def test_objects_of_a_file(run, word: str) -> None:
    """Whoever names the file is told what to name."""
    assert "name the module as import does" in run("objects", "--objects", word).err


def test_objects_of_a_module_that_fails(run) -> None:
    """A module's own mistake is shown with the line it is in."""
    Path("failing_module.py").write_text("x = 1\n\ny = x // 0\n")
    result = run("objects", "--objects", "failing_module")
    assert "ZeroDivisionError: integer division or modulo by zero (" in result.err
    assert "failing_module.py, line 3)" in result.err.replace("\n", "")


def test_objects_of_a_module_that_is_not_there(run) -> None:
    """A module that cannot be imported is named."""
    result = run("objects", "--objects", "nowhere")
    assert result.code == Exit.MISTAKE
    assert "module nowhere cannot be imported" in result.err


def observation(process: str, answer: int, start: int) -> Observation:
    return Observation(
        process=process,
        method="increment",
        objects=("Counter/hits",),
        invoke_ns=start,
        return_ns=start + 1,
        outcome=Outcome.OK,
        answer=answer,
    )


def test_check_of_a_good_history(run) -> None:
    """A linearizable history is exit code 0."""
    write_history("good.jsonl", [observation("a", 1, 0), observation("b", 2, 10)])
    result = run("check", "good.jsonl")
    assert (result.code, result.out.partition(":")[0]) == (Exit.OK, "linearizable")


def test_check_of_a_bad_history(run) -> None:
    """A lost update is exit code 5, and drawn on request."""
    write_history("bad.jsonl", [observation("a", 1, 0), observation("b", 1, 10)])
    result = run("check", "bad.jsonl", "--out", "bad.html", "--json")
    assert result.code == Exit.FAILED
    assert json.loads(result.out)["verdict"] == "violation"
    assert Path("bad.html").exists()


def test_a_picture_that_cannot_be_written(run) -> None:
    """A place that is not there is the caller's mistake, told in a sentence."""
    write_history("bad.jsonl", [observation("a", 1, 0), observation("b", 1, 10)])
    result = run("check", "bad.jsonl", "--out", "nowhere/bad.html")
    assert result.code == Exit.MISTAKE
    assert "nowhere/bad.html cannot be used (No such file or directory): name another file" in result.err


@pytest.mark.parametrize("content", [None, "x\n"])
def test_check_of_no_history(run, content: str | None) -> None:
    """What is no history is the caller's mistake, not a violation."""
    if content is not None:
        Path("history.jsonl").write_text(content)
    assert run("check", "history.jsonl").code == Exit.MISTAKE


SEATS = """
from fivefold.checker import Model, Refused


def step(left, call):
    return (left - 1, left - 1) if left else (Refused("SoldOut"), left)


MODELS = {"Seats": Model(init=lambda: 2, step=step)}
"""


def booked(answer: int, start: int) -> Observation:
    return Observation(
        process=f"p{start}",
        method="book",
        objects=("Seats/tonight",),
        invoke_ns=start,
        return_ns=start + 1,
        outcome=Outcome.OK,
        answer=answer,
    )


def test_check_with_a_users_model(run) -> None:
    """Without a model the verdict is open; with the one that --models names one seat sold twice is found."""
    write_history("seats.jsonl", [booked(1, 0), booked(1, 10)])
    assert "neither a model nor all its versions" in run("check", "seats.jsonl").out
    Path("seat_models.py").write_text(SEATS)
    result = run("check", "seats.jsonl", "--models", "seat_models")
    assert (result.code, result.out.startswith("violation: Seats/tonight")) == (Exit.FAILED, True)


@pytest.mark.parametrize(
    ("module", "code", "says"),
    [
        ("no_models", "x = 1", "module no_models has no models: let its MODELS be a dict"),
        ("no_models", "MODELS = {'Seats': 7}", "module no_models has no models"),
        ("no_models", "1 / 0", "module no_models cannot be imported (ZeroDivisionError: division by zero)"),
        ("no_models", "raise SystemExit", "module no_models cannot be imported (SystemExit: )"),
        ("nowhere", "", "module nowhere cannot be imported (ModuleNotFoundError: No module named 'nowhere')"),
        ("./models.py", "", "./models.py is a file: name the module"),
        ("", "", "cannot be imported"),
        ("..models", "", "cannot be imported"),
    ],
)
def test_models_that_cannot_be_loaded(run, module: str, code: str, says: str) -> None:
    """A module without models, or one that fails, is told in a sentence."""
    Path("no_models.py").write_text(code)
    sys.modules.pop("no_models", None)
    write_history("good.jsonl", [observation("a", 1, 0)])
    result = run("check", "good.jsonl", "--models", module)
    assert (result.code, says in result.err) == (Exit.MISTAKE, True), result.err


def test_check_with_more_steps(run) -> None:
    """What the default would decide is open with one step, and says which option to use."""
    write_history("good.jsonl", [observation("a", 1, 0), observation("b", 2, 10)])
    result = run("check", "good.jsonl", "--steps", "1")
    assert (result.code, "1 steps were not enough: allow more (--steps)" in result.out) == (Exit.FAILED, True)
    assert run("check", "good.jsonl", "--steps", "100").code == Exit.OK
    assert run("check", "good.jsonl", "--steps", "0").code == Exit.USAGE


def test_inspect(run) -> None:
    """A data directory's content is shown, and its checksums are verified."""
    Path("data").mkdir()
    SqliteStorage.create(Path("data/objects.sqlite"), "cluster", "fingerprint")
    assert json.loads(run("inspect", "data", "--json").out)["objects"] == 0
    assert run("inspect", "data", "--check").code == Exit.OK
    assert run("inspect", "data", "--ids").out == ""


def test_inspect_of_something_else(run) -> None:
    """A directory without a database, or a file that is none, is refused."""
    Path("junk").write_text("not a database" * 100)
    assert run("inspect", ".").code == Exit.MISTAKE
    assert "name the data directory of a server" in run("inspect", "junk").err


def test_the_example_is_the_papers(run) -> None:
    """``example`` prints the paper's table: ♠ is gone for good in the end."""
    rows = json.loads(run("example", "--json").out)
    assert rows[-1]["result"] == "returns ♦"
    result = run("example")
    assert result.code == Exit.OK
    assert "INLINE_METHOD" in result.out


def test_stubs_prints_a_module(run) -> None:
    """A module of the current directory gets a class for each of its objects, with their methods' names."""
    Path("till.py").write_text(
        "from fivefold import Object, update\nclass Till(Object):\n    cash: int = 0\n"
        "    @update\n    def pay(self, amount: int) -> None: ...\n"
    )
    result = run("stubs", "till")
    assert (result.code, result.err) == (0, "")
    assert "class RemoteTill(_fivefold.TypedRemote[_module.Till]):" in result.out
    assert "    pay = _fivefold.remote(_module.Till.pay)\n" in result.out


def test_stubs_of_a_module_without_objects(run) -> None:
    """There is nothing to name: said in a sentence."""
    result = run("stubs", "json")
    assert result.code == Exit.MISTAKE
    assert "module json holds no Object class" in result.err


def test_a_server_may_open_as_many_files_as_the_system_allows():
    """The limit that a shell sets for old programs is raised to what this process may have."""
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (256, 900)); "
        "from fivefold.cli.serve import allow_descriptors; allow_descriptors(); "
        "print(resource.getrlimit(resource.RLIMIT_NOFILE))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "(900, 900)"


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
def test_a_server_gives_large_blocks_back():
    """What a large state took is the system's again when it is free, although smaller things were made after it."""
    code = (
        "from fivefold.cli.serve import return_large_blocks; return_large_blocks()\n"
        "def pages(): return int(open('/proc/self/statm').read().split()[1])\n"
        "before, kept = pages(), []\n"
        "for _ in range(8):\n"
        "    blocks = []\n"
        "    for _ in range(8):\n"
        "        blocks.append(b'x' * 2_000_000)\n"
        "        kept.append(b'y' * 50_000)\n"
        "    del blocks\n"
        "print(pages() - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) * 4096 < 8 * 8 * 50_000 + 6_000_000


# --- how many servers ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("numbers", "found"),
    [
        ({}, (6, 1, 1)),
        ({"faults": 2}, (11, 2, 2)),
        ({"faults": 0}, (1, 0, 0)),
        ({"t": 2}, (11, 2, 2)),
        ({"b": 2}, (11, 2, 2)),
        ({"t": 1, "b": 0}, (4, 1, 0)),
        ({"t": 2, "b": 1, "n": 10}, (10, 2, 1)),
        ({"faults": 1, "n": 7}, (7, 1, 1)),
    ],
)
def test_what_the_numbers_mean(numbers: dict[str, int], found: tuple[int, int, int]) -> None:
    """--faults is t and b at once; alone, t brings as many liars, and b as many faults; n is as small as it may be."""
    quorums = quorums_of(numbers.pop("faults", None), **numbers)
    assert (quorums.n, quorums.t, quorums.b) == found


@pytest.mark.parametrize("words", [["up"], ["init", "prod", *SIX], ["bench", "run"]], ids=lambda words: words[0])
@pytest.mark.parametrize(
    ("numbers", "says"),
    [
        ("--faults 1 -t 1", "--faults gives t and b at once: leave it out, or leave -t and -b out"),
        ("--faults 1 --b 0", "--faults gives t and b at once"),
        ("-t 1 -b 2", "b must be between 0 and t"),
        ("-t 20", "at least 101 servers"),
    ],
)
def test_commands_take_the_same_numbers(run, words: list[str], numbers: str, says: str) -> None:
    """up, init and bench run understand and refuse the same numbers, before anything is made or started."""
    options = [*numbers.split(), *(["-n", "6"] if words[0] != "init" else [])]
    result = run(*words, *options)
    assert (result.code, says in result.err) == (Exit.MISTAKE, True), result.err
    assert list(Path().iterdir()) == []


def test_commands_name_them_alike(run) -> None:
    """The same options with the same help, wherever there are servers to be made."""
    names = {"faults", "t", "b", "n"}
    found = []
    for command in (up.up, init.init, bench.registered_commands[0].callback):
        hints = typing.get_type_hints(command, include_extras=True)
        options = {name: typing.get_args(hints[name])[1] for name in names & hints.keys()}
        found.append({name: (each.param_decls, each.default, each.min, each.help) for name, each in options.items()})
    assert found[0] == found[2]
    assert found[1] == {name: option for name, option in found[0].items() if name != "n"}


def test_a_result_file_that_cannot_be_drawn(run) -> None:
    """A measurement without its percentiles, nesting without end, numbers beyond a scale: a sentence each."""
    whole = Path(__file__).parents[2] / "benchmarks" / "results" / "floor-ratio.json"
    for damaged in (
        whole.read_text().replace('"50"', '"51"'),
        "[" * 100_000,
        whole.read_text().replace('"rate":', '"rate": 1e308, "was":'),
        "\x00",
        "[]",
    ):
        Path("result.json").write_text(damaged)
        result = run("bench", "plot", "result.json", "--out", "pictures")
        assert result.code in (Exit.OK, Exit.MISTAKE)
        assert result.err.count("\n") <= 1
