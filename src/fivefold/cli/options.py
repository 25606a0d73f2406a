"""Options that several commands have, and how a command finds its cluster."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer
from msgspec import Struct

from fivefold.errors import ConfigurationError

CLUSTER_FILE: Final = "cluster.toml"
LOCAL_DIRECTORY: Final = Path("fivefold-cluster")
"""Where ``fivefold up`` keeps its cluster unless told otherwise, and where other commands look for one."""

LOCAL_FILE: Final = "local.json"

ClusterOption = Annotated[
    Path | None,
    typer.Option(
        help=f"The cluster file. Default: {CLUSTER_FILE} here or in {LOCAL_DIRECTORY}.", envvar="FIVEFOLD_CLUSTER"
    ),
]
IdentityOption = Annotated[
    str | None,
    typer.Option(help="Who you are: a client's name, or the directory of its identity.", envvar="FIVEFOLD_IDENTITY"),
]
ObjectsOption = Annotated[
    list[str] | None, typer.Option(help="Python module with your object types; can be given several times.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


class Local(Struct, frozen=True, forbid_unknown_fields=True):
    """What ``fivefold up`` notes beside its cluster file, so that calls need not be told again.

    Attributes:
        objects: modules with object types.
        directory: where they are found, besides where Python looks anyway.
    """

    objects: tuple[str, ...]
    directory: str


def find_cluster_file(given: Path | None) -> Path:
    """The cluster file to use.

    Raises:
        ConfigurationError: the one that was named does not exist; none was named and none is in the usual places.
    """
    if given is not None:
        file = given / CLUSTER_FILE if given.is_dir() else given
        if not file.exists():
            raise ConfigurationError(f"the cluster file {file} does not exist: name another one with --cluster")
        return file
    places = (Path(CLUSTER_FILE), LOCAL_DIRECTORY / CLUSTER_FILE)
    for place in places:
        if place.exists():
            return place
    raise ConfigurationError(
        f"neither {places[0]} nor {places[1]} exists: name one with --cluster, or make one with `fivefold up`"
    )


def object_modules(cluster_file: Path, given: Sequence[str] | None) -> list[str]:
    """The modules with object types, made importable: those given, else those that ``fivefold up`` was given.

    Raises:
        ConfigurationError: the note of ``fivefold up`` cannot be read.
    """
    local = local_modules(cluster_file, given)
    if local.objects and local.directory not in sys.path:
        sys.path.append(local.directory)
    return list(local.objects)


def local_modules(cluster_file: Path, given: Sequence[str] | None) -> Local:
    """The modules given, which are found here; else those noted, with the place where they were found.

    Raises:
        ConfigurationError: the note cannot be read.
    """
    file = cluster_file.parent / LOCAL_FILE
    if given or not file.exists():
        return Local(tuple(given or ()), os.getcwd())
    try:
        return msgspec.json.decode(file.read_bytes(), type=Local)
    except (OSError, msgspec.DecodeError, UnicodeError) as error:
        raise ConfigurationError(f"{file} cannot be read ({error}): delete it, and use --objects") from error


def note_local(cluster_file: Path, local: Local) -> None:
    """Note the modules for later calls."""
    (cluster_file.parent / LOCAL_FILE).write_bytes(msgspec.json.encode(local) + b"\n")
