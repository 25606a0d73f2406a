"""Backups: what is in them, what they notice, and that an interrupted one goes on."""

import asyncio
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from fivefold import BackupError, Counter, InvalidArguments, Map, NonDeterministicObject, Unavailable, transfer
from fivefold.cli.export import export_command
from fivefold.node import Inquiry
from fivefold.objects import Account
from fivefold.protocol.authenticators import MAC_BYTES
from fivefold.protocol.history import make_histories, read_history
from fivefold.protocol.messages import SUCCESS
from fivefold.protocol.operations import ObjectId, digest
from fivefold.protocol.records import INITIAL_HISTORY, ListReply, Request
from fivefold.protocol.server import decode_version
from fivefold.storage import BACKUP_NAME, BackupFile, Run
from fivefold.testing import local_cluster
from fivefold.upkeep import back_up
from tests.unit.test_rescue import Loose, diverged


@pytest.fixture
def file(tmp_path: Path) -> Iterator[BackupFile]:
    """An empty backup."""
    made = BackupFile(tmp_path / "backup", creates=True)
    yield made
    made.close()


async def taken(cluster, file: BackupFile, **options) -> Run:
    async with cluster.cluster.inquiry() as inquiry:
        return await back_up(cluster.cluster, inquiry, file, cluster_id="c1", cluster_file="n = 6", **options)


def state_of(file: BackupFile, run: Run, name: str) -> bytes:
    found = file.version(run, name)
    assert found is not None
    return found.state


async def filled(cluster, count: int = 20) -> None:
    for number in range(count):
        await cluster.object(Counter, f"c{number}").increment(number + 1)


async def test_every_object_is_copied_as_of_one_moment(file: BackupFile) -> None:
    """With nobody writing, two passes see the same: the backup is the cluster at one moment."""
    async with local_cluster() as cluster:
        await filled(cluster)
        for key in ("a", "b"):  # more than a query can show
            await cluster.object(Map, "m").put(key, "x" * 1_000_000)
        run = await taken(cluster, file)
    assert (run.objects, run.is_of_one_moment, run.turn) == (21, True, 2)
    assert state_of(file, run, "Counter/c7") == b"\x91\x08"
    assert len(state_of(file, run, "Map/m")) > 2_000_000
    assert file.check() == []


async def test_a_second_run_fetches_what_changed(file: BackupFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are told by their digests; the older run's versions go when the new one is finished."""
    async with local_cluster() as cluster:
        await filled(cluster)
        first = await taken(cluster, file)
        await cluster.object(Counter, "c3").increment(10)
        await cluster.object(Counter, "new").increment(1)
        async with cluster.cluster.inquiry() as inquiry:
            asked = []
            version = inquiry.version

            async def noted(server, name, timestamp, *, is_whole):
                asked.append((name, is_whole))
                return await version(server, name, timestamp, is_whole=is_whole)

            inquiry.version = noted
            second = await back_up(cluster.cluster, inquiry, file, cluster_id="c1", cluster_file="n = 6")
    assert [name for name, is_whole in asked if is_whole] == ["Counter/c3", "Counter/new"]
    assert (second.number, second.objects) == (first.number + 1, 21)
    assert state_of(file, second, "Counter/c3") == b"\x91\x0e"
    assert file._fetch("SELECT count(*) FROM versions") == [(21,)]


@pytest.mark.parametrize("how", ["crash", "macs", "answers"])
async def test_t_faulty_servers_do_not_matter(file: BackupFile, how: str) -> None:
    """With one down, or lying, every acknowledged update is in the backup, and nothing else."""
    async with local_cluster(t=1, b=1) as cluster:
        await filled(cluster, 8)
        if how == "crash":
            await cluster.crash(2)
        else:
            await cluster.lie(2, how)
        await filled(cluster, 8)
        run = await taken(cluster, file)
        assert run.objects == 8
        assert [state_of(file, run, f"Counter/c{n}") for n in range(8)] == [
            b"\x91" + bytes([2 * n + 2]) for n in range(8)
        ]
    assert file.check() == []


async def test_more_than_t_faulty_servers_are_said(file: BackupFile) -> None:
    """Without a quorum nothing can be told; what was copied is kept for the next time."""
    async with local_cluster(t=1, b=1) as cluster:
        await filled(cluster, 3)
        await cluster.crash(0)
        async with cluster.cluster.inquiry() as inquiry:
            await cluster.crash(1)
            with pytest.raises(Unavailable, match="4 of the 5 servers"):
                await back_up(cluster.cluster, inquiry, file, cluster_id="c1", cluster_file="")
    with pytest.raises(BackupError, match="no finished backup"):
        file.whole_run()


async def test_while_others_write_each_object_is_still_right(file: BackupFile) -> None:
    """A version in the backup holds all that was acknowledged before it was read, and money neither comes nor goes."""
    async with local_cluster() as cluster:
        for name in "ab":
            await cluster.object(Account, name).deposit(1000)
        before = await cluster.object(Account, "b").balance()
        is_done = asyncio.Event()

        async def move() -> None:
            while not is_done.is_set():
                await cluster.call(transfer, cluster.object(Account, "a"), cluster.object(Account, "b"), amount=1)

        moving = asyncio.create_task(move())
        run = await taken(cluster, file)
        is_done.set()
        await moving
        after = await cluster.object(Account, "b").balance()
        registry = cluster.registry.types["Account"]
        b = registry.decode(state_of(file, run, "Account/b"))
        assert before <= b.balance() <= after
        quiet = await taken(cluster, file)
        total = sum(registry.decode(state_of(file, quiet, f"Account/{name}")).balance() for name in "ab")
        assert (quiet.is_of_one_moment, total) == (True, 2000)


async def test_an_interrupted_backup_goes_on(file: BackupFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was stored is not fetched again, and the older run stays usable meanwhile."""
    monkeypatch.setattr("fivefold.upkeep.backing.STAGED_OBJECTS_MAX", 8)
    async with local_cluster() as cluster:
        await filled(cluster, 40)

        class Killed(Exception):
            pass

        def told(run: Run, count: int) -> None:
            if count >= 24:
                raise Killed

        with pytest.raises(Killed):
            await taken(cluster, file, told=told)
        half = file.last_run()
        assert half is not None
        assert (half.finished, half.turn, half.cursor > "") == (None, 1, True)
        run = await taken(cluster, file)
        assert (run.number, run.objects) == (half.number, 40)
    assert file.check() == []


@pytest.mark.parametrize("is_sealed", [False, True])
async def test_a_barrier_outside_the_preferred_quorum_is_no_obstacle(file: BackupFile, *, is_sealed: bool) -> None:
    """A client left it on one server. A call does not see it; a mover has to see q servers agree, and repairs it."""
    name = ObjectId("Counter/x")
    async with local_cluster(t=1, b=0) as cluster:
        assert await cluster.object(Counter, "x").increment() == 1
        await leave_barrier(cluster, name, cluster.cluster.quorums.preference(name)[3])
        run = await taken(cluster, file, is_sealed=is_sealed)
    assert run.objects == 1
    assert state_of(file, run, name) == b"\x91\x01"


@pytest.mark.parametrize("every", [1, 2])
@pytest.mark.parametrize("is_sealed", [False, True])
async def test_nor_is_it_beside_a_liar_that_promises(
    file: BackupFile, monkeypatch: pytest.MonkeyPatch, every: int, *, is_sealed: bool
) -> None:
    """To each of the mover's questions, or every other one, it says that it accepts, and shows the beginning."""
    name = ObjectId("Counter/x")
    async with local_cluster(t=1, b=1) as cluster:
        assert await cluster.object(Counter, "x").increment() == 1
        *_, liar, outsider = cluster.cluster.quorums.preference(name)
        await leave_barrier(cluster, name, outsider)
        honest, asked = Inquiry._ask, 0

        async def ask(self: Inquiry, server: int, number: int, frame: bytes, kind: type) -> object:
            nonlocal asked
            answer = await honest(self, server, number, frame, kind)
            if server == liar and isinstance(answer, ListReply):
                return replace(answer, entries=())
            if server != liar or not isinstance(answer, tuple):
                return answer
            asked += 1
            if (asked - 1) % every:
                return answer
            beginning = (INITIAL_HISTORY,) * len(answer[0].histories)
            return replace(answer[0], status=SUCCESS, histories=beginning), b""

        monkeypatch.setattr(Inquiry, "_ask", ask)
        run = await taken(cluster, file, is_sealed=is_sealed)
    assert state_of(file, run, name) == b"\x91\x01"


async def leave_barrier(cluster, name: ObjectId, outsider: int) -> None:
    """A client leaves a barrier on one server alone."""
    async with cluster.cluster.inquiry() as inquiry:
        n = cluster.cluster.quorums.n
        holder = cluster.cluster.quorums.preference(name)[0]
        found = await inquiry.histories(holder, [name])
        assert found is not None
        shown = [found[0].histories[0] if server == holder else INITIAL_HISTORY for server in range(n)]
        request = Request(name, (make_histories(name, shown),), b"")
        proof = found[1][outsider * MAC_BYTES : (outsider + 1) * MAC_BYTES]
        assert await inquiry.ask(outsider, request, proof) is not None
        left = await inquiry.histories(outsider, [name])
        assert left is not None
        assert read_history(name, left[0].histories[0])[-1].candidate.is_barrier


async def test_a_diverged_object_is_named(file: BackupFile) -> None:
    """Nobody can say which of its states is right; the message says what to run."""
    async with local_cluster(Loose) as cluster:
        await diverged(cluster, [7, 7, 2, 1, 2])
        with pytest.raises(NonDeterministicObject, match="fivefold rescue Loose/a"):
            await taken(cluster, file)


async def test_versions_come_with_number_and_ring(file: BackupFile) -> None:
    """So that a restored cluster still knows which calls were applied."""
    async with local_cluster() as cluster:
        for _ in range(3):
            await cluster.object(Counter, "c").increment()
        run = await taken(cluster, file)
    found = file.version(run, "Counter/c")
    assert found is not None
    assert (found.number, len(found.recent) > 0) == (3, True)


async def test_an_object_is_exported_from_a_backup(file: BackupFile, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a cluster, as from one."""
    async with local_cluster() as cluster:
        await filled(cluster, 2)
        await taken(cluster, file)
    file.close()
    export_command(["Counter/c1"], backup=file.path.parent)
    assert '"state": {"value": 2}' in capsys.readouterr().out
    with pytest.raises(InvalidArguments, match="not in the backup"):
        export_command(["Counter/none"], backup=file.path.parent)


# --- damage ---------------------------------------------------------------------------------------------------------
@pytest.fixture
def whole(tmp_path: Path) -> Path:
    """The directory of a finished backup of 30 objects."""

    async def make() -> None:
        async with local_cluster() as cluster:
            await filled(cluster, 30)
            with BackupFile(tmp_path / "whole", creates=True) as made:
                await taken(cluster, made)

    asyncio.run(make())
    return tmp_path / "whole"


def problems_of(directory: Path) -> list[str]:
    try:
        with BackupFile(directory) as file:
            return file.check()
    except BackupError as error:
        return [str(error)]


def test_a_truncated_backup_is_noticed(whole: Path) -> None:
    """At whatever length it ends."""
    data = (whole / BACKUP_NAME).read_bytes()
    for size in (0, 1, 99, 4096, len(data) // 2, len(data) - 1):
        (whole / BACKUP_NAME).write_bytes(data[:size])
        [problem] = problems_of(whole)
        assert "\n" not in problem
        assert any(word in problem for word in ("damaged", "no backup"))


def test_changed_bytes_are_noticed(whole: Path) -> None:
    """One byte of a version, an entry or the list: never silently another state."""
    data = bytearray((whole / BACKUP_NAME).read_bytes())
    noticed = 0
    for at in range(100, len(data), 997):
        changed = bytearray(data)
        changed[at] ^= 0x20
        (whole / BACKUP_NAME).write_bytes(changed)
        problems = problems_of(whole)
        noticed += bool(problems)
        if not problems:  # it was in no use: free space, or a page's padding
            with BackupFile(whole) as file:
                assert [digest(version) == copied.digest for copied, version in file.objects(file.whole_run())] == [
                    True
                ] * 30
    assert noticed


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM entries WHERE object_id = 'Counter/c4'",
        "DELETE FROM versions WHERE digest = (SELECT digest FROM entries LIMIT 1)",
        "UPDATE versions SET data = x'00'",
        "UPDATE entries SET object_id = 'Counter/c4x' WHERE object_id = 'Counter/c4'",
        "UPDATE runs SET objects = 29",
        "UPDATE runs SET finished = NULL",
        "UPDATE entries SET digest = (SELECT max(digest) FROM entries)",
        "DROP TABLE runs",
        "UPDATE meta SET value = 7 WHERE name = 'format'",
    ],
)
def test_what_is_not_as_it_was_sealed_is_noticed(whole: Path, statement: str) -> None:
    """A missing object, a swapped or missing version, another format: one sentence."""
    connection = sqlite3.connect(whole / BACKUP_NAME)
    connection.execute(statement)
    connection.commit()
    connection.close()
    [problem] = problems_of(whole)
    assert "\n" not in problem
    assert problem.count(":") >= 1


def test_a_foreign_file_is_refused(tmp_path: Path) -> None:
    """A database of something else, and a text."""
    for make in (
        lambda path: sqlite3.connect(path).execute("CREATE TABLE a (b)"),
        lambda path: path.write_text("hello" * 99),
    ):
        path = tmp_path / BACKUP_NAME
        path.unlink(missing_ok=True)
        make(path)
        assert any(word in problems_of(tmp_path)[0] for word in ("no backup", "damaged"))
    assert "holds no backup" in problems_of(tmp_path / "nowhere")[0]


async def test_a_backup_of_another_cluster_is_not_mixed(file: BackupFile) -> None:
    """Its directory is named, and nothing is changed."""
    async with local_cluster() as cluster:
        await filled(cluster, 2)
        run = await taken(cluster, file)
        async with cluster.cluster.inquiry() as inquiry:
            with pytest.raises(BackupError, match="is a backup of cluster c1, not of c2"):
                await back_up(cluster.cluster, inquiry, file, cluster_id="c2", cluster_file="")
    assert file.whole_run() == run


def test_one_process_at_a_time(file: BackupFile) -> None:
    """A second one is told to wait."""
    with pytest.raises(BackupError, match="in use"):
        BackupFile(file.path.parent)


def test_a_backup_is_private(file: BackupFile) -> None:
    """It holds every state."""
    assert file.path.stat().st_mode & 0o077 == 0
    assert file.path.parent.stat().st_mode & 0o077 == 0


async def test_each_version_is_canonical(file: BackupFile) -> None:
    """A version is kept as servers would send it to each other."""
    async with local_cluster() as cluster:
        await filled(cluster, 2)
        run = await taken(cluster, file)
    assert [decode_version(data).number for _, data in file.objects(run)] == [1, 1]
