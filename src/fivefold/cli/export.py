"""``fivefold export`` and ``fivefold import``: single objects as JSON."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Final

import typer

from fivefold import connect
from fivefold.api import Imported, export_object, import_object
from fivefold.cli.code import load_objects
from fivefold.cli.loop import run
from fivefold.cli.options import ClusterOption, IdentityOption, ObjectsOption, find_cluster_file
from fivefold.cli.output import say
from fivefold.errors import InvalidArguments
from fivefold.objects import Registry, state_from_json, state_to_json
from fivefold.protocol.operations import ObjectId
from fivefold.storage import BackupFile

EXPORT_EXAMPLES: Final = """
**Examples**

`fivefold export Counter/hits`

`fivefold export --objects names Names/a Names/b > names.json`

`fivefold export --backup /srv/backup Counter/hits`

Prints one JSON object a line. Your access rule must be `*`, since this goes past the object's own methods. States of
more than 1 MiB are exported from a backup alone.
"""
IMPORT_EXAMPLES: Final = """
**Examples**

`fivefold import names.json --objects names`

`fivefold export Counter/hits | fivefold import - --cluster other/cluster.toml`

An object that has been written already is left as it is, unless `--overwrite` is given. The first error ends the
import; what was imported before it stays.
"""

FILE_BYTES_MAX: Final = 64 * 1024 * 1024
"""What an import reads: some sixty objects of the greatest size."""

_TEXT: Final = re.compile(r"\S")


def export_command(
    names: Annotated[list[str], typer.Argument(help="Object ids, such as Counter/hits.")],
    cluster: ClusterOption = None,
    identity: IdentityOption = None,
    objects: ObjectsOption = None,
    backup: Annotated[Path | None, typer.Option(help="Take them from this backup, without a cluster.")] = None,
) -> None:
    """Print objects as JSON, one a line."""
    registry = load_objects(objects or [])
    if backup is not None:
        _export_from(backup, registry, names)
        return
    file = find_cluster_file(cluster)
    run(_export(file, identity, objects or [], names))


def _export_from(directory: Path, registry: Registry, names: Sequence[str]) -> None:
    with BackupFile(directory) as file:
        whole = file.whole_run()
        for name in names:
            found = file.version(whole, name)
            if found is None:
                raise InvalidArguments(f"{name} is not in the backup {directory}: check its id")
            print(state_to_json(registry, ObjectId(name), found.state), flush=True)


async def _export(file: Path, identity: str | None, modules: Sequence[str], names: Sequence[str]) -> None:
    async with connect(file, identity=identity, objects=modules) as cluster:
        for name in names:
            print(await export_object(cluster, name), flush=True)


def import_command(
    source: Annotated[str, typer.Argument(help="File that `fivefold export` has printed, or - for standard input.")],
    cluster: ClusterOption = None,
    identity: IdentityOption = None,
    objects: ObjectsOption = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the states of objects that exist.")] = False,
) -> None:
    """Write objects that were exported as JSON."""
    file = find_cluster_file(cluster)
    registry = load_objects(objects or [])
    texts = list(_documents(_read(source)))
    if not texts:
        raise InvalidArguments(f"{source} holds no object: name a file that `fivefold export` has printed")
    for text in texts:  # all of them before the first is written
        state_from_json(registry, text)
    run(_import(file, identity, objects or [], texts, overwrite))


async def _import(
    file: Path, identity: str | None, modules: Sequence[str], texts: Sequence[str], overwrite: bool
) -> None:
    async with connect(file, identity=identity, objects=modules) as cluster:
        for text in texts:
            name, done = await import_object(cluster, text, overwrites=overwrite)
            say("{}: {}", name, "written" if done is Imported.WRITTEN else "has this state already")


def _read(source: str) -> str:
    """The text of a file, or of standard input.

    Raises:
        InvalidArguments: it is too large, or no UTF-8.
    """
    if source == "-":
        data = sys.stdin.buffer.read(FILE_BYTES_MAX + 1)
    else:
        with Path(source).open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
    if len(data) > FILE_BYTES_MAX:
        raise InvalidArguments(f"{source} has more than {FILE_BYTES_MAX} bytes: import it in several files")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidArguments(f"{source} is not UTF-8 text: name a file that `fivefold export` has printed") from None


def _documents(text: str) -> Iterator[str]:
    """The JSON objects of a text, one after the other, whatever white space is between and in them."""
    decoder, at = json.JSONDecoder(), _next(text, 0)
    while at < len(text):
        try:
            _, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            line = text.count("\n", 0, at) + 1
            raise InvalidArguments(f"what begins in line {line} is no JSON ({error}): correct it") from None
        yield text[at:end]
        at = _next(text, end)


def _next(text: str, at: int) -> int:
    """Where the next character is that is no white space."""
    found = _TEXT.search(text, at)
    return len(text) if found is None else found.start()
