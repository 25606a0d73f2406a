"""What ``fivefold call`` makes of an unknown outcome."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from fivefold import NOT_APPLIED
from fivefold.cli import main
from fivefold.cli.exits import Exit
from fivefold.errors import OutcomeUnknown


class Remote:
    """An object whose calls end in the dark."""

    def __init__(self, resolve: Callable[[], Awaitable[Any]]) -> None:
        self._resolve = resolve

    async def increment(self, by: int) -> int:
        raise OutcomeUnknown("it may or may not be applied: resolve it", self._resolve)


class DarkCluster:
    """A cluster with such objects only."""

    def __init__(self, resolve: Callable[[], Awaitable[Any]]) -> None:
        self._resolve = resolve

    def object(self, cls: type, key: str) -> Remote:
        return Remote(self._resolve)


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Runs a call whose outcome is unknown, and is resolved by the given function."""

    def run(resolve: Callable[[], Awaitable[Any]]) -> tuple[int, str, str]:
        @asynccontextmanager
        async def connect(*_: object, **options: object) -> AsyncIterator[DarkCluster]:
            yield DarkCluster(resolve)

        monkeypatch.setattr("fivefold.cli.call.connect", connect)
        (tmp_path / "cluster.toml").touch()  # it must be there; nobody reads it
        with pytest.raises(SystemExit) as left:
            main(["call", "--cluster", str(tmp_path / "cluster.toml"), "--json", "Counter", "hits", "increment", "1"])
        captured = capsys.readouterr()
        return int(left.value.code or 0), captured.out, captured.err

    return run


def test_an_applied_call_is_answered(call) -> None:
    """If resolving finds the call applied, its answer is printed as if nothing had been, and standard error says so."""

    async def resolve() -> int:
        return 7

    code, out, err = call(resolve)
    assert (code, json.loads(out)) == (Exit.OK, 7)
    assert "finding out" in err
    assert "it was applied" in err


def test_a_call_that_was_not_applied_is_unavailable(call) -> None:
    """If it never will be applied, nothing was changed, and the command may be given again."""

    async def resolve() -> object:
        return NOT_APPLIED

    code, out, err = call(resolve)
    assert (code, out) == (Exit.UNAVAILABLE, "")
    assert "was not applied and never will be" in err


def test_a_call_that_cannot_be_resolved_stays_unknown(call) -> None:
    """If resolving does not tell either, the exit code is its own."""

    async def resolve() -> object:
        raise OutcomeUnknown("too many updates have passed: read the object")

    code, out, err = call(resolve)
    assert (code, out) == (Exit.UNKNOWN, "")
    assert "read the object" in err
