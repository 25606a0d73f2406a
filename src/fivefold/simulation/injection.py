"""Exceptions at random places of our own code: a bug that nobody knows of must cost one input, and nothing else.

A chosen input of a machine runs under a trace function that raises at one of the lines of the server's code.
"""

from __future__ import annotations

import dis
import sys
from collections.abc import Callable
from functools import cache
from random import Random
from types import CodeType, FrameType
from typing import Any, Final, TypeVar

SERVER: Final = "fivefold.protocol.server."
CLIENT: Final = "fivefold.protocol.client."
"""Where it raises. Not in the ground: what that remembers of earlier runs would decide where the nth line is."""

SURE: Final = frozenset({"_hand_over"})
"""Functions in which nothing can raise: they take no memory, and call nothing that does."""

LINES_MAX: Final = 400
"""Most inputs run fewer lines than that."""

HARMLESS: Final = (
    "NOP RESUME COPY SWAP PUSH_NULL POP_TOP LOAD_FAST LOAD_CONST LOAD_SMALL_INT STORE_FAST RETURN_VALUE RETURN_CONST "
    "RETURN_GENERATOR JUMP POP_JUMP FOR_ITER END_FOR UNPACK_SEQUENCE IS_OP PUSH_EXC_INFO POP_EXCEPT"
)
"""How the instructions begin that take no memory and call nothing."""

T = TypeVar("T")


class Injected(Exception):
    """A bug that does not exist."""


@cache
def can_raise(code: CodeType, offset: int) -> bool:
    """Whether anything can raise from an instruction to the end of its line. No bug is at ``return name``, or the like.

    The second time around, a loop does not make its iterator again.
    """
    harmless, line = tuple(HARMLESS.split()), None
    for each in dis.get_instructions(code):
        if each.offset < offset:
            continue
        at = None if each.positions is None else each.positions.lineno
        line = at if line is None else line
        if at != line:
            return False
        if not each.opname.startswith(harmless):
            return True
    return False


class Injector:
    """Lets a share of one machine's inputs fail.

    Attributes:
        share: of the inputs; 0 ends it.
    """

    def __init__(self, random: Random, share: float, modules: str, on_raise: Callable[[str], None]) -> None:
        """``on_raise`` hears where in these modules an exception was raised, as function and line within it."""
        self.share = share
        self._random, self._modules, self._on_raise = random, modules, on_raise

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
            code = frame.f_code
            if code.co_name in SURE or not frame.f_globals.get("__name__", "").startswith(self._modules):
                return None
            if event == "line" and can_raise(code, frame.f_lasti):
                left -= 1
                if left == 0:
                    self._on_raise(f"{code.co_name}+{frame.f_lineno - code.co_firstlineno}")
                    raise Injected(code.co_name)
            return trace

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            return act()
        finally:
            sys.settrace(before)
