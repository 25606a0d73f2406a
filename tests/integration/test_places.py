"""Where a connection may be used: in its own event loop and process, and what happens elsewhere, and at the end."""

import asyncio
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from fivefold import CallerError, Counter, connect_blocking
from tests.integration.rig import ENVIRONMENT, PATIENCE_S, Site, client

pytestmark = pytest.mark.integration


def program(site: Site, key: str, text: str) -> str:
    """Run a program that knows FILE and KEY, and return what it prints; it must end by itself."""
    head = f"FILE, KEY = {str(site.directory / 'cluster.toml')!r}, {key!r}\n"
    done = subprocess.run(
        [sys.executable, "-c", head + text],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
        env={**os.environ, **ENVIRONMENT},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


async def test_another_event_loop_is_refused_before_anything_is_sent(site: Site, key: str) -> None:
    """A call, a resolve and a status from another loop raise CallerError, and the object is unchanged."""
    async with client(site) as cluster:
        hits = cluster.object(Counter, key)
        await hits.increment()
        call_id = hits.increment.new_id()
        sent, seen = cluster.requests_sent, []

        async def elsewhere() -> None:
            for call in (hits.increment(), hits.get(), cluster.resolve(call_id), cluster.status()):
                with pytest.raises(CallerError, match="belongs to another event loop, and nothing was sent") as caught:
                    await call
                seen.append(caught.value)

        thread = threading.Thread(target=asyncio.run, args=(elsewhere(),))
        thread.start()
        await asyncio.to_thread(thread.join)
        assert (len(seen), cluster.requests_sent) == (4, sent)
        assert await hits.get() == 1


def test_threads_share_a_blocking_connection(site: Site, key: str) -> None:
    """Several threads may use one: it has an event loop of its own."""
    with connect_blocking(site.directory / "cluster.toml") as cluster:
        hits = cluster.object(Counter, key)
        threads = [threading.Thread(target=hits.increment) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE_S)
        assert hits.get() == 8


BLOCKING_FORK = """
import os
from fivefold import CallerError, Counter, connect_blocking

with connect_blocking(FILE) as cluster:
    hits = cluster.object(Counter, KEY)
    hits.increment()
    child = os.fork()
    if child == 0:
        try:
            hits.increment()
        except CallerError as error:
            print("child:", error, flush=True)
    else:
        _, status = os.waitpid(child, 0)
        print("parent:", status, hits.get(), flush=True)
"""


def test_a_forked_child_is_refused_and_ends(site: Site, key: str) -> None:
    """A child's call is refused at once, its with block ends, and the parent's connection is none the worse."""
    lines = program(site, key, BLOCKING_FORK).splitlines()
    assert lines == [
        "child: this connection belongs to the parent process, and nothing was sent: connect here, too",
        "parent: 0 1",
    ]


ASYNC_FORK = """
import asyncio, os
from fivefold import CallerError, Counter, connect

async def main():
    async with connect(FILE) as cluster:
        hits = cluster.object(Counter, KEY)
        await hits.increment()
        child = os.fork()
        if child == 0:
            try:
                asyncio._set_running_loop(None)
                asyncio.run(hits.increment())
            except CallerError as error:
                print("child:", error, flush=True)
            os._exit(0)
        os.waitpid(child, 0)
        print("parent:", await hits.get(), flush=True)

asyncio.run(main())
"""


def test_a_forked_child_of_an_asynchronous_program_is_refused(site: Site, key: str) -> None:
    """A child that runs a loop of its own is told so before anything is sent."""
    first, second = program(site, key, ASYNC_FORK).splitlines()
    assert first.startswith("child: this connection belongs to another event loop, and nothing was sent")
    assert second == "parent: 1"


FORGOTTEN = """
from fivefold import Counter, connect_blocking

connection = connect_blocking(FILE)
hits = connection.__enter__().object(Counter, KEY)
print(hits.increment())
"""
LEFT_BY_THE_COLLECTOR = """
from fivefold import Counter, connect_blocking

hits = connect_blocking(FILE).__enter__().object(Counter, KEY)
print(hits.increment(), hits.increment())
"""


@pytest.mark.parametrize(("text", "printed"), [(FORGOTTEN, "1"), (LEFT_BY_THE_COLLECTOR, "1 2")])
def test_a_program_that_forgets_to_close_ends(site: Site, key: str, text: str, printed: str) -> None:
    """A connection that nobody closes works as long as the program, and does not keep it from ending."""
    assert program(site, key, text) == printed


def test_a_connection_that_cannot_be_made_leaves_no_thread(site: Site, tmp_path: Path) -> None:
    """When connecting fails, the thread has ended before the caller hears of it."""
    before = threading.active_count()
    with pytest.raises(Exception, match="cluster"), connect_blocking(tmp_path / "none.toml"):
        pass
    assert threading.active_count() == before
