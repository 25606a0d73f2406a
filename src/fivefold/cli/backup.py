"""``fivefold backup``: a copy of every object, from the running cluster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from fivefold import connect
from fivefold.cli.exits import Exit
from fivefold.cli.loop import run
from fivefold.cli.options import ClusterOption, IdentityOption, JsonOption, RateOption, find_cluster_file
from fivefold.cli.output import bytes_text, err, print_json, say
from fivefold.cluster import format_configuration, load_configuration
from fivefold.storage import BackupFile, Run
from fivefold.upkeep import back_up

EXAMPLES: Final = """
**Examples**

`fivefold backup /srv/backup`

Run it again to bring the backup up to date: only what has changed is fetched.
An interrupted backup continues where it stopped.

`fivefold backup /srv/backup --rate 200`: fetches 200 objects a second at most. Without a rate the servers hold it back
while they are busy with others.

`fivefold backup /srv/backup --check`: reads all of it, without a cluster; exit code 5 if it is damaged

Your access rule must be `*`. A backup holds every state: keep it as you keep the servers' disks.
"""


def backup(
    directory: Annotated[Path, typer.Argument(help="Directory of the backup.", metavar="DIR")],
    check: Annotated[bool, typer.Option("--check", help="Verify the backup; no cluster is needed.")] = False,
    cluster: ClusterOption = None,
    identity: IdentityOption = None,
    rate: RateOption = None,
    json: JsonOption = False,
    tls: Annotated[bool, typer.Option("--tls/--no-tls", hidden=True)] = True,
) -> None:
    """Copy every object, with the word of b + 1 servers, while the cluster works."""
    if check:
        _check(directory, json=json)
        return
    file = find_cluster_file(cluster)
    with BackupFile(directory, creates=True) as backup_file:
        finished = run(_back_up(file, identity, backup_file, rate=rate, tls=tls))
        _say(directory, finished, backup_file.size(finished), json=json)


async def _back_up(file: Path, identity: str | None, backup_file: BackupFile, *, rate: int | None, tls: bool) -> Run:
    configuration = load_configuration(file)
    last = backup_file.last_run()
    expected = None if last is None else last.objects
    async with connect(file, identity=identity, follows=False, tls=tls) as cluster, cluster.inquiry() as inquiry:
        with bar("backup") as (progress, task):

            def told(now: Run, count: int) -> None:
                progress.update(task, description=f"pass {now.turn}", completed=count, total=expected)

            return await back_up(
                cluster,
                inquiry,
                backup_file,
                cluster_id=configuration.cluster_id.hex(),
                cluster_file=format_configuration(configuration),
                rate=rate,
                told=told,
            )


@contextmanager
def bar(name: str) -> Iterator[tuple[Progress, TaskID]]:
    """A progress bar on standard error, and its task."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as progress:
        yield progress, progress.add_task(name, total=None)


def _check(directory: Path, *, json: bool) -> None:
    with BackupFile(directory) as file:
        with bar("check") as (progress, task):
            problems = file.check(lambda count: progress.update(task, completed=count))
        if not problems:
            whole = file.whole_run()
            _say(directory, whole, file.size(whole), json=json)
    for problem in problems:
        say("[red]damaged[/]: {}", problem, to=err)
    if problems:
        raise typer.Exit(Exit.FAILED)


def _say(directory: Path, finished: Run, size: int, *, json: bool) -> None:
    assert finished.finished is not None, "only finished runs are shown"
    assert finished.list_digest is not None, "a finished run is sealed"
    if json:
        print_json(
            {
                "objects": finished.objects,
                "bytes": size,
                "finished": finished.finished,
                "is_of_one_moment": finished.is_of_one_moment,
                "changed_meanwhile": finished.changed,
                "list_digest": finished.list_digest.hex(),
            }
        )
        return
    at = datetime.fromtimestamp(finished.finished, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    say("[green]{}[/]: {} objects, {}, as of {}", directory, finished.objects, bytes_text(size), at)
    if finished.is_of_one_moment:
        say("All of it is of one moment.")
    else:
        say(
            "{} objects changed while the last pass read them: each object is of a moment of its own, and an operation "
            "over several objects may be in some of them only.",
            finished.changed,
        )
    say("List {}: equal lists are equal backups.", finished.list_digest.hex())
