"""What type checkers say about programs that call remote objects."""

from pathlib import Path

import pytest

api = pytest.importorskip("mypy.api")

ROOT = Path(__file__).parents[2]

HEAD = """
import asyncio

from fivefold import Account, BlockingCluster, Cluster, Counter, Object, Remote, query, transfer, update


class Hits(Object):
    value: int = 0

    @update
    def increment(self, by: int = 1, *, label: str = "") -> int:
        self.value += by
        return self.value

    def helper(self) -> None: ...


@query
def sum_of(*counters: Counter, start: int = 0) -> int:
    return sum((each.get() for each in counters), start)


"""

REMOTE = """
async def program(cluster: Cluster, hits: Remote[Hits], account: Remote[Account], counter: Remote[Counter]) -> None:
    reveal_type(cluster.object(Hits, "x"))
    reveal_type(hits.increment)
    reveal_type(await hits.with_deadline(1).increment(2, label="x"))
    reveal_type(asyncio.create_task(hits.increment()))
    await hits.increment("two")
    await hits.increment(1, "x")
    hits.value
    hits.value = 5
    hits.helper()
    reveal_type(await hits.increment.with_id(hits.increment.new_id(), 2))
    await hits.increment.with_id("call-1", "two")
    reveal_type(await cluster.call(sum_of, counter, counter, start=1))
    await cluster.call(transfer, account, account, amount=1)
    await cluster.call(transfer, account, counter, amount="x")
    await cluster.call(transfer, account)
"""

EXPECTED_OF_REMOTE = [
    'note: Revealed type is "fivefold.api.proxies.Remote[sample.Hits]"',
    'note: Revealed type is "def (by: int =, *, label: str =) -> typing.Coroutine[Any, Any, int]"',
    'note: Revealed type is "int"',
    'note: Revealed type is "_asyncio.Task[int]"',
    'error: Argument 1 to "increment" of "Hits" has incompatible type "str"; expected "int"',
    'error: Too many positional arguments for "increment" of "Hits"',
    'error: "Hits" has no query or update "value"',
    'error: "Remote[Hits]" has no attribute "value"',
    'error: "Hits" has no query or update "helper"',
    'note: Revealed type is "int"',
    'error: Argument 2 to "with_id" of "RemoteMethod" has incompatible type "str"; expected "int"',
    'note: Revealed type is "int"',
    'error: Argument 3 to "call" of "Cluster" has incompatible type "Remote[Counter]"; expected "Remote[Account]"',
    'error: Argument "amount" to "call" of "Cluster" has incompatible type "str"; expected "int"',
    'error: Missing positional arguments "target", "amount" in call to "call" of "Cluster"',
]

DO = """
async def program(hits: Remote[Hits]) -> None:
    reveal_type(await hits.do(Hits.increment, by=2))
    await hits.do(Hits.increment, by="x")
"""

EXPECTED_OF_DO = [
    'note: Revealed type is "int"',
    'error: Argument "by" to "do" of "TypedRemote" has incompatible type "str"; expected "int"',
]

BLOCKING = """
def program(cluster: BlockingCluster) -> None:
    account = cluster.object(Account, "x")
    reveal_type(account.deposit(2))
    account.deposit("two")
    cluster.call(transfer, account, account, amount=1)
    cluster.call(transfer, account, cluster.object(Counter, "x"), amount=1)
"""

EXPECTED_OF_BLOCKING = [
    'note: Revealed type is "int"',
    'error: Argument 1 to "deposit" of "Account" has incompatible type "str"; expected "int"',
    'error: Argument 3 to "call" of "BlockingCluster" has incompatible type "Counter"; expected "Account"',
]


def verdicts(directory: Path, monkeypatch: pytest.MonkeyPatch, program: str, *, plugin: bool) -> list[str]:
    """What mypy --strict says, line by line, without places."""
    sample, configuration = directory / "sample.py", directory / "mypy.ini"
    sample.write_text(HEAD + program)
    configuration.write_text("[mypy]\n" + "plugins = fivefold.mypy_plugin\n" * plugin)
    monkeypatch.setenv("MYPYPATH", str(ROOT / "src"))
    options = ["--strict", "--hide-error-codes", "--no-error-summary", "--follow-imports=silent"]
    output, errors, _ = api.run(
        [*options, f"--config-file={configuration}", f"--cache-dir={directory / 'cache'}", str(sample)]
    )
    assert errors == ""
    return [line.partition(": ")[2] for line in output.splitlines()]


@pytest.mark.slow
def test_the_plugin_types_remote_objects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Methods of remote objects are coroutines with the types of the class, and wrong calls are errors."""
    found = verdicts(tmp_path, monkeypatch, REMOTE, plugin=True)
    assert [
        line for line in found if "must be used" not in line and "missing an await" not in line
    ] == EXPECTED_OF_REMOTE


@pytest.mark.slow
def test_do_is_typed_without_the_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``do`` has the types of the method for every type checker."""
    assert verdicts(tmp_path, monkeypatch, DO, plugin=False) == EXPECTED_OF_DO


@pytest.mark.slow
def test_blocking_objects_are_typed_without_the_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A blocking object has the methods of its class for every type checker."""
    assert verdicts(tmp_path, monkeypatch, BLOCKING, plugin=False) == EXPECTED_OF_BLOCKING
