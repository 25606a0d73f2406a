"""Every exception Fivefold raises, in one tree with three causes that are never mixed.

::

    FivefoldError
    ├── CallerError                the caller's mistake: change the call
    │   ├── InvalidArguments           wrong types or values, refused before anything is sent
    │   ├── UnknownType                no object type of that name is registered
    │   ├── UnknownMethod              the type has no such query or update
    │   ├── NotAllowed                 the client's access rules do not cover the call
    │   ├── TooLarge                   arguments, state or answer over its size limit
    │   ├── ConfigurationError         a cluster file, identity or option that cannot be used
    │   ├── DataDirectoryError         missing, foreign or older data: the server refuses to start
    │   ├── BackupError                a backup that is missing, damaged, foreign or unfinished
    │   ├── ObjectError                the method raised something else than Rejected, or looped
    │   └── Rejected                   raised by the object's own methods, on purpose; base class for users
    ├── WorldError                 time-outs, no quorum: retry later
    │   ├── Upgrading                  fewer servers than a quorum run one code for the call; nothing was changed
    │   ├── Unavailable                not enough servers answered before the deadline; nothing was changed
    │   └── OutcomeUnknown             an update may or may not have been applied; call ``resolve()``
    ├── NonDeterministicObject     honest servers computed different results: a bug in the object's class, and retrying
    │                              does not help: ``is_applied`` says whether the call was applied
    └── PeerViolation              a peer broke the protocol; counted and logged, never raised to users

Every message is one sentence that says what to do. Exceptions travel: unpickled in another process, each has its class,
text and attributes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar


class FivefoldError(Exception):
    """Base of everything Fivefold raises."""

    def __reduce__(self) -> tuple[Callable[..., FivefoldError], tuple[Any, ...]]:
        """For pickle: what it holds, so that a class with an ``__init__`` of its own comes back, too."""
        return remade, (type(self), self.args, attributes_of(self))


E = TypeVar("E", bound=FivefoldError)


def attributes_of(error: FivefoldError) -> dict[str, Any]:
    """What has been set on the exception, also where its class has slots."""
    names = [name for cls in type(error).__mro__ for name in cls.__dict__.get("__slots__", ())]
    return {**{name: getattr(error, name) for name in names if hasattr(error, name)}, **vars(error)}


def remade(cls: type[E], args: Sequence[Any], attributes: Mapping[str, Any]) -> E:
    """An exception from what it holds. Its ``__init__`` has run before, elsewhere, and does not run again."""
    error: E = Exception.__new__(cls, *args)
    error.args = tuple(args)
    for name, value in attributes.items():
        object.__setattr__(error, name, value)
    return error


class CallerError(FivefoldError):
    """The caller's mistake: the same call will fail again until it is changed."""


class InvalidArguments(CallerError):
    """Arguments of wrong number, type or value; refused before anything was sent."""


class UnknownType(CallerError):
    """No object type of that name is registered with the servers or with this client."""


class UnknownMethod(CallerError):
    """The object type has no query or update of that name."""


class NotAllowed(CallerError):
    """The client's access rules in the cluster file do not cover this call."""


class TooLarge(CallerError):
    """Arguments, state or answer exceed a limit of :mod:`fivefold.protocol.limits`."""


class ConfigurationError(CallerError):
    """A cluster file, an identity or an option that cannot be used as it is."""


class DataDirectoryError(CallerError):
    """The data directory is missing, foreign or older than the identity's record."""


class BackupError(CallerError):
    """A backup is missing, damaged, unfinished, of another cluster, or cannot be written."""


class ObjectError(CallerError):
    """A method raised something other than :class:`Rejected`, looped, or returned what cannot be encoded."""


class Rejected(CallerError):
    """Raise a subclass of this from a method to refuse a call; nothing changes and the caller gets it typed.

    Example:
        >>> class Overdrawn(Rejected):
        ...     '''The account holds less than the amount.'''
    """


class WorldError(FivefoldError):
    """The world's doing: time-outs, no quorum. The same call may succeed later."""


class Unavailable(WorldError):
    """Not enough servers answered before the deadline, and nothing was changed."""


class Upgrading(WorldError):
    """Fewer servers than a quorum run one code for the call, as while a class is rolled out; nothing was changed.

    Call again: it succeeds once a quorum runs one code. ``fivefold status`` says which server runs what.
    """


class OutcomeUnknown(WorldError):
    """The deadline came while an update was under way: it may or may not have been applied.

    ``await error.resolve()`` runs one update that either finds the call applied and returns its answer, or makes
    sure that it never will be and returns :data:`fivefold.NOT_APPLIED`. It may take as long as the call, or as
    ``connect``'s ``deadline`` if that is longer. With the blocking façade ``resolve()``
    returns the result itself.

    Attributes:
        call_id: text for ``cluster.resolve(call_id)`` of any connection of the same identity, also in another program;
            None if asking again does not help.
        is_applied: True if the call was applied, and only its answer is no longer known; None if nobody can say.
    """

    def __init__(
        self,
        message: str,
        resolve: Callable[[], Awaitable[Any]] | None = None,
        *,
        call_id: str | None = None,
        is_applied: bool | None = None,
    ) -> None:
        super().__init__(message)
        self.call_id = call_id
        self.is_applied = is_applied
        self._resolve = resolve

    def __reduce__(self) -> tuple[Callable[..., FivefoldError], tuple[Any, ...]]:
        """Without the connection that could resolve it: elsewhere, ``call_id`` does."""
        return remade, (type(self), self.args, {**attributes_of(self), "_resolve": None})

    def resolve(self) -> Awaitable[Any]:
        """Find out, definitely, what became of the call.

        Returns:
            The call's answer if it was applied, ``fivefold.NOT_APPLIED`` if it was not and never will be.

        Raises:
            OutcomeUnknown: no quorum answered this time either, or too many updates have passed since.
            CallerError: the exception has come from another process.
        """
        if self._resolve is not None:
            return self._resolve()
        if self.call_id is not None:
            raise CallerError("this exception has come without its connection: await cluster.resolve(error.call_id)")
        raise OutcomeUnknown("this outcome cannot be resolved any more: too many updates have passed since")


class NonDeterministicObject(FivefoldError):
    """Honest servers computed different results: the named method is not deterministic.

    The caller has made no mistake, and to call again does not help: the object's class must be mended.

    Attributes:
        is_applied: True if the update was applied, so that the servers now hold different states; False if nothing was
            changed; None if that is not known.
    """

    def __init__(self, message: str, *, is_applied: bool | None = None) -> None:
        super().__init__(message)
        self.is_applied = is_applied


class PeerViolation(FivefoldError):
    """A peer sent something the protocol forbids; it is counted under ``reason`` and never reaches a user."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
