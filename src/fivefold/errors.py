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
    │   ├── ObjectError                the method raised something else than Rejected, or looped
    │   ├── NonDeterministicObject     honest servers computed different results for one method
    │   └── Rejected                   raised by the object's own methods, on purpose; base class for users
    ├── WorldError                 time-outs, no quorum: retry later
    │   ├── Unavailable                not enough servers answered before the deadline; nothing was changed
    │   └── OutcomeUnknown             an update may or may not have been applied; call ``resolve()``
    └── PeerViolation              a peer broke the protocol; counted and logged, never raised to users

Every message is one sentence that says what to do.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any


class FivefoldError(Exception):
    """Base of everything Fivefold raises."""


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


class ObjectError(CallerError):
    """A method raised something other than :class:`Rejected`, looped, or returned what cannot be encoded."""


class NonDeterministicObject(CallerError):
    """Honest servers computed different results: the named method is not deterministic."""


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


class OutcomeUnknown(WorldError):
    """The deadline came while an update was under way: it may or may not have been applied.

    ``await error.resolve()`` runs one update that either finds the call applied and returns its answer, or makes
    sure that it never will be and returns :data:`fivefold.NOT_APPLIED`. It may take as long as the call, or as
    ``connect``'s ``deadline`` if that is longer. With the blocking façade ``resolve()``
    returns the result itself.
    """

    def __init__(self, message: str, resolve: Callable[[], Awaitable[Any]] | None = None) -> None:
        super().__init__(message)
        self._resolve = resolve

    def resolve(self) -> Awaitable[Any]:
        """Find out, definitely, what became of the call.

        Returns:
            The call's answer if it was applied, ``fivefold.NOT_APPLIED`` if it was not and never will be.

        Raises:
            OutcomeUnknown: no quorum answered this time either, or too many updates have passed since.
        """
        if self._resolve is None:
            raise OutcomeUnknown("this outcome cannot be resolved any more: too many updates have passed since")
        return self._resolve()


class PeerViolation(FivefoldError):
    """A peer sent something the protocol forbids; it is counted under ``reason`` and never reaches a user."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
