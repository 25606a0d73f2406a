"""A server's data is opened only if it is its own, whole, unused by others, and no older than its identity's record."""

import asyncio
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fivefold.errors import DataDirectoryError
from fivefold.protocol.actions import Write
from fivefold.storage import Inspector, SqliteStorage, guard, open_data
from fivefold.storage.files import make_private, open_private
from fivefold.storage.guard import DATABASE_NAME, RECORD_NAME
from fivefold.storage.schema import FORMAT

CLUSTER, SERVER = "c1", "s1"


class Server:
    """A data directory and an identity directory, and the ways a test opens them."""

    def __init__(self, root: Path) -> None:
        self.data = root / "data"
        self.identity = root / "identity"
        self.identity.mkdir()
        self.database = self.data / DATABASE_NAME
        self.record = self.identity / RECORD_NAME
        self.loop = asyncio.new_event_loop()
        self.loop.close()

    def open(
        self, *, fresh: bool = False, cluster: str = CLUSTER, server: str = SERVER, seconds: float = 60
    ) -> SqliteStorage:
        return open_data(
            self.data,
            self.identity,
            cluster,
            server,
            self.loop,
            lambda sequence: None,
            fresh_allowed=fresh,
            generation_seconds=seconds,
        )

    def run(self, *, fresh: bool = False) -> None:
        self.open(fresh=fresh).close()

    def refuses(self, sentence: str, *, fresh: bool = False, cluster: str = CLUSTER, server: str = SERVER) -> None:
        before = self.files()
        with pytest.raises(DataDirectoryError, match=sentence):
            self.open(fresh=fresh, cluster=cluster, server=server)
        assert self.files() == before

    def files(self) -> set[Path]:
        """What lies in both directories; the lock is no data."""
        return {path for place in (self.data, self.identity) for path in place.rglob("*") if path.name != "lock"}

    def recorded(self) -> int:
        return int(json.loads(self.record.read_text())["generation"])

    def stored(self) -> int:
        with Inspector(self.database) as inspector:
            return inspector.generation()

    def change(self, statement: str) -> None:
        connection = sqlite3.connect(self.database)
        with connection:
            connection.execute(statement)
        connection.close()


@pytest.fixture
def server(tmp_path: Path) -> Server:
    """A server that was never started."""
    return Server(tmp_path)


@pytest.fixture
def used(server: Server) -> Server:
    """A server that was started and stopped: generation 3."""
    server.run(fresh=True)
    return server


# --- starting -------------------------------------------------------------------------------------------------


def test_a_fresh_start_must_be_allowed(server: Server) -> None:
    """Without a record and without data the server starts only if it is told that this is the first time."""
    server.refuses("allow a fresh start")
    server.run(fresh=True)
    server.run()


def test_database_and_record_count_together(used: Server) -> None:
    """Made 1, opened 2, closed 3; opened 4: both say the same."""
    assert (used.stored(), used.recorded()) == (3, 3)
    storage = used.open()
    assert (storage.generation, used.stored(), used.recorded()) == (4, 4, 4)
    storage.close()


def test_data_survives_a_restart(used: Server) -> None:
    """What was staged before a clean close is there after the next open."""
    storage = used.open()
    storage.stage(1, [Write("A/x", b"h")])
    storage.close()
    used.run()
    with Inspector(used.database) as inspector:
        assert inspector.object_ids() == ["A/x"]


def test_files_are_private(used: Server) -> None:
    """Nobody else on the machine can read the data."""
    assert used.data.stat().st_mode & 0o777 == 0o700
    assert used.database.stat().st_mode & 0o777 == 0o600


# --- refusals -------------------------------------------------------------------------------------------------


def test_a_missing_directory_is_refused(used: Server) -> None:
    """A record without its data directory: not even an allowed fresh start makes a new one."""
    shutil.rmtree(used.data)
    used.refuses("is missing although", fresh=True)
    assert not used.data.exists()


def test_a_missing_database_is_refused(used: Server) -> None:
    """A record with an empty data directory (a disk that is not mounted) is refused."""
    used.database.unlink()
    used.refuses("is missing although", fresh=True)


def test_a_log_without_its_database_is_refused(server: Server) -> None:
    """SQLite would take a log left there for the new database's own."""
    server.data.mkdir()
    (server.data / f"{DATABASE_NAME}-wal").write_bytes(b"log")
    server.refuses("without its database", fresh=True)


def test_another_cluster_is_refused(used: Server) -> None:
    """The record belongs to one cluster."""
    used.refuses("belongs to cluster c1, not to c2", cluster="c2")


def test_another_server_is_refused(used: Server) -> None:
    """The record belongs to one server."""
    used.refuses("belongs to server s1, not to s2", server="s2")


def test_another_servers_data_is_refused(used: Server, tmp_path: Path) -> None:
    """Data copied from another server of the cluster is foreign whatever the record says."""
    (tmp_path / "other").mkdir()
    other = Server(tmp_path / "other")
    other.open(fresh=True, server="s2").close()
    shutil.copy(other.database, used.database)
    used.refuses("objects.sqlite belongs to server s2")


def test_an_older_copy_is_refused(used: Server) -> None:
    """A copy taken when the server was stopped is older after one more run."""
    copy = used.database.with_suffix(".copy")
    shutil.copy(used.database, copy)
    used.run()
    shutil.move(copy, used.database)
    used.refuses("of generation 3 although this server had reached 5")


def test_a_copy_taken_while_running_is_older_after_a_clean_stop(used: Server) -> None:
    """Closing takes a generation too: a copy of the same run is refused afterwards."""
    storage = used.open()
    with sqlite3.connect(used.database) as source, sqlite3.connect(used.database.with_suffix(".copy")) as target:
        source.backup(target)
    source.close()
    target.close()
    storage.stage(1, [Write("A/x", b"h")])
    storage.close()
    shutil.move(used.database.with_suffix(".copy"), used.database)
    used.refuses("although this server had reached 5")


def test_an_older_file_beside_the_newest_log_is_refused(used: Server, tmp_path: Path) -> None:
    """Yesterday's file with today's log shows today's generation, but the file alone is found out."""
    yesterday = tmp_path / "yesterday"
    shutil.copy(used.database, yesterday)
    used.run()
    kill_while_open(used)
    assert Path(f"{used.database}-wal").stat().st_size > 0
    shutil.copy(yesterday, used.database)
    used.refuses("of generation 3 although this server had reached 6")


def test_an_older_log_beside_the_newest_file_is_refused(used: Server, tmp_path: Path) -> None:
    """A log left from an earlier crash would be replayed over newer objects."""
    log = Path(f"{used.database}-wal")
    kill_while_open(used)
    shutil.copy(log, tmp_path / "log")
    used.run()
    shutil.copy(tmp_path / "log", log)
    with pytest.raises(DataDirectoryError, match="older than the file"):
        used.open()


def test_an_older_format_is_refused(used: Server) -> None:
    """A newer Fivefold would not help: the one that wrote it does."""
    used.change(f"UPDATE meta SET value = {FORMAT - 1} WHERE name = 'format'")
    used.refuses(
        f"has format {FORMAT - 1}, and this Fivefold knows {FORMAT} only: start the server with the older Fivefold"
    )


def test_a_newer_format_is_refused(used: Server) -> None:
    """A database of a later version is left alone."""
    used.change(f"UPDATE meta SET value = {FORMAT + 1} WHERE name = 'format'")
    used.refuses(f"has format {FORMAT + 1}: upgrade Fivefold")


def test_a_newer_record_is_refused(used: Server) -> None:
    """So is a record of a later version."""
    used.record.write_text(used.record.read_text().replace('"format": 2', '"format": 3'))
    used.refuses("has format 3: upgrade Fivefold")


@pytest.mark.parametrize("text", ["", "{}", "[", '{"format": 1}', "\udcff"])
def test_an_unreadable_record_is_refused(used: Server, text: str) -> None:
    """A record that cannot be read is not taken for none."""
    used.record.write_bytes(text.encode(errors="surrogateescape"))
    used.refuses("cannot be read", fresh=True)


def test_a_database_that_is_none_is_refused(used: Server) -> None:
    """Bytes that are no database are refused, and so is an empty file."""
    used.database.write_bytes(b"no database" * 1000)
    used.refuses("is damaged")
    used.database.write_bytes(b"")
    used.refuses("is not a Fivefold database")


def test_another_programs_database_is_refused(used: Server) -> None:
    """A SQLite file without our mark is not touched."""
    used.database.unlink()
    used.change("CREATE TABLE cookies (name)")
    used.refuses("is not a Fivefold database")


def test_a_truncated_database_is_refused(used: Server) -> None:
    """A file that lost its second half is damaged."""
    storage = used.open()
    storage.stage(1, [Write(f"A/{number}", b"h" * 400) for number in range(500)])
    storage.close()
    with used.database.open("r+b") as file:
        file.truncate(used.database.stat().st_size // 2)
    used.refuses("is damaged")


def test_overwritten_pages_are_refused(used: Server) -> None:
    """Pages full of something else are found by the check at the start."""
    storage = used.open()
    storage.stage(1, [Write(f"A/{number}", b"h" * 400) for number in range(500)])
    storage.close()
    with used.database.open("r+b") as file:
        file.seek(20 * 4096)
        file.write(b"\xa5" * 8 * 4096)
    used.refuses("is damaged")


def test_used_data_without_a_record_must_be_allowed(used: Server) -> None:
    """Whoever lost the record has to say that the data is the newest."""
    used.record.unlink()
    used.refuses("the identity's data-record.json is missing")
    used.run(fresh=True)
    assert used.recorded() == 5


def test_used_data_without_a_record_is_started_with_a_word(used: Server, caplog: pytest.LogCaptureFixture) -> None:
    """Nobody can tell whether it is the newest, so the operator is told what it means if it is not; once."""
    used.record.unlink()
    used.run(fresh=True)
    (warning,) = [each for each in caplog.records if each.levelname == "WARNING"]
    assert "the identity's data-record.json is missing: it is taken to be the newest data" in warning.getMessage()
    assert "forgotten history" in warning.getMessage()
    caplog.clear()
    used.run()
    assert caplog.records == []


def test_a_first_start_needs_no_word(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    """There is nothing yet that could be older than something."""
    server.run(fresh=True)
    assert caplog.records == []


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o177])
def test_modes_do_not_depend_on_the_umask(server: Server, umask: int) -> None:
    """Whatever is made is 0600, its directory 0700, while the server runs and after it."""
    before = os.umask(umask)
    try:
        storage = server.open(fresh=True)
        storage.stage(1, [Write("A/x", b"h")])
        assert len(server.files()) > 6
        assert {path.stat().st_mode & 0o777 for path in server.files()} == {0o600}
        assert (server.data / "lock").stat().st_mode & 0o777 == 0o600
        storage.close()
    finally:
        os.umask(before)
    assert server.data.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in server.files()} == {0o600}


def test_a_strict_umask_takes_no_right_away(tmp_path: Path) -> None:
    """The owner can write what it has made, even if the umask says no."""
    before = os.umask(0o277)
    try:
        os.close(open_private(tmp_path / "file", os.O_WRONLY | os.O_CREAT))
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o277])
def test_missing_directories_above_are_private_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    """Who could write in one of them could put older data in the place of a server's; what is there keeps its mode."""
    there = tmp_path / "there"
    there.mkdir()
    there.chmod(0o755)
    before = os.umask(umask)
    try:
        make_private(there / "a" / "b" / "data")
    finally:
        os.umask(before)
    made = [there, there / "a", there / "a" / "b", there / "a" / "b" / "data"]
    assert [path.stat().st_mode & 0o777 for path in made] == [0o755, 0o700, 0o700, 0o700]


@pytest.mark.parametrize("place", range(120))
def test_a_flipped_bit_of_the_record_is_refused(used: Server, place: int) -> None:
    """Whatever it makes of the text: a generation that is one less would let an older copy pass."""
    whole = used.record.read_bytes()
    found = json.loads(whole)
    used.record.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    try:
        is_same = json.loads(used.record.read_bytes()) == found
    except ValueError:
        is_same = False
    if is_same:  # white space
        used.run()
    else:
        used.refuses("data-record.json")


def test_an_identity_that_cannot_be_written_is_refused(server: Server) -> None:
    """A start that cannot record its generation ends in a sentence instead of a traceback."""
    server.identity.rmdir()
    with pytest.raises(DataDirectoryError, match="fix this first"):
        server.open(fresh=True)


HOLD = """
import asyncio, sys
from pathlib import Path
from fivefold.storage import open_data
open_data(Path(sys.argv[1]), Path(sys.argv[2]), "c1", "s1", asyncio.new_event_loop(), print, fresh_allowed=True)
print("open", flush=True)
sys.stdin.read()
"""


def hold(server: Server) -> subprocess.Popen[str]:
    """A process that has the server's data open."""
    command = [sys.executable, "-c", HOLD, str(server.data), str(server.identity)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "open\n"
    return process


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def kill_while_open(server: Server) -> None:
    kill(hold(server))


def test_a_killed_server_starts_again(used: Server) -> None:
    """A log that a killed process left is taken up, also after a refused start in between."""
    kill_while_open(used)
    used.refuses("belongs to cluster c1, not to c2", cluster="c2")
    used.run()
    assert used.stored() == used.recorded() == 6


def test_a_second_process_is_refused_until_the_first_is_gone(server: Server) -> None:
    """Another process holds the lock; killed without a word, it lets go of it."""
    process = hold(server)
    server.refuses("in use by another process")
    kill(process)
    server.run()


def test_a_second_open_in_one_process_is_refused(used: Server) -> None:
    """The lock belongs to the store, not to the process; close gives it back."""
    storage = used.open()
    used.refuses("in use by another process")
    storage.close()
    used.run()


def test_a_refused_start_gives_the_lock_back(used: Server) -> None:
    """After a refusal the right server can start."""
    used.change(f"UPDATE meta SET value = {FORMAT + 1} WHERE name = 'format'")
    used.refuses(f"has format {FORMAT + 1}")
    used.change(f"UPDATE meta SET value = {FORMAT} WHERE name = 'format'")
    used.run()


# --- crashes between any two steps ----------------------------------------------------------------------------


class Crash(BaseException):
    """Stands for the power being cut."""


STEPS = ["create_tables", "sync", "rename", "_write_record"]


def crash_after(monkeypatch: pytest.MonkeyPatch, step: str, times: int) -> None:
    """Make the ``times``-th call of ``step`` in the guard the last thing that happens."""
    owner: object = {"rename": Path, "create_tables": sys.modules["fivefold.storage.sqlite"]}.get(step, guard)
    original: Callable[..., object] = getattr(owner, step)
    calls = 0

    def stop(*arguments: object) -> object:
        nonlocal calls
        calls += 1
        result = original(*arguments)
        if calls == times:
            raise Crash
        return result

    monkeypatch.setattr(owner, step, stop)


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("step", STEPS)
def test_a_crash_after_any_step_of_the_first_start_can_be_repeated(
    server: Server, monkeypatch: pytest.MonkeyPatch, step: str, times: int
) -> None:
    """Wherever the first start dies, the same start works afterwards, twice."""
    with monkeypatch.context() as patched:
        crash_after(patched, step, times)
        try:
            server.run(fresh=True)
        except Crash:
            pass
    server.run(fresh=True)
    server.run()
    assert server.stored() == server.recorded()


@pytest.mark.parametrize("step", ["sync", "rename", "_write_record"])
def test_a_crash_after_any_step_of_a_later_start_can_be_repeated(
    used: Server, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Dying between the two counters, again and again, never bricks the server."""
    for _ in range(3):
        with monkeypatch.context() as patched:
            crash_after(patched, step, 1)
            with pytest.raises(Crash):
                used.run()
    used.run()
    assert used.stored() == used.recorded()


def test_the_database_counts_before_the_record(used: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the record is about to be written, the database already holds its generation."""

    def compare(path: Path, record: guard.DataRecord) -> None:
        assert used.stored() == record.generation
        seen.append(record.generation)

    seen: list[int] = []
    monkeypatch.setattr(guard, "_write_record", compare)
    used.run()
    assert seen == [4, 5]
    monkeypatch.undo()
    assert used.recorded() == 3
    used.run()


def test_the_record_of_a_killed_server_is_that_of_its_last_minute(server: Server) -> None:
    """A server that writes moves the record on while it runs."""
    storage = server.open(fresh=True, seconds=0)
    assert server.recorded() == 2
    storage.stage(1, [Write("A/x", b"h")])
    storage.close()
    assert server.recorded() == 4


def test_servers_do_not_fold_in_step(tmp_path: Path) -> None:
    """Each uses another part of its first segment, so that those of one cluster are not slow at the same time."""
    shares = set()
    for name in ("one", "two", "three"):
        (tmp_path / name).mkdir()
        storage = Server(tmp_path / name).open(fresh=True)
        shares.add(storage._writer._share)
        storage.close()
    assert len(shares) == 3
    assert all(guard.FIRST_SHARE_MIN <= share <= 1 for share in shares)
