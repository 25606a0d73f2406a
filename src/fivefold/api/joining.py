"""``connect``: from a cluster file to a :class:`Cluster`, and on to the cluster that takes its place."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fivefold.api.cluster import CONNECT_S, DEADLINE_S, Cluster, CodeOf
from fivefold.api.proxies import check_seconds
from fivefold.cluster import (
    Configuration,
    Credentials,
    Identity,
    access_rules,
    client_id_of,
    edition_of,
    find_identity,
    load_configuration,
    load_identity,
)
from fivefold.errors import ConfigurationError, Unavailable
from fivefold.node import ClientNode, CodeTable
from fivefold.objects import Registry, standard_registry
from fivefold.protocol.client import Session
from fivefold.protocol.operations import ObjectId
from fivefold.protocol.quorums import QuorumSystem
from fivefold.transport import StreamTransport

if TYPE_CHECKING:  # an extra
    from fivefold.node.tracing import ClientTracer

PAUSE_S: Final = 1.0
"""After a vain attempt to reach the cluster that has taken the old one's place."""

log = logging.getLogger("fivefold.client")


@asynccontextmanager
async def connect(
    cluster: str | Path | Configuration = "cluster.toml",
    *,
    identity: str | Path | None = None,
    objects: Iterable[str] = (),
    deadline: float = DEADLINE_S,
    connect_timeout: float = CONNECT_S,
    needs_quorum: bool = True,
    follows: bool = True,
    tls: bool = True,
    tracer: object | None = None,
    helps: bool = True,
    judge: int = 0,
) -> AsyncIterator[Cluster]:
    """Connect to a cluster for the length of an ``async with`` block.

    Args:
        cluster: path of the cluster file.
        identity: directory of this client's identity, or the name of a client whose directory ``client-NAME`` lies
            beside the cluster file; by default the environment's FIVEFOLD_IDENTITY, else ``client-admin``.
        objects: names of modules whose object types to load; types handed to ``Cluster.object`` are registered anyway.
        deadline: seconds that a call may take.
        connect_timeout: seconds to wait for a quorum of servers.
        needs_quorum: False connects to the servers that answer within ``connect_timeout``, for diagnosis.
        follows: False stays with this cluster when it moves to another one, for diagnosis.
        tls: False for experiments on loopback only; the servers must do the same.
        tracer: one of OpenTelemetry's, which makes a span for each call and each of its rounds (``fivefold[otel]``).
        helps: False neither announces this client's waiting calls nor carries others' (docs/concepts/helping.md).
        judge: of what native code does, work each N-th round out in Python, too, and compare; 0: none.

    Raises:
        ConfigurationError: the cluster file or the identity cannot be used.
        InvalidArguments: the deadline or connect_timeout is no time.
        Unavailable: fewer servers than a quorum could be reached.
    """
    check_seconds(deadline)
    check_seconds(connect_timeout, "connect_timeout")
    configuration = cluster if isinstance(cluster, Configuration) else load_configuration(Path(cluster))
    own, credentials = _who_we_are(configuration, _identity_directory(cluster, identity))
    registry = standard_registry()
    for module in (objects,) if isinstance(objects, str) else objects:
        registry.load(module)
    joining = _Joining(configuration, own, tls=tls, tracer=tracer, helps=helps, judge=judge)
    if follows and needs_quorum:
        joining.node.follow(joining.begin)
    try:
        await joining.node.start(connect_timeout, needs_quorum=needs_quorum)
        found = Cluster(
            joining.node,
            registry,
            client=client_id_of(credentials.certificate),
            code_of=joining.code_of,
            deadline_s=deadline,
            may_call=_rights(configuration, credentials, registry),
        )
        joining.adopt = found.go_on_with
        yield found
    finally:
        await joining.close()


class _Joining:
    """A client's connections: to a cluster, and then to the one that takes its place (M4).

    The new one is connected before anything is handed over: until a quorum of its servers can be reached, calls go on
    with the old ones, which turn them away, and end there at their deadlines.

    Attributes:
        node: the connections in use.
        code_of: what code their calls name.
        adopt: hears of new ones.
    """

    def __init__(
        self,
        configuration: Configuration,
        identity: Identity,
        *,
        tls: bool,
        tracer: object | None,
        helps: bool,
        judge: int,
    ) -> None:
        self._judge_every = judge
        self._identity, self._tls, self._tracer, self._helps = identity, tls, tracer, helps
        self.node, self.code_of = self._made(configuration)
        self.adopt: Callable[[ClientNode, CodeOf], None] = _nobody
        self._tasks: set[asyncio.Task[None]] = set()

    def _made(self, configuration: Configuration) -> tuple[ClientNode, CodeOf]:
        edition = edition_of(configuration)
        credentials = Credentials(configuration, self._identity)
        session = Session(
            configuration.quorums,
            random.SystemRandom(),
            edition=edition,
            is_helping=self._helps,
            own=client_id_of(credentials.certificate),
        )
        if session.natively is not None:
            session.natively.judge_every = self._judge_every
        codes = CodeTable(configuration.quorums)
        transport = StreamTransport(credentials, tls=self._tls)
        tracing, member = _tracing(self._tracer, configuration.quorums), (configuration, self._identity)
        return ClientNode(session, transport, codes, member=member, tracer=tracing), codes.code_of

    def begin(self, new: Configuration) -> None:
        """The cluster in use has moved: go to the next one."""
        task = asyncio.get_running_loop().create_task(self._go(new))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _go(self, new: Configuration) -> None:
        log.warning("the cluster has moved: going on with cluster %s", new.cluster_id.hex())
        while True:
            node, code_of = self._made(new)
            try:
                await node.start(CONNECT_S)
                break
            except Unavailable as error:
                log.warning("the cluster has moved, and the new one cannot be reached: %s", error)
                await asyncio.sleep(PAUSE_S)
        old, self.node, self.code_of = self.node, node, code_of
        node.take_calls(old.give_calls_away())
        self.adopt(node, code_of)
        node.follow(self.begin)
        await old.close()

    async def close(self) -> None:
        """Disconnect."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.node.close()


def _nobody(node: ClientNode, code_of: CodeOf) -> None:
    """Nobody makes calls yet."""


def _who_we_are(configuration: Configuration, directory: Path) -> tuple[Identity, Credentials]:
    own = load_identity(directory)
    credentials = Credentials(configuration, own)
    if credentials.own_index is not None:  # the others would take us for that server, and never answer a call
        raise ConfigurationError(
            f"{directory} is the identity of server {credentials.own_index}: a client needs one of its own, "
            "make it with `fivefold client add`"
        )
    return own, credentials


def _tracing(tracer: object | None, quorums: QuorumSystem) -> ClientTracer | None:
    if tracer is None:
        return None
    from fivefold.node.tracing import ClientTracer

    return ClientTracer(tracer, quorums)


def _rights(
    configuration: Configuration, credentials: Credentials, registry: Registry
) -> Callable[[ObjectId, str], bool] | None:
    """What the cluster file at hand allows this client; None if it does not know the client, and the servers may."""
    client = configuration.client_of(credentials.certificate)
    return None if client is None else partial(access_rules(configuration, registry).allows, client.id)


def _identity_directory(cluster: str | Path | Configuration, identity: str | Path | None) -> Path:
    beside = Path("cluster.toml") if isinstance(cluster, Configuration) else Path(cluster)
    if identity is None:
        return find_identity(beside)
    if Path(identity).is_dir():
        return Path(identity)
    return find_identity(beside, str(identity))
