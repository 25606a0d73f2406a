"""Running a command's coroutine: on uvloop where it is installed."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar


def _new_event_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        from uvloop import new_event_loop
    except ImportError:
        return None
    return new_event_loop


_NEW_EVENT_LOOP: Final = _new_event_loop()
"""uvloop's; None without it. Imported at once: later the current directory may be on the module path, too."""

COLLECT_AFTER: Final = 50_000
"""New containers after which Python's collector of cycles looks at them."""

R = TypeVar("R")


def run(main: Coroutine[Any, Any, R]) -> R:
    """Run ``main`` on uvloop, or on asyncio's own loop where uvloop is missing."""
    with asyncio.Runner(loop_factory=_NEW_EVENT_LOOP) as runner:
        return runner.run(main)


def new_event_loop() -> asyncio.AbstractEventLoop:
    """A loop of the kind that :func:`run` uses, for a thread of its own."""
    return (_NEW_EVENT_LOOP or asyncio.new_event_loop)()


def spare_collector() -> None:
    """Have Python's collector of cycles work less in a process that serves, once it has started.

    What is there now stays: it need not be looked at again and again. Servers and gateways make few cycles, and small
    ones; decoding a state of many lists is eight times as fast if it does not start the collector for every 700 of
    them.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER)
