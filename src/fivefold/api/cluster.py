"""``connect`` and ``Cluster``: how programs reach replicated objects, with asyncio."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final, ParamSpec, TypeVar

from msgspec import Struct

from fivefold.api.outcomes import answer_of, still_unknown
from fivefold.api.proxies import Remote, check_seconds, deadline_of, id_of, split_arguments
from fivefold.cluster import Configuration, Credentials, access_rules, find_identity, load_configuration, load_identity
from fivefold.errors import ConfigurationError, InvalidArguments, NotAllowed, Unavailable
from fivefold.node import ClientNode, CodeTable, ServerStatus, failures_text
from fivefold.objects import Object, Registry, standard_registry
from fivefold.protocol.client import Answered, Evidence, QueueFull, Session, TimedOut
from fivefold.protocol.operations import CANCEL, VALUE, Call, ObjectId, Operation
from fivefold.protocol.quorums import QuorumSystem
from fivefold.transport import StreamTransport

DEADLINE_S: Final = 10.0
"""How long a call may take if nothing else is said."""

CONNECT_S: Final = 10.0
"""How long to wait for a quorum of servers at the start."""

CodeOf = Callable[[tuple[ObjectId, ...], str], bytes]
"""What code a call of a method on these objects names."""

T = TypeVar("T", bound=Object)
P = ParamSpec("P")
R = TypeVar("R")


class ClusterStatus(Struct, frozen=True):
    """The cluster as this client sees it.

    Attributes:
        quorums: n, t, b and what follows from them.
        servers: what each server says about itself; None for those that did not answer.
        evidence: what speaks against which server.
        failures: why a server is not connected, for each that is not.
    """

    quorums: QuorumSystem
    servers: tuple[ServerStatus | None, ...]
    evidence: tuple[Evidence, ...]
    failures: dict[int, str]


class Cluster:
    """A connection to all servers of a cluster; made by :func:`connect`.

    Attributes:
        registry: the object types and functions this program can call.
    """

    def __init__(
        self,
        node: ClientNode,
        registry: Registry,
        *,
        code_of: CodeOf | None = None,
        deadline_s: float = DEADLINE_S,
        may_call: Callable[[ObjectId, str], bool] | None = None,
    ) -> None:
        """Wrap a started node.

        ``code_of`` says what code a call names, by default that of the registry; ``may_call`` what this client's access
        rules cover, if that is known.
        """
        self.registry = registry
        self._code_of = registry.shelf.code_of if code_of is None else code_of
        self._node = node
        self._deadline_s = deadline_s
        self._may_call = may_call

    def object(self, cls: type[T], key: str, *, deadline: float | None = None) -> Remote[T]:
        """The replicated object of this type and key; it need not exist before: its state is then the default.

        Args:
            cls: the object's class; the servers must have loaded it too (``--objects``).
            key: which of them: 1 to about 250 printable characters.
            deadline: seconds that each call may take.

        Raises:
            InvalidArguments: not an Object class, or a key or deadline that cannot be one.
        """
        self.registry.register(cls)
        return Remote(self, cls, key, deadline)

    async def call(self, function: Callable[..., R], *args: Any, **kwargs: Any) -> R:  # noqa: ANN401
        """Run a function over several objects, atomically: all of them change, or none.

        Args:
            function: marked ``@update`` or ``@query``; parameters annotated with an Object type take remote objects.
            args: its arguments in order, remote objects and plain ones.
            kwargs: the rest by name.

        Raises:
            InvalidArguments: wrong arguments, the same object twice, or more objects than the limit.
            Rejected: one of the methods refused; nothing changed on any object.
            OutcomeUnknown, Unavailable: as for methods of one object.
        """
        method = self.registry.function(function)
        remotes, values = split_arguments(method.title, method.signature, args, kwargs)
        objects = tuple([id_of(remote) for remote in remotes])
        if len(set(objects)) != len(objects):
            raise InvalidArguments(f"{method.name} got the same object twice: each parameter needs another object")
        deadline_s = next((d for d in map(deadline_of, remotes) if d is not None), None)
        return await self.invoke(objects, method.name, (), values, deadline_s)  # type: ignore[no-any-return]

    async def invoke(
        self,
        objects: tuple[ObjectId, ...],
        method: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        deadline_s: float | None,
    ) -> Any:  # noqa: ANN401
        """Run a method of a remote object; proxies call this."""
        found = self.registry.find(objects, method)
        arguments = found.encode_arguments(args, kwargs)
        if self._may_call is not None:
            for name in objects:
                if not self._may_call(name, method):
                    raise NotAllowed(
                        f"your access rules do not cover {method!r} of {name!r}: ask for a rule (fivefold client add), "
                        "or connect again with the cluster file that has it"
                    )
        operation = Operation(objects, (Call(os.urandom(16), 0, method, arguments),), self._code_of(objects, method))
        patience_s = self._deadline_s if deadline_s is None else deadline_s
        try:
            future = self._node.call(operation, is_query=not found.is_update, deadline_s=patience_s)
        except QueueFull:
            raise Unavailable("too many calls of this client wait already: await some before starting more") from None
        try:
            outcome = await future
        except asyncio.CancelledError:
            self._node.give_up(future)
            raise
        if isinstance(outcome, Answered) and outcome.answers[0].startswith(VALUE):  # nearly always
            return self.registry.decode_answer(objects, method, outcome.answers[0])

        def resolve(since: int) -> Awaitable[Any]:
            # A deadline of one round trip is too short to find out what became of a call that had it.
            return self._resolve(operation, since, max(patience_s, self._deadline_s))

        try:
            return answer_of(self.registry, objects, method, outcome, resolve)
        except Unavailable as error:
            reasons = failures_text(self._node.failures)
            raise Unavailable(f"{error} ({reasons})" if reasons else str(error)) from None

    async def _resolve(self, lost: Operation, since: int, deadline_s: float) -> Any:  # noqa: ANN401
        """One update that finds the lost call in the ring, or makes sure that it never will be applied (§6)."""
        call = lost.calls[0]
        cancel = Call(os.urandom(16), since, CANCEL, call.id)
        operation = Operation(lost.objects, (cancel,))

        def again(*_: int) -> Awaitable[Any]:
            return self._resolve(lost, since, deadline_s)

        try:
            future = self._node.call(operation, is_query=False, deadline_s=deadline_s, is_fixed=True)
        except QueueFull:
            raise still_unknown(lost, again) from None
        try:
            outcome = await future
        except asyncio.CancelledError:
            self._node.give_up(future)
            raise
        if isinstance(outcome, TimedOut):
            # Also if asking changed nothing: that says nothing about the call, and Unavailable would say "call again".
            raise still_unknown(lost, again)
        return answer_of(self.registry, lost.objects, call.method, outcome, again)

    # --- for the operator -------------------------------------------------------------------------------------

    async def status(self, *, timeout: float = 2.0) -> ClusterStatus:  # noqa: ASYNC109 (a duration, not a scope)
        """Ask every server about itself, and add what this client holds against them."""
        quorums = self._node.session.knowledge.quorums
        servers = await asyncio.gather(*(self._node.status(server, timeout) for server in range(quorums.n)))
        return ClusterStatus(quorums, tuple(servers), self.evidence(), self._node.failures)

    def evidence(self) -> tuple[Evidence, ...]:
        """What this client holds against which server."""
        return tuple(self._node.session.knowledge.evidence())

    @property
    def requests_sent(self) -> int:
        """Request frames sent so far: five for each update in the good case of n = 6."""
        return self._node.session.messages_sent


@asynccontextmanager
async def connect(
    cluster: str | Path | Configuration = "cluster.toml",
    *,
    identity: str | Path | None = None,
    objects: Iterable[str] = (),
    deadline: float = DEADLINE_S,
    connect_timeout: float = CONNECT_S,
    needs_quorum: bool = True,
    tls: bool = True,
) -> AsyncIterator[Cluster]:
    """Connect to a cluster for the length of an ``async with`` block.

    Args:
        cluster: path of the cluster file.
        identity: directory of this client's identity, or the name of a client whose directory ``client-NAME`` lies
            beside the cluster file; by default the environment's FIVEFOLD_IDENTITY, else ``client-admin``.
        objects: names of modules whose object types to load; types handed to ``Cluster.object`` are registered anyway.
        deadline: seconds that a call may take.
        connect_timeout: seconds to wait for a quorum of servers.
        needs_quorum: False connects to whoever is there within ``connect_timeout``, to find out what is wrong.
        tls: False for experiments on loopback only; the servers must do the same.

    Raises:
        ConfigurationError: the cluster file or the identity cannot be used.
        InvalidArguments: the deadline or connect_timeout is no time.
        Unavailable: fewer servers than a quorum could be reached.
    """
    check_seconds(deadline)
    check_seconds(connect_timeout, "connect_timeout")
    configuration = cluster if isinstance(cluster, Configuration) else load_configuration(Path(cluster))
    directory = _identity_directory(cluster, identity)
    credentials = Credentials(configuration, load_identity(directory))
    if credentials.own_index is not None:  # the others would take us for that server, and never answer a call
        raise ConfigurationError(
            f"{directory} is the identity of server {credentials.own_index}: a client needs one of its own, "
            "make it with `fivefold client add`"
        )
    registry = standard_registry()
    for module in (objects,) if isinstance(objects, str) else objects:
        registry.load(module)
    session = Session(configuration.quorums, random.SystemRandom())
    codes = CodeTable(configuration.quorums)
    node = ClientNode(session, StreamTransport(credentials, tls=tls), codes)
    await node.start(connect_timeout, needs_quorum=needs_quorum)
    try:
        may_call = _rights(configuration, credentials, registry)
        yield Cluster(node, registry, code_of=codes.code_of, deadline_s=deadline, may_call=may_call)
    finally:
        await node.close()


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
