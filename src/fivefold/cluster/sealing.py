"""The editions of a cluster that moves to another size: sealed, open again, moved (M1, M4; ours).

A cluster of another n, t or b judges the same histories otherwise, so it cannot change in place. It is sealed, all
objects are copied into a new cluster, and the old one's last edition names that. Each function here writes the next
edition into the cluster file, whole or not at all; from there it reaches the servers like any other.

A cluster that was given up on is open again. So there could be two files of one number, one that has moved and one
that is open. Servers take one of them only, and a client goes to the new cluster when q servers have announced the
first: then fewer than q can take up the second, and nothing is ever written to both clusters.
"""

from __future__ import annotations

from pathlib import Path

from fivefold.cluster.configuration import Configuration, changed, load_configuration, save_configuration
from fivefold.cluster.editions import edition_of, encode_edition
from fivefold.cluster.setup import load_open, locked
from fivefold.errors import ConfigurationError
from fivefold.protocol.operations import ClientId


def seal_cluster(cluster_file: Path, mover: ClientId) -> Configuration:
    """Write the edition in which only ``mover`` may repair, and nobody may write.

    Raises:
        ConfigurationError: the cluster is sealed already, or the file cannot be used.
    """
    with locked(cluster_file):
        old = load_open(cluster_file)
        return _save(cluster_file, changed(old, edition=old.edition + 1, mover=mover))


def open_again(cluster_file: Path) -> Configuration:
    """Write the edition in which a sealed cluster is as it was before.

    Raises:
        ConfigurationError: it is not sealed, or has moved.
    """
    with locked(cluster_file):
        old = _load_sealed(cluster_file)
        return _save(cluster_file, changed(old, edition=old.edition + 1, mover=b""))


def hand_over(cluster_file: Path, sealed: Configuration, new: Configuration) -> Configuration:
    """Write the last edition of a cluster, which names the one that takes its place.

    Args:
        cluster_file: of the old cluster.
        sealed: the sealed edition under which the objects were copied.
        new: the new cluster.

    Raises:
        ConfigurationError: the file is of another edition by now.
    """
    with locked(cluster_file):
        old = _load_sealed(cluster_file)
        if edition_of(old) != edition_of(sealed):
            raise ConfigurationError(
                f"{cluster_file} is of another edition than the one under which the objects were copied: begin anew"
            )
        moved = changed(old, edition=old.edition + 1, successor=encode_edition(new))
        return _save(cluster_file, moved)


def _load_sealed(cluster_file: Path) -> Configuration:
    old = load_configuration(cluster_file)
    if old.successor:
        raise ConfigurationError("the cluster has moved to another one for good: use that one's cluster file")
    if not old.mover:
        raise ConfigurationError("the cluster is not sealed: nothing moves it at present")
    return old


def _save(cluster_file: Path, new: Configuration) -> Configuration:
    save_configuration(cluster_file, new, is_new=False)
    return new
