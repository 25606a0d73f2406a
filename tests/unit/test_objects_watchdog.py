"""The time limit: what loops is interrupted, and nothing else ever is."""

import collections
import gc
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from fivefold.errors import ObjectError
from fivefold.objects import Object, Registry, TimeLimit, let_signals_in, query, update
from fivefold.objects.watchdog import IDLE_POLLS_MAX, KNOCK, Overrun, _fire, _Guard
from fivefold.protocol.operations import STOPPED, VALUE, Call, ClientId, ObjectId, Operation
from fivefold.protocol.server.execution import execute_alone
from fivefold.protocol.server.versions import initial_version

LIMIT_MS = 250
"""Long enough that a busy machine does not stop a test's short calls for as long."""


CLIENT = ClientId(b"c" * 16)


class Slow(Object):
    """Takes more than half of the limit to say a number."""

    @query
    def get(self) -> int:
        """One."""
        spin(LIMIT_MS / 1000 * 0.6)
        return 1


@pytest.fixture
def limit() -> Iterator[TimeLimit]:
    """A short limit, whose thread ends with the test."""
    limit = TimeLimit(LIMIT_MS)
    yield limit
    limit.close()


def spin(seconds: float = 60) -> str:
    """Run Python code for so long, or until interrupted."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass
    return "ended"


def swallow(seconds: float) -> None:
    """Loop on after an interruption, which a method must not do."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            spin()
        except BaseException:
            continue


def replace() -> None:
    """Turn the interruption into an exception of one's own."""
    try:
        spin()
    except BaseException as error:
        raise ValueError from error


def test_short_calls_return(limit: TimeLimit) -> None:
    """A call within the limit returns its result, with its arguments passed on."""
    assert [limit.call(divmod, 7, 2), limit.call(spin, 0.001)] == [(3, 1), "ended"]


def test_exceptions_pass_through(limit: TimeLimit) -> None:
    """What a call raises in time is what the caller gets."""
    with pytest.raises(ZeroDivisionError):
        limit.call(divmod, 1, 0)


@pytest.mark.parametrize("loop", [spin, replace, lambda: swallow(0.6)])
def test_loops_are_interrupted(limit: TimeLimit, loop: Callable[[], object]) -> None:
    """A loop ends after the limit, and even one that swallows or replaces the interruption ends in Overrun."""
    began = time.monotonic()
    with pytest.raises(Overrun):
        limit.call(loop)
    assert LIMIT_MS / 1000 <= time.monotonic() - began < 30


def test_a_loop_that_swallows_is_interrupted_again(limit: TimeLimit) -> None:
    """The watchdog fires until the call ends: swallowing one interruption does not help."""
    caught = 0

    def stubborn() -> None:
        nonlocal caught
        while caught < 3:
            try:
                spin()
            except Overrun:
                caught += 1

    with pytest.raises(Overrun):
        limit.call(stubborn)
    assert caught == 3


def test_one_overrun_does_not_touch_the_next_call(limit: TimeLimit) -> None:
    """After an interrupted call the next one runs as ever."""
    for _ in range(3):
        with pytest.raises(Overrun):
            limit.call(spin)
        assert limit.call(spin, 0.001) == "ended"


def test_nothing_is_raised_after_the_call() -> None:
    """Calls that end just about at their limit either return or raise Overrun; nothing is raised afterwards."""
    limit = TimeLimit(2)
    outcomes = {"ended": 0, "overrun": 0}
    for index in range(150):
        try:
            limit.call(spin, 0.0019 + index % 15 / 10_000)
            outcomes["ended"] += 1
        except Overrun:
            outcomes["overrun"] += 1
        spin(0.0003)  # an exception that came too late would be raised here
    assert outcomes["ended"] + outcomes["overrun"] == 150
    with pytest.raises(Overrun):
        limit.call(spin)
    limit.close()


def test_firing_too_late_does_nothing() -> None:
    """The watchdog decides on call 7, which returns meanwhile: neither the caller nor call 8 is interrupted."""
    limit = TimeLimit(60_000)
    limit.call(len, "")
    guard: _Guard = limit._local.guard
    _fire(guard, guard.serial)  # the call is over: not armed
    assert guard.may_have_fired
    late = guard.serial

    def next_call() -> str:
        _fire(guard, late)  # armed again, but it is another call
        return "ended"

    assert limit.call(next_call) == "ended"
    assert not guard.may_have_fired
    limit.close()


PROFILED = """
import sys, threading
from fivefold.objects.watchdog import Overrun, TimeLimit, _fire

limit = TimeLimit(60_000)

def stopped(is_late):
    guard = limit._local.guard
    thread = threading.Thread(target=_fire, args=(guard, guard.serial - is_late))
    thread.start()
    thread.join()

for is_late in (False, True):
    try:
        limit.call(stopped, is_late)
    except Overrun:
        assert not is_late
    calls = []
    sys.setprofile(lambda frame, event, argument: calls.append(event))
    (lambda: None)()
    sys.setprofile(None)
    assert calls
"""


def test_a_profiler_works_after_an_overrun() -> None:
    """Nothing stays pending in the interpreter, whether the watchdog fired or came too late.

    In CPython 3.11 a pending note without an exception makes a profiled thread spin for ever, deaf to signals.
    """
    done = subprocess.run([sys.executable, "-c", PROFILED], timeout=60, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_firing_once() -> None:
    """One shot in the running call: it is the call that raises, and the next one does not."""
    limit = TimeLimit(60_000)

    def fire_at_myself() -> None:
        guard: _Guard = limit._local.guard
        thread = threading.Thread(target=_fire, args=(guard, guard.serial))
        thread.start()
        thread.join()

    with pytest.raises(Overrun):
        limit.call(fire_at_myself)
    assert limit.call(spin, 0.001) == "ended"
    limit.close()


def test_nested_calls_have_the_outer_limit(limit: TimeLimit) -> None:
    """A limited call within a limited call neither extends nor ends the outer one."""
    assert limit.call(lambda: limit.call(spin, 0.001)) == "ended"
    with pytest.raises(Overrun):
        limit.call(lambda: [limit.call(spin, 0.001), spin()])


def test_threads_have_their_own_limits(limit: TimeLimit) -> None:
    """A loop in one thread does not interrupt a call in another."""
    results: list[str] = []

    def other() -> None:
        results.extend(limit.call(spin, 0.005) for _ in range(20))

    thread = threading.Thread(target=other)
    thread.start()
    with pytest.raises(Overrun):
        limit.call(spin)
    thread.join()
    assert results == ["ended"] * 20


def test_the_watchdog_sleeps_and_wakes() -> None:
    """With nothing to watch the thread stops looking; the next call wakes it."""
    limit = TimeLimit(1)
    limit.call(len, "")
    watchdog = limit._watchdog
    assert watchdog is not None
    end = time.monotonic() + 100 * IDLE_POLLS_MAX / 1000
    while not watchdog.is_asleep and time.monotonic() < end:
        time.sleep(0.001)
    assert watchdog.is_asleep
    with pytest.raises(Overrun):
        limit.call(spin)
    limit.close()


def test_the_thread_ends_with_its_limit() -> None:
    """A TimeLimit that is dropped takes its thread with it."""
    limit = TimeLimit(5)
    limit.call(len, "")
    watchdog = limit._watchdog
    assert watchdog is not None
    del limit
    gc.collect()
    watchdog.join(timeout=30)
    assert not watchdog.is_alive()


def test_a_limit_must_be_positive() -> None:
    """No time at all is no limit."""
    with pytest.raises(ValueError, match="at least 1 ms"):
        TimeLimit(0)


class Looping(Object):
    """An object whose method does not come back."""

    value: int = 0

    @update
    def loop(self) -> None:
        self.value = 1
        while True:
            pass


def test_a_looping_method_fails(limit: TimeLimit) -> None:
    """A method over the limit is answered as FAILED; nothing changes and the server goes on."""
    registry = Registry(Looping, limit=limit)
    objects = (ObjectId("Looping/a"),)
    executed = registry.execute(objects, Call(b"i" * 16, 0, "loop", b"\x80"), (b"\x91\x00",))
    assert executed.states is None
    with pytest.raises(ObjectError, match="TimeLimit: ran longer than 250 ms"):
        registry.decode_answer(objects, "loop", executed.answer)


@pytest.fixture
def open_to_signals() -> Iterator[None]:
    before = signal.getsignal(KNOCK)
    let_signals_in()
    yield
    signal.signal(KNOCK, before)


@pytest.mark.usefixtures("open_to_signals")
@pytest.mark.parametrize(
    ("function", "arguments"),
    [(time.sleep, (60,)), (threading.Event().wait, ())],
    ids=["sleep", "wait"],
)
def test_sleeping_and_waiting_is_interrupted(function: Callable[..., object], arguments: tuple[object, ...]) -> None:
    """What runs no Python code ends soon after the limit, too, where signals are let in."""
    limit = TimeLimit(20)
    began = time.monotonic()
    with pytest.raises(Overrun):
        limit.call(function, *arguments)
    assert time.monotonic() - began < 30
    assert limit.call(len, "a") == 1


def test_the_signal_is_ignored_where_nobody_asked_for_it(limit: TimeLimit) -> None:
    """Without ``let_signals_in`` a program's signals are left alone."""
    assert signal.getsignal(KNOCK) is signal.SIG_DFL
    with pytest.raises(Overrun):
        TimeLimit(20).call(time.sleep, 0.2)


def test_calls_of_one_operation_share_the_limit(limit: TimeLimit) -> None:
    """Sixteen calls, each well within the limit, hold a thread no longer than one call may."""
    limit.begin()
    began = time.monotonic()
    with pytest.raises(Overrun):
        collections.deque(limit.call(spin, LIMIT_MS / 1000 * 0.6) for _ in range(16))
    assert time.monotonic() - began < LIMIT_MS / 1000 * 3
    with pytest.raises(Overrun):  # at once, whatever it is
        limit.call(divmod, 7, 2)


def test_the_next_operation_has_a_limit_of_its_own(limit: TimeLimit) -> None:
    """What one operation used up takes nothing from the next, and a call outside of operations stands for itself."""
    for _ in range(2):
        limit.begin()
        with pytest.raises(Overrun):
            limit.call(spin)
    limit.begin()
    assert [limit.call(divmod, 7, 2), limit.call(spin, LIMIT_MS / 1000 * 0.3)] == [(3, 1), "ended"]
    fresh = TimeLimit(LIMIT_MS)
    for _ in range(5):
        assert fresh.call(spin, LIMIT_MS / 1000 * 0.5) == "ended"
    fresh.close()


def test_a_request_of_many_calls_holds_a_server_no_longer_than_one() -> None:
    """An operation of 16 slow queries ends in time, stopped as a whole, and the next operation runs."""
    limit = TimeLimit(LIMIT_MS)
    registry = Registry(Slow, limit=limit)
    name = ObjectId("Slow/x")
    state = registry.initial(name)
    calls = tuple(Call(b"%016d" % number, 0, "get", b"\x80") for number in range(16))
    version = initial_version(state)
    began = time.monotonic()
    answers, made = execute_alone(registry, CLIENT, Operation((name,), calls), version, is_query=True, time=0)
    assert time.monotonic() - began < LIMIT_MS / 1000 * 3
    assert made is None
    assert [answer.startswith(STOPPED + b"TimeLimit") for answer in answers] == [True]
    answers, _ = execute_alone(registry, CLIENT, Operation((name,), calls[:1]), version, is_query=True, time=0)
    assert answers == (VALUE + b"\x01",)
    limit.close()
