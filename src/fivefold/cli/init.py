"""``fivefold init``: the files of a cluster of several hosts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from fivefold.cli.options import CLUSTER_FILE, FaultsOption, FaultyOption, LyingOption
from fivefold.cli.output import say
from fivefold.cluster import Configuration, client_directory, create_cluster, quorums_of, server_directory

EXAMPLES: Final = """
**Examples**

Six servers, of which one may fail or lie:

`fivefold init prod --server a.example:7000 --server b.example:7000 --server c.example:7000`
`--server d.example:7000 --server e.example:7000 --server f.example:7000`

Four servers, of which one may crash and none lies: `fivefold init prod -t 1 -b 0 --server …` (four times)
"""


def init(
    directory: Annotated[Path, typer.Argument(help="Directory for the files.", metavar="DIR")],
    server: Annotated[list[str], typer.Option(help="HOST:PORT of a server; once for each.", metavar="HOST:PORT")],
    faults: FaultsOption = None,
    t: FaultyOption = None,
    b: LyingOption = None,
) -> None:
    """Make cluster file and identities for servers on several hosts.

    Needs n ≥ 3t + 2b + 1 servers. Writes nothing if anything is wrong, and never over what is there.
    """
    quorums = quorums_of(faults, n=len(server), t=t, b=b)
    configuration = create_cluster(directory, server, t=quorums.t, b=quorums.b)
    _say_what_goes_where(directory, configuration)


def _say_what_goes_where(directory: Path, configuration: Configuration) -> None:
    quorums = configuration.quorums
    say(
        "[green]{}[/]: {} servers, of which {} may fail and {} of these may lie. It is public: copy it to every server "
        "and every client.",
        *(directory / CLUSTER_FILE, quorums.n, quorums.t, quorums.b),
    )
    say("Private, each to its own host and nowhere else:")
    for entry in configuration.servers:
        say("  [yellow]{}[/]  to  {}, which then runs", server_directory(directory, entry.index), entry.host)
        say("      fivefold serve --cluster {} --identity server-{}", CLUSTER_FILE, entry.index)
    say("  [yellow]{}[/]  stays with you: it may do everything", client_directory(directory, "admin"))
    say("Copy them over a channel that you trust, and then delete the servers' identities here.")
