"""Options that several commands have, and how a command finds its cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from fivefold.errors import ConfigurationError

CLUSTER_FILE: Final = "cluster.toml"
LOCAL_DIRECTORY: Final = Path("fivefold-cluster")
"""Where ``fivefold up`` keeps its cluster unless told otherwise, and where other commands look for one."""

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
    list[str] | None,
    typer.Option(help="Python module with your object types; can be given several times.", envvar="FIVEFOLD_OBJECTS"),
]
# `fivefold bench run` has the same ones: it cannot import these.
FaultsOption = Annotated[int | None, typer.Option("--faults", min=0, help="t = b = FAULTS at once.")]
ServersOption = Annotated[int | None, typer.Option("-n", "--n", min=1, help="Servers. Default: 3 t + 2 b + 1.")]
FaultyOption = Annotated[int | None, typer.Option("-t", "--t", min=0, help="How many may fail.  [default: 1]")]
LyingOption = Annotated[int | None, typer.Option("-b", "--b", min=0, help="How many of those may lie. Default: all.")]
RateOption = Annotated[
    int | None,
    typer.Option(min=1, help="Objects a second, at most. Default: what the servers give beside their clients."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


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
