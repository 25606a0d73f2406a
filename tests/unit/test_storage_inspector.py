"""Looking into a database: beside a running server and after it."""

import asyncio
import sqlite3
from pathlib import Path

import pytest

from fivefold.protocol.actions import ObjectRecord, Write
from fivefold.storage import Inspector, SqliteStorage


def write(path: Path, *writes: Write) -> None:
    """Commit ``writes`` with a store of its own, closed again."""
    storage = SqliteStorage(path, asyncio.new_event_loop(), lambda sequence: None)
    storage._loop.close()
    storage.stage(1, writes)
    storage.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "objects.sqlite"
    SqliteStorage.create(path, "cluster", "fingerprint")
    write(path, *(Write(f"A/{number:04d}", b"h", ((b"1", b"v"), (b"2", b"v"))) for number in range(2500)))
    return path


def test_ids_come_in_pages_and_in_order(path: Path) -> None:
    """A page follows the last id of the one before; the last page is short, then empty."""
    with Inspector(path) as inspector:
        assert inspector.object_ids(limit=2) == ["A/0000", "A/0001"]
        assert inspector.object_ids(after="A/0001", limit=2) == ["A/0002", "A/0003"]
        assert inspector.object_ids(after="A/2498", limit=2) == ["A/2499"]
        assert inspector.object_ids(after="A/2499", limit=2) == []
        assert list(inspector.all_object_ids()) == [f"A/{number:04d}" for number in range(2500)]


def test_objects_are_counted_not_versions(path: Path) -> None:
    """The count is of objects."""
    with Inspector(path) as inspector:
        assert inspector.count() == 2500


def test_a_record_is_read_alone(path: Path) -> None:
    """One object without a server; None for an unknown one."""
    with Inspector(path) as inspector:
        assert inspector.record("A/0007") == ObjectRecord(b"h", ((b"1", b"v"), (b"2", b"v")))
        assert inspector.record("A/none") is None


def test_bytes_used_is_the_size_on_disk(path: Path) -> None:
    """After a clean close there is only the database."""
    with Inspector(path) as inspector:
        assert inspector.bytes_used() >= path.stat().st_size > 100_000


def test_a_whole_database_has_no_problems(path: Path) -> None:
    """Nothing to report."""
    with Inspector(path) as inspector:
        assert inspector.check() == []


def test_check_names_damaged_objects(path: Path) -> None:
    """A wrong checksum and versions without history are each named once."""
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("UPDATE records SET data = x'00' WHERE object_id = 'A/0003' AND row_key = x'31'")
        connection.execute("DELETE FROM records WHERE object_id = 'A/0005' AND row_key = x''")
    connection.close()
    with Inspector(path) as inspector:
        assert inspector.check() == ["A/0005 has no history", "A/0003 does not match its checksum"]
        assert len(inspector.check(problems_max=1)) == 1


def test_check_reports_a_broken_structure(path: Path) -> None:
    """Overwritten pages are problems, not exceptions."""
    with path.open("r+b") as file:
        file.seek(20 * 4096)
        file.write(b"\xa5" * 8 * 4096)
    with Inspector(path) as inspector:
        assert inspector.check() != []


def test_it_works_beside_a_running_store(path: Path) -> None:
    """An open store neither disturbs an inspector nor is disturbed by it."""
    storage = SqliteStorage(path, asyncio.new_event_loop(), lambda sequence: None)
    with Inspector(path) as inspector:
        assert inspector.count() == 2500
    storage._loop.close()
    storage.close()


def test_looking_changes_nothing(path: Path) -> None:
    """A read-only view cannot write, and leaves no file behind."""
    before = path.read_bytes()
    with Inspector(path) as inspector, pytest.raises(sqlite3.OperationalError, match="readonly"):
        inspector._connection.execute("DELETE FROM records")
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]
