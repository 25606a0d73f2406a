"""What lies on the disk after a crash: taken up if it is all that was promised, refused if it is not.

A crash is a copy of the files of an open store: what a killed process leaves.
"""

import asyncio
import errno
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from fivefold.errors import DataDirectoryError
from fivefold.protocol.actions import ObjectRecord, Write
from fivefold.storage import Inspector, SqliteStorage
from fivefold.storage import inspector as inspector_module
from fivefold.storage import segments as segments_module
from fivefold.storage import sqlite as sqlite_module
from fivefold.storage import writer as writer_module
from fivefold.storage.journal import PAGE_BYTES
from fivefold.storage.reach import reach_beside
from fivefold.storage.schema import log_of
from fivefold.storage.segments import GROWTH_BYTES, segment_path, segment_paths
from fivefold.storage.writer import Pace
from tests.storage_rig import Open

VALUE = bytes(1000)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "first" / "objects.sqlite"
    path.parent.mkdir()
    SqliteStorage.create(path, "cluster", "fingerprint")
    return path


def crashed(path: Path) -> Path:
    """What a kill -9 at this moment would leave."""
    number = len(list(path.parent.parent.iterdir()))
    copy = path.parent.parent / str(number) / path.name
    copy.parent.mkdir()
    for file in path.parent.glob(f"{path.name}*"):
        if not file.name.endswith("-shm"):
            shutil.copy(file, copy.parent)
    return copy


def written(number: int) -> Write:
    return Write(f"A/{number:03}", b"%d" % number, ((b"t", VALUE),))


def numbers(path: Path) -> list[int]:
    """The objects that a closed or crashed store holds, each of them whole."""
    with Inspector(path) as inspector:
        assert inspector.check() == []
        found = [int(object_id[2:]) for object_id in inspector.all_object_ids()]
        assert inspector.count() == len(found)
        for number in found:
            assert inspector.record(f"A/{number:03}") == ObjectRecord(b"%d" % number, ((b"t", VALUE),))
    return found


async def taken_up(path: Path) -> list[int]:
    """The same after a store has been opened and closed."""
    Open(path).storage.close()
    return numbers(path)


async def write(opened: Open, *wanted: int) -> None:
    for number in wanted:
        await opened.commit(number, written(number))


@pytest.fixture
def small_overlays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Overlays that are full after ten objects."""
    monkeypatch.setattr(writer_module, "OVERLAY_BYTES_MAX", 10 * 1600)


def stop_folding(opened: Open) -> None:
    """Let the database have no more pages than it has."""
    connection = opened.storage._checkpointer._connection
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages}").fetchall()


# --- taken up -------------------------------------------------------------------------------------------------


async def test_what_only_the_journal_holds_survives_a_crash(path: Path) -> None:
    """It can be looked at, and is in the database after the next clean end."""
    opened = Open(path)
    await write(opened, 1, 2, 3)
    crash = crashed(path)
    opened.storage.close()
    assert numbers(crash) == [1, 2, 3]
    assert await taken_up(crash) == [1, 2, 3]
    assert [file.name for file in crash.parent.iterdir()] == [crash.name]


async def test_a_crash_after_a_crash(path: Path) -> None:
    """A journal that is taken up goes on where it ended, again and again."""
    for number in range(1, 6):
        opened = Open(path)
        await opened.commit(1, written(number))
        crash = crashed(path)
        opened.storage.close()
        path = crash
    assert await taken_up(path) == [1, 2, 3, 4, 5]


async def test_a_crash_while_a_segment_waits_to_be_folded(path: Path, small_overlays: None) -> None:
    """Both segments are taken up, the waiting one is folded, and loads see both meanwhile."""
    opened = Open(path)
    stop_folding(opened)
    await write(opened, *range(1, 16))
    assert opened.storage._journal.segment == 2
    crash = crashed(path)
    opened.storage.close()
    assert numbers(crash) == list(range(1, 16))
    opened = Open(crash)
    assert await opened.load("A/001") == ObjectRecord(b"1", ((b"t", VALUE),))
    assert await opened.load("A/015") == ObjectRecord(b"15", ((b"t", VALUE),))
    await opened.until(lambda: opened.storage._checkpointer.mark.folded == 1)
    opened.storage.close()
    assert numbers(crash) == list(range(1, 16))


async def test_a_crash_at_any_moment(path: Path, small_overlays: None) -> None:
    """While segments are filled and folded in turn, every crash leaves everything that was durable."""
    opened = Open(path)
    for number in range(1, 61):
        await opened.commit(number, written(number))
        crash = crashed(path)
        assert numbers(crash) == list(range(1, number + 1))
        if number % 7 == 0:
            assert await taken_up(crash) == list(range(1, number + 1))
    assert opened.storage._journal.segment > 3
    opened.storage.close()


async def test_closing_folds_what_a_failing_fold_had_left(path: Path, small_overlays: None) -> None:
    """When the last fold cannot be made, the journal stays, and the next start makes it."""
    opened = Open(path)
    stop_folding(opened)
    await write(opened, *range(1, 16))
    opened.storage.close()
    assert all(file.exists() for file in segment_paths(path))
    assert await taken_up(path) == list(range(1, 16))


async def test_a_torn_tail_is_dropped(path: Path) -> None:
    """An append that the crash cut short was promised to nobody; the next one takes its place."""
    opened = Open(path)
    await write(opened, 1, 2)
    end = opened.storage._journal.end
    before = reach_beside(path).read_bytes()
    await opened.commit(3, written(3), written(4), written(5))
    crash = crashed(path)
    opened.storage.close()
    with segment_path(crash, 1).open("r+b") as file:
        file.seek(end + 40)
        file.write(b"torn")
    reach_beside(crash).write_bytes(before)
    assert numbers(crash) == [1, 2]
    opened = Open(crash)
    await write(opened, 6)
    opened.storage.close()
    assert numbers(crash) == [1, 2, 6]


# --- refused --------------------------------------------------------------------------------------------------


def refused(path: Path, sentence: str) -> None:
    """Neither opened nor looked into, and nothing is changed."""
    before = {file: file.read_bytes() for file in path.parent.iterdir() if not file.name.endswith("-shm")}
    loop = asyncio.new_event_loop()
    with pytest.raises(DataDirectoryError, match=re.escape(sentence)):
        SqliteStorage(path, loop, lambda sequence: None)
    loop.close()
    with Inspector(path) as inspector:
        assert any(sentence in problem for problem in inspector.check())
        with pytest.raises(DataDirectoryError, match=re.escape(sentence)):
            inspector.count()
    assert (
        before.items()
        <= {file: file.read_bytes() for file in path.parent.iterdir() if not file.name.endswith("-shm")}.items()
    )


async def crash_of(path: Path, *wanted: int) -> Path:
    opened = Open(path)
    await write(opened, *wanted)
    crash = crashed(path)
    opened.storage.close()
    return crash


@pytest.mark.parametrize("size", [100, PAGE_BYTES, GROWTH_BYTES - 1])
async def test_a_journal_that_was_cut_is_refused(path: Path, size: int) -> None:
    """A file shorter than it was made has lost what was promised; a torn append does not shorten it."""
    crash = await crash_of(path, 1, 2, 3)
    for file in segment_paths(crash):
        os.truncate(file, size)
    refused(crash, f"has been cut to {size} bytes")


@pytest.mark.parametrize("slots", [(0,), (1,), (0, 1)])
async def test_a_missing_journal_is_refused(path: Path, slots: tuple[int, ...]) -> None:
    """Whoever takes a file of the journal away takes away what was promised."""
    crash = await crash_of(path, 1, 2)
    for slot in slots:
        segment_paths(crash)[slot].unlink()
    refused(crash, "is missing although this server has stored data")


async def test_an_emptied_journal_is_refused(path: Path) -> None:
    """Zeros are not a journal without records."""
    crash = await crash_of(path, 1, 2)
    segment_path(crash, 1).write_bytes(bytes(segment_path(crash, 1).stat().st_size))
    refused(crash, "does not hold segment 1, which comes next")


async def test_another_databases_journal_is_refused(path: Path, tmp_path: Path) -> None:
    """Its records name another epoch."""
    crash = await crash_of(path, 1, 2)
    other = tmp_path / "other" / path.name
    other.parent.mkdir()
    SqliteStorage.create(other, "cluster", "fingerprint")
    for file in segment_paths(await crash_of(other, 7, 8)):
        shutil.copy(file, crash.parent)
    refused(crash, "does not hold segment 1, which comes next")


async def test_an_older_journal_is_refused(path: Path, small_overlays: None) -> None:
    """Beside a database that has folded more than the journal knows of."""
    opened = Open(path)
    await write(opened, *range(1, 4))
    early = crashed(path)
    await write(opened, *range(4, 46))
    await opened.until(lambda: opened.storage._checkpointer.mark.folded >= 3)
    late = crashed(path)
    opened.storage.close()
    for file in segment_paths(early):
        shutil.copy(file, late.parent)
    refused(late, "which comes next: it is another database's or older")


async def test_a_lost_log_is_refused_once_the_journal_has_gone_on(path: Path, small_overlays: None) -> None:
    """Without its log the database needs segments that were written over since."""
    opened = Open(path, on_generation=lambda generation: None, generation_seconds=60)
    await write(opened, *range(1, 46))
    await opened.until(lambda: opened.storage._checkpointer.mark.folded >= 3)
    crash = crashed(path)
    opened.storage.close()
    log_of(crash).unlink()
    refused(crash, "does not hold segment 1, which comes next")


async def test_a_journal_that_lost_its_end_is_refused(path: Path) -> None:
    """The database knows how far it had got when the last generation was taken."""
    opened = Open(path, on_generation=lambda generation: None)
    number = 0
    while opened.storage._checkpointer.mark.end < 3 * PAGE_BYTES:
        number += 1
        await write(opened, number)
    end = opened.storage._checkpointer.mark.end
    crash = crashed(path)
    opened.storage.close()
    with segment_path(crash, 1).open("r+b") as file:
        file.seek(end - PAGE_BYTES)
        file.write(bytes((number + 2) * PAGE_BYTES))
    refused(crash, f"ends at {end - PAGE_BYTES} of segment 1 although it had reached {end} of segment 1")


async def test_damage_in_the_middle_is_refused(path: Path) -> None:
    """A record that rotted before a whole one was promised."""
    crash = await crash_of(path, 1, 2, 3)
    with segment_path(crash, 1).open("r+b") as file:
        file.seek(2 * PAGE_BYTES + 200)
        file.write(b"rot")
    refused(crash, "is damaged (the record at 8192 of segment 1 is damaged, and later ones are whole)")


async def test_damage_at_the_end_of_a_full_segment_is_refused(path: Path, small_overlays: None) -> None:
    """The next segment says where the one before it ended."""
    opened = Open(path)
    stop_folding(opened)
    await write(opened, *range(1, 16))
    crash = crashed(path)
    opened.storage.close()
    with segment_path(crash, 1).open("r+b") as file:
        file.seek(10 * PAGE_BYTES + 200)
        file.write(b"rot")
    refused(crash, "the record at 40960 of segment 1 is damaged, and it reached 45056")


async def test_a_damaged_opening_is_refused(path: Path, small_overlays: None) -> None:
    """The last segment's first record rotted: its others are not taken for left-overs."""
    opened = Open(path)
    stop_folding(opened)
    await write(opened, *range(1, 16))
    crash = crashed(path)
    opened.storage.close()
    with segment_path(crash, 2).open("r+b") as file:
        file.write(b"rot")
    refused(crash, "the record at 0 of segment 2 is damaged, and later ones are whole")


# --- left over ------------------------------------------------------------------------------------------------


async def test_a_crash_before_the_folded_journal_is_removed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database has everything and says so: its own old journal is removed."""
    monkeypatch.setattr(sqlite_module, "remove_journal", lambda path: None)
    opened = Open(path)
    await write(opened, 1, 2)
    opened.storage.close()
    assert all(file.exists() for file in segment_paths(path))
    monkeypatch.undo()
    assert await taken_up(path) == [1, 2]
    assert not any(file.exists() for file in segment_paths(path))


async def test_a_crash_before_the_database_knows_of_its_new_journal(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A journal that was made and never written to is made again."""
    Open(path).storage.close()

    def fail(*arguments: object, **options: object) -> None:
        raise OSError(errno.EIO, "crash")

    monkeypatch.setattr(sqlite_module, "Checkpointer", fail)
    with pytest.raises(OSError, match="crash"):
        Open(path)
    assert all(file.exists() for file in segment_paths(path))
    monkeypatch.undo()
    assert await taken_up(path) == []


async def test_both_crashes_one_after_the_other(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The old journal was not removed, and the new one was made in its place: nothing of the old one is left in it."""
    monkeypatch.setattr(sqlite_module, "remove_journal", lambda path: None)
    opened = Open(path)
    await write(opened, 1, 2)
    opened.storage.close()
    monkeypatch.undo()

    def fail(*arguments: object, **options: object) -> None:
        raise OSError(errno.EIO, "crash")

    monkeypatch.setattr(sqlite_module, "Checkpointer", fail)
    with pytest.raises(OSError, match="crash"):
        Open(path)
    monkeypatch.undo()
    assert await taken_up(path) == [1, 2]


async def test_a_journal_beside_a_database_that_does_not_know_it_is_refused(path: Path) -> None:
    """A database that was closed before, with the journal of a later run: what that holds would be forgotten."""
    Open(path).storage.close()
    closed = shutil.copy(path, path.with_name("closed"))
    crash = await crash_of(path, 1, 2)
    log_of(crash).unlink()
    shutil.move(closed, crash)
    refused(crash, "is not of the last run of objects.sqlite")


# --- the disk fails -------------------------------------------------------------------------------------------


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], list[tuple[int, bytes]]]]:
    """Make the next appends fail with an error after half of each is written; returns all later ones."""
    seen: list[tuple[int, bytes]] = []
    left, error = 0, 0
    original = os.pwrite

    def pwrite(descriptor: int, data: memoryview, offset: int) -> int:
        nonlocal left
        seen.append((offset, bytes(data)))
        if left == 0:
            return original(descriptor, data, offset)
        left -= 1
        with suppress(OSError):
            original(descriptor, data[: PAGE_BYTES * (len(data) // PAGE_BYTES // 2)], offset)
        raise OSError(error, os.strerror(error))

    def fail(code: int, times: int = 2) -> list[tuple[int, bytes]]:
        nonlocal left, error
        seen.clear()
        left, error = times, code
        return seen

    monkeypatch.setattr(segments_module.os, "pwrite", pwrite)
    yield fail
    monkeypatch.undo()


async def test_a_failed_sync_promises_nothing_and_writes_again(path: Path, failing: Callable[..., list]) -> None:
    """Nothing is durable while appends fail; the whole record is written again in its place, and then it is."""
    opened = Open(path)
    await write(opened, 1)
    end = opened.storage._journal.end
    seen = failing(errno.EIO)
    opened.storage.stage(2, [Write("A/002", b"2", ((b"t", VALUE * 20),))])
    await opened.until(lambda: opened.storage.failure)
    assert "OSError" in (opened.storage.failure or "")
    assert opened.durable == [1]
    assert await opened.load("A/002") is None
    crash = crashed(path)
    await opened.until(lambda: opened.durable == [1, 2])
    assert opened.storage.failure is None
    assert [(offset, len(data)) for offset, data in seen] == [(end, 20480)] * 3
    assert len({data for _, data in seen}) == 1
    opened.storage.close()
    assert numbers(crash) == [1]


async def test_a_full_disk_uses_the_room_that_the_journal_has(
    path: Path, failing: Callable[..., list], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An append for which there is no room goes to the other file, and this one is folded."""
    monkeypatch.setattr(Pace, "is_quick", False)  # the event loop would try once, and leave the next one to the thread
    opened = Open(path)
    await write(opened, 1)
    failing(errno.ENOSPC, times=1)
    await write(opened, 2)
    assert opened.storage._journal.segment == 2
    crash = crashed(path)
    opened.storage.close()
    assert numbers(crash) == numbers(path) == [1, 2]


async def test_a_file_system_without_direct_access_will_do(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it is refused, writes go through the system's cache, synced all the same."""
    original, refusals = os.open, 0

    def open_(path: Path, flags: int, mode: int = 0o777) -> int:
        nonlocal refusals
        if flags & os.O_DIRECT:
            refusals += 1
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        assert not flags & os.O_RDWR or flags & os.O_DSYNC
        return original(path, flags, mode)

    monkeypatch.setattr(segments_module.os, "open", open_)
    opened = Open(path)
    assert refusals == 2
    await write(opened, 1)
    crash = crashed(path)
    opened.storage.close()
    assert numbers(crash) == [1]


async def test_a_record_ends_in_zeros(path: Path) -> None:
    """What a longer record before it left in the buffer is not written behind a shorter one."""
    opened = Open(path)
    await opened.commit(1, Write("A/001", b"\xff" * 30_000))
    start = opened.storage._journal.end
    await opened.commit(2, Write("A/001", b"h"))
    opened.storage._journal.close()
    data = segment_path(path, 1).read_bytes()
    assert data[start : start + PAGE_BYTES].rstrip(b"\0")[-1:] != b"\xff"
    assert not any(data[start + 100 : start + PAGE_BYTES])
    opened.storage.close()


async def test_commits_slow_down_before_a_segment_is_full(
    path: Path, small_overlays: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a fold is under way each commit beyond half of the next segment waits for it a little."""
    opened = Open(path)
    stop_folding(opened)
    await write(opened, *range(1, 14))
    monkeypatch.setattr(writer_module, "BRAKE_SECONDS", 0.2)
    begin = time.monotonic()
    await write(opened, 14)
    assert time.monotonic() - begin < 0.2
    await write(opened, 15, 16)
    begin = time.monotonic()
    await write(opened, 17)
    assert time.monotonic() - begin >= 0.2
    opened.storage.close()


async def test_a_huge_transaction_does_not_keep_its_room(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that grew far beyond a segment is cut when it is used again."""
    monkeypatch.setattr(segments_module, "SEGMENT_BYTES_MAX", 2**20)
    monkeypatch.setattr(writer_module, "SEGMENT_BYTES_MAX", 2**20)
    opened = Open(path)
    await opened.commit(1, Write("A/001", b"h", ((b"t", bytes(5 * 2**20)),)))
    assert segment_path(path, 1).stat().st_size > 5 * 2**20
    for sequence in range(2, 6):
        await opened.commit(sequence, Write("A/002", b"h", ((b"t", bytes(600_000)),)))
    assert segment_path(path, 1).stat().st_size < 3 * 2**20
    opened.storage.close()
    with Inspector(path) as inspector:
        assert inspector.object_ids() == ["A/001", "A/002"]


async def test_objects_in_both_places_are_one(path: Path) -> None:
    """Ids and counts are of objects, wherever they are; pages are as long as asked for."""
    opened = Open(path)
    await write(opened, 1, 3, 5)
    opened.reopen()
    for sequence, number in enumerate((2, 3, 4), 6):
        await opened.commit(sequence, written(number))
    crash = crashed(path)
    opened.storage.close()
    assert numbers(crash) == [1, 2, 3, 4, 5]
    with Inspector(crash) as inspector:
        assert inspector.object_ids(limit=2) == ["A/001", "A/002"]
        assert inspector.object_ids(after="A/002", limit=2) == ["A/003", "A/004"]


async def test_a_journal_that_changes_while_it_is_read_is_read_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A segment that is written over meanwhile looks like a missing one; so it does when it is missing, in the end."""
    crash = await crash_of(path, 1, 2)
    original, failures = inspector_module.recover, 3

    def recover(*arguments: Any) -> object:
        nonlocal failures
        failures -= 1
        if failures >= 0:
            raise DataDirectoryError("written over")
        return original(*arguments)

    monkeypatch.setattr(inspector_module, "recover", recover)
    assert numbers(crash) == [1, 2]
    failures = 1000
    with Inspector(crash) as inspector, pytest.raises(DataDirectoryError, match="written over"):
        inspector.count()


@pytest.mark.long
@pytest.mark.ci
async def test_an_inspector_looks_on_while_segments_are_folded(path: Path, small_overlays: None) -> None:
    """Beside a store that writes and folds all the time it sees one moment: objects up to some number, all whole."""
    opened = Open(path)
    sequence = 0

    def write_on(durable: int) -> None:
        nonlocal sequence
        for _ in range(4):
            sequence += 1
            opened.storage.stage(sequence, [written(sequence)])

    opened.during = write_on
    write_on(0)
    looks = 0
    while looks < 30 or opened.storage._journal.segment < 6:
        looks += 1
        found = await asyncio.to_thread(numbers, path)
        assert sorted(found) == list(range(1, len(found) + 1))
    opened.during = lambda durable: None
    opened.storage.close()
