"""Methods that misbehave on a real cluster: the caller gets a typed error, the object stays, the servers live."""

from collections.abc import AsyncIterator

import pytest

from fivefold import (
    Cluster,
    Counter,
    InvalidArguments,
    Object,
    ObjectError,
    TooLarge,
    UnknownMethod,
    UnknownType,
    update,
)
from tests.integration.misbehaving import Naughty, Refusal
from tests.integration.rig import Site, client

pytestmark = pytest.mark.integration

STATE_BYTES_MAX = 4 * 1024 * 1024
ANSWER_BYTES_MAX = 1024 * 1024


@pytest.fixture
async def cluster(site: Site) -> AsyncIterator[Cluster]:
    async with client(site) as connected:
        yield connected


async def lives(cluster: Cluster, key: str, *, calls: int = 0, size: int = 0) -> None:
    """Nothing changed, the object goes on, and every server answers."""
    naughty = cluster.object(Naughty, key)
    assert await naughty.seen() == (calls, size)
    assert await naughty.behave() == calls + 1
    assert None not in (await cluster.status(timeout=30)).servers


async def test_a_rejection_arrives_typed(cluster: Cluster, key: str) -> None:
    """A Rejected that the method raises is raised at the caller, with its class and text; nothing changed."""
    with pytest.raises(Refusal, match="not today"):
        await cluster.object(Naughty, key).refuse()
    await lives(cluster, key)


async def test_a_method_that_raises_is_an_object_error(cluster: Cluster, key: str) -> None:
    """Another exception in a method is an ObjectError that names it; the change it had made is gone."""
    with pytest.raises(ObjectError, match="ZeroDivisionError"):
        await cluster.object(Naughty, key).fail()
    with pytest.raises(ObjectError, match="ZeroDivisionError"):
        await cluster.object(Naughty, key).fail_to_read()
    await lives(cluster, key)


async def test_a_method_that_interrupts_does_not_end_servers(cluster: Cluster, key: str) -> None:
    """KeyboardInterrupt in a method is an ObjectError as any other: it is no Ctrl-C at six terminals."""
    with pytest.raises(ObjectError, match="KeyboardInterrupt"):
        await cluster.object(Naughty, key).interrupt()
    await lives(cluster, key)


async def test_a_method_that_loops_is_stopped(cluster: Cluster, key: str) -> None:
    """A method that never ends is stopped by the time limit: an ObjectError, and servers that go on."""
    with pytest.raises(ObjectError, match="ran longer than 1000 ms"):
        await cluster.object(Naughty, key).loop()
    await lives(cluster, key)


async def test_a_method_that_sleeps_is_stopped(cluster: Cluster, key: str) -> None:
    """What waits outside Python is stopped, too, instead of keeping all servers from answering anybody."""
    with pytest.raises(ObjectError, match="ran longer than 1000 ms"):
        await cluster.object(Naughty, key).sleep(60.0)
    await lives(cluster, key)


async def test_an_answer_that_cannot_be_encoded(cluster: Cluster, key: str) -> None:
    """A method that returns what its annotation does not allow is an ObjectError."""
    with pytest.raises(ObjectError):
        await cluster.object(Naughty, key).answer_nonsense()
    await lives(cluster, key)


async def test_a_state_of_the_wrong_type(cluster: Cluster, key: str) -> None:
    """A method that leaves a field of another type than declared is an ObjectError, and the state stays."""
    with pytest.raises(ObjectError):
        await cluster.object(Naughty, key).spoil_state()
    await lives(cluster, key)


async def test_a_state_at_and_over_its_limit(cluster: Cluster, key: str) -> None:
    """Nearly 4 MiB of state are stored; a byte too many is TooLarge and leaves the state as it was."""
    naughty = cluster.object(Naughty, key)
    size = STATE_BYTES_MAX - 64
    assert await naughty.grow(size) == size
    with pytest.raises(TooLarge):
        await naughty.grow(STATE_BYTES_MAX + 1)
    await lives(cluster, key, size=size)


async def test_an_answer_over_its_limit(cluster: Cluster, key: str) -> None:
    """An answer over 1 MiB is TooLarge, and the update did not happen."""
    with pytest.raises(TooLarge):
        await cluster.object(Naughty, key).answer_much(ANSWER_BYTES_MAX + 1)
    await lives(cluster, key)


async def test_wrong_arguments_are_refused_before_anything_is_sent(cluster: Cluster, key: str) -> None:
    """Wrong types, wrong names and too large arguments are refused without a message to any server."""
    counter = cluster.object(Counter, key)
    before = cluster.requests_sent
    with pytest.raises(InvalidArguments):
        await counter.increment(by="two")
    with pytest.raises(InvalidArguments):
        await counter.increment(wrong=1)
    with pytest.raises(UnknownMethod):
        await counter.multiply(2)
    with pytest.raises(InvalidArguments):
        cluster.object(Counter, "control\ncharacter")
    assert cluster.requests_sent == before


class Stranger(Object):
    """A type that the servers do not know."""

    @update
    def touch(self) -> None:
        """Nothing."""


async def test_a_type_that_the_servers_lack(cluster: Cluster, key: str) -> None:
    """A type that no server has loaded is UnknownType and says how to load it."""
    with pytest.raises(UnknownType, match="--objects"):
        await cluster.object(Stranger, key).touch()


async def test_a_method_that_the_servers_lack(cluster: Cluster, key: str) -> None:
    """A client with a newer version of a type gets UnknownMethod from the servers."""

    class Naughty(Object):
        text: str = ""
        calls: int = 0

        @update
        def novelty(self) -> None:
            """Not known to the servers."""

    with pytest.raises(UnknownMethod, match="another version"):
        await cluster.object(Naughty, key).novelty()
