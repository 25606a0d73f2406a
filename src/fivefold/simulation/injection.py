"""Exceptions at random places of our own code: a bug that nobody knows of must cost one input, and nothing else.

A chosen input of a machine runs under a trace function that raises at one of the lines of the server's code.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from random import Random
from types import FrameType
from typing import Any, Final, TypeVar

from fivefold.protocol.compiled import is_compiled

MODULES: Final = "fivefold.protocol.server."
"""Where it raises. Not in the ground: what that remembers of earlier runs would decide where the nth line is."""

LINES_MAX: Final = 400
"""Most inputs run fewer lines than that."""

T = TypeVar("T")


class Injected(Exception):
    """A bug that does not exist."""


class Injector:
    """Lets a share of one server's inputs fail.

    Attributes:
        share: of the inputs; 0 ends it.
    """

    def __init__(self, random: Random, share: float, on_raise: Callable[[str], None]) -> None:
        """``on_raise`` hears where an exception was raised, as function and line within it."""
        self.share = 0.0 if is_compiled() else share
        self._random, self._on_raise = random, on_raise

    def run(self, act: Callable[[], T]) -> T:
        """``act()``, with an exception in the midst of it if it is an unlucky one.

        Raises:
            Injected: the machine has let the exception through.
        """
        if not self.share or self._random.random() >= self.share:
            return act()
        left = int(LINES_MAX ** self._random.random())

        def trace(frame: FrameType, event: str, argument: object) -> Any:  # noqa: ANN401 (as sys.settrace has it)
            nonlocal left
            if not frame.f_globals.get("__name__", "").startswith(MODULES):
                return None
            if event == "line":
                left -= 1
                if left == 0:
                    code = frame.f_code
                    self._on_raise(f"{code.co_name}+{frame.f_lineno - code.co_firstlineno}")
                    raise Injected(code.co_name)
            return trace

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            return act()
        finally:
            sys.settrace(before)
