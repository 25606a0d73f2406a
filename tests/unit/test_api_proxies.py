"""Remote objects: what they have and what they refuse."""

from __future__ import annotations

import asyncio
import copy
import inspect
import threading
import types
from concurrent.futures import CancelledError

import pytest

from fivefold import (
    Account,
    BlockingRemote,
    CallerError,
    Counter,
    InvalidArguments,
    Remote,
    TypedRemote,
    UnknownMethod,
    connect_blocking,
    total,
)
from fivefold import remote as typed
from fivefold.api.blocking import LoopThread
from fivefold.api.proxies import class_of
from fivefold.remotes import RemoteAccount
from fivefold.testing import local_cluster


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


class RemoteCounter(TypedRemote[Counter]):
    """Two of its methods are named, for checkers."""

    increment = typed(Counter.increment)
    get = typed(Counter.get)


async def test_a_typed_remote_is_a_remote() -> None:
    """Named methods run, others are found all the same, and so are the object and its deadline."""
    async with local_cluster() as cluster:
        hits = cluster.object(RemoteCounter, "hits")
        assert await hits.increment(by=2) == 2
        assert await hits.with_deadline(5).get() == 2
        assert type(hits.with_deadline(5)) is RemoteCounter
        assert await hits.decrement() == 1  # type: ignore[attr-defined]
        assert await cluster.object(Counter, "hits").get() == 1
        assert await cluster.call(total, cluster.object(RemoteAccount, "a"), cluster.object(Account, "b")) == 0
        assert repr(hits) == "RemoteCounter(Counter, 'hits')"
        with pytest.raises(UnknownMethod, match="no query or update value"):
            _ = hits.value  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("namespace", "problem"),
    [
        ({"up": typed(Counter.increment)}, r"write 'increment = remote\(Counter.increment\)'"),
        ({"deposit": typed(Account.deposit)}, r"write 'deposit = remote\(Counter.deposit\)'"),
    ],
)
def test_names_that_do_not_fit_are_refused(namespace: dict[str, object], problem: str) -> None:
    """A method under another name, or of another class, is refused when the class is made."""
    with pytest.raises(InvalidArguments, match=problem):
        types.new_class("Wrong", (TypedRemote[Counter],), exec_body=lambda body: body.update(namespace))


def test_what_is_no_method_is_refused() -> None:
    """remote() takes marked methods, and an object class is what a typed remote must say."""
    with pytest.raises(InvalidArguments, match="takes a query or update"):
        typed(len)
    with pytest.raises(InvalidArguments, match="derive it from TypedRemote"):
        class_of(type("Bare", (TypedRemote,), {}))
