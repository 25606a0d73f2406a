"""A disk that rots: what was promised is answered, or refused, and never forgotten.

The directed tests damage the one thing that a rule is about; the others try everything (tests/storage_damage.py).
"""

import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from typer.testing import CliRunner

from fivefold.cli.app import app
from fivefold.errors import DataDirectoryError
from fivefold.protocol.actions import Damaged, ObjectRecord, Write
from fivefold.storage import DamagedRecord, Inspector, SqliteStorage, guard, schema
from fivefold.storage import checkpointer as checkpointer_module
from fivefold.storage.checkpointer import Fold
from fivefold.storage.ledger import GROUP_BUCKETS, Ledger
from fivefold.storage.reach import ReachFile, reach_beside, read_reach
from fivefold.storage.schema import Change, DamagedSeal, Rows, decode_seal, encode_seal
from fivefold.storage.segments import segment_path
from tests import storage_damage
from tests.storage_damage import Forgotten, judge, read_files, small_store, try_bits, try_random, write_files
from tests.storage_rig import Open

OBJECTS = 300


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "store" / "objects.sqlite"
    path.parent.mkdir()
    SqliteStorage.create(path, "cluster", "fingerprint")
    return path


def record(number: int, round_: int = 1) -> ObjectRecord:
    return ObjectRecord(b"history %d of %d" % (round_, number), ((b"v%d" % round_, bytes(200)),))


async def fill(path: Path, *rounds: int) -> None:
    """Every object, written in these rounds; all of it in the database."""
    for round_ in rounds:
        opened = Open(path)
        writes = []
        for number in range(OBJECTS):
            found = record(number, round_)
            writes.append(Write(f"A/{number:03}", found.history, found.rows, (b"v%d" % (round_ - 1),)))
        await opened.commit(1, *writes)
        opened.storage.close()


def contents(path: Path) -> bytes:
    return path.read_bytes()


def put(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def change(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path)
    with connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()


def out(path: Path, round_: int = 1) -> list[str]:
    """The objects that cannot be read; all others are as they were written, and one that never was is not there."""
    found = []
    with Inspector(path) as inspector:
        for number in range(OBJECTS):
            try:
                assert inspector.record(f"A/{number:03}") == record(number, round_)
            except DamagedRecord:
                found.append(f"A/{number:03}")
        assert inspector.record("A/none") is None
    return found


# --- what hides ---------------------------------------------------------------------------------------------------


async def test_a_flipped_bit_in_a_key_of_the_index_hides_nothing(path: Path) -> None:
    """Wherever an id stands in the file, flipping a bit of it makes its object damaged: nobody says "never written"."""
    await fill(path, 1)
    whole = contents(path)
    name = b"A/123"
    places = [place for place in range(len(whole)) if whole.startswith(name, place)]
    hidden = 0
    for place in places:
        put(path, whole[: place + 4] + bytes([whole[place + 4] ^ 0x40]) + whole[place + 5 :])
        connection = sqlite3.connect(path)
        hidden += len(connection.execute("SELECT 1 FROM records WHERE object_id = 'A/123'").fetchall()) < 2
        connection.close()
        assert len(out(path)) <= 3, "itself, and what a search passes it for"
    assert hidden, "what this is about"
    put(path, whole.replace(b"A/123", b"A/\xf123"))
    assert "A/123" in out(path), "no search finds any of its rows"


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM records WHERE object_id = 'A/007'",
        "DELETE FROM records WHERE object_id = 'A/007' AND row_key = x''",
        "DELETE FROM records WHERE object_id = 'A/007' AND row_key <> x''",
        "UPDATE records SET object_id = 'A/x' WHERE object_id = 'A/007'",
        "UPDATE records SET checksum = 'text' WHERE object_id = 'A/007'",
        "UPDATE records SET data = 'text' WHERE object_id = 'A/007'",
    ],
)
async def test_rows_that_are_missing_or_changed_are_seen(path: Path, statement: str) -> None:
    """All of an object's rows, or one, gone or something else: that object is out, and no other."""
    await fill(path, 1)
    change(path, statement)
    assert out(path) == ["A/007"]
    with Inspector(path) as inspector:
        assert inspector.check() != []


async def test_an_object_that_is_old_is_seen(path: Path, tmp_path: Path) -> None:
    """Rows that were right a while ago, checksums and all, are not what was written last."""
    await fill(path, 1)
    put(tmp_path / "old", contents(path))
    await fill(path, 2)
    connection = sqlite3.connect(path)
    connection.execute(f"ATTACH '{tmp_path / 'old'}' AS old")
    with connection:
        connection.execute("DELETE FROM records WHERE object_id = 'A/007'")
        connection.execute("INSERT INTO records SELECT * FROM old.records WHERE object_id = 'A/007'")
    connection.close()
    assert out(path, 2) == ["A/007"]
    connection = sqlite3.connect(path)
    connection.execute(f"ATTACH '{tmp_path / 'old'}' AS old")
    with connection:  # with what the ledger said of it then
        connection.execute("DELETE FROM buckets")
        connection.execute("INSERT INTO buckets SELECT * FROM old.buckets")
        connection.execute("DELETE FROM records")
        connection.execute("INSERT INTO records SELECT * FROM old.records")
    connection.close()
    assert len(out(path, 2)) == OBJECTS


async def test_a_lost_bucket_takes_its_objects_out_for_good(path: Path) -> None:
    """Nobody can say what it held, not even that an object was never written; a write does not vouch for it again."""
    await fill(path, 1)
    with Inspector(path) as inspector:
        bucket = inspector.ledger().place("A/007").bucket
    change(path, f"DELETE FROM buckets WHERE number = {bucket}")
    lost = out(path)
    assert "A/007" in lost
    assert len(lost) < 5
    assert read_in_bucket(path, bucket) is DamagedRecord
    with Inspector(path) as inspector:
        assert inspector.check(1) != []
    opened = Open(path)
    await opened.commit(1, Write("A/007", b"again"), Write("A/008", b"again"))
    opened.storage.close()
    assert read_in_bucket(path, bucket) is DamagedRecord
    with Inspector(path) as inspector:
        with pytest.raises(DamagedRecord):
            inspector.record("A/007")
        assert inspector.record("A/008") == ObjectRecord(b"again", record(8).rows)


def read_in_bucket(path: Path, bucket: int) -> object:
    """An object that was never written, and would have its entry in this bucket."""
    with Inspector(path) as inspector:
        ledger, number = inspector.ledger(), 0
        while ledger.place(f"A/{number}").bucket != bucket:
            number += 1
        try:
            return inspector.record(f"A/{number}")
        except DamagedRecord:
            return DamagedRecord


async def test_a_lost_group_is_made_again(path: Path) -> None:
    """Its buckets say what it held; only if one of them is lost too are all of them out."""
    await fill(path, 1)
    change(path, "DELETE FROM bucket_groups")
    assert out(path) == []
    await fill(path, 2)
    assert out(path, 2) == []
    with Inspector(path) as inspector:
        bucket = inspector.ledger().place("A/007").bucket
    group = bucket // GROUP_BUCKETS
    change(path, "UPDATE bucket_groups SET data = x'00'", f"DELETE FROM buckets WHERE number = {bucket}")
    with Inspector(path) as inspector:
        ledger = inspector.ledger()
        names = [f"A/{number:03}" for number in range(OBJECTS)]
        expected = [name for name in names if ledger.place(name).bucket // GROUP_BUCKETS == group]
    assert out(path, 2) == expected


async def test_rot_in_a_bucket_is_not_vouched_for_while_the_store_is_open(path: Path) -> None:
    """A running store that writes to a bucket that has changed under it takes its objects out."""
    await fill(path, 1)
    opened = Open(path)
    with Inspector(path) as inspector:
        bucket = inspector.ledger().place("A/007").bucket
    change(path, f"UPDATE buckets SET data = zeroblob(16) WHERE number = {bucket}")
    await opened.commit(1, Write("A/007", b"again"))
    opened.storage.close()
    assert "A/007" in set(out_of_any_round(path))


def out_of_any_round(path: Path) -> list[str]:
    with Inspector(path) as inspector:
        return [problem.partition(" ")[0] if problem.startswith("A/") else problem for problem in named(inspector)]


def named(inspector: Inspector) -> list[str]:
    found = []
    for number in range(OBJECTS):
        try:
            inspector.record(f"A/{number:03}")
        except DamagedRecord:
            found.append(f"A/{number:03} ")
    return found


async def test_a_fold_that_fails_leaves_the_ledger_as_it_was(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was entered for a transaction that did not commit is forgotten, and entered again with the next attempt."""
    await fill(path, 1)
    opened = Open(path)
    original, failures = Ledger.write, 2

    def write(self: Ledger, *arguments: object) -> None:
        nonlocal failures
        original(self, *arguments)  # type: ignore[arg-type]
        failures -= 1
        if failures >= 0:
            raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(Ledger, "write", write)
    await opened.commit(1, Write("A/007", b"again"))
    writer, checkpointer = opened.storage._writer, opened.storage._checkpointer
    layers = writer._layers
    checkpointer.fold(Fold(opened.storage._journal.mark(folded=0), layers.rotate(), takes_generation=False))
    await opened.until(lambda: checkpointer.failure)
    assert await opened.load("A/008") == record(8)
    await opened.until(checkpointer.wait_idle)
    assert await opened.load("A/007") == ObjectRecord(b"again", record(7).rows)
    opened.storage.close()


@pytest.mark.parametrize("what", ["its rows", "its bucket"])
async def test_a_damaged_page_does_not_stop_folds(path: Path, caplog: pytest.LogCaptureFixture, what: str) -> None:
    """Objects that cannot be written to it are out, after a restart too; all others are folded, again and again."""
    await fill(path, 1)
    connection = sqlite3.connect(path)
    with Inspector(path) as inspector:
        place = inspector.ledger().place("A/123")
    (bucket,) = connection.execute("SELECT data FROM buckets WHERE number = ?", (place.bucket,)).fetchone()
    root = {row[0] for row in connection.execute("SELECT rootpage FROM sqlite_schema")}
    connection.close()
    wanted = b"history 1 of 123" if what == "its rows" else bucket
    pages = [place for place in range(0, len(contents(path)), 4096) if wanted in contents(path)[place : place + 4096]]
    (page,) = (place for place in pages if place // 4096 + 1 not in root)  # not that of a whole table
    put(path, contents(path)[:page] + b"\xa5" * 4096 + contents(path)[page + 4096 :])
    opened = Open(path)
    checkpointer, journal = opened.storage._checkpointer, opened.storage._journal
    for round_ in (2, 3):
        writes = [Write(f"A/{n:03}", b"history %d" % round_, record(n, round_).rows) for n in range(OBJECTS)]
        await opened.commit(round_, *writes)
        layers = opened.storage._writer._layers
        checkpointer.fold(Fold(journal.mark(folded=0), layers.rotate(), takes_generation=False))
        await opened.until(checkpointer.wait_idle)
        assert checkpointer.failure is None
    lost = {name for name in names() if isinstance(await opened.load(name), Damaged)}
    opened.storage.close()
    assert "A/123" in lost
    assert len(lost) < (30 if what == "its rows" else 200), "what is on one page"
    assert all(name in caplog.text for name in ("A/123", "the disk has damaged the pages of an object"))
    with Inspector(path) as inspector:
        for number, name in enumerate(names()):
            if name in lost:
                with pytest.raises((DamagedRecord, sqlite3.DatabaseError)):
                    inspector.record(name)
            else:
                rows = (*record(number, 1).rows, *record(number, 2).rows, *record(number, 3).rows)
                assert inspector.record(name) == ObjectRecord(b"history 3", rows)


async def test_an_object_that_cannot_be_written_is_not_answered_as_it_was(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its old rows can be read, checksums and all: they are forgotten history all the same."""
    await fill(path, 1)
    opened, original = Open(path), checkpointer_module.write_rows

    def write_rows(connection: sqlite3.Connection, rows: Rows, *others: Any) -> dict[str, Change]:
        if any(name == "A/007" for name, _ in rows):
            error = sqlite3.DatabaseError("database disk image is malformed")
            error.sqlite_errorname = "SQLITE_CORRUPT"  # type: ignore[attr-defined]
            raise error
        return original(connection, rows, *others)

    monkeypatch.setattr(checkpointer_module, "write_rows", write_rows)
    await opened.commit(1, Write("A/007", b"again"), Write("A/008", b"again"))
    fold = Fold(opened.storage._journal.mark(folded=0), opened.storage._writer._layers.rotate(), takes_generation=False)
    opened.storage._checkpointer.fold(fold)
    await opened.until(opened.storage._checkpointer.wait_idle)
    assert isinstance(await opened.load("A/007"), Damaged)
    assert await opened.load("A/008") == ObjectRecord(b"again", record(8).rows)
    monkeypatch.undo()
    opened.reopen()
    await opened.commit(1, Write("A/007", b"once more"))
    opened.reopen()
    assert isinstance(await opened.load("A/007"), Damaged), "a later write does not mend it"
    opened.storage.close()


def names() -> list[str]:
    return [f"A/{number:03}" for number in range(OBJECTS)]


# --- the seal and the journal's reach -----------------------------------------------------------------------------


async def test_any_flipped_bit_of_the_seal_is_seen(path: Path) -> None:
    """Open or closed, folded, generation, digests: none of it can be taken for something else."""
    with Inspector(path) as inspector:
        data = encode_seal(inspector.seal())
    assert decode_seal(data).generation == 1
    for bit in range(8 * len(data)):
        with pytest.raises(DamagedSeal):
            decode_seal(data[: bit // 8] + bytes([data[bit // 8] ^ 1 << bit % 8]) + data[bit // 8 + 1 :])
    for wrong in (None, "text", 7, b"", data[:-1], data + b"\0"):
        with pytest.raises(DamagedSeal):
            decode_seal(wrong)


async def test_a_damaged_seal_is_refused(path: Path) -> None:
    """A store whose seal does not match is not opened, nor is one that has none or two."""
    whole = contents(path)
    for statement in (
        "UPDATE seal SET data = x'00' || substr(data, 2)",
        "DELETE FROM seal",
        "INSERT INTO seal SELECT data FROM seal",
    ):
        put(path, whole)
        change(path, statement)
        with pytest.raises(DamagedSeal):
            Open(path)


async def test_a_rotted_last_record_is_refused(path: Path) -> None:
    """It looks like a torn append, but somebody was told of it: the file beside the journal says so."""
    opened = Open(path)
    await opened.commit(1, Write("A/1", b"first"))
    await opened.commit(2, Write("A/1", b"second"))
    files = {file.name: file.read_bytes() for file in path.parent.iterdir()}
    end = opened.storage._journal.end
    opened.storage.close()
    for name, data in files.items():
        (path.parent / name).write_bytes(data)
    with segment_path(path, 1).open("r+b") as file:
        file.seek(end - 4096 + 36)
        file.write(b"rot")
    with pytest.raises(DataDirectoryError, match=f"although it had reached {end} of segment 1"):
        Open(path)
    reach_beside(path).unlink()
    opened = Open(path)
    assert await opened.load("A/1") == ObjectRecord(b"first", ())
    opened.storage.close()


def test_a_damaged_reach_is_none(tmp_path: Path) -> None:
    """It is the second witness: without it the journal is believed."""
    path = tmp_path / "reach"
    assert read_reach(path) is None
    file = ReachFile(path)
    file.close()
    assert read_reach(path) is None
    path.write_bytes(bytes(28))
    assert read_reach(path) is None


def test_a_reach_that_cannot_be_written_is_reported_and_does_not_stop_commits(tmp_path: Path) -> None:
    """It lags, which is safe, and the operator hears of it."""
    file = ReachFile(tmp_path / "reach")
    file.close()
    file._descriptor = 1_000_000
    file.note((b"epoch-01", 1, 4096))  # type: ignore[arg-type]
    assert "cannot be written" in (file.failure or "")


@pytest.mark.usefixtures("small")
def test_older_copies_of_all_files_of_one_run_are_refused(root: Path) -> None:
    """The data directory of a second ago, put back after a crash: the identity knows how far the journal had got."""
    made = storage_damage.images(root / "made")
    older, newer = made[1], made[2]
    files = {**older.files, **{name: data for name, data in newer.files.items() if name.startswith("identity/")}}
    assert files["identity/data-record.json"] == older.files["identity/data-record.json"], "no generation between them"
    write_files(root / "judged", files)
    with pytest.raises(DataDirectoryError, match="although it had reached"):
        storage_damage._use(root / "judged", newer)
    del files[f"identity/{guard.REACH_NAME}"]
    write_files(root / "judged", files)
    with pytest.raises(AssertionError, match="instead of"):
        storage_damage._use(root / "judged", newer)


# --- everything ---------------------------------------------------------------------------------------------------


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    small_store(monkeypatch.setattr)


@pytest.fixture
def root() -> Iterator[Path]:
    """In memory where that is possible: files are written anew for each damage."""
    memory = storage_damage.MEMORY
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as directory:
        yield Path(directory)


@pytest.mark.slow
@pytest.mark.usefixtures("small")
def test_random_damages_are_refused_healed_or_harmless(root: Path) -> None:
    """Two thousand of them, of many kinds, each to one file of a small store."""
    seen = try_random(root, 2000)
    assert min(seen["refused"], seen["harmless"], seen["out"]) > 10


@pytest.mark.usefixtures("small")
def test_a_damaged_store_that_is_used_forgets_nothing(root: Path) -> None:
    """Opened for good, read, written to, closed and read again."""
    seen = try_random(root, 60, first_seed=10_000, is_whole=True)
    assert min(seen["refused"], seen["harmless"]) > 0


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.usefixtures("small")
def test_a_hundred_thousand_random_damages(root: Path) -> None:
    """The same, many more."""
    try_random(root, 100_000)
    try_random(root, 2000, first_seed=200_000, is_whole=True)


@pytest.mark.long
@pytest.mark.timeout(36000)
def test_every_single_bit(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of every file of a small store, at several moments of its life."""
    small_store(monkeypatch.setattr, page_bytes=storage_damage.SMALL_PAGE_BYTES)
    try_bits(root, rounds=storage_damage.SMALL_ROUNDS)


@pytest.mark.slow
@pytest.mark.usefixtures("small")
def test_some_single_bits(root: Path) -> None:
    """Every 5,003rd of them."""
    seen = try_bits(root, stride=5003)
    assert min(seen["refused"], seen["harmless"]) > 0


@pytest.mark.usefixtures("small")
def test_the_judge_tells_forgotten_history(root: Path) -> None:
    """A store whose files are those of a moment before, all of them, has forgotten what came after."""
    made = storage_damage.images(root / "made")
    image = storage_damage.Image("planted", made[1].files, made[3].promised)
    name = f"data/{guard.DATABASE_NAME}"
    with pytest.raises(Forgotten, match="instead of"):
        judge(root / "judged", image, "nothing", name, image.files[name], is_whole=False)
    assert read_files(root / "judged") == image.files


@pytest.mark.slow
@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    "option",
    [
        "--ids",
        pytest.param("--check", marks=[pytest.mark.long, pytest.mark.ci]),
        pytest.param("--json", marks=[pytest.mark.long, pytest.mark.ci]),
    ],
)
def test_looking_into_a_damaged_store_ends_in_a_sentence(root: Path, option: str) -> None:
    """``fivefold inspect`` says what is damaged, or shows what is there: no exception of Python or SQLite."""
    made = storage_damage.images(root / "made")
    for seed in range(60):
        random = Random(seed)
        image = random.choice(made[1:])
        _, name, data = storage_damage.random_damage(random, image, made[0])
        write_files(root / "judged", {**image.files, **({name: data} if data is not None else {})})
        result = CliRunner().invoke(app, ["inspect", str(root / "judged" / "data"), option])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            assert isinstance(result.exception, DataDirectoryError), (seed, name, result.exc_info)
            assert "\n" not in str(result.exception)


# --- faults that the tool must find -------------------------------------------------------------------------------


def plant_a_reader_without_ledger(monkeypatch: pytest.MonkeyPatch) -> None:
    """Believe whatever rows are found, if their checksums are right."""

    def read(self: Ledger, connection: sqlite3.Connection, object_id: str) -> ObjectRecord | None:
        query = "SELECT row_key, data FROM records WHERE object_id = ? ORDER BY row_key"
        rows = connection.execute(query, (object_id,)).fetchall()
        return ObjectRecord(rows[0][1], tuple(rows[1:])) if rows else None

    monkeypatch.setattr(Ledger, "read", read)


def plant_no_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take a last record that cannot be read for one that was never promised."""
    monkeypatch.setattr(storage_damage, "read_reach", lambda path: None)


def plant_unchecked_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every checksum right."""
    monkeypatch.setattr(schema, "crc32", lambda data, start=0: 0)


@pytest.mark.slow
@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("plant", [plant_a_reader_without_ledger, plant_no_reach, plant_unchecked_rows])
def test_planted_faults_are_found(
    root: Path, monkeypatch: pytest.MonkeyPatch, plant: Callable[[pytest.MonkeyPatch], None]
) -> None:
    """Each of the three guards, taken away, is missed by random damages."""
    plant(monkeypatch)
    with pytest.raises(Forgotten, match="instead of"):
        try_random(root, 20_000)
