"""Test beds: clusters of real processes on this machine, made for one measurement and gone after it."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, TypeAlias

import msgspec
from msgspec import Struct

from fivefold.bench.results import Durability, Setting
from fivefold.bench.workers import Worker
from fivefold.cluster import (
    CLUSTER_FILE,
    LocalCluster,
    add_client,
    create_cluster,
    free_addresses,
    load_configuration,
    serve_command,
    server_directory,
)
from fivefold.errors import ConfigurationError
from fivefold.protocol.quorums import QuorumSystem

Command: TypeAlias = Callable[[int], Sequence[str]]
"""The command line of the server with an index."""

QUORUM: Final = "fivefold.bench.quorum:open_quorum"
FLOOR: Final = "fivefold.bench.echo:open_floor"
AGREEMENT: Final = "fivefold.bench.agreement_client:open_agreement"
HOSTILE: Final = "fivefold.bench.hostile:open_hostile"


class Bed(Struct, frozen=True, kw_only=True):
    """A system that runs and that client processes can open.

    Attributes:
        setting: what it is.
        cluster: its processes; None if somebody else started them.
        opener: how client processes connect ...
        options: ... and with what options.
    """

    setting: Setting
    cluster: LocalCluster | None
    opener: str
    options: dict[str, Any]

    @property
    def pids(self) -> dict[str, int]:
        """The process ids of the servers that run."""
        servers = self.cluster.servers if self.cluster else []
        return {f"server-{server.index}": server.pid for server in servers if server.pid is not None}

    def open_in(self, worker: Worker, name: str, **more: Any) -> None:  # noqa: ANN401 - options are JSON
        """Have a client process connect, with its own identity; ``more`` are further options."""
        identity = f"bench-{worker.seat.client}" if self.cluster else self.options.get("identity")
        worker.open(name, self.opener, {**self.options, "identity": identity, **more})


class Beds:
    """Starts systems under test; a context manager that stops them and removes their files.

    Attributes:
        directory: where the files are.
    """

    def __init__(self, parent: Path | None = None, *, clients: int = 1) -> None:
        """Put everything under ``parent``, or the system's directory for temporary files, for ``clients`` clients.

        Raises:
            ConfigurationError: nothing can be put there.
        """
        self._clients = clients
        self._stack = ExitStack()
        try:
            self.directory = Path(tempfile.mkdtemp(prefix="fivefold-bench-", dir=parent))
        except OSError as error:
            raise ConfigurationError(
                f"servers' files cannot be put in {parent or tempfile.gettempdir()} ({error.strerror}): "
                "name an existing directory with --dir"
            ) from error
        self._stack.callback(shutil.rmtree, self.directory, ignore_errors=True)
        self._count = 0

    def __enter__(self) -> Beds:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def fivefold(
        self,
        quorums: QuorumSystem,
        *,
        tls: bool = True,
        durable: bool = False,
        payload_bytes: int = 0,
        prefix: str = "bench",
        serve_options: Sequence[str] = (),
    ) -> Bed:
        """Fivefold: n processes of ``fivefold serve``."""
        directory = self._prepare(quorums)
        file = directory / CLUSTER_FILE

        def command(index: int) -> list[str]:
            identity = server_directory(directory, index)
            line = serve_command(file, identity=identity, data=directory / f"data-{index}", memory=not durable)
            return [*line, *([] if tls else ["--no-tls"]), *serve_options]

        return Bed(
            setting=_setting("Fivefold", quorums, tls, self._clients, is_durable=durable),
            cluster=self._start(quorums.n, command, directory),
            opener=QUORUM,
            options={"cluster": str(file), "tls": tls, "payload_bytes": payload_bytes, "prefix": prefix},
        )

    def existing(self, file: Path, *, identity: str | None, tls: bool, payload_bytes: int, prefix: str) -> Bed:
        """A cluster that somebody else has started."""
        setting = _setting("Fivefold", load_configuration(file).quorums, tls, self._clients, is_durable=False)
        return Bed(
            setting=msgspec.structs.replace(setting, durability="unknown"),
            cluster=None,
            opener=QUORUM,
            options={
                "cluster": str(file),
                "identity": identity,
                "tls": tls,
                "payload_bytes": payload_bytes,
                "prefix": prefix,
            },
        )

    def floor(self, q: int, *, tls: bool = True, request_bytes: int = 600, answer_bytes: int = 600) -> Bed:
        """The floor: q processes that echo."""
        quorums = QuorumSystem(q, 0, 0)
        directory = self._prepare(quorums)
        arguments = "tls" if tls else "clear"
        setting = _setting("floor", quorums, tls, self._clients, is_durable=False)
        return Bed(
            setting=setting,
            cluster=self._start(q, _module("fivefold.bench.echo", directory, arguments), directory),
            opener=FLOOR,
            options={
                "directory": str(directory),
                "tls": tls,
                "request_bytes": request_bytes,
                "answer_bytes": answer_bytes,
            },
        )

    def agreement(
        self, f: int, *, tls: bool = True, batching: bool = True, payload_bytes: int = 0, prefix: str = "bench"
    ) -> Bed:
        """The baseline: 3f + 1 replicas that agree."""
        quorums = QuorumSystem(3 * f + 1, f, 0)
        directory = self._prepare(quorums)
        command = _module(
            "fivefold.bench.agreement_node",
            directory,
            "tls" if tls else "clear",
            "batching" if batching else "single",
        )
        name = "agreement, batched" if batching else "agreement"
        setting = _setting(name, quorums, tls, self._clients, is_durable=False)
        return Bed(
            setting=msgspec.structs.replace(setting, b=f),
            cluster=self._start(quorums.n, command, directory),
            opener=AGREEMENT,
            options={"directory": str(directory), "tls": tls, "payload_bytes": payload_bytes, "prefix": prefix},
        )

    def peer(self, setting: Setting, command: Command, opener: str, options: dict[str, Any]) -> Bed:
        """Another system: ``command`` starts each of its n servers and prints ``ready INDEX NAME``."""
        self._count += 1
        cluster = self._start(setting.n, command, self.directory / f"bed-{self._count}")
        return Bed(setting=setting, cluster=cluster, opener=opener, options=options)

    def _prepare(self, quorums: QuorumSystem) -> Path:
        """A directory with a cluster file and an identity for every client process."""
        self._count += 1
        directory = self.directory / f"bed-{self._count}"
        create_cluster(directory, free_addresses(quorums.n), t=quorums.t, b=quorums.b)
        for client in range(self._clients):
            add_client(directory / CLUSTER_FILE, f"bench-{client}", ["*"])
        return directory

    def _start(self, n: int, command: Command, directory: Path) -> LocalCluster:
        cluster = LocalCluster(n, command, directory / "logs")
        self._stack.enter_context(cluster)
        return cluster


def _module(module: str, directory: Path, *arguments: str) -> Command:
    return lambda index: [sys.executable, "-P", "-m", module, str(directory), str(index), *arguments]


def _setting(system: str, quorums: QuorumSystem, tls: bool, clients: int, *, is_durable: bool) -> Setting:
    durability: Durability = "none" if system == "floor" else "disk" if is_durable else "memory"
    n, t, b = quorums.n, quorums.t, quorums.b
    return Setting(system=system, n=n, t=t, b=b, tls=tls, durability=durability, clients=clients)
