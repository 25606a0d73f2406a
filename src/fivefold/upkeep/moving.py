"""A cluster that is moved to other servers, of another number or for another t or b (M1 to M4; ours).

Six steps, each of which leaves something durable, so that the same call continues after any interruption:

1. copy     objects are copied while the cluster works: most of them need not be copied again
2. seal     the sealed edition is in the cluster file; q servers have to announce it
3. settle   every object is repaired and read until q servers agree on it, and copied; the backup is sealed
4. make     the new cluster's files and data are made from it
5. start    q of the new servers have to run
6. switch   the last edition of the old cluster names the new one; q servers have to announce it

What reaches servers and hosts is brought there by operators, by whatever means they have: this waits for it.

Up to step 6 the old cluster can be opened again. Nothing that it has acknowledged is in danger at any time: it stays
as it is, and the copy is only used once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from enum import Enum
from pathlib import Path
from typing import Final

from msgspec import Struct

from fivefold.api import connect
from fivefold.cluster import (
    CLUSTER_FILE,
    Configuration,
    Credentials,
    Identity,
    PublicHalf,
    client_id_of,
    edition_of,
    format_configuration,
    hand_over,
    load_configuration,
    open_again,
    parse_configuration,
    seal_cluster,
    split_address,
    successor_of,
)
from fivefold.errors import BackupError, ConfigurationError, Unavailable
from fivefold.node import Inquiry
from fivefold.protocol.editions import EditionName
from fivefold.protocol.quorums import QuorumSystem
from fivefold.storage import BackupFile, Run
from fivefold.transport import StreamTransport
from fivefold.upkeep.backing import back_up
from fivefold.upkeep.restoring import check_backup, restore_cluster

CONNECT_S: Final = 5.0
"""How long an attempt to reach servers may take."""

LOOK_S: Final = 0.2
"""How often it is looked whether enough servers have what they need."""


class Step(Enum):
    """What is being done."""

    COPY = "copying while the cluster works"
    SEAL = "sealing"
    SETTLE = "copying the sealed cluster"
    MAKE = "making the new servers"
    START = "waiting for the new servers"
    SWITCH = "handing over"
    OPEN = "opening again"


class Told(Struct, frozen=True):
    """How a move gets on.

    Attributes:
        step: what is being done.
        count: objects copied or made so far; or servers that have what they need.
        total: how many there are to be; None if that is not known.
        missing: servers that are waited for.
    """

    step: Step
    count: int
    total: int | None = None
    missing: tuple[int, ...] = ()


Tell = Callable[[Told], None]


class Plan(Struct, frozen=True):
    """A move to be made.

    Attributes:
        file: the old cluster's file.
        directory: for the new cluster's files.
        addresses: of the new servers.
        t: how many of them may fail.
        b: how many of these may lie.
        publics: public halves of identities that owners have made, by index.
        identity: the mover's: a client that may do everything.
        tls: False for experiments on loopback.
        patience_s: how long servers are waited for.
    """

    file: Path
    directory: Path
    addresses: Sequence[str]
    t: int
    b: int
    publics: Mapping[int, PublicHalf]
    identity: Identity
    tls: bool = True
    patience_s: float = 600.0

    @property
    def copy(self) -> Path:
        """Where the copy of all objects is kept."""
        return self.directory.with_name(f"{self.directory.name}.copy")


def check_plan(plan: Plan) -> Configuration:
    """What can be told before a server is asked; returns the old cluster.

    Raises:
        ConfigurationError: the plan cannot be carried out.
    """
    old = load_configuration(plan.file)
    QuorumSystem(len(plan.addresses), plan.t, plan.b)
    own = old.client_of(plan.identity.certificate)
    if own is None or "*" not in own.rules:
        raise ConfigurationError(
            "the mover reads and repairs every object: use the identity of a client whose access rule is `*`"
        )
    if old.mover and old.mover != own.id:
        raise ConfigurationError(
            f"the cluster is sealed for the client {_name_of(old, old.mover)}: go on with that identity, or give it up"
        )
    places = [split_address(address) for address in plan.addresses]
    if len(set(places)) != len(places):
        raise ConfigurationError("an address is given twice: each server needs its own")
    taken = {(server.host, server.port): server.index for server in old.servers}
    for place, address in zip(places, plan.addresses, strict=True):
        if place in taken:
            raise ConfigurationError(
                f"{address} is the address of server {taken[place]} of the old cluster, which runs on until all "
                "clients have followed: name another port or host"
            )
    if any(old.server_of(half.certificate) for half in plan.publics.values()):
        raise ConfigurationError("a server of the old cluster cannot serve the new one: make it a new identity")
    made = load_configuration(plan.directory / CLUSTER_FILE) if plan.directory.exists() else None
    if made is not None and not old.mover:
        raise ConfigurationError(
            f"{plan.directory} exists already, maybe of a move that was given up: move it away, or name another one"
        )
    if made is not None:
        _check_made(plan, made)
    successor = successor_of(old)
    if successor is not None and (made is None or made.cluster_id != successor.cluster_id):
        raise ConfigurationError("the cluster has moved already, and not to this directory: use its new cluster file")
    return old


def _name_of(configuration: Configuration, mover: bytes) -> str:
    return next((each.name for each in configuration.clients if each.id == mover), mover.hex())


def _check_made(plan: Plan, new: Configuration) -> None:
    """A new cluster that has been made is the one that is asked for."""
    is_same = [server.address for server in new.servers] == [*plan.addresses] and (new.quorums.t, new.quorums.b) == (
        plan.t,
        plan.b,
    )
    if not is_same:
        raise ConfigurationError(
            f"{plan.directory} holds a cluster of other servers: name the same ones, or another directory"
        )


async def check_health(plan: Plan, old: Configuration) -> None:
    """Whether the old cluster can be moved now.

    Raises:
        ConfigurationError: the servers use a newer edition of the cluster file.
        Unavailable: fewer than q servers answer, can write, and are in standing.
    """
    async with _asking(plan, old, needs_quorum=False, connect_s=CONNECT_S) as inquiry:
        servers = range(old.quorums.n)
        found = await asyncio.gather(*(inquiry.status(server) for server in servers))
        newer = max([name.number for name in inquiry.announced.values()], default=0)
        if sum(name.number == newer for name in inquiry.announced.values()) > old.quorums.b and newer > old.edition:
            raise ConfigurationError(
                f"the servers use edition {newer} of the cluster file and this one is of edition {old.edition}: run "
                "`fivefold server update` first"
            )
        reasons = []
        for server, status in zip(servers, found, strict=True):
            if status is None:
                reasons.append(f"server {server} does not answer")
            elif status.storage_failure:
                reasons.append(f"server {server} cannot write ({status.storage_failure})")
            elif status.place is not None and not status.place.is_standing:
                reasons.append(f"server {server} is still catching up")
        if old.quorums.n - len(reasons) < old.quorums.q:
            raise Unavailable(
                f"{'; '.join(reasons)}: {old.quorums.q} of the {old.quorums.n} servers are needed, and nothing was "
                "sealed: start the others, or wait for them"
            )


async def move(plan: Plan, told: Tell = lambda told: None) -> Configuration:
    """Move a cluster; called again, it continues where it was. Returns the new cluster.

    Raises:
        ConfigurationError: the plan cannot be carried out.
        BackupError: the copy cannot be read or written.
        Unavailable: servers that are needed did not answer, or did not get a file, in time.
    """
    old = check_plan(plan)
    if not old.successor:
        with BackupFile(plan.copy, creates=True) as copy:
            if not old.mover:
                await check_health(plan, old)
                await _copy(plan, old, copy, told)
                old = seal_cluster(plan.file, client_id_of(plan.identity.certificate))
            if not _is_copied(copy, old):
                await _until_announced(plan, old, Step.SEAL, told)
                await _copy(plan, old, copy, told)
            new = await _make(plan, copy, told)
            await _until_announced(plan, new, Step.START, told)
            old = hand_over(plan.file, old, new)
    await _until_announced(plan, old, Step.SWITCH, told)
    return load_configuration(plan.directory / CLUSTER_FILE)


async def give_up(plan: Plan, told: Tell = lambda told: None) -> Configuration:
    """Open a sealed cluster again; returns its edition. What was made of the new one must not be used.

    Raises:
        ConfigurationError: it is not sealed, or has moved.
        BackupError: a mover is at work.
        Unavailable: too few servers have got the file in time.
    """
    if plan.copy.exists():
        with BackupFile(plan.copy, creates=True):  # a mover has it open as long as it runs
            new = open_again(plan.file)
    else:
        new = open_again(plan.file)
    await _until_announced(plan, new, Step.OPEN, told)
    return new


# --- the steps --------------------------------------------------------------------------------------------------------


async def _copy(plan: Plan, old: Configuration, copy: BackupFile, told: Tell) -> None:
    last = copy.last_run()
    total = None if last is None else last.objects
    is_sealed = bool(old.mover)
    step = Step.SETTLE if is_sealed else Step.COPY

    def tell(run: Run, count: int) -> None:
        told(Told(step, count, total))

    told(Told(step, 0, total))
    async with (
        connect(old, identity=plan.identity.directory, follows=False, tls=plan.tls) as cluster,
        _asking(plan, old, only=edition_of(old).name) as inquiry,
    ):
        await back_up(
            cluster,
            inquiry,
            copy,
            cluster_id=old.cluster_id.hex(),
            cluster_file=format_configuration(old),
            passes_max=1,
            is_sealed=is_sealed,
            told=tell,
        )


def _is_copied(copy: BackupFile, old: Configuration) -> bool:
    """Whether the copy was finished under this very seal."""
    last = copy.last_run()
    if last is None or last.finished is None:
        return False
    return edition_of(parse_configuration(copy.cluster_file)) == edition_of(old)


async def _make(plan: Plan, copy: BackupFile, told: Tell) -> Configuration:
    total = copy.whole_run().objects

    def tell(server: int, count: int) -> None:
        told(Told(Step.MAKE, count, total))

    if not plan.directory.exists():
        check_backup(copy)
        publics, t, b = plan.publics, plan.t, plan.b
        await restore_cluster(copy, plan.directory, plan.addresses, t=t, b=b, publics=publics, told=tell)
    new = load_configuration(plan.directory / CLUSTER_FILE)
    if new.imported != copy.whole_run().list_digest:
        raise BackupError(
            f"{plan.directory} was made from another copy of the cluster: its servers have not run for anybody yet, so "
            "move it away, and run the same command again"
        )
    return new


async def _until_announced(plan: Plan, configuration: Configuration, step: Step, told: Tell) -> None:
    """Wait until q servers announce this edition.

    Raises:
        Unavailable: they did not in time; names the others.
    """
    name, quorums = edition_of(configuration).name, configuration.quorums
    loop = asyncio.get_running_loop()
    end_s = loop.time() + plan.patience_s
    async with _asking(plan, configuration, only=name, needs_quorum=False, connect_s=LOOK_S) as inquiry:
        while True:
            missing = tuple(server for server in range(quorums.n) if server not in inquiry.up)
            told(Told(step, quorums.n - len(missing), quorums.n, missing))
            if quorums.n - len(missing) >= quorums.q:
                return
            if loop.time() >= end_s:
                raise Unavailable(_what_is_missing(plan, configuration, step, missing))
            await asyncio.sleep(LOOK_S)


def _what_is_missing(plan: Plan, configuration: Configuration, step: Step, missing: Sequence[int]) -> str:
    servers, q = ", ".join(map(str, missing)), configuration.quorums.q
    if step is Step.START:
        return f"the new servers {servers} do not run yet, and {q} have to: start them, and run the same command again"
    return (
        f"servers {servers} do not use edition {configuration.edition} yet, and {q} have to: bring them "
        f"{plan.file}, and run the same command again"
    )


@asynccontextmanager
async def _asking(
    plan: Plan,
    configuration: Configuration,
    *,
    only: EditionName | None = None,
    needs_quorum: bool = True,
    connect_s: float = CONNECT_S,
) -> AsyncIterator[Inquiry]:
    """Connections of the mover to servers, or only to those that use an edition."""
    credentials = Credentials(configuration, plan.identity)
    inquiry = Inquiry(configuration.quorums, StreamTransport(credentials, tls=plan.tls))
    inquiry.only = only
    await inquiry.start(connect_s, needs_quorum=needs_quorum)
    try:
        yield inquiry
    finally:
        await inquiry.close()
