"""``fivefold server``: replace a server that is lost, move one, and fetch the newest cluster file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from fivefold import ClusterStatus, connect
from fivefold.cli.loop import run
from fivefold.cli.options import ClusterOption, IdentityOption, find_cluster_file
from fivefold.cli.output import say
from fivefold.cli.servers import newest_status
from fivefold.cluster import (
    TWO_FILES,
    Configuration,
    edition_of,
    load_configuration,
    load_public,
    move_server,
    replace_server,
    save_configuration,
    server_at,
)
from fivefold.errors import ConfigurationError, Unavailable
from fivefold.upkeep import with_another_file

REPLACE_EXAMPLES: Final = """
**Examples**

`fivefold server replace 3`

`fivefold server replace 3 --address g.example:7000 --public g.public`

Server 3 has lost its disk, its host cannot be trusted any more, or its key is to be changed. Its identity never comes
back. Asks the other
servers first, and refuses if then more could be missing than may fail.
"""
MOVE_EXAMPLES: Final = "**Example**\n\n`fivefold server move 3 --address g.example:7000`: the same server and its data"
UPDATE_EXAMPLES: Final = "**Example**\n\n`fivefold server update --cluster prod/cluster.toml`"

ANSWER_S: Final = 3.0
"""How long servers have to say how they are."""

server = typer.Typer(
    name="server", help="Replace or move a server, fetch the newest cluster file.", no_args_is_help=True
)


@server.command(epilog=REPLACE_EXAMPLES)
def replace(
    index: Annotated[int, typer.Argument(help="Index of the server.")],
    address: Annotated[str | None, typer.Option(help="HOST:PORT of the new one, if not the old one's.")] = None,
    public: Annotated[Path | None, typer.Option(help="Public half of an identity that its owner has made.")] = None,
    cluster: ClusterOption = None,
    identity: IdentityOption = None,
    tls: Annotated[bool, typer.Option("--tls/--no-tls", hidden=True)] = True,
) -> None:
    """Make a new identity for a server, and the next edition of the cluster file, which has it."""
    file = find_cluster_file(cluster)
    old = load_configuration(file)
    server_at(old, index)
    half = None if public is None else load_public(public)
    status, newest = run(_ask(file, identity, tls))
    refuse_old_file(old, newest)
    refuse_too_many(status, index)
    new, made = replace_server(file, index, address=address, public=half)
    _say_who_gets_it(file, new, index)
    if made is not None:
        say("[yellow]{}[/]  is private: to {} and nowhere else, then delete it here", made, new.servers[index].host)
    name = "its new identity" if made is None else made.name
    say("There, with an empty folder for its data:  fivefold serve --cluster {} --identity {}", file.name, name)
    say("`fivefold status` shows how far it is. The old identity of server {} never comes back: delete it.", index)


@server.command(epilog=MOVE_EXAMPLES)
def move(
    index: Annotated[int, typer.Argument(help="Index of the server.")],
    address: Annotated[str, typer.Option(help="HOST:PORT where it will be.")],
    cluster: ClusterOption = None,
    identity: IdentityOption = None,
    tls: Annotated[bool, typer.Option("--tls/--no-tls", hidden=True)] = True,
) -> None:
    """Make the next edition of the cluster file, in which a server has another address; it keeps identity and data."""
    file = find_cluster_file(cluster)
    refuse_old_file(load_configuration(file), run(_ask(file, identity, tls))[1])
    new = move_server(file, index, address)
    _say_who_gets_it(file, new, index)
    say("If server {} changes its host: stop it, bring its identity and all its data there, and start it there.", index)
    say("If only its port changes, bring it the file: it moves by itself.")


@server.command(epilog=UPDATE_EXAMPLES)
def update(
    cluster: ClusterOption = None,
    identity: IdentityOption = None,
    tls: Annotated[bool, typer.Option("--tls/--no-tls", hidden=True)] = True,
) -> None:
    """Write the newest edition that the servers use into the cluster file; its clients and versions stay."""
    file = find_cluster_file(cluster)
    old = load_configuration(file)
    newest = run(_ask(file, identity, tls))[1]
    if newest.edition == old.edition:
        say("[green]{}[/] is of edition {}, the newest that the servers use.", file, old.edition)
        return
    save_configuration(file, newest, is_new=False)
    say("[green]{}[/] is of edition {} now; it was of edition {}.", file, newest.edition, old.edition)


async def _ask(file: Path, identity: str | None, tls: bool) -> tuple[ClusterStatus, Configuration]:
    """How the servers are, and the newest edition that b + 1 of them announce."""
    async with connect(file, identity=identity, connect_timeout=ANSWER_S, needs_quorum=False, tls=tls) as cluster:
        status = await newest_status(cluster, ANSWER_S)
        newest = cluster.configuration
        assert newest is not None, "a connection by a cluster file follows it"
        return status, newest


def refuse_old_file(old: Configuration, newest: Configuration) -> None:
    """An edition is made from the newest one: otherwise there would be two of one number."""
    if edition_of(newest) != edition_of(old):
        raise ConfigurationError(
            f"the servers use edition {newest.edition} of the cluster file and this one is of edition {old.edition}: "
            "run `fivefold server update` first"
        )


def refuse_too_many(status: ClusterStatus, index: int) -> None:
    """R9: a newcomer counts as one that fails until it is in standing, and t may fail."""
    others = [(each, server) for each, server in enumerate(status.servers) if each != index]
    down = [each for each, server in others if server is None]
    ahead = [each for each, server in others if server and server.place and not server.place.is_standing]
    apart = [each for each in with_another_file(status) if each != index]
    missing = len({*down, *ahead, *apart}) + 1
    if missing <= status.quorums.t:
        return
    reasons = [f"server {each} is down or cannot be reached" for each in down]
    reasons += [f"server {each} is still catching up" for each in ahead]
    reasons += [f"server {each} uses another file of this edition: {TWO_FILES}" for each in apart]
    raise Unavailable(
        f"{'; '.join(reasons)}: with server {index} {missing} would be missing, and {status.quorums.t} may be: wait "
        "until the others are up, in standing and of one file, or calls would stop"
    )


def _say_who_gets_it(file: Path, new: Configuration, index: int) -> None:
    say(
        "[green]{}[/] is edition {} now: copy it to all servers. Server {} and {} others are enough for a start: these "
        "hand it on to the rest and to running clients.",
        *(file, new.edition, index, new.quorums.b + 1),
    )
