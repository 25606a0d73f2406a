"""``fivefold init --deploy``: files that run a cluster's servers under systemd, with Compose or on Kubernetes.

They are made for one cluster, and are yours to change: no command reads them again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Final, TypeAlias

from fivefold.cli.deploy import compose, kubernetes, systemd
from fivefold.cluster import Configuration, split_address

Files: TypeAlias = dict[str, str]
"""Texts by their paths below the cluster's directory."""


class Deployment(StrEnum):
    """Where servers run."""

    SYSTEMD = "systemd"
    COMPOSE = "compose"
    KUBERNETES = "kubernetes"


_MAKERS: Final[Mapping[Deployment, Callable[[Configuration, Sequence[str]], Files]]] = {
    Deployment.SYSTEMD: systemd.files,
    Deployment.COMPOSE: compose.files,
    Deployment.KUBERNETES: kubernetes.files,
}


def deployment_files(deployment: Deployment, configuration: Configuration, objects: Sequence[str]) -> Files:
    """What to write below the directory of the cluster's files.

    Args:
        deployment: where the servers run.
        configuration: of the cluster.
        objects: modules with the object types that they serve.

    Raises:
        ConfigurationError: the servers' addresses do not fit it.
    """
    return _MAKERS[deployment](configuration, objects)


def check_addresses(deployment: Deployment, addresses: Sequence[str]) -> None:
    """Refuse addresses that do not fit, before anything is made.

    Raises:
        ConfigurationError: the text says how to write them.
    """
    if deployment is Deployment.KUBERNETES:
        kubernetes.places_of([split_address(address)[0] for address in addresses])


def write_files(directory: Path, files: Files) -> None:
    """Write them; their directories are made."""
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
