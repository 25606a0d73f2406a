"""The same API for programs without an event loop: calls block until they have their answer.

The event loop runs in a thread of its own, so several threads may share one cluster.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Generic, ParamSpec, TypeVar, cast

from fivefold.api.cluster import Cluster, ClusterStatus, connect
from fivefold.api.proxies import Remote, methods_of
from fivefold.errors import CallerError, OutcomeUnknown
from fivefold.node import CLOSED
from fivefold.objects import Object

T = TypeVar("T", bound=Object)
P = ParamSpec("P")
R = TypeVar("R")


class LoopThread:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        """Start the thread."""
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="fivefold", daemon=True)
        self._stopping = threading.Lock()
        self._is_stopped = False
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, R]) -> R:
        """Run a coroutine there and wait for what it returns.

        Raises:
            CallerError: the thread has ended, so the coroutine would never run.
        """
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

        return OutcomeUnknown(str(unknown), lambda: self.run(resolve()))

    def stop(self) -> None:
        """End the thread; what other threads still wait for ends first."""
        with self._stopping:
            self._is_stopped = True
        asyncio.run_coroutine_threadsafe(_others_end(), self.loop).result()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


class BlockingRemote(Generic[T]):
    """A replicated object whose methods block: ``remote.increment(by=2)``.

    Its methods take and return what those of its class do, so type checkers may take it for an object of that class.
    It has no fields: its state is on the servers.
    """

    __slots__ = ("_remote", "_thread")

    def __init__(self, thread: LoopThread, remote: Remote[T]) -> None:
        """Made by ``BlockingCluster.object``."""
        self._thread, self._remote = thread, remote

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """A method of the class, to be called on the servers.

        Raises:
            UnknownMethod: the class has no query or update of this name.
        """
        method = self._remote.__getattr__(name)  # not what a Remote has besides

        def call(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
            async def run() -> Any:  # noqa: ANN401
                return await method(*args, **kwargs)

            return self._thread.run(run())

        call.__name__ = name
        return call

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

    def status(self, *, timeout: float = 2.0) -> ClusterStatus:
        """Ask every server about itself."""
        return self._thread.run(self._cluster.status(timeout=timeout))


def _unwrapped(value: object) -> object:
    return value._remote if isinstance(value, BlockingRemote) else value


@contextmanager
def connect_blocking(cluster: str | Path = "cluster.toml", **options: Any) -> Iterator[BlockingCluster]:  # noqa: ANN401
    """Connect for the length of a ``with`` block; takes the options of :func:`fivefold.connect`.

    Raises:
        ConfigurationError: the cluster file or the identity cannot be used.
        Unavailable: fewer servers than a quorum could be reached.
    """
    thread = LoopThread()
    try:
        manager = connect(cluster, **options)
        connected = thread.run(_enter(manager))
        try:
            yield BlockingCluster(thread, connected)
        finally:
            thread.run(_leave(manager))
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
