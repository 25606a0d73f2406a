"""Interrupts a method that does not come back.

A daemon thread looks at the running call a few times per limit; the call itself only sets and clears a flag, so a
method that returns in time pays well under a microsecond and no system call. All calls of one operation share a limit:
with one each, an operation of 16 calls could hold a server sixteen times as long. When the operation is still the same
one after the limit, the thread has the interpreter raise :class:`Overrun` in it (``PyThreadState_SetAsyncExc``).

The exception is raised when Python code runs again. So that a method that sleeps or waits does so at once, the thread
also sends a signal whose handler is an empty Python function (:func:`let_signals_in`): it is raised in there.

What it cannot interrupt is a call into C that computes and lets no other thread run, such as ``10 ** 10 ** 8``,
``sum(range(10 ** 12))`` or a catastrophic regular expression. A memory limit is the operating system's.

When a call runs into the limit depends on the machine, so this is no part of an object's behaviour: it keeps a server
alive. Set it to at least ten times what the slowest method takes, and to the same value on all servers.

The hazard that shapes this code: (1) the thread sees call 7 over its limit; (2) call 7 returns; (3) the thread asks for
the exception; (4) it is raised in the server's own code, between two messages. Therefore the thread first says that it
may fire, then looks whether the call is still armed; the call first disarms, then looks whether the thread may have
fired, and if so waits for it and takes the exception back. CPython raises asynchronous exceptions only at calls and
backward jumps, so the disarming assignment, which is the first thing a ``finally`` does, cannot be skipped.

"Takes back" means that the call has the exception raised and catches it. Clearing it (a null pointer for
``PyThreadState_SetAsyncExc``) leaves CPython 3.11's note that something is pending set for ever: every call and jump
from then on looks for it, and a debugger or profiler that is switched on later hangs the thread.
"""

from __future__ import annotations

import ctypes
import signal
import threading
import time
import weakref
from collections.abc import Callable
from typing import Final, TypeVar

R = TypeVar("R")

POLLS_PER_LIMIT: Final = 4
"""How often a running call is looked at: one is interrupted between 1 and 1.5 limits after it began."""

IDLE_POLLS_MAX: Final = 64
"""Polls that see no call at all before the thread goes to sleep until the next one."""

KNOCK: Final = signal.SIGURG
"""Ignored unless somebody handles it, so that it may be sent where ``let_signals_in`` was not called."""

_set_async_exception = ctypes.pythonapi.PyThreadState_SetAsyncExc
_set_async_exception.argtypes = (ctypes.c_ulong, ctypes.py_object)
_set_async_exception.restype = ctypes.c_int


class Overrun(BaseException):
    """The running method is over its time limit. Not an Exception: a method's own handlers should not swallow it."""


def let_signals_in() -> None:
    """Have calls in the main thread be interrupted while they sleep or wait; to be called there.

    Not done without being asked: signal handlers belong to the program.
    """
    signal.signal(KNOCK, _open)


def _open(number: int, frame: object) -> None:
    """Run some Python code in the main thread, in which an asynchronous exception can be raised."""


class _Guard:
    """The calls of one thread.

    Attributes:
        serial: number of the call that runs or ran last.
        operation: number of the operation that the call is part of.
        is_shared: the call that comes next is part of the same operation as the one before.
        overran: the operation whose time is used up.
        armed: a call is running.
        may_have_fired: the call must look more closely: an exception may be pending in this thread.
        is_deciding: the watchdog is just about to fire, or to let be; it takes a few instructions. (Not a lock: the
            exception could be raised between acquiring it and entering the ``with`` block.)
        fired_at: serial of the last call that was fired at.
    """

    __slots__ = (
        "__weakref__",
        "armed",
        "fired_at",
        "is_deciding",
        "is_shared",
        "may_have_fired",
        "operation",
        "overran",
        "serial",
        "thread",
    )

    def __init__(self) -> None:
        self.serial = self.operation = 0
        self.is_shared = False
        self.overran = -1
        self.armed = False
        self.may_have_fired = False
        self.is_deciding = False
        self.fired_at = 0
        self.thread = threading.get_ident()


class TimeLimit:
    """Runs calls, each for at most about ``limit_ms``; those after :meth:`begin` share that.

    Args:
        limit_ms: milliseconds that one operation may take.

    One instance may be used by several threads. The watchdog thread starts with the first call and ends when the
    instance is gone.
    """

    def __init__(self, limit_ms: int) -> None:
        if limit_ms < 1:
            raise ValueError("a time limit must be at least 1 ms")
        self.limit_ms = limit_ms
        self._local = threading.local()
        self._watchdog: _Watchdog | None = None
        self._starting = threading.Lock()

    def begin(self) -> None:
        """An operation begins: the calls that follow in this thread, up to the next ``begin``, have one limit together.

        Without this each call is an operation of its own.
        """
        try:
            guard: _Guard = self._local.guard
        except AttributeError:
            guard = self._add_guard()
        guard.operation += 1
        guard.is_shared = True

    def call(self, function: Callable[..., R], *arguments: object) -> R:
        """Call ``function(*arguments)`` and return what it returns.

        Raises:
            Overrun: it ran for longer than the limit, or an earlier call of its operation did, and then nothing was
                called. No other Overrun will follow from this call.
        """
        try:
            guard: _Guard = self._local.guard
        except AttributeError:
            guard = self._add_guard()
        if guard.armed:
            return function(*arguments)  # a limited call within a limited call: the outer limit holds
        if not guard.is_shared:
            guard.operation += 1
        elif guard.overran == guard.operation:
            raise Overrun
        guard.serial += 1
        try:
            guard.armed = True
            watchdog = self._watchdog
            if watchdog is None or watchdog.is_asleep:
                self._wake()
            return function(*arguments)
        finally:
            guard.armed = False
            if guard.may_have_fired:
                _settle(guard)

    def close(self) -> None:
        """End the watchdog thread; a later call starts another."""
        with self._starting:
            if self._watchdog is not None:
                self._watchdog.stop()
                self._watchdog = None

    def __del__(self) -> None:
        watchdog = self.__dict__.get("_watchdog")
        if watchdog is not None:
            watchdog.stop()

    def _add_guard(self) -> _Guard:
        guard = self._local.guard = _Guard()
        with self._starting:
            self._start().guards.add(guard)
        return guard

    def _wake(self) -> None:
        with self._starting:
            watchdog = self._start()
            watchdog.guards.add(self._local.guard)
        watchdog.awake.set()

    def _start(self) -> _Watchdog:
        if self._watchdog is None:
            self._watchdog = _Watchdog(self.limit_ms / 1000)
            self._watchdog.start()
        return self._watchdog


def _settle(guard: _Guard) -> None:
    """Wait until the watchdog has fired or let be, catch an exception that is not raised yet, and raise Overrun.

    The call is disarmed: at most one exception is still to come. If it is raised in here, it is the one this raises;
    the flag is then left set, and the next call settles without being fired at.
    """
    while guard.is_deciding:
        time.sleep(0)
    try:
        _set_async_exception(guard.thread, Overrun)  # in place of one that may be pending
        while True:
            time.sleep(0)  # where it is raised, if it was not at once
    except Overrun:
        guard.may_have_fired = False
    if guard.fired_at == guard.serial:
        guard.overran = guard.operation
        raise Overrun


class _Watchdog(threading.Thread):
    """The thread: it holds no reference to its TimeLimit."""

    def __init__(self, limit_s: float) -> None:
        super().__init__(name="fivefold-time-limit", daemon=True)
        self.guards: weakref.WeakSet[_Guard] = weakref.WeakSet()
        self.awake = threading.Event()
        self.is_asleep = False
        self._limit_s = limit_s
        self._is_stopped = False
        self._since: weakref.WeakKeyDictionary[_Guard, tuple[int, float]] = weakref.WeakKeyDictionary()

    def stop(self) -> None:
        """End the thread soon."""
        self._is_stopped = True
        self.awake.set()

    def run(self) -> None:
        """Look at all running calls, again and again; sleep while there are none."""
        idle_polls = 0
        while not self._is_stopped:
            idle_polls = 0 if self._poll() else idle_polls + 1
            if idle_polls < IDLE_POLLS_MAX:
                time.sleep(self._limit_s / POLLS_PER_LIMIT)
                continue
            # First say so, then look again: a call first arms, then looks whether the watchdog is asleep.
            self.is_asleep = True
            if not any(guard.armed for guard in list(self.guards)):
                self.awake.wait()
            self.is_asleep = False
            self.awake.clear()
            idle_polls = 0

    def _poll(self) -> bool:
        """Fire at calls over the limit; returns whether any call was made since the last poll."""
        is_busy = False
        now = time.monotonic()
        for guard in list(self.guards):
            operation, since = self._since.get(guard, (-1, now))
            serial = guard.serial  # first: a call that begins after this look is not the one that is fired at
            if guard.operation != operation:
                self._since[guard] = (guard.operation, now)
                is_busy = True
            elif guard.armed:
                is_busy = True
                if now - since >= self._limit_s:
                    _fire(guard, serial)
        return is_busy


def _fire(guard: _Guard, serial: int) -> None:
    guard.is_deciding = True
    guard.may_have_fired = True
    if guard.armed and guard.serial == serial:
        guard.fired_at = serial
        _set_async_exception(guard.thread, Overrun)
        signal.pthread_kill(guard.thread, KNOCK)  # an armed call is in its thread, which therefore is alive
    guard.is_deciding = False
