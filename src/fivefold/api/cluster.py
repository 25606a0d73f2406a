"""``Cluster``: how programs reach replicated objects, with asyncio."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, ParamSpec, TypeVar, overload

from msgspec.structs import replace

from fivefold.api.callids import CallId, new_id, parse
from fivefold.api.conditions import ClusterStatus, ask_all
from fivefold.api.outcomes import NOT_APPLIED, answer_of, still_unknown
from fivefold.api.proxies import Remote, TypedRemote, check_seconds, class_of, deadline_of, id_of, split_arguments
from fivefold.cluster import Configuration
from fivefold.errors import (
    CallerError,
    InvalidArguments,
    NotAllowed,
    OutcomeUnknown,
    Unavailable,
)
from fivefold.node import ClientNode, Inquiry, failures_text
from fivefold.objects import Object, Registry
from fivefold.protocol.client import Answered, Disagreed, Evidence, Outcome, QueueFull, TimedOut
from fivefold.protocol.operations import CALL_ID_BYTES, CANCEL, VALUE, Call, ClientId, ObjectId, Operation
from fivefold.protocol.quorums import QuorumSystem
from fivefold.protocol.times import pack_time

DEADLINE_S: Final = 10.0
"""How long a call may take if nothing else is said."""

PENDING_MAX: Final = 1024
"""Ids of updates whose fate is open that a connection keeps."""

ELSEWHERE: Final = (
    "this connection belongs to another event loop, and nothing was sent: connect in the loop and the process that "
    "make the calls, or share one of connect_blocking() between threads"
)
"""What a call gets that is made where the connection does not live."""

NOBODY: Final = ClientId(bytes(16))
"""The client of connections that resolve no calls but their own."""

CONNECT_S: Final = 10.0
"""How long to wait for a quorum of servers at the start."""

CodeOf = Callable[[tuple[ObjectId, ...], str], bytes]
"""What code a call of a method on these objects names."""

T = TypeVar("T", bound=Object)
Typed = TypeVar("Typed", bound=TypedRemote[Any])
P = ParamSpec("P")
R = TypeVar("R")


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
        client: ClientId = NOBODY,
        code_of: CodeOf | None = None,
        deadline_s: float = DEADLINE_S,
        may_call: Callable[[ObjectId, str], bool] | None = None,
    ) -> None:
        """Wrap a started node, in its event loop.

        Args:
            node: the connections.
            registry: what can be called.
            client: whose they are.
            code_of: what code a call names; by default that of the registry.
            deadline_s: how long a call may take if nothing else is said.
            may_call: what this client's access rules cover, if that is known here.
        """
        self.registry = registry
        self._code_of = registry.shelf.code_of if code_of is None else code_of
        self._node = node
        self._client = client
        self._deadline_s = deadline_s
        self._may_call = may_call
        self._loop = asyncio.get_running_loop()
        self._pending: dict[str, None] = {}

    def go_on_with(self, node: ClientNode, code_of: CodeOf) -> None:
        """The cluster has moved: make calls over the connections to the one that has taken its place."""
        self._node, self._code_of = node, code_of

    @overload
    def object(self, cls: type[Typed], key: str, *, deadline: float | None = None) -> Typed: ...

    @overload
    def object(self, cls: type[T], key: str, *, deadline: float | None = None) -> Remote[T]: ...

    def object(self, cls: Any, key: str, *, deadline: float | None = None) -> TypedRemote[Any]:
        """The replicated object of this type and key; it need not exist before: its state is then the default.

        Args:
            cls: the object's class, which the servers must have loaded, too (``--objects``); or a subclass of
                ``TypedRemote[cls]``, for type checkers.
            key: which of them: 1 to about 250 printable characters.
            deadline: seconds that each call may take.

        Raises:
            InvalidArguments: not an Object class, or a key or deadline that cannot be one.
        """
        if isinstance(cls, type) and issubclass(cls, TypedRemote):
            found = class_of(cls)
            self.registry.register(found)
            return cls(self, found, key, deadline)
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
        objects, method, values, deadline_s = self._split(function, args, kwargs)
        return await self.invoke(objects, method, (), values, deadline_s)  # type: ignore[no-any-return]

    def _split(
        self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[ObjectId, ...], str, dict[str, Any], float | None]:
        method = self.registry.function(function)
        remotes, values = split_arguments(method.title, method.signature, args, kwargs)
        objects = tuple([id_of(remote) for remote in remotes])
        if len(set(objects)) != len(objects):
            raise InvalidArguments(f"{method.name} got the same object twice: each parameter needs another object")
        deadline_s = next((d for d in map(deadline_of, remotes) if d is not None), None)
        return objects, method.name, values, deadline_s

    async def invoke(
        self,
        objects: tuple[ObjectId, ...],
        method: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        deadline_s: float | None,
        call_id: str | None = None,
    ) -> Any:  # noqa: ANN401
        """Run a method of a remote object; proxies call this."""
        if asyncio.get_running_loop() is not self._loop:
            raise CallerError(ELSEWHERE)
        found = self.registry.find(objects, method)
        arguments = found.encode_arguments(args, kwargs)
        if self._may_call is not None:
            self._check_rights(self._may_call, objects, method)
        if call_id is None:
            call = Call(os.urandom(CALL_ID_BYTES), 0, method, arguments)
        else:
            given = self._own(call_id, objects, method)
            call = Call(given.id, given.since, method, arguments)
        operation = Operation(objects, (call,), self._code_of(objects, method))
        patience_s = self._deadline_s if deadline_s is None else deadline_s
        try:
            future = self._node.call(
                operation, is_query=not found.is_update, deadline_s=patience_s, is_fixed=call_id is not None
            )
        except QueueFull:
            raise Unavailable("too many calls of this client wait already: await some before starting more") from None
        try:
            outcome = await future
        except asyncio.CancelledError:
            self._note_lost(objects, call, self._node.give_up(future), is_update=found.is_update)
            raise
        if isinstance(outcome, Answered) and outcome.answers[0].startswith(VALUE):  # nearly always
            return self.registry.decode_answer(objects, method, outcome.answers[0])

        def unknown(text: str, since: int) -> OutcomeUnknown:
            lost = CallId(self._client, objects, method, call.id, pack_time(since))
            self._note(lost)
            # A deadline of one round trip is too short to find out what became of a call that had it.
            patient_s = max(patience_s, self._deadline_s)
            return OutcomeUnknown(text, lambda: self._resolve(lost, patient_s), call_id=str(lost))

        try:
            answer = answer_of(self.registry, objects, method, outcome, unknown)
        except Unavailable as error:
            reasons = failures_text(self._node.failures)
            raise Unavailable(f"{error} ({reasons})" if reasons else str(error)) from None
        if answer is NOT_APPLIED and call_id is not None:
            raise CallerError(f"{method} under this id was resolved as never to be applied: make a new id to call it")
        return answer

    async def run_operation(self, operation: Operation, *, is_query: bool) -> Outcome:
        """What became of an operation of your own making; :meth:`invoke` is for calls of methods.

        Raises:
            Unavailable: too many calls of this client wait already.
        """
        try:
            future = self._node.call(operation, is_query=is_query, deadline_s=self._deadline_s)
        except QueueFull:
            raise Unavailable("too many calls of this client wait already: await some before starting more") from None
        return await future

    def code_of(self, object_id: ObjectId) -> bytes:
        """What names the code of an object's type in operations.

        Raises:
            UnknownType, Upgrading: see :class:`fivefold.node.CodeTable`.
        """
        return self._code_of((object_id,), "")

    @property
    def quorums(self) -> QuorumSystem:
        """n, t, b and what follows from them."""
        return self._node.session.knowledge.quorums

    @property
    def configuration(self) -> Configuration | None:
        """The cluster file in use: later than the one at hand if the servers have changed; None without a file."""
        return None if self._node.editions is None else self._node.editions.configuration

    async def until_followed(self, timeout: float) -> None:  # noqa: ASYNC109 (a duration, not a scope)
        """Wait until no newer cluster file is known that has not come yet; not longer than that many seconds."""
        editions, end = self._node.editions, self._loop.time() + timeout
        while editions is not None and editions.announced.wanted is not None:
            if self._loop.time() >= end:
                return
            await asyncio.sleep(0.01)

    def _check_rights(
        self, may_call: Callable[[ObjectId, str], bool], objects: tuple[ObjectId, ...], method: str
    ) -> None:
        for name in objects:
            if not may_call(name, method):
                raise NotAllowed(
                    f"your access rules do not cover {method!r} of {name!r}: ask for a rule (fivefold client add), "
                    "or connect again with the cluster file that has it"
                )

    # --- updates whose fate is open ----------------------------------------------------------------------------

    def new_id(self, function: Callable[..., Any], *objects: Any) -> str:  # noqa: ANN401
        """An id for one call of an update over several objects, for :meth:`call_with_id` and :meth:`resolve`.

        Args:
            function: marked ``@update``.
            objects: the remote objects, in parameter order.

        Raises:
            InvalidArguments: it is a query, or does not take these objects.
        """
        method = self.registry.function(function)
        return self.new_id_of(tuple([id_of(remote) for remote in objects]), method.name)

    def new_id_of(self, objects: tuple[ObjectId, ...], method: str) -> str:
        """An id for an update; proxies call this."""
        if not self.registry.find(objects, method).is_update:
            raise InvalidArguments(f"{method} is a query, which changes nothing and needs no id: just call it again")
        return str(new_id(self._client, objects, method, self._node.session.time_of(objects)))

    async def call_with_id(self, call_id: str, function: Callable[..., R], *args: Any, **kwargs: Any) -> R:  # noqa: ANN401
        """Like :meth:`call`, under an id of :meth:`new_id`: applied once at most, however often it is run so.

        Raises:
            InvalidArguments: also if the id was made for another function, or other objects.
        """
        objects, method, values, deadline_s = self._split(function, args, kwargs)
        return await self.invoke(objects, method, (), values, deadline_s, call_id)  # type: ignore[no-any-return]

    async def resolve(self, call_id: str, *, deadline: float | None = None) -> Any:  # noqa: ANN401
        """Find out, definitely, what became of an update: also of one that was made by a program that has ended.

        Args:
            call_id: from ``new_id()`` of a method, ``OutcomeUnknown.call_id`` or :meth:`pending`.
            deadline: seconds it may take; by default as long as any call.

        Returns:
            The call's answer if it was applied, ``fivefold.NOT_APPLIED`` if it was not and never will be.

        Raises:
            InvalidArguments: this is no call's id, or one of another client identity.
            UnknownType, UnknownMethod: this program does not know the object's class: see ``connect(objects=...)``.
            OutcomeUnknown: no quorum answered, or too many updates have passed since.
        """
        if asyncio.get_running_loop() is not self._loop:
            raise CallerError(ELSEWHERE)
        if deadline is not None:
            check_seconds(deadline)
        return await self._resolve(self._own(call_id), self._deadline_s if deadline is None else deadline)

    def pending(self) -> tuple[str, ...]:
        """Ids of this connection's updates whose fate is open: of calls that were cancelled, or ended OutcomeUnknown.

        The last PENDING_MAX of them; a call that was resolved leaves the list.
        """
        return tuple(self._pending)

    def _own(self, call_id: str, objects: tuple[ObjectId, ...] = (), method: str = "") -> CallId:
        """What an id says, if it is of this client and for this call (or no call is given)."""
        found = parse(call_id)
        if found.client != self._client:
            raise InvalidArguments("this call's id is of another client identity: connect with that one to use it")
        if objects and (found.objects, found.method) != (objects, method):
            raise InvalidArguments(f"this id is for {found.method} of {', '.join(found.objects)}: make a new one")
        return found

    def _note(self, lost: CallId) -> None:
        if len(self._pending) >= PENDING_MAX:
            del self._pending[next(iter(self._pending))]
        self._pending[str(lost)] = None

    def _note_lost(
        self, objects: tuple[ObjectId, ...], call: Call, outcome: Outcome | None, *, is_update: bool
    ) -> None:
        """A call whose caller was cancelled."""
        if isinstance(outcome, TimedOut) and outcome.since is not None:
            self._note(CallId(self._client, objects, call.method, call.id, pack_time(outcome.since)))
        elif isinstance(outcome, Answered) and is_update:  # it came just now
            self._note(CallId(self._client, objects, call.method, call.id, call.since))

    async def _resolve(self, lost: CallId, deadline_s: float) -> Any:  # noqa: ANN401
        """One update that finds the lost call in the ring, or makes sure that it never will be applied (§6)."""
        self.registry.find(lost.objects, lost.method)  # before anything is sent

        def unknown(text: str, since: int = 0) -> OutcomeUnknown:
            return OutcomeUnknown(text, lambda: self._resolve(lost, deadline_s), call_id=str(lost))

        cancel = Call(os.urandom(CALL_ID_BYTES), lost.since, CANCEL, lost.id)
        operation = Operation(lost.objects, (cancel,))
        try:
            future = self._node.call(operation, is_query=False, deadline_s=deadline_s, is_fixed=True)
        except QueueFull:
            raise unknown(still_unknown(lost.objects, lost.method)) from None
        try:
            outcome = await future
        except asyncio.CancelledError:
            self._node.give_up(future)
            raise
        if isinstance(outcome, TimedOut):
            # Also if asking changed nothing: that says nothing about the call, and Unavailable would say "call again".
            raise unknown(still_unknown(lost.objects, lost.method))
        if isinstance(outcome, Disagreed):  # what was applied, if anything, is that the lost call never will be
            outcome = replace(outcome, is_applied=False if outcome.is_applied else None)
        if isinstance(outcome, Answered):
            self._pending.pop(str(lost), None)
        return answer_of(self.registry, lost.objects, lost.method, outcome, unknown)

    # --- for the operator -------------------------------------------------------------------------------------

    async def status(self, *, timeout: float = 2.0) -> ClusterStatus:  # noqa: ASYNC109 (a duration, not a scope)
        """Ask every server about itself, and add what this client holds against them."""
        if asyncio.get_running_loop() is not self._loop:
            raise CallerError(ELSEWHERE)
        return await ask_all(self._node, timeout)

    def say(self, server: int, what: str) -> None:
        """Tell all servers what speaks against one of them: they show it in their status as said by this client."""
        self._node.say(server, what)

    def evidence(self) -> tuple[Evidence, ...]:
        """What this client holds against which server."""
        return tuple(self._node.session.knowledge.evidence())

    @asynccontextmanager
    async def inquiry(self, *, connect_timeout: float = CONNECT_S, needs_quorum: bool = True) -> AsyncIterator[Inquiry]:
        """Connections of this client's own to ask each server for itself, for the length of an ``async with`` block.

        Raises:
            Unavailable: fewer servers than a quorum could be reached, and ``needs_quorum``.
        """
        inquiry = Inquiry(self.quorums, self._node.transport)
        await inquiry.start(connect_timeout, needs_quorum=needs_quorum)
        try:
            yield inquiry
        finally:
            await inquiry.close()

    @property
    def requests_sent(self) -> int:
        """Request frames sent so far: five for each update in the good case of n = 6."""
        return self._node.session.messages_sent
