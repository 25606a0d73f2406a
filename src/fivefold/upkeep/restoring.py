"""A backup as the start of a new cluster.

Never of the old one: its servers have promised what they accepted after the backup, and one that forgets lies.

Each object begins with one candidate: the version in the backup under its old timestamp, complete on all servers, as if
a method had just been accepted by all of them. So the version keeps its number and its recent calls, times go on from
where they were, and `resolve()` of a call of the old cluster finds it. Nothing else is special: such a cluster is read,
repaired and copied like any other.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from fivefold.cluster import (
    CLUSTER_FILE,
    Configuration,
    Identity,
    PublicHalf,
    create_cluster,
    load_configuration,
    load_identity,
    make_private_directory,
    parse_configuration,
    server_directory,
)
from fivefold.errors import BackupError, ConfigurationError, PeerViolation
from fivefold.protocol.actions import Write
from fivefold.protocol.history import INITIAL_TIMESTAMP, encode_history
from fivefold.protocol.operations import ObjectId
from fivefold.protocol.records import Candidate, Entry, LogicalTimestamp, Part
from fivefold.protocol.server import decode_version, rows_of
from fivefold.storage import BackupFile, Run, fill_data, is_filled

UNFINISHED: Final = ".unfinished"
PLAN_FILE: Final = "restore.json"

Told = Callable[[int, int], None]
"""Hears which server's data are being made, and how many objects they have so far."""


class _Plan(msgspec.Struct, frozen=True):
    """What a restore that was begun is to make."""

    backup: str
    addresses: list[str]
    t: int
    b: int
    given: list[int]


def check_backup(file: BackupFile, told: Callable[[int], None] = lambda count: None) -> Run:
    """The finished run of a backup that is whole.

    Raises:
        BackupError: it is not.
    """
    problems = file.check(told)
    if problems:
        raise BackupError(problems[0])
    return file.whole_run()


async def restore_cluster(
    file: BackupFile,
    directory: Path,
    addresses: Sequence[str],
    *,
    t: int,
    b: int,
    publics: Mapping[int, PublicHalf],
    told: Told = lambda server, count: None,
) -> Configuration:
    """Make a new cluster that begins with a backup: cluster file, identities, and each server's data.

    It has the clients, access rules and active versions of the old one. An interrupted restore continues when it is
    called again with the same arguments; the directory appears when all is done.

    Args:
        file: the backup, which has been checked.
        directory: for all of it; must not exist.
        addresses: of the new servers.
        t: how many may fail.
        b: how many of these may lie.
        publics: public halves of identities that exist, by index: for these servers no data are made here.
        told: hears how it gets on.

    Raises:
        ConfigurationError: as for a new cluster; or another restore into this directory was begun.
        BackupError: the backup cannot be read.
        DataDirectoryError: the data cannot be written.
    """
    run = file.whole_run()
    assert run.list_digest is not None, "it is finished"
    old = _old(file)
    plan = _Plan(run.list_digest.hex(), list(addresses), t, b, sorted(publics))
    unfinished = directory.with_name(directory.name + UNFINISHED)
    configuration = _begun(directory, unfinished, plan)
    if configuration is None:
        configuration = create_cluster(
            unfinished, addresses, t=t, b=b, publics=publics, successor_of=old, imported=run.list_digest
        )
    for server in configuration.servers:
        if server.index not in publics:
            identity = load_identity(server_directory(unfinished, server.index))
            data = identity.directory.with_name(f"{identity.directory.name}.data")
            if not is_filled(data):
                await _fill(file, run, configuration, identity, data, partial(told, server.index))
    (unfinished / PLAN_FILE).unlink()
    unfinished.rename(directory)
    return configuration


async def restore_server(
    file: BackupFile,
    configuration: Configuration,
    identity: Identity,
    data: Path,
    *,
    told: Told = lambda server, count: None,
) -> int:
    """Make the data of one server of a new cluster, on its own host; returns its index.

    Args:
        file: the backup, which has been checked.
        configuration: of the new cluster.
        identity: of the server.
        data: for its data; must not exist.
        told: hears how it gets on.

    Raises:
        BackupError: the backup is of this very cluster.
        ConfigurationError: the identity is not that of a server of the cluster.
        DataDirectoryError: the server has data, or they cannot be written.
    """
    if configuration.cluster_id.hex() == file.cluster:
        raise BackupError(
            "the backup is of this very cluster, whose servers must not go back to an older state: make a new cluster "
            "of it with `fivefold restore BACKUP DIR --server …`"
        )
    run = file.whole_run()
    if configuration.imported and configuration.imported != run.list_digest:
        raise BackupError(
            f"the new cluster begins with list {configuration.imported.hex()}, and this backup is another one: use a "
            "copy of the backup that the cluster was made from"
        )
    entry = configuration.server_of(identity.certificate)
    if entry is None:
        raise ConfigurationError(
            f"the identity in {identity.directory} is not that of a server of this cluster file: use its own directory"
        )
    await _fill(file, run, configuration, identity, data, lambda count: told(entry.index, count))
    return entry.index


def _old(file: BackupFile) -> Configuration:
    """The cluster that the backup is of."""
    try:
        return parse_configuration(file.cluster_file)
    except ConfigurationError as error:
        raise BackupError(f"the cluster file in the backup cannot be used ({error}): use another backup") from error


def _begun(directory: Path, unfinished: Path, plan: _Plan) -> Configuration | None:
    """The cluster file of a restore that was interrupted and meant the same; None to begin."""
    if directory.exists():
        raise ConfigurationError(f"{directory} exists already: name a new directory for the new cluster")
    path = unfinished / PLAN_FILE
    if path.exists():
        try:
            is_same = msgspec.json.decode(path.read_bytes(), type=_Plan) == plan
        except msgspec.MsgspecError:
            is_same = True  # it was killed while it wrote this, so there is nothing else yet
        if not is_same:
            raise ConfigurationError(
                f"{unfinished} is of another restore that was not finished: remove it to begin this one"
            )
        if (unfinished / CLUSTER_FILE).exists():
            return load_configuration(unfinished / CLUSTER_FILE)
        shutil.rmtree(unfinished)
    elif unfinished.exists() and any(unfinished.iterdir()):
        raise ConfigurationError(f"{unfinished} exists already: move it away, it is where the restore is made")
    make_private_directory(unfinished)
    path.write_bytes(msgspec.json.encode(plan))
    return None


async def _fill(
    file: BackupFile,
    run: Run,
    configuration: Configuration,
    identity: Identity,
    data: Path,
    told: Callable[[int], None],
) -> None:
    cluster, writes = configuration.cluster_id.hex(), _writes(file, run, told)
    assert run.list_digest is not None, "it is finished"
    await fill_data(data, identity.directory, cluster, identity.fingerprint, run.list_digest, writes)


def _writes(file: BackupFile, run: Run, told: Callable[[int], None]) -> Iterator[Write]:
    """What a server stores of each object."""
    for count, (copied, data) in enumerate(file.objects(run), 1):
        try:
            version = decode_version(data)
        except PeerViolation as violation:
            raise BackupError(
                f"the version of {copied.object_id} cannot be read ({violation}): use another backup"
            ) from (None)
        name, timestamp = ObjectId(copied.object_id), LogicalTimestamp(copied.timestamp)
        candidate = Candidate(timestamp, (Part(name, INITIAL_TIMESTAMP, None),))
        yield Write(name, encode_history((Entry(candidate, False),)), rows_of({timestamp: version}))
        told(count)
