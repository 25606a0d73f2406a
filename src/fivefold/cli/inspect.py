"""``fivefold inspect``: looks into a server's data directory, beside a running server or after it."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Annotated, Final

import typer

from fivefold.cli.exits import Exit
from fivefold.cli.options import JsonOption
from fivefold.cli.output import bytes_text, err, print_json, say, shown, to_json
from fivefold.errors import DataDirectoryError
from fivefold.storage import DATABASE_NAME, Inspector

EXAMPLES: Final = """
**Examples**

`fivefold inspect server-0.data`

`fivefold inspect server-0.data --ids | head`

`fivefold inspect server-0.data --check`: reads everything; exit code 5 if something is damaged
"""


def inspect(
    data: Annotated[Path, typer.Argument(help="Data directory of a server.")],
    ids: Annotated[bool, typer.Option("--ids", help="List the ids of all objects.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Read everything and verify its checksums.")] = False,
    json: JsonOption = False,
) -> None:
    """Show what a data directory holds, without changing it."""
    path = data / DATABASE_NAME if data.is_dir() else data
    if not path.is_file():
        raise DataDirectoryError(f"{path} does not exist: name the data directory of a server")
    try:
        with Inspector(path) as inspector:
            if ids:
                for object_id in inspector.all_object_ids():
                    print(to_json(object_id) if json else shown(object_id))
                return
            _summary(inspector, json=json)
            problems = inspector.check() if check else []
    except sqlite3.DatabaseError as error:
        text, name = " ".join(str(error).split()), getattr(error, "sqlite_errorname", "")
        if isinstance(error, sqlite3.OperationalError) or name == "SQLITE_NOTADB":
            raise DataDirectoryError(f"{path} cannot be read ({text}): name the data directory of a server") from error
        raise DataDirectoryError(f"{path} is damaged ({text}): look at an undamaged copy") from error
    for problem in problems:
        say("[red]damaged[/]: {}", problem, to=err)
    if problems:
        raise typer.Exit(Exit.FAILED)
    if check and not json:
        say("[green]whole[/]: every checksum is right")


def _summary(inspector: Inspector, *, json: bool) -> None:
    content = {**inspector.meta(), "objects": inspector.count(), "bytes": inspector.bytes_used()}
    if json:
        print_json(content)
        return
    for name, value in content.items():
        say("{}  {}", f"{name:>12}", bytes_text(int(value)) if name == "bytes" else value)
