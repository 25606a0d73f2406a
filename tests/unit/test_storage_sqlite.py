"""The durable store: group commit, damage, full disks, and what survives."""

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fivefold.protocol.actions import Damaged, ObjectRecord, Page, Write
from fivefold.protocol.history import Entry, encode_history, floor_of
from fivefold.protocol.operations import ObjectId
from fivefold.storage import Inspector, SqliteStorage
from fivefold.storage import reader as reader_module
from fivefold.storage import schema as schema_module
from fivefold.storage import sqlite as sqlite_module
from fivefold.storage import writer as writer_module
from fivefold.storage.ledger import Ledger
from fivefold.storage.schema import HISTORY, connect, log_of, write_rows
from fivefold.storage.segments import segment_paths
from fivefold.storage.sqlite import GIVE_WAY_SECONDS
from fivefold.storage.writer import Pace
from tests.protocol_rig import candidate
from tests.storage_rig import SECONDS_MAX, Open


@pytest.fixture(params=[False, True], ids=["slow disk", "quick disk"])
def either_pace(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commits in the writer's thread, or in the event loop's where that is possible."""
    monkeypatch.setattr(Pace, "is_quick", request.param)


# --- group commit ---------------------------------------------------------------------------------------------


async def test_what_is_staged_during_a_commit_goes_into_the_next(opened: Open) -> None:
    """A thousand transactions staged at once need far fewer commits."""
    for sequence in range(1, 1001):
        opened.storage.stage(sequence, [Write(f"A/{sequence}", b"h")])
    await opened.until(lambda: opened.durable and opened.durable[-1] == 1000)
    assert len(opened.durable) < 100


async def test_what_waits_is_not_committed_all_at_once(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """One record takes a limited number of bytes, or one transaction."""
    monkeypatch.setattr(writer_module, "BATCH_BYTES_MAX", 10_000)
    for sequence in range(1, 41):
        opened.storage.stage(sequence, [Write(f"A/{sequence}", bytes(5000))])
    await opened.until(lambda: opened.durable and opened.durable[-1] == 40)
    assert len(opened.durable) > 12


async def test_a_commit_that_is_overdue_is_given_a_turn(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """A loop that always has work lets the writer have the interpreter lock; not one whose commits come in time."""
    turns: list[float] = []
    monkeypatch.setattr(sqlite_module.time, "sleep", turns.append)
    monkeypatch.setattr(sqlite_module, "PATIENCE_SECONDS", SECONDS_MAX)
    opened.storage.give_way()
    opened.storage.stage(1, [Write("A/x", b"h")])
    opened.storage.give_way()
    assert turns == [], "nothing waits, or not for long"
    monkeypatch.setattr(sqlite_module, "PATIENCE_SECONDS", 0)
    opened.storage.give_way()
    assert turns == [GIVE_WAY_SECONDS]
    await opened.until(lambda: opened.durable)
    opened.storage.give_way()
    assert turns == [GIVE_WAY_SECONDS], "all is durable"


async def test_staged_bytes_count_ids_histories_versions_and_deletes(opened: Open) -> None:
    """What is staged counts until the event loop has heard that it is durable."""
    opened.storage.stage(1, [Write("A/x", b"1234", ((b"t", b"56"),), (b"dd",))])
    assert opened.storage.staged_bytes == 3 + 4 + 3 + 2


async def test_closing_commits_what_is_staged(opened: Open, path: Path) -> None:
    """A write that was staged just before close is there after it, although nobody was told."""
    opened.storage.stage(1, [Write("A/x", b"h")])
    opened.storage.close()
    with Inspector(path) as inspector:
        assert inspector.record("A/x") == ObjectRecord(b"h", ())
    assert opened.durable == []


async def test_closing_leaves_one_file(opened: Open, path: Path) -> None:
    """After a clean end the log is folded into the database, so that copying one file copies all."""
    await opened.commit(1, Write("A/x", b"h"))
    opened.storage.close()
    assert [file.name for file in path.parent.iterdir()] == [path.name]


async def test_every_open_and_clean_close_takes_a_generation(path: Path) -> None:
    """Generations count up in the database: 1 when made, 2 open, 3 closed, 4 open again."""
    for expected in (2, 4):
        opened = Open(path)
        assert opened.storage.generation == expected
        opened.storage.close()


@pytest.mark.usefixtures("either_pace")
async def test_a_store_that_is_written_to_takes_generations(path: Path) -> None:
    """With no time between generations every commit takes one, and the record hears of it after the database has it."""
    heard: list[tuple[int, object]] = []

    def hear(generation: int) -> None:
        with Inspector(path) as inspector:
            heard.append((generation, inspector.generation()))

    opened = Open(path, on_generation=hear)
    await opened.commit(1, Write("A/x", b"h"))
    opened.storage.close()
    assert heard == [(2, 2), (3, 3), (4, 4)]


async def test_a_record_that_cannot_follow_is_reported_and_does_not_stop_commits(path: Path) -> None:
    """A failing identity directory is a sentence in record_failure; updates go on."""

    def fail(generation: int) -> None:
        raise OSError(28, "No space left on device")

    opened = Open(path, on_generation=fail)
    await opened.commit(1, Write("A/x", b"h"))
    assert opened.storage.failure is None
    assert "No space left" in (opened.storage.record_failure or "")
    opened.storage.close()


async def test_a_loop_that_is_closed_first_does_not_stop_the_writer(path: Path) -> None:
    """Commits after the end of the event loop are kept, and close still ends both threads."""
    loop = asyncio.new_event_loop()
    storage = SqliteStorage(path, loop, lambda sequence: None)
    loop.close()
    storage.stage(1, [Write("A/x", b"h")])
    storage.close()
    with Inspector(path) as inspector:
        assert inspector.record("A/x") == ObjectRecord(b"h", ())


# --- statements -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 127, 128, 129, 256, 257])
def test_statements_split_at_their_row_limit(path: Path, count: int) -> None:
    """One row fewer, exactly as many, and one more than a statement holds: all are written, all can be deleted."""
    connection = connect(path, cache_kib=1024)
    write_rows(connection, {(f"A/{number}", HISTORY): b"h" for number in range(count)})
    assert connection.execute("SELECT count(*) FROM records").fetchone() == (count,)
    write_rows(connection, {(f"A/{number}", HISTORY): None for number in range(count)})
    assert connection.execute("SELECT count(*) FROM records").fetchone() == (0,)
    connection.close()


def test_statements_split_at_their_byte_limit(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row larger than the limit still goes, alone."""
    monkeypatch.setattr(schema_module, "STATEMENT_BYTES_MAX", 10)
    connection = connect(path, cache_kib=1024)
    write_rows(connection, {(f"A/{size}", HISTORY): bytes(size) for size in (4, 6, 1, 11, 50, 3)})
    assert connection.execute("SELECT count(*) FROM records").fetchone() == (6,)
    connection.close()


def test_deleting_searches_by_key(path: Path) -> None:
    """The shape of our DELETE uses the index; `IN (VALUES …)` would scan every row."""
    connection = connect(path, cache_kib=1024)
    condition = " OR ".join(["(object_id = ? AND row_key = ?)"] * 128)
    plan = connection.execute(f"EXPLAIN QUERY PLAN DELETE FROM records WHERE {condition}", ["a"] * 256).fetchall()
    assert not [row for row in plan if row[3].startswith("SCAN")]
    connection.close()


# --- damage ---------------------------------------------------------------------------------------------------


async def damage(opened: Open, path: Path, statement: str) -> None:
    await opened.commit(1, Write("A/x", b"history", ((b"1", b"one"),)), Write("A/y", b"fine"))
    opened.reopen()
    other = sqlite3.connect(path)
    with other:
        other.execute(statement)
    other.close()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE records SET data = x'00' WHERE object_id = 'A/x' AND row_key = x''",
        "UPDATE records SET row_key = x'77' WHERE object_id = 'A/x' AND row_key <> x''",
        "UPDATE records SET object_id = 'A/z' WHERE object_id = 'A/x' AND row_key <> x''",
        "DELETE FROM records WHERE object_id = 'A/x' AND row_key = x''",
    ],
)
async def test_a_damaged_object_is_not_answered(opened: Open, path: Path, statement: str) -> None:
    """Changed contents, a changed key and a lost history are seen: the object is damaged, and others go on."""
    await damage(opened, path, statement)
    damaged = "A/z" if "A/z" in statement else "A/x"
    found = await opened.load(damaged)
    assert isinstance(found, Damaged)
    assert damaged in found.reason
    assert await opened.load("A/y") == ObjectRecord(b"fine", ())
    assert opened.storage.failure is None


async def test_a_repaired_object_is_loaded_after_all(opened: Open, path: Path) -> None:
    """Whoever asks again later reads the disk again."""
    await damage(opened, path, "UPDATE records SET checksum = checksum + 1 WHERE object_id = 'A/x'")
    assert isinstance(await opened.load("A/x"), Damaged)
    other = sqlite3.connect(path)
    with other:
        other.execute("UPDATE records SET checksum = checksum - 1 WHERE object_id = 'A/x'")
    other.close()
    assert await opened.load("A/x") == ObjectRecord(b"history", ((b"1", b"one"),))


@pytest.mark.parametrize(
    ("error", "attempts"),
    [("SQLITE_IOERR_READ", 4), ("SQLITE_BUSY", 4), ("SQLITE_CORRUPT_INDEX", 1), ("SQLITE_NOTADB", 1), (None, 4)],
)
async def test_what_cannot_be_read_is_tried_again_and_then_damaged(
    opened: Open, monkeypatch: pytest.MonkeyPatch, error: str | None, attempts: int
) -> None:
    """A disk may be busy, a sector may be lost: after four attempts the object is damaged, and others did not wait."""
    monkeypatch.setattr(reader_module, "RETRY_SECONDS", 0.01)
    original, seen = Ledger.read, 0

    def read(self: Ledger, connection: sqlite3.Connection, object_id: str) -> ObjectRecord | None:
        nonlocal seen
        if object_id != "A/x":
            return original(self, connection, object_id)
        seen += 1
        failure: Exception = MemoryError() if error is None else sqlite3.OperationalError("it fails")
        if error is not None:
            failure.sqlite_errorname = error  # type: ignore[attr-defined]
        raise failure

    monkeypatch.setattr(Ledger, "read", read)
    found: list[ObjectRecord | Damaged | None] = []
    opened.storage.load("A/x", found.append)
    assert await opened.load("A/y") is None
    await opened.until(lambda: found)
    assert isinstance(found[0], Damaged)
    assert found[0].reason.startswith("A/x cannot be read: ")
    assert (seen, opened.storage.failure) == (attempts, None)


async def test_a_read_that_works_at_the_second_attempt_is_answered(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What fails once is not damage."""
    monkeypatch.setattr(reader_module, "RETRY_SECONDS", 0.01)
    await opened.commit(1, Write("A/x", b"h"))
    original, failures = Ledger.read, 1

    def read(self: Ledger, connection: sqlite3.Connection, object_id: str) -> ObjectRecord | None:
        nonlocal failures
        failures -= 1
        if failures >= 0:
            raise sqlite3.OperationalError("disk I/O error")
        return original(self, connection, object_id)

    monkeypatch.setattr(Ledger, "read", read)
    assert await opened.load("A/x") == ObjectRecord(b"h", ())


# --- full disks -----------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB."""
    mount = tmp_path / "disk"
    mount.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(mount)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"cannot mount a tmpfs: {done.stderr.strip()}")
    yield mount
    subprocess.run(["umount", "-l", str(mount)], check=True)


@pytest.mark.usefixtures("either_pace")
async def test_a_full_disk_keeps_what_is_staged_until_there_is_room(small_disk: Path) -> None:
    """Nothing is told durable while the disk is full; when room appears everything commits, in order."""
    path = small_disk / "objects.sqlite"
    SqliteStorage.create(path, "cluster", "fingerprint")
    opened = Open(path)
    await opened.commit(1, Write("A/x", b"before", ((b"1", b"v" * 1000),)))
    ballast = small_disk / "ballast"
    fill(ballast)
    for sequence in (2, 3):
        opened.storage.stage(sequence, [Write("A/x", b"during", ((b"%d" % sequence, b"w" * 300_000),))])
    await opened.until(lambda: opened.storage.failure)
    assert "full" in (opened.storage.failure or "")
    assert await opened.load("A/x") == ObjectRecord(b"before", ((b"1", b"v" * 1000),))
    assert opened.storage.staged_bytes > 600_000
    assert opened.durable == [1]
    ballast.unlink()
    await opened.until(lambda: opened.durable[-1] == 3)
    assert (opened.storage.failure, opened.storage.staged_bytes) == (None, 0)
    record = await opened.load("A/x")
    assert record is not None
    assert [key for key, _ in record.rows] == [b"1", b"2", b"3"]
    opened.storage.close()
    with Inspector(path) as inspector:
        assert inspector.check() == []


@pytest.mark.usefixtures("either_pace")
async def test_a_disk_full_of_the_journal_itself_goes_on(small_disk: Path) -> None:
    """What fills the disk is the journal of many updates of one object: it is folded, and commits go on."""
    path = small_disk / "objects.sqlite"
    SqliteStorage.create(path, "cluster", "fingerprint")
    opened = Open(path)
    for sequence in range(1, 104):  # 100 kB each: two and a half times the disk
        await opened.commit(sequence, Write("A/x", b"h", ((b"1", bytes([sequence]) * 100_000),)))
    assert opened.storage.failure is None
    assert sum(file.stat().st_size for file in segment_paths(path)) > 1024 * 1024
    opened.storage.close()


@pytest.mark.usefixtures("either_pace")
async def test_a_disk_full_of_the_log_goes_on(small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What fills the disk is the log of many folds of one object: it is emptied, and folds go on."""
    monkeypatch.setattr(writer_module, "OVERLAY_BYTES_MAX", 50_000)
    path = small_disk / "objects.sqlite"
    SqliteStorage.create(path, "cluster", "fingerprint")
    opened = Open(path)
    for sequence in range(1, 104):
        await opened.commit(sequence, Write("A/x", b"h", ((b"1", bytes([sequence]) * 100_000),)))
        if sequence == 3:  # the database file has reached its size
            opened.reopen()
    assert opened.storage.failure is None
    assert log_of(path).stat().st_size > 1024 * 1024
    opened.storage.close()


def fill(path: Path) -> None:
    """Write until not one byte more fits."""
    with path.open("wb", buffering=0) as file:
        for size in (65536, 4096, 1):
            try:
                while file.write(bytes(size)):
                    pass
            except OSError:
                continue


@pytest.mark.usefixtures("either_pace")
async def test_closing_on_a_full_disk_ends(small_disk: Path) -> None:
    """Close gives up on what cannot be committed; what was durable before is whole."""
    path = small_disk / "objects.sqlite"
    SqliteStorage.create(path, "cluster", "fingerprint")
    opened = Open(path)
    await opened.commit(1, Write("A/x", b"before"))
    fill(small_disk / "ballast")
    opened.storage.stage(2, [Write("A/x", b"after", ((b"1", b"w" * 300_000),))])
    await opened.until(lambda: opened.storage.failure)
    opened.storage.close()
    (small_disk / "ballast").unlink()
    with Inspector(path) as inspector:
        assert inspector.record("A/x") == ObjectRecord(b"before", ())
        assert inspector.check() == []


@pytest.fixture
def small_overlays(monkeypatch: pytest.MonkeyPatch) -> int:
    """Overlays that are full after some ten writes of a kilobyte."""
    monkeypatch.setattr(writer_module, "OVERLAY_BYTES_MAX", 20_000)
    return 20_000


@pytest.mark.usefixtures("either_pace")
async def test_a_database_that_cannot_grow_stops_commits_once_the_journal_is_full(
    opened: Open, small_overlays: int
) -> None:
    """While folds fail commits go on in what room there is; then they wait, say why, and go on once folds work."""
    connection = opened.storage._checkpointer._connection
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages}").fetchall()
    sequence = 0
    while opened.storage.failure is None:
        sequence += 1
        opened.storage.stage(sequence, [Write(f"A/{sequence}", b"h" * 1000)])
        await asyncio.sleep(0.002)
    assert "full" in opened.storage.failure
    assert small_overlays < 1500 * opened.durable[-1] < 3 * small_overlays
    assert opened.durable[-1] < sequence
    assert await opened.load("A/1") == ObjectRecord(b"h" * 1000, ())
    connection.execute("PRAGMA max_page_count = 1000000").fetchall()
    await opened.until(lambda: opened.durable[-1] == sequence)
    assert opened.storage.failure is None


@pytest.mark.usefixtures("either_pace")
async def test_overlays_are_folded_while_the_store_works(opened: Open, path: Path, small_overlays: int) -> None:
    """What was written goes to the database, in order, and is loaded rightly from wherever it is."""
    for sequence in range(1, 301):
        write = Write(
            f"A/{sequence % 20}", b"%d" % sequence, ((b"%d" % sequence, bytes(500)),), (b"%d" % (sequence - 20),)
        )
        await opened.commit(sequence, write)
        assert await opened.load(write.object_id) == ObjectRecord(write.history, write.put)
    connection = connect(path, cache_kib=1024)
    assert connection.execute("SELECT count(*) FROM records").fetchone()[0] == 40
    assert opened.storage._checkpointer.mark.folded > 3
    connection.close()


async def test_the_first_segment_may_be_shorter(path: Path, small_overlays: int) -> None:
    """So that servers that started together do not fold together; from the second on, all are of one length."""
    loop, durable, folded_at = asyncio.get_running_loop(), asyncio.Queue[int](), []
    storage = SqliteStorage(path, loop, durable.put_nowait, first_share=0.25)
    for sequence in range(1, 60):
        storage.stage(sequence, [Write(f"A/{sequence}", bytes(600))])
        await durable.get()
        if storage._journal.segment > 1 + len(folded_at):
            folded_at.append(sequence)
    storage.close()
    first, second, third = folded_at[:3]
    assert third - second == second - first
    assert 3 * first < second - first


@pytest.mark.usefixtures("either_pace")
async def test_a_write_that_cannot_be_encoded_does_not_end_the_writer(opened: Open) -> None:
    """Even a bug of the caller shows as a failure instead of silence, and close still works."""
    opened.storage.stage(1, [Write("A/\ud800", b"h")])
    await opened.until(lambda: opened.storage.failure)
    assert "UnicodeEncodeError" in (opened.storage.failure or "")


# --- kill -9 --------------------------------------------------------------------------------------------------

WRITER = Path(__file__).parents[1] / "storage_writer.py"


def survivors(path: Path) -> int:
    """The greatest sequence that is whole: object ``A/s`` for each sequence s, and the same number in ``A/last``."""
    with Inspector(path) as inspector:
        assert inspector.check() == []
        record = inspector.record("A/last")
        last = int(record.history) if record else 0
        present = {int(object_id[2:]) for object_id in inspector.all_object_ids() if object_id != "A/last"}
    assert present == set(range(1, last + 1))
    return last


def kill_rounds(path: Path, rounds: int) -> None:
    last = 0
    for number in range(rounds):
        process = subprocess.Popen(
            [sys.executable, str(WRITER), str(path), str(last)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        acknowledged = last
        for _ in range(20 + 37 * number % 150):
            acknowledged = int(process.stdout.readline())
        process.kill()
        acknowledged = max([acknowledged, *(int(line) for line in process.stdout if line.endswith("\n"))])
        process.wait()
        process.stdout.close()
        last = survivors(path)
        assert last >= acknowledged


@pytest.mark.slow
def test_nothing_acknowledged_is_lost_by_kill(path: Path) -> None:
    """A process killed while it commits loses nothing it had acknowledged, and never half a transaction."""
    kill_rounds(path, rounds=4)


@pytest.mark.long
def test_nothing_acknowledged_is_lost_by_many_kills(path: Path) -> None:
    """The same, forty times in a row on one database."""
    kill_rounds(path, rounds=40)


# --- the list of objects ---------------------------------------------------------------------------------------


async def list_objects(opened: Open, after: str = "") -> Page | Damaged:
    found: list[Page | Damaged] = []
    opened.storage.list_objects(after, 100, 1_000_000, found.append)
    await opened.until(lambda: found)
    return found[0]


async def test_the_list_has_what_is_in_the_journal_and_in_the_database(opened: Open) -> None:
    """In one order, each object once, with its last history; also the ones that are written again."""
    await opened.commit(1, *[Write(f"A/{number}", b"old") for number in (1, 3, 5)])
    opened.reopen()
    await opened.commit(2, *[Write(f"A/{number}", b"new") for number in (2, 3, 6)])
    page = await list_objects(opened)
    assert isinstance(page, Page)
    found = [(name, record.history) for name, record in page.objects if isinstance(record, ObjectRecord)]
    news = {"A/2", "A/3", "A/6"}
    assert found == [(name, b"new" if name in news else b"old") for name in ("A/1", "A/2", "A/3", "A/5", "A/6")]


async def test_the_list_is_whole_while_writes_are_folded(opened: Open, path: Path, small_overlays: int) -> None:
    """Nothing is missing because it was just moved from the journal to the database."""
    for sequence in range(1, 60):
        await opened.commit(sequence, Write(f"A/{sequence:03}", bytes(small_overlays // 8)))
        page = await list_objects(opened, "A/")
        assert isinstance(page, Page)
        assert len(page.objects) == sequence


async def test_a_damaged_object_is_listed_as_such(opened: Open, path: Path) -> None:
    """It is named, nothing is said of it, and the others are listed."""
    await opened.commit(1, *[Write(f"A/{number}", b"h") for number in (1, 2, 3)])
    opened.reopen()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE records SET data = x'00' WHERE object_id = 'A/2'")
    page = await list_objects(opened)
    assert isinstance(page, Page)
    assert [isinstance(record, Damaged) for _, record in page.objects] == [False, True, False]


async def test_a_list_that_hides_an_object_is_refused(opened: Open, path: Path) -> None:
    """An id that rotted into another one: a reader of the list would take the object for never written."""
    await opened.commit(1, *[Write(f"A/{number}", b"h") for number in (1, 2, 3)])
    opened.reopen()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE records SET object_id = 'A/9' WHERE object_id = 'A/2'")
    assert isinstance(await list_objects(opened), Damaged)


# --- how far a damaged object had got ----------------------------------------------------------------------------


def history_of(time: int, name: str = "A/x") -> bytes:
    return encode_history((Entry(candidate(time, ObjectId(name)), is_settled=False),))


@pytest.mark.parametrize("where", ["row_key = x''", "row_key = x'31'"], ids=["history", "version"])
async def test_a_damaged_object_is_known_to_have_got_so_far(opened: Open, path: Path, where: str) -> None:
    """Its floor stands in the ledger, apart from its rows; what is not folded yet counts, too."""
    await opened.commit(1, Write("A/x", history_of(7), ((b"1", b"one"),)))
    opened.reopen()
    with sqlite3.connect(path) as connection:
        connection.execute(f"UPDATE records SET data = x'00' WHERE {where}")
    found = await opened.load("A/x")
    assert isinstance(found, Damaged)
    assert found.floor == floor_of(history_of(7))
    await opened.commit(2, Write("A/x", history_of(9), ((b"2", b"two"),)))
    found = await opened.load("A/x")
    assert isinstance(found, Damaged)
    assert found.floor == floor_of(history_of(9))
    opened.reopen()
    found = await opened.load("A/x")
    if where == "row_key = x'31'":
        assert isinstance(found, Damaged)
        assert found.floor == floor_of(history_of(9))


async def test_a_damaged_object_that_is_written_as_a_whole_is_whole(opened: Open, path: Path) -> None:
    """Before it is folded, after, and after the next write; nothing of the old rows is left."""
    await opened.commit(1, Write("A/x", history_of(7), ((b"1", b"one"),)), Write("A/y", history_of(1, "A/y")))
    opened.reopen()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE records SET data = x'00' WHERE object_id = 'A/x'")
    await opened.commit(2, Write("A/x", history_of(8), ((b"3", b"three"),), is_whole=True))
    assert await opened.load("A/x") == ObjectRecord(history_of(8), ((b"3", b"three"),))
    opened.reopen()
    assert await opened.load("A/x") == ObjectRecord(history_of(8), ((b"3", b"three"),))
    await opened.commit(3, Write("A/x", history_of(9), ((b"4", b"four"),), (b"3",)))
    opened.reopen()
    assert await opened.load("A/x") == ObjectRecord(history_of(9), ((b"4", b"four"),))
    opened.storage.close()
    with Inspector(path) as inspector:
        assert inspector.check() == []


async def test_where_the_ledger_is_damaged_nobody_can_tell(opened: Open, path: Path) -> None:
    """Then the floor is lost, and the object stays out."""
    await opened.commit(1, Write("A/x", history_of(7), ((b"1", b"one"),)))
    opened.reopen()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE buckets SET data = x'00'")
    found = await opened.load("A/x")
    assert isinstance(found, Damaged)
    assert found.floor == b""
