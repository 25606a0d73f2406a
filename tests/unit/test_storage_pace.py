"""Who commits: the writer's thread, or the event loop by itself where the disk is quick."""

import asyncio
import threading
from pathlib import Path

import pytest

from fivefold.protocol.actions import ObjectRecord, Write
from fivefold.storage import Inspector
from fivefold.storage import writer as writer_module
from fivefold.storage.checkpointer import Fold
from fivefold.storage.writer import (
    AT_ONCE_BYTES_MAX,
    BRAKE_FULLNESS,
    QUICK_COMMITS,
    QUICK_SECONDS,
    Pace,
    Staged,
)
from tests.storage_rig import SECONDS_MAX, Open


@pytest.fixture
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """What can be committed in the event loop's thread is."""
    monkeypatch.setattr(Pace, "is_quick", True)


def test_a_disk_is_quick_if_one_of_the_last_commits_was() -> None:
    """Any commit may have waited for a processor; a disk that was quick a while ago is not quick for ever."""
    pace = Pace()
    assert not pace.is_quick, "nothing is known of it yet"
    pace.note(QUICK_SECONDS / 2)
    for _ in range(QUICK_COMMITS - 1):
        pace.note(1.0)
    assert pace.is_quick
    pace.note(QUICK_SECONDS)
    assert not pace.is_quick


async def test_each_commit_says_how_quick_the_disk_is(opened: Open) -> None:
    """By either thread: the first by the writer's, the others by the event loop's while the disk is quick."""
    noted: list[float] = []
    pace = opened.storage._writer._pace
    pace.note = noted.append  # type: ignore[method-assign]
    await opened.commit(1, Write("A/x", b"h"))
    pace._seconds.append(0)
    await opened.commit(2, Write("A/x", b"i"))
    assert opened.durable == [1, 2]
    assert len(noted) == 2
    assert all(0 < seconds < 30 for seconds in noted)


@pytest.mark.usefixtures("quick_disk")
async def test_on_a_quick_disk_a_turn_of_the_event_loop_is_one_commit(opened: Open) -> None:
    """What many connections bring in one turn is durable with the next, and no other thread has been asked."""
    opened.storage._writer.stage = no_thread  # type: ignore[method-assign]
    for sequence in (1, 2, 3):
        opened.storage.stage(sequence, [Write("A/x", b"%d" % sequence)])
    assert opened.durable == []
    await asyncio.sleep(0)
    assert (opened.durable, opened.storage.staged_bytes) == ([3], 0)
    opened.storage.stage(4, [Write("A/y", b"4")])
    await asyncio.sleep(0)
    assert opened.durable == [3, 4]
    assert await opened.load("A/x") == ObjectRecord(b"3", ())


def no_thread(staged: Staged) -> None:
    """In place of the writer's ``stage``."""
    raise AssertionError("handed over to the thread")


@pytest.mark.usefixtures("quick_disk")
async def test_large_commits_are_left_to_the_thread(opened: Open) -> None:
    """However quick the disk: one at the limit is not, one above it is."""
    at_limit = Write("A/x", b"h" * (AT_ONCE_BYTES_MAX - 3))
    for sequence, write in enumerate([at_limit, Write("A/x", at_limit.history + b"h")], start=1):
        opened.storage.stage(sequence, [write])
        await asyncio.sleep(0)
        assert opened.durable == [1]
    await opened.until(lambda: opened.durable == [1, 2])


@pytest.mark.usefixtures("quick_disk")
async def test_closing_commits_what_this_turn_has_staged(opened: Open, path: Path) -> None:
    """The turn does not end before the store is closed."""
    opened.storage.stage(1, [Write("A/x", b"h")])
    opened.storage.close()
    with Inspector(path) as inspector:
        assert inspector.record("A/x") == ObjectRecord(b"h", ())
    await asyncio.sleep(0)
    assert opened.durable == []


async def test_what_is_staged_while_the_thread_commits_does_not_overtake(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if the disk turns out to be quick meanwhile."""
    monkeypatch.setattr(Pace, "is_quick", False)
    opened.storage.stage(1, [Write("A/x", b"1")])
    monkeypatch.setattr(Pace, "is_quick", True)
    opened.storage.stage(2, [Write("A/x", b"2")])
    assert opened.durable == []
    await opened.until(lambda: opened.durable and opened.durable[-1] == 2)
    assert await opened.load("A/x") == ObjectRecord(b"2", ())


@pytest.mark.usefixtures("quick_disk")
async def test_a_commit_that_fails_at_once_is_tried_again_by_the_thread(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is told durable, nothing lost, and what is staged meanwhile waits for its turn."""
    await opened.commit(1, Write("A/x", b"before"))
    append = opened.storage._journal.append

    def fail(payload: bytes) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(opened.storage._journal, "append", fail)
    opened.storage.stage(2, [Write("A/x", b"after")])
    opened.storage.stage(3, [Write("A/y", b"after")])
    await opened.until(lambda: opened.storage.failure)
    assert "Input/output error" in (opened.storage.failure or "")
    assert (opened.durable, await opened.load("A/x")) == ([1], ObjectRecord(b"before", ()))
    monkeypatch.setattr(opened.storage._journal, "append", append)
    await opened.until(lambda: opened.durable[-1] == 3)
    assert opened.storage.failure is None
    assert await opened.load("A/x") == ObjectRecord(b"after", ())


@pytest.mark.usefixtures("quick_disk")
async def test_the_event_loop_never_waits_for_a_fold(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one is under way commits from half of a segment on are the thread's, which lets it catch up."""
    monkeypatch.setattr(writer_module, "OVERLAY_BYTES_MAX", 20_000)
    writer, checkpointer, sequence = opened.storage._writer, opened.storage._checkpointer, 0
    may_fold, commit = threading.Event(), checkpointer._commit

    def fold_later(fold: Fold) -> None:
        may_fold.wait(SECONDS_MAX)
        commit(fold)

    async def is_next_at_once() -> bool:
        nonlocal sequence
        sequence += 1
        opened.storage.stage(sequence, [Write(f"A/{sequence}", b"h" * 1000)])
        await asyncio.sleep(0)
        return opened.durable[-1:] == [sequence]

    checkpointer._commit = fold_later  # type: ignore[method-assign]
    while opened.storage._journal.segment == 1 or writer._fullness() < BRAKE_FULLNESS:
        assert sequence < 100
        await is_next_at_once()
        await opened.until(lambda: opened.durable and opened.durable[-1] == sequence)
    assert not await is_next_at_once()
    await opened.until(lambda: opened.durable[-1] == sequence)
    may_fold.set()
    await opened.until(checkpointer.wait_idle)
    assert await is_next_at_once()
