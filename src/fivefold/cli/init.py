"""``fivefold init`` and ``fivefold identity``: the files of a cluster of several hosts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Final

import typer

from fivefold.cli.deploy import Deployment, check_addresses, deployment_files, write_files
from fivefold.cli.options import CLUSTER_FILE, FaultsOption, FaultyOption, LyingOption
from fivefold.cli.output import say
from fivefold.cluster import (
    Configuration,
    PublicHalf,
    client_directory,
    create_cluster,
    create_identity,
    load_public,
    public_half,
    quorums_of,
    save_public,
    server_directory,
)
from fivefold.errors import ConfigurationError

EXAMPLES: Final = """
**Examples**

Six servers, of which one may fail or lie:

`fivefold init prod --server a.example:7000 --server b.example:7000 --server c.example:7000`
`--server d.example:7000 --server e.example:7000 --server f.example:7000`

Four servers, of which one may crash and none lies: `fivefold init prod -t 1 -b 0 --server …` (four times)

With a systemd unit for the hosts: `fivefold init prod --deploy systemd --server …`

Of six owners, each of whom has run `fivefold identity`: `fivefold init prod --server a.example:7000=a.public …`
"""
IDENTITY_EXAMPLES: Final = """
**Example**

`fivefold identity server-0` makes the directory server-0, which stays here, and the file server-0.public, to hand over.
"""


def init(
    directory: Annotated[Path, typer.Argument(help="Directory for the files.", metavar="DIR")],
    server: Annotated[
        list[str],
        typer.Option(
            help="HOST:PORT of a server, once for each; HOST:PORT=FILE if its owner has made its identity.",
            metavar="HOST:PORT[=FILE]",
        ),
    ],
    faults: FaultsOption = None,
    t: FaultyOption = None,
    b: LyingOption = None,
    deploy: Annotated[
        Deployment | None, typer.Option(help="Also write files that run the servers there, in DIR/deploy.")
    ] = None,
    objects: Annotated[
        list[str] | None, typer.Option(help="Module with your object types, for --deploy; several times.")
    ] = None,
) -> None:
    """Make cluster file and identities for servers on several hosts.

    Needs n ≥ 3t + 2b + 1 servers. Writes nothing if anything is wrong, and never over what is there.
    """
    quorums = quorums_of(faults, n=len(server), t=t, b=b)
    addresses = [each.partition("=")[0] for each in server]
    files = {index: Path(each.partition("=")[2]) for index, each in enumerate(server) if "=" in each}
    publics = {index: load_public(path) for index, path in files.items()}
    if deploy is not None:
        check_addresses(deploy, addresses)
    configuration = create_cluster(directory, addresses, t=quorums.t, b=quorums.b, publics=publics)
    _say_what_goes_where(directory, configuration, publics)
    if deploy is not None:
        _deploy(directory, configuration, deploy, objects or [])


def _say_what_goes_where(directory: Path, configuration: Configuration, publics: Mapping[int, PublicHalf]) -> None:
    quorums = configuration.quorums
    say(
        "[green]{}[/]: {} servers, of which {} may fail and {} of these may lie. It is public: copy it to every server "
        "and every client.",
        *(directory / CLUSTER_FILE, quorums.n, quorums.t, quorums.b),
    )
    say("Private, each to its own host and nowhere else:")
    for entry in configuration.servers:
        if entry.index in publics:
            say("  server {}  has its identity with its owner, at {}, who runs", entry.index, entry.host)
            say("      fivefold serve --cluster {} --identity DIRECTORY", CLUSTER_FILE)
        else:
            say("  [yellow]{}[/]  to  {}, which then runs", server_directory(directory, entry.index), entry.host)
            say("      fivefold serve --cluster {} --identity server-{}", CLUSTER_FILE, entry.index)
    say("  [yellow]{}[/]  stays with you: it may do everything", client_directory(directory, "admin"))
    if len(publics) < quorums.n:
        say("Copy them over a channel that you trust, and then delete the servers' identities here.")


def _deploy(directory: Path, configuration: Configuration, deploy: Deployment, objects: Sequence[str]) -> None:
    files = deployment_files(deploy, configuration, objects)
    write_files(directory, files)
    say("For {}, each begins with what to do:", deploy.value)
    for name in sorted(files):
        say("  [green]{}[/]", directory / name)


def identity(
    directory: Annotated[Path, typer.Argument(help="New directory for the identity.", metavar="DIR")],
    public: Annotated[
        Path | None, typer.Option(help="File for its public half. Default: DIR with .public added.")
    ] = None,
) -> None:
    """Make the identity of one server on its own host, so that its keys never leave it.

    Hand the public half over: `fivefold init --server HOST:PORT=FILE` puts it into the cluster file.
    """
    file = directory.with_name(directory.name + ".public") if public is None else public
    if file.exists():
        raise ConfigurationError(f"{file} exists already: name another file with --public")
    made = create_identity(directory, name=directory.name)
    save_public(file, public_half(made))
    say("[yellow]{}[/] is private: it stays on this host.", directory)
    say("[green]{}[/] is public: hand it over. Fingerprint {}", file, made.fingerprint)
