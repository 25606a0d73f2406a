"""Where the objects live: behind one small interface, a Fivefold cluster, or plain memory without replication."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol, TypeVar

from fivefold import (
    NOT_APPLIED,
    Cluster,
    NonDeterministicObject,
    Object,
    ObjectError,
    OutcomeUnknown,
    Remote,
    TooLarge,
    Unavailable,
    Upgrading,
)
from fivefold.gateways.nfs.codes import Status
from fivefold.gateways.nfs.limits import HINTS_MAX, RESOLVE_PAUSE_S
from fivefold.gateways.nfs.objects import Refused

Ref = tuple[type[Object], str]
"""A type and a key."""

R = TypeVar("R")

LATER: Final = Refused(int(Status.JUKEBOX))


class Applied(Exception):
    """An update was made, and its answer was too long to be remembered until a quorum was back."""


class Store(Protocol):
    """Runs functions over objects, each call wholly or not at all."""

    async def call(self, function: Callable[..., R], objects: Sequence[Ref], **arguments: Any) -> R:  # noqa: ANN401
        """Run ``function``, marked ``@query`` or ``@update``, over these objects.

        Raises:
            Rejected: by the function; nothing changed.
            Refused: with JUKEBOX if too few servers answer; nothing changed.
            Applied: it was made, and its answer is not known.
        """
        ...


class MemoryStore:
    """Plain objects in this process: what a test compares with, and what a benchmark measures against.

    A function checks before it changes anything, so its rejection needs no way back.
    """

    def __init__(self) -> None:
        """Empty."""
        self.objects: dict[Ref, Object] = {}

    async def call(self, function: Callable[..., R], objects: Sequence[Ref], **arguments: Any) -> R:  # noqa: ANN401
        """See :class:`Store`."""
        assert len(set(objects)) == len(objects), "a cluster refuses one object twice"
        found = []
        for ref in objects:
            known = self.objects.get(ref)
            if known is None:
                known = self.objects[ref] = ref[0]()
            found.append(known)
        return function(*found, **arguments)


class ClusterStore:
    """Replicated objects.

    An update whose fate is unknown is followed up until it is known, however long a quorum is missing: an answer that
    said "try again" would have the client make a second update.
    """

    def __init__(self, cluster: Cluster) -> None:
        """Keep the objects in ``cluster``."""
        self._cluster = cluster
        self._remotes: dict[Ref, Remote[Any]] = {}

    async def call(self, function: Callable[..., R], objects: Sequence[Ref], **arguments: Any) -> R:  # noqa: ANN401
        """See :class:`Store`."""
        try:
            return await self._cluster.call(function, *map(self._remote, objects), **arguments)
        except OutcomeUnknown as unknown:
            return await self._follow_up(unknown)  # type: ignore[no-any-return]
        except (Unavailable, Upgrading):
            raise LATER from None
        except TooLarge:
            raise Refused(int(Status.NOSPC)) from None
        except (ObjectError, NonDeterministicObject) as error:
            raise Refused(int(Status.SERVERFAULT)) from error

    def _remote(self, ref: Ref) -> Remote[Any]:
        remote = self._remotes.get(ref)
        if remote is None:
            if len(self._remotes) >= HINTS_MAX:
                self._remotes.clear()
            remote = self._remotes[ref] = self._cluster.object(*ref)
        return remote

    async def _follow_up(self, unknown: OutcomeUnknown) -> Any:  # noqa: ANN401
        while True:
            if unknown.call_id is None:  # nobody will ever say more
                raise (Applied() if unknown.is_applied else Refused(int(Status.IO))) from None
            try:
                answer = await unknown.resolve()
            except OutcomeUnknown as still:
                unknown = still
            except (Unavailable, Upgrading):
                pass
            else:
                if answer is NOT_APPLIED:
                    raise LATER
                return answer
            await asyncio.sleep(RESOLVE_PAUSE_S)


class PatientStore:
    """A store whose calls wait for a quorum, for programs that nobody would tell to come back."""

    def __init__(self, store: Store, seconds: float) -> None:
        """Wait at most this number of seconds for each call."""
        self._store, self._seconds = store, seconds

    async def call(self, function: Callable[..., R], objects: Sequence[Ref], **arguments: Any) -> R:  # noqa: ANN401
        """See :class:`Store`."""
        deadline = asyncio.get_running_loop().time() + self._seconds
        while True:
            try:
                return await self._store.call(function, objects, **arguments)
            except Refused as refused:
                if refused.args[0] != Status.JUKEBOX or asyncio.get_running_loop().time() >= deadline:
                    raise
            await asyncio.sleep(RESOLVE_PAUSE_S)
