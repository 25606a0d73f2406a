"""``fivefold client``: who may call the cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer
from rich.table import Table

from fivefold.cli.options import ClusterOption, JsonOption, find_cluster_file
from fivefold.cli.output import out, print_json
from fivefold.cluster import add_client, fingerprint_of, load_configuration, remove_client

ADD_EXAMPLES: Final = """
**Examples**

`fivefold client add shop --allow 'Counter:increment' --allow 'Register/price-*:@query'`

`fivefold client add auditor --allow '*:@query'`

A rule is OBJECTS or OBJECTS:METHODS. OBJECTS is a type or Type/key, METHODS a name, @query or @update; * stands for
any characters. Running servers read the changed cluster file within a second: bring it to each of them.
"""
LIST_EXAMPLES: Final = "**Example**\n\n`fivefold client list --cluster prod/cluster.toml`"
REMOVE_EXAMPLES: Final = "**Example**\n\n`fivefold client remove shop`, and bring the cluster file to every server"

client = typer.Typer(name="client", help="Add, list and remove clients.", no_args_is_help=True)


@client.command(epilog=ADD_EXAMPLES)
def add(
    name: Annotated[str, typer.Argument(help="Name of the client, for people.")],
    allow: Annotated[list[str], typer.Option(help="Rule on what it may do; can be given several times.")],
    cluster: ClusterOption = None,
    identity: Annotated[
        Path | None, typer.Option(help="Directory for its identity. Default: client-NAME beside the file.")
    ] = None,
) -> None:
    """Make an identity for a new client and enter it in the cluster file."""
    file = find_cluster_file(cluster)
    made = add_client(file, name, allow, identity)
    out.print(f"[green]{file}[/] now knows {name}: bring it to every server (running ones read it by themselves).")
    out.print(f"[yellow]{made.directory}[/] is its private identity: it belongs on the client's machine alone.")


@client.command(name="list", epilog=LIST_EXAMPLES)
def list_clients(cluster: ClusterOption = None, json: JsonOption = False) -> None:
    """List the clients and their rules."""
    clients = load_configuration(find_cluster_file(cluster)).clients
    if json:
        print_json([{"name": c.name, "allow": c.rules, "fingerprint": fingerprint_of(c.certificate)} for c in clients])
        return
    table = Table("client", "may", "fingerprint of its certificate")
    for each in clients:
        table.add_row(each.name, "\n".join(each.rules), fingerprint_of(each.certificate)[:16] + "…")
    out.print(table)


@client.command(epilog=REMOVE_EXAMPLES)
def remove(name: Annotated[str, typer.Argument(help="Name of the client.")], cluster: ClusterOption = None) -> None:
    """Take a client out of the cluster file: servers that read it end the client's connections."""
    file = find_cluster_file(cluster)
    remove_client(file, name)
    out.print(f"[green]{file}[/] knows {name} no more: bring it to every server (running ones read it by themselves).")
