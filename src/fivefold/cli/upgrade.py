"""``fivefold upgrade``: what a rollout of new code would do, and the switch to it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

import typer

from fivefold import ClusterStatus, connect
from fivefold.cli.code import load_objects
from fivefold.cli.exits import Exit
from fivefold.cli.loop import run
from fivefold.cli.options import ClusterOption, IdentityOption, JsonOption, find_cluster_file
from fivefold.cli.output import print_json, say
from fivefold.cluster import activate_version
from fivefold.errors import ConfigurationError, Unavailable
from fivefold.objects import Finding, TypeDescription, compare, describe, standard_registry
from fivefold.protocol.quorums import QuorumSystem

CHECK_EXAMPLES: Final = """
**Examples**

`fivefold upgrade check --objects bank`

Compare the module bank at hand with what the servers run. Exit code 5 if something would be refused or lost.
"""
ACTIVATE_EXAMPLES: Final = """
**Examples**

`fivefold upgrade activate Names 2`

Run version 2 of Names from now on, once a quorum of servers holds it. Then bring the cluster file to every server;
running ones read it within a second.
"""
STATUS_S: Final = 2.0
"""How long servers have to say what they run."""

_STYLES: Final = {"fine": "green", "note": "yellow", "danger": "red"}

upgrade = typer.Typer(name="upgrade", help="Roll out new code for your object types.", no_args_is_help=True)


@upgrade.command(epilog=CHECK_EXAMPLES)
def check(
    objects: Annotated[list[str], typer.Option(help="Python module with the new code; repeatable.")],
    cluster: ClusterOption = None,
    identity: IdentityOption = None,
    json: JsonOption = False,
) -> None:
    """Say what restarting the servers with this code would do, before it is done."""
    ready_made = {each.code for each in describe(standard_registry()).types}
    new = [each for each in describe(load_objects(objects)).types if each.code not in ready_made]
    status = run(_status(find_cluster_file(cluster), identity))
    findings = [finding for each in new for finding in _compare_with(status, each)]
    if json:
        print_json(findings)
    for finding in () if json else findings:
        say(f"[bold]{{}}[/]: [{_STYLES[finding.weight]}]{{}}[/]", finding.name, finding.text)
    if any(finding.weight == "danger" for finding in findings):
        raise typer.Exit(Exit.FAILED)


@upgrade.command(epilog=ACTIVATE_EXAMPLES)
def activate(
    name: Annotated[str, typer.Argument(help="The type, such as Names.")],
    version: Annotated[int, typer.Argument(min=1, help="The version of its class.")],
    fewer: Annotated[
        bool, typer.Option("--fewer", help="Believe all servers: a quorum that says it holds the version is enough.")
    ] = False,
    cluster: ClusterOption = None,
    identity: IdentityOption = None,
) -> None:
    """Say in the cluster file which version of a type runs."""
    file = find_cluster_file(cluster)
    status = run(_status(file, identity))
    holders = _holders(status, name, version)
    quorums = status.quorums
    if len(holders) < (quorums.q if fewer else quorums.q + quorums.b):
        raise ConfigurationError(_too_few(len(holders), quorums, f"{name} {version}", fewer=fewer))
    activate_version(file, name, version)
    say("[green]{}[/] now says that {} {} runs: bring it to every server.", file, name, version)
    say("Running servers read it within a second, and clients move over once a quorum has.")


async def _status(file: Path, identity: str | None) -> ClusterStatus:
    async with connect(file, identity=identity, connect_timeout=STATUS_S, needs_quorum=False) as cluster:
        status = await cluster.status(timeout=STATUS_S)
    if not any(status.servers):
        raise Unavailable("no server says what it runs: start them, or name another cluster file")
    return status


def _holders(status: ClusterStatus, name: str, version: int) -> list[int]:
    """Servers that say they hold this version, with the code that most of them hold."""
    servers: dict[str, list[int]] = {}
    for index, types in enumerate(_types(status)):
        each = _find(types, name, version)
        if each is not None:
            servers.setdefault(each.code, []).append(index)
    return max(servers.values(), key=len, default=[])


def _too_few(count: int, quorums: QuorumSystem, what: str, *, fewer: bool) -> str:
    """Why a version cannot be switched to, and what to do."""
    if count < quorums.q:
        return (
            f"only {count} of the {quorums.q} servers that calls need hold {what} with the same code: start the others "
            "with both, the old module and the new one, by --objects"
        )
    assert not fewer, "a quorum is enough then"
    return (
        f"{count} servers say that they hold {what}, and {quorums.b} of them may lie: calls are refused for as long as "
        f"fewer than {quorums.q} do; wait for {quorums.q + quorums.b}, or use --fewer if you trust them all"
    )


def _types(status: ClusterStatus) -> list[Sequence[TypeDescription]]:
    return [() if server is None else server.types for server in status.servers]


def _find(types: Sequence[TypeDescription], name: str, version: int | None = None) -> TypeDescription | None:
    """This version of a type, if a server holds it; without a version, the one that runs."""
    if version is None:
        return max((each for each in types if each.name == name and each.is_active), key=_version, default=None)
    return next((each for each in types if each.name == name and each.version == version), None)


def _version(each: TypeDescription) -> int:
    return each.version


def _compare_with(status: ClusterStatus, new: TypeDescription) -> list[Finding]:
    """What the new code means for each code that servers run, every kind of them once."""
    running: dict[str, tuple[TypeDescription, list[int]]] = {}
    missing = []
    for index, types in enumerate(_types(status)):
        if status.servers[index] is None:
            continue
        each = _find(types, new.name)
        if each is None:
            missing.append(index)
        else:
            running.setdefault(each.code, (each, []))[1].append(index)
    believed = [each for each, those in running.values() if len(those) > status.quorums.b]
    findings = [finding for each in believed for finding in compare(each, new)]
    findings += [
        Finding(new.name, "note", f"{_listed(those)} alone say that they run {each.name} {each.version} "
                f"({each.code[:8]}), which may be a lie: nothing is compared with that")
        for each, those in running.values()
        if each not in believed
    ]  # fmt: skip
    if len(running) > 1:
        parts = ", ".join(
            f"{each.name} {each.version} ({each.code[:8]}) on {_listed(those)}" for each, those in running.values()
        )
        findings.insert(0, Finding(new.name, "note", f"the servers do not run the same code now: {parts}"))
    if missing and not believed:
        findings.append(Finding(new.name, "fine", f"{new.name} is new to the servers"))
    return findings


def _listed(servers: list[int]) -> str:
    return f"server{'s' * (len(servers) > 1)} {', '.join(map(str, servers))}"
