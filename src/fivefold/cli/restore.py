"""``fivefold restore``: a backup as the start of a new cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from fivefold.cli.backup import bar
from fivefold.cli.loop import run
from fivefold.cli.options import CLUSTER_FILE, FaultsOption, FaultyOption, LyingOption
from fivefold.cli.output import say
from fivefold.cluster import Configuration, load_configuration, load_identity, load_public, quorums_of, server_directory
from fivefold.errors import ConfigurationError
from fivefold.storage import BackupFile
from fivefold.upkeep import check_backup, restore_cluster, restore_server

EXAMPLES: Final = """
**Examples**

A new cluster of six servers:

`fivefold restore /srv/backup prod2 --server a.example:7000 --server b.example:7000 --server c.example:7000`
`--server d.example:7000 --server e.example:7000 --server f.example:7000`

One server of it, on its own host, by its owner:

`fivefold restore /srv/backup --cluster cluster.toml --identity server-0`

The clients of the old cluster keep their identities and rights; the servers get new ones. A server of the old cluster
is never put back to a backup: it would lie.
"""


def restore(
    backup: Annotated[Path, typer.Argument(help="Directory of the backup.")],
    directory: Annotated[
        Path | None, typer.Argument(help="New directory for the new cluster's files.", metavar="DIR")
    ] = None,
    server: Annotated[
        list[str] | None,
        typer.Option(help="HOST:PORT of a new server, or HOST:PORT=FILE as for init.", metavar="HOST:PORT[=FILE]"),
    ] = None,
    faults: FaultsOption = None,
    t: FaultyOption = None,
    b: LyingOption = None,
    cluster: Annotated[Path | None, typer.Option(help="Cluster file of the new cluster, for one server.")] = None,
    identity: Annotated[Path | None, typer.Option(help="Directory of that server's identity.")] = None,
    data: Annotated[Path | None, typer.Option(help="For its data. Default: IDENTITY with .data added.")] = None,
) -> None:
    """Make a new cluster, or the data of one of its servers, that begins with what a backup holds."""
    if (directory is None) is (identity is None) or (directory is None) is not (server is None):
        raise ConfigurationError(
            "name either DIR and --server for a new cluster, or --cluster and --identity for one server of it"
        )
    with BackupFile(backup) as file:
        with bar("check") as (progress, task):
            check_backup(file, lambda count: progress.update(task, completed=count))
        if directory is not None and server is not None:
            _restore_cluster(file, directory, server, faults, t, b)
        elif identity is not None:
            _restore_server(file, cluster or Path(CLUSTER_FILE), identity, data)


def _restore_cluster(
    file: BackupFile, directory: Path, server: list[str], faults: int | None, t: int | None, b: int | None
) -> None:
    quorums = quorums_of(faults, n=len(server), t=t, b=b)
    addresses = [each.partition("=")[0] for each in server]
    publics = {index: load_public(Path(each.partition("=")[2])) for index, each in enumerate(server) if "=" in each}
    with bar("restore") as (progress, task):

        def told(index: int, count: int) -> None:
            progress.update(task, description=f"server {index}", completed=count)

        configuration = run(
            restore_cluster(file, directory, addresses, t=quorums.t, b=quorums.b, publics=publics, told=told)
        )
    _say_what_goes_where(file, directory, configuration, set(publics))


def _restore_server(file: BackupFile, cluster: Path, identity: Path, data: Path | None) -> None:
    place = identity.with_name(f"{identity.name}.data") if data is None else data
    with bar("restore") as (progress, task):

        def told(index: int, count: int) -> None:
            progress.update(task, completed=count)

        configuration, own = load_configuration(cluster), load_identity(identity)
        index = run(restore_server(file, configuration, own, place, told=told))
    say("[green]{}[/]: the data of server {}, {} objects.", place, index, file.whole_run().objects)
    _say_list(file)


def _say_what_goes_where(file: BackupFile, directory: Path, configuration: Configuration, owners: set[int]) -> None:
    whole = file.whole_run()
    say("[green]{}[/]: a new cluster of {} servers, {} objects.", directory, configuration.quorums.n, whole.objects)
    say("Bring {} to every server and every client, which keep their identities.", directory / CLUSTER_FILE)
    for entry in configuration.servers:
        if entry.index in owners:
            say("  server {}  its owner runs fivefold restore BACKUP --cluster … --identity …", entry.index)
        else:
            own = server_directory(directory, entry.index)
            say("  [yellow]{}[/] and [yellow]{}.data[/]  to  {}", own, own, entry.host)
    say("Start the old cluster's servers never again: clients would find two clusters.")
    _say_list(file)


def _say_list(file: BackupFile) -> None:
    found = file.whole_run().list_digest
    if found is not None:
        say("List {}: the same for every server, or they are not of one backup.", found.hex())
