"""``fivefold client``: who may call the cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer
from rich.table import Table
from rich.text import Text

from fivefold.cli.options import ClusterOption, JsonOption, find_cluster_file
from fivefold.cli.output import out, print_json, say, shown
from fivefold.cluster import (
    add_client,
    fingerprint_of,
    forget_old_client,
    limit_client,
    load_configuration,
    remove_client,
    rotate_client,
)

ADD_EXAMPLES: Final = """
**Examples**

`fivefold client add shop --allow 'Counter:increment' --allow 'Register/price-*:@query'`

`fivefold client add auditor --allow '*:@query' --rate 50`

A rule is OBJECTS or OBJECTS:METHODS. OBJECTS is a type or Type/key, METHODS a name, @query or @update; * stands for
any characters. A client over its rate waits. Running servers read the changed cluster file within a second: bring it to
each of them.
"""
LIST_EXAMPLES: Final = "**Example**\n\n`fivefold client list --cluster prod/cluster.toml`"
LIMIT_EXAMPLES: Final = """
**Examples**

`fivefold client limit shop --rate 200`

`fivefold client limit shop --no-rate`

Then bring the cluster file to every server. An update is one request to each server in the good case, three or more
under contention.
"""
REMOVE_EXAMPLES: Final = "**Example**\n\n`fivefold client remove shop`, and bring the cluster file to every server"

ROTATE_EXAMPLES: Final = """
**Examples**

`fivefold client rotate shop`

`fivefold client rotate shop --finish`

The first makes a new identity and leaves the old one in the cluster file: servers take both. Bring the file to every
server, and the identity to the client. When all of its processes use the new one, the second takes the old one out.
"""

RATE_HELP: Final = "Requests a second that each server takes from it"

client = typer.Typer(name="client", help="Add, list, limit, rotate and remove clients.", no_args_is_help=True)


@client.command(epilog=ADD_EXAMPLES)
def add(
    name: Annotated[str, typer.Argument(help="Name of the client, for people.")],
    allow: Annotated[list[str], typer.Option(help="Rule on what it may do; can be given several times.")],
    cluster: ClusterOption = None,
    identity: Annotated[
        Path | None, typer.Option(help="Directory for its identity. Default: client-NAME beside the file.")
    ] = None,
    rate: Annotated[int | None, typer.Option(help=f"{RATE_HELP}. Default: as many as it can.")] = None,
) -> None:
    """Make an identity for a new client and enter it in the cluster file."""
    file = find_cluster_file(cluster)
    made = add_client(file, name, allow, identity, rate=rate)
    say("[green]{}[/] now knows {}: bring it to every server (running ones read it by themselves).", file, name)
    say("[yellow]{}[/] is its private identity: it belongs on the client's machine alone.", made.directory)
    if rate is None:
        say("It may ask for as much as servers can do: `fivefold client limit {} --rate N` holds it back.", name)


@client.command(name="list", epilog=LIST_EXAMPLES)
def list_clients(cluster: ClusterOption = None, json: JsonOption = False) -> None:
    """List the clients, their rules and their rates."""
    clients = load_configuration(find_cluster_file(cluster)).clients
    if json:
        print_json(
            [
                {"name": c.name, "allow": c.rules, "rate": c.rate, "fingerprint": fingerprint_of(c.certificate)}
                for c in clients
            ]
        )
        return
    table = Table("client", "may", "requests a second", "fingerprint of its certificate")
    for each in clients:
        rate = "any" if each.rate is None else f"{each.rate:,}"
        rules = Text("\n".join(map(shown, each.rules)))
        table.add_row(Text(shown(each.name)), rules, rate, fingerprint_of(each.certificate)[:16] + "…")
    out.print(table)


@client.command(epilog=LIMIT_EXAMPLES)
def limit(
    name: Annotated[str, typer.Argument(help="Name of the client.")],
    rate: Annotated[int | None, typer.Option(help=f"{RATE_HELP}.")] = None,
    no_rate: Annotated[bool, typer.Option("--no-rate", help="Do not limit it any more.")] = False,
    cluster: ClusterOption = None,
) -> None:
    """Say how many requests a second each server takes from a client; over that, it waits."""
    if (rate is None) != no_rate:
        raise typer.BadParameter("give either --rate or --no-rate")
    file = find_cluster_file(cluster)
    limit_client(file, name, rate)
    now = "as many requests as they can" if rate is None else f"{rate:,} requests a second each"
    say("By [green]{}[/] servers take {} from {}: bring it to every server.", file, now, name)


@client.command(epilog=ROTATE_EXAMPLES)
def rotate(
    name: Annotated[str, typer.Argument(help="Name of the client.")],
    finish: Annotated[bool, typer.Option("--finish", help="Take the old identity out.")] = False,
    cluster: ClusterOption = None,
    identity: Annotated[
        Path | None, typer.Option(help="Directory for the new identity. Default: client-NAME.new beside the file.")
    ] = None,
) -> None:
    """Give a client a new identity; the old one works on until you finish."""
    file = find_cluster_file(cluster)
    if finish:
        if identity is not None:
            raise typer.BadParameter("--finish makes no identity: leave --identity out")
        forget_old_client(file, name)
        say("[green]{}[/] knows the old identity of {} no more: bring it to every server.", file, name)
        return
    made = rotate_client(file, name, identity)
    say(
        "[green]{}[/] knows both identities of {}: bring it to every server (running ones read it by themselves).",
        file,
        name,
    )
    say(
        "[yellow]{}[/] is the new private identity: on the client's machine it takes the place of the old one.",
        made.directory,
    )
    say("What the old one has begun it ends itself: `resolve()` asks by the identity that made the call.")
    say("When nobody uses the old one any more:  fivefold client rotate {} --finish", name)


@client.command(epilog=REMOVE_EXAMPLES)
def remove(name: Annotated[str, typer.Argument(help="Name of the client.")], cluster: ClusterOption = None) -> None:
    """Take a client out of the cluster file: servers that read it end the client's connections."""
    file = find_cluster_file(cluster)
    remove_client(file, name)
    say("[green]{}[/] knows {} no more: bring it to every server (running ones read it by themselves).", file, name)
