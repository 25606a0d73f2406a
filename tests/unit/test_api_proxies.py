"""Remote objects: what they have and what they refuse."""

from __future__ import annotations

import asyncio
import copy
import inspect
import threading
from concurrent.futures import CancelledError

import pytest

from fivefold import BlockingRemote, CallerError, Counter, InvalidArguments, Remote, UnknownMethod, connect_blocking
from fivefold.api.blocking import LoopThread


class Nobody:
    """Runs no calls."""

    def invoke(self, objects, method, args, kwargs, deadline_s):
        raise AssertionError(method)


def remote() -> Remote[Counter]:
    return Remote(Nobody(), Counter, "hits")


@pytest.mark.parametrize("name", ["value", "nosuch"])
def test_fields_and_unknown_names_are_refused(name: str) -> None:
    """The state is on the servers: to read a field is an error that says what there is, not a strange function."""
    with pytest.raises(UnknownMethod, match=f"Counter has no query or update {name}: it has add, decrement, get, incr"):
        getattr(remote(), name)


def test_private_names_are_missing_as_python_expects() -> None:
    """Tools that look for hooks such as _repr_html_ find none."""
    assert not hasattr(remote(), "_repr_html_")
    assert not hasattr(remote(), "__wrapped__")


@pytest.mark.parametrize("seconds", [0, -1, "1", float("nan"), float("inf"), 1e300])
def test_a_deadline_is_a_time(seconds: float) -> None:
    """What is no time to come is refused where it is given, for one object and for all."""
    with pytest.raises(InvalidArguments, match="deadline is seconds, a number above 0"):
        Remote(Nobody(), Counter, "hits", seconds)
    with pytest.raises(InvalidArguments, match="deadline is seconds"):
        remote().with_deadline(seconds)
    with pytest.raises(InvalidArguments, match="deadline is seconds"), connect_blocking(deadline=seconds):
        pass


class Silent:
    """Runs calls that answer nothing."""

    async def invoke(self, objects, method, args, kwargs, deadline_s):
        return None


@pytest.mark.parametrize("name", ["value", "get", "anything", "_key"])
def test_attributes_cannot_be_set(name: str) -> None:
    """An assignment would stay in this program: it is refused, with what to do, by both façades; so is deleting."""
    thread = LoopThread()
    for hits in (remote(), BlockingRemote(thread, remote())):
        with pytest.raises(AttributeError) as caught:
            setattr(hits, name, 5)
        text = "cannot be set, the state of Counter/hits is on the servers: call a method that changes it: add, decr"
        assert f"{name} {text}" in str(caught.value)
        with pytest.raises(AttributeError):
            delattr(hits, name)
    thread.stop()


def test_a_method_shows_what_it_is() -> None:
    """Its repr has the object and the signature; help and inspect find its documentation and parameters."""
    thread = LoopThread()
    assert repr(remote().increment) == "<remote Counter/hits.increment(by: int = 1) -> int>"
    blocking = BlockingRemote(thread, remote()).increment
    assert repr(blocking) == "<blocking remote Counter/hits.increment(by: int = 1) -> int>"
    for method in (remote().increment, blocking):
        assert (method.__name__, method.__doc__) == ("increment", "Add ``by`` and return the new value.")
        assert list(inspect.signature(method).parameters) == ["by"]
    thread.stop()


def test_remote_objects_stay_in_their_process() -> None:
    """Pickling one says what to do instead: its connection cannot travel."""
    thread = LoopThread()
    for hits in (remote(), BlockingRemote(thread, remote())):
        with pytest.raises(TypeError, match="cannot leave its process: pass the key, and connect there"):
            copy.copy(hits)
    thread.stop()


def test_a_forgotten_await_names_the_method() -> None:
    """Python's warning says which call was never awaited."""
    hits = Remote(Silent(), Counter, "hits")
    with pytest.warns(RuntimeWarning, match=r"coroutine 'Counter\.increment' was never awaited"):
        hits.increment()


def test_completion_finds_the_methods() -> None:
    """``dir`` lists queries and updates, for prompts and notebooks."""
    assert {"add", "decrement", "get", "increment", "do", "with_deadline"} <= set(dir(remote()))


def test_a_blocking_object_has_the_methods_of_its_class_alone() -> None:
    """What belongs to asynchronous remote objects is not passed on."""
    thread = LoopThread()
    blocking = BlockingRemote(thread, remote())
    assert blocking.increment.__name__ == "increment"
    assert {"add", "get"} <= set(dir(blocking))
    with pytest.raises(UnknownMethod, match="no query or update with_deadline"):
        blocking.with_deadline(1)
    thread.stop()


def test_a_blocking_call_after_the_end_is_refused() -> None:
    """A loop that has ended would never run it: the caller is told, and waits for nothing."""
    thread = LoopThread()
    blocking = BlockingRemote(thread, remote())
    thread.stop()
    with pytest.raises(CallerError, match="this connection is closed"):
        blocking.increment()


def test_the_end_does_not_leave_other_threads_waiting() -> None:
    """What runs when the thread is stopped is cancelled, so that nobody waits for it for ever."""
    thread = LoopThread()
    begun, ended = threading.Event(), []

    async def for_ever() -> None:
        begun.set()
        await asyncio.sleep(3600)

    def wait() -> None:
        with pytest.raises(CancelledError):
            thread.run(for_ever())
        ended.append(True)

    waiter = threading.Thread(target=wait)
    waiter.start()
    begun.wait(10)
    thread.stop()
    waiter.join(10)
    assert ended
