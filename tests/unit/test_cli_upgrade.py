"""``fivefold upgrade`` believes no server alone, nor as many as may lie."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from fivefold import ClusterStatus
from fivefold.cli import upgrade
from fivefold.cli.app import app
from fivefold.cluster import create_cluster, load_configuration
from fivefold.errors import ConfigurationError
from fivefold.node import ServerStatus
from fivefold.objects import TypeDescription, describe, standard_registry
from fivefold.protocol.quorums import QuorumSystem

SIX = QuorumSystem(6, 1, 1)
COUNTER = next(each for each in describe(standard_registry()).types if each.name == "Counter")
OTHER = msgspec.structs.replace(COUNTER, code="f" * 32, methods=())
NEW = msgspec.structs.replace(COUNTER, version=2, code="2" * 32)


def says(*types: TypeDescription) -> ServerStatus:
    return ServerStatus(0, "0", "memory", None, 1.0, 0, (0, 0), 1, {}, 0, types=types)


def status(*servers: ServerStatus | None) -> ClusterStatus:
    return ClusterStatus(SIX, servers, (), {})


def test_what_one_server_alone_runs_is_not_compared_with() -> None:
    """It may be a lie, so it makes no danger: the others run the very code at hand."""
    honest = [says(COUNTER)] * 5
    assert upgrade._compare_with(status(*honest, None), COUNTER) == upgrade._compare_with(status(*honest), COUNTER)
    findings = upgrade._compare_with(status(*honest, says(OTHER)), COUNTER)
    assert "danger" not in {finding.weight for finding in findings}
    assert any("server 5 alone say that they run Counter 1 (ffffffff)" in finding.text for finding in findings)
    two = upgrade._compare_with(status(*honest[:4], says(OTHER), says(OTHER)), COUNTER)
    assert not any("alone say" in finding.text for finding in two)


def test_a_type_that_only_a_liar_runs_is_new() -> None:
    """One server's word does not make it an old one."""
    findings = upgrade._compare_with(status(*[says()] * 5, says(OTHER)), COUNTER)
    assert any(finding.text == "Counter is new to the servers" for finding in findings)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    create_cluster(tmp_path, [f"127.0.0.1:{7100 + server}" for server in range(6)], t=1, b=1)
    return tmp_path / "cluster.toml"


@pytest.mark.parametrize(
    ("holders", "options", "says_why"),
    [
        (4, (), "only 4 of the 5 servers"),
        (4, ("--fewer",), "only 4 of the 5 servers"),
        (5, (), "5 servers say that they hold Counter 2, and 1 of them may lie"),
        (5, ("--fewer",), None),
        (6, (), None),
    ],
)
def test_a_version_is_switched_to_once_a_quorum_holds_it_whoever_lies(
    file: Path, monkeypatch: pytest.MonkeyPatch, holders: int, options: tuple[str, ...], says_why: str | None
) -> None:
    """With five of six the liar may be among them: calls would find no quorum."""

    async def found(*arguments: object) -> ClusterStatus:
        return status(*[says(COUNTER, NEW)] * holders, *[says(COUNTER)] * (6 - holders))

    monkeypatch.setattr(upgrade, "_status", found)
    result = CliRunner().invoke(app, ["upgrade", "activate", "Counter", "2", "--cluster", str(file), *options])
    if says_why is None:
        assert result.exit_code == 0
        assert load_configuration(file).versions == {"Counter": 2}
    else:
        assert isinstance(result.exception, ConfigurationError)
        assert says_why in str(result.exception)


def test_servers_with_other_code_of_the_version_do_not_count() -> None:
    """They hold something of that name and number, and calls would not be run by it."""
    edited = msgspec.structs.replace(NEW, code="3" * 32)
    assert upgrade._holders(status(*[says(NEW)] * 4, says(edited), None), "Counter", 2) == [0, 1, 2, 3]
