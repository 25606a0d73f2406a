"""The same API for programs without an event loop: calls block until they have their answer.

The event loop runs in a thread of its own, so several threads may share one cluster.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager
from inspect import Signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, NoReturn, ParamSpec, TypeVar, cast

from fivefold.api.cluster import Cluster
from fivefold.api.conditions import ClusterStatus
from fivefold.api.joining import connect
from fivefold.api.proxies import Remote, RemoteMethod, methods_of
from fivefold.errors import CallerError, OutcomeUnknown
from fivefold.node import CLOSED
from fivefold.objects import Object

T = TypeVar("T", bound=Object)
P = ParamSpec("P")
R = TypeVar("R")


class LoopThread:
    """An event loop in a thread of its own; in the process that made it, no other."""

    def __init__(self) -> None:
        """Start the thread."""
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="fivefold", daemon=True)
        self._stopping = threading.Lock()
        self._is_stopped = False
        self._process = os.getpid()
        self._thread.start()

    @property
    def is_here(self) -> bool:
        """Whether this is the process whose thread it is: a forked child has none."""
        return os.getpid() == self._process

    def run(self, coroutine: Coroutine[Any, Any, R]) -> R:
        """Run a coroutine there and wait for what it returns.

        Raises:
            CallerError: the thread has ended or is another process's, so the coroutine would never run.
        """
        if not self.is_here:
            coroutine.close()
            raise CallerError("this connection belongs to the parent process, and nothing was sent: connect here, too")
        with self._stopping:
            if self._is_stopped:
                coroutine.close()
                raise CallerError(CLOSED)
            future = asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        try:
            return future.result()
        except OutcomeUnknown as unknown:
            raise self._blocking(unknown) from unknown
        except KeyboardInterrupt:
            future.cancel()
            raise

    def _blocking(self, unknown: OutcomeUnknown) -> OutcomeUnknown:
        """The same exception, whose ``resolve()`` blocks and returns the result itself."""

        async def resolve() -> Any:  # noqa: ANN401
            return await unknown.resolve()

        return OutcomeUnknown(str(unknown), lambda: self.run(resolve()), call_id=unknown.call_id)

    def stop(self) -> None:
        """End the thread; what other threads still wait for ends first. Again, or elsewhere, it does nothing."""
        if not self.is_here:
            return
        with self._stopping:
            if self._is_stopped:
                return
            self._is_stopped = True
        asyncio.run_coroutine_threadsafe(_others_end(), self.loop).result()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


class BlockingMethod(Generic[P, R]):
    """A method of a replicated object: ``hits.increment(by=2)``, which blocks."""

    def __init__(self, thread: LoopThread, method: RemoteMethod[P, R]) -> None:
        """Made by ``BlockingRemote``."""
        self.__name__, self.__doc__ = method.__name__, method.__doc__
        self._thread, self._method = thread, method

    @property
    def __signature__(self) -> Signature:
        """As the class declares it, without ``self``."""
        return self._method.__signature__

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run it on the servers."""

        async def run() -> R:
            return await self._method(*args, **kwargs)

        return self._thread.run(run())

    def new_id(self) -> str:
        """An id for one call of this update; see :meth:`fivefold.RemoteMethod.new_id`."""

        async def make() -> str:
            return self._method.new_id()

        return self._thread.run(make())

    def with_id(self, call_id: str, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run this update under an id; see :meth:`fivefold.RemoteMethod.with_id`."""

        async def run() -> R:
            return await self._method.with_id(call_id, *args, **kwargs)

        return self._thread.run(run())

    def __repr__(self) -> str:
        """Object, name and signature."""
        return repr(self._method).replace("<remote", "<blocking remote")


class BlockingRemote(Generic[T]):
    """A replicated object whose methods block: ``remote.increment(by=2)``.

    Its methods take and return what those of its class do, so type checkers may take it for an object of that class.
    It has no fields: its state is on the servers.
    """

    __slots__ = ("_remote", "_thread")

    _thread: LoopThread
    _remote: Remote[T]

    def __init__(self, thread: LoopThread, remote: Remote[T]) -> None:
        """Made by ``BlockingCluster.object``."""
        object.__setattr__(self, "_thread", thread)
        object.__setattr__(self, "_remote", remote)

    def __getattr__(self, name: str) -> BlockingMethod[..., Any]:
        """A method of the class, to be called on the servers.

        Raises:
            UnknownMethod: the class has no query or update of this name.
        """
        return BlockingMethod(self._thread, self._remote.__getattr__(name))  # not what a Remote has besides

    if not TYPE_CHECKING:

        def __setattr__(self, name: str, value: object) -> NoReturn:
            """Refuse it: the state is on the servers."""
            self._remote.__setattr__(name, value)

        def __delattr__(self, name: str) -> NoReturn:
            """Refuse that, too."""
            self._remote.__delattr__(name)

    def __reduce__(self) -> NoReturn:
        """Refuse it: the connection cannot leave its process."""
        self._remote.__reduce__()

    def __dir__(self) -> list[str]:
        """The queries and updates, too."""
        return [*super().__dir__(), *methods_of(self._remote)]

    def __repr__(self) -> str:
        """Type and key."""
        return f"Blocking{self._remote!r}"


class BlockingCluster:
    """A connection to all servers; made by :func:`connect_blocking`."""

    def __init__(self, thread: LoopThread, cluster: Cluster) -> None:
        """Wrap a connected cluster."""
        self._thread, self._cluster = thread, cluster

    def object(self, cls: type[T], key: str, *, deadline: float | None = None) -> T:
        """The replicated object of this type and key; see :meth:`fivefold.Cluster.object`.

        Returns:
            a :class:`BlockingRemote`, which type checkers take for an object of the class, since it has its methods.
        """
        remote = BlockingRemote(self._thread, self._cluster.object(cls, key, deadline=deadline))
        return cast(T, remote)

    def call(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a function over several objects; see :meth:`fivefold.Cluster.call`."""
        plain = [_unwrapped(value) for value in args]
        named = {name: _unwrapped(value) for name, value in kwargs.items()}
        return self._thread.run(self._cluster.call(function, *plain, **named))

    def new_id(self, function: Callable[..., Any], *objects: Any) -> str:  # noqa: ANN401
        """An id for one call of an update over several objects; see :meth:`fivefold.Cluster.new_id`."""

        async def make() -> str:
            return self._cluster.new_id(function, *map(_unwrapped, objects))

        return self._thread.run(make())

    def call_with_id(self, call_id: str, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Like :meth:`call`, under an id; see :meth:`fivefold.Cluster.call_with_id`."""
        plain = [_unwrapped(value) for value in args]
        named = {name: _unwrapped(value) for name, value in kwargs.items()}
        return self._thread.run(self._cluster.call_with_id(call_id, function, *plain, **named))

    def resolve(self, call_id: str, *, deadline: float | None = None) -> Any:  # noqa: ANN401
        """Find out, definitely, what became of an update; see :meth:`fivefold.Cluster.resolve`."""
        return self._thread.run(self._cluster.resolve(call_id, deadline=deadline))

    def pending(self) -> tuple[str, ...]:
        """Ids of updates whose fate is open; see :meth:`fivefold.Cluster.pending`."""
        return self._cluster.pending()

    def status(self, *, timeout: float = 2.0) -> ClusterStatus:
        """Ask every server about itself."""
        return self._thread.run(self._cluster.status(timeout=timeout))


def _unwrapped(value: object) -> object:
    return value._remote if isinstance(value, BlockingRemote) else value


class connect_blocking(AbstractContextManager[BlockingCluster]):  # noqa: N801 - called like the function connect
    """Connect for the length of a ``with`` block; takes the options of :func:`fivefold.connect`.

    A program that never leaves the block ends all the same. The connection belongs to the process that made it: a
    forked child makes its own.

    Raises:
        ConfigurationError: the cluster file or the identity cannot be used.
        InvalidArguments: the deadline or connect_timeout is no time.
        Unavailable: fewer servers than a quorum could be reached.
    """

    def __init__(self, cluster: str | Path = "cluster.toml", **options: Any) -> None:  # noqa: ANN401
        """Nothing is opened yet."""
        self._connect = connect(cluster, **options)
        self._thread: LoopThread | None = None

    def __enter__(self) -> BlockingCluster:
        """Connect."""
        self._thread = thread = LoopThread()
        try:
            cluster = thread.run(_enter(self._connect))
        except BaseException:
            thread.stop()
            raise
        atexit.register(self._close)
        return BlockingCluster(thread, cluster)

    def __exit__(self, *_: object) -> None:
        """Disconnect."""
        atexit.unregister(self._close)
        self._close()

    def _close(self) -> None:
        thread, self._thread = self._thread, None
        if thread is None or not thread.is_here:
            return
        try:
            thread.run(_leave(self._connect))
        finally:
            thread.stop()


async def _others_end() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


async def _enter(manager: Any) -> Cluster:  # noqa: ANN401
    cluster: Cluster = await manager.__aenter__()
    return cluster


async def _leave(manager: Any) -> None:  # noqa: ANN401
    await manager.__aexit__(None, None, None)
