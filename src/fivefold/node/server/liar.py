"""Servers that lie, for the demo and for tests only: an honest machine with dishonest keys or a dishonest executor."""

from __future__ import annotations

import os
from typing import Final

from fivefold.errors import ConfigurationError
from fivefold.protocol.authenticators import MAC_BYTES, AuthenticatorKeys
from fivefold.protocol.operations import VALUE, Call, Codes, Executed, Executor, ObjectId

ALLOW: Final = "FIVEFOLD_ALLOW_LIES"
"""The environment variable without which no server can be told to lie."""

LIES: Final = ("macs", "answers")


def check_lie(lie: str) -> None:
    """Refuse unknown lies, and all of them outside demos and tests.

    Raises:
        ConfigurationError: an unknown lie, or lying was not allowed.
    """
    if lie not in LIES:
        raise ConfigurationError(f"--lie must be one of {', '.join(LIES)}: got {lie!r}")
    if os.environ.get(ALLOW) != "1":
        raise ConfigurationError(f"--lie is for the demo and for tests: set {ALLOW}=1 if this is one")


class CorruptKeys(AuthenticatorKeys):
    """Makes authenticators that no other server accepts: the histories it shows are culled everywhere but here."""

    __slots__ = ()

    def macs(self, authenticated: bytes) -> bytes:
        """An authenticator whose MACs for the others are wrong; what is expected of them is right."""
        honest = super().macs(authenticated)
        start, end = self.own_index * MAC_BYTES, self.n * MAC_BYTES
        wrong = bytes(byte ^ 0xFF for byte in honest)
        return wrong[:start] + honest[start : start + MAC_BYTES] + wrong[start + MAC_BYTES : end] + honest[end:]


class LyingCodes:
    """Runs every code that the honest one runs, and lies about what came out."""

    def __init__(self, honest: Codes) -> None:
        """Wrap the honest codes."""
        self._honest = honest

    def running(self, objects: tuple[ObjectId, ...], code: bytes) -> Executor | str:
        """The honest executor, wrapped."""
        found = self._honest.running(objects, code)
        return found if isinstance(found, str) else LyingExecutor(found)


class LyingExecutor:
    """Gives wrong answers, and stores wrong states."""

    def __init__(self, honest: Executor) -> None:
        """Wrap the honest executor."""
        self._honest = honest

    def initial(self, object_id: ObjectId) -> bytes | None:
        """The honest initial state."""
        return self._honest.initial(object_id)

    def is_update(self, objects: tuple[ObjectId, ...], method: str) -> bool | None:
        """The honest kind."""
        return self._honest.is_update(objects, method)

    def begin(self) -> None:
        """The honest limit."""
        self._honest.begin()

    def execute(self, objects: tuple[ObjectId, ...], call: Call, states: tuple[bytes, ...]) -> Executed:
        """The honest result with its answer changed."""
        executed = self._honest.execute(objects, call, states)
        answer = executed.answer
        if answer[:1] == VALUE:
            answer = answer[:-1] + bytes([answer[-1] ^ 1])
        return Executed(answer, executed.states)
