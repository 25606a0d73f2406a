"""``fivefold move``: a running cluster to other servers, of another number or for another t or b."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final

import typer

from fivefold.cli.backup import bar
from fivefold.cli.loop import run
from fivefold.cli.options import (
    ClusterOption,
    FaultsOption,
    FaultyOption,
    IdentityOption,
    LyingOption,
    find_cluster_file,
)
from fivefold.cli.output import err, say
from fivefold.cluster import CLUSTER_FILE, Configuration, find_identity, load_identity, load_public, quorums_of
from fivefold.errors import ConfigurationError
from fivefold.protocol.quorums import QuorumSystem
from fivefold.upkeep import Plan, Step, Told, check_health, check_plan, give_up
from fivefold.upkeep import move as move_cluster

EXAMPLES: Final = """
**Examples**

To other servers:

`fivefold move prod2 --server a.example:7000 --server b.example:7000 --server c.example:7000`
`--server d.example:7000 --server e.example:7000 --server f.example:7000`

With eleven of them and `--faults 2`, two may lie.
Add `--dry-run` to check all that can be checked, and change nothing.
An interrupted move continues with the same command. Until it hands over, you can give it up:

`fivefold move prod2 --give-up`

Your access rule must be `*`. Updates wait from the seal until the new servers run; their callers follow by themselves.
"""


def move(
    directory: Annotated[Path, typer.Argument(help="New directory for the new cluster's files.", metavar="DIR")],
    server: Annotated[
        list[str] | None,
        typer.Option(help="HOST:PORT of a new server, or HOST:PORT=FILE as for init.", metavar="HOST:PORT[=FILE]"),
    ] = None,
    faults: FaultsOption = None,
    t: FaultyOption = None,
    b: LyingOption = None,
    cluster: ClusterOption = None,
    identity: IdentityOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check, and change nothing.")] = False,
    giving_up: Annotated[bool, typer.Option("--give-up", help="Open a sealed cluster again.")] = False,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds to wait for servers in each step.")] = 600.0,
    tls: Annotated[bool, typer.Option("--tls/--no-tls", hidden=True)] = True,
) -> None:
    """Move a running cluster to new servers: seal it, copy it, check the copy, and hand over."""
    file, given = find_cluster_file(cluster), server or []
    own = load_identity(_identity_of(file, identity))
    if giving_up == bool(given):
        raise ConfigurationError("name the new servers with --server, or give a move up with --give-up")
    quorums = QuorumSystem(4, 1, 0) if giving_up else quorums_of(faults, n=len(given), t=t, b=b)
    plan = Plan(
        file=file,
        directory=directory,
        addresses=[each.partition("=")[0] for each in given],
        t=quorums.t,
        b=quorums.b,
        publics={index: load_public(Path(each.partition("=")[2])) for index, each in enumerate(given) if "=" in each},
        identity=own,
        tls=tls,
        patience_s=timeout,
    )
    if giving_up:
        _give_up(plan)
    elif dry_run:
        _try(plan, quorums)
    else:
        with _shown() as told:
            new = run(move_cluster(plan, told))
        _say_done(plan, new)


def _identity_of(file: Path, identity: str | None) -> Path:
    if identity is not None and Path(identity).is_dir():
        return Path(identity)
    return find_identity(file, identity)


def _give_up(plan: Plan) -> None:
    with _shown() as told:
        opened = run(give_up(plan, told))
    say("[green]{}[/]: edition {}, open again: calls go on in this cluster.", plan.file, opened.edition)
    if plan.directory.exists():
        say("Delete {} and the new servers' data: nobody must use them.", plan.directory)


def _try(plan: Plan, quorums: QuorumSystem) -> None:
    old = check_plan(plan)
    if not old.mover:
        run(check_health(plan, old))
    before = (old.quorums.n, old.quorums.t, old.quorums.b)
    say("{} servers (t = {}, b = {}) would become {} (t = {}, b = {}).", *before, quorums.n, quorums.t, quorums.b)
    if old.successor:
        say("The cluster is handed over already. What is left is to bring {} to its servers.", plan.file)
    elif old.mover:
        say("The cluster is sealed: the same command without --dry-run continues.")
    else:
        say("Nothing stands in the way. Nothing was changed.")


def _say_done(plan: Plan, new: Configuration) -> None:
    say("[green]{}[/]: the cluster has moved to {} servers.", plan.directory, new.quorums.n)
    say("Running clients follow by themselves. Give all clients {}.", plan.directory / CLUSTER_FILE)
    say("Let a quorum of the old servers run until all have followed. Then stop them for good.")
    say("{} holds every state: delete it when the new cluster has a backup.", plan.copy)


@contextmanager
def _shown() -> Iterator[Callable[[Told], None]]:
    """A bar for what is being done; and, for each step, lines that say what to bring where."""
    last: Told | None = None
    with bar("move") as (progress, task):

        def told(news: Told) -> None:
            nonlocal last
            is_new = last is None or last.step is not news.step
            if is_new:
                say("{} …", news.step.value, to=err)
            if news.missing and (is_new or last is None or news.missing != last.missing):
                say("{}: {}", _waiting(news.step), ", ".join(map(str, news.missing)), to=err)
            last = news
            progress.update(task, description=news.step.value, completed=news.count, total=news.total)

        yield told


def _waiting(step: Step) -> str:
    if step is Step.START:
        return "new servers that do not run yet; bring each its directory and its data"
    return "servers that do not use the new edition of the cluster file yet; bring it to b + 1 of them at least"
